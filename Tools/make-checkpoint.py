#!/usr/bin/env python3
"""Write a checkpoint in the shape of LLaDA2, for tests and benchmarks.

The tensor names, shapes, files and headers are those of the published models, at any size; the numbers are random, or
absent: `--values zeros` makes sparse files, so that the 206 GB of a flash-shaped checkpoint take no disk.

Needs Python 3.9 and numpy.
"""

import argparse
import hashlib
import json
import re
import shutil
import struct
import sys
import time
from pathlib import Path

import numpy as np

EXAMPLES = """\
examples:
  make-checkpoint.py --shape pico OUT
  make-checkpoint.py --shape mini --moe-layers 2 --shards 8 OUT          3.3 GB of experts, published file layout
  make-checkpoint.py --shape flash --shards 32 --values zeros OUT        206 GB that take no disk
  make-checkpoint.py --shape mini --split size:5GB --bias-dtype BF16 OUT the layout of 2.0-mini
  make-checkpoint.py --shape nano --layout w13 OUT                       the tensors as dInfer stores them
  make-checkpoint.py --shape uni --moe-layers 2 OUT                      the language part of LLaDA2.0-Uni, and others
  make-checkpoint.py --shape mini-2.2 --moe-layers 2 OUT                 block routing and 131,072 positions
  make-checkpoint.py --shape pico --family uni OUT                       the same of another size
  make-checkpoint.py --shape mini --family ling --further-layers 1 OUT   Ling-mini with a layer that predicts further tokens
  make-checkpoint.py --check-published

Every number depends on the seed, the shape of an expert and the name that its tensor has in the per-expert layout, and
on nothing else: two checkpoints that differ only in --layout, --shards, --split or --layers hold the same weights.
The files are written in order, the index last. One file alone is called model.safetensors and has no index.
"""


# Shapes ---------------------------------------------------------------------------------------------------------------

SHAPES = {
    "pico": dict(vocab_size=640, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
                 num_key_value_heads=2, head_dim=32, num_experts=16, num_experts_per_tok=4, n_group=4, topk_group=2,
                 moe_intermediate_size=64, max_position_embeddings=4096, pad_token_id=635),
    "nano": dict(vocab_size=1024, hidden_size=256, intermediate_size=768, num_hidden_layers=5, num_attention_heads=4,
                 num_key_value_heads=2, head_dim=64, num_experts=32, num_experts_per_tok=4, n_group=4, topk_group=2,
                 moe_intermediate_size=128, max_position_embeddings=4096, pad_token_id=891),
    "mini": dict(vocab_size=157184, hidden_size=2048, intermediate_size=5120, num_hidden_layers=20,
                 num_attention_heads=16, num_key_value_heads=4, head_dim=128, num_experts=256, num_experts_per_tok=8,
                 n_group=8, topk_group=4, moe_intermediate_size=512, max_position_embeddings=32768,
                 pad_token_id=156892),
    "flash": dict(vocab_size=157184, hidden_size=4096, intermediate_size=9216, num_hidden_layers=32,
                  num_attention_heads=32, num_key_value_heads=4, head_dim=128, num_experts=256, num_experts_per_tok=8,
                  n_group=8, topk_group=4, moe_intermediate_size=1024, max_position_embeddings=32768,
                  pad_token_id=156892),
}
DEFAULT_SHARDS = {"pico": 3, "nano": 4, "mini": 8, "flash": 32, "uni": 8, "mini-2.2": 8, "sdar": 8, "ling": 8}
# Shapes of other families: what they are made from, and the family.
SHAPES["uni"] = dict(SHAPES["mini"], vocab_size=173568)
SHAPES["mini-2.2"] = dict(SHAPES["mini"])
SHAPES["sdar"] = dict(SHAPES["mini"], vocab_size=151936, intermediate_size=6144, num_hidden_layers=48,
                      num_attention_heads=32, num_experts=128, moe_intermediate_size=768, pad_token_id=151643)
