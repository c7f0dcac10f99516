#!/usr/bin/env python3
"""Formats/drift-record.md as a reader: plain, and meant to be read beside it.

    read_record.py FILE                what it holds, the mean loss, the most probable tokens of the first rows
    read_record.py FILE --json         the same as JSON
    read_record.py FILE --rows N       of so many rows (default 5)

Exits with 4 when the file is not what the document says, with 1 when something else is wrong.
Needs Python 3.9 and numpy; checks the hashes where the module xxhash is there.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

TYPES = {"U8": np.dtype("u1"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
WHOLE, TOP = 4096, 256


class Broken(Exception):
    """The file is not what the document says."""


def require(condition, text):
    if not condition:
        raise Broken(text)


# 1. File --------------------------------------------------------------------------------------------------------------

def read_file(path):
    """Metadata and tensors, in the order of their data."""
    data = Path(path).read_bytes()
    require(len(data) >= 8, "the file is shorter than its header's length")
    end = 8 + int.from_bytes(data[:8], "little")
    require(end <= len(data), "the header goes beyond the file")
    try:
        header = json.loads(data[8:end])
    except ValueError as error:
        raise Broken(f"the header is no JSON: {error}") from None
    metadata = header.pop("__metadata__", {})
    require(metadata.get("ingot.drift_record") in ("1", "2"), "this is no record of version 1 or 2")
    tensors, position = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        require(begin == position and end + stop <= len(data), f"{name} does not lie where it should")
        require(entry["dtype"] in TYPES, f"{name} has type {entry['dtype']}")
        kind, count = TYPES[entry["dtype"]], int(np.prod(entry["shape"], dtype=np.int64))
        require(stop - begin == count * kind.itemsize, f"{name} has another length than its shape")
        tensors[name] = np.frombuffer(data, kind, count, end + begin).reshape(entry["shape"])
        position = stop
    require(end + position == len(data), "there is something behind the last tensor")
    return metadata, tensors


def check_hashes(metadata, tensors):
    """Whether the hashes could be checked."""
    try:
        from xxhash import xxh3_64_intdigest as xxh3
    except ImportError:
        return False
    require(f"{xxh3(tensors['document'].tobytes()):016x}" == metadata.get("ingot.document_xxh3"),
            "the document's hash differs")
    parts = b"".join(xxh3(part).to_bytes(8, "little")
                     for name, tensor in tensors.items() for part in (name.encode(), tensor.tobytes()))
    require(f"{xxh3(parts):016x}" == metadata.get("ingot.data_xxh3"), "the data's hash differs")
    return True


# 2. Tensors -----------------------------------------------------------------------------------------------------------

def check_shapes(document, tensors, version):
    vocabulary = document["sizes"]["vocabulary"]
    width = vocabulary if vocabulary <= WHOLE else TOP
    expected = {"document"}
    for part, key in (("masked", "masked"), ("along", "trajectories")):
        if key not in document["holds"]:
            continue
        rows = len(tensors[part + ".places"])
        shapes = {"places": ("I32", [rows, 3]), "best": ("I32", [rows]),
                  "best_log_probability": ("F32", [rows]), "truth_log_probability": ("F32", [rows])}
        if version == "1":
            shapes["log_probabilities"] = ("F32", [rows, width])
        else:
            shapes |= {"logits": ("F32", [rows, width]), "log_normalizer": ("F64", [rows])}
        if vocabulary > WHOLE:
            shapes["tokens"] = ("I32", [rows, width])
        for name, (kind, shape) in shapes.items():
            tensor = tensors.get(f"{part}.{name}")
            require(tensor is not None, f"{part}.{name} is missing")
            require(tensor.dtype == TYPES[kind] and list(tensor.shape) == shape, f"{part}.{name} is no {kind} {shape}")
            expected.add(f"{part}.{name}")
    for layer in range(document["sizes"]["layers"]):
        name = f"masked.routes.{layer}"
        if f"{name}.experts" in tensors:
            experts, weights = tensors[f"{name}.experts"], tensors.get(f"{name}.weights")
            kind = TYPES["U8" if document["sizes"]["experts"] <= 256 else "I32"]
            require(experts.dtype == kind and len(experts) == len(tensors["masked.places"]), f"{name}.experts is wrong")
            require(weights is not None and weights.shape == experts.shape, f"{name}.weights is wrong")
            expected |= {f"{name}.experts", f"{name}.weights"}
    require(set(tensors) == expected, f"what has no place in it: {sorted(set(tensors) - expected)}")


def top(tensors, part, row, count=5):
    """The most probable tokens of a row: (id, probability)."""
    if part + ".logits" in tensors:
        logs = tensors[part + ".logits"][row].astype(np.float64) - tensors[part + ".log_normalizer"][row]
    else:
        logs = tensors[part + ".log_probabilities"][row]
    tokens = tensors.get(part + ".tokens")
    order = np.argsort(-logs, kind="stable")[:count]
    return [(int(i if tokens is None else tokens[row][i]), float(np.exp(np.float64(logs[i])))) for i in order]


# 3. Document ----------------------------------------------------------------------------------------------------------

def summary(path, rows):
    metadata, tensors = read_file(path)
    require("document" in tensors, "there is no document")
    hashed = check_hashes(metadata, tensors)
    document = json.loads(tensors["document"].tobytes())
    version = metadata["ingot.drift_record"]
    require(document["schema"] == f"ingot.drift-record/{version}", "the document has another schema")
    check_shapes(document, tensors, version)
    result = {"reference": document["reference"], "holds": document["holds"], "hashes_checked": hashed,
              "rows": {part: len(tensors[part + ".places"]) for part in ("masked", "along") if part + ".places" in tensors}}
    if "masked" in document["holds"]:
        places = tensors["masked.places"]
        rejected = {pair[1] for pair in document["pairs"]}
        counted = np.array([text not in rejected for text in places[:, 0]], bool)
        loss = -tensors["masked.truth_log_probability"].astype(np.float64)
        result["nll"] = float(loss[counted].mean()) if counted.any() else None
        result["top"] = []
        for row, (text, position, ratio) in enumerate(places[:rows].tolist()):
            result["top"].append({
                "text": text, "position": position, "mask_ratio": document["options"]["mask_ratios"][ratio],
                "truth": document["texts"]["list"][text]["tokens"][position],
                "tokens": top(tensors, "masked", row)})
    return result


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file")
    arguments.add_argument("--rows", type=int, default=5)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    try:
        found = summary(options.file, options.rows)
    except (Broken, KeyError) as error:
        sys.exit(print(f"error: {error}", file=sys.stderr) or 4)
    except OSError as error:
        sys.exit(print(f"error: {error}", file=sys.stderr) or 1)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"reference {found['reference']['path']}, rows {found['rows']}")
    if found.get("nll") is not None:
        print(f"mean -ln p of the texts' own tokens: {found['nll']:.6f}")
    for row in found.get("top", []):
        tokens = "  ".join(f"{token} {probability:.3f}" for token, probability in row["tokens"])
        print(f"text {row['text']} position {row['position']} ratio {row['mask_ratio']}: truth {row['truth']}; {tokens}")


if __name__ == "__main__":
    main()
