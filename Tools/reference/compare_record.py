#!/usr/bin/env python3
"""Records a checkpoint, verifies a pack against the record, and holds read_record.py's numbers against the report's.

    compare_record.py INGOT CHECKPOINT
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import read_record


def main():
    binary, checkpoint = (str(Path(path).resolve()) for path in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as directory:
        pack, record = f"{directory}/p.ingot", f"{directory}/p.record"

        def ingot(*arguments):
            return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True).stdout

        ingot("quantize", checkpoint, "-o", pack, "-q")
        ingot("verify", "--record", record, "--reference", checkpoint, "--prompts", f"{checkpoint}/eval.jsonl", "--limit",
              "12", "--gen-length", "32", "-q")
        report = json.loads(ingot("verify", pack, "--reference", record, "--json", "-q"))
        found = read_record.summary(record, 10**9)

        expected = report["masked"]["nll"]["reference"]
        assert abs(found["nll"] - expected) <= 1e-12 * abs(expected), (found["nll"], expected)
        assert found["rows"]["masked"] == report["masked"]["positions"]
        assert found["rows"]["along"] == report["trajectories"]["along_reference"]["commits"]
        assert found["reference"]["hash"] == report["reference"]["hash"]
        rows = {(row["text"], row["position"], row["mask_ratio"]): row for row in found["top"]}
        for worst in report["masked"]["worst"]:
            row = rows[worst["text"], worst["position"], worst["mask_ratio"]]
            tokens = [(token["token"], token["probability"]) for token in worst["reference"]]
            assert [t for t, _ in row["tokens"]] == [t for t, _ in tokens], (row, tokens)
            assert all(abs(a[1] - b[1]) < 1e-9 for a, b in zip(row["tokens"], tokens))

        data = Path(record).read_bytes()
        for name, bad in (("cut", data[:-1]), ("long", data + b"\0")):
            path = Path(directory, name)
            path.write_bytes(bad)
            try:
                read_record.summary(path, 0)
            except read_record.Broken:
                continue
            raise AssertionError(f"a file that is {name} was read")
        print(f"records: {found['rows']} rows agree, mean loss {found['nll']:.6f}")


if __name__ == "__main__":
    main()
