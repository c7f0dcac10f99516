#!/usr/bin/env python3
"""Runs lm-eval, from PyPI, with `ingot` as its model over a checkpoint's eval.jsonl: exact match against `ingot verify`, multiple choice
and perplexity against `ingot score`, and an evaluation that is killed and goes on.

    check_lm_eval.py INGOT CHECKPOINT

The environment is made once, about 600 MB: INGOT_LM_EVAL says where it is. Leaves with a word where PyPI is out of reach.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GENERATION = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: {until}, max_gen_toks: 128, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""

CHOICE = """\
task: ingot_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""

ROLLING = """\
task: ingot_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: byte_perplexity}}]
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


def choice_data(questions):
    """Questions with their answer among three of others of the same kind."""
    kinds = {}
    for line in questions:
        kinds.setdefault(line["task"], []).append(line)
    made = []
    for kind in kinds.values():
        for index, line in enumerate(kind[:6]):
            wrong = [other["answer"] for other in kind if other["answer"] != line["answer"]][index:index + 3]
            if len(set(wrong)) == 3:
                choices = wrong[:index % 4] + [line["answer"]] + wrong[index % 4:]
                made.append({"prompt": line["prompt"], "choices": choices, "label": index % 4})
    return made


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
            (tasks / f"{name}.yaml").write_text(GENERATION.format(name=f"ingot_{name}", data=data, until=until))
        questions = [json.loads(line) for line in data.read_text().splitlines()]
        choices = choice_data(questions)
        (place / "choices.jsonl").write_text("".join(json.dumps(line) + "\n" for line in choices))
        (tasks / "choice.yaml").write_text(CHOICE.format(data=place / "choices.jsonl"))
        texts = [line["answer"] for line in questions[:12]]
        (place / "texts.jsonl").write_text("".join(json.dumps({"answer": text}) + "\n" for text in texts))
        (tasks / "rolling.yaml").write_text(ROLLING.format(data=place / "texts.jsonl"))

        def command(task, *more, arguments=""):
            return [
                python, "-m", "ingot.lm_eval", "run", "--model", "ingot", "--model_args",
                f"pretrained={pack},binary={ingot}{arguments}", "--tasks", task, "--include_path", tasks,
                "--output_path", place / "out", "--log_samples", "--batch_size", "2", *more]

        def outcome(task):
            newest = max((place / "out").rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
            samples = max((place / "out").rglob(f"samples_{task}_*.jsonl"), key=lambda path: path.stat().st_mtime)
            return json.loads(newest.read_text())["results"][task], [
                json.loads(line) for line in samples.read_text().splitlines()]

        def result(task, *more, arguments=""):
            code, out, err = run(*command(task, *more, arguments=arguments), env=env, cwd=place)
            assert code == 0, err
            return *outcome(task), err

        def scores(pairs):
            (place / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
            code, out, err = run(ingot, "score", pack, place / "pairs.jsonl", "-o", place / "scores.jsonl", "-q", "--force")
            assert code == 0, err
            return [json.loads(line) for line in (place / "scores.jsonl").read_text().splitlines()]

        # Answers: the same exact match as the command's own.
        code, out, err = run(
            ingot, "verify", pack, "--reference", checkpoint, "--prompts", data, "--level", "tasks", "--json", "-q")
        assert code == 0, err
        tasks_section = json.loads(out)["tasks"]
        wanted = tasks_section["candidate_correct"]["mean"]
        results, samples, _ = result("ingot_plain", "--apply_chat_template")
        found = results["exact_match,none"]
        assert abs(found - wanted) < 1e-12, f"lm-eval says {found}, ingot verify {wanted}"
        assert len(samples) == tasks_section["prompts"]
        results, cut, _ = result("ingot_cut", "--apply_chat_template")
        assert results["exact_match,none"] < found
        assert not any(" is " in sample["resps"][0][0] for sample in cut)

        # Multiple choice: the choice with the least bound, with a chat template and without.
        accuracy = {}
        for more in (), ("--apply_chat_template",):
            results, samples, _ = result("ingot_choice", *more)
            pairs = [
                {"prompt": line["prompt"], "raw": not more, "continuation": choice if more else f" {choice}"}
                for line in choices for choice in line["choices"]]
            ours = scores(pairs)
            theirs = [response[0] for sample in samples for response in sample["resps"]]
            assert len(theirs) == len(ours) == 4 * len(choices)
            for score, (likelihood, is_greedy) in zip(ours, theirs):
                assert math.isclose(float(likelihood), -score["bound"], rel_tol=1e-9), (likelihood, score)
                assert str(is_greedy) == str(score["is_greedy"]), (is_greedy, score)
            bounds = [[score["bound"] for score in ours[start:start + 4]] for start in range(0, len(ours), 4)]
            right = sum(some.index(min(some)) == line["label"] for some, line in zip(bounds, choices)) / len(choices)
            accuracy[bool(more)] = results["acc,none"]
            assert abs(results["acc,none"] - right) < 1e-12, (results, right)
        assert accuracy[True] > 0.8, accuracy

        # Perplexity: the bound of whole texts, for a byte.
        results, _, _ = result("ingot_rolling")
        bound = sum(score["bound"] for score in scores([{"prompt": "", "raw": True, "continuation": text} for text in texts]))
        perplexity = math.exp(bound / sum(len(text.encode()) for text in texts))
        assert math.isclose(results["byte_perplexity,none"], perplexity, rel_tol=1e-9), (results, perplexity)

        # An evaluation that is killed goes on, and one that is done is not made again.
        kept, arguments = place / "kept", f",cache={place / 'kept'},threads=1"
        started = subprocess.Popen(
            [str(word) for word in command("ingot_plain", "--apply_chat_template", arguments=arguments)], env=env, cwd=place,
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while started.poll() is None and not any(path.stat().st_size > 4000 for path in kept.glob("*.partial")):
            time.sleep(0.002)
        assert started.poll() is None, started.returncode
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        assert sorted(path.suffixes[0] for path in kept.iterdir()) == [".asked", ".jsonl"], list(kept.iterdir())
        results, samples, err = result("ingot_plain", "--apply_chat_template", arguments=arguments)
        assert results["exact_match,none"] == found and "answers are there already" in err, err
        files = sorted((path.name, path.stat().st_mtime_ns) for path in kept.iterdir())
        results, samples, err = result("ingot_plain", "--apply_chat_template", arguments=arguments)
        assert results["exact_match,none"] == found and "tokens/s" not in err, err
        assert files == sorted((path.name, path.stat().st_mtime_ns) for path in kept.iterdir())
        print(f"lm-eval: exact match {found:.3f} of {tasks_section['prompts']}, as `ingot verify` has it; {len(cut)} answers end before a stop "
              f"string; {accuracy[True]:.3f} of {len(choices)} choices right ({accuracy[False]:.3f} without a chat template) and {perplexity:.2f} a byte, as "
              "`ingot score` has them; killed, it goes on")


if __name__ == "__main__":
    main()
