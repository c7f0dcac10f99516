"""XXH3 with 64 bits and seed 0, which every hash of a pack is.

The module `xxhash` computes it where it is installed; what stands here takes its place elsewhere, with the same results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import xxhash  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    xxhash = None  # type: ignore[assignment, unused-ignore]

MASK = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")


def xxh3(data: Any) -> int:
    """The hash of a bytes-like object."""
    if xxhash is not None:
        return int(xxhash.xxh3_64_intdigest(data))
    return xxh3_plain(data)


def xxh3_plain(data: Any) -> int:
    """The hash of a bytes-like object, by numpy alone: about a hundred megabytes a second.

    >>> f"{xxh3_plain(b'ingot'):016x}"
    'e3e98cbc0fe98ce9'
    """
    data = np.frombuffer(data, np.uint8)
    return _short(data.tobytes()) if len(data) <= 240 else _long(data)


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 8], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 4], "little")


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product & MASK) ^ (product >> 64)


def _avalanche(h: int) -> int:
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def _avalanche_64(h: int) -> int:
    h ^= h >> 33
    h = h * P64_2 & MASK
    h ^= h >> 29
    h = h * P64_3 & MASK
    return h ^ h >> 32


def _rotate(h: int, bits: int) -> int:
    return (h << bits | h >> 64 - bits) & MASK


def _short(data: bytes) -> int:
    n = len(data)

    def mix(at: int, secret: int) -> int:
        return _fold(_u64(data, at) ^ _u64(SECRET, secret), _u64(data, at + 8) ^ _u64(SECRET, secret + 8))

    if n == 0:
        return _avalanche_64(_u64(SECRET, 56) ^ _u64(SECRET, 64))
    if n <= 3:
        word = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return _avalanche_64(word ^ _u32(SECRET, 0) ^ _u32(SECRET, 4))
    if n <= 8:
        h = (_u32(data, n - 4) + (_u32(data, 0) << 32)) ^ _u64(SECRET, 8) ^ _u64(SECRET, 16)
        h ^= _rotate(h, 49) ^ _rotate(h, 24)
        h = h * 0x9FB21C651E98DF25 & MASK
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & MASK
        return h ^ h >> 28
    if n <= 16:
        low = _u64(data, 0) ^ _u64(SECRET, 24) ^ _u64(SECRET, 32)
        high = _u64(data, n - 8) ^ _u64(SECRET, 40) ^ _u64(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche((n + swapped + high + _fold(low, high)) & MASK)
    h = n * P64_1
    if n <= 128:
        for i in range((n - 1) // 32, -1, -1):
            h += mix(16 * i, 32 * i) + mix(n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(h & MASK)
    h = _avalanche((h + sum(mix(16 * i, 16 * i) for i in range(8))) & MASK)
    h += sum(mix(16 * i, 16 * (i - 8) + 3) for i in range(8, n // 16))
    return _avalanche((h + mix(n - 16, 136 - 17)) & MASK)


_WORDS = np.array([[_u64(SECRET, 8 * (stripe + lane)) for lane in range(8)] for stripe in range(17)], np.uint64)
_SWAP = [1, 0, 3, 2, 5, 4, 7, 6]
_STEP = 1 << 20                     # bytes at a time, so that what is computed of them stays in the cache


def _sums(stripes: Any, secret: Any) -> Any:
    """What stripes [..., 8] add to the accumulators, each under its own secret."""
    keyed = stripes ^ secret
    return stripes[..., _SWAP] + (keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32))


def _long(data: Any) -> int:
    n = len(data)
    acc = np.array([P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1], np.uint64)
    blocks = (n - 1) // 1024
    key, prime, shift = _WORDS[16], np.uint64(P32_1), np.uint64(47)
    for first in range(0, blocks * 1024, _STEP):
        part = np.frombuffer(data[first:min(first + _STEP, blocks * 1024)], "<u8").reshape(-1, 16, 8)
        for added in _sums(part, _WORDS[:16]).sum(axis=1, dtype=np.uint64):
            acc += added
            acc ^= acc >> shift
            acc ^= key
            acc *= prime
    stripes = (n - 1 - blocks * 1024) // 64
    rest = np.frombuffer(data[blocks * 1024:blocks * 1024 + 64 * stripes].tobytes(), "<u8").reshape(-1, 8)
    acc += _sums(rest, _WORDS[:stripes]).sum(axis=0, dtype=np.uint64)
    last = np.frombuffer(data[n - 64:].tobytes(), "<u8")
    acc += _sums(last, np.array([_u64(SECRET, 121 + 8 * i) for i in range(8)], np.uint64))
    h = n * P64_1
    for i in range(4):
        h += _fold(int(acc[2 * i]) ^ _u64(SECRET, 11 + 16 * i), int(acc[2 * i + 1]) ^ _u64(SECRET, 19 + 16 * i))
    return _avalanche(h & MASK)