SHAPES["ling"] = dict(SHAPES["mini"])
FAMILY_OF_SHAPE = {"uni": "uni", "mini-2.2": "2.2", "sdar": "sdar", "ling": "ling"}

# What a family changes. Sizes of block routing and ids are those of the published vocabulary, or as near as a smaller one allows.
FAMILIES = ["2.0", "2.2", "uni", "sdar", "ling"]


def set_family(family, config):
    """Changes `config.json` to that of the family."""
    if family == "2.2":
        # In a smaller vocabulary, the ones before the end of text: behind it are the mask and what ends a turn.
        delete = 156930 if config["vocab_size"] > 156931 else max(0, config["pad_token_id"] - 2)
        config.update(block_size=32, expert_capacity=max(config["num_experts_per_tok"], config["num_experts"] * 48 // 256),
                      delete_token_id=delete, split_token_id=delete + 1, use_qk_norm=True,
                      max_position_embeddings=131072, rope_theta=3000000, transformers_version="5.2.0")
        del config["sliding_window"]
    if family == "sdar":
        # Without dense layers, shared experts, groups and biases of routers.
        kept = {key: config[key] for key in (
            "head_dim", "hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings", "moe_intermediate_size",
            "norm_topk_prob", "num_attention_heads", "num_experts", "num_experts_per_tok", "num_hidden_layers",
            "num_key_value_heads", "pad_token_id", "rms_norm_eps", "rope_scaling", "tie_word_embeddings", "torch_dtype",
            "use_sliding_window", "vocab_size")}
        config.clear()
        config.update(kept, architectures=["SDARMoeForCausalLM"], model_type="sdar_moe", rope_theta=1000000,
                      attention_bias=False, decoder_sparse_step=1, mlp_only_layers=[], sliding_window=None,
                      first_k_dense_replace=0, num_shared_experts=0)
    if family == "ling":
        config.update(architectures=["BailingMoeV2ForCausalLM"], model_type="bailing_moe", use_qk_norm=True, use_cache=True,
                      auto_map={"AutoConfig": "configuration_bailing_moe_v2.BailingMoeV2Config",
                                "AutoModel": "modeling_bailing_moe_v2.BailingMoeV2Model",
                                "AutoModelForCausalLM": "modeling_bailing_moe_v2.BailingMoeV2ForCausalLM"},
                      num_nextn_predict_layers=0, eos_token_id=config["pad_token_id"])
    if family == "uni":
        config.update(model_type="llada2_moe_veomni", image_token_offset=min(157184, config["vocab_size"] - 1))


# Tensors of the parts that are no language model, in the way of an encoder of images: name and shape.
OTHER_PARTS = ([("model.vision_tower.patch_embed.weight", (64, 3, 4, 4)), ("model.vision_tower.norm.weight", (64,))]
               + [(f"model.vision_tower.layers.{i}.self_attn.qkv.weight", (192, 64)) for i in range(2)]
               + [("model.image_projector.weight", (128, 64))])


SDAR_NAMES = [("word_embeddings", "embed_tokens"), ("attention.query_layernorm", "self_attn.q_norm"),
              ("attention.key_layernorm", "self_attn.k_norm"), ("attention.dense", "self_attn.o_proj"),
              (".attention.", ".self_attn.")]


def name_in_family(name, family):
    """The name that a tensor of LLaDA2 has in the family."""
    if family == "sdar":
        for own, other in SDAR_NAMES:
            name = name.replace(own, other)
        return name
    if family != "uni":
        return name
    if name.startswith("lm_head."):
        return "model." + name
    return "model.language_model." + name.removeprefix("model.")

# option, key of config.json
OVERRIDES = [
    ("layers", "num_hidden_layers", "layers in all"),
    ("experts", "num_experts", "routed experts of a layer"),
    ("hidden", "hidden_size", "hidden size"),
    ("intermediate", "intermediate_size", "width of the dense MLP"),
    ("moe-intermediate", "moe_intermediate_size", "width of an expert"),
    ("heads", "num_attention_heads", "query heads"),
    ("kv-heads", "num_key_value_heads", "key and value heads"),
    ("head-dim", "head_dim", "channels of a head"),
    ("vocab", "vocab_size", "rows of the embedding and of the head"),
    ("shared-experts", "num_shared_experts", "shared experts of a layer, stored as one wider expert"),
    ("experts-per-token", "num_experts_per_tok", "experts that each token uses"),
    ("groups", "n_group", "groups of experts"),
    ("top-groups", "topk_group", "groups that each token uses"),
]

LAYOUTS = ["per-expert", "merged", "merged-weight", "fused", "w13"]
WIDTH = {"F32": 4, "BF16": 2, "F16": 2}
TORCH_NAME = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                   "generation_config.json"]


