#!/usr/bin/env python3
"""What `Tools/Bench/peers` runs.

    peers.py gguf CHECKPOINT OUT.gguf      a checkpoint as a model that llama.cpp runs
    peers.py run DIRECTORY BIN RUNS        both programs in turn; medians, spreads and ratios

llama.cpp has no LLaDA2 but BailingMoeV2, from which it descends: the same tensors, and the same layers but for the mask,
which is causal. So both programs have every weight of the checkpoint. Q4_0 has a scale for each 32 weights, as int4-g32.

llama-bench runs its prompt of 32 tokens (`-p 32`) twice. With `-embd 1` the last layer's MLP and the head are computed for
all tokens, as a block of a diffusion model needs and `bench forward --head 32` does; without, for the last token only: a
third less work. One token (`-n 16`, one after the other) is the same work on both sides.
"""

import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

THREADS = "2"
THEIRS = "llama.cpp Q4_0"


def tensors(checkpoint):
    """Name → (dtype, shape, memory-mapped bytes) over all shards."""
    found = {}
    for shard in sorted(pathlib.Path(checkpoint).glob("*.safetensors")):
        data = np.memmap(shard, np.uint8, "r")
        length = int(data[:8].view("<u8")[0])
        header = json.loads(bytes(data[8:8 + length]))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            found[name] = entry["dtype"], entry["shape"], data[8 + length + begin:8 + length + end]
    return found


