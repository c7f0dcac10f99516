"""Reads packs of Ingot: quantized LLaDA2 checkpoints in one file.

>>> import ingot
>>> pack = ingot.open("pico.ingot")
>>> pack
<ingot.Pack 'pico.ingot': 189 tensors, 2,061,376 bytes>
>>> pack["model.layers.1.mlp.experts.0.up_proj.weight"].encoding
'int4-g64'
>>> pack.tensor("model.layers.1.mlp.experts.0.up_proj.weight").dtype
dtype('float32')

It is written on Formats/pack.md and Formats/encodings.md alone, shares no code with the command, and needs numpy. With the module
xxhash `Pack.check` is fifty times as fast; packs that zstd compressed need the module zstandard, `Pack.torch` needs torch.
"""

from __future__ import annotations

import os
from typing import Any, Union

import numpy as np

from . import encodings
from .layout import Error, FormatError
from .pack import Pack, TensorInfo

__all__ = ["Error", "FormatError", "Pack", "TensorInfo", "open", "unpack_int4"]


def open(path: Union[str, os.PathLike[str]]) -> Pack:
    """Opens and maps a pack. Raises `FormatError` if it is none, is damaged, or needs a newer reader."""
    return Pack(path)


def unpack_int4(codes: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Codes of an int4 encoding, [..., columns / 2] as `Pack.codes` gives them, one by one: int8 [..., columns], -8 to 7."""
    unpacked: np.ndarray[Any, np.dtype[np.int8]] = encodings.unpack_codes(np.ascontiguousarray(codes), "int4")
    return unpacked.reshape(*codes.shape[:-1], 2 * codes.shape[-1])
