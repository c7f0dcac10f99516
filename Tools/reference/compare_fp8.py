#!/usr/bin/env python3
"""Proves that `ingot` reads FP8 as `Formats/checkpoint.md` §2 defines it.

    compare_fp8.py INGOT CHECKPOINT
    compare_fp8.py --write SPELLING CHECKPOINT OUT    writes OUT.fp8 and, with the same numbers, OUT.bf16

Makes FP8 of a bf16 checkpoint in every spelling, and from that the bf16 that it stands for. Packs of both must hold the same chunks,
and `inspect --diff` must find the same numbers. Exits with 1 at the first difference.
"""

import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BLOCK = 128
E4M3 = np.array([m / 8 * 2.0 ** -6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7) for e in range(16) for m in range(8)][:127],
                dtype=np.float32)
E5M2 = np.array([m / 4 * 2.0 ** -14 if e == 0 else (1 + m / 4) * 2.0 ** (e - 15) for e in range(31) for m in range(4)],
                dtype=np.float32)

# Spelling: type, what shares a scale, type and suffix of the scales, whether experts are stacked, keys of config.json.
SPELLINGS = {
    "huggingface": ("F8_E4M3", "block", "F32", "_scale_inv", False, {
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                "weight_block_size": [BLOCK, BLOCK], "modules_to_not_convert": ["lm_head"]}}),
    "uni": ("F8_E4M3", "block", "F32", "_scale", True, {"use_fp8_experts": True}),
    "channel": ("F8_E4M3", "row", "BF16", "_scale", False, {
        "quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "symmetric": True,
                                                           "strategy": "channel", "dynamic": False}}}}}),
    "tensor": ("F8_E5M2", "tensor", "F32", "_scale", False, {
        "quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "symmetric": True,
                                                           "strategy": "tensor", "dynamic": False}}}}}),
}


def bf16_bits(x):
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def scales_of(x, sharing):
    """The largest magnitude of what shares a scale, as the shape of the scales, and that spread over the elements."""
    if sharing == "tensor":
        largest = np.abs(x).max().reshape(1)
        return largest, lambda s: s
    if sharing == "row":
        return np.abs(x).max(axis=-1, keepdims=True), lambda s: s
    rows, columns = x.shape[-2:]
    down, across = -(-rows // BLOCK), -(-columns // BLOCK)
    padded = np.zeros((*x.shape[:-2], down * BLOCK, across * BLOCK), np.float32)
    padded[..., :rows, :columns] = np.abs(x)
    largest = padded.reshape(*x.shape[:-2], down, BLOCK, across, BLOCK).max(axis=(-3, -1))
    return largest, lambda s: s.repeat(BLOCK, -2).repeat(BLOCK, -1)[..., :rows, :columns]


def to_fp8(x, dtype, sharing, scale_type):
    """Codes and bytes of scales, the scales' shape, and the bits of the bf16 that they stand for."""
    table = E4M3 if dtype == "F8_E4M3" else E5M2
    largest, spread = scales_of(x, sharing)
    scales = np.where(largest == 0, np.float32(1), largest / table[-1]).astype(np.float32)
    stored = scales
    if scale_type == "BF16":
        stored = bf16_bits(scales)
        scales = from_bf16(stored)
    wide = spread(scales)
    codes = np.searchsorted((table[1:] + table[:-1]) / 2, np.abs(x / wide)).astype(np.uint8)
    values = np.where(np.signbit(x), -table[codes], table[codes])
    codes |= np.signbit(x).astype(np.uint8) << 7
    return codes, stored, scales.shape, bf16_bits((values * wide).astype(np.float32))


def read_checkpoint(directory):
    """(name, type, shape, bytes) of every tensor."""
    tensors = []
    for path in sorted(Path(directory).glob("*.safetensors")):
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8:8 + length]).items():
            if name != "__metadata__":
                begin, end = (8 + length + offset for offset in entry["data_offsets"])
                tensors.append((name, entry["dtype"], entry["shape"], data[begin:end]))
    return tensors


