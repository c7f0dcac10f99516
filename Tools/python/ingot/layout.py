"""The pack as bytes and records: Formats/pack.md §1 to §6, whose numbers the sections have."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

import numpy as np

from . import encodings
from .hashing import xxh3


class Error(Exception):
    """What was asked for cannot be done."""


class FormatError(Error):
    """The file breaks rules of Formats/pack.md §8: it is damaged, or something newer.

    `violations` has a line for each: the rule, where, and what is wrong.
    """

    def __init__(self, path: str, violations: list[str]) -> None:
        self.path, self.violations = path, violations
        more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
        super().__init__(f"{path}: " + "; ".join(violations[:3]) + more)


# 1. Conventions -------------------------------------------------------------------------------------------------------

def up(x: int, a: int) -> int:
    return -(-x // a) * a


MAX_CHUNKS, MAX_TENSORS, MAX_FILES = 1 << 24, 1 << 22, 1 << 10
MAX_STRINGS, MAX_NAME, MAX_CONTENT, MAX_ELEMENTS = 1 << 28, 1024, 1 << 30, 1 << 48
MAX_JSON_VALUES, MAX_JSON_DEPTH = 1 << 18, 64
NEWEST = 2                          # write_version up to which this reader knows the encodings


class Violation(NamedTuple):
    """A broken rule. The subject is ("chunk", 3), ("tensor", 5), ("file", 0) or ("pack", 0)."""

    rule: int
    subject: tuple[str, int]
    text: str


# 3. Header ------------------------------------------------------------------------------------------------------------

MAGIC = b"INGOT\r\n\x1a"
VERSION = 1
ZSTD_FEATURE = 1

HEADER = np.dtype([
    ("magic", "V8"), ("read_version", "<u2"), ("write_version", "<u2"), ("header_length", "<u4"),
    ("required_features", "<u8"), ("optional_features", "<u8"), ("file_length", "<u8"),
    ("tables_offset", "<u8"), ("tables_length", "<u8"), ("tables_hash", "<u8"),
    ("chunk_count", "<u4"), ("tensor_count", "<u4"), ("file_count", "<u4"), ("strings_length", "<u4"),
    ("reserved_80", "V168"), ("root_hash", "<u8")])


# 4. Tables ------------------------------------------------------------------------------------------------------------

CHUNK = np.dtype([
    ("offset", "<u8"), ("stored_length", "<u8"), ("content_length", "<u8"), ("tail_offset", "<u8"),
    ("stored_hash", "<u8"), ("content_hash", "<u8"), ("owner", "<u4"), ("kind", "u1"), ("codec", "u1"),
    ("layer", "<u2"), ("expert", "<u2"), ("reserved_58", "V6")])

TENSOR = np.dtype([
    ("name_offset", "<u4"), ("name_length", "<u2"), ("encoding", "<u2"), ("group_size", "<u2"), ("rank", "u1"),
    ("reserved_11", "V1"), ("first_chunk", "<u4"), ("chunk_count", "<u4"), ("relative_rmse", "<f4"),
    ("saturated_share", "<f4"), ("source_encoding", "<u2"), ("reserved_30", "V2"), ("dimensions", "<u8", 4),
    ("rows_per_chunk", "<u8"), ("plane_0_offset", "<u8"), ("plane_1_offset", "<u8"), ("reserved_88", "V8")])

FILE = np.dtype([
    ("name_offset", "<u4"), ("name_length", "<u2"), ("reserved_6", "V2"), ("chunk", "<u4"), ("reserved_12", "V4")])

assert (HEADER.itemsize, CHUNK.itemsize, TENSOR.itemsize, FILE.itemsize) == (256, 64, 96, 16)

ROWS, EXPERT, EMBEDDED = 0, 1, 2    # kind
RAW, ZSTD = 0, 1                    # codec


class Record:
    """One record of a table, as Python numbers; `problems` are its reserved fields that are not zero."""

    def __init__(self, array: Any, strings: Optional[bytes] = None) -> None:
        self.keys: list[str] = []
        self.problems: list[tuple[int, int]] = []
        self.chunks = range(0)      # of a tensor whose record is sound enough to tell
        self.usable = False         # whether its planes can be told
        for key in array.dtype.names:
            value = array[key]
            if key.startswith("reserved"):
                if any(value.tobytes()):
                    first = array.dtype.fields[key][1]
                    self.problems.append((first, first + array.dtype.fields[key][0].itemsize))
                continue
            self.keys.append(key)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            elif isinstance(value, np.void):
                value = value.tobytes()
            elif not isinstance(value, np.float32):
                value = int(value)
            setattr(self, key, value)
        if strings is not None:
            self.name = strings[self.name_offset:self.name_offset + self.name_length]

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(key)


class Records:
    """A table in the file, whose records are made when they are asked for."""

    def __init__(self, table: Any, strings: Optional[bytes] = None) -> None:
        self.table, self.strings = table, strings
        self.made: list[Optional[Record]] = [None] * len(table)

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, i: int) -> Record:
        record = self.made[i]
        if record is None:
            record = self.made[i] = Record(self.table[i], self.strings)
        return record

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))


class Mapped:
    """The mapped file and its records, which `rules.check_header` fills as far as the rules 1 to 10 let it."""

    def __init__(self, path: Any) -> None:
        self.path = str(path)
        self.file = open(path, "rb")
        self.size = self.file.seek(0, 2)
        mapping = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        self.bytes = np.frombuffer(mapping, np.uint8)
        self.header: Any = None
        self.chunks = self.tensors = self.files = Records(np.zeros(0, CHUNK))
        self.claims: list[list[int]] = []           # of each chunk, the tensors that say it is theirs
        self.file_claims: list[list[int]] = []
        self.content: Any = None                    # of the chunk that is being checked

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()

    def private(self, start: int, length: int) -> Any:
        """A part of the file as an array that may be written to; what is written stays in this process."""
        first = start - start % mmap.ALLOCATIONGRANULARITY
        mapping = mmap.mmap(self.file.fileno(), start + length - first, access=mmap.ACCESS_COPY, offset=first)
        return np.frombuffer(mapping, np.uint8, length, start - first)

    def read_tables(self) -> None:
        h, at = self.header, self.header.tables_offset
        parts, self.starts = [], {}
        for kind, dtype, count in (("chunk", CHUNK, h.chunk_count), ("tensor", TENSOR, h.tensor_count),
                                   ("file", FILE, h.file_count)):
            self.starts[kind] = at, dtype.itemsize
            parts.append(np.frombuffer(self.bytes[at:at + dtype.itemsize * count], dtype))
            at += dtype.itemsize * count
        self.strings_offset = at
        self.strings = self.bytes[at:at + h.strings_length].tobytes()
        self.chunks = Records(parts[0])
        self.tensors, self.files = Records(parts[1], self.strings), Records(parts[2], self.strings)

    def where(self, subject: tuple[str, int]) -> str:
        """The subject in words, with its bytes in the file."""
        kind, i = subject
        if kind == "pack":
            return ""
        start, size = self.starts[kind]
        record = f"record at bytes {start + i * size}–{start + (i + 1) * size - 1}"
        if kind == "chunk":
            c = self.chunks[i]
            what = {ROWS: "rows", EXPERT: f"expert {c.layer}.{c.expert}", EMBEDDED: "file"}.get(c.kind, f"kind {c.kind}")
            return f"chunk {i} ({what}, bytes {c.offset}–{c.offset + c.stored_length - 1}, {record}): "
        name = (self.tensors if kind == "tensor" else self.files)[i].name
        return f"{kind} {i} ({in_print(name)}, {record}): "


def in_print(name: bytes) -> str:
    """A name whose bytes may be anything, fit for a line of text."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# 5. Content of a chunk ------------------------------------------------------------------------------------------------

