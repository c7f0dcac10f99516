#!/usr/bin/env python3
"""Runs lm-eval, from PyPI, with `ingot` as its model over a checkpoint's eval.jsonl, and holds the exact match against `ingot verify`.

    check_lm_eval.py INGOT CHECKPOINT

The environment is made once, about 600 MB: INGOT_LM_EVAL says where it is. Leaves with a word where PyPI is out of reach.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {output}
doc_to_text: "{{{{prompt}}}}"
doc_to_target: {target}
{choice}generation_kwargs: {{until: {until}, max_gen_toks: 128, do_sample: false}}
metric_list: [{{metric: {metric}, aggregation: mean, higher_is_better: true}}]
"""


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    return done.returncode, done.stdout, done.stderr


def environment():
    """The Python of an environment with lm-eval; None where PyPI is out of reach."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = Path(os.environ.get("INGOT_LM_EVAL") or cache / "ingot-lm-eval")
    python = place / "bin/python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        code, _, err = run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "lm-eval==0.4.13", "numpy")
        if code != 0:
            reason = (err.strip().splitlines() or [""])[-1]
            print(f"check_lm_eval: left out, since lm-eval cannot be had from PyPI: {reason}", file=sys.stderr)
            return None
        (place / "ready").touch()
    return python


def main():
    ingot, checkpoint = (Path(word).resolve() for word in sys.argv[1:])
    python = environment()
    if python is None:
        return
    # With the offline switches nothing is asked of the hub; the data is a local file.
    env = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parent), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
    }
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        env["HF_HOME"] = str(place / "hf")
        pack = place / "model.ingot"
        subprocess.run([ingot, "quantize", checkpoint, "-o", pack, "-q"], check=True, stdout=subprocess.DEVNULL)
        tasks = place / "tasks"
        tasks.mkdir()
        data = checkpoint / "eval.jsonl"
        for name, until in ("plain", "[]"), ("cut", '[" is "]'):
            (tasks / f"{name}.yaml").write_text(TASK.format(
                name=f"ingot_{name}", data=data, until=until, output="generate_until", target='"{{answer}}"', choice="",
                metric="exact_match"))
        (tasks / "choice.yaml").write_text(TASK.format(
            name="ingot_choice", data=data, until="[]", output="multiple_choice", target="0",
            choice='doc_to_choice: ["{{answer}}", "no"]\n', metric="acc"))

        def evaluate(task, *more):
            return run(
                python, "-m", "ingot.lm_eval", "run", "--model", "ingot", "--model_args",
                f"pretrained={pack},binary={ingot}", "--tasks", task, "--include_path", tasks, "--apply_chat_template",
                "--output_path", place / "out", "--log_samples", *more, env=env, cwd=place)

        def result(task):
            code, out, err = evaluate(task)
            assert code == 0, err
            newest = max((place / "out").rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
            samples = max((place / "out").rglob(f"samples_{task}_*.jsonl"), key=lambda path: path.stat().st_mtime)
            return json.loads(newest.read_text())["results"][task]["exact_match,none"], [
                json.loads(line) for line in samples.read_text().splitlines()]

        code, out, err = run(
            ingot, "verify", pack, "--reference", checkpoint, "--prompts", data, "--level", "tasks", "--json", "-q")
        assert code == 0, err
        tasks_section = json.loads(out)["tasks"]
        wanted = tasks_section["candidate_correct"]["mean"]
        found, samples = result("ingot_plain")
        assert abs(found - wanted) < 1e-12, f"lm-eval says {found}, ingot verify {wanted}"
        assert len(samples) == tasks_section["prompts"]
        cut, samples = result("ingot_cut")
        assert cut < found
        assert not any(" is " in sample["resps"][0][0] for sample in samples)
        code, out, err = evaluate("ingot_choice", "--limit", "2")
        assert code != 0 and "has only a bound" in err, (code, err)
        print(f"lm-eval: exact match {found:.3f} of {tasks_section['prompts']}, as `ingot verify` has it; "
              f"{len(samples)} answers end before a stop string; likelihoods are refused with a sentence")


if __name__ == "__main__":
    main()
