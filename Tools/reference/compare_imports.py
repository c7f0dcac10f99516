#!/usr/bin/env python3
"""Proves that `ingot quantize` reads codes and scales of other formats as `Formats/checkpoint.md` §3 defines them.

    compare_imports.py INGOT CHECKPOINT

Exports packs of the checkpoint in every format that holds codes, and makes packs of the exports: these must hold the same tensors.
Then exports are changed in ways that other tools could have written them. What a pack cannot hold must be refused by name, and with
--requantize the pack must be, bit for bit, the one of a checkpoint with the numbers that the codes stand for, as numpy computes them.
Last, what is damaged must be found. Needs numpy. Exits with 1 at the first difference.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import ingot_encodings as encodings
from compare_exports import DTYPES, EXPERT, Difference, packed_tensors, read_gguf, require, run, unpack_blocks, unpack_words
from compare_fp8 import read_checkpoint, write_checkpoint

PACKS = {
    "int4-g32": ["--experts", "int4-g32"], "int4-g64": ["--experts", "int4-g64"], "int8-g32": ["--experts", "int8-g32"],
    "int8-g64": ["--experts", "int8-g64"], "int4-g64s8": ["--experts", "int4-g64s8"],
    "by-layer": ["--experts", "int4-g64", "--override", r"layers\.2\..*\.experts\.=int8-g32"],
    "everything": ["--experts", "int4-g32", "--rest", "int8-g64"],
}
REFUSED = {"by-layer": {"gptq"}, "everything": {"compressed-tensors", "gptq"}}
WAYS = {"compressed-tensors": [[]], "gptq": [[], ["--shard-size", "300kB"]], "mlx": [[]], "gguf": [[], ["--shard-size", "300kB"]]}
EXPERT_3 = "model.layers.1.mlp.experts.3.up_proj"


class Tool:
    """The command, in a directory of its own."""

    def __init__(self, binary, checkpoint, directory):
        self.binary, self.checkpoint, self.directory = binary, checkpoint, Path(directory)

    def export(self, pack, format, name, *options):
        out = self.directory / (name + (".gguf" if format == "gguf" and not options else ""))
        done = run(self.binary, "export", pack, "--to", format, "-o", out, "--force", "-q", *options)
        require(done.returncode == 0, done.stderr)
        return out

    def quantize(self, source, name, *options):
        out = self.directory / f"{name}.ingot"
        is_gguf = source.suffix == ".gguf" or any(source.glob("*.gguf"))
        config = ["--config", self.checkpoint] if is_gguf else []
        done = run(self.binary, "quantize", source, "-o", out, "--force", "-q", "--json", *config, *options)
        return out, done

    def pack(self, source, name, *options):
        out, done = self.quantize(source, name, *options)
        require(done.returncode == 0, f"{source}: {done.stderr}")
        return out, json.loads(done.stdout)

    def refuse(self, source, words, *options):
        out, done = self.quantize(source, "refused", *options)
        require(done.returncode != 0 and not out.exists(), f"{source} was not refused")
        for word in words:
            require(word in done.stderr, f"{source}: no word of `{word}` in\n{done.stderr}")

    def listing(self, pack):
        done = run(self.binary, "inspect", pack, "--json", "-q")
        require(done.returncode == 0, done.stderr)
        return {t["name"]: t for t in json.loads(done.stdout)["tensors"]}


# Back ---------------------------------------------------------------------------------------------------------------------

def compare(tool, first, second, is_gguf):
    """Names, encodings and chunks; where byte scales became bf16, codes and scales; where a GGUF widened, values."""
    a, b = tool.listing(first), tool.listing(second)
    require(list(a) == list(b), "names")
    hashes, tensors = 0, None
    for name, tensor in a.items():
        other = b[name]
        if (tensor["encoding"], tensor["hash"]) == (other["encoding"], other["hash"]):
            hashes += 1
            continue
        tensors = tensors or (packed_tensors(first), packed_tensors(second))
        x, y = tensors[0][name], tensors[1][name]
        require(other["encoding"] == tensor["encoding"].removesuffix("s8") or is_gguf and not x.code, f"{name}: its encoding")
        require(tensor["encoding"].endswith("s8") or is_gguf and not x.code, f"{name}: its chunk")
        if x.code:
            require(np.array_equal(x.codes, y.codes) and np.array_equal(x.scales, y.scales), f"{name}: codes or scales")
        else:
            require(y.dtype == "f32" and np.array_equal(x.values, y.values), f"{name}: values")
    return hashes, len(a) - hashes


def go_and_return(tool):
    for pack, options in PACKS.items():
        first, _ = tool.pack(tool.checkpoint, pack, *options)
        for format, ways in WAYS.items():
            if format in REFUSED.get(pack, ()):
                continue
            for way in ways:
                out = tool.export(first, format, f"{pack}-{format}{'-split' if way else ''}", *way)
                second, _ = tool.pack(out, "again")
                same, equal = compare(tool, first, second, format == "gguf")
                print(f"{pack} through {' '.join([format, *way])}: {same} tensors with the same chunks, {equal} with equal numbers")


def read_all(directory):
    return {name: (dtype, np.frombuffer(bytearray(data), DTYPES[dtype]).reshape(shape))
            for name, dtype, shape, data in read_checkpoint(directory)}


# Others -------------------------------------------------------------------------------------------------------------------

def edited(directory, out, edit):
    """A copy of an export whose tensors, names to (type, array), were changed."""
    config, tensors = {}, read_all(directory)
    edit(tensors, config)
    shutil.rmtree(out, ignore_errors=True)
    write_checkpoint(directory, out, [(n, d, a.shape, a.tobytes()) for n, (d, a) in tensors.items()], config)
    return out


def edited_gguf(path, out, edit):
    """The same of a GGUF: `edit` gets the blocks of each tensor of blocks, a row each."""
    data = bytearray(path.read_bytes())
    for name, (label, array) in read_gguf(path)[0].items():
        if label in ("Q4_0", "Q8_0"):
            at = data.index(array.tobytes())
            size = 18 if label == "Q4_0" else 34
            blocks = array.copy().reshape(-1, size)
            edit(name, blocks)
            data[at:at + array.nbytes] = blocks.tobytes()
    out.write_bytes(data)
    return out


def foreign_f16(array):
    """Scales with more bits than bf16 has: the lowest of f16."""
    return (array.view(np.uint16) | 1).view(array.dtype)


def numbers(tensors, config):
    """Published name to what codes and scales stand for: of GPTQ and MLX, in binary32."""
    found = {}
    for name, (dtype, array) in tensors.items():
        if name.endswith(".qweight"):
            module = name.removesuffix(".qweight")
            scales, zeros, groups = (tensors[module + s][1] for s in (".scales", ".qzeros", ".g_idx"))
            bits = len(array) * 32 // len(groups)
            half = 1 << bits - 1
            codes = unpack_words(np.ascontiguousarray(array.T), bits) + half
            zero = unpack_words(zeros, bits).T + half + (0 if config.get("checkpoint_format") == "gptq_v2" else 1)
            zero %= 1 << bits  # zero 0 less one is stored as the largest
            scale = scales.astype(np.float32).T
            found[module + ".weight"] = scale[:, groups] * (codes - zero[:, groups]).astype(np.float32)
        elif name.endswith(".biases"):
            module = name.removesuffix(".biases")
            words, scales = tensors[module + ".weight"][1], encodings.from_bf16(tensors[module + ".scales"][1])
            own = config.get(module, config)
            codes = unpack_words(words, own["bits"]) + (1 << own["bits"] - 1)
            wide = [np.repeat(a, own["group_size"], axis=-1) for a in (scales, encodings.from_bf16(array))]
            values = wide[0] * codes.astype(np.float32) + wide[1]
            prefix, projection = module.removeprefix("language_model.").split("switch_mlp.")
            for expert, one in enumerate(values):
                found[f"{prefix}experts.{expert}.{projection}.weight"] = one
    return found


def numbers_of_gguf(path):
    found = {}
    for name, (label, array) in read_gguf(path)[0].items():
        match = re.fullmatch(r"blk\.(\d+)\.ffn_(\w+)_exps\.weight", name)
        if not match:
            continue
        layer, projection = match.groups()
        for expert, rows in enumerate(array):
            codes, scales = unpack_blocks(rows, label)
            found[f"model.layers.{layer}.mlp.experts.{expert}.{projection}_proj.weight"] = \
                np.repeat(scales, 32, axis=1) * codes.astype(np.float32)
    return found


def compare_anew(tool, source, values, what):
    """--requantize makes the pack of a checkpoint with these experts, and tells the error."""
    plain = tool.directory / "plain"
    shutil.rmtree(plain, ignore_errors=True)
    tensors = []
    for name, dtype, shape, data in read_checkpoint(tool.checkpoint):
        if EXPERT.match(name):
            require(name in values and values[name].shape == tuple(shape), f"{name}: no numbers")
            dtype, data = "F32", values[name].tobytes()
        tensors.append((name, dtype, shape, data))
    write_checkpoint(tool.checkpoint, plain, tensors, {})
    for options in (["--experts", "int4-g32"], ["--experts", "int8-g64", "--solver", "absmax"]):
        first, _ = tool.pack(plain, "first", *options)
        second, told = tool.pack(source, "second", "--requantize", *options)
        a, b = tool.listing(first), tool.listing(second)
        for name in a:
            if EXPERT.match(name):
                require((a[name]["hash"], a[name]["relative_rmse"]) == (b[name]["hash"], b[name]["relative_rmse"]), name)
        tensors = packed_tensors(second)
        error = sum(float(np.sum((values[n].astype(np.float64) - tensors[n].values) ** 2)) for n in values)
        power = sum(float(np.sum(values[n].astype(np.float64) ** 2)) for n in values)
        mine, theirs = (error / power) ** 0.5, told["requantized"]["relative_rmse"]
        require(abs(mine - theirs) <= 1e-5 * mine, f"{what}: the error is {mine}, told is {theirs}")
        require(sum(told["requantized"]["matrices"].values()) == len(values), f"{what}: matrices")
    print(f"{what}: refused, and anew {len(values)} experts of the numbers that numpy computes, relative RMSE {theirs:.5f}")


def of_others(tool):
    pack, eight = tool.directory / "int4-g32.ingot", tool.directory / "int8-g64.ingot"
    gptq, mlx, gguf = (tool.directory / f"int4-g32-{f}" for f in ("gptq", "mlx", "gguf.gguf"))

    def change(pattern, edit):
        def all(tensors, _):
            for name, (dtype, array) in tensors.items():
                if name.endswith(pattern):
                    tensors[name] = dtype, np.ascontiguousarray(edit(array))
        return all

    def act_order(tensors, _):
        change(".g_idx", lambda a: np.random.default_rng(5).permutation(a).astype("<i4"))(tensors, _)

    def second_version(tensors, config):
        change(".qzeros", lambda a: a + np.int32(0x11111111))(tensors, config)
        settings = json.loads((gptq / "config.json").read_text())["quantization_config"]
        config["quantization_config"] = {**settings, "checkpoint_format": "gptq_v2"}

    group = "row 0, group 0, "
    for what, edit, words in (
        ("GPTQ with scales of f16", change(".scales", foreign_f16), [".weight", group, "no number of bf16", "--requantize"]),
        ("GPTQ with other zeros", change(".qzeros", lambda a: a ^ np.int32(0x11111111)), [group, "asymmetric", "--requantize"]),
        ("GPTQ with zeros of 0", change(".qzeros", lambda a: a | np.int32(0x000F000F)), [group, "asymmetric", "--requantize"]),
        ("GPTQ with act-order", act_order, ["qweight", "act-order", "--requantize"]),
    ):
        out = edited(gptq, tool.directory / "other", edit)
        tool.refuse(out, words)
        compare_anew(tool, out, numbers(read_all(out), {}), what)
    second, _ = tool.pack(edited(gptq, tool.directory / "other", second_version), "again")
    compare(tool, pack, second, False)
    print("GPTQ, version 2 of its zeros: the same pack")

    settings = json.loads((mlx / "config.json").read_text())["quantization"]
    out = edited(mlx, tool.directory / "other", change(".biases", lambda a: a + np.uint16(3)))
    tool.refuse(out, [group, "asymmetric", "--requantize"])
    compare_anew(tool, out, numbers(read_all(out), settings), "MLX with other biases")

    def foreign(_, blocks):
        blocks[:, 0] |= 1
    out = edited_gguf(gguf, tool.directory / "other.gguf", foreign)
    tool.refuse(out, [group, "no number of bf16", "--requantize"])
    compare_anew(tool, out, numbers_of_gguf(out), "GGUF with scales of f16, Q4_0")
    out = edited_gguf(tool.directory / "int8-g64-gguf.gguf", tool.directory / "other.gguf", foreign)
    compare_anew(tool, out, numbers_of_gguf(out), "the same, Q8_0")

    ct = tool.directory / "int8-g64-compressed-tensors"
    tool.refuse(edited(ct, tool.directory / "other", change("_packed", lambda a: a & np.int32(-256))), ["−128", "--requantize"])
    tool.refuse(tool.checkpoint, ["nothing to do"], "--requantize")
    require(eight.exists(), "the pack of int8")


# Damage -------------------------------------------------------------------------------------------------------------------

def swapped(array):
    raw = np.ascontiguousarray(array).view(np.uint8)
    return ((raw & 15) << 4 | raw >> 4).view(array.dtype).reshape(array.shape)


def differs(tool, first, source, what, changed):
    second, _ = tool.pack(source, "damaged")
    a, b = tool.listing(first), tool.listing(second)
    found = [n for n in a if (a[n]["encoding"], a[n]["hash"]) != (b[n]["encoding"], b[n]["hash"]) and EXPERT.match(n)]
    require(len(found) == changed and all(".experts.3." in n for n in found), f"{what}: {len(found)} tensors differ")
    print(f"{what}: found")


def damaged(tool):
    pack = tool.directory / "int4-g64.ingot"
    gptq, mlx, gguf = (tool.directory / f"int4-g64-{f}" for f in ("gptq", "mlx", "gguf.gguf"))
    out = tool.directory / "damaged"

    def at(name, edit):
        def one(tensors, _):
            dtype, array = tensors[name]
            tensors[name] = dtype, np.ascontiguousarray(edit(array))
        return one

    def without(part):
        def rest(tensors, _):
            for name in [n for n in tensors if part in n]:
                del tensors[name]
        return rest

    def one_scale(a):
        a.view(np.uint16)[0, 0] ^= 0x10  # stays a number of bf16
        return a

    stack = "language_model.model.layers.1.mlp.switch_mlp.up_proj"

    # Tensors of an expert lie in one chunk, which has one hash.
    differs(tool, pack, edited(gptq, out, at(EXPERT_3 + ".scales", one_scale)), "GPTQ, one scale", 3)
    differs(tool, pack, edited(gptq, out, at(EXPERT_3 + ".qweight", swapped)), "GPTQ, halves swapped", 3)
    tool.refuse(edited(gptq, out, without(".experts.5.")), ["experts.5.gate_proj.weight", "missing"])
    tool.refuse(edited(gptq, out, without("experts.5.up_proj.qzeros")), ["experts.5.up_proj.qzeros", "missing"])
    tool.refuse(edited(gptq, out, at(EXPERT_3 + ".g_idx", lambda a: a + np.int32(9))), ["g_idx", "of group"])
    tool.refuse(edited(gptq, out, at(EXPERT_3 + ".qzeros", lambda a: a[:, 1:])), ["qzeros", "has shape"])

    def expert_3(edit):
        def one(a):
            a[3] = edit(a[3])
            return a
        return one

    differs(tool, pack, edited(mlx, out, at(stack + ".weight", expert_3(swapped))), "MLX, halves swapped", 3)
    tool.refuse(edited(mlx, out, at(stack + ".scales", lambda a: a + np.uint16(1))), ["asymmetric"])
    tool.refuse(edited(mlx, out, without(stack + ".biases")), [stack + ".biases", "missing"])

    def fewer(tensors, _):
        for part in (".weight", ".scales", ".biases"):
            at(stack + part, lambda a: a[:-1])(tensors, _)
    tool.refuse(edited(mlx, out, fewer), [stack + ".weight", "has shape"])

    def swap_blocks(name, blocks):
        if name == "blk.1.ffn_up_exps.weight":
            each = len(blocks) // len(read_gguf(gguf)[0][name][1])
            blocks[3 * each:4 * each, 2:] = swapped(blocks[3 * each:4 * each, 2:])
    differs(tool, pack, edited_gguf(gguf, tool.directory / "damaged.gguf", swap_blocks), "GGUF, halves swapped", 3)

    data = gguf.read_bytes()
    cut = tool.directory / "cut.gguf"
    for length in (0, 3, 4, 20, 100, 5000, len(data) // 2, len(data) - 100):
        cut.write_bytes(data[:length])
        tool.refuse(cut, ["cut.gguf"])
    other = tool.directory / "otherwise"
    shutil.copytree(tool.checkpoint, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_experts_per_tok": config["num_experts_per_tok"] - 1}))
    done = run(tool.binary, "quantize", gguf, "--config", other, "-o", tool.directory / "x.ingot", "-q")
    require(done.returncode == 1 and "num_experts_per_tok" in done.stderr, done.stderr)
    done = run(tool.binary, "inspect", gguf)
    require(done.returncode == 0 and "GGUF" in done.stdout and "int4-g32" in done.stdout, done.stdout + done.stderr)
    print("what is missing, cut or of another model is refused by name")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        tool = Tool(sys.argv[1], Path(sys.argv[2]), directory)
        go_and_return(tool)
        of_others(tool)
        damaged(tool)


if __name__ == "__main__":
    try:
        main()
    except Difference as difference:
        sys.exit(f"a difference: {difference}")
