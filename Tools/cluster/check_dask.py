#!/usr/bin/env python3
"""Tries dask_parts.py with processes on this machine: the pack must be the one that a single process makes, whatever happens on the way.

    check_dask.py INGOT CHECKPOINT [--kills N] [option of `ingot plan`...]

1, 3, 7 and 64 parts; workers and what they run killed at random moments; a part that is made twice; a file of weights that is not there for a
while; a disk that is full for a while (as root alone, who can mount a small one); an edited plan; a damaged part. Prints what it did, and exits
with 1 where something was wrong.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ingot, model, *options = sys.argv[1:]
ingot, model = os.path.abspath(ingot), os.path.abspath(model)
kills = 20
if "--kills" in options:
    at = options.index("--kills")
    kills = int(options[at + 1])
    del options[at:at + 2]
seed = int(os.environ.get("INGOT_DRILL_SEED", time.time_ns() % 1_000_000_000))
draw = random.Random(seed)
base = Path(tempfile.mkdtemp(prefix="ingot-dask-", dir=os.environ.get("TMPDIR")))
program = str(Path(__file__).with_name("dask_parts.py"))
problems = []


def require(condition, what):
    if not condition:
        problems.append(what)
        print(f"WRONG: {what}", file=sys.stderr)


def run(*words):
    return subprocess.run([ingot, *map(str, words)], cwd=base, capture_output=True, text=True)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts(name, count, checkpoint=model, *more):
    return subprocess.Popen(
        [sys.executable, program, checkpoint, "-o", f"{name}.ingot", "--parts", str(count), "--workers", "4", "--wait", "0.2",
         "--ingot", ingot, *more, "--", *options, "-q"], cwd=base, stdout=subprocess.DEVNULL,
        stderr=open(base / f"{name}.log", "w"), start_new_session=True)


def said_of(name):
    return (base / f"{name}.log").read_text(errors="replace")


def wait_for(name, words, process):
    """Until the program has said something."""
    while words not in said_of(name) and process.poll() is None:
        time.sleep(0.02)


def finish(process, name, code=0):
    process.wait(1200)
    said = said_of(name)
    require(process.returncode == code, f"{name} ended with {process.returncode}: {said[-2000:]}")
    if code == 0:
        require((base / f"{name}.ingot").exists() and digest(base / f"{name}.ingot") == expected, f"{name} is another pack")
        left = [file.name for file in (base / f"{name}.ingot.parts").iterdir()
                if file.name not in ("plan.json", "plan.command") and not (file.name.startswith("part-") and file.name[5:].isdigit())]
        require(not left, f"{name} leaves {left}")
    (base / f"{name}.ingot").unlink(missing_ok=True)
    return said


def descendants(process):
    """The workers of a program, and what they run: processes of its session that are not itself."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != process.pid:
            try:
                if os.getsid(int(entry.name)) == process.pid:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if words[0] == ingot.encode() or any(b"spawn_main" in word for word in words):
                        found.append(int(entry.name))
            except (OSError, ProcessLookupError):
                pass
    return found


start = time.monotonic()
done = run("quantize", model, "-o", "whole.ingot", "-q", *options)
alone = time.monotonic() - start
if done.returncode:
    sys.exit(done.stderr)
expected = digest(base / "whole.ingot")
for count in (1, 3, 7, 64):
    start = time.monotonic()
    finish(parts(f"n{count}", count), f"n{count}")
    print(f"{count} parts: the same pack, {time.monotonic() - start:.1f} s; one process {alone:.1f} s")

ended = 0
rounds = 0
while ended < kills and len(problems) < 5:
    rounds += 1
    process = parts(f"killed{rounds}", 64, model, "--tries", "50")

    def kill():
        global ended
        # Dask gives up where a worker dies that has not joined yet.
        wait_for(f"killed{rounds}", "1 of 64 parts", process)
        while process.poll() is None and ended < kills:
            time.sleep(draw.uniform(0.02, 0.5))
            found = descendants(process)
            if found:
                try:
                    os.kill(draw.choice(found), signal.SIGKILL)
                    ended += 1
                except ProcessLookupError:
                    pass

    killer = threading.Thread(target=kill)
    killer.start()
    finish(process, f"killed{rounds}")
    killer.join()
    shutil.rmtree(base / f"killed{rounds}.ingot.parts", ignore_errors=True)
