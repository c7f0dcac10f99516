#!/usr/bin/env python3
"""Reads exports with the packages of the engines that they are for, and compares every tensor with `ingot inspect --npy`.

    interop_exports.py INGOT CHECKPOINT

Run by Tools/interop, which installs the packages. For each encoding and format: safetensors opens every file; compressed-tensors
validates the configuration and unpacks every matrix; gguf, mlx and auto-round decode every matrix; msgpack and blake3 read what minnow
would; scales are widened to f32 first, and the signs of zeros do not count. A GGUF of profile `bailingmoe2` is loaded by llama.cpp,
whose probabilities after one token, where causal and bidirectional attention are the same, are compared with those of a forward pass in
numpy. The same weights as a checkpoint of Ling are run by both behind longer prompts.
Exits with 1 at the first difference.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

import compare_exports
import minnow
from compare_exports import Difference, require, stacks

ENCODINGS = ["int4-g32", "int4-g64", "int4-g64s8", "int8-g32", "int8-g64", "int8-g64s8"]


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    require(done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())


def opened(directory):
    """All tensors of all files, by the package of the format."""
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
    return tensors


def compare_safetensors(directory, values):
    tensors = opened(directory)
    require(set(tensors) == set(values), "names")
    for name, want in values.items():
        require(same(tensors[name].to(torch.float32).numpy(), want), name)


def compare_compressed_tensors(directory, values):
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig

    config = QuantizationConfig.model_validate(json.loads((directory / "config.json").read_text())["quantization_config"])
    scheme = config.config_groups["group_0"]
    tensors = opened(directory)
    for name, want in values.items():
        module = name.removesuffix(".weight")
        if name in tensors:
            require(same(tensors.pop(name).to(torch.float32).numpy(), want), name)
            continue
        state = {key: tensors.pop(f"{module}.{key}") for key in ("weight_packed", "weight_scale", "weight_shape")}
        state["weight_scale"] = state["weight_scale"].to(torch.float32)
        require(same(PackedQuantizationCompressor.decompress(state, scheme)["weight"].numpy(), want), name)
    require(not tensors, f"more than expected: {sorted(tensors)[:3]}")


def compare_gguf(path, values):
    import gguf

    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}

    class Named:
        def __init__(self, name):
            self.name = name

    experts, rest = stacks({name: Named(name) for name in values})
    for (prefix, projection), each in experts.items():
        name = f"blk.{prefix.split('.')[2]}.ffn_{projection.removesuffix('_proj')}_exps.weight"
        want = np.stack([values[e.name] for e in each])
        require(same(tensors.pop(name).reshape(want.shape).astype(np.float32), want), name)
    for one in rest:
        name, want = compare_exports.gguf_name(one.name), values[one.name]
        require(same(tensors.pop(name).reshape(want.shape).astype(np.float32), want), name)
    require(not tensors, f"more than expected: {sorted(tensors)[:3]}")


def compare_mlx(directory, values):
    import mlx.core as mx

    settings = json.loads((directory / "config.json").read_text())["quantization"]
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors.update(mx.load(str(path)))

    def values_of(name):
        module = name.removesuffix(".weight")
        weight = tensors.pop(name)
        if f"{module}.scales" not in tensors:
            return np.array(weight.astype(mx.float32))
        own = settings.get(module, settings)
        scales, biases = (tensors.pop(f"{module}.{key}").astype(mx.float32) for key in ("scales", "biases"))
        return np.array(mx.dequantize(weight, scales, biases, own["group_size"], own["bits"], mode="affine"))

    stacked = {}
    for name, want in values.items():
        match = compare_exports.EXPERT.match(name)
        if match:
            stacked.setdefault(f"language_model.{match[1]}switch_mlp.{match[3]}.weight", {})[int(match[2])] = want
        else:
            require(same(values_of("language_model." + name), want), name)
    for name, experts in stacked.items():
        require(same(values_of(name), np.stack([experts[i] for i in range(len(experts))])), name)
    require(not tensors, f"more than expected: {sorted(tensors)[:3]}")


def gptq_linear():
    """auto-round's layer for the first version of the format, without the package around it, which needs much more."""
    place = Path(importlib.util.find_spec("auto_round_extension").origin).parent / "torch" / "qlinear_torch_zp.py"
    spec = importlib.util.spec_from_file_location("qlinear_torch_zp", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.QuantLinear


def compare_gptq(directory, values):
    linear = gptq_linear()
    settings = json.loads((directory / "config.json").read_text())["quantization_config"]
    tensors = opened(directory)
    for name, want in values.items():
        module = name.removesuffix(".weight")
        if name in tensors:
            require(same(tensors.pop(name).to(torch.float32).numpy(), want), name)
            continue
        layer = linear(settings["bits"], settings["group_size"], want.shape[1], want.shape[0], False)
        # The layer has groups in their order where it is given none; that they are is seen here.
        groups = torch.arange(want.shape[1], dtype=torch.int32) // settings["group_size"]
        require(torch.equal(tensors.pop(f"{module}.g_idx"), groups), f"{module}.g_idx")
        for key in ("qweight", "scales", "qzeros"):
            found = tensors.pop(f"{module}.{key}")
            require(getattr(layer, key).shape == found.shape, f"{module}.{key}")
            setattr(layer, key, found.to(torch.float32) if key == "scales" else found)
        # What the layer multiplies with: it is fed the unit matrix.
        got = layer(torch.eye(want.shape[1], dtype=torch.float32)).T
        require(same(got.to(torch.float32).numpy(), want), name)
    require(not tensors, f"more than expected: {sorted(tensors)[:3]}")


def compare_minnow(path, values):
    import blake3
    import msgpack

    _, tensors = minnow.read(path, msgpack.unpackb, lambda messages: [blake3.blake3(m).hexdigest() for m in messages])
    require(set(tensors) == set(values), "names")
    for name, want in values.items():
        require(same(minnow.decode(*tensors[name]).reshape(want.shape), want), name)


COMPARE = {"safetensors": compare_safetensors, "compressed-tensors": compare_compressed_tensors, "gguf": compare_gguf,
           "mlx": compare_mlx, "gptq": compare_gptq, "minnow": compare_minnow}


# llama.cpp ----------------------------------------------------------------------------------------------------------------

def one_token(values, config, token):
    """Log-probabilities of all tokens at the only one of a sequence (Formats/llada2.md §3): nothing turns at position 0, and what
    attends to itself alone gets its own value."""
    def norm(x, name):
        return x / np.sqrt(np.mean(x * x) + config["rms_norm_eps"]) * values[name]

    def mlp(x, prefix):
        gate, up = (values[f"{prefix}{p}_proj.weight"] @ x for p in ("gate", "up"))
        return values[f"{prefix}down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * up)

    heads, keys, d = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    h = values["model.word_embeddings.weight"][token]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        qkv = values[prefix + "attention.query_key_value.weight"] @ norm(h, prefix + "input_layernorm.weight")
        attended = np.repeat(qkv[(heads + keys) * d:].reshape(keys, d), heads // keys, axis=0).reshape(-1)
        h = h + values[prefix + "attention.dense.weight"] @ attended
        x = norm(h, prefix + "post_attention_layernorm.weight")
        if layer < config["first_k_dense_replace"]:
            h = h + mlp(x, prefix + "mlp.")
            continue
        scores = 1 / (1 + np.exp(-(values[prefix + "mlp.gate.weight"] @ x)))
        choice = scores + values[prefix + "mlp.gate.expert_bias"]
        groups = choice.reshape(config["n_group"], -1)
        best = np.argsort(-np.sort(groups, axis=1)[:, -2:].sum(axis=1))[:config["topk_group"]]
        allowed = np.full_like(groups, -np.inf)
        allowed[best] = groups[best]
        chosen = np.argsort(-allowed.reshape(-1))[:config["num_experts_per_tok"]]
        weights = scores[chosen] / scores[chosen].sum() * config["routed_scaling_factor"]
        h = h + mlp(x, prefix + "mlp.shared_experts.")
        for weight, expert in zip(weights, chosen):
            h = h + weight * mlp(x, f"{prefix}mlp.experts.{expert}.")
    logits = values["lm_head.weight"] @ norm(h, "model.norm.weight")
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def llama_cpp(path, prompts):
    """The same from llama.cpp, as far as it tells: token to log-probability, for each prompt; empty where its answer ends at once."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.warmup, parameters.verbosity = str(path), 128, False, -1
    server = xllamacpp.Server(parameters)
    found = []
    for prompt in prompts:
        answer = server.handle_completions({"prompt": prompt, "max_tokens": 1, "logprobs": 20, "cache_prompt": False})
        told = answer["choices"][0]["logprobs"]
        found.append({p["id"]: p["logprob"] for p in told["content"][0]["top_logprobs"]} if told else {})
    return found


def compare_llama_cpp(ingot, checkpoint, directory):
    config = json.loads((checkpoint / "config.json").read_text())
    for groups in (config["n_group"], 1):
        model = directory / f"groups-{groups}"
        model.mkdir()
        for file in checkpoint.iterdir():
            (model / file.name).symlink_to(file)
        own = {**config, "n_group": groups, "topk_group": min(groups, config["topk_group"])}
        (model / "config.json").unlink()
        (model / "config.json").write_text(json.dumps(own))
        for encoding in ("keep", "int8-g32", "int4-g32"):
            pack = directory / f"groups-{groups}-{encoding}.ingot"
            run(ingot, "quantize", model, "-o", pack, "-q", "--experts", encoding)
            out = directory / f"groups-{groups}-{encoding}.gguf"
            run(ingot, "export", pack, "--to", "gguf", "--profile", "bailingmoe2", "-o", out, "-q")
            values, tokens = values_of(ingot, pack, directory), list(range(3, 633, 15))
            found = llama_cpp(out, [[token] for token in tokens])
            tokens = [token for token, told in zip(tokens, found) if told]
            found = [told for told in found if told]
            require(len(tokens) > 20, "llama.cpp ends most answers at once")

            def distances(values):
                """By token, how far the probabilities that llama.cpp tells are from ours."""
                ours = [one_token(values, own, token) for token in tokens]
                return np.array([max(abs(a[id] - p) for id, p in b.items()) for a, b in zip(ours, found)])

            # ggml rounds what is multiplied with plain weights to bf16, with quantized ones to 8 bits. Here and there an expert is
            # another one then, so that the median tells.
            d = distances(values)
            what = f"llama.cpp, experts {encoding}, {groups} groups: log-probabilities differ by {np.median(d):.3f}, {d.max():.3f} at most"
            require(np.median(d) < 0.1, what)
            other = {name: values[re.sub(r"experts\.(\d+)", lambda m: f"experts.{(int(m[1]) + 1) % config['num_experts']}", name)]
                     for name in values}
            require(np.median(distances(other)) > 0.3, f"llama.cpp, {encoding}: experts in another order are not seen")
            print(what, flush=True)


def compare_next_token(ingot, checkpoint, directory):
    """The weights as those of Ling, which llama.cpp serves: what both hold most probable behind the same prompts."""
    model = directory / "ling"
    model.mkdir()
    for file in checkpoint.iterdir():
        (model / file.name).symlink_to(file)
    config = {**json.loads((checkpoint / "config.json").read_text()), "model_type": "bailing_moe"}
    (model / "config.json").unlink()
    (model / "config.json").write_text(json.dumps(config))
    pack, out, trace, ids = (directory / name for name in ("ling.ingot", "ling.gguf", "ling.jsonl", "ids.json"))
    run(ingot, "quantize", model, "-o", pack, "-q", "--experts", "keep")
    run(ingot, "export", pack, "--to", "gguf", "-o", out, "-q")
    prompts = [[(start + 37 * i) % 600 for i in range(count)] for start, count in enumerate([1, 2, 5, 12, 30, 60] * 3)]
    distances, others = [], 0
    for prompt, theirs in zip(prompts, llama_cpp(out, prompts)):
        if not theirs:
            continue
        ids.write_text(json.dumps(prompt))
        run(ingot, "run", pack, "--tokens", ids, "--gen-length", "1", "--json", "-q", "--trace", trace, "--force")
        _, token, probability, _ = json.loads(trace.read_text())["commits"][0]
        others += token != max(theirs, key=theirs.get)
        distances.append(abs(np.log(probability) - theirs.get(token, -np.inf)))
    require(len(distances) > len(prompts) // 2, "llama.cpp ends most answers at once")
    what = f"llama.cpp, Ling: {others} of {len(distances)} next tokens differ; log-probabilities by {np.median(distances):.3f}"
    require(others <= len(prompts) // 6 and np.median(distances) < 0.05, what)
    print(what, flush=True)


def values_of(ingot, pack, directory):
    values = {}
    for tensor in json.loads(run(ingot, "inspect", pack, "--json"))["tensors"]:
        npy = directory / "tensor.npy"
        run(ingot, "inspect", pack, "--tensor", tensor["name"], "--npy", npy, "--force", "-q")
        values[tensor["name"]] = np.load(npy)
    return values


def main():
    ingot, checkpoint = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        model = compare_exports.block_routed(Path(checkpoint).resolve(), directory / "block-routed")
        for encoding, solver in [*((e, "search") for e in ENCODINGS), ("int4-g32s8", "search-positive")]:
            pack = directory / f"{encoding}-{solver}.ingot"
            run(ingot, "quantize", model, "-o", pack, "-q", "--experts", encoding, "--solver", solver)
            values = values_of(ingot, pack, directory)
            for format, compare in COMPARE.items():
                if format == "minnow" and encoding.startswith("int4") and solver == "search":
                    continue  # has codes that need a negative scale
                out = directory / f"{encoding}-{solver}-{format}"
                run(ingot, "export", pack, "--to", format, "-o", out, "-q",
                    *(["--dtype", "f32"] if format == "safetensors" else []))
                compare(out, values)
                print(f"{encoding}, {solver}, {format}: {len(values)} tensors agree", flush=True)
        compare_llama_cpp(ingot, Path(checkpoint).resolve(), directory)
        compare_next_token(ingot, Path(checkpoint).resolve(), directory)


if __name__ == "__main__":
    try:
        main()
    except Difference as difference:
        sys.exit(f"a difference: {difference}")