def make_config(shape, overrides, moe_layers, layout, dtype):
    c = dict(SHAPES[shape], num_shared_experts=1, first_k_dense_replace=1)
    c.update(overrides)
    if moe_layers is not None:
        if moe_layers > overrides.get("num_hidden_layers", moe_layers) or moe_layers < 0:
            raise Refusal(f"--moe-layers {moe_layers} does not fit the number of layers")
        if "num_hidden_layers" in overrides:
            c["first_k_dense_replace"] = c["num_hidden_layers"] - moe_layers
        else:
            c["num_hidden_layers"] = c["first_k_dense_replace"] + moe_layers
    c["first_k_dense_replace"] = min(c["first_k_dense_replace"], c["num_hidden_layers"])
    if c["pad_token_id"] >= c["vocab_size"]:
        c["pad_token_id"] = c["vocab_size"] - 1

    for key, value in c.items():
        least = 0 if key in ("num_shared_experts", "first_k_dense_replace", "pad_token_id") else 1
        if value < least:
            raise Refusal(f"{key} is {value}, must be at least {least}")
    per_group, rest = divmod(c["num_experts"], c["n_group"])
    if rest or per_group < 2:
        raise Refusal(f"{c['num_experts']} experts do not make {c['n_group']} groups of two or more; give --groups")
    if c["topk_group"] > c["n_group"] or c["num_experts_per_tok"] > c["topk_group"] * per_group:
        raise Refusal(f"{c['topk_group']} of {c['n_group']} groups with {per_group} experts each do not hold "
                      f"{c['num_experts_per_tok']} experts; give --top-groups or --experts-per-token")
    if c["num_attention_heads"] % c["num_key_value_heads"]:
        raise Refusal(f"{c['num_attention_heads']} heads are no multiple of {c['num_key_value_heads']} kv heads")

    return {
        "architectures": ["LLaDA2MoeModelLM"],
        "attention_dropout": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_llada2_moe.LLaDA2MoeConfig",
            "AutoModel": "modeling_llada2_moe.LLaDA2MoeModel",
            "AutoModelForCausalLM": "modeling_llada2_moe.LLaDA2MoeModelLM",
        },
        "embedding_dropout": 0.0,
        "first_k_dense_replace": c["first_k_dense_replace"],
        "head_dim": c["head_dim"],
        "hidden_act": "silu",
        "hidden_size": c["hidden_size"],
        "initializer_range": 0.02,
        "intermediate_size": c["intermediate_size"],
        "max_position_embeddings": c["max_position_embeddings"],
        "max_window_layers": 28,
        "model_type": "llada2_moe_veomni" if layout.startswith("merged") else "llada2_moe",
        "moe_intermediate_size": c["moe_intermediate_size"],
        "moe_router_enable_expert_bias": True,
        "n_group": c["n_group"],
        "norm_head": False,
        "norm_softmax": False,
        "norm_topk_prob": True,
        "num_attention_heads": c["num_attention_heads"],
        "num_experts": c["num_experts"],
        "num_experts_per_tok": c["num_experts_per_tok"],
        "num_hidden_layers": c["num_hidden_layers"],
        "num_key_value_heads": c["num_key_value_heads"],
        "num_shared_experts": c["num_shared_experts"],
        "output_dropout": 0.0,
        "output_router_logits": False,
        "pad_token_id": c["pad_token_id"],
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 600000,
        "rotary_dim": c["head_dim"] // 2,
        "routed_scaling_factor": 2.5,
        "router_dtype": "fp32",
        "score_function": "sigmoid",
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "topk_group": c["topk_group"],
        "torch_dtype": TORCH_NAME[dtype],
        "transformers_version": "4.57.1",
        "use_bias": False,
        "use_cache": False,
        "use_qkv_bias": False,
        "use_rmsnorm": True,
        "use_sliding_window": False,
        "using_split_qkv_in_self_attention": False,
        "vocab_size": c["vocab_size"],
    }


