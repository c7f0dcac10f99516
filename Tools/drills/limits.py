#!/usr/bin/env python3
"""Runs every command that writes where the system says no: processes, descriptors, address space, sizes of files, a full disk. Each run
ends by itself, with a sentence where it failed, and leaves the whole file or none.

    limits.py INGOT CHECKPOINT
"""

import json
import os
import resource
import shutil
import subprocess
import sys

from drill import Drill, Run, listing

IS_ROOT = os.geteuid() == 0
# A disk of our own needs a mount, and that a namespace of our own.
MOUNTS = os.environ.get("INGOT_DRILL_MOUNTS") == "1"
if IS_ROOT and not MOUNTS and subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0:
    os.environ["INGOT_DRILL_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])

drill = Drill()
base = drill.directory
os.chmod(base, 0o755)
NOBODY = 54321
QUIET = ["-q", "--threads", "4"]
DECODE = ["--limit", "2", "--gen-length", "32", "--no-floor", "--no-replay"]
RAW = str(base / "raw.ingot")
model = str(base / "model")
shutil.copytree(drill.pico, model)
subprocess.run(["chmod", "-R", "a+rX,u+w", model], check=True)
drill.must("quantize", model, "-o", RAW, *QUIET)
drill.must("quantize", model, "-o", base / "zstd.ingot", "--compress", "zstd", *QUIET)
TENSOR = "model.word_embeddings.weight"
CALIBRATE = ["calibrate", model, "--prompts", f"{model}/eval.jsonl", "--tokens", "1k", *QUIET]
drill.must(*CALIBRATE, "-o", "whole.states")
drill.must("inspect", RAW, "--tensor", TENSOR, "--npy", "whole.npy", "-q")
raw, packed, numbers, states = ((base / name).read_bytes() for name in ("raw.ingot", "zstd.ingot", "whole.npy", "whole.states"))


def lines(content):
    return not content or content.endswith(b"\n") and all(json.loads(line) for line in content.splitlines())


COMMANDS = {
    "quantize": (["quantize", model, "-o", "out", *QUIET], lambda content: content == raw),
    "quantize zstd": (["quantize", model, "-o", "out", "--compress", "zstd", *QUIET], lambda content: content == packed),
    "states": ([*CALIBRATE, "-o", "out"], lambda content: content == states),
    "record": (["verify", "--record", "out", "-r", model, *DECODE, *QUIET], lambda content: len(content) > 100_000),
    "page": (["verify", RAW, "-r", model, "--html", "out", *DECODE, *QUIET], lambda c: c.rstrip().endswith(b"</html>")),
    "attach": (["verify", "out", "-r", model, "--attach", *DECODE, *QUIET], lambda content: content[:8] == raw[:8]),
    "trace": (["run", RAW, "-p", "1 + 1", "--gen-length", "64", "--trace", "out", *QUIET], lines),
    "numbers": (["inspect", RAW, "--tensor", TENSOR, "--npy", "out", *QUIET], lambda content: content == numbers),
}


def limited(kind, value):
    def apply():
        resource.setrlimit(kind, (value, value))
    return apply


def few_processes(count):
    def apply():
        # Root may have as many as it likes, and another user has others.
        if IS_ROOT:
            os.setgroups([])
            os.setgid(NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (count if IS_ROOT else 0,) * 2)
        if IS_ROOT:
            os.setuid(NOBODY)
    return apply


choose = drill.random.choice
LIMITS = {
    "processes": lambda: (f"{(n := choose([1, 1, 2, 3]))}", few_processes(n), [0]),
    "descriptors": lambda: (f"{(n := drill.random.randint(4, 16))}", limited(resource.RLIMIT_NOFILE, n), [0, 1]),
    "address space": lambda: (f"{(n := int(2 ** drill.random.uniform(24, 31)))}", limited(resource.RLIMIT_AS, n), [0, 1, 5, 75, 127]),
    "data": lambda: (f"{(n := int(2 ** drill.random.uniform(20, 29)))}", limited(resource.RLIMIT_DATA, n), [0, 1, 5, 75, 127]),
    "sizes of files": lambda: (f"{(n := int(2 ** drill.random.uniform(0, 22)))}", limited(resource.RLIMIT_FSIZE, n), [0, 75]),
}
if MOUNTS:
    LIMITS["disk"] = lambda: (f"{drill.random.randint(1, 700) * 4096}", None, [0, 5, 75])
else:
    print("no right to mount: the full disk is left out")

place = base / "place"
counts = {}
while drill.goes_on():
    limit, (name, (arguments, is_whole)) = choose(list(LIMITS)), choose(list(COMMANDS.items()))
    value, preexec, codes = LIMITS[limit]()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    if limit == "disk":
        if name == "attach":
            value = str(int(value) + len(raw))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={value}", "tmpfs", place], check=True)
    place.chmod(0o777)
    if name == "attach":
        (place / "out").write_bytes(raw)
        (place / "out").chmod(0o666)
    done = Run([drill.ingot, *arguments], place, preexec=preexec)
    what = f"{name} with {limit} of {value} (exit {done.code})"
    said = done.err.strip().splitlines()
    if done.code == 127:                # the loader found no room for the program
        drill.require("shared librar" in done.err or "TLS data" in done.err, f"{what}: {done.err}")
    else:
        drill.require(done.code in codes, f"{what}: {done.err}")
        drill.require(done.code == 0 or any(line.startswith("error: ") for line in said), f"{what} says {said[:3]}")
    out = place / "out"
    drill.require(not out.exists() or is_whole(out.read_bytes()), f"{what}: the file is not whole")
    drill.require(done.code != 0 or out.exists(), f"{what}: there is no file")
    left = [entry for entry in listing(place) if entry != "out"]
    drill.require(not left, f"{what}: {left} stays")
    if limit == "disk":
        subprocess.run(["umount", place], check=True)
    ends = counts.setdefault(limit, {})
    ends[done.code] = ends.get(done.code, 0) + 1
drill.finish("\n".join(f"{limit}: " + ", ".join(f"{count} ended with {code}" for code, count in sorted(ends.items()))
                       for limit, ends in sorted(counts.items())))