def write_gguf(checkpoint, out):
    """What llama.cpp's converter makes of BailingMoeV2, by its names, without a tokenizer."""
    import gguf

    config = json.load(open(f"{checkpoint}/config.json"))
    layers, experts = config["num_hidden_layers"], config["num_experts"]
    writer = gguf.GGUFWriter(out, "bailingmoe2")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_block_count(layers)
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(int(config["head_dim"] * config["partial_rotary_factor"]))
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_group_count(config["n_group"])
    writer.add_expert_group_used_count(config["topk_group"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_shared_count(config["num_shared_experts"])
    writer.add_expert_shared_feed_forward_length(config["moe_intermediate_size"] * config["num_shared_experts"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BAILINGMOE2, layers)

    def add(name, dtype, data):
        name = names.get_name(name.replace("expert_bias", "expert_bias.bias"), try_suffixes=(".weight", ".bias"))
        if data.ndim == 1 or "ffn_gate_inp" in name:
            data = data.view("<f4") if dtype == "F32" else (data.view("<u2").astype("<u4") << 16).view("<f4")
            writer.add_tensor(name, data)
        else:
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)

    stacks = {}
    for name, (dtype, shape, data) in tensors(checkpoint).items():
        data = data.reshape(*shape[:-1], -1)
        if ".experts." not in name:
            add(name, dtype, data)
            continue
        before, after = name.split(".experts.")
        expert, projection = after.split(".", 1)
        stacks.setdefault(f"{before}.experts.{projection}", {})[int(expert)] = data
    for name, stack in stacks.items():
        add(name, "BF16", np.stack([stack[expert] for expert in range(experts)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def settle(*inputs):
    """All inputs in the page cache, nothing there that a later writer would have to wait for."""
    os.sync()
    for path in inputs:
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass


def timed(command, output):
    """Seconds from start to end, and bytes written."""
    pathlib.Path(output).unlink(missing_ok=True)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, size = time.perf_counter() - start, os.path.getsize(output)
    os.unlink(output)
    return seconds, size


def shown(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio(values, others, digits=1):
    return f"{statistics.median(values) / statistics.median(others):.{digits}f}"


def quantize(directory, commands, shards, gguf, parameters, runs):
    """`commands`: name → from an output to the words that write it; the first is theirs."""
    inputs = {name: [gguf] if name == THEIRS else shards for name in commands}
    places = {"disk": directory, "memory": "/dev/shm"}
    rates = {(name, place): [] for name in commands for place in places}
    bits = {}
    for _ in range(runs):
        for name, place in rates:
            output = f"{places[place]}/peers.{os.getpid()}"
            settle(*inputs[name])
            seconds, size = timed(commands[name](output), output)
            rates[name, place].append(sum(os.path.getsize(path) for path in inputs[name]) / seconds / 1e9)
            bits[name] = 8 * size / parameters
    print("| quantize, warm: GB/s of input | bits/weight | to the disk | × llama.cpp | to /dev/shm | × llama.cpp |")
    print("|---|---|---|---|---|---|")
    for name in commands:
        cells = [f"{shown(rates[name, place])} | {ratio(rates[name, place], rates[THEIRS, place])}" for place in places]
        print(f"| {name} | {bits[name]:.2f} | {' | '.join(cells)} |")
    print("\nOutput to the disk is synced by Ingot, not by llama-quantize.\n")


def forward(bench, llama, packs, q4, parameters, runs):
    """`packs`: name → path."""
    speeds = {}
    for _ in range(runs):
        command = [llama, "-m", q4, "-t", THREADS, "-p", "32", "-n", "16", "-r", "5", "-embd", "1,0", "-o", "json"]
        for row in json.loads(subprocess.run(command, check=True, capture_output=True).stdout):
            assert row["model_n_params"] == parameters, "llama.cpp and the checkpoint differ in weights"
            if row["n_prompt"]:
                name = THEIRS if row["embeddings"] else f"{THEIRS}, last MLP and head for one token"
                speeds.setdefault((name, 32), []).append(statistics.median(row["samples_ts"]))
            elif not row["embeddings"]:
                speeds.setdefault((THEIRS, 1), []).append(statistics.median(row["samples_ts"]))
        for pack, path in packs.items():
            command = [bench, "forward", "--model", path, "--head", "32", "--runs", "7", "--only", THREADS]
            for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
                row = json.loads(line)
                name = f"{pack}, {row['activations']} activations", row["tokens"]
                speeds.setdefault(name, []).append(row["tokens_per_s"])
    print("| layers and head | tokens together | tokens/s | × llama.cpp |\n|---|---|---|---|")
    for (name, tokens), values in sorted(speeds.items(), key=lambda item: -item[0][1]):
        print(f"| {name} | {tokens} | {shown(values, 0)} | {ratio(values, speeds[THEIRS, tokens], 2)} |")


def run(directory, binaries, runs):
    checkpoint, gguf, q4 = (f"{directory}/mini2v{suffix}" for suffix in ["", ".gguf", ".q4_0.gguf"])
    shards = [str(shard) for shard in pathlib.Path(checkpoint).glob("*.safetensors")]
    llama = f"{directory}/build/bin"
    parameters = sum(math.prod(shape) for _, shape, _ in tensors(checkpoint).values())

    # --pure: the head and the embedding, too, as with --rest int4-g64.
    commands = {THEIRS: lambda output: [f"{llama}/llama-quantize", "--pure", gguf, output, "Q4_0", THREADS]}

    def ingot(*options):
        words = [f"{binaries}/ingot", "quantize", checkpoint, "-q", "-f", "--threads", THREADS, *options, "-o"]
        return lambda output: [*words, output]

    packs = {"all int4-g64": (["--rest", "int4-g64"], f"{directory}/all4.ingot"),
             "all int4-g32": (["--experts", "int4-g32", "--rest", "int4-g32"], f"{directory}/all4-g32.ingot"),
             "experts int4-g64, rest bf16": ([], f"{directory}/exp4.ingot"),
             "preset run": (["--preset", "run"], f"{directory}/run.ingot")}
    for name, (options, _) in packs.items():
        for solver in ["search", "absmax"]:
            commands[f"{name}, {solver}"] = ingot(*options, "--solver", solver)

    print(f"{parameters:,} parameters on both sides, {THREADS} threads; medians of {runs} runs in turn, least and "
          "greatest in brackets\n")
    quantize(directory, commands, shards, gguf, parameters, runs)
    if not os.path.exists(q4):
        subprocess.run(commands[THEIRS](q4), check=True, capture_output=True)
    for options, path in packs.values():
        subprocess.run(ingot(*options)(path), check=True, stdout=subprocess.DEVNULL)
    paths = {name: path for name, (_, path) in packs.items()}
    forward(f"{binaries}/bench", f"{llama}/llama-bench", paths, q4, parameters, runs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["gguf"] and len(sys.argv) == 4:
        write_gguf(*sys.argv[2:])
    elif sys.argv[1:2] == ["run"] and len(sys.argv) == 5:
        run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(__doc__)