# Tensors --------------------------------------------------------------------------------------------------------------

class Tensor:
    """One stored tensor. `parts` are the per-expert tensors (name, shape) that it holds one after the other."""

    def __init__(self, name, dtype, shape, parts=None, layer=None, expert=None):
        shape = tuple(shape)
        self.name, self.dtype, self.shape = name, dtype, shape
        self.parts = parts or [(name, shape)]
        self.layer, self.expert = layer, expert     # set for routed experts; expert is None when they are stacked
        self.bytes = WIDTH[dtype] * int(np.prod(shape, dtype=np.int64))


def make_tensors(c, layout, dtype, bias_dtype):
    """All tensors in the order of the modules, which is the order in which transformers fills its files."""
    V, H, I, M, E = (c[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size",
                                    "num_experts"))
    D, q, kv = c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"]
    tensors = []

    def add(name, *shape, dtype=dtype):
        tensors.append(Tensor(name, dtype, shape))

    def add_mlp(prefix, width):
        add(prefix + "gate_proj.weight", width, H)
        add(prefix + "up_proj.weight", width, H)
        add(prefix + "down_proj.weight", H, width)

    def add_stacked(layer, name, rows, columns, *projections):
        """`name` [E, rows, columns] holds the projections of expert 0, then those of expert 1, …"""
        shape = (rows // len(projections), columns)
        parts = [(f"model.layers.{layer}.mlp.experts.{e}.{p}.weight", shape) for e in range(E) for p in projections]
        tensors.append(Tensor(f"model.layers.{layer}.mlp.{name}", dtype, (E, rows, columns), parts, layer))

    add("model.word_embeddings.weight", V, H)
    for i in range(c["num_hidden_layers"] + c.get("num_nextn_predict_layers", 0)):
        layer = f"model.layers.{i}."
        if c["model_type"] == "sdar_moe":
            for part, heads in (("q_proj", q), ("k_proj", kv), ("v_proj", kv)):
                add(f"{layer}attention.{part}.weight", heads * D, H)
        else:
            add(layer + "attention.query_key_value.weight", (q + 2 * kv) * D, H)
        add(layer + "attention.query_layernorm.weight", D)
        add(layer + "attention.key_layernorm.weight", D)
        add(layer + "attention.dense.weight", H, q * D)
        if i < c["first_k_dense_replace"]:
            add_mlp(layer + "mlp.", I)
        else:
            if layout == "per-expert":
                first = len(tensors)
                for e in range(E):
                    add_mlp(f"{layer}mlp.experts.{e}.", M)
                for k, tensor in enumerate(tensors[first:]):
                    tensor.layer, tensor.expert = i, k // 3
            elif layout in ("merged", "merged-weight"):
                suffix = ".weight" if layout == "merged-weight" else ""
                add_stacked(i, "experts.gate_proj" + suffix, M, H, "gate_proj")
                add_stacked(i, "experts.up_proj" + suffix, M, H, "up_proj")
                add_stacked(i, "experts.down_proj" + suffix, H, M, "down_proj")
            else:
                gate_up, down = {"fused": ("w1", "w2"), "w13": ("experts.w13_weight", "experts.w2_weight")}[layout]
                add_stacked(i, gate_up, 2 * M, H, "gate_proj", "up_proj")
                add_stacked(i, down, H, M, "down_proj")
            add(layer + "mlp.gate.weight", E, H)
            if c["model_type"] != "sdar_moe":
                add(layer + "mlp.gate.expert_bias", E, dtype=bias_dtype)
            if c["num_shared_experts"]:
                add_mlp(layer + "mlp.shared_experts.", M * c["num_shared_experts"])
        add(layer + "input_layernorm.weight", H)
        add(layer + "post_attention_layernorm.weight", H)
        if i >= c["num_hidden_layers"]:
            for norm in ("enorm", "hnorm", "final_layernorm"):
                add(f"{layer}{norm}.weight", H)
            add(layer + "eh_proj.weight", H, 2 * H)
    add("model.norm.weight", H)
    add("lm_head.weight", V, H)
    return tensors


# Files ----------------------------------------------------------------------------------------------------------------

class Shard:
    """One file: its tensors in file order, and its header."""

    def __init__(self, tensors):
        self.tensors = sorted(tensors, key=lambda t: (-WIDTH[t.dtype], t.name))
        entries, at = {"__metadata__": {"format": "pt"}}, 0
        for t in self.tensors:
            entries[t.name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, at + t.bytes]}
            at += t.bytes
        header = json.dumps(entries, separators=(",", ":")).encode()
        self.header = header + b" " * (-len(header) % 8)
        self.data_bytes = at
        self.file_bytes = 8 + len(self.header) + at


