#!/usr/bin/env python3
"""Sizes and errors of every encoding of a checkpoint's experts, beside plain rounding and GGUF's Q4_0 and Q8_0.

    compare-encodings.py INGOT CHECKPOINT

Packs the checkpoint with each grouped encoding that divides, solver and compression, reads the errors from the packs, and prints a
table. The relative RMSE is over all routed experts: sqrt(sum of squared errors / sum of squares). Q4_0 and Q8_0 are those of
the PyPI package `gguf`, on the same tensors. Needs numpy; gguf for its rows.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def experts(checkpoint):
    """Names and float32 values of all routed experts' projections."""
    for path in sorted(Path(checkpoint).glob("*.safetensors")):
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:8 + length]).items():
            if ".mlp.experts." in name:
                start, end = (8 + length + offset for offset in entry["data_offsets"])
                bits = np.frombuffer(data[start:end], np.uint16).astype(np.uint32) << 16
                yield name, bits.view(np.float32).reshape(entry["shape"])


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True)


def main():
    ingot, checkpoint = sys.argv[1:]
    weights = dict(experts(checkpoint))
    power = {name: float((w.astype(np.float64) ** 2).sum()) for name, w in weights.items()}
    total = sum(power.values())
    print(f"{checkpoint}: {len(weights)} expert matrices")
    print("| encoding | solver | bits/weight experts | rel. RMSE | search/absmax | bytes raw | bytes zstd |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for encoding in [f"int{bits}-g{group}" for bits in (4, 8) for group in (32, 64, 128)]:
            errors = {}
            for solver in ("absmax", "search"):
                sizes = []
                for compress in ("none", "zstd"):
                    out = f"{directory}/{encoding}-{solver}-{compress}.ingot"
                    done = run(ingot, "quantize", checkpoint, "-o", out, "--experts", encoding, "--solver", solver,
                               "--compress", compress, "--json", "-q")
                    if done.returncode != 0:
                        break
                    result = json.loads(done.stdout)
                    sizes.append(result["output_bytes"])
                    if compress == "none":
                        bits = result["bits_per_weight_experts"]
                        listing = json.loads(run(ingot, "inspect", out, "--json").stdout)
                        errors[solver] = (sum(t["relative_rmse"] ** 2 * power[t["name"]]
                                              for t in listing["tensors"] if t["name"] in power) / total) ** 0.5
                if done.returncode != 0:
                    print(f"| {encoding} | refused, exit {done.returncode}: {done.stderr.splitlines()[0]} |")
                    break
                ratio = f"{errors['search'] / errors['absmax']:.3f}" if solver == "search" else ""
                print(f"| {encoding} | {solver} | {bits:.3f} | {errors[solver]:.5f} | {ratio} | {sizes[0]:,} | {sizes[1]:,} |")
    peers(weights, total)


def peers(weights, total):
    try:
        import gguf
    except ImportError:
        print("gguf is not installed: pip install gguf")
        return
    for kind, bits in ((gguf.GGMLQuantizationType.Q4_0, 4.5), (gguf.GGMLQuantizationType.Q8_0, 8.5)):
        error = 0.0
        for w in weights.values():
            y = gguf.quants.dequantize(gguf.quants.quantize(w, kind), kind)
            error += float(((w.astype(np.float64) - y) ** 2).sum())
        print(f"| {kind.name} (gguf) | ggml | {bits:.3f} | {(error / total) ** 0.5:.5f} | | | |")


if __name__ == "__main__":
    main()
