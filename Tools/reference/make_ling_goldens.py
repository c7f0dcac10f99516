#!/usr/bin/env python3
"""Makes a small Ling 2.0 checkpoint with random weights, and what other code makes of it: goldens for the tests.

    make_ling_goldens.py CHECKPOINT GOLDENS

The forward pass is that of `modeling_bailing_moe_v2.py` (inclusionAI/Ling-V2), written down once more with torch alone, since no package
has the class; decoding is a plain loop over whole forward passes, without a cache, that takes the most probable token. The layer
that predicts further tokens is in the checkpoint and in no number. Needs torch (it was run with 2.13.0); the files that it made are part
of the tests, so that nobody else does.
"""

import json
import os
import struct
import sys

import torch
import torch.nn.functional as F

CONFIG = dict(
    vocab_size=640, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, partial_rotary_factor=0.5, rope_theta=600000.0, rms_norm_eps=1e-6,
    num_experts=8, num_experts_per_tok=2, n_group=4, topk_group=2, moe_intermediate_size=32, num_shared_experts=1,
    first_k_dense_replace=1, routed_scaling_factor=2.5, num_nextn_predict_layers=1, max_position_embeddings=512)
# What the published file says beside.
FACTS = dict(
    architectures=["BailingMoeV2ForCausalLM"], model_type="bailing_moe", attention_dropout=0.0, embedding_dropout=0.0,
    output_dropout=0.0, hidden_act="silu", initializer_range=0.02, max_window_layers=20,
    moe_router_enable_expert_bias=True, norm_head=False, norm_softmax=False, norm_topk_prob=True,
    output_router_logits=False, rope_scaling=None, router_dtype="fp32", score_function="sigmoid", sliding_window=4096,
    tie_word_embeddings=False, torch_dtype="bfloat16", use_bias=False, use_cache=True, use_qk_norm=True,
    use_qkv_bias=False, use_rmsnorm=True, use_sliding_window=False)