class Plane(NamedTuple):
    """Where in the content of a chunk a plane of a tensor lies."""

    start: int
    end: int
    is_16_bit: bool
    tensor: int
    number: int


def rows_of(t: Record) -> tuple[int, int]:
    """All rows of a tensor, and its columns."""
    dimensions = t.dimensions[:t.rank]
    return int(np.prod(dimensions[:-1], dtype=object)), dimensions[-1]


def known(t: Record) -> bool:
    return encodings.encoding_name(t.encoding, t.group_size) is not None


def planes_of(pack: Mapped, i: int, n: int) -> list[Plane]:
    """The planes of tensor i in a chunk with n of its rows."""
    t = pack.tensors[i]
    _, columns = rows_of(t)
    length_0, length_1 = encodings.plane_bytes(t.encoding, t.group_size, n * columns, columns)
    start_0, start_1 = t.plane_0_offset, t.plane_1_offset
    if n < t.rows_per_chunk:        # the last chunk; the record is for full ones
        start_0, start_1 = 0, up(length_0, 64)
    planes = [Plane(start_0, start_0 + length_0, encodings.is_16_bit(t.encoding, 0), i, 0)]
    if length_1:
        planes.append(Plane(start_1, start_1 + length_1, encodings.is_16_bit(t.encoding, 1), i, 1))
    return planes


def part_of(pack: Mapped, i: int, chunk: int) -> tuple[int, int]:
    """First row and number of rows of tensor i in the chunk."""
    t = pack.tensors[i]
    first = (chunk - t.first_chunk) * t.rows_per_chunk
    return first, min(rows_of(t)[0] - first, t.rows_per_chunk)


