#!/usr/bin/env python3
"""Compares the second reader, the module ingot of Tools/python, with `ingot`, bit for bit.

    compare_readers.py INGOT CHECKPOINT

Packs the checkpoint in several ways; for each pack, rules and hashes must hold, listings must agree with `ingot inspect --json`,
and every tensor must decode to the same bytes as `ingot inspect --npy` writes. Exits with 1 at the first difference.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from read_pack import as_json, ingot as reader

PACKS = {
    "default": [],
    "zstd": ["--compress", "zstd"],
    "mixed": ["--experts", "int8-g32", "--rest", "int8-g64", "--override", r"layers\.1\..*down_proj=int4-g32",
              "--override", r"experts\.(3|7)\.up_proj=keep", "--compress", "zstd", "--solver", "absmax"],
    "bytes": ["--experts", "int4-g16s8", "--rest", "int8-g32s8", "--override", r"layers\.1\..*down_proj=int4-g64s8",
              "--override", r"experts\.(3|7)\.up_proj=int8-g32", "--compress", "zstd"],
    "bytes, absmax": ["--experts", "int8-g64s8", "--rest", "int4-g64s8", "--solver", "absmax"],
}


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def require(condition, what):
    if not condition:
        sys.exit(f"the readers differ: {what}")


def compare(ingot, path, directory):
    pack = reader.open(path)
    pack.check()
    run(ingot, "inspect", path, "--check", "-q")
    theirs = json.loads(run(ingot, "inspect", path, "--json"))
    ours = as_json(path)
    require(theirs["file"]["root_hash"] == ours["header"]["root_hash"], "root hash")
    require([c["stored_hash"] for c in theirs["chunks"]] == [c["stored_hash"] for c in ours["chunks"]], "chunk hashes")
    require([c["offset"] for c in theirs["chunks"]] == [c["offset"] for c in ours["chunks"]], "chunk offsets")
    require([f["name"] for f in theirs["files"]] == [f["name"] for f in ours["files"]], "embedded files")
    require(len(theirs["tensors"]) == len(ours["tensors"]), "number of tensors")
    for a, b in zip(sorted(theirs["tensors"], key=lambda t: t["name"]), ours["tensors"]):
        name = b["name"]
        require(a["name"] == name and a["shape"] == b["dimensions"] and a["encoding"] == b["encoding_name"], name)
        require(a["chunks"] == [b["first_chunk"], b["chunk_count"]], f"{name}: chunks")
        require((a["relative_rmse"] or 0) == b["relative_rmse"], f"{name}: relative RMSE")
        npy = f"{directory}/tensor.npy"
        run(ingot, "inspect", path, "--tensor", name, "--npy", npy, "--force", "-q")
        arrays = np.load(npy), pack.tensor(name)
        require(arrays[0].dtype == arrays[1].dtype and arrays[0].shape == arrays[1].shape
                and arrays[0].tobytes() == arrays[1].tobytes(), f"{name}: numbers")
    return len(ours["tensors"])


def main():
    ingot, checkpoint = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        for name, options in PACKS.items():
            path = f"{directory}/{name}.ingot"
            run(ingot, "quantize", checkpoint, "-o", path, "-q", *options)
            count = compare(ingot, path, directory)
            print(f"{name}: {Path(path).stat().st_size:,} bytes, {count} tensors agree bit for bit")


if __name__ == "__main__":
    main()
