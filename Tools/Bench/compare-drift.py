#!/usr/bin/env python3
"""How far packs in several encodings drift from a checkpoint, as one table.

    Tools/Bench/compare-drift.py CHECKPOINT PROMPTS.jsonl [ENCODING:SOLVER...] [-- OPTIONS OF ingot verify]

By default int8-g64, int4-g32, int4-g64 and int4-g128, each with absmax and search. The checkpoint is run once and
recorded; a group size that the checkpoint does not allow is left out and said. $INGOT is the binary, or the release
build of this checkout.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INGOT = os.environ.get("INGOT", str(ROOT / ".build/release/ingot"))
DEFAULT = [f"{e}:{s}" for e in ["int8-g64", "int4-g32", "int4-g64", "int4-g128"] for s in ["absmax", "search"]]


def ingot(*arguments):
    return subprocess.run([INGOT, *arguments], capture_output=True, text=True)


def interval(value, scale=1.0, digits=3):
    low, high = value["ci95"] or (float("nan"),) * 2
    return f"{value['mean'] * scale:.{digits}g} ({low * scale:.{digits}g} to {high * scale:.{digits}g})"


def row(name, report, size):
    masked, routing, tasks = report["masked"], report["routing"], report["tasks"]
    trajectories, floor = report["trajectories"], report["floor"]
    cells = [
        name, f"{size:,}", interval(masked["kl"], 1e3), f"{floor['kl_ratio']:.1f}" if floor else "",
        f"{100 * masked['top1_agreement']['mean']:.2f}",
        f"{100 * routing['changed']['mean']:.2f}", f"{100 * trajectories['tokens_per_forward']['change']:+.2f}",
        f"{100 * trajectories['identical']['mean']:.1f}",
    ]
    if tasks:
        cells.append(f"{100 * tasks['candidate_correct']['mean']:.1f} (−{tasks['lost']} +{tasks['gained']})")
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, options = arguments[:cut], arguments[cut + 1:]
    if len(arguments) < 2:
        sys.exit(__doc__)
    checkpoint, prompts, *encodings = arguments
    with tempfile.TemporaryDirectory() as directory:
        record = f"{directory}/reference.record"
        done = ingot("verify", "--reference", checkpoint, "--prompts", prompts, "--record", record, "-q", *options)
        if done.returncode != 0:
            sys.exit(done.stderr)
        print("| experts | bytes | KL × 10⁻³ | × floor | same top, % | sets changed, % | tokens/forward, % | identical, % "
              "| exact, % |\n|---|---|---|---|---|---|---|---|---|")
        for number, name in enumerate(encodings or DEFAULT):
            experts, solver = name.split(":")
            pack = f"{directory}/{number}.ingot"
            done = ingot("quantize", checkpoint, "-o", pack, "-q", "--experts", experts, "--solver", solver)
            if done.returncode != 0:
                print(f"{name}: {done.stderr.splitlines()[0]}", file=sys.stderr)
                continue
            done = ingot("verify", pack, "--reference", record, "--json", "-q")
            if done.returncode != 0:
                sys.exit(done.stderr)
            report = json.loads(done.stdout)
            row(f"{experts} {solver}", report, os.path.getsize(pack))
            os.unlink(pack)
        kl, floor = report["floor"]["kl"], report["floor"]
        print(f"\nnoise floor: KL × 10⁻³ {interval(kl, 1e3)}, same top "
              f"{100 * floor['top1_agreement']['mean']:.2f} %, sets changed {100 * floor['routing_changed']['mean']:.2f} %")
        if report["tasks"]:
            print(f"reference: exact {100 * report['tasks']['reference_correct']['mean']:.1f} %")


if __name__ == "__main__":
    main()
