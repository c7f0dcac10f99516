#!/usr/bin/env python3
"""How fast the module ingot opens a pack and decodes its tensors, beside `ingot inspect --tensor NAME --npy`, which counts with the
start of its process and the writing of the file. Everything is read once before; the best of five counts.

    bench.py INGOT PACK TENSOR...
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ingot  # noqa: E402


def best(run):
    def seconds():
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    run()
    return min(seconds() for _ in range(5))


def main():
    binary, path, *names = sys.argv[1:]
    print(f"open: {best(lambda: ingot.open(path)) * 1e3:.2f} ms; "
          f"and all names: {best(lambda: list(ingot.open(path))) * 1e3:.2f} ms")
    pack = ingot.open(path)
    with tempfile.TemporaryDirectory() as directory:
        npy = f"{directory}/tensor.npy"
        for name in names:
            info = pack[name]
            elements = pack.tensor(name).size
            view = best(lambda: pack.stored(name) if info.is_plain else pack.codes(name))
            module = best(lambda: pack.tensor(name))
            command = best(lambda: subprocess.run(
                [binary, "inspect", path, "--tensor", name, "--npy", npy, "--force", "-q"], check=True, stdout=subprocess.DEVNULL))
            print(f"{name} {list(info.shape)} {info.encoding}: as stored {view * 1e6:.0f} µs; decoded {module * 1e3:.2f} ms, "
                  f"{elements / module / 1e6:,.0f} M/s; inspect --npy {command * 1e3:.2f} ms, {elements / command / 1e6:,.0f} M/s")


if __name__ == "__main__":
    main()
