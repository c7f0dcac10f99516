#!/usr/bin/env python3
"""Reads exports as the documents of their formats say (Formats/export-*.md) and compares every tensor with the pack, bit for bit.

    compare_exports.py INGOT CHECKPOINT [--keep DIRECTORY]

Packs the checkpoint in several ways and exports each pack in every format that can hold it; a model of LLaDA2 also with block routing,
which minnow wants. Codes and scales must be those of the
pack, names must be the expected ones and no others, lists of what is not quantized must leave the experts alone. Then each export
is changed in memory in ways that a writer could get wrong, and every change must be found. Each checkpoint is also exported without a pack: the same
bytes. Needs numpy; where the package `gguf` is there, files are read with it, too, and numbers that a GGUF rounds are compared with its own. Exits with 1 at the first difference.
"""

import argparse
import copy
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import ingot_encodings as encodings
import minnow
from read_pack import ingot

PACKS = {
    "int4-g32": ["--experts", "int4-g32"], "int4-g64": ["--experts", "int4-g64"],
    "int4-g32s8": ["--experts", "int4-g32s8", "--compress", "zstd"], "int4-g64s8": ["--experts", "int4-g64s8"],
    "int8-g32": ["--experts", "int8-g32"], "int8-g64s8": ["--experts", "int8-g64s8"],
    "int4-g16s8": ["--experts", "int4-g16s8"],
    "by layer": ["--experts", "int4-g64", "--override", r"layers\.2\..*\.experts\.=int8-g32"],
    "everything": ["--experts", "int4-g32", "--rest", "int8-g64"],
    "positive": ["--experts", "int4-g32s8", "--solver", "search-positive"],
    "positive-g16": ["--experts", "int4-g16s8", "--solver", "search-positive"],
    "absmax": ["--experts", "int4-g64", "--solver", "absmax"],
}
# What must be refused; all else must be written.
REFUSED = {
    "int4-g16s8": {"compressed-tensors", "gguf", "mlx", "gptq"}, "by layer": {"gptq"},
    "everything": {"compressed-tensors", "gptq", "minnow"}, "positive-g16": {"compressed-tensors", "gguf", "mlx", "gptq"},
}
# The search pairs code -8 with negative scales.
for name, own in PACKS.items():
    if "--solver" not in own and not own[1].startswith("int8"):
        REFUSED.setdefault(name, set()).add("minnow")
# The same for families, by how the name of their embedding begins, or by the model's type: SDAR, LLaDA2.0-Uni beside what sees and
# draws, Ling.
REFUSED_FOR = {"model.embed_tokens.": {"gguf", "mlx", "minnow"}, "model.language_model.": {"gguf", "mlx", "minnow"},
               "bailing_moe": {"mlx", "minnow"}}
FORMATS = ("safetensors", "compressed-tensors", "gguf", "mlx", "gptq", "minnow")
# Further options, and what the output is called behind the format.
WAYS = {"safetensors": [["--dtype", "f32"], ["--dtype", "bf16", "--shard-size", "500kB"]],
        "gguf": [[], *(["--dtype", dtype] for dtype in ("bf16", "f16", "f32", "q8_0"))]}
SUFFIXES = {"gguf": ".gguf", "minnow": ".mnw"}


class Difference(Exception):
    """An export is not what its pack says."""


def require(condition, what):
    if not condition:
        raise Difference(what)


# The pack ---------------------------------------------------------------------------------------------------------------

class Packed:
    """A tensor of a pack: codes and scales, or the bytes of plain elements."""

    def __init__(self, pack, name):
        info = pack[name]
        self.name, self.shape, self.group, self.values = name, info.shape, info.group_size, pack.tensor(name)
        if info.is_plain:
            self.code, self.dtype, self.plain = None, info.encoding, pack.stored(name).tobytes()
        else:
            self.code, self.dtype, self.scales = info.encoding.split("-")[0], None, pack.scales(name)
            self.codes = ingot.unpack_int4(pack.codes(name)) if self.code == "int4" else pack.codes(name)


def packed_tensors(path):
    pack = ingot.open(path)
    return {name: Packed(pack, name) for name in pack}