def split_by_expert(tensors, count, c):
    """The layout of 2.1: file k holds a range of experts of every layer, file 0 all other tensors too. Stacked experts
    cannot be split like this: then file k holds a range of layers."""
    dense, layers = c["first_k_dense_replace"], c["num_hidden_layers"] - c["first_k_dense_replace"]
    stacked = any(t.layer is not None and t.expert is None for t in tensors)
    units = layers if stacked else c["num_experts"]
    if layers and count > units:
        raise Refusal(f"--shards {count} is more than the {units} {'layers' if stacked else 'experts'} to spread")
    each = -(-units // count) or 1
    files = [[] for _ in range(count)]
    for t in tensors:
        files[0 if t.layer is None else (t.layer - dense if stacked else t.expert) // each].append(t)
    if not all(files):
        raise Refusal(f"{units} {'layers' if stacked else 'experts'} in --shards {count} leave a file empty")
    return [Shard(f) for f in files]


def split_by_size(tensors, limit):
    """The rule of transformers: fill a file until the next tensor would exceed the limit."""
    files, size = [[]], 0
    for t in tensors:
        if files[-1] and size + t.bytes > limit:
            files.append([])
            size = 0
        files[-1].append(t)
        size += t.bytes
    return [Shard(f) for f in files]


def file_names(count, first):
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{k + first:05d}-of-{count:05d}.safetensors" for k in range(count)]


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# Numbers --------------------------------------------------------------------------------------------------------------

class Normal:
    """Random weights without a random number each. A pool of normal numbers, as many as one expert has, is drawn once;
    every 128 Ki elements of a tensor are a window of it at a random place, and every row has its own random sign and
    scale. So no two tensors and no two rows are alike, and the mean square of a tensor is 0.02²."""

    STD, ROW_SPREAD, BLOCK = 0.02, 0.25, 1 << 17

    def __init__(self, seed, expert_elements):
        self.seed = seed
        self.length = max(expert_elements, 1 << 20) | 1     # odd, so that windows do not line up with rows
        self.pool = np.random.Generator(np.random.PCG64(seed)).standard_normal(self.length, dtype=np.float32)

    def generator(self, name):
        digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=16).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))

    def blocks(self, name, shape):
        """The tensor as float32, piece by piece."""
        random = self.generator(name)
        if len(shape) == 1:
            spread, centre = (0.01, 0) if name.endswith("expert_bias") else (0.1, 1)
            yield centre + spread * random.standard_normal(shape[0], dtype=np.float32)
            return
        rows, columns = int(np.prod(shape[:-1])), shape[-1]
        scale = random.standard_normal(rows, dtype=np.float32)
        scale = np.exp(self.ROW_SPREAD * scale - self.ROW_SPREAD ** 2, dtype=np.float32) * np.float32(self.STD)
        scale *= random.integers(0, 2, rows).astype(np.float32) * 2 - 1
        step = max(1, self.BLOCK // columns)
        for row in range(0, rows, step):
            n = min(step, rows - row)
            at = int(random.integers(self.length))
            window = self.pool[at:at + n * columns]
            while window.size < n * columns:        # around the end of the pool
                window = np.concatenate([window, self.pool[:n * columns - window.size]])
            yield window.reshape(n, columns) * scale[row:row + n, None]


def to_bytes(x, dtype):
    """float32 to the bytes of `dtype`, rounded to nearest, ties to even."""
    if dtype == "F32":
        return x
    if dtype == "F16":
        return x.astype(np.float16)
    bits = x.view(np.uint32)
    odd = bits >> 16
    odd &= 1
    odd += 0x7FFF
    bits += odd
    return np.ascontiguousarray(bits.view(np.uint16)[..., 1::2])


def write_shard(path, shard, values):
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(shard.header)) + shard.header)
        if values is None:
            file.truncate(shard.file_bytes)
            return
        for tensor in shard.tensors:
            for name, shape in tensor.parts:
                for block in values.blocks(name, shape):
                    data = memoryview(to_bytes(block, tensor.dtype)).cast("B")
                    while data:
                        data = data[file.write(data):]
        assert file.tell() == shard.file_bytes