def write_checkpoint(source, directory, tensors, keys):
    directory = Path(directory)
    directory.mkdir(parents=True)
    for path in Path(source).iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja") and "safetensors" not in path.name:
            shutil.copyfile(path, directory / path.name)
    config = {**json.loads((directory / "config.json").read_text()), **keys}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    entries, at = {}, 0
    for name, dtype, shape, data in tensors:
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    header = json.dumps(entries).encode()
    with open(directory / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors:
            file.write(tensor[3])


def stacked(tensors):
    """The experts of a projection in one tensor, without `.weight`."""
    rest, stacks = [], {}
    for name, dtype, shape, data in tensors:
        words = name.split(".")
        if ".experts." in name:
            stacks.setdefault(".".join(words[:-3] + words[-2:-1]), {})[int(words[-3])] = (dtype, shape, data)
        else:
            rest.append((name, dtype, shape, data))
    for name, experts in stacks.items():
        dtype, shape, _ = experts[0]
        rest.append((name, dtype, [len(experts), *shape], b"".join(experts[e][2] for e in range(len(experts)))))
    return rest


def write(spelling, source, out):
    dtype, sharing, scale_type, suffix, is_stacked, keys = SPELLINGS[spelling]
    fp8, plain = [], []
    tensors = read_checkpoint(source)
    for name, kind, shape, data in stacked(tensors) if is_stacked else tensors:
        wanted = ".experts." in name or not is_stacked and (name.endswith("_proj.weight") or ".attention." in name)
        if kind != "BF16" or len(shape) < 2 or not wanted:
            fp8.append((name, kind, shape, data))
            plain.append((name, kind, shape, data))
            continue
        x = from_bf16(np.frombuffer(data, np.uint16).reshape(shape))
        codes, scales, scale_shape, bits = to_fp8(x, dtype, sharing, scale_type)
        fp8.append((name, dtype, shape, codes.tobytes()))
        fp8.append((name + suffix, scale_type, scale_shape, scales.tobytes()))
        plain.append((name, kind, shape, bits.tobytes()))
    write_checkpoint(source, f"{out}.fp8", fp8, keys)
    write_checkpoint(source, f"{out}.bf16", plain, {})


def run(*arguments, codes=(0,)):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode not in codes:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def compare(ingot, checkpoint):
    with tempfile.TemporaryDirectory() as directory:
        for spelling in SPELLINGS:
            out = f"{directory}/{spelling}"
            write(spelling, checkpoint, out)
            diff = json.loads(run(ingot, "inspect", f"{out}.fp8", "--diff", f"{out}.bf16", "--json", "-q", codes=(0, 1)))
            for key in ("only_in_first", "only_in_second", "shapes", "encodings", "not_comparable", "numbers"):
                if diff[key]:
                    sys.exit(f"{spelling}: {key} differ: {diff[key][:3]}")
            for options in (["--experts", "int4-g64"], ["--experts", "int8-g32s8", "--rest", "int8-g32"]):
                listings = []
                for kind in ("fp8", "bf16"):
                    run(ingot, "quantize", f"{out}.{kind}", "-o", f"{out}.{kind}.ingot", "--force", "-q", *options)
                    listings.append(json.loads(run(ingot, "inspect", f"{out}.{kind}.ingot", "--json", "-q")))
                tensors = [[[t["name"], t["hash"], t["relative_rmse"]] for t in listing["tensors"]] for listing in listings]
                if tensors[0] != tensors[1]:
                    sys.exit(f"{spelling}: packs with {' '.join(options)} differ")
            print(f"{spelling}: {len(tensors[0])} tensors are those of the dequantized checkpoint, bit for bit")


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(*sys.argv[2:])
    else:
        compare(*sys.argv[1:])
