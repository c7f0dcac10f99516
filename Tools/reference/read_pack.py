#!/usr/bin/env python3
"""The module ingot (Tools/python), which is Formats/pack.md as a reader, at the command line.

    read_pack.py list FILE                    all records, as JSON
    read_pack.py check FILE                   every rule of §8; one line for each violation
    read_pack.py decode FILE TENSOR OUT.npy   the tensor's elements as float32
    read_pack.py extract FILE NAME OUT        an embedded file

Exits with 4 when the file breaks a rule, with 1 when something else is wrong. `decode` takes the
bytes of a chunk as they are; `check` holds all against their hashes.
Needs Python 3.9, numpy, and for packs with zstd chunks zstandard; `check` is much faster with xxhash.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import ingot  # noqa: E402
from ingot import encodings  # noqa: E402


def as_json(path):
    """All records of a pack; 64-bit hashes in hexadecimal, since they do not survive every JSON reader."""
    pack = ingot.open(path).records

    def fields(record):
        values = {}
        for key in record.keys:
            value = getattr(record, key)
            if key.endswith("_hash"):
                value = f"{value:016x}"
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
    json.dump(as_json(a.file), sys.stdout, indent=1)
    print()


def check_pack(a):
    pack = ingot.open(a.file)
    pack.check()
    print(f"{pack}: every rule holds", file=sys.stderr)


def decode_tensor(a):
    np.save(a.out, ingot.open(a.file).tensor(a.tensor))


def extract_file(a):
    Path(a.out).write_bytes(ingot.open(a.file).file(a.name))


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
        a.run(a)
    except ingot.FormatError as error:
        print("\n".join(error.violations), file=sys.stderr)
        return 4
    except (ingot.Error, KeyError, OSError) as error:
        print(f"read_pack: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
