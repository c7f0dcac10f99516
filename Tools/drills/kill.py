#!/usr/bin/env python3
"""Ends commands that write at any moment, by SIGKILL and SIGTERM: what has the final name is whole, and nothing else stays.

    kill.py INGOT CHECKPOINT
"""

import json
import shutil
import signal

from drill import Drill, Run, listing

drill = Drill()
base = drill.directory
QUIET = ["-q", "--threads", "2"]
drill.must("quantize", drill.pico, "-o", "raw.ingot", *QUIET)
drill.must("quantize", drill.pico, "-o", "zstd.ingot", "--compress", "zstd", "--experts", "int8-g32", *QUIET)
DECODE = ["--limit", "2", "--gen-length", "32", "--no-floor", "--no-replay"]
RAW = str(base / "raw.ingot")
TENSOR = "model.word_embeddings.weight"
drill.must("inspect", RAW, "--tensor", TENSOR, "--npy", "whole.npy", "-q")
CALIBRATE = ["calibrate", drill.pico, "--prompts", f"{drill.pico}/eval.jsonl", "--tokens", "1k", *QUIET]
drill.must(*CALIBRATE, "-o", "whole.states")
for format in ("gguf", "mlx"):
    drill.must("export", RAW, "--to", format, "-o", f"whole.{format}", *QUIET)
raw, packed, numbers, states = ((base / name).read_bytes() for name in ("raw.ingot", "zstd.ingot", "whole.npy", "whole.states"))


def equal(*wanted):
    return lambda path: path.read_bytes() in wanted


def tree(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def whole_record(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    ends = [entry["data_offsets"][1] for name, entry in json.loads(content[8:8 + length]).items() if name[0] != "_"]
    return len(content) == 8 + length + max(ends)


def whole_page(path):
    return path.read_text().rstrip().endswith("</html>")


def whole_lines(path):
    content = path.read_bytes()
    return not content or content.endswith(b"\n") and all(json.loads(line) for line in content.splitlines())


def sound_pack(path):
    return path.read_bytes() == raw or Run([drill.ingot, "inspect", path, "--check", "-q"], base).code == 0


# Name, arguments, what is there before, and what must hold of the output where there is one.
COMMANDS = [
    ("quantize", ["quantize", drill.pico, "-o", "out", *QUIET], None, equal(raw)),
    ("quantize zstd", ["quantize", drill.pico, "-o", "out", "--compress", "zstd", "--experts", "int8-g32", *QUIET], None,
     equal(packed)),
    ("quantize over", ["quantize", drill.pico, "-o", "out", "--force", *QUIET], packed, equal(raw, packed)),
    ("states", [*CALIBRATE, "-o", "out"], None, equal(states)),
    ("export", ["export", RAW, "--to", "gguf", "-o", "out", *QUIET], None, equal((base / "whole.gguf").read_bytes())),
    ("export to a directory", ["export", RAW, "--to", "mlx", "-o", "out", *QUIET], None,
     lambda path: tree(path) == tree(base / "whole.mlx")),
    ("record", ["verify", "--record", "out", "-r", drill.pico, *DECODE, *QUIET], None, whole_record),
    ("page", ["verify", RAW, "-r", drill.pico, "--html", "out", *DECODE, *QUIET], None, whole_page),
    ("attach", ["verify", "out", "-r", drill.pico, "--attach", *DECODE, *QUIET], raw, sound_pack),
    ("trace", ["run", RAW, "-p", "1 + 1", "--gen-length", "64", "--trace", "out", *QUIET], None, whole_lines),
    ("numbers", ["inspect", RAW, "--tensor", TENSOR, "--npy", "out", *QUIET], None, equal(numbers)),
]


def attempt(place, arguments, before, kill_after=None, number=None):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    if before is not None:
        (place / "out").write_bytes(before)
    return Run([drill.ingot, *arguments], place, kill_after=kill_after, number=number)


place = base / "place"
seconds, kills, strays = {}, 0, 0
for name, arguments, before, _ in COMMANDS:
    done = attempt(place, arguments, before)
    drill.require(done.code == 0, f"{name}: exit {done.code}: {done.err}")
    seconds[name] = done.seconds
while drill.goes_on():
    name, arguments, before, is_whole = drill.random.choice(COMMANDS)
    number = drill.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    # Often near the end, where names are given.
    share = drill.random.random() if drill.random.random() < 0.5 else 0.8 + 0.3 * drill.random.random()
    done = attempt(place, arguments, before, seconds[name] * share, number)
    what = f"{name}, {number.name} after {seconds[name] * share:.4f} s (exit {done.code})"
    kills += done.code in (-number, 128 + number)
    # Before it has begun a signal ends it as it ends any process.
    drill.require(done.code in (0, -number, 128 + number), f"{what}: {done.err}")
    out = place / "out"
    drill.require(before is None or out.exists(), f"{what}: what was there is gone")
    drill.require(not out.exists() or is_whole(out), f"{what}: the file is not whole")
    left = [entry for entry in listing(place) if entry != "out"]
    if number != signal.SIGKILL:
        drill.require(not left, f"{what}: {left} stays")
    if left:
        # Between two calls of the system a name may be left, which the next run takes away.
        strays += 1
        again = Run([drill.ingot, *arguments] + (["--force"] if out.exists() and "--attach" not in arguments else []), place)
        drill.require(again.code == 0 and listing(place) == ["out"],
                      f"{what}: after the next run (exit {again.code}) {listing(place)} stays")
drill.finish(f"{kills} runs were ended, {strays} left a name that the next run took away")
