#!/usr/bin/env python3
"""Exact match by task of what models answer.

    Tools/evaluate.py EVAL.jsonl MODEL... [-- OPTIONS OF ingot run]

A MODEL may bring options of its own: "mini.ingot --activations int8" is one.

Each line of EVAL.jsonl has `task`, `prompt` and `answer`; an answer counts when its text, without white space at its
ends, is the expected one. The ingot to run is $INGOT, or the release build of this checkout.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INGOT = os.environ.get("INGOT", str(ROOT / ".build/release/ingot"))


def ask(model, prompt, options):
    model, *own = model.split(" --", 1)
    own = ("--" + own[0]).split() if own else []
    command = [INGOT, "run", model, "-p", prompt, "--json", "--quiet", "--threads", "1", *options, *own]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main():
    arguments = sys.argv[1:]
    options = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, options = arguments[:cut], arguments[cut + 1:]
    if len(arguments) < 2:
        sys.exit(__doc__)
    path, *models = arguments
    with open(path, encoding="utf-8") as lines:
        samples = [json.loads(line) for line in lines]
    tasks = list(dict.fromkeys(sample["task"] for sample in samples))

    columns = []
    baseline = None
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for model in models:
            answers = list(pool.map(lambda sample: ask(model, sample["prompt"], options), samples))
            hits = [answer["text"].strip() == sample["answer"].strip() for answer, sample in zip(answers, samples)]
            tokens = [answer["tokens"] for answer in answers]
            baseline = baseline or tokens
            column = [pathlib.Path(model).name]
            for task in tasks:
                of_task = [hit for hit, sample in zip(hits, samples) if sample["task"] == task]
                column.append(f"{sum(of_task)}/{len(of_task)}")
            column.append(f"{100 * sum(hits) / len(hits):.1f} %")
            column.append(f"{sum(a == b for a, b in zip(tokens, baseline))}/{len(tokens)}")
            count = sum(len(answer["tokens"]) for answer in answers)
            column.append(f"{count / sum(answer['forwards'] for answer in answers):.2f}")
            columns.append(column)

    rows = zip(["", *tasks, "all", "tokens as the first model", "tokens a forward"], *columns)
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |")
        if number == 0:
            print("|" + "---|" * len(row))


if __name__ == "__main__":
    main()
