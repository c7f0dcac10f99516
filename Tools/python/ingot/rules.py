"""The rules of a pack: Formats/pack.md §8.

Each function yields the violations it finds. Those on the header run when a pack is opened; those on the record of a chunk, a
tensor or a file whenever it is used; `check` runs all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import encodings
from .hashing import xxh3
from .layout import (
    EMBEDDED, EXPERT, HEADER, MAGIC, MAX_CHUNKS, MAX_CONTENT, MAX_ELEMENTS, MAX_FILES, MAX_JSON_DEPTH, MAX_JSON_VALUES,
    MAX_NAME, MAX_STRINGS, MAX_TENSORS, NEWEST, RAW, ROWS, VERSION, ZSTD, ZSTD_FEATURE, FrameError, Mapped, Plane, Record,
    Violation, content_of, expected_order, known, part_of, planes_of, rows_of, stored_of, up)


def check_header(pack: Mapped) -> Iterator[Violation]:
    """Rules 1 to 10. After one of them the tables may be unread."""
    def broken(rule: int, first: int, end: int, text: str) -> Violation:
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


def alignment(c: Record) -> int:
    return 16384 if c.kind == EXPERT and c.codec == RAW else 64


def check_chunk_record(pack: Mapped, i: int) -> Iterator[Violation]:
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


def check_places(pack: Mapped) -> Iterator[Violation]:
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


def check_tensor_record(pack: Mapped, i: int) -> Iterator[Violation]:
    """Rules 20, 23, 24, 25, 30; tells the record its chunks."""
    t, subject, usable = pack.tensors[i], ("tensor", i), True
    yield from check_name(t, subject, 20)

    if not known(t):
        usable = False
    family = encodings.ENCODINGS.get(t.encoding)
    if pack.header.write_version < (family.version if family else NEWEST + 1) or family and not known(t):
        usable = False
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
        usable = False

    if not 1 <= t.rows_per_chunk <= rows:
        yield Violation(25, subject, f"rows_per_chunk {t.rows_per_chunk} of {rows} rows")
        return
    if t.chunk_count != -(-rows // t.rows_per_chunk):
        yield Violation(25, subject, f"chunk_count {t.chunk_count}, but {rows} rows with {t.rows_per_chunk} in a chunk")
        return
    if t.first_chunk + t.chunk_count > len(pack.chunks):
        yield Violation(25, subject, f"chunks {t.first_chunk}–{t.first_chunk + t.chunk_count - 1} of {len(pack.chunks)}")
        return
    t.chunks, t.usable = range(t.first_chunk, t.first_chunk + t.chunk_count), usable

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


def max_file(name: bytes) -> int:
    """Bytes that an embedded file may have."""
    if name.endswith(b".jinja") or name == b"source/chat_template.json":
        return 1 << 20
    return 16 << 20 if name in SETTINGS else 64 << 20


def check_file_record(pack: Mapped, i: int) -> Iterator[Violation]:
    """Rule 32."""
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
    c = pack.chunks[f.chunk]
    if c.kind != EMBEDDED:
        yield Violation(32, subject, f"chunk {f.chunk} is of kind {c.kind}")
    elif c.tail_offset != c.content_length:
        yield Violation(32, subject, f"chunk {f.chunk} has tail_offset {c.tail_offset} in {c.content_length} bytes")
    if c.content_length > max_file(f.name):
        yield Violation(32, subject, f"chunk {f.chunk} has {c.content_length} bytes, at most {max_file(f.name)} are allowed")


def check_name(record: Record, subject: tuple[str, int], rule: int) -> Iterator[Violation]:
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


def check_strings(pack: Mapped) -> Iterator[Violation]:
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


def numbers(name: bytes) -> list[int]:
    """Of the words between the dots of a name, those that are numbers without leading zeros."""
    return [int(w) for w in name.split(b".") if re.fullmatch(b"0|[1-9][0-9]{0,8}", w)]


def check_owner(pack: Mapped, i: int) -> Iterator[Violation]:
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


def layout_of(pack: Mapped, i: int) -> tuple[list[Plane], bool]:
    """The planes of a chunk, in order, and whether they are all: a tensor of unknown encoding has unknown planes."""
    usable = [t for t in pack.claims[i] if pack.tensors[t].usable]
    planes = sorted(p for t in usable for p in planes_of(pack, t, part_of(pack, t, i)[1]))
    return planes, bool(usable) and usable == pack.claims[i]


def check_plane(pack: Mapped, i: int, p: Plane) -> Iterator[Violation]:
    """Rule 26, on a plane of chunk i."""
    c, subject = pack.chunks[i], ("chunk", i)
    what = f"plane {p.number} of tensor {p.tensor}, content {p.start}–{p.end - 1}"
    if p.start % 64 or p.end > c.content_length:
        yield Violation(26, subject, f"{what}: does not start at a multiple of 64 within {c.content_length} bytes")
    if p.start < c.tail_offset if p.is_16_bit else p.end > c.tail_offset:
        yield Violation(26, subject, f"{what}: on the wrong side of tail_offset {c.tail_offset}")


def check_planes(pack: Mapped, i: int) -> Iterator[Violation]:
    """Rules 26, 27."""
    c, subject = pack.chunks[i], ("chunk", i)
    planes, complete = layout_of(pack, i)
    for p in planes:
        yield from check_plane(pack, i, p)
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


def check_content(pack: Mapped, i: int) -> Iterator[Violation]:
    """Rules 17, 18, 19. Keeps the content in pack.content if it can be had."""
    c, subject = pack.chunks[i], ("chunk", i)
    pack.content = None
    if c.offset + c.stored_length > pack.size or c.content_length > MAX_CONTENT or c.tail_offset > c.content_length:
        return                      # rules 13, 15, 16
    if pack.file_claims and any(c.content_length > max_file(pack.files[f].name) for f in pack.file_claims[i]):
        return                      # rule 32: nothing is unpacked that cannot be a file
    stored = stored_of(pack, i)
    if xxh3(stored) != c.stored_hash:
        yield Violation(17, subject, f"stored_hash is {c.stored_hash:016x}, the bytes have {xxh3(stored):016x}")
    try:
        content = content_of(pack, i)
    except FrameError as error:
        yield Violation(18, subject, str(error))
        return
    if c.codec == ZSTD and xxh3(content) != c.content_hash:
        yield Violation(19, subject, f"content_hash is {c.content_hash:016x}, the content has {xxh3(content):016x}")
    pack.content = content


def check_numbers(pack: Mapped, i: int) -> Iterator[Violation]:
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
        if family.code == "int8":
            wrong = np.flatnonzero(content[codes.start:codes.end] == 0x80)
            if wrong.size:
                yield Violation(31, subject, f"tensor {p.tensor}: code −128 at content {codes.start + wrong[0]}")
        if family.scale == "byte":
            row = 1 + rows_of(t)[1] // t.group_size
            bases = content[p.start:p.end:row]
            wrong = np.flatnonzero((bases < encodings.BASES[0]) | (bases > encodings.BASES[-1]))
            if wrong.size:
                yield Violation(31, subject, f"tensor {p.tensor}: base {bases[wrong[0]]} of row {wrong[0]}, content "
                                             f"{p.start + row * wrong[0]}, makes scales that are not portable")
            continue
        scales = np.frombuffer(content[p.start:p.end], "<u2")
        group = content[codes.start:codes.end].reshape(len(scales), -1)     # the bytes of each group's codes
        wrong = np.flatnonzero(~encodings.is_portable(scales))
        if wrong.size:
            yield Violation(31, subject, f"tensor {p.tensor}: scale {scales[wrong[0]]:#06x} of group {wrong[0]}, content "
                                         f"{p.start + 2 * wrong[0]}–{p.start + 2 * wrong[0] + 1}, is not portable")
        zero = np.flatnonzero(scales == 0)
        wrong = zero[(group[zero] != (0x88 if family.code == "int4" else 0)).any(axis=1)]
        if wrong.size:
            first = codes.start + wrong[0] * group.shape[1]
            yield Violation(31, subject, f"tensor {p.tensor}: codes of group {wrong[0]}, content "
                                         f"{first}–{first + group.shape[1] - 1}, are not 0, its scale is")


def check_json(pack: Mapped, i: int) -> Iterator[Violation]:
    """Rule 33, on pack.content of the file's chunk."""
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is repeated")
        return dict(pairs)

    def constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def count(value: Any, depth: int = 1) -> int:
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