# Files ------------------------------------------------------------------------------------------------------------------

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8"}


def read_safetensors(path):
    """Name to (type, array); bf16 as bits. Gaps, overlaps and elements that are not aligned are differences."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    require(data[8:9] == b"{" and (8 + length) % 8 == 0, f"{path}: the header")
    metadata = header.pop("__metadata__")
    require(set(metadata) == {"format"}, f"{path}: metadata")
    end, tensors = 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        array = np.frombuffer(data[8 + length + begin:8 + length + stop], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        require(begin == end and begin % array.itemsize == 0, f"{name}: its place")
        tensors[name], end = (entry["dtype"], array), stop
    require(8 + length + end == len(data), f"{path}: its end")
    return tensors


class Export:
    """All tensors and the configuration; of a GGUF its metadata."""

    def __init__(self, path, format):
        path = Path(path)
        if format == "gguf":
            self.tensors, self.config = read_gguf(path)
            return
        if format == "minnow":
            try:
                self.config, self.tensors = minnow.read(path)
            except minnow.Malformed as error:
                raise Difference(f"{path}: {error}")
            return
        index = path / "model.safetensors.index.json"
        if index.exists():
            listed = json.loads(index.read_text())
            self.tensors = {}
            for shard in sorted(set(listed["weight_map"].values())):
                found = read_safetensors(path / shard)
                require(all(listed["weight_map"].get(n) == shard for n in found), f"{shard} is not as the index says")
                self.tensors.update(found)
            require(set(self.tensors) == set(listed["weight_map"]), "the index names other tensors")
            require(listed["metadata"]["total_size"] == sum(a.nbytes for _, a in self.tensors.values()), "total_size")
        else:
            self.tensors = read_safetensors(path / "model.safetensors")
        self.config = json.loads((path / "config.json").read_text())

    def take(self, name):
        require(name in self.tensors, f"there is no {name}")
        return self.tensors.pop(name)


GGML = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2)}
GGUF_VALUES = {2: "<u2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "u1"}


def read_gguf(path):
    data, at = Path(path).read_bytes(), 4
    require(data[:4] == b"GGUF", "the magic")

    def number(dtype):
        nonlocal at
        value = np.frombuffer(data, dtype, 1, at)[0]
        at += np.dtype(dtype).itemsize
        return value.item()

    def text():
        nonlocal at
        length = number("<u8")
        at += length
        return data[at - length:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            element = number("<u4")
            return [value(element) for _ in range(number("<u8"))]
        return number(GGUF_VALUES[kind])

    require(number("<u4") == 3, "the version")
    tensor_count, value_count = number("<u8"), number("<u8")
    metadata = {}
    for _ in range(value_count):
        key = text()
        metadata[key] = value(number("<u4"))
    infos = []
    for _ in range(tensor_count):
        name = text()
        shape = [number("<u8") for _ in range(number("<u4"))][::-1]
        infos.append((name, shape, number("<u4"), number("<u8")))
    start, end, tensors = -(-at // 32) * 32, 0, {}
    for name, shape, kind, offset in infos:
        label, elements, size = GGML[kind]
        length = int(np.prod(shape)) // elements * size
        require(offset == -(-end // 32) * 32, f"{name}: its place")
        end = offset + length
        tensors[name] = label, np.frombuffer(data, np.uint8, length, start + offset).reshape(*shape[:-1], -1)
    require(start + -(-end // 32) * 32 == len(data), "the end of the file")
    return tensors, metadata


# Formats ----------------------------------------------------------------------------------------------------------------

def same(a, b):
    """Equal bits, but for the sign of zero."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())


