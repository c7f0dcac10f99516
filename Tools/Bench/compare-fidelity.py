#!/usr/bin/env python3
"""How far packs drift from a checkpoint at masked positions, each as a ratio to the first pack, paired by text.

    Tools/Bench/compare-fidelity.py CHECKPOINT PROMPTS.jsonl BASELINE.ingot PACK.ingot... [-- OPTIONS OF ingot verify]

`ingot verify --record` keeps what each model says of the same masks; KL(checkpoint || pack) is summed in binary64. Ratios of means
and of what the mean is without each pack's worst 0.1 % of positions, of the 99th percentile, and the geometric mean over texts
of the ratio of means, with 95 % intervals of a bootstrap by text. For vocabularies up to 4,096 tokens, of which a record holds
all. $INGOT is the binary, or the release build of this checkout. Needs numpy.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INGOT = os.environ.get("INGOT", str(ROOT / ".build/release/ingot"))
RATIOS = "0.25,0.5,0.75,1"
TYPES = {"F32": "<f4", "I32": "<i4"}


def record(model, prompts, path, options):
    command = [INGOT, "verify", "--reference", model, "--prompts", prompts, "--record", path, "--level", "masked",
               "--mask-ratios", RATIOS, "--no-floor", "--no-replay", "-q", "--force", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)


def read(path, *names):
    data = np.memmap(path, np.uint8, "r")
    end = 8 + int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:end]))
    for name in names:
        entry = header["masked." + name]
        begin, stop = (end + x for x in entry["data_offsets"])
        yield data[begin:stop].view(TYPES[entry["dtype"]]).reshape(entry["shape"])


def divergence(reference, path, piece=4096):
    """KL at each position."""
    [other] = read(path, "log_probabilities")
    kl = np.empty(len(reference))
    for start in range(0, len(reference), piece):
        p, q = (x[start:start + piece].astype(float) for x in (reference, other))
        # A record rounds to binary32; what is left of the sum is taken out again.
        p, q = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (p, q))
        kl[start:start + piece] = (np.exp(p) * (p - q)).sum(1)
    return np.maximum(kl, 0)


class Paired:
    def __init__(self, texts, rounds=2000, seed=0):
        names, self.index = np.unique(texts, return_inverse=True)
        self.count = np.bincount(self.index)
        self.draws = np.random.default_rng(seed).integers(0, len(names), (rounds, len(names)))

    def interval(self, value, draws):
        return value, *np.quantile(draws, (0.025, 0.975))

    def mean(self, a, b):
        a, b = (np.bincount(self.index, x) for x in (a, b))
        return self.interval(a.sum() / b.sum(), a[self.draws].sum(1) / b[self.draws].sum(1))

    def geometric(self, a, b):
        a, b = (np.bincount(self.index, x) / self.count for x in (a, b))
        d = np.log(np.maximum(a, 1e-9) / np.maximum(b, 1e-9))
        return self.interval(np.exp(d.mean()), np.exp(d[self.draws].mean(1)))

    def sorted(self, statistic, a, b, rounds=300):
        """Of a statistic of positions."""
        rows = [np.flatnonzero(self.index == text) for text in range(len(self.count))]
        draws = []
        for draw in self.draws[:rounds]:
            taken = np.concatenate([rows[text] for text in draw])
            draws.append(statistic(a[taken]) / statistic(b[taken]))
        return self.interval(statistic(a) / statistic(b), draws)


def without_worst(kl):
    return np.sort(kl)[:len(kl) - max(1, len(kl) // 1000)].mean()


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, options = arguments[:cut], arguments[cut + 1:]
    if len(arguments) < 4:
        sys.exit(__doc__)
    checkpoint, prompts, *packs = arguments
    with tempfile.TemporaryDirectory() as directory:
        kept = f"{directory}/reference.record"
        record(checkpoint, prompts, kept, options)
        reference, places = read(kept, "log_probabilities", "places")
        paired = Paired(places[:, 0])
        print(f"{len(reference):,} positions of {len(paired.count)} texts\n")
        print("| pack | bits/weight of experts | KL | mean | geometric | without the worst 0.1 % | p99 |\n"
              "|---|---|---|---|---|---|---|")
        first = None
        for pack in packs:
            path = f"{directory}/candidate.record"
            record(pack, prompts, path, options)
            kl = divergence(reference, path)
            size = subprocess.run([INGOT, "inspect", pack, "--json"], capture_output=True, text=True).stdout
            cells = [pathlib.Path(pack).stem, f"{json.loads(size)['quant']['bpw_experts']:.3f}", f"{kl.mean():.3e}"]
            if first is None:
                first, found = kl, [f"{x:.3e}" for x in (kl.mean(), 0, without_worst(kl), np.quantile(kl, 0.99))]
                found[1] = "1"
            else:
                found = ["%.3f [%.3f, %.3f]" % x for x in (
                    paired.mean(kl, first), paired.geometric(kl, first), paired.sorted(without_worst, kl, first),
                    paired.sorted(lambda x: np.quantile(x, 0.99), kl, first))]
            print("| " + " | ".join(cells + found) + " |", flush=True)


if __name__ == "__main__":
    main()