END, TEXT = 635, 600  # as pico's tokenizer has them
NAMES = {"F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16}


def write_safetensors(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name].detach().contiguous()
        dtype = next(key for key, value in NAMES.items() if value == tensor.dtype)
        raw = tensor.view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def make_weights(c):
    """By the names of a checkpoint: bf16 numbers in fp32."""
    generator = torch.Generator().manual_seed(11)
    weights = {}

    def add(name, *shape):
        x = torch.randn(*shape, generator=generator)
        if len(shape) == 1 and "expert_bias" in name:
            weights[name] = 0.15 * x  # F32 in a checkpoint
            return
        x = 1 + 0.2 * x if len(shape) == 1 else x * (4 if "lm_head" in name else 2) / shape[-1] ** 0.5
        weights[name] = x.to(torch.bfloat16).float()

    def add_mlp(prefix, width):
        add(prefix + "gate_proj.weight", width, c["hidden_size"])
        add(prefix + "up_proj.weight", width, c["hidden_size"])
        add(prefix + "down_proj.weight", c["hidden_size"], width)

    H, D = c["hidden_size"], c["head_dim"]
    heads = c["num_attention_heads"] + 2 * c["num_key_value_heads"]
    add("model.word_embeddings.weight", c["vocab_size"], H)
    for index in range(c["num_hidden_layers"] + c["num_nextn_predict_layers"]):
        layer = f"model.layers.{index}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            add(f"{layer}{norm}.weight", H)
        add(layer + "attention.query_key_value.weight", heads * D, H)
        for norm in ("query_layernorm", "key_layernorm"):
            add(f"{layer}attention.{norm}.weight", D)
        add(layer + "attention.dense.weight", H, c["num_attention_heads"] * D)
        if index < c["first_k_dense_replace"]:
            add_mlp(layer + "mlp.", c["intermediate_size"])
            continue
        add(layer + "mlp.gate.weight", c["num_experts"], H)
        add(layer + "mlp.gate.expert_bias", c["num_experts"])
        for expert in range(c["num_experts"]):
            add_mlp(f"{layer}mlp.experts.{expert}.", c["moe_intermediate_size"])
        add_mlp(layer + "mlp.shared_experts.", c["moe_intermediate_size"] * c["num_shared_experts"])
        if index >= c["num_hidden_layers"]:
            for norm in ("enorm", "hnorm", "final_layernorm"):
                add(f"{layer}{norm}.weight", H)
            add(layer + "eh_proj.weight", H, 2 * H)
    add("model.norm.weight", H)
    add("lm_head.weight", c["vocab_size"], H)
    weights["lm_head.weight"][END] *= 2  # so that some answers come to their end
    return weights


# The forward pass -------------------------------------------------------------------------------------------------------

class Ling:
    def __init__(self, config, weights):
        self.c, self.w = config, weights

    def norm(self, x, name):
        return self.w[name + ".weight"] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["rms_norm_eps"]))

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"])

    def mlp(self, x, prefix):
        inner = F.silu(self.linear(x, prefix + "gate_proj")) * self.linear(x, prefix + "up_proj")
        return self.linear(inner, prefix + "down_proj")

    def rotate(self, x):
        """(heads, T, D): the first part of the channels turns, its first half with its second."""
        width = int(self.c["head_dim"] * self.c["partial_rotary_factor"])
        frequencies = 1 / self.c["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(x.shape[1]).float(), frequencies)
        angles = torch.cat((angles, angles), -1)
        turning, rest = x[..., :width], x[..., width:]
        half = torch.cat((-turning[..., width // 2:], turning[..., :width // 2]), -1)
        return torch.cat((turning * angles.cos() + half * angles.sin(), rest), -1)

    def attention(self, x, layer):
        nq, nkv, D, T = self.c["num_attention_heads"], self.c["num_key_value_heads"], self.c["head_dim"], x.shape[0]
        q, k, v = self.linear(x, layer + "query_key_value").view(T, -1, D).split([nq, nkv, nkv], 1)
        q = self.rotate(self.norm(q, layer + "query_layernorm").transpose(0, 1))
        k = self.rotate(self.norm(k, layer + "key_layernorm").transpose(0, 1))
        k, v = (part.repeat_interleave(nq // nkv, 0) for part in (k, v.transpose(0, 1)))
        scores = q @ k.transpose(1, 2) / D ** 0.5
        scores = scores + torch.full((T, T), float("-inf")).triu(1)  # what is behind is not seen
        return self.linear((torch.softmax(scores, -1) @ v).transpose(0, 1).reshape(T, -1), layer + "dense")

    def route(self, x, layer):
        c, T = self.c, x.shape[0]
        scores = torch.sigmoid(self.linear(x, layer + "gate"))
        biased = scores + self.w[layer + "gate.expert_bias"]
        groups = biased.view(T, c["n_group"], -1)
        kept = groups.topk(2, -1).values.sum(-1).topk(c["topk_group"], -1).indices
        allowed = torch.zeros(T, c["n_group"], dtype=torch.bool).scatter_(1, kept, True)
        allowed = allowed.repeat_interleave(groups.shape[-1], 1)
        chosen = biased.masked_fill(~allowed, float("-inf")).topk(c["num_experts_per_tok"], -1)
        weights = scores.gather(1, chosen.indices)
        return chosen.indices, weights / (weights.sum(-1, keepdim=True) + 1e-20) * c["routed_scaling_factor"]

    def experts(self, x, layer, routes):
        indices, weights = self.route(x, layer)
        routes.append((indices, weights))
        all = torch.stack([self.mlp(x, f"{layer}experts.{expert}.") for expert in range(self.c["num_experts"])], 1)
        chosen = all.gather(1, indices[..., None].expand(-1, -1, x.shape[1]))  # (T, experts of a token, H)
        return (chosen * weights[..., None]).sum(1) + self.mlp(x, layer + "shared_experts.")

    def forward(self, tokens):
        """Hidden states (after the embedding, each layer; the last after the norm), experts and weights by layer, logits."""
        x, routes = self.w["model.word_embeddings.weight"][torch.tensor(tokens)], []
        hidden = [x]
        for index in range(self.c["num_hidden_layers"]):
            layer = f"model.layers.{index}."
            x = x + self.attention(self.norm(x, layer + "input_layernorm"), layer + "attention.")
            y = self.norm(x, layer + "post_attention_layernorm")
            is_dense = index < self.c["first_k_dense_replace"]
            x = x + (self.mlp(y, layer + "mlp.") if is_dense else self.experts(y, layer + "mlp.", routes))
            hidden.append(x)
        hidden[-1] = self.norm(x, "model.norm")
        return hidden, routes, self.linear(hidden[-1], "lm_head")


def golden_forward(model, tokens):
    hidden, routes, logits = model.forward(tokens)
    tensors = {"input_ids": torch.tensor(tokens, dtype=torch.int32), "logits": logits}
    for index, state in enumerate(hidden):
        tensors[f"hidden.{index}"] = state
    for index, (experts, weights) in enumerate(routes):
        tensors[f"experts.{index}"] = experts.to(torch.int32)
        tensors[f"weights.{index}"] = weights
    return tensors


def decode(model, prompt, length):
    """The most probable token, again and again. Returns the tokens up to the end, every step, and the closest choice."""
    x, records, closest = list(prompt), [], 1.0
    while len(x) < len(prompt) + length:
        shares = torch.softmax(model.forward(x)[2][-1], -1)
        values, tokens = shares.topk(2)
        margin = (values[0] - values[1]).item()
        closest = min(closest, margin)
        records.append({"block": len(x), "step": 0, "masked": 1,
                        "commits": [[len(x), tokens[0].item(), round(values[0].item(), 7), round(margin, 7)]]})
        x.append(tokens[0].item())
        if x[-1] == END:
            break
    return x[len(prompt):], records, closest


def main(checkpoint, goldens):
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    weights = make_weights(CONFIG)
    model = Ling(CONFIG, weights)
    os.makedirs(checkpoint, exist_ok=True)
    os.makedirs(goldens, exist_ok=True)
    stored = {name: value if "expert_bias" in name else value.to(torch.bfloat16) for name, value in weights.items()}
    write_safetensors(f"{checkpoint}/model.safetensors", stored, {"format": "pt"})
    config = dict(sorted(dict(CONFIG, **FACTS, eos_token_id=END, pad_token_id=END).items()))
    with open(f"{checkpoint}/config.json", "w") as file:
        file.write(json.dumps(config, indent=2) + "\n")

    generator = torch.Generator().manual_seed(3)
    for number, count in enumerate([23, 1, 40]):
        tokens = torch.randint(0, CONFIG["vocab_size"], (count,), generator=generator).tolist()
        write_safetensors(f"{goldens}/forward-{number}-block1.safetensors", golden_forward(model, tokens),
                          {"block_length": "1"})
    runs = []
    lengths = [1, 2, 7, 13]
    while len(runs) < len(lengths) + 2:
        count = lengths[len(runs)] if len(runs) < len(lengths) else int(torch.randint(1, 9, (1,), generator=generator))
        prompt = torch.randint(0, TEXT, (count,), generator=generator).tolist()
        output, records, closest = decode(model, prompt, 20)
        # Not too near to a tie for another order of adding; the last two come to an end, the others do not.
        if closest < 2e-5 or (output[-1] == END) != (len(runs) >= len(lengths)):
            continue
        runs.append({"prompt_ids": prompt, "options": {"block": 1, "steps": 1, "gen": 20, "threshold": 0.95},
                     "forwards": len(records), "output_ids": output, "steps": records})
    with open(f"{goldens}/decode.json", "w") as file:
        json.dump({"ids": {"eos_token_id": END, "mask_token_id": -1, "pad_token_id": END}, "runs": runs}, file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
