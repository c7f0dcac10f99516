#!/usr/bin/env python3
"""Formats/calibration.md as a reader: plain, and meant to be read beside it.

    read_calibration.py FILE           what it holds: data, classes, tokens of each layer's experts
    read_calibration.py FILE --json    the same as JSON

Exits with 4 when the file is not what the document says, with 1 when something else is wrong.
Needs Python 3.9 and numpy; checks the hashes where the module xxhash is there.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

try:
    import xxhash
except ImportError:
    xxhash = None

TYPES = {"U8": np.dtype("u1"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4"), "BF16": np.dtype("<u2")}
RATIOS = 0.25, 0.5, 0.75, 1.0
CLEAN, VISIBLE, MASKED = 0, 1, 2


class Broken(Exception):
    """The file is not what the document says."""


def require(condition, text):
    if not condition:
        raise Broken(text)


# 1. File --------------------------------------------------------------------------------------------------------------

def read_file(path):
    data = np.memmap(path, np.uint8, "r")
    require(len(data) >= 8, "the file is too short")
    end = 8 + int(data[:8].view("<u8")[0])
    require(end <= len(data), "the file is cut short")
    header = json.loads(bytes(data[8:end]))
    metadata = header.pop("__metadata__", {})
    require(metadata.get("ingot.calibration") == "1", "no file of states, or of another version")
    tensors = {}
    for name, entry in header.items():
        begin, stop = (end + x for x in entry["data_offsets"])
        require(entry["dtype"] in TYPES and stop <= len(data), f"{name} has another type, or is cut short")
        tensors[name] = data[begin:stop].view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


def xxh3(array):
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(array).tobytes())


def hash_of(hashes):
    return xxh3(np.array(hashes, "<u8"))


# 3. Rows --------------------------------------------------------------------------------------------------------------

def mix(z):
    z = np.asarray(z, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def drawn(seed, places):
    """Whether the number drawn for each row is below the ratio of its copy."""
    with np.errstate(over="ignore"):
        x = np.full(len(places), seed, np.uint64)
        for column in range(3):
            x = mix(x ^ mix(places[:, column].astype(np.uint64)))
    ratios = np.array(RATIOS + (0.0,))[places[:, 1]]
    return (x >> np.uint64(40)).astype(float) < ratios * 2 ** 24


# 2 and 4. Tensors and document ----------------------------------------------------------------------------------------

def require_masks(options, places, classes, tokens):
    """Copies, classes and masks go together, and the masks are those drawn."""
    require(((places[:, 1] == 4) == (classes == CLEAN)).all(), "a class does not go with its copy")
    # What is masked was drawn; what was not drawn is not masked. What was drawn and is not masked may not be masked at all,
    # in any copy, as in the last one everything is that may be.
    masked = classes == MASKED
    require((tokens[masked] == options["mask"]).all(), "a mask is another token")
    require((masked <= drawn(options["seed"], places)).all(), "a position is masked that was not drawn")
    maskable = {(int(t), int(p)) for t, p in places[(places[:, 1] == 3) & masked][:, [0, 2]]}
    could = np.array([(int(t), int(p)) in maskable for t, p in places[:, [0, 2]]])
    require((masked == (could & drawn(options["seed"], places))).all(), "a position that was drawn is not masked")


def read(path):
    """Document and tensors, checked."""
    metadata, tensors = read_file(path)
    require("document" in tensors, "there is no document")
    raw = bytes(tensors["document"])
    document = json.loads(raw)
    require(document.get("schema") == "ingot.calibration/1", "the document is of another schema")
    sizes, options, rows = document["sizes"], document["options"], document["data"]["rows"]
    require(0 < sizes["layers"] <= 1 << 10 and 0 < sizes["hidden"] <= 1 << 20 and 0 < rows < 1 << 31,
            "a size is beyond its limit")
    layers = range(sizes["first_dense"], sizes["layers"])
    shapes = {"tokens": ("I32", (rows,)), "places": ("I32", (rows, 3)), "classes": ("U8", (rows,)),
              "document": ("U8", (len(raw),))}
    for layer in layers:
        shapes[f"layers.{layer}.states"] = "BF16", (rows, sizes["hidden"])
        shapes[f"layers.{layer}.experts"] = "I32", (rows, sizes["slots"])
        shapes[f"layers.{layer}.weights"] = "F32", (rows, sizes["slots"])
    require(set(shapes) == set(tensors), "a tensor is missing, or has no place")
    for name, (kind, shape) in shapes.items():
        require(tensors[name].dtype == TYPES[kind] and tensors[name].shape == shape, f"{name} has another type or shape")
    if xxhash:
        require(metadata["ingot.document_xxh3"] == f"{xxh3(tensors['document']):016x}", "the document's hash differs")
        data = hash_of([xxh3(tensors[name]) for name in ("tokens", "places", "classes")])
        require(document["data"]["hash"] == f"{data:016x}", "the data's hash differs")
        found = [hash_of([xxh3(tensors[f"layers.{layer}.{part}"]) for part in ("states", "experts", "weights")])
                 for layer in layers]
        require(metadata["ingot.layers_xxh3"] == "".join(f"{x:016x}" for x in found), "a layer's hash differs")
    places, classes, tokens = tensors["places"], tensors["classes"], tensors["tokens"]
    order = places[:, 0].astype(np.int64) * 5 + places[:, 1]
    require((np.diff(order) >= 0).all() and (classes <= MASKED).all(), "rows are out of order, or of no class")
    if options["mask_ratios"]:
        require_masks(options, places, classes, tokens)
    else:  # the next token is predicted, at each position of one copy
        require((places[:, 1] == 0).all() and (classes == MASKED).all(), "a row does not predict the next token")
    for layer in layers:
        experts, weights = tensors[f"layers.{layer}.experts"], tensors[f"layers.{layer}.weights"]
        require(((experts >= 0) & (experts < sizes["experts"])).all(), f"layer {layer} names an expert that does not exist")
        require(np.isfinite(weights).all(), f"layer {layer} holds a weight that is an infinity or a NaN")
        # The exponent of a bf16 infinity or NaN is all ones.
        states = tensors[f"layers.{layer}.states"].view(np.uint16)
        require(((states & 0x7F80) != 0x7F80).all(), f"layer {layer} holds a state that is an infinity or a NaN")
    return document, tensors


def states(tensors, layer):
    """(rows, hidden) in binary32."""
    return (tensors[f"layers.{layer}.states"].astype(np.uint32) << 16).view(np.float32)


def summary(path):
    document, tensors = read(path)
    sizes = document["sizes"]
    classes = np.bincount(tensors["classes"], minlength=3)
    layers = []
    for layer in range(sizes["first_dense"], sizes["layers"]):
        tokens = np.bincount(tensors[f"layers.{layer}.experts"].ravel(), minlength=sizes["experts"])
        layers.append({"layer": layer, "columns": sizes["hidden"], "tokens": tokens.tolist(),
                       "below_quarter": int((tokens < 0.25 * sizes["hidden"]).sum())})
    return {"schema": "ingot.calibration-report/1", "bytes": Path(path).stat().st_size, "document": document,
            "classes": dict(zip(("clean", "visible", "masked"), classes.tolist())), "layers": layers}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = summary(options.file)
    except (Broken, KeyError, ValueError) as error:
        sys.exit(print(f"error: {error}", file=sys.stderr) or 4)
    except OSError as error:
        sys.exit(print(f"error: {error}", file=sys.stderr) or 1)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['document']['data']['rows']} states of {found['document']['data']['texts']} texts, {found['classes']}")
    for layer in found["layers"]:
        tokens = sorted(layer["tokens"])
        print(f"layer {layer['layer']}: tokens of an expert {tokens[0]} … {tokens[len(tokens) // 2]} … {tokens[-1]}")


if __name__ == "__main__":
    main()
