#!/usr/bin/env python3
"""How far packs drift from a checkpoint at masked positions, each as a ratio to the first pack, paired by text.

    Tools/Bench/compare-fidelity.py REFERENCE PROMPTS.jsonl BASELINE.ingot PACK.ingot... [-- OPTIONS OF ingot verify]

The numbers are those of `ingot verify PACK --versus BASELINE`, as a table of Markdown, at mask ratios 0.25, 0.5,
0.75 and 1. The reference runs once, into a record.
$INGOT is the binary, or the release build of this checkout.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INGOT = os.environ.get("INGOT", str(ROOT / ".build/release/ingot"))
ALWAYS = ["--level", "masked", "--no-floor", "--no-replay", "-q"]


def ingot(*arguments):
    done = subprocess.run([INGOT, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def bits(pack):
    return f"{json.loads(ingot('inspect', pack, '--json', '-q'))['quant']['bpw_experts']:.3f}"


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, options = arguments[:cut], arguments[cut + 1:]
    if len(arguments) < 4:
        sys.exit(__doc__)
    reference, prompts, baseline, *packs = arguments
    with tempfile.TemporaryDirectory() as directory:
        record = f"{directory}/reference.record"
        ingot("verify", "--reference", reference, "--prompts", prompts, "--record", record, "--mask-ratios", "0.25,0.5,0.75,1",
              *ALWAYS, *options)
        for number, pack in enumerate(packs):
            found = json.loads(ingot("verify", pack, "--versus", baseline, "--reference", record, "--json", *ALWAYS))
            beside = found["versus"]
            if number == 0:
                texts = found["data"]["texts"]["count"]
                print(f"{beside['positions']:,} positions of {texts:,} texts\n\n"
                      "| pack | bits/weight of experts | KL | mean | geometric | without the worst 0.1 % | p99 |\n"
                      "|---|---|---|---|---|---|---|")
                first = [f"{beside[key]['versus']:.3e}" for key in ("kl", "kl", "kl_trimmed", "kl_p99")]
                first.insert(2, "1")
                print("| " + " | ".join([pathlib.Path(baseline).stem, bits(baseline)] + first) + " |")
            ratios = ["%.3f [%.3f, %.3f]" % (beside[key]["ratio"], *beside[key]["ci95"])
                      for key in ("kl", "kl_geometric", "kl_trimmed", "kl_p99")]
            print("| " + " | ".join([pathlib.Path(pack).stem, bits(pack), f"{beside['kl']['candidate']:.3e}"] + ratios) + " |",
                  flush=True)


if __name__ == "__main__":
    main()
