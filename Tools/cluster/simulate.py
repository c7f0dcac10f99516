#!/usr/bin/env python3
"""Hours that LLaDA2.0-flash (206 GB) would take on 1, 4, 16 and 64 hosts with one file system: a small program over rates, not a run.

    simulate.py [--shared GB/S] [--host GB/S] [--cores N] [--tokens N] [--prompts N]

A step takes as long as the slowest of three: its arithmetic on the cores of all hosts, the bytes that one host moves over its own link, and the bytes
that all move over the file system. The rates of a core are measured on two cores with AVX-512 (Tools/Bench/runs, and `bench solve`): 3.3 GB/s of bf16 for
searched scales, 1e11 multiplications and additions a second for the solver and for products of full precision. Sizes follow from config.json. What it
leaves out: caches of the file system, hosts of unequal speed, queues.
"""

import argparse

HIDDEN, WIDTH, LAYERS, EXPERTS, SLOTS = 4096, 1024, 31, 256, 8
SOURCE, PACK = 206e9, 56e9                                   # bytes
EXPERT_BYTES = 3 * HIDDEN * WIDTH * 2
ACTIVE = 6.1e9                                               # weights that a token meets
SEARCH, ARITHMETIC = 3.3e9, 1e11                             # of a core and second: bytes, multiplications and additions


def solving(tokens):
    """Multiplications and additions of all experts, as `Formats/plan.md` estimates them."""
    n = tokens * SLOTS / EXPERTS
    one = n * (HIDDEN**2 + WIDTH**2) + (HIDDEN**3 + WIDTH**3) / 3 + 5 * (2 * WIDTH * HIDDEN**2 + HIDDEN * WIDTH**2)
    return LAYERS * EXPERTS * one


def steps(o):
    """Name, core seconds, bytes that are read once by all together, bytes that every host reads, bytes written; whether one host does it."""
    states = o.tokens * LAYERS * HIDDEN * 2
    forward = lambda tokens: tokens * ACTIVE / ARITHMETIC
    return [
        ("calibrate, by texts", forward(o.tokens), 0, SOURCE, states, False),
        ("quantize, searched, in parts", SOURCE / SEARCH, SOURCE, 0, PACK, False),
        ("quantize, with states, in parts", solving(o.tokens) / ARITHMETIC, SOURCE + states, 0, PACK, False),
        ("merge", PACK / 10e9, PACK, 0, PACK, True),
        # Five states of 256 tokens each of both models.
        ("verify, by prompts", forward(2 * 5 * 256 * o.prompts), 0, SOURCE + PACK, 0, False),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=float, default=10, help="of the file system, to all hosts together (10)")
    parser.add_argument("--host", type=float, default=1.2, help="of a host's own link (1.2)")
    parser.add_argument("--cores", type=int, default=16, help="of a host (16)")
    parser.add_argument("--tokens", type=int, default=1 << 16, help="to calibrate on (65536)")
    parser.add_argument("--prompts", type=int, default=512, help="to verify with (512)")
    o = parser.parse_args()
    counts = [1, 4, 16, 64]
    print(f"file system {o.shared} GB/s, hosts {o.host} GB/s, {o.cores} cores; minutes, and what they wait for\n")
    print("| step | " + " | ".join(f"{n} host{'s' * (n > 1)}" for n in counts) + " |\n|---|" + "---|" * len(counts))
    for name, core, once, every, written, is_single in steps(o):
        cells = []
        for count in counts:
            hosts = 1 if is_single else count
            limits = {
                "cores": core / (hosts * o.cores),
                "link": ((once + written) / hosts + every) / (o.host * 1e9),
                "file system": (once + written + every * hosts) / (o.shared * 1e9),
            }
            slowest = max(limits, key=limits.get)
            cells.append(f"{limits[slowest] / 60:.1f} {slowest}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
