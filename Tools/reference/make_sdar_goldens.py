#!/usr/bin/env python3
"""Makes a small SDAR checkpoint with random weights, and what other code makes of it: goldens for the tests.

    make_sdar_goldens.py CHECKPOINT GOLDENS

The layers are those of `transformers`, Qwen3-MoE, which SDAR has unchanged; the mask by blocks is passed in. Decoding is the loop that
SDAR publishes (`low_confidence_dynamic`), written down once more without a cache, but that the most probable token is taken where that
loop draws, and never the mask (`Formats/sdar.md` §4). Needs torch and transformers (it was run with 2.15.0 and 5.24.0); the files that it made are part of the tests, so that nobody else does.
"""

import json
import os
import struct
import sys

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

CONFIG = dict(
    vocab_size=640, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
    norm_topk_prob=True, rms_norm_eps=1e-6, rope_theta=1000000.0, max_position_embeddings=512,
    tie_word_embeddings=False, attention_bias=False, hidden_act="silu", decoder_sparse_step=1, mlp_only_layers=[],
    use_sliding_window=False)
MASK, END, TEXT = 636, 635, 600  # as pico's tokenizer has them
NAMES = {"F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16}


def write_safetensors(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        dtype = next(key for key, value in NAMES.items() if value == tensor.dtype)
        raw = tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def make_model():
    torch.manual_seed(5)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**CONFIG, attn_implementation="eager")).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * (4 if "lm_head" in name else 2) / parameter.shape[-1] ** 0.5)
            parameter.copy_(parameter.to(torch.bfloat16).float())
    return model


def published(model):
    """The tensors by the names that checkpoints have: an expert at a time."""
    tensors = {}
    for name, parameter in model.named_parameters():
        value = parameter.to(torch.bfloat16)
        place = name.removesuffix("gate_up_proj").removesuffix("down_proj")
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(value):
                for part, matrix in zip(("gate_proj", "up_proj"), both.chunk(2)):
                    tensors[f"{place}{expert}.{part}.weight"] = matrix
        elif name.endswith("experts.down_proj"):
            for expert, matrix in enumerate(value):
                tensors[f"{place}{expert}.down_proj.weight"] = matrix
        else:
            tensors[name] = value
    return tensors


def block_mask(count, block):
    """(1, 1, count, count): a position sees its block and all before it."""
    blocks = torch.arange(count) // block
    return torch.where(blocks[None, :] <= blocks[:, None], 0.0, float("-inf"))[None, None]


def forward(model, tokens, block, routes=None):
    hooks = []
    if routes is not None:
        for layer in model.model.layers:
            hooks.append(layer.mlp.gate.register_forward_hook(lambda _, __, out: routes.append((out[2], out[1]))))
    with torch.no_grad():
        out = model(input_ids=torch.tensor([tokens]), attention_mask=block_mask(len(tokens), block),
                    output_hidden_states=True, use_cache=False)
    for hook in hooks:
        hook.remove()
    return out


def golden_forward(model, tokens, block):
    routes = []
    out = forward(model, tokens, block, routes)
    tensors = {"input_ids": torch.tensor(tokens, dtype=torch.int32), "logits": out.logits[0]}
    for index, hidden in enumerate(out.hidden_states):
        tensors[f"hidden.{index}"] = hidden[0]
    for index, (experts, weights) in enumerate(routes):
        tensors[f"experts.{index}"] = experts.to(torch.int32)
        tensors[f"weights.{index}"] = weights
    return tensors


def decode(model, prompt, block, steps, length, threshold):
    """SDAR's `block_diffusion_generate` for the most probable token. Returns tokens up to the end, and every step."""
    total = -(-(len(prompt) + length) // block) * block
    x = prompt + [MASK] * (total - len(prompt))
    quotas = [block // steps + (step < block % steps) for step in range(steps)]
    records, closest = [], 1.0
    for index in range(len(prompt) // block, total // block):
        for step in range(steps):
            first = index * block
            masked = [i for i in range(first, first + block) if x[i] == MASK]
            if not masked:
                break
            logits = forward(model, x[:first + block], block).logits[0]
            shares = torch.softmax(logits, -1)
            two = shares.topk(2, -1).values
            shares[:, MASK] = -1
            tokens = shares.topk(2, -1)
            found = {i: (tokens.values[i, 0].item(), tokens.indices[i, 0].item(), (two[i, 0] - two[i, 1]).item())
                     for i in masked}
            order = sorted(masked, key=lambda i: -found[i][0])
            high = [i for i in masked if found[i][0] > threshold]
            chosen = sorted(high if len(high) >= quotas[step] else order[:quotas[step]])
            ranks = [found[i][0] for i in order]
            closest = min([closest] + [abs(p - threshold) for p in ranks] + [a - b for a, b in zip(ranks, ranks[1:])]
                          + [(tokens.values[i, 0] - tokens.values[i, 1]).item() for i in masked])
            records.append({"block": index, "step": step, "masked": len(masked),
                            "commits": [[i, found[i][1], round(found[i][0], 7), round(found[i][2], 7)]
                                        for i in chosen]})
            for i in chosen:
                x[i] = found[i][1]
        answer = x[len(prompt):(index + 1) * block]
        if END in answer:
            break
    answer = answer[:length]
    if END in answer:
        answer = answer[:answer.index(END) + 1]
    return answer, records, closest


def main(checkpoint, goldens):
    model = make_model()
    os.makedirs(checkpoint, exist_ok=True)
    os.makedirs(goldens, exist_ok=True)
    write_safetensors(f"{checkpoint}/model.safetensors", published(model))
    config = dict(architectures=["SDARMoeForCausalLM"], model_type="sdar_moe", **CONFIG, rope_scaling=None,
                  sliding_window=None, mask_token_id=MASK, eos_token_id=END, pad_token_id=END, torch_dtype="bfloat16")
    with open(f"{checkpoint}/config.json", "w") as file:
        file.write(json.dumps(config, indent=2) + "\n")

    generator = torch.Generator().manual_seed(9)
    for number, (count, block) in enumerate([(23, 4), (16, 8), (9, 1)]):
        tokens = torch.randint(0, MASK + 1, (count,), generator=generator).tolist()
        write_safetensors(f"{goldens}/forward-{number}-block{block}.safetensors", golden_forward(model, tokens, block),
                          {"block_length": str(block)})
    runs = []
    while len(runs) < 6:
        block, steps, threshold = [(4, 4, 0.85), (4, 4, 0.3), (4, 2, 0.5), (8, 4, 0.4), (8, 8, 0.2), (4, 3, 0.6)][len(runs)]
        prompt = torch.randint(0, TEXT, (torch.randint(3, 14, (1,), generator=generator).item(),), generator=generator).tolist()
        output, records, closest = decode(model, prompt, block, steps, 24, threshold)
        if closest < 2e-5:
            continue  # too near to a tie for another order of adding
        runs.append({"prompt_ids": prompt, "options": {"block": block, "steps": steps, "gen": 24, "threshold": threshold},
                     "forwards": len(records), "output_ids": output, "steps": records})
    with open(f"{goldens}/decode.json", "w") as file:
        json.dump({"ids": {"eos_token_id": END, "mask_token_id": MASK, "pad_token_id": END}, "runs": runs}, file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
