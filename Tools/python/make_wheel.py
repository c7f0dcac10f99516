#!/usr/bin/env python3
"""Writes the wheel: the module, and the binary as a script, which pip puts on the PATH. The same binary makes the same wheel.

    make_wheel.py BINARY GLIBC NOTICES OUT_DIR      GLIBC: the oldest that the binary runs with, such as 2.34
"""

import base64
import hashlib
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

METADATA = """\
Metadata-Version: 2.1
Name: ingot
Version: {version}
Summary: Quantizes LLaDA2 diffusion language models into one self-verifying file, and reads such files in Python
Requires-Python: >=3.9
Requires-Dist: numpy
Provides-Extra: all
Requires-Dist: xxhash; extra == "all"
Requires-Dist: zstandard; extra == "all"
Classifier: Operating System :: POSIX :: Linux
Classifier: Typing :: Typed

The command `ingot`, and the module `ingot` that reads what it writes.

With `[all]` comes what makes the module's `check` fast (xxhash) and lets it read packs that zstd compressed (zstandard).
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: ingot Tools/wheel
Root-Is-Purelib: false
Tag: py3-none-{platform}
"""


def main():
    binary, glibc, notices, out = sys.argv[1:]
    version = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    tag = f"manylinux_{glibc.replace('.', '_')}_{platform.machine()}"
    info = f"ingot-{version}.dist-info"
    module = Path(__file__).resolve().parent / "ingot"
    files = {f"ingot/{path.name}": path.read_bytes() for path in sorted(module.iterdir()) if path.suffix == ".py"}
    files |= {
        "ingot/py.typed": b"",
        f"ingot-{version}.data/scripts/ingot": Path(binary).read_bytes(),
        f"{info}/METADATA": METADATA.format(version=version).encode(),
        f"{info}/WHEEL": WHEEL.format(platform=tag).encode(),
        f"{info}/licenses/NOTICES": Path(notices).read_bytes(),
    }
    record = ""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()

    path = Path(out, f"ingot-{version}-py3-none-{tag}.whl")
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w") as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if "/scripts/" in name else 0o100644) << 16
            wheel.writestr(entry, content, compresslevel=9)
    os.replace(part, path)
    print(path)


if __name__ == "__main__":
    main()
