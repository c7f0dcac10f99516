"""Reads the containers of minnow as Formats/export-minnow.md says. Needs numpy."""

import numpy as np

ALIGNMENT = 4096


class Malformed(Exception):
    """A file that is no container."""


def require(condition, what):
    if not condition:
        raise Malformed(what)


# BLAKE3 -----------------------------------------------------------------------------------------------------------------

START = np.array([0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], np.uint32)
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
MIXED = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def turned(x, count):
    return x >> np.uint32(count) | x << np.uint32(32 - count)


def compress(values, words, counter, length, flags):
    """values [8, n] and words [16, n] to the next values; counter, length and flags are [n]."""
    zeros = np.zeros(words.shape[1], np.uint32)
    v = [*values, *(zeros + s for s in START[:4]), zeros + counter.astype(np.uint32), zeros, zeros + length, zeros + flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(MIXED):
            for word, (first, second) in ((words[2 * i], (16, 12)), (words[2 * i + 1], (8, 7))):
                v[a] = v[a] + v[b] + word
                v[d] = turned(v[d] ^ v[a], first)
                v[c] = v[c] + v[d]
                v[b] = turned(v[b] ^ v[c], second)
        words = words[ORDER]
    return np.array([v[i] ^ v[8 + i] for i in range(8)])


def blake3(messages):
    """The digests of some byte strings, in hexadecimal digits; chunks of all of them go side by side."""
    counts = [max(1, -(-len(m) // 1024)) for m in messages]
    total = sum(counts)
    blocks, counter = np.zeros((total, 1024), np.uint8), np.concatenate([np.arange(c) for c in counts])
    length, only = np.zeros(total, np.int64), np.repeat(np.array(counts) == 1, counts)
    at = 0
    for message, count in zip(messages, counts):
        flat = blocks[at:at + count].reshape(-1)
        flat[:len(message)] = np.frombuffer(message, np.uint8)
        length[at:at + count] = 1024
        length[at + count - 1] = len(message) - 1024 * (count - 1)
        at += count
    words = blocks.view("<u4").reshape(total, 16, 16)
    last = np.maximum(length - 1, 0) // 64
    values = np.repeat(START[:, None], total, axis=1)
    for block in range(16):
        own = np.flatnonzero(last >= block)
        if not len(own):
            break
        is_last = last[own] == block
        flags = (CHUNK_START if block == 0 else 0) + is_last * (CHUNK_END + ROOT * only[own])
        own_length = np.where(is_last, length[own] - 64 * block, 64)
        values[:, own] = compress(values[:, own], words[own, block].T, counter[own], own_length.astype(np.uint32),
                                  flags.astype(np.uint32))
    trees, at = [], 0
    for count in counts:
        trees.append(values[:, at:at + count])
        at += count
    while any(t.shape[1] > 1 for t in trees):           # a value without a neighbour goes up as it is
        wide = [t for t in trees if t.shape[1] > 1]
        pairs = np.concatenate([np.concatenate([t[:, 0:t.shape[1] // 2 * 2:2], t[:, 1::2]]) for t in wide], axis=1)
        roots = np.concatenate([np.full(t.shape[1] // 2, t.shape[1] == 2) for t in wide])
        zeros = np.zeros(pairs.shape[1], np.uint32)
        above = compress(np.repeat(START[:, None], pairs.shape[1], axis=1), pairs, zeros, zeros + np.uint32(64),
                         (PARENT + ROOT * roots).astype(np.uint32))
        at, next_trees = 0, []
        for t in trees:
            half = t.shape[1] // 2
            if t.shape[1] > 1:
                t = np.concatenate([above[:, at:at + half], t[:, 2 * half:]], axis=1)
                at += half
            next_trees.append(t)
        trees = next_trees
    return [np.ascontiguousarray(t[:, 0]).astype("<u4").tobytes().hex() for t in trees]


# MessagePack ------------------------------------------------------------------------------------------------------------

def unpack(data):
    """The one value that the bytes hold."""
    at = 0

    def number(count):
        nonlocal at
        require(at + count <= len(data), "the manifest is cut")
        at += count
        return int.from_bytes(data[at - count:at], "big")

    def text(count):
        nonlocal at
        require(at + count <= len(data), "the manifest is cut")
        at += count
        return data[at - count:at].decode()

    def mapping(count):
        found = {}
        for _ in range(count):
            key = value()
            require(isinstance(key, str) and key not in found, f"the key {key}")
            found[key] = value()
        return found

    def value():
        head = number(1)
        if head < 0x80:
            return head
        if head < 0x90:
            return mapping(head - 0x80)
        if head < 0xA0:
            return [value() for _ in range(head - 0x90)]
        if head < 0xC0:
            return text(head - 0xA0)
        if head in (0xCC, 0xCD, 0xCE, 0xCF):
            return number(1 << head - 0xCC)
        if head in (0xD9, 0xDA, 0xDB):
            return text(number(1 << head - 0xD9))
        if head in (0xDC, 0xDD):
            return [value() for _ in range(number(2 << head - 0xDC))]
        require(head in (0xDE, 0xDF), f"a value that begins with {head:#x}")
        return mapping(number(2 << head - 0xDE))

    found = value()
    require(at == len(data), "bytes behind the manifest")
    return found


# The container ----------------------------------------------------------------------------------------------------------

ELEMENTS = {"bf16": ("<u2", 16), "f16": ("<f2", 16), "f32": ("<f4", 32), "i8_sym": ("i1", 8), "i4_sym": ("u1", 4)}


def read(path, manifest_of=unpack, hashes=blake3):
    """The manifest, and by name (encoding, data, scales or None, group size): data in rows, as they are stored.

    manifest_of and hashes may be those of other packages. What the document promises of every file is looked at.
    """
    data = path.read_bytes()
    require(data[:8] == b"MINNOW01", "the magic")
    offset, length, total = (int.from_bytes(data[at:at + 8], "little") for at in (8, 16, 24))
    require(total == len(data) == offset + length and offset % ALIGNMENT == 0, "the header")
    require(hashes([data[offset:]])[0] == data[32:64].hex(), "the digest of the manifest")
    manifest = manifest_of(data[offset:])
    require(manifest["version"] == 1 and manifest["architecture"] == "llada2_moe", "the version")
    require({"config.json", "tokenizer.json", "chat_template.jinja"} <= set(manifest["assets"]), "assets")
    require(list(manifest["tensors"]) == sorted(manifest["tensors"]), "the order of names")
    regions, tensors = [], {}

    def region(entry):
        begin, count = entry["offset"], entry["bytes"]
        require(begin % ALIGNMENT == 0 and count > 0 and begin + count <= offset, "a region")
        regions.append((begin, count, entry["blake3"]))
        return data[begin:begin + count]

    for name, entry in manifest["tensors"].items():
        dtype, bits = ELEMENTS[entry["encoding"]]
        own = np.frombuffer(region(entry["data"]), dtype)
        require(own.nbytes == int(np.prod(entry["shape"])) * bits // 8, f"{name}: its length")
        scales = np.frombuffer(region(entry["scales"]), "<f2") if bits < 16 else None
        require((scales is None) == (entry["group_size"] == 0) and ("scales" in entry) == (bits < 16), f"{name}: its groups")
        tensors[name] = entry["encoding"], own.reshape(*entry["shape"][:-1], -1), scales, entry["group_size"]
    end = ALIGNMENT
    for begin, count, _ in sorted(regions):
        require(begin == end and not any(data[begin + count:-(-(begin + count) // ALIGNMENT) * ALIGNMENT]), "a gap")
        end = -(-(begin + count) // ALIGNMENT) * ALIGNMENT
    require(end == offset and not any(data[64:ALIGNMENT]), "where the manifest begins")
    found = hashes([data[begin:begin + count] for begin, count, _ in regions])
    require(found == [digest for _, _, digest in regions], "a digest")
    return manifest, tensors


def codes(encoding, data):
    """Signed codes, a row behind the other as in the data."""
    if encoding == "i8_sym":
        return data.astype(np.int64)
    halves = np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:-1], -1).astype(np.int64)
    return np.where(halves > 7, halves - 16, halves)


def decode(encoding, data, scales, group_size):
    """The numbers in binary32; scales must be positive and finite."""
    if scales is None:
        return (data.astype(np.uint32) << 16).view(np.float32) if encoding == "bf16" else data.astype(np.float32)
    require(bool(((scales > 0) & np.isfinite(scales)).all()), "a scale that is not positive")
    own = codes(encoding, data).astype(np.float32)
    return own * np.repeat(scales.astype(np.float32), group_size).reshape(own.shape)