def expected_order(planes: list[Plane]) -> list[Plane]:
    """Planes that are not 16-bit, plane 0 of all tensors before plane 1; then the others, tensor by tensor. The tensors of an
    expert, which the table has in the order of their names, begin with the second."""
    tensors = sorted({p.tensor for p in planes})
    order = tensors[1:] + tensors[:1]

    def key(p: Plane) -> Any:
        place = order.index(p.tensor)
        return p.is_16_bit, (place, p.number) if p.is_16_bit else (p.number, place)
    return sorted(planes, key=key)


# 6. Codecs ------------------------------------------------------------------------------------------------------------

class FrameError(Exception):
    """The stored bytes are no frame of the content."""


def stored_of(pack: Mapped, i: int) -> Any:
    """The bytes of a chunk as they are in the file."""
    c = pack.chunks[i]
    return pack.bytes[c.offset:c.offset + c.stored_length]


def content_of(pack: Mapped, i: int) -> Any:
    """The content of a chunk: of a raw one a view."""
    c = pack.chunks[i]
    if c.codec == RAW:
        return stored_of(pack, i)
    return join_tail(decompress(stored_of(pack, i), c.content_length), c.tail_offset)


def decompress(stored: Any, content_length: int) -> Any:
    """One zstd frame that fills `stored`."""
    if bytes(stored[:4]) != b"\x28\xb5\x2f\xfd":
        raise FrameError("does not start with a zstd frame")
    try:
        import zstandard
    except ImportError:
        raise Error("chunks that zstd compressed need the Python module zstandard: pip install zstandard") from None
    try:
        said = zstandard.get_frame_parameters(stored[:18].tobytes()).content_size
    except zstandard.ZstdError as error:
        raise FrameError(f"has no header: {error}") from None
    if said not in (content_length, zstandard.CONTENTSIZE_UNKNOWN):
        raise FrameError(f"says that it holds {said} bytes, not {content_length}")
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
    pieces: list[bytes] = []
    length = 0
    for at in range(0, len(stored), 4096):      # small steps, so that a bomb is noticed in time
        if decoder.eof:
            raise FrameError("has bytes after the frame")
        try:
            piece = decoder.decompress(stored[at:at + 4096].tobytes())
        except zstandard.ZstdError as error:
            raise FrameError(f"cannot be decompressed: {error}") from None
        length += len(piece)
        if length > content_length:
            raise FrameError(f"decodes to more than {content_length} bytes")
        pieces.append(piece)
    if not decoder.eof:
        raise FrameError("ends in the middle of the frame")
    if decoder.unused_data:
        raise FrameError("has bytes after the frame")
    if length != content_length:
        raise FrameError(f"decodes to {length} bytes, not {content_length}")
    return np.frombuffer(b"".join(pieces), np.uint8)


def join_tail(decoded: Any, tail_offset: int) -> Any:
    """Byte planes of the tail back to 16-bit values."""
    content = decoded.copy()
    half = (len(decoded) - tail_offset) // 2
    content[tail_offset + 1::2] = decoded[tail_offset:tail_offset + half]
    content[tail_offset::2] = decoded[tail_offset + half:]
    return content


# 7.1 Drift report -----------------------------------------------------------------------------------------------------

def root_without_report(pack: Mapped) -> int:
    """The root hash of a pack that holds a drift report, as it was before the report came."""
    chunks, tensors, files = pack.chunks.table[:-1].copy(), pack.tensors.table, pack.files.table[1:].copy()
    removed = int(pack.files.table[0]["name_length"])
    chunks["owner"] -= (chunks["kind"] == EMBEDDED).astype(np.uint32)
    files["name_offset"] -= removed
    at = int(pack.tensors.table["name_length"].sum(dtype=np.int64))        # the file names follow those of the tensors
    strings = pack.strings[:at] + pack.strings[at + removed:]
    tables = chunks.tobytes() + tensors.tobytes() + files.tobytes() + strings
    tables += bytes(-len(tables) % 64)
    header = np.frombuffer(pack.bytes[:256].tobytes(), HEADER).copy()
    header["required_features"] = ZSTD_FEATURE if (chunks["codec"] == ZSTD).any() else 0
    header["tables_offset"] = up(int(chunks[-1]["offset"]) + int(chunks[-1]["stored_length"]), 64)
    header["tables_length"], header["tables_hash"] = len(tables), xxh3(tables)
    header["file_length"] = header["tables_offset"] + header["tables_length"]
    header["chunk_count"], header["file_count"], header["strings_length"] = len(chunks), len(files), len(strings)
    return xxh3(header.tobytes()[:248])
