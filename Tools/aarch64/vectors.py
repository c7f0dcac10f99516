#!/usr/bin/env python3
"""The golden vectors of Formats/golden/encodings in one file that driver.c can read. usage: vectors.py FILE"""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
import ingot_encodings as encodings


def main():
    inputs, _ = encodings.read_safetensors(encodings.GOLDEN / "inputs.safetensors")
    with open(sys.argv[1], "wb") as out:
        for path in sorted(encodings.GOLDEN.glob("int*-*-*.safetensors")):
            kind, group, solver = path.stem.split("-")
            has_bytes = group.endswith("s8")
            size = int(group[1:].removesuffix("s8"))
            tensors, metadata = encodings.read_safetensors(path)
            rows = iter(tensors["statistics"][1])
            clamped = iter(tensors["clamped"][1] if has_bytes else [0] * len(inputs))
            refused = metadata["refused"].split()
            for case, (dtype, array) in sorted(inputs.items()):
                x, codes, scales, sums = array.tobytes(), b"", b"", (0, 0, 0, 0)
                if case not in refused:
                    codes, scales = (tensors[f"{case}.{plane}"][1].tobytes() for plane in ("codes", "scales"))
                    row = next(rows)
                    sums = row[0], row[1], row[3], next(clamped)
                out.write(struct.pack("<7i3I4d", int(kind[3:]), size, has_bytes, array.shape[1] // size,
                                      solver == "search", dtype == "F32", case in refused, len(x), len(codes), len(scales), *sums))
                out.write(x + codes + scales)


if __name__ == "__main__":
    main()