def unpack_words(words, bits):
    """Words along the last axis to codes, the lowest bits first."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = words.view(np.uint32)[..., None] >> shifts & np.uint32((1 << bits) - 1)
    return codes.reshape(*words.shape[:-1], -1).astype(np.int64) - (1 << bits - 1)


def require_codes(packed, codes, scales):
    require(same(np.asarray(codes, np.int64), packed.codes.astype(np.int64)), f"{packed.name}: codes")
    require(same(np.asarray(scales, np.float32), packed.scales), f"{packed.name}: scales")


def require_plain(export, name, packed):
    dtype, array = export.take(name)
    require(dtype.lower() == packed.dtype and array.tobytes() == packed.plain, f"{name}: its bytes")
    require(array.shape == packed.shape, f"{name}: its shape")


def bits(packed):
    return 4 if packed.code == "int4" else 8


def stem(name):
    return name.removesuffix(".weight")


def compare_safetensors(export, tensors):
    exact = export.config.get("torch_dtype") == "float32"
    for packed in tensors.values():
        if not packed.code:
            require_plain(export, packed.name, packed)
            continue
        dtype, array = export.take(packed.name)
        require(dtype == ("F32" if exact else "BF16"), f"{packed.name}: its type")
        want = packed.values if exact else encodings.to_bf16(packed.values)
        require(array.tobytes() == want.tobytes() and array.shape == packed.shape, f"{packed.name}: values")


def runtime_modules(config):
    """Names that SGLang gives the linear modules of the model, and those that it looks experts up by."""
    rest, experts = ["lm_head"], {}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        if config["model_type"] == "sdar_moe":
            rest += [prefix + "self_attn.qkv_proj", prefix + "self_attn.o_proj", prefix + "mlp.gate"]
            experts[layer] = [f"{prefix}mlp.experts.0.{p}_proj" for p in ("gate", "up", "down")]
            continue
        rest += [prefix + "attention.query_key_value", prefix + "attention.dense"]
        if layer < config["first_k_dense_replace"]:
            rest += [prefix + "mlp.gate_up_proj", prefix + "mlp.down_proj"]
            continue
        rest += [prefix + "mlp.gate", prefix + "mlp.shared_experts.gate_up_proj", prefix + "mlp.shared_experts.down_proj"]
        experts[layer] = [f"{prefix}mlp.experts.0.{p}_proj" for p in ("gate", "up", "down")]
    return rest, experts


def is_listed(name, targets):
    """`check_equal_or_regex_match` of SGLang."""
    return any(re.match(t[3:], name) if t.startswith("re:") else t == name or name.endswith("." + t) for t in targets)


def compare_compressed_tensors(export, tensors):
    for packed in tensors.values():
        if not packed.code:
            require_plain(export, packed.name, packed)
            continue
        module = stem(packed.name)
        _, words = export.take(module + ".weight_packed")
        dtype, scales = export.take(module + ".weight_scale")
        _, shape = export.take(module + ".weight_shape")
        require(dtype == "BF16" and tuple(shape) == packed.shape, f"{module}: scales or shape")
        require_codes(packed, unpack_words(words, bits(packed)), encodings.from_bf16(scales))
    settings = export.config["quantization_config"]
    require(settings["quant_method"] == "compressed-tensors" and settings["format"] == "pack-quantized", "the format")
    rest, experts = runtime_modules(export.config)
    for name in rest:
        require(is_listed(name, settings["ignore"]), f"{name} would be taken for quantized")
    for layer, names in experts.items():
        of = next(t for n, t in tensors.items() if n.endswith(f".layers.{layer}.mlp.experts.0.up_proj.weight"))
        for name in names:
            require(is_listed(name, settings["ignore"]) == (of.code is None), f"{name} is ignored")
            groups = [g for g in settings["config_groups"].values()
                      if "Linear" in g["targets"] or is_listed(name, g["targets"])]
            require(len(groups) == 1 or of.code is None, f"{name} has {len(groups)} schemes")
            if of.code:
                weights = groups[0]["weights"]
                require((weights["num_bits"], weights["group_size"]) == (bits(of), of.group), f"{name}: its scheme")


def compare_gptq(export, tensors):
    settings = export.config["quantization_config"]
    require(settings["checkpoint_format"] == "gptq" and settings["sym"] and not settings["desc_act"], "the settings")
    for packed in tensors.values():
        if not packed.code:
            require_plain(export, packed.name, packed)
            continue
        module, b = stem(packed.name), bits(packed)
        _, words = export.take(module + ".qweight")
        dtype, scales = export.take(module + ".scales")
        _, zeros = export.take(module + ".qzeros")
        _, groups = export.take(module + ".g_idx")
        require(dtype == "F16" and (settings["bits"], settings["group_size"]) == (b, packed.group), f"{module}: settings")
        offset = 1 << b - 1
        codes = unpack_words(np.ascontiguousarray(words.T), b) + offset
        zero = unpack_words(zeros, b).T + offset + 1                  # the first version stores one less
        require(zero.shape == packed.scales.shape, f"{module}: zeros")
        require(same(groups.astype(np.int64), np.arange(packed.shape[1]) // packed.group), f"{module}: g_idx")
        require_codes(packed, codes - zero[:, groups], scales.T.astype(np.float32))
    rest, experts = runtime_modules(export.config)
    skipped = [p[2:] for p in settings["dynamic"] if p.startswith("-:")]
    for name in rest:
        require(any(re.match(p, name) for p in skipped), f"{name} would be taken for quantized")
    for name in sum(experts.values(), []):
        require(not any(re.match(p, name) for p in skipped), f"{name} is skipped")


EXPERT = re.compile(r"(.*mlp\.)experts\.(\d+)\.(\w+)\.weight$")


def stacks(tensors):
    """Experts of a projection and layer, in order: (prefix, projection) to tensors; and all others."""
    found, rest = {}, []
    for packed in tensors.values():
        match = EXPERT.match(packed.name)
        if match:
            found.setdefault((match[1], match[3]), {})[int(match[2])] = packed
        else:
            rest.append(packed)
    return {key: [by[i] for i in range(len(by))] for key, by in found.items()}, rest


def compare_mlx(export, tensors):
    settings = export.config["quantization"]
    require(settings == export.config["quantization_config"], "both settings")
    experts, rest = stacks(tensors)

    def check(name, each, stacked):
        one = each[0]
        if not one.code:
            dtype, array = export.take(name)
            require(dtype.lower() == one.dtype and array.tobytes() == b"".join(p.plain for p in each), f"{name}: its bytes")
            return
        module = stem(name)
        arrays = [export.take(n)[1] for n in (name, module + ".scales", module + ".biases")]
        words, scales, biases = arrays if stacked else [a[None] for a in arrays]
        require(len(words) == len(each), f"{name}: experts")
        own = settings.get(module, settings)
        require((own["bits"], own["group_size"], own["mode"]) == (bits(one), one.group, "affine"), f"{name}: settings")
        for packed, w, s, b in zip(each, words, scales, biases):
            s, b = encodings.from_bf16(s), encodings.from_bf16(b)
            require_codes(packed, unpack_words(w, bits(one)), s)
            require(same(b, -np.float32(1 << bits(one) - 1) * s), f"{packed.name}: biases")

    for (prefix, projection), each in experts.items():
        check(f"language_model.{prefix}switch_mlp.{projection}.weight", each, True)
    for packed in rest:
        check("language_model." + packed.name, [packed], False)


GGUF_NAMES = [
    (r"model\.word_embeddings", "token_embd"), (r"model\.norm", "output_norm"), (r"lm_head", "output"),
    (r"model\.layers\.(\d+)\.input_layernorm", r"blk.\1.attn_norm"),
    (r"model\.layers\.(\d+)\.post_attention_layernorm", r"blk.\1.ffn_norm"),
    (r"model\.layers\.(\d+)\.attention\.query_layernorm", r"blk.\1.attn_q_norm"),
    (r"model\.layers\.(\d+)\.attention\.key_layernorm", r"blk.\1.attn_k_norm"),
    (r"model\.layers\.(\d+)\.attention\.query_key_value", r"blk.\1.attn_qkv"),
    (r"model\.layers\.(\d+)\.attention\.dense", r"blk.\1.attn_output"),
    (r"model\.layers\.(\d+)\.mlp\.gate", r"blk.\1.ffn_gate_inp"),
    (r"model\.layers\.(\d+)\.mlp\.shared_experts\.(\w+)_proj", r"blk.\1.ffn_\2_shexp"),
    (r"model\.layers\.(\d+)\.mlp\.(\w+)_proj", r"blk.\1.ffn_\2"),
]


def gguf_name(name):
    if name.endswith(".expert_bias"):
        return re.sub(r"model\.layers\.(\d+)\..*", r"blk.\1.exp_probs_b.bias", name)
    for pattern, other in GGUF_NAMES:
        match = re.fullmatch(pattern, stem(name))
        if match:
            return match.expand(other) + ".weight"
    raise Difference(f"no name for {name}")


def unpack_blocks(rows, label):
    """Rows of blocks to codes and the scale of each block."""
    blocks = rows.reshape(-1, 18 if label == "Q4_0" else 34)
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    body = blocks[:, 2:]
    codes = np.concatenate([body & 15, body >> 4], axis=1).astype(np.int64) - 8 if label == "Q4_0" \
        else body.view(np.int8).astype(np.int64)
    return codes.reshape(len(rows), -1), scales.reshape(len(rows), -1)


def rounded(values, label):
    """Numbers as ggml stores them in a type."""
    if label == "Q8_0":
        blocks = values.reshape(-1, 32)
        scales = np.abs(blocks).max(axis=1) / np.float32(127)
        inverse = np.where(scales == 0, np.float32(0), np.float32(1) / np.where(scales == 0, np.float32(1), scales))
        x = blocks * inverse[:, None]
        whole = np.trunc(x)
        codes = (whole + np.sign(x) * (np.abs(x - whole) >= 0.5)).astype(np.int8)
        return np.concatenate([scales.astype("<f2")[:, None].view(np.uint8), codes.view(np.uint8)], axis=1).tobytes()
    if label == "BF16":
        return encodings.to_bf16(values).tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4"}[label]).tobytes()


def compare_gguf(export, tensors, dtype=None):
    experts, rest = stacks(tensors)

    def check(name, each, rows):
        label, _ = rows
        one = each[0]
        if one.code:
            require(label == ("Q4_0" if one.code == "int4" else "Q8_0"), f"{name}: its type")
            array = rows[1] if rows[1].ndim == 3 else rows[1][None]
            require(len(array) == len(each), f"{name}: experts")
            for packed, own in zip(each, array):
                codes, scales = unpack_blocks(own, label)
                require_codes(packed, codes, scales[:, ::packed.group // 32])
                require(same(scales, np.repeat(scales[:, ::packed.group // 32], packed.group // 32, axis=1)), name)
            return
        want = b"".join(p.plain if label.lower() == p.dtype else rounded(p.values, label) for p in each)
        require(rows[1].tobytes() == want, f"{name}: its bytes")

    for (prefix, projection), each in experts.items():
        layer = re.search(r"layers\.(\d+)\.", prefix)[1]
        name = f"blk.{layer}.ffn_{projection.removesuffix('_proj')}_exps.weight"
        check(name, each, export.take(name))
    for packed in rest:
        name = gguf_name(packed.name)
        rows = export.take(name)
        is_matrix = len(packed.shape) > 1 and ".gate." not in packed.name
        require(packed.code or rows[0] == ((dtype or packed.dtype).upper() if is_matrix else "F32"), f"{name}: its type")
        check(name, [packed], rows)
    keys, a = export.config, export.config["general.architecture"]
    # Only a model that denoises blocks is told to be one.
    require((a == "bailingmoe2") == ("diffusion.shift_logits" not in keys), "what is predicted")
    require(keys[f"{a}.expert_count"] == len(next(iter(experts.values()))), "expert_count")
    require(len(keys["tokenizer.ggml.tokens"]) == keys[f"{a}.vocab_size"], "tokens")


def compare_minnow(export, tensors):
    require(set(json.loads(export.config["assets"]["config.json"])) >= {"expert_capacity", "block_size"}, "config.json")
    for packed in tensors.values():
        encoding, data, scales, group = export.take(packed.name)
        require(encoding == ({"int4": "i4_sym", "int8": "i8_sym"}[packed.code] if packed.code else packed.dtype), f"{packed.name}: its type")
        if not packed.code:
            require(data.tobytes() == packed.plain and data.shape == packed.shape, f"{packed.name}: its bytes")
            continue
        require(group == packed.group, f"{packed.name}: its groups")
        try:
            values = minnow.decode(encoding, data, scales, group)
        except minnow.Malformed as error:
            raise Difference(f"{packed.name}: {error}")
        require(same(values, packed.values), f"{packed.name}: values")


COMPARE = {"safetensors": compare_safetensors, "compressed-tensors": compare_compressed_tensors, "gguf": compare_gguf,
           "mlx": compare_mlx, "gptq": compare_gptq, "minnow": compare_minnow}


def compare(export, format, tensors, **options):
    COMPARE[format](export, tensors, **options)
    require(not export.tensors, f"more tensors than expected: {sorted(export.tensors)[:3]}")


# Changes that a writer could make by mistake ----------------------------------------------------------------------------

def change(export, pattern, edit, count=1):
    names = [n for n in sorted(export.tensors) if re.search(pattern, n)][:count]
    if not names:
        return False
    for name in names:
        label, array, *rest = export.tensors[name]
        export.tensors[name] = label, np.ascontiguousarray(edit(array.copy())), *rest
    return True


def change_scales(export, pattern, edit):
    """The same of the scales of a container of minnow."""
    name = next((n for n in sorted(export.tensors) if re.search(pattern, n)), None)
    encoding, data, scales, group = export.tensors[name]
    if scales is None:
        return False
    export.tensors[name] = encoding, data, edit(scales.copy()), group
    return True


def swap_nibbles(array):
    raw = array.view(np.uint8)
    return ((raw & 15) << 4 | raw >> 4).view(array.dtype)


def swap_nibbles_of_blocks(array):
    blocks = array.reshape(-1, 18)
    blocks[:, 2:] = swap_nibbles(blocks[:, 2:])
    return blocks.reshape(array.shape)


def drop(export, pattern):
    names = [n for n in export.tensors if re.search(pattern, n)]
    for name in names:
        del export.tensors[name]
    return bool(names)


def unlist(export, keys, word):
    """Takes what speaks of `word` out of the list of what is not quantized; False where nothing does."""
    settings, changed = export.config["quantization_config"], False
    for key in keys:
        if key in settings:
            of = settings[key]
            kept = [v for v in of if word not in v]
            settings[key] = kept if isinstance(of, list) else {k: of[k] for k in kept}
            changed |= len(kept) < len(of)
    return changed


IGNORES = ("ignore", "dynamic")
MUTATIONS = {
    "compressed-tensors": {
        "order of nibbles": lambda e: change(e, r"experts\.3\.up_proj\.weight_packed", swap_nibbles),
        "no offset": lambda e: change(e, r"weight_packed", lambda a: a ^ np.int32(-0x77777778)),
        "scales one column on": lambda e: change(e, r"up_proj\.weight_scale", lambda a: np.roll(a, 1, axis=1)),
        "one expert missing": lambda e: drop(e, r"layers\.2\.mlp\.experts\.5\."),
        "list without shared experts": lambda e: unlist(e, IGNORES, "shared_experts"),
        "list without routers": lambda e: unlist(e, IGNORES, "gate"),
    },
    "gptq": {
        "order of nibbles": lambda e: change(e, r"experts\.3\.up_proj\.qweight", swap_nibbles),
        "zero as it is": lambda e: change(e, r"qzeros", lambda a: a + 0x01010101),
        "scales one group on": lambda e: change(e, r"up_proj\.scales", lambda a: np.roll(a, 1, axis=0)),
        "one expert missing": lambda e: drop(e, r"layers\.2\.mlp\.experts\.5\."),
        "list without shared experts": lambda e: unlist(e, IGNORES, "shared_experts"),
    },
    "mlx": {
        "order of nibbles": lambda e: change(e, r"switch_mlp\.up_proj\.weight", swap_nibbles),
        "no bias": lambda e: change(e, r"biases", lambda a: a * 0),
        "bias of another code": lambda e: change(e, r"biases", lambda a: a + 1),
        "scales one column on": lambda e: change(e, r"up_proj\.scales", lambda a: np.roll(a, 1, axis=-1)),
        "one expert missing": lambda e: change(e, r"switch_mlp\.up_proj\.weight", lambda a: a[:-1]),
        "experts in another order": lambda e: change(e, r"switch_mlp\.up_proj\.weight", lambda a: np.roll(a, 1, axis=0)),
    },
    "gguf": {
        "halves swapped": lambda e: e.tensors["blk.1.ffn_up_exps.weight"][0] == "Q4_0"
        and change(e, r"blk\.1\.ffn_up_exps", swap_nibbles_of_blocks),
        "experts in another order": lambda e: change(e, r"ffn_up_exps", lambda a: np.roll(a, 1, axis=0)),
        "one expert missing": lambda e: change(e, r"ffn_up_exps", lambda a: a[:-1]),
        "blocks one on": lambda e: change(e, r"ffn_up_exps", lambda a: np.roll(a, 34, axis=-1)),
        "no bias of the router": lambda e: drop(e, r"exp_probs_b"),
    },
    "minnow": {
        "order of nibbles": lambda e: e.tensors["model.layers.1.mlp.experts.3.up_proj.weight"][0] == "i4_sym"
        and change(e, r"layers\.1\.mlp\.experts\.3\.up_proj", swap_nibbles),
        "offset left in": lambda e: change(e, r"experts\.3\.up_proj", lambda a: a ^ a.dtype.type(-128) if a.dtype == np.int8 else a ^ np.uint8(0x88)),
        "a negative scale": lambda e: change_scales(e, r"experts\.3\.up_proj", lambda s: np.concatenate([-s[:1], s[1:]])),
        "scales one group on": lambda e: change_scales(e, r"experts\.3\.up_proj", lambda s: np.roll(s, 1)),
        "one expert missing": lambda e: drop(e, r"layers\.2\.mlp\.experts\.5\."),
        "experts changed about": lambda e: change(e, r"layers\.1\.mlp\.experts\.3\.up_proj", lambda a: np.roll(a, 1, axis=0)),
    },
    "safetensors": {
        "one expert missing": lambda e: drop(e, r"layers\.2\.mlp\.experts\.5\."),
        "one row off": lambda e: change(e, r"experts\.3\.up_proj", lambda a: np.roll(a, 1, axis=0)),
    },
}


def require_mutations_found(export, format, tensors, **options):
    found = 0
    for what, mutate in MUTATIONS[format].items():
        changed = copy.deepcopy(export)
        if not mutate(changed):
            continue
        try:
            compare(changed, format, tensors, **options)
        except Difference:
            found += 1
        else:
            sys.exit(f"{format}: a change was not found: {what}")
    return found


def require_broken_found(path):
    """What digests, lengths and zeros of a container are there for."""
    data = path.read_bytes()
    manifest = int.from_bytes(data[8:16], "little")
    for what, at in (("a digest", data.rindex(b"blake3", manifest) + 20), ("the manifest's digest", 40), ("a weight", 4096 + 1),
                     ("the gap behind the header", 70), ("the length", 24)):
        changed = path.with_suffix(".changed")
        changed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        try:
            minnow.read(changed)
        except minnow.Malformed:
            continue
        sys.exit(f"minnow: a change was not found: {what}")


# Foreign readers ----------------------------------------------------------------------------------------------------------

def compare_with_gguf(path, tensors, dtype=None):
    """With the package of llama.cpp; false where it is not there."""
    try:
        import gguf
    except ImportError:
        return False
    found = {t.name: t for t in gguf.GGUFReader(path).tensors}
    for (prefix, projection), each in stacks(tensors)[0].items():
        layer = re.search(r"layers\.(\d+)\.", prefix)[1]
        tensor = found[f"blk.{layer}.ffn_{projection.removesuffix('_proj')}_exps.weight"]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        want = np.stack([p.values for p in each])
        require(same(values.reshape(want.shape), want), f"{tensor.name}, read by gguf")
    for packed in stacks(tensors)[1]:
        tensor = found[gguf_name(packed.name)]
        if dtype and not packed.code and tensor.tensor_type.name != "F32":
            require(tensor.tensor_type.name == dtype.upper(), f"{tensor.name}: its type")
            want = gguf.quants.quantize(packed.values, tensor.tensor_type)
            require(tensor.data.tobytes() == want.tobytes(), f"{tensor.name}, rounded by gguf")
    return True


# Commands -----------------------------------------------------------------------------------------------------------------

def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True)


def block_routed(checkpoint, directory):
    """The checkpoint with block routing, in a directory that has the rest by links; itself where it is no plain LLaDA2."""
    config = json.loads((checkpoint / "config.json").read_text())
    if config["model_type"] != "llada2_moe" or "expert_capacity" in config:
        return checkpoint
    directory.mkdir(exist_ok=True)
    for file in checkpoint.iterdir():
        if file.name != "config.json" and not (directory / file.name).exists():
            (directory / file.name).symlink_to(file.resolve())
    capacity = max(config["num_experts_per_tok"], config["num_experts"] * 48 // 256)
    (directory / "config.json").write_text(json.dumps({**config, "block_size": 32, "expert_capacity": capacity}))
    return directory


def files_of(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in ([path] if path.is_file() else sorted(path.rglob("*"))) if f.is_file()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ingot")
    parser.add_argument("checkpoint")
    parser.add_argument("--keep", metavar="DIRECTORY", help="where packs and exports stay")
    a = parser.parse_args()
    model_type = json.loads((Path(a.checkpoint) / "config.json").read_text())["model_type"]
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(a.keep or temporary)
        checkpoint = block_routed(Path(a.checkpoint), directory / "block-routed")
        for pack, options in PACKS.items():
            path = directory / f"{pack.replace(' ', '-')}.ingot"
            done = run(a.ingot, "quantize", checkpoint, "-o", path, "-q", "--force", *options)
            require(done.returncode == 0, done.stderr)
            tensors = packed_tensors(path)
            refused = set(REFUSED.get(pack, ())).union(
                *(formats for start, formats in REFUSED_FOR.items()
                  if start == model_type or any(n.startswith(start) for n in tensors)))
            for format in FORMATS:
                ways = WAYS.get(format, [[]])
                # How what is plain is rounded does not depend on the pack.
                for way in ways if format != "gguf" or pack == "int4-g64" else ways[:1]:
                    check_export(a.ingot, checkpoint, path, pack, options, tensors, format, way, format in refused)


def check_export(ingot_path, checkpoint, path, pack, options, tensors, format, way, is_refused):
    out = path.with_suffix("") / (format + "".join(way).replace("--", "-") + SUFFIXES.get(format, ""))
    out.parent.mkdir(exist_ok=True)
    asked = ["--to", format, "-o", out, "--force", "-q", *way]
    done = run(ingot_path, "export", path, *asked)
    if is_refused:
        require(done.returncode == 1 and not out.exists(), f"{pack} as {format} was not refused")
        return
    require(done.returncode == 0, f"{pack} as {format}: {done.stderr}")
    own = {"dtype": way[1]} if format == "gguf" and way else {}
    export = Export(out, format)
    mutations = require_mutations_found(export, format, tensors, **own)
    compare(export, format, tensors, **own)
    if format == "minnow":
        require_broken_found(out)
    foreign = format == "gguf" and compare_with_gguf(out, tensors, **own)
    size = sum(f.stat().st_size for f in ([out] if out.is_file() else out.rglob("*")) if f.is_file())
    if "--compress" not in options:
        found = files_of(out)
        done = run(ingot_path, "export", checkpoint, *options, *asked)
        require(done.returncode == 0, f"the checkpoint as {format}: {done.stderr}")
        require(files_of(out) == found, f"the checkpoint as {format} is not its pack as {format}")
    print(f"{pack}, {' '.join([format, *way])}: {size:,} bytes, {len(tensors)} tensors agree bit for bit"
          f"{', with gguf too' if foreign else ''}; {mutations} changes found", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Difference as difference:
        sys.exit(f"a difference: {difference}")