print(f"{ended} workers and parts were killed in {rounds} runs")

# Two programs make the same parts in the same place.
both = [parts("twice", 7), None]
while not (base / "twice.ingot.parts/plan.json").exists() and both[0].poll() is None:
    time.sleep(0.05)
both[1] = subprocess.Popen([ingot, "quantize", "--plan", "twice.ingot.parts/plan.json", "--part", "0", "--parts-dir",
                            "twice.ingot.parts", "-q"], cwd=base, stdout=subprocess.DEVNULL)
require(both[1].wait() == 0, "a part that is made twice failed")
finish(both[0], "twice")
print("a part made twice at once: the same pack")

# A worker finds a file of weights missing, and finds it later.
copy = base / "lacking"
copy.mkdir()
for file in Path(model).iterdir():
    (copy / file.name).symlink_to(file.resolve())
shard = sorted(copy.glob("*.safetensors"))[-1]
require(run("plan", copy, "--parts", "3", "-o", "plan.json", "-q", *options).returncode == 0, "no plan")
(base / "late.ingot.parts").mkdir()
shutil.move(base / "plan.json", base / "late.ingot.parts/plan.json")
target = shard.readlink()
shard.unlink()
process = parts("late", 3, str(copy), "--tries", "100")
wait_for("late", "ended with 75", process)
shard.symlink_to(target)
said = finish(process, "late")
require("ended with 75" in said and shard.name in said, f"nobody missed {shard.name}: {said[-1000:]}")
print(f"{shard.name} was missing for a while: said, tried again, the same pack")

# The disk of the parts is full until somebody makes room.
full = base / "full.ingot.parts"
full.mkdir()
if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", full]).returncode == 0:
    try:
        process = parts("full", 3, model, "--tries", "100")
        wait_for("full", "ended with 75", process)
        subprocess.run(["mount", "-o", "remount,size=50%", full], check=True)
        said = finish(process, "full")
    finally:
        subprocess.run(["umount", "-l", full])
    require("ended with 75" in said and "No space left" in said, f"nobody missed the room: {said[-1000:]}")
    print("a full disk: said, tried again, the same pack")
else:
    print("a full disk: not tried, since only root can mount a small one")

# A plan of another command is not used.
process = parts("n7", 5)
said = finish(process, "n7", 64)
require("was made by" in said, f"a plan of another command: {said[-1000:]}")
print("a plan of another command: refused")

# An edited plan ends at once; a damaged part is named, and made again.
plan = base / "n7.ingot.parts/plan.json"
text = plan.read_text()
plan.write_text(text.replace('"first_chunk": 0', '"first_chunk": 1', 1))
said = finish(parts("n7", 7), "n7", 4)
require(said.count("try 1, ended with 4") == 7 and "try 2" not in said, f"an edited plan was tried again: {said[-1000:]}")
plan.write_text(text)
part = base / "n7.ingot.parts/part-3"
content = bytearray(part.read_bytes())
content[4096 + 17] ^= 4
part.write_bytes(content)
done = run("merge", "--plan", plan, "--parts-dir", plan.parent, "-o", "n7.ingot")
require(done.returncode == 4 and "chunk" in done.stderr and "--part 3" in done.stderr, f"damage: {done.stderr}")
finish(parts("n7", 7), "n7")
print("an edited plan: refused, not tried again; a damaged chunk: named, made again, the same pack")
shutil.rmtree(base, ignore_errors=True)
if problems:
    sys.exit(f"{len(problems)} problems; again with INGOT_DRILL_SEED={seed}")
