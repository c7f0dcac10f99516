"""How the numbers of a tensor lie in bytes: Formats/encodings.md §1 to §6, whose numbers the sections have.

Only what a reader needs; solvers, errors and golden vectors are in Tools/reference/ingot_encodings.py.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

f32 = np.float32


# 1. List --------------------------------------------------------------------------------------------------------------

class Encoding:
    """One row of the table of ids: `code` is the kind of codes, or None where elements stand for themselves."""

    def __init__(self, id: int, name: str, code: Optional[str] = None, scale: Optional[str] = None,
                 group_sizes: tuple[int, ...] = (0,), version: int = 1) -> None:
        self.id, self.name, self.code, self.scale, self.group_sizes, self.version = \
            id, name, code, scale, group_sizes, version

    def full_name(self, group_size: int) -> str:
        if not self.code:
            return self.name
        return f"{self.code}-g{group_size}" + ("s8" if self.scale == "byte" else "")


ENCODINGS = {e.id: e for e in (
    Encoding(0, "f32"), Encoding(1, "f16"), Encoding(2, "bf16"),
    Encoding(16, "int8", "int8", "bf16", (32, 64, 128)), Encoding(17, "int4", "int4", "bf16", (32, 64, 128)),
    Encoding(18, "int8s8", "int8", "byte", (32, 64), 2), Encoding(19, "int4s8", "int4", "byte", (16, 32, 64, 128), 2))}
PLAIN = {e.name for e in ENCODINGS.values() if not e.code}
PLAIN_TYPES: dict[str, np.dtype[Any]] = {       # numpy has no bf16, whose bits stand for it
    "f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "bf16": np.dtype("<u2")}


def encoding_name(id: int, group_size: int) -> Optional[str]:
    """The name of a pair, or None if the pair is reserved."""
    e = ENCODINGS.get(id)
    return e.full_name(group_size) if e and group_size in e.group_sizes else None


def divides(id: int, group_size: int, columns: int) -> bool:
    """Whether rows of so many columns can be encoded (§2, §3.2)."""
    e = ENCODINGS[id]
    if not e.code:
        return True
    return columns % max(group_size, 32) == 0 and (e.scale != "byte" or columns <= 1 << 20)


def from_bf16(bits: Any) -> Any:
    """The upper halves of binary32 numbers, widened."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(f32)


# 3.1 bf16 scales ------------------------------------------------------------------------------------------------------

def is_portable(bits: Any) -> Any:
    """Which of these bf16 bits are scales that a file may have."""
    magnitude = np.asarray(bits, np.uint16) & 0x7FFF
    return (bits == 0) | ((magnitude >= 0x3700) & (magnitude <= 0x477F))


# 3.2 Byte scales ------------------------------------------------------------------------------------------------------

BASES = range(110, 136)


def join_bytes(plane: Any, row_groups: int) -> Any:
    """Plane 1 to scales [groups], binary32."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, 1 + row_groups).astype(np.uint32)
    base, byte = rows[:, :1], rows[:, 1:]
    bits = (byte & 0x80) << np.uint32(8) | (((byte & 0x7F) << np.uint32(3)) + (base << np.uint32(7)))
    return from_bf16(bits.astype(np.uint16)).reshape(-1)


def scales_of(id: int, group_size: int, plane_1: Any, columns: int) -> Any:
    """Plane 1 to scales [groups], binary32, of whichever kind."""
    if ENCODINGS[id].scale == "byte":
        return join_bytes(plane_1, columns // group_size)
    return from_bf16(np.frombuffer(plane_1, "<u2"))


# 4, 5. int8 and int4 --------------------------------------------------------------------------------------------------

def unpack_codes(plane: Any, code: str) -> Any:
    """Plane 0 to signed codes [n], int8; those of int8 are a view.

    >>> unpack_codes(bytes(range(16)), "int4")      # byte j of 16: element j in its low half, j + 16 in its high half
    array([-8, -7, -6, -5, -4, -3, -2, -1,  0,  1,  2,  3,  4,  5,  6,  7, -8,
           -8, -8, -8, -8, -8, -8, -8, -8, -8, -8, -8, -8, -8, -8, -8],
          dtype=int8)
    """
    plane = np.frombuffer(plane, np.uint8)
    if code == "int8":
        return plane.view(np.int8)
    runs = plane.reshape(-1, 16)
    codes = np.empty((len(runs), 2, 16), np.int8)
    np.bitwise_and(runs, 15, out=codes[:, 0].view(np.uint8))
    np.right_shift(runs, 4, out=codes[:, 1].view(np.uint8))
    codes -= 8
    return codes.reshape(-1)


# 6. Sizes -------------------------------------------------------------------------------------------------------------

def plane_bytes(id: int, group_size: int, n: int, columns: int) -> tuple[int, int]:
    """Bytes of plane 0 and of plane 1 (0 if there is none) of n elements in rows of `columns`."""
    e = ENCODINGS[id]
    if not e.code:
        return PLAIN_TYPES[e.name].itemsize * n, 0
    scales = 2 * n // group_size if e.scale == "bf16" else n // columns * (1 + columns // group_size)
    return n if e.code == "int8" else n // 2, scales


def is_16_bit(id: int, plane: int) -> bool:
    """Whether a plane is one of 16-bit values."""
    e = ENCODINGS[id]
    return e.scale == "bf16" if plane else e.name in ("f16", "bf16")


_BLOCK = 1 << 18                    # elements at a time, so that their codes stay in the cache


def decode(id: int, group_size: int, plane_0: Any, plane_1: Any, columns: int) -> Any:
    """The elements, as binary32 [n]; those of f32 are a view."""
    e = ENCODINGS[id]
    if not e.code:
        plain = np.frombuffer(plane_0, PLAIN_TYPES[e.name])
        return from_bf16(plain) if e.name == "bf16" else plain.astype(f32, copy=False)
    scales = scales_of(id, group_size, plane_1, columns)[:, None]
    plane_0 = np.frombuffer(plane_0, np.uint8)
    out = np.empty((len(scales), group_size), f32)
    step = _BLOCK // group_size
    for first in range(0, len(scales), step):
        block = slice(first, first + step)
        bytes_ = plane_0[first * group_size // (1 if e.code == "int8" else 2):]
        count = len(out[block]) * group_size // (1 if e.code == "int8" else 2)
        np.multiply(unpack_codes(bytes_[:count], e.code).reshape(-1, group_size), scales[block], out=out[block])
    return out.reshape(-1)