def check_part(pack: Mapped, i: int, chunk: int) -> Iterator[Violation]:
    """What must hold where tensor i, whose record is sound, is read from one of its chunks."""
    yield from check_chunk_record(pack, chunk)
    yield from check_reach(pack, chunk)
    for p in planes_of(pack, i, part_of(pack, i, chunk)[1]):
        yield from check_plane(pack, chunk, p)


def check_reach(pack: Mapped, i: int) -> Iterator[Violation]:
    """A part of rule 13: the chunk lies between the header and the tables."""
    c = pack.chunks[i]
    if c.offset < 256 or c.offset + c.stored_length > pack.header.tables_offset:
        yield Violation(13, ("chunk", i), "does not lie between the header and the tables")


def check_tables(pack: Mapped) -> Iterator[Violation]:
    """All rules that need no chunk's bytes."""
    pack.claims = [[] for _ in range(len(pack.chunks))]
    pack.file_claims = [[] for _ in range(len(pack.chunks))]
    for i in range(len(pack.chunks)):
        yield from check_chunk_record(pack, i)
    yield from check_places(pack)
    yield from check_strings(pack)
    for i, t in enumerate(pack.tensors):
        yield from check_tensor_record(pack, i)
        for chunk in t.chunks:
            pack.claims[chunk].append(i)
    for i, f in enumerate(pack.files):
        yield from check_file_record(pack, i)
        if f.chunk < len(pack.chunks):
            pack.file_claims[f.chunk].append(i)
    for i in range(len(pack.chunks)):
        yield from check_owner(pack, i)
        yield from check_planes(pack, i)
    for name in JSON_FILES:
        if name not in (f.name for f in pack.files):
            yield Violation(33, ("pack", 0), f"there is no file {name.decode()}")


def check_file(pack: Mapped, i: int) -> Iterator[Violation]:
    """What must hold where file i is read; keeps its content in pack.content."""
    before = list(check_file_record(pack, i))
    if not before:
        before = [*check_chunk_record(pack, pack.files[i].chunk), *check_reach(pack, pack.files[i].chunk)]
    yield from before
    if not before:
        yield from check_content(pack, pack.files[i].chunk)


def check_chunk_bytes(pack: Mapped, i: int) -> Iterator[Violation]:
    """All rules on the bytes of a chunk."""
    yield from check_content(pack, i)
    yield from check_numbers(pack, i)
    if pack.content is not None:
        for f in pack.file_claims[i]:
            if pack.files[f].name in JSON_FILES:
                yield from check_json(pack, f)


def check(pack: Mapped) -> Iterator[Violation]:
    """All rules, on every byte."""
    yield from check_header(pack)
    if len(pack.chunks):
        yield from check_tables(pack)
        for i in range(len(pack.chunks)):
            yield from check_chunk_bytes(pack, i)
