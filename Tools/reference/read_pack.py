#!/usr/bin/env python3
"""Formats/pack.md as a reader: slow, plain, and meant to be read beside it. Sections have the document's numbers.

    read_pack.py list FILE                    all records, as JSON
    read_pack.py check FILE                   every rule of §8; one line for each violation
    read_pack.py decode FILE TENSOR OUT.npy   the tensor's elements as float32
    read_pack.py extract FILE NAME OUT        an embedded file

Exits with 4 when the file breaks a rule, with 1 when something else is wrong.
Needs Python 3.9, numpy, xxhash, and for packs with zstd chunks zstandard.
"""

import argparse
import json
import os
import re
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np

import ingot_encodings as encodings


# 1. Conventions -------------------------------------------------------------------------------------------------------

def up(x, a):
    return -(-x // a) * a


def xxh3(data):
    return module("xxhash").xxh3_64_intdigest(data)


def module(name):
    try:
        return __import__(name)
    except ImportError:
        raise Failure(f"this needs the Python module {name}: pip install {name}") from None


MAX_CHUNKS, MAX_TENSORS, MAX_FILES = 1 << 24, 1 << 22, 1 << 10
MAX_STRINGS, MAX_NAME, MAX_CONTENT, MAX_ELEMENTS = 1 << 28, 1024, 1 << 30, 1 << 48
MAX_JSON_VALUES, MAX_JSON_DEPTH = 1 << 18, 64
NEWEST = 2                          # write_version up to which this reader knows the encodings


class Failure(Exception):
    """The work cannot be done; not the pack's fault."""


class Violation(namedtuple("Violation", "rule subject text")):
    """A broken rule. The subject is ("chunk", 3), ("tensor", 5), ("file", 0) or ("pack", 0)."""


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

    def __init__(self, array):
        self.keys, self.problems = [], []
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


class Pack:
    """The mapped file and its records. `open` fills them as far as the rules 1 to 10 let it."""

    def __init__(self, path):
        self.size = os.path.getsize(path)
        self.bytes = np.memmap(path, np.uint8, "r") if self.size else np.zeros(0, np.uint8)
        self.header, self.chunks, self.tensors, self.files = None, [], [], []

    def read_tables(self):
        h, at = self.header, self.header.tables_offset
        self.starts = {}
        for key, dtype, count in (("chunks", CHUNK, h.chunk_count), ("tensors", TENSOR, h.tensor_count),
                                  ("files", FILE, h.file_count)):
            self.starts[key[:-1]] = at, dtype.itemsize
            table = np.frombuffer(self.bytes[at:at + dtype.itemsize * count], dtype)
            setattr(self, key, [Record(r) for r in table])
            at += dtype.itemsize * count
        self.strings_offset = at
        self.strings = self.bytes[at:at + h.strings_length].tobytes()
        for record in self.tensors + self.files:
            record.name = self.strings[record.name_offset:record.name_offset + record.name_length]
        self.claims, self.file_claims = [[] for _ in self.chunks], [[] for _ in self.chunks]

    def where(self, subject):
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


def in_print(name):
    """A name whose bytes may be anything, fit for a line of text."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# 5. Content of a chunk ------------------------------------------------------------------------------------------------

Plane = namedtuple("Plane", "start end is_16_bit tensor number")


def rows_of(t):
    """All rows of a tensor, and its columns."""
    dimensions = t.dimensions[:t.rank]
    return int(np.prod(dimensions[:-1], dtype=object)), dimensions[-1]


def known(t):
    return encodings.encoding_name(t.encoding, t.group_size) is not None


def planes_of(pack, i, n):
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


def part_of(pack, i, chunk):
    """First row and number of rows of tensor i in the chunk."""
    t = pack.tensors[i]
    first = (chunk - t.first_chunk) * t.rows_per_chunk
    return first, min(rows_of(t)[0] - first, t.rows_per_chunk)


def expected_order(planes):
    """Planes that are not 16-bit, plane 0 of all tensors before plane 1; then the others, tensor by tensor. The tensors of an
    expert, which the table has in the order of their names, begin with the second."""
    tensors = sorted({p.tensor for p in planes})
    order = tensors[1:] + tensors[:1]

    def key(p):
        place = order.index(p.tensor)
        return p.is_16_bit, (place, p.number) if p.is_16_bit else (p.number, place)
    return sorted(planes, key=key)


# 6. Codecs ------------------------------------------------------------------------------------------------------------

class FrameError(Exception):
    pass


def decompress(stored, content_length):
    """One zstd frame that fills `stored`."""
    if bytes(stored[:4]) != b"\x28\xb5\x2f\xfd":
        raise FrameError("does not start with a zstd frame")
    zstandard = module("zstandard")
    try:
        said = zstandard.get_frame_parameters(stored[:18].tobytes()).content_size
    except zstandard.ZstdError as error:
        raise FrameError(f"has no header: {error}") from None
    if said not in (content_length, zstandard.CONTENTSIZE_UNKNOWN):
        raise FrameError(f"says that it holds {said} bytes, not {content_length}")
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
    pieces, length = [], 0
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


def join_tail(decoded, tail_offset):
    """Byte planes of the tail back to 16-bit values."""
    content = decoded.copy()
    half = (len(decoded) - tail_offset) // 2
    content[tail_offset + 1::2] = decoded[tail_offset:tail_offset + half]
    content[tail_offset::2] = decoded[tail_offset + half:]
    return content


# 8. Rules -------------------------------------------------------------------------------------------------------------
#
# Each function yields the violations it finds. Those on the header run when a pack is opened; those on a chunk, a tensor
# or a file whenever it is used; `check` runs all.

def check_header(pack):
    """Rules 1 to 10. After one of them the tables may be unread."""
    def broken(rule, first, end, text):
        return Violation(rule, ("pack", 0), f"header, bytes {first}–{end - 1}: {text}")

    if pack.size < 256:
        yield Violation(1, ("pack", 0), f"the file has only {pack.size} bytes")
        return
    raw = pack.bytes[:256].tobytes()
    h = pack.header = Record(np.frombuffer(raw, HEADER)[0])
    if h.magic != MAGIC:
        yield broken(2, 0, 8, f"{h.magic.hex(' ')} is not the magic")
        return
    if h.read_version != VERSION:
        yield broken(3, 8, 10, f"the file needs a reader of version {h.read_version}, this one knows {VERSION}")
        return
    if h.root_hash != xxh3(raw[:248]):
        yield broken(4, 248, 256, f"root_hash is {h.root_hash:016x}, the header has {xxh3(raw[:248]):016x}")
    if h.header_length != 256:
        yield broken(5, 12, 16, f"header_length is {h.header_length}")
    for first, end in h.problems:
        yield broken(5, first, end, "reserved bytes are not zero")
    if h.write_version < h.read_version:
        yield broken(5, 10, 12, f"write_version {h.write_version} is below read_version {h.read_version}")
    if h.required_features & ~ZSTD_FEATURE:
        yield broken(6, 16, 24, f"required_features {h.required_features:#x} has bits that this reader does not know")
        return
    if h.file_length != pack.size:
        yield broken(7, 32, 40, f"file_length is {h.file_length}, the file has {pack.size} bytes")

    usable = True
    for at, key, least, most in ((64, "chunk_count", 1, MAX_CHUNKS), (68, "tensor_count", 1, MAX_TENSORS),
                                 (72, "file_count", 0, MAX_FILES), (76, "strings_length", 0, MAX_STRINGS)):
        if not least <= getattr(h, key) <= most:
            yield broken(8, at, at + 4, f"{key} is {getattr(h, key)}, allowed are {least} to {most}")
            usable = False
    if h.tables_offset % 64 or h.tables_offset < 256:
        yield broken(9, 40, 48, f"tables_offset is {h.tables_offset}")
        usable = False
    length = up(64 * h.chunk_count + 96 * h.tensor_count + 16 * h.file_count + h.strings_length, 64)
    if h.tables_length != length:
        yield broken(9, 48, 56, f"tables_length is {h.tables_length}, the counts make {length}")
        usable = False
    if h.tables_offset + h.tables_length != h.file_length:
        yield broken(9, 40, 56, f"the tables end at {h.tables_offset + h.tables_length}, the file at {h.file_length}")
        usable = False
    if not usable or h.tables_offset + h.tables_length > pack.size:
        return
    tables = xxh3(pack.bytes[h.tables_offset:h.tables_offset + h.tables_length])
    if h.tables_hash != tables:
        yield broken(10, 56, 64, f"tables_hash is {h.tables_hash:016x}, the tables have {tables:016x}")
    pack.read_tables()


def alignment(c):
    return 16384 if c.kind == EXPERT and c.codec == RAW else 64


def check_chunk_record(pack, i):
    """Rules 11, 12, 15, 16, 34."""
    c, subject = pack.chunks[i], ("chunk", i)
    if c.kind > EMBEDDED:
        yield Violation(11, subject, f"kind {c.kind} is not known")
    if c.codec > ZSTD:
        yield Violation(11, subject, f"codec {c.codec} is not known")
    if c.problems:
        yield Violation(11, subject, "reserved bytes are not zero")
    if c.codec == ZSTD and not pack.header.required_features & ZSTD_FEATURE:
        yield Violation(11, subject, "codec is zstd, but required feature 0 is not set")

    if c.offset % alignment(c):
        yield Violation(12, subject, f"does not start at a multiple of {alignment(c)}")
    if not 1 <= c.content_length <= MAX_CONTENT or c.stored_length < 1:
        yield Violation(15, subject, f"stored_length {c.stored_length}, content_length {c.content_length}")
    elif c.codec == RAW and c.stored_length != c.content_length:
        yield Violation(15, subject, f"is raw, but stored in {c.stored_length} bytes for {c.content_length}")
    elif c.codec == ZSTD and 32 * (c.content_length - c.stored_length) < c.content_length:
        yield Violation(15, subject, f"{c.stored_length} bytes are not 1/32 less than {c.content_length}")
    tail = c.content_length - c.tail_offset
    if tail < 0 or tail and (c.tail_offset % 64 or tail % 2):
        yield Violation(16, subject, f"tail_offset {c.tail_offset} in content of {c.content_length} bytes")
    if c.codec == RAW and c.stored_hash != c.content_hash:
        yield Violation(34, subject, f"is raw, but stored_hash is {c.stored_hash:016x}, content_hash {c.content_hash:016x}")


def check_places(pack):
    """Rules 11 (the feature), 13, 14."""
    h, end, after = pack.header, 256, "the header"
    if h.required_features & ZSTD_FEATURE and not any(c.codec == ZSTD for c in pack.chunks):
        yield Violation(11, ("pack", 0), "header, bytes 16–23: required feature 0 is set, but no chunk is zstd")
    for i, c in enumerate([*pack.chunks, None]):
        start = h.tables_offset if c is None else c.offset
        wanted = up(end, 64 if c is None else alignment(c))
        subject = ("pack", 0) if c is None else ("chunk", i)
        if start != wanted:
            what = f"the tables, bytes {start}–{h.file_length - 1}: start" if c is None else "starts"
            yield Violation(13, subject, f"{what} at {start}, the place after {after} is {wanted}")
        if start > pack.size:
            return
        gap = np.flatnonzero(pack.bytes[end:start])
        if gap.size:
            yield Violation(14, subject, f"byte {end + gap[0]}, after {after}, is not zero")
        if c is not None:
            end, after = c.offset + c.stored_length, f"chunk {i}"
            if end > h.tables_offset:
                yield Violation(13, subject, f"ends at {end}, in the tables")


def check_tensor_record(pack, i):
    """Rules 20, 23, 24, 25, 30; claims the chunks for the rules on them."""
    t, subject, claims = pack.tensors[i], ("tensor", i), True
    yield from check_name(t, subject, 20)

    if not known(t):
        claims = False
    family = encodings.ENCODINGS.get(t.encoding)
    if pack.header.write_version < (family.version if family else NEWEST + 1) or family and not known(t):
        claims = False
        yield Violation(23, subject, f"encoding {t.encoding} with group size {t.group_size} is not known")
    if encodings.encoding_name(t.source_encoding, 0) not in encodings.PLAIN:
        yield Violation(23, subject, f"source_encoding {t.source_encoding} is not a plain encoding")
    elif known(t) and t.group_size == 0 and t.source_encoding != t.encoding:
        yield Violation(23, subject, f"source_encoding {t.source_encoding} under the plain encoding {t.encoding}")
    if t.problems:
        yield Violation(23, subject, "reserved bytes are not zero")

    if not 1 <= t.rank <= 4 or 0 in t.dimensions[:t.rank] or any(t.dimensions[t.rank:]):
        yield Violation(24, subject, f"rank {t.rank} with dimensions {t.dimensions}")
        return
    if np.prod(t.dimensions[:t.rank], dtype=object) > MAX_ELEMENTS:
        yield Violation(24, subject, f"dimensions {t.dimensions[:t.rank]} make more than 2^48 elements")
        return
    rows, columns = rows_of(t)
    if t.group_size and columns % t.group_size or known(t) and not encodings.divides(t.encoding, t.group_size, columns):
        yield Violation(24, subject, f"{columns} columns do not go with the group size {t.group_size}")
        claims = False

    if not 1 <= t.rows_per_chunk <= rows:
        yield Violation(25, subject, f"rows_per_chunk {t.rows_per_chunk} of {rows} rows")
        return
    if t.chunk_count != -(-rows // t.rows_per_chunk):
        yield Violation(25, subject, f"chunk_count {t.chunk_count}, but {rows} rows with {t.rows_per_chunk} in a chunk")
        return
    if t.first_chunk + t.chunk_count > len(pack.chunks):
        yield Violation(25, subject, f"chunks {t.first_chunk}–{t.first_chunk + t.chunk_count - 1} of {len(pack.chunks)}")
        return
    for chunk in range(t.first_chunk, t.first_chunk + t.chunk_count):
        pack.claims[chunk].append(i)
    t.usable = claims

    if known(t) and t.group_size == 0 and t.plane_1_offset:
        yield Violation(26, subject, f"plane_1_offset {t.plane_1_offset}, but there is one plane")

    for key in "relative_rmse", "saturated_share":
        value = getattr(t, key)
        if not np.isfinite(value) or value < 0 or key == "saturated_share" and value > 1:
            yield Violation(30, subject, f"{key} is {value}")
        elif known(t) and t.group_size == 0 and value:
            yield Violation(30, subject, f"{key} is {value} in a plain encoding")


DRIFT_REPORT = b"drift-report.json"
SOLUTIONS = b"quantization.safetensors"
SETTINGS = b"provenance.json", b"source/config.json", b"source/generation_config.json"


def max_file(name):
    """Bytes that an embedded file may have."""
    if name.endswith(b".jinja") or name == b"source/chat_template.json":
        return 1 << 20
    return 16 << 20 if name in SETTINGS else 64 << 20


def check_file_record(pack, i):
    """Rule 32; claims the chunk."""
    f, subject = pack.files[i], ("file", i)
    yield from check_name(f, subject, 32)
    folder, slash, plain = f.name.partition(b"/")
    in_source = folder + slash == b"source/" and plain not in (b"", b".", b"..") and b"/" not in plain
    if f.name not in (b"provenance.json", DRIFT_REPORT, SOLUTIONS) and not in_source:
        yield Violation(32, subject, "is no name that a pack has, nor a plain one in source/")
    if f.name == DRIFT_REPORT and f.chunk != len(pack.chunks) - 1:
        yield Violation(32, subject, f"chunk {f.chunk} is not the last")
    if f.problems:
        yield Violation(32, subject, "reserved bytes are not zero")
    if f.chunk >= len(pack.chunks):
        yield Violation(32, subject, f"chunk {f.chunk} of {len(pack.chunks)}")
        return
    pack.file_claims[f.chunk].append(i)
    c = pack.chunks[f.chunk]
    if c.kind != EMBEDDED:
        yield Violation(32, subject, f"chunk {f.chunk} is of kind {c.kind}")
    elif c.tail_offset != c.content_length:
        yield Violation(32, subject, f"chunk {f.chunk} has tail_offset {c.tail_offset} in {c.content_length} bytes")
    if c.content_length > max_file(f.name):
        yield Violation(32, subject, f"chunk {f.chunk} has {c.content_length} bytes, at most {max_file(f.name)} are allowed")


def check_name(record, subject, rule):
    if not 1 <= record.name_length <= MAX_NAME:
        yield Violation(rule, subject, f"name of {record.name_length} bytes")
    try:
        text = record.name.decode("utf-8")
    except UnicodeDecodeError as error:
        yield Violation(rule, subject, f"name is not UTF-8: {error.reason} at its byte {error.start}")
        return
    control = [c for c in text if c < " " or c == "\x7f"]
    if control:
        yield Violation(rule, subject, f"name has the control character {control[0]!r}")


def check_strings(pack):
    """Rules 21, 22, 32 (order)."""
    at = 0
    for kind, records in ("tensor", pack.tensors), ("file", pack.files):
        before = None
        for i, record in enumerate(records):
            if record.name_offset != at:
                yield Violation(21, (kind, i), f"name_offset {record.name_offset}, the names before end at {at}")
            if before is not None and record.name <= before:
                yield Violation(22 if kind == "tensor" else 32, (kind, i), "name does not come after the one before")
            at, before = record.name_offset + record.name_length, record.name
    length = pack.header.strings_length
    if at != length:
        yield Violation(21, ("pack", 0), f"the names end at {at}, the strings have {length} bytes")
    first = pack.strings_offset + length
    padding = np.flatnonzero(pack.bytes[first:pack.header.tables_offset + pack.header.tables_length])
    if padding.size:
        yield Violation(21, ("pack", 0), f"byte {first + padding[0]} after the strings is not zero")


def numbers(name):
    """Of the words between the dots of a name, those that are numbers without leading zeros."""
    return [int(w) for w in name.split(b".") if re.fullmatch(b"0|[1-9][0-9]{0,8}", w)]


def check_owner(pack, i):
    """Rule 29."""
    c, subject = pack.chunks[i], ("chunk", i)
    tensors, files = pack.claims[i], pack.file_claims[i]
    names = ", ".join(str(t) for t in tensors)
    if c.kind != EXPERT and (c.layer or c.expert):
        yield Violation(29, subject, f"layer {c.layer}, expert {c.expert} in a chunk that is no expert")
    if c.kind == ROWS and (tensors != [c.owner] or files):
        yield Violation(29, subject, f"owner is tensor {c.owner}, tensors [{names}] and files {files} claim it")
    if c.kind == EMBEDDED and (files != [c.owner] or tensors):
        yield Violation(29, subject, f"owner is file {c.owner}, tensors [{names}] and files {files} claim it")
    if c.kind == EXPERT:
        wanted = [[c.layer, c.expert]] * 3
        if [numbers(pack.tensors[t].name) for t in tensors] != wanted or files:
            yield Violation(29, subject, f"tensors [{names}] and files {files} claim it, not the three of this expert")
        elif c.owner != tensors[0]:
            yield Violation(29, subject, f"owner is tensor {c.owner}, the first of this expert is {tensors[0]}")
        for t in tensors:
            if pack.tensors[t].chunk_count != 1:
                yield Violation(29, subject, f"holds only a part of tensor {t}")


def layout_of(pack, i):
    """The planes of a chunk, in order, and whether they are all: a tensor of unknown encoding has unknown planes."""
    usable = [t for t in pack.claims[i] if pack.tensors[t].usable]
    planes = sorted(p for t in usable for p in planes_of(pack, t, part_of(pack, t, i)[1]))
    return planes, bool(usable) and usable == pack.claims[i]


def check_planes(pack, i):
    """Rules 26, 27."""
    c, subject = pack.chunks[i], ("chunk", i)
    planes, complete = layout_of(pack, i)
    for p in planes:
        what = f"plane {p.number} of tensor {p.tensor}, content {p.start}–{p.end - 1}"
        if p.start % 64 or p.end > c.content_length:
            yield Violation(26, subject, f"{what}: does not start at a multiple of 64 within {c.content_length} bytes")
        if p.start < c.tail_offset if p.is_16_bit else p.end > c.tail_offset:
            yield Violation(26, subject, f"{what}: on the wrong side of tail_offset {c.tail_offset}")
    if not complete:
        return
    end = 0
    for p in planes:
        if not end <= p.start < end + 64 or p is planes[0] and p.start:
            yield Violation(27, subject, f"plane {p.number} of tensor {p.tensor} starts at {p.start} after {end}")
        end = p.end
    if end != c.content_length:
        yield Violation(27, subject, f"planes end at {end}, the content at {c.content_length}")
    if planes != expected_order(planes):
        order = ", ".join(f"{p.tensor}.{p.number}" for p in planes)
        yield Violation(27, subject, f"planes (tensor.plane) are in the order {order}")


def check_content(pack, i):
    """Rules 17, 18, 19. Keeps the content in pack.content if it can be had."""
    c, subject = pack.chunks[i], ("chunk", i)
    pack.content = None
    if c.offset + c.stored_length > pack.size or c.content_length > MAX_CONTENT or c.tail_offset > c.content_length:
        return                      # rules 13, 15, 16
    if any(c.content_length > max_file(pack.files[f].name) for f in pack.file_claims[i]):
        return                      # rule 32: nothing is unpacked that cannot be a file
    stored = pack.bytes[c.offset:c.offset + c.stored_length]
    if xxh3(stored) != c.stored_hash:
        yield Violation(17, subject, f"stored_hash is {c.stored_hash:016x}, the bytes have {xxh3(stored):016x}")
    content = stored
    if c.codec == ZSTD:
        try:
            content = join_tail(decompress(stored, c.content_length), c.tail_offset)
        except FrameError as error:
            yield Violation(18, subject, str(error))
            return
    if c.codec == ZSTD and xxh3(content) != c.content_hash:
        yield Violation(19, subject, f"content_hash is {c.content_hash:016x}, the content has {xxh3(content):016x}")
    pack.content = content


def check_numbers(pack, i):
    """Rules 28, 31, on pack.content."""
    subject, content = ("chunk", i), pack.content
    planes, complete = layout_of(pack, i)
    if content is None or any(p.end > len(content) for p in planes):
        return                      # rule 26
    end = 0
    for p in planes if complete else []:
        gap = np.flatnonzero(content[end:p.start])
        if gap.size:
            yield Violation(28, subject, f"content byte {end + gap[0]} between planes is not zero")
        end = p.end
    of = {(p.tensor, p.number): p for p in planes}
    for p in planes:
        if p.number == 0:
            continue
        t, codes = pack.tensors[p.tensor], of[p.tensor, 0]
        family = encodings.ENCODINGS[t.encoding]
        kind = family.code
        if kind == "int8":
            wrong = np.flatnonzero(content[codes.start:codes.end] == 0x80)
            if wrong.size:
                yield Violation(31, subject, f"tensor {p.tensor}: code −128 at content {codes.start + wrong[0]}")
        if family.scale == "byte":
            row = 1 + rows_of(t)[1] // t.group_size
            bases = content[p.start:p.end:row]
            wrong = np.flatnonzero(~np.isin(bases, encodings.BASES))
            if wrong.size:
                yield Violation(31, subject, f"tensor {p.tensor}: base {bases[wrong[0]]} of row {wrong[0]}, content "
                                             f"{p.start + row * wrong[0]}, makes scales that are not portable")
            continue
        scales = np.frombuffer(content[p.start:p.end].tobytes(), "<u2")
        group = content[codes.start:codes.end].reshape(len(scales), -1)     # the bytes of each group's codes
        wrong = np.flatnonzero(~encodings.is_portable(scales))
        if wrong.size:
            yield Violation(31, subject, f"tensor {p.tensor}: scale {scales[wrong[0]]:#06x} of group {wrong[0]}, content "
                                         f"{p.start + 2 * wrong[0]}–{p.start + 2 * wrong[0] + 1}, is not portable")
        zero = np.flatnonzero(scales == 0)
        wrong = zero[(group[zero] != (0x88 if kind == "int4" else 0)).any(axis=1)]
        if wrong.size:
            first = codes.start + wrong[0] * group.shape[1]
            yield Violation(31, subject, f"tensor {p.tensor}: codes of group {wrong[0]}, content "
                                         f"{first}–{first + group.shape[1] - 1}, are not 0, its scale is")


def check_json(pack, i):
    """Rule 33, on pack.content of the file's chunk."""
    def members(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is repeated")
        return dict(pairs)

    def constant(name):
        raise ValueError(f"{name} is not JSON")

    def count(value, depth=1):
        if depth > MAX_JSON_DEPTH:
            raise ValueError("too deep")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(count(v, depth + 1) for v in inner)

    try:
        text = pack.content.tobytes().decode("utf-8")
        value = json.loads(text, object_pairs_hook=members, parse_constant=constant)
        ok = isinstance(value, dict) and count(value) <= MAX_JSON_VALUES
    except (ValueError, RecursionError):
        ok = False
    if not ok:
        yield Violation(33, ("file", i), "is not a JSON object")


JSON_FILES = b"provenance.json", b"source/config.json"


def check_tables(pack):
    """All rules that need no chunk's bytes."""
    for i in range(len(pack.chunks)):
        yield from check_chunk_record(pack, i)
    yield from check_places(pack)
    yield from check_strings(pack)
    for i, t in enumerate(pack.tensors):
        t.usable = False
        yield from check_tensor_record(pack, i)
    for i in range(len(pack.files)):
        yield from check_file_record(pack, i)
    for i in range(len(pack.chunks)):
        yield from check_owner(pack, i)
        yield from check_planes(pack, i)
    for name in JSON_FILES:
        if name not in (f.name for f in pack.files):
            yield Violation(33, ("pack", 0), f"there is no file {name.decode()}")


def check_chunk_bytes(pack, i):
    """All rules on the bytes of a chunk."""
    yield from check_content(pack, i)
    yield from check_numbers(pack, i)
    if pack.content is not None:
        for f in pack.file_claims[i]:
            if pack.files[f].name in JSON_FILES:
                yield from check_json(pack, f)


# Commands -------------------------------------------------------------------------------------------------------------

class Refused(Exception):
    """The pack breaks rules: their violations, as lines."""


def line(pack, violation):
    return f"rule {violation.rule}: {pack.where(violation.subject)}{violation.text}"


def require(pack, violations):
    lines = [line(pack, v) for v in violations]
    if lines:
        raise Refused(lines)


def open_pack(path):
    pack = Pack(path)
    require(pack, check_header(pack))
    return pack


def require_for(pack, subjects):
    """What the tables say of these records and of the pack as a whole must be right."""
    require(pack, [v for v in check_tables(pack) if v.subject in subjects or v.subject == ("pack", 0)])


def as_json(pack):
    def fields(record):
        values = {}
        for key in record.keys:
            value = getattr(record, key)
            if key.endswith("_hash"):
                value = f"{value:016x}"     # 64 bits do not survive every JSON reader
            elif isinstance(value, bytes):
                value = value.hex()
            elif isinstance(value, np.float32):
                value = float(str(value)) if np.isfinite(value) else str(value)
            values[key] = value
        return values

    def named(record):
        return {"name": record.name.decode("utf-8", "backslashreplace"), **fields(record)}

    tensors = []
    for t in pack.tensors:
        tensors.append({**named(t), "dimensions": t.dimensions[:t.rank],
                        "encoding_name": encodings.encoding_name(t.encoding, t.group_size)})
    return {"header": fields(pack.header), "chunks": [fields(c) for c in pack.chunks], "tensors": tensors,
            "files": [named(f) for f in pack.files]}


def list_pack(a):
    json.dump(as_json(open_pack(a.file)), sys.stdout, indent=1)
    print()
    return 0


def check_pack(a):
    pack, count = Pack(a.file), 0

    def report(violations):
        nonlocal count
        for v in violations:
            print(line(pack, v))
            count += 1

    report(check_header(pack))
    if pack.chunks:
        report(check_tables(pack))
        for i in range(len(pack.chunks)):
            report(check_chunk_bytes(pack, i))
    read = f"{len(pack.chunks)} chunks, {len(pack.tensors)} tensors, {len(pack.files)} files, {pack.size:,} bytes"
    print(f"{a.file}: {read}: {count or 'no'} violation{'s' * (count != 1)}", file=sys.stderr)
    return 4 if count else 0


def find(records, name, what):
    for i, record in enumerate(records):
        if record.name == name.encode():
            return i
    raise Failure(f"there is no {what} {name}")


def decode_tensor(a):
    pack = open_pack(a.file)
    i = find(pack.tensors, a.tensor, "tensor")
    t = pack.tensors[i]
    chunks = range(t.first_chunk, t.first_chunk + t.chunk_count)
    require_for(pack, {("tensor", i), *(("chunk", c) for c in chunks)})
    shape = tuple(t.dimensions[:t.rank])
    out = np.lib.format.open_memmap(a.out, "w+", np.float32, shape)
    elements = out.reshape(rows_of(t))
    try:
        for chunk in chunks:
            require(pack, check_chunk_bytes(pack, chunk))
            first, n = part_of(pack, i, chunk)
            planes = {p.number: pack.content[p.start:p.end].tobytes() for p in planes_of(pack, i, n)}
            x = encodings.decode(t.encoding, t.group_size, planes[0], planes.get(1), rows_of(t)[1])
            elements[first:first + n] = x.reshape(n, -1)
        out.flush()
    except BaseException:
        os.unlink(a.out)
        raise
    return 0


def extract_file(a):
    pack = open_pack(a.file)
    i = find(pack.files, a.name, "file")
    chunk = pack.files[i].chunk
    require_for(pack, {("file", i), ("chunk", chunk)})
    require(pack, check_chunk_bytes(pack, chunk))
    Path(a.out).write_bytes(pack.content.tobytes())
    return 0


def main():
    parser = argparse.ArgumentParser(prog="read_pack.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, help, arguments in (
            ("list", list_pack, "print all records as JSON; hashes in hexadecimal", []),
            ("check", check_pack, "look for violations of every rule", []),
            ("decode", decode_tensor, "write a tensor's elements as float32", ["tensor", "out"]),
            ("extract", extract_file, "write an embedded file", ["name", "out"])):
        command = commands.add_parser(name, help=help, description=help)
        for argument in ["file", *arguments]:
            command.add_argument(argument, metavar=argument.upper())
        command.set_defaults(run=run)
    a = parser.parse_args()
    try:
        return a.run(a)
    except Refused as refused:
        print("\n".join(refused.args[0]), file=sys.stderr)
        return 4
    except (Failure, OSError) as failure:
        print(f"read_pack: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