# Published sizes ------------------------------------------------------------------------------------------------------

def check_published():
    """Rebuild the published models from names and shapes, and compare every size that is known."""
    failures = 0

    def expect(what, got, published):
        nonlocal failures
        failures += got != published
        print(f"{'ok  ' if got == published else 'FAIL'}  {what:<44}{got:>20,}"
              + ("" if got == published else f"   published {published:,}"))

    def model(shape, bias_dtype):
        c = make_config(shape, {}, None, "per-expert", "BF16")
        return c, make_tensors(c, "per-expert", "BF16", bias_dtype)

    config, tensors = model("mini", "F32")
    shards = split_by_expert(tensors, 8, config)
    expect("2.1-mini tensors", len(tensors), 14_813)
    expect("2.1-mini total_size", sum(s.data_bytes for s in shards), 32_511_296_512)
    published = ([(2045, 251_216, 5_734_859_776, 5_735_111_000)]
                 + [(1824, 224_896, 3_825_205_248, 3_825_430_152)] * 2
                 + [(1824, 226_488, 3_825_205_248, 3_825_431_744)]
                 + [(1824, 226_720, 3_825_205_248, 3_825_431_976)] * 4)
    for name, shard, (entries, header, data, file) in zip(file_names(8, 0), shards, published):
        expect(f"{name} entries", len(shard.tensors), entries)
        expect(f"{name} header", len(shard.header), header)
        expect(f"{name} data", shard.data_bytes, data)
        expect(f"{name} file", shard.file_bytes, file)
    expect("2.1-mini files", sum(s.file_bytes for s in shards), 32_513_130_952)

    config, tensors = model("flash", "F32")
    shards = split_by_expert(tensors, 32, config)
    expect("2.1-flash tensors", len(tensors), 24_161)
    expect("2.1-flash data", sum(s.data_bytes for s in shards), 205_779_426_304)
    expect("2.1-flash first header", len(shards[0].header), 134_456)
    expect("2.1-flash first data", shards[0].data_bytes, 12_304_571_392)
    for shard in shards[1:]:
        if shard.data_bytes != 6_241_124_352:
            expect("2.1-flash other data", shard.data_bytes, 6_241_124_352)
    expect("2.1-flash files", sum(s.file_bytes for s in shards), 205_782_452_128)

    for shape, count in ("mini", 7), ("flash", 42):
        config, tensors = model(shape, "BF16")
        shards = split_by_size(tensors, 5_000_000_000)
        expect(f"2.0-{shape} files of at most 5 GB", len(shards), count)
        if shape == "flash":        # published 205,782,433,824; the order of its tensors is not known to the byte
            print(f"      {'2.0-flash files (not compared)':<44}{sum(s.file_bytes for s in shards):>20,}")
    return failures


