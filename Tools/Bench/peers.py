#!/usr/bin/env python3
"""What `Tools/Bench/peers` runs.

    peers.py gguf CHECKPOINT OUT.gguf      the mixture layers of a checkpoint as a model that llama.cpp runs
    peers.py run DIRECTORY BIN RUNS        both programs in turn; medians, spreads and ratios

llama.cpp has no LLaDA2, so the layers are named as those of qwen3moe, which has the same attention and expert shapes but
no shared expert and no dense layer, and its router is a softmax. Its figures are thus for less work than ours: of what one
token reads in 4 bits, our dense layer with its attention and our shared experts are two fifths.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np


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
    import gguf

    config = json.load(open(f"{checkpoint}/config.json"))
    source = tensors(checkpoint)
    bf16 = gguf.GGMLQuantizationType.BF16
    layers = [i for i in range(config["num_hidden_layers"]) if i >= config["first_k_dense_replace"]]
    vocabulary = 8192
    hidden, heads, groups = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    dimension = config.get("head_dim") or hidden // heads
    writer = gguf.GGUFWriter(out, "qwen3moe")
    writer.add_block_count(len(layers))
    writer.add_context_length(4096)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_key_length(dimension)
    writer.add_value_length(dimension)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)

    def matrix(name, rows=None):
        _, shape, data = source[name]
        data = data.reshape(shape[0], shape[1] * 2)
        return data if rows is None else data[rows[0]:rows[1]]

    def add(name, data):
        writer.add_tensor(name, data, raw_dtype=bf16)

    def ones(name, count):
        writer.add_tensor(name, np.ones(count, np.float32))

    add("token_embd.weight", matrix("model.word_embeddings.weight", (0, vocabulary)))
    ones("output_norm.weight", hidden)
    add("output.weight", matrix("lm_head.weight", (0, vocabulary)))
    for block, layer in enumerate(layers):
        theirs, ours = f"blk.{block}.", f"model.layers.{layer}."
        queries, keys = heads * dimension, groups * dimension
        for part, begin, end in [("q", 0, queries), ("k", queries, queries + keys), ("v", queries + keys, None)]:
            rows = begin, end if end else queries + 2 * keys
            add(f"{theirs}attn_{part}.weight", matrix(ours + "attention.query_key_value.weight", rows))
        add(theirs + "attn_output.weight", matrix(ours + "attention.dense.weight"))
        for name, count in [("attn_norm", hidden), ("ffn_norm", hidden), ("attn_q_norm", dimension),
                            ("attn_k_norm", dimension)]:
            ones(f"{theirs}{name}.weight", count)
        _, shape, gate = source[ours + "mlp.gate.weight"]
        wide = (gate.view("<u2").astype("<u4") << 16).view("<f4").reshape(shape)
        writer.add_tensor(theirs + "ffn_gate_inp.weight", wide)
        for projection in ["gate", "up", "down"]:
            experts = [matrix(f"{ours}mlp.experts.{e}.{projection}_proj.weight") for e in range(config["num_experts"])]
            add(f"{theirs}ffn_{projection}_exps.weight", np.stack(experts))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def warm(*paths):
    for path in paths:
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass


def timed(command, **options):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    return time.perf_counter() - start


def shown(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def run(directory, binaries, runs):
    threads = str(len(os.sched_getaffinity(0)))
    ingot, bench = f"{binaries}/ingot", f"{binaries}/bench"
    llama = f"{directory}/build/bin"
    checkpoint, gguf = f"{directory}/mini2", f"{directory}/mini2.gguf"
    shards = [str(shard) for shard in pathlib.Path(checkpoint).glob("*.safetensors")]
    pack, theirs = f"{directory}/mini2.ingot", f"{directory}/mini2.q4_0.gguf"

    print(f"{threads} threads; medians of {runs} runs in turn, least and greatest in brackets\n")
    print("| quantize, warm | GB/s of input | × llama-quantize |\n|---|---|---|")
    rates = {"Q4_0": [], "int4-g64 search": [], "int4-g64 absmax": [], "int4-g32 search": []}
    ours = sum(os.path.getsize(shard) for shard in shards)
    for _ in range(runs):
        warm(gguf)
        seconds = timed([f"{llama}/llama-quantize", gguf, theirs, "Q4_0", threads])
        rates["Q4_0"].append(os.path.getsize(gguf) / seconds / 1e9)
        warm(*shards)
        for name in list(rates)[1:]:
            experts, solver = name.split()
            options = ["-q", "-f", "--experts", experts, "--solver", solver, "--threads", threads]
            rates[name].append(ours / timed([ingot, "quantize", checkpoint, "-o", pack, *options]) / 1e9)
    for name, values in rates.items():
        ratio = statistics.median(values) / statistics.median(rates["Q4_0"])
        print(f"| {name} | {shown(values)} | {ratio:.1f} |")

    # llama.cpp quantizes attention too; the pack beside it does the same, the other is what `quantize` makes by default.
    packs = {"int4-g64, all": ["--rest", "int4-g64"], "int4-g64 experts": []}
    for name, options in packs.items():
        subprocess.run([ingot, "quantize", checkpoint, "-o", f"{directory}/{name}.ingot", "-q", "-f", *options], check=True)
    speeds = {}
    for _ in range(runs):
        command = [f"{llama}/llama-bench", "-m", theirs, "-t", threads, "-p", "32", "-n", "16", "-r", "3", "-o", "json"]
        for row in json.loads(subprocess.run(command, check=True, capture_output=True).stdout):
            speeds.setdefault(("Q4_0", 32 if row["n_prompt"] else 1), []).append(row["avg_ts"])
        for pack_name in packs:
            command = [bench, "forward", "--model", f"{directory}/{pack_name}.ingot", "--runs", "5"]
            for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
                row = json.loads(line) if line.startswith("{") else {}
                if str(row.get("threads")) == threads:
                    name = f"{pack_name}, {row['activations']} activations"
                    speeds.setdefault((name, row["tokens"]), []).append(row["tokens_per_s"])
    print("\n| two mixture layers | tokens together | tokens/s | × llama.cpp |\n|---|---|---|---|")
    for (name, tokens), values in speeds.items():
        if values:
            ratio = statistics.median(values) / statistics.median(speeds["Q4_0", tokens])
            print(f"| {name} | {tokens} | {shown(values, 0)} | {ratio:.2f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["gguf"] and len(sys.argv) == 4:
        write_gguf(*sys.argv[2:])
    elif sys.argv[1:2] == ["run"] and len(sys.argv) == 5:
        run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(__doc__)
