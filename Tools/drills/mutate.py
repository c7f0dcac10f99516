#!/usr/bin/env python3
"""Changes small packs and seals them again, so that every hash is right and only the sense is wrong. The second reader and
`ingot` must agree on whether the pack is sound, and on the numbers if it is.

    mutate.py INGOT CHECKPOINT
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from drill import Drill, Run

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root / "python"))
import ingot  # noqa: E402
from ingot import rules  # noqa: E402
from ingot.hashing import xxh3  # noqa: E402
from ingot.layout import CHUNK, FILE, HEADER, RAW, TENSOR, Mapped, known  # noqa: E402

drill = Drill()
base = drill.directory
small = base / "small"
subprocess.run([sys.executable, root / "make-checkpoint.py", "--shape", "pico", "--layers", "2", "--experts", "8", "--hidden",
                "64", "--moe-intermediate", "32", "--intermediate", "64", "--vocab", "64", small], check=True,
               stdout=subprocess.DEVNULL)
PACKS = {
    "raw": ["--experts", "int4-g32", "--rest", "keep"],
    "zstd": ["--experts", "int8-g32", "--rest", "int4-g32", "--override", "lm_head=keep", "--compress", "zstd"],
}
originals = []
for name, options in PACKS.items():
    drill.must("quantize", small, "-o", f"{name}.ingot", "-q", *options)
    originals.append((base / f"{name}.ingot").read_bytes())


class Tables:
    """Views of the records of a pack in memory; what is set there is in the pack."""

    def __init__(self, content):
        self.bytes = np.frombuffer(content, np.uint8)
        self.header = self.bytes[:256].view(HEADER)
        h, at = self.header[0], int(self.header[0]["tables_offset"])
        self.tables = {"header": self.header}
        for name, dtype, count in (("chunk", CHUNK, h["chunk_count"]), ("tensor", TENSOR, h["tensor_count"]),
                                   ("file", FILE, h["file_count"])):
            end = at + dtype.itemsize * int(count)
            self.tables[name] = self.bytes[at:end].view(dtype)
            at = end
        self.strings = at, at + int(h["strings_length"])
        self.tables_range = int(h["tables_offset"]), len(content)

    def seal(self):
        for chunk in self.tables["chunk"]:
            start, length = int(chunk["offset"]), int(chunk["stored_length"])
            if 0 < length and start + length <= len(self.bytes):
                found = xxh3(self.bytes[start:start + length])
                chunk["stored_hash"] = found
                if chunk["codec"] == RAW:
                    chunk["content_hash"] = found
        self.header["tables_hash"] = xxh3(self.bytes[slice(*self.tables_range)])
        self.header["root_hash"] = xxh3(self.bytes[:248])


def mutate(tables):
    """Changes one thing; says what."""
    choose = drill.random.choice
    kind = drill.random.choices(["field", "swap", "string", "byte", "gap"], [60, 8, 10, 17, 5])[0]
    if kind in ("field", "swap"):
        name = choose(["header", "chunk", "chunk", "tensor", "tensor", "file"])
        table = tables.tables[name]
        if kind == "swap" and len(table) > 1:
            one, other = drill.random.sample(range(len(table)), 2)
            table[[one, other]] = table[[other, one]]
            return f"{name}s {one} and {other} swapped"
        index, key = drill.random.randrange(len(table)), choose(table.dtype.names)
        raw = table[index:index + 1].view(np.uint8)
        start, size = table.dtype.fields[key][1], table.dtype.fields[key][0].itemsize
        if size > 8:                    # reserved, or dimensions
            start += size // 4 * drill.random.randrange(4) if key == "dimensions" else drill.random.randrange(size)
            size = size // 4 if key == "dimensions" else 1
        old = int.from_bytes(raw[start:start + size].tobytes(), "little")
        other = table[drill.random.randrange(len(table)):][:1].view(np.uint8)[start:start + size]
        new = choose([0, 1, 2, 3, old + 1, old - 1, old + 64, old - 64, old * 2, old // 2, old ^ 1 << drill.random.randrange(8 * size),
                      (1 << 8 * size) - 1, 1 << 8 * size - 1, drill.random.getrandbits(8 * size),
                      int.from_bytes(other.tobytes(), "little")]) % (1 << 8 * size)
        raw[start:start + size] = np.frombuffer(new.to_bytes(size, "little"), np.uint8)
        return f"{name} {index}, {key}: {old} becomes {new}"
    if kind == "string":
        at = drill.random.randrange(*tables.strings)
    elif kind == "gap":
        at = drill.random.randrange(tables.strings[1], len(tables.bytes) + 1)
        at = min(at, len(tables.bytes) - 1)
    else:
        chunk = choose(tables.tables["chunk"])
        at = int(chunk["offset"]) + drill.random.randrange(int(chunk["stored_length"]))
    old = int(tables.bytes[at])
    tables.bytes[at] = choose([0, old ^ 1 << drill.random.randrange(8), drill.random.randrange(256)])
    return f"{kind}, byte {at}: {old} becomes {tables.bytes[at]}"


def verdict(path):
    """Rules that the second reader finds broken, and the pack."""
    pack = Mapped(path)
    return sorted({violation.rule for violation in rules.check(pack)}), pack


path, npy = base / "mutated.ingot", base / "numbers.npy"
counts = {"sound": 0, "refused": 0}
while drill.goes_on():
    content = bytearray(drill.random.choice(originals))
    tables = Tables(content)
    what = "; ".join(mutate(tables) for _ in range(drill.random.choice([1, 1, 1, 2, 3])))
    tables.seal()
    path.unlink(missing_ok=True)        # the second reader may still map the last one
    path.write_bytes(content)
    broken, pack = verdict(path)
    done = Run([drill.ingot, "inspect", path, "--check", "-q"], base)
    # A later version, or features that are not known, are no damage.
    wanted = {(): 0, (2,): 1, (3,): 1, (6,): 1}.get(tuple(broken), 4)
    drill.require(done.code == wanted or wanted == 1 and done.code == 4,
                  f"{what}: rules {broken}, ingot exits with {done.code}\n{done.out}{done.err}")
    counts["refused" if broken else "sound"] += 1
    if broken:
        try:                            # what is read of it without a check is numbers or an error of the module's own
            reader = ingot.open(path)
            for name in drill.random.sample(list(reader), min(4, len(reader))):
                reader.tensor(name)
            reader.file("provenance.json")
        except (ingot.Error, KeyError):
            pass
        # Whatever is asked of it: an answer or a sentence.
        for arguments in (["inspect", path], ["inspect", path, "--all", "--json"], ["run", path, "--tokens", "/dev/null"]):
            done = Run([drill.ingot, *arguments], base)
            drill.require(done.code in (0, 1, 4, 64), f"{what}: {arguments[2:]} exits with {done.code}\n{done.err}")
        continue
    tensor = drill.random.choice([t for t in pack.tensors if known(t)])
    name = tensor.name.decode()
    npy.unlink(missing_ok=True)
    done = Run([drill.ingot, "inspect", path, "--tensor", name, "--npy", npy, "-q"], base)
    drill.require(done.code == 0 and np.load(npy).tobytes() == ingot.open(path).tensor(name).tobytes(),
                  f"{what}: `{name}` differs, exit {done.code}\n{done.err}")
drill.finish(f"{counts['refused']} changed packs were refused by both readers, {counts['sound']} were sound to both")