# Command line ---------------------------------------------------------------------------------------------------------

class Refusal(Exception):
    """Something that the caller asked for and that cannot be done; the message says why."""


def parse_split(text):
    match = re.fullmatch(r"size:(\d+(?:\.\d+)?)(B|[KMG]i?B)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form size:5GB")
    unit = match[2] or "B"
    base = 1024 if "i" in unit else 1000
    size = int(float(match[1]) * base ** "BKMG".index(unit[0]))
    if size < 1:
        raise argparse.ArgumentTypeError("a file must hold something")
    return size


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="make-checkpoint.py", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, metavar="OUT", help="directory to write")

    shape = parser.add_argument_group("shape")
    shape.add_argument("--shape", choices=list(SHAPES), default="pico", help="model to start from (default: pico)")
    shape.add_argument("--family", choices=FAMILIES,
                       help="2.2: block routing, control tokens, 131,072 positions. uni: the language part of LLaDA2.0-Uni, "
                            "merged under names of its own, beside tensors of an encoder of images. sdar: SDAR with experts. "
                            "ling: Ling 2.0 "
                            "(default: that of the shape, else 2.0)")
    shape.add_argument("--moe-layers", type=int, metavar="N",
                       help="layers with experts; the others are dense (default: all but the first)")
    shape.add_argument("--further-layers", type=int, metavar="N", default=0,
                       help="of ling, layers that predict further tokens, behind the others (default: 0)")
    for option, key, meaning in OVERRIDES:
        shape.add_argument(f"--{option}", dest=key, type=int, metavar="N", help=meaning)

    files = parser.add_argument_group("files")
    files.add_argument("--layout", choices=LAYOUTS,
                       help="per-expert: as published (default, but for uni). merged: dFactory and uni, three stacked tensors a layer. "
                            "merged-weight: the same with '.weight'. fused: dInfer, mlp.w1 (gate and up) and mlp.w2. "
                            "w13: experts.w13_weight and experts.w2_weight")
    split = files.add_mutually_exclusive_group()
    split.add_argument("--shards", type=positive, metavar="N",
                       help="N files, each with a range of experts of every layer (of layers, if experts are stacked); "
                            "the first also has all else. Default: 3, 4, 8, 32 for pico, nano, mini, flash")
    split.add_argument("--split", type=parse_split, metavar="size:5GB",
                       help="files of at most this size in the order of the modules, as transformers splits; "
                            "B, KB, MB, GB, KiB, MiB, GiB")
    files.add_argument("--first-shard", type=int, choices=(0, 1),
                       help="number of the first file (default: 0 with --shards, 1 with --split)")
    files.add_argument("--dtype", choices=list(WIDTH), default="BF16", help="of all weights (default: BF16)")
    files.add_argument("--bias-dtype", choices=["F32", "BF16"], default="F32",
                       help="of the router's expert_bias (default: F32, as in 2.1; 2.0-flash has BF16)")
    files.add_argument("--tokenizer-from", type=Path, metavar="DIR", help="copy the tokenizer files of this checkpoint")

    values = parser.add_argument_group("values")
    values.add_argument("--values", choices=["normal", "zeros"], default="normal",
                        help="normal: standard deviation 0.02, rows of different scale (default). zeros: sparse files")
    values.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")

    parser.add_argument("--force", action="store_true",
                        help="write into a directory that is not empty; replaces the checkpoint in it")
    parser.add_argument("--dry-run", action="store_true", help="print the files and their sizes, write nothing")
    parser.add_argument("--check-published", action="store_true",
                        help="rebuild the published models' file sizes from names and shapes; exit 1 if one differs")
    arguments = parser.parse_args()
    if arguments.directory is None and not (arguments.check_published or arguments.dry_run):
        parser.error("no directory given")
    if arguments.seed < 0:
        parser.error("--seed must not be negative")
    return arguments


