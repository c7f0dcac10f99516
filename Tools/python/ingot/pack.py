"""A pack as a mapping from the names of its tensors to what is known of them, with their numbers as numpy arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional, Union

import numpy as np

from . import encodings, layout, rules
from .layout import Error, FormatError, Mapped, Record, Violation


@dataclass(frozen=True)
class TensorInfo:
    """What the table says of a tensor."""

    name: str
    shape: tuple[int, ...]
    encoding: Optional[str]
    """Such as ``"bf16"`` or ``"int4-g64"``; None where this reader does not know it."""
    group_size: int
    """Elements that share a scale; 0 in plain encodings."""
    source_encoding: str
    """What the checkpoint had: ``"f32"``, ``"f16"`` or ``"bf16"``."""
    relative_rmse: float
    """Root of the mean squared error of the encoding, over that of the source; 0 in plain encodings."""
    saturated_share: float
    """Share of the elements that the codes could not reach."""

    @property
    def is_plain(self) -> bool:
        """Whether elements stand for themselves, without codes and scales."""
        return self.encoding in encodings.PLAIN


class Pack(Mapping[str, TensorInfo]):
    """An open pack: the names of its tensors, in order, each with its `TensorInfo`.

    >>> pack = ingot.open("pico.ingot")
    >>> len(pack)
    189
    >>> pack["lm_head.weight"].shape, pack["lm_head.weight"].encoding
    ((640, 128), 'bf16')
    >>> [name for name, info in pack.items() if info.encoding == "f32"][:1]
    ['model.layers.1.mlp.gate.expert_bias']

    The file is mapped: opening reads its header and tables, whose hashes must be right, and arrays that need no decoding are
    views of the file, read-only, which keep the mapping alive. The bytes of tensors are held against their hashes by `check` alone.
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self._mapped = Mapped(os.fspath(path))
        self._require(rules.check_header(self._mapped))

    # Records ----------------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The path the pack was opened with."""
        return self._mapped.path

    @property
    def root_hash(self) -> str:
        """The hash that names the whole file, 16 hexadecimal digits.

        >>> ingot.open("pico.ingot").root_hash
        '0bc299f9033584b4'
        """
        return f"{self._mapped.header.root_hash:016x}"

    @property
    def records(self) -> Mapped:
        """The mapped file with its header and the records of its tables, as Formats/pack.md names them."""
        return self._mapped

    @cached_property
    def _tensors(self) -> dict[str, int]:
        return self._index(self._mapped.tensors)

    @cached_property
    def _files(self) -> dict[str, int]:
        return self._index(self._mapped.files)

    def _index(self, records: layout.Records) -> dict[str, int]:
        index: dict[str, int] = {}
        kind = "tensor" if records is self._mapped.tensors else "file"
        starts, lengths = records.table["name_offset"].tolist(), records.table["name_length"].tolist()
        for i, (start, length) in enumerate(zip(starts, lengths)):
            name = self._mapped.strings[start:start + length]
            try:
                index[name.decode("utf-8")] = i
            except UnicodeDecodeError:
                raise self._broken([Violation(20, (kind, i), "name is not UTF-8")]) from None
        if len(index) < len(records):
            raise self._broken([Violation(22, ("pack", 0), f"a name of a {kind} is repeated")])
        return index

    def __len__(self) -> int:
        return len(self._mapped.tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> TensorInfo:
        i, t = self._tensor(name)
        return TensorInfo(
            name, tuple(t.dimensions[:t.rank]), encodings.encoding_name(t.encoding, t.group_size), t.group_size,
            encodings.ENCODINGS[t.source_encoding].name, float(t.relative_rmse), float(t.saturated_share))

    def __repr__(self) -> str:
        return f"<ingot.Pack {self.path!r}: {len(self)} tensors, {self._mapped.size:,} bytes>"

    def _tensor(self, name: str) -> tuple[int, Record]:
        i = _find(self._tensors, name, "tensor")
        self._require(rules.check_tensor_record(self._mapped, i))
        return i, self._mapped.tensors[i]

    # Numbers ----------------------------------------------------------------------------------------------------------

    def tensor(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The elements as float32, in the tensor's shape. Of f32 tensors as `stored` gives them; of all others a new array.

        >>> ingot.open("pico.ingot").tensor("model.norm.weight").shape
        (128,)
        """
        i, t = self._readable(name)
        if encodings.ENCODINGS[t.encoding].name == "f32":
            return self.stored(name)
        rows, columns = layout.rows_of(t)
        out = np.empty((rows, columns), np.float32)
        for chunk in t.chunks:
            first, count = layout.part_of(self._mapped, i, chunk)
            planes = [bytes_ for _, bytes_ in self._planes(i, chunk)]
            part = encodings.decode(t.encoding, t.group_size, planes[0], planes[-1], columns)
            out[first:first + count] = part.reshape(count, columns)
        return out.reshape(t.dimensions[:t.rank])

    def stored(self, name: str) -> np.ndarray[Any, Any]:
        """The elements of a plain tensor in the type they are stored in; numpy has no bf16, whose bits come as uint16.

        A view of the file where the tensor lies in it in one piece, as all do that were not compressed.

        >>> head = ingot.open("pico.ingot").stored("lm_head.weight")
        >>> head.dtype, head.flags.writeable, head.flags.owndata
        (dtype('uint16'), False, False)
        """
        i, t = self._readable(name)
        if t.group_size:
            raise Error(f"{self.path}: `{name}` is made of codes and scales; codes, scales and tensor give them")
        kind = encodings.PLAIN_TYPES[encodings.ENCODINGS[t.encoding].name]
        plane: np.ndarray[Any, Any] = self._plane(i, 0)[0]
        return plane.view(kind).reshape(t.dimensions[:t.rank])

    def codes(self, name: str) -> np.ndarray[Any, Any]:
        """The codes of a quantized tensor as they are stored: int8 in the tensor's shape, or of int4 encodings uint8 with half the
        columns, which `unpack_int4` takes apart. Of an expert that was not compressed, a view of the file.

        >>> pack, name = ingot.open("pico.ingot"), "model.layers.1.mlp.experts.0.up_proj.weight"
        >>> pack[name].shape, pack.codes(name).shape, pack.scales(name).shape
        ((64, 128), (64, 64), (64, 2))
        >>> codes = ingot.unpack_int4(pack.codes(name)).reshape(64, 2, 64)      # rows, groups of a row, codes of a group
        >>> bool((codes * pack.scales(name)[..., None] == pack.tensor(name).reshape(64, 2, 64)).all())
        True
        """
        i, t = self._quantized(name)
        plane: np.ndarray[Any, Any] = self._plane(i, 0)[0]
        shape = t.dimensions[:t.rank]
        if encodings.ENCODINGS[t.encoding].code == "int8":
            return plane.view(np.int8).reshape(shape)
        return plane.reshape(*shape[:-1], shape[-1] // 2)

    def scales(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The scales of a quantized tensor as float32: its shape, with the groups of a row in place of its columns."""
        i, t = self._quantized(name)
        *shape, columns = t.dimensions[:t.rank]
        scales: np.ndarray[Any, np.dtype[np.float32]] = encodings.scales_of(
            t.encoding, t.group_size, self._plane(i, 1)[0], columns)
        return scales.reshape(*shape, columns // t.group_size)

    def torch(self, name: str) -> Any:
        """The tensor for PyTorch: a plain one in the type it is stored in, bf16 too, sharing memory with the file where `stored`
        does, a quantized one decoded to float32. What is written to it stays in this process and never reaches the file.
        """
        try:
            import torch  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise Error("tensors for PyTorch need the Python module torch") from None
        if not self[name].is_plain:
            return torch.from_dlpack(self.tensor(name))
        i, t = self._readable(name)
        plane, start = self._plane(i, 0)
        if start is not None:
            plane = self._mapped.private(start, len(plane))
        bf16 = encodings.ENCODINGS[t.encoding].name == "bf16"
        kind = np.dtype(np.int16) if bf16 else encodings.PLAIN_TYPES[encodings.ENCODINGS[t.encoding].name]
        tensor = torch.from_dlpack(plane.view(kind).reshape(t.dimensions[:t.rank]))
        return tensor.view(torch.bfloat16) if bf16 else tensor

    def _readable(self, name: str) -> tuple[int, Record]:
        i, t = self._tensor(name)
        if not t.usable:
            raise Error(f"{self.path}: `{name}` has the encoding {t.encoding} with groups of {t.group_size}, which this version "
                        "of the module does not know")
        self._require(v for chunk in t.chunks for v in rules.check_part(self._mapped, i, chunk))
        return i, t

    def _quantized(self, name: str) -> tuple[int, Record]:
        i, t = self._readable(name)
        if not t.group_size:
            raise Error(f"{self.path}: `{name}` is plain and has neither codes nor scales; stored gives its elements")
        return i, t

    def _planes(self, i: int, chunk: int) -> list[tuple[Optional[int], Any]]:
        """The planes of tensor i in a chunk, each with its place in the file, or None where the chunk was decompressed."""
        try:
            content = layout.content_of(self._mapped, chunk)
        except layout.FrameError as error:
            raise self._broken([Violation(18, ("chunk", chunk), str(error))]) from None
        c = self._mapped.chunks[chunk]
        planes = layout.planes_of(self._mapped, i, layout.part_of(self._mapped, i, chunk)[1])
        return [(c.offset + p.start if c.codec == layout.RAW else None, content[p.start:p.end]) for p in planes]

    def _plane(self, i: int, number: int) -> tuple[Any, Optional[int]]:
        """A plane of all chunks of tensor i, with its place in the file where it lies there in one piece."""
        pieces = [self._planes(i, chunk)[number] for chunk in self._mapped.tensors[i].chunks]
        start, end = pieces[0][0], pieces[0][0]
        for at, piece in pieces:
            if at is None or at != end:
                return (pieces[0][1] if len(pieces) == 1 else np.concatenate([piece for _, piece in pieces])), None
            end = at + len(piece)
        return self._mapped.bytes[start:end], start

    # Files ------------------------------------------------------------------------------------------------------------

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the embedded files.

        >>> ingot.open("pico.ingot").files
        ('provenance.json', 'source/config.json', 'source/tokenizer.json', 'source/tokenizer_config.json')
        """
        return tuple(self._files)

    def file(self, name: str) -> bytes:
        """The content of an embedded file, held against its hash.

        >>> ingot.open("pico.ingot").file("source/config.json")[:1]
        b'{'
        """
        i = _find(self._files, name, "file")
        self._require(rules.check_file(self._mapped, i))
        return bytes(self._mapped.content)

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's `config.json`.

        >>> ingot.open("pico.ingot").config["num_experts"]
        16
        """
        return self._json("source/config.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """What the pack was made from and how: Formats/pack.md §7.

        >>> ingot.open("pico.ingot").provenance["options"]
        {'solver': 'search', 'compress': 'none'}
        """
        return self._json("provenance.json")

    @property
    def drift_report(self) -> Optional[dict[str, Any]]:
        """The report that `ingot verify --attach` put into the pack (Formats/drift-report.md), or None.

        Raises `Error` if it is about another pack.

        >>> ingot.open("pico.ingot").drift_report is None
        True
        >>> report = ingot.open("verified.ingot").drift_report
        >>> report["masked"]["kl"]["mean"] > 0
        True
        """
        if "drift-report.json" not in self._files:
            return None
        report = self._json("drift-report.json")
        candidate = report.get("candidate")
        if not isinstance(candidate, dict) or candidate.get("hash") != f"{layout.root_without_report(self._mapped):016x}":
            raise Error(f"{self.path}: drift-report.json is about another pack; file(\"drift-report.json\") gives it all the same")
        return report

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self.file(name))
        except (ValueError, RecursionError) as error:
            raise Error(f"{self.path}: {name} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise Error(f"{self.path}: {name} is no JSON object")
        return value

    # Rules ------------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Reads every byte, and raises `FormatError` with each rule of Formats/pack.md §8 that is broken, hashes among them.

        >>> ingot.open("pico.ingot").check()
        >>> try:
        ...     ingot.open("damaged.ingot").check()
        ... except ingot.FormatError as error:
        ...     print(error.violations[0])
        rule 17: chunk 0 (rows, bytes 256–164095, record at bytes 2028544–2028607): stored_hash is ..., the bytes have ...
        """
        self._require(rules.check(self._mapped))

    def _broken(self, violations: Iterable[Violation]) -> FormatError:
        return FormatError(self.path, [f"rule {v.rule}: {self._mapped.where(v.subject)}{v.text}" for v in violations])

    def _require(self, violations: Iterable[Violation]) -> None:
        found = list(violations)
        if found:
            raise self._broken(found)


def _find(index: dict[str, int], name: str, kind: str) -> int:
    if name not in index:
        raise KeyError(f"there is no {kind} `{name}`")
    return index[name]
