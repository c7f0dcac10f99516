#!/usr/bin/env python3
"""Runs the examples of the module ingot and of the README, and checks what they do not show: views, damage, hashes, PyTorch.

    check_module.py INGOT CHECKPOINT      the module beside this file
    check_module.py INGOT CHECKPOINT --installed
"""

import doctest
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

if "--installed" not in sys.argv:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
else:
    sys.path.remove(str(Path(__file__).resolve().parent))
import ingot  # noqa: E402
from ingot import encodings, hashing, layout, pack as pack_module  # noqa: E402

EXPERT, NORM = "model.layers.1.mlp.experts.0.up_proj.weight", "model.norm.weight"


def raises(kind, run):
    try:
        run()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} was raised")


def check_examples():
    count = 0
    for module in ingot, pack_module, encodings, hashing:
        done = doctest.testmod(module, extraglobs={"ingot": ingot}, optionflags=doctest.ELLIPSIS)
        if done.failed:
            sys.exit(f"{done.failed} examples of {module.__name__} failed")
        count += done.attempted
    return count


def check_readme():
    """What the README shows runs."""
    readme = Path(__file__).resolve().parents[2] / "README.md"
    block = readme.read_text().split("```python\n")[1].split("```")[0]
    Path("mini.ingot").symlink_to("pico.ingot")
    exec(block, {})


def check_hashes():
    """The plain XXH3 at every length at which it takes another way, against hashes that the writer put into a pack."""
    pack = ingot.open("pico.ingot").records
    tables = pack.bytes[pack.header.tables_offset:].tobytes()
    assert hashing.xxh3_plain(tables) == pack.header.tables_hash
    for c in pack.chunks:
        assert hashing.xxh3_plain(pack.bytes[c.offset:c.offset + c.stored_length]) == c.stored_hash
    if hashing.xxhash is not None:
        for n in [*range(1100), (1 << 20) + 1, (1 << 20) + 1024, (1 << 20) + 1025]:
            data = (tables * (n // len(tables) + 1))[:n]
            assert hashing.xxh3_plain(data) == hashing.xxh3(data), n


def check_views():
    """What is said to be a view is one, read-only, and the same whether chunks are compressed or not."""
    raw, zstd = ingot.open("pico.ingot"), ingot.open("zstd.ingot")
    whole = raw.records.bytes
    for name, info in raw.items():
        plain = info.is_plain
        view = raw.stored(name) if plain else raw.codes(name)
        assert np.shares_memory(view, whole) and not view.flags.writeable, name
        other = zstd.stored(name) if plain else zstd.codes(name)
        assert other.tobytes() == view.tobytes() and raw.tensor(name).tobytes() == zstd.tensor(name).tobytes(), name
        assert raw.tensor(name).shape == info.shape
        if info.encoding == "f32":
            assert np.shares_memory(raw.tensor(name), whole)
    del raw                             # an array keeps the mapping
    assert view.any()


def check_refusals():
    pack = ingot.open("pico.ingot")
    assert NORM in pack and "nothing" not in pack
    assert "no tensor" in raises(KeyError, lambda: pack.tensor("nothing"))
    assert "scales" in raises(ingot.Error, lambda: pack.stored(EXPERT))
    assert "plain" in raises(ingot.Error, lambda: pack.codes(NORM))
    sound = Path("pico.ingot").read_bytes()
    for name, content in (("empty", b""), ("text", b"{}" * 200), ("cut", sound[:-64]), ("header", b"INGOT"),
                          ("tables", sound[:-1] + b"x")):
        Path(name).write_bytes(content)
        raises(ingot.FormatError, lambda: ingot.open(name))
    raises(OSError, lambda: ingot.open("nowhere"))
    # A report that was measured on another pack is told apart.
    own = ingot.open("verified.ingot").drift_report["candidate"]["hash"].encode()
    content = np.frombuffer(Path("verified.ingot").read_bytes().replace(own, b"0" * 16), np.uint8).copy()
    header = content[:256].view(layout.HEADER)[0]
    chunks = content[header["tables_offset"]:][:64 * header["chunk_count"]].view(layout.CHUNK)
    report = chunks[-1]
    report["stored_hash"] = report["content_hash"] = hashing.xxh3(
        content[report["offset"]:report["offset"] + report["stored_length"]])
    header["tables_hash"] = hashing.xxh3(content[header["tables_offset"]:])
    header["root_hash"] = hashing.xxh3(content[:248])
    Path("other.ingot").write_bytes(content.tobytes())
    ingot.open("other.ingot").check()
    assert "another pack" in raises(ingot.Error, lambda: ingot.open("other.ingot").drift_report)


def check_torch():
    try:
        import torch
    except ImportError:
        return "is not installed, so tensors for it were left out"
    pack = ingot.open("pico.ingot")
    head = pack.torch("lm_head.weight")
    assert head.dtype == torch.bfloat16 and (head.float().numpy() == pack.tensor("lm_head.weight")).all()
    head.zero_()                        # reaches neither the file nor what others see of it
    assert pack.stored("lm_head.weight").any()
    for name in NORM, EXPERT, "model.layers.1.mlp.gate.expert_bias":
        assert (pack.torch(name).float().numpy() == pack.tensor(name)).all(), name
    return "gets the same numbers"


def main():
    ingot_binary, checkpoint = (os.path.abspath(path) for path in sys.argv[1:3])

    def run(*arguments):
        subprocess.run([ingot_binary, *arguments, "-q"], check=True, stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        run("quantize", checkpoint, "-o", "pico.ingot")
        run("quantize", checkpoint, "-o", "zstd.ingot", "--compress", "zstd")
        run("quantize", checkpoint, "-o", "verified.ingot")
        run("verify", "verified.ingot", "--reference", checkpoint, "--prompts", f"{checkpoint}/eval.jsonl", "--limit", "2",
            "--gen-length", "32", "--attach")
        damaged = bytearray(Path("pico.ingot").read_bytes())
        damaged[300] ^= 1
        Path("damaged.ingot").write_bytes(damaged)
        count = check_examples()
        check_readme()
        check_hashes()
        check_views()
        check_refusals()
        print(f"module ingot: {count} examples hold; PyTorch {check_torch()}")
        os.chdir("/")


if __name__ == "__main__":
    main()