def prepare_directory(directory, force):
    if directory.exists() and not directory.is_dir():
        raise Refusal(f"{directory} is a file")
    if directory.is_dir() and any(directory.iterdir()):
        if not force:
            raise Refusal(f"{directory} is not empty; --force replaces the checkpoint in it")
        for old in [*directory.glob("model*.safetensors"), directory / "model.safetensors.index.json"]:
            old.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)


def run(a):
    overrides = {key: getattr(a, key) for _, key, _ in OVERRIDES if getattr(a, key) is not None}
    family = a.family or FAMILY_OF_SHAPE.get(a.shape, "2.0")
    layout = a.layout or ("merged" if family == "uni" else "per-expert")
    config = make_config(a.shape, overrides, a.moe_layers, layout, a.dtype)
    set_family(family, config)
    if a.further_layers:
        if family != "ling" or a.further_layers < 0:
            raise Refusal("--further-layers is for the family ling, and not negative")
        config["num_nextn_predict_layers"] = a.further_layers
    tensors = make_tensors(config, layout, a.dtype, a.bias_dtype)
    for tensor in tensors:      # its numbers go by the names in `parts`
        tensor.name = name_in_family(tensor.name, family)
    if family == "uni":
        tensors += [Tensor(name, a.dtype, shape) for name, shape in OTHER_PARTS]
    if a.split:
        shards, first = split_by_size(tensors, a.split), 1
    else:
        count = a.shards
        if count is None:
            spread = len({t.expert if t.expert is not None else t.layer for t in tensors if t.layer is not None})
            count = min(DEFAULT_SHARDS[a.shape], max(spread, 1))
        shards, first = split_by_expert(tensors, count, config), 0
    names = file_names(len(shards), first if a.first_shard is None else a.first_shard)

    if a.dry_run:
        for name, shard in zip(names, shards):
            print(f"{name}  {len(shard.tensors):>6,} tensors {shard.file_bytes:>20,} bytes")
        return

    tokenizer = []
    if a.tokenizer_from:
        tokenizer = [a.tokenizer_from / f for f in TOKENIZER_FILES if (a.tokenizer_from / f).is_file()]
        if not tokenizer:
            raise Refusal(f"{a.tokenizer_from} has no tokenizer files")

    prepare_directory(a.directory, a.force)
    start = time.perf_counter()
    write_json(a.directory / "config.json", config)
    for path in tokenizer:
        shutil.copyfile(path, a.directory / path.name)
    values = None
    if a.values == "normal":
        values = Normal(a.seed, 3 * config["hidden_size"] * config["moe_intermediate_size"])
    for name, shard in zip(names, shards):
        write_shard(a.directory / name, shard, values)
    if len(shards) > 1:
        weight_map = {t.name: name for name, shard in zip(names, shards) for t in shard.tensors}
        write_json(a.directory / "model.safetensors.index.json",
                   {"metadata": {"total_size": sum(s.data_bytes for s in shards)},
                    "weight_map": dict(sorted(weight_map.items()))})
    seconds, size = time.perf_counter() - start, sum(s.file_bytes for s in shards)
    speed = "sparse" if values is None else f"{size / seconds / 1e9:.2f} GB/s"
    print(f"{a.directory}: {len(tensors):,} tensors, {len(shards)} file{'s' * (len(shards) > 1)}, {size:,} bytes "
          f"in {seconds:.1f} s ({speed})", file=sys.stderr)


def main():
    arguments = parse_arguments()
    if arguments.check_published:
        failures = check_published()
        print(f"{failures} sizes differ" if failures else "all sizes as published", file=sys.stderr)
        return 1 if failures else 0
    try:
        run(arguments)
    except (Refusal, OSError) as error:
        print(f"make-checkpoint: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
