#!/usr/bin/env python3
"""Ends `verify --resume` and `calibrate --resume` by SIGKILL at any moment, and goes on with the same command, until it comes to its end: the
report, the part or the file is that of a run that nobody ended, and nothing else stays.

    resume.py INGOT CHECKPOINT

INGOT_DRILL_KILLS (200) says how many runs are ended.
"""

import json
import os
import shutil

from drill import Drill, Run, listing

KILLS = int(os.environ.get("INGOT_DRILL_KILLS", 200))
drill = Drill()
base = drill.directory
pack = str(base / "pack.ingot")
questions = f"{drill.pico}/eval.jsonl"
drill.must("quantize", drill.pico, "-o", pack, "-q")
VERIFY = ["verify", pack, "-r", drill.pico, "--prompts", questions, "--limit", "8", "--gen-length", "32", "--together", "2", "-q",
          "--threads", "2"]
RECORD = ["verify", "-r", drill.pico, "--prompts", questions, "--limit", "6", "--gen-length", "32", "--together", "2", "-q"]
CALIBRATE = ["calibrate", drill.pico, "--prompts", questions, "--tokens", "12k", "-q", "--threads", "2"]


def report(text, _):
    document = json.loads(text)
    document.pop("cost")
    return document


def output(_, place):
    return (place / "out").read_bytes()


def measurements(_, place):
    """Of a part: all but what it cost."""
    lines = [json.loads(line[17:]) for line in (place / "out").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("seconds", "peak_memory", "bytes_read")} for line in lines]


# Name, arguments, what must be the same, and what is there in the end.
COMMANDS = [
    ("verify", [*VERIFY, "--json"], report, []),
    ("verify with a page", [*VERIFY, "--json", "--html", "out"], report, ["out"]),
    ("verify a part", [*VERIFY, "--part", "1/2", "-o", "out"], measurements, ["out"]),
    ("record", [*RECORD, "--record", "out"], output, ["out"]),
    ("calibrate", [*CALIBRATE, "-o", "out"], output, ["out"]),
    ("calibrate a part", [*CALIBRATE, "--part", "0/2", "-o", "out"], output, ["out"]),
]

place = base / "place"
whole, seconds = {}, {}
for name, arguments, result, files in COMMANDS:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    done = Run([drill.ingot, *arguments], place)
    drill.require(done.code == 0, f"{name}: exit {done.code}: {done.err}")
    whole[name], seconds[name] = result(done.out, place), done.seconds

kills = ends = 0
while kills < KILLS and len(drill.problems) < 10:
    name, arguments, result, files = drill.random.choice(COMMANDS)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    attempts = 0
    while True:
        # Often soon behind what was finished, or near the end, where names are given; after some attempts it may come to its end.
        share = drill.random.random() if drill.random.random() < 0.6 else 0.7 + 0.5 * drill.random.random()
        patient = attempts >= drill.random.randint(1, 8)
        done = Run([drill.ingot, *arguments, "--resume"], place, kill_after=None if patient else seconds[name] * share)
        attempts += 1
        if done.code != -9:
            break
        kills += 1
        strange = [entry for entry in listing(place) if not entry.endswith(".journal") and entry not in files
                   and not entry.endswith(".ingot.tmp")]
        drill.require(not strange, f"{name}: {strange} lies there")
    ends += 1
    if attempts > 1 and "exists already" in done.err and listing(place) == files:
        # What was ended had done all but end.
        drill.require(result is report or result("", place) == whole[name], f"{name}: another result")
        continue
    if drill.require(done.code == 0, f"{name}, after {attempts} attempts: exit {done.code}: {done.err}"):
        if name == "record" or done.out or name.startswith("calibrate"):
            drill.require(result(done.out, place) == whole[name], f"{name}, after {attempts} attempts: another result")
        drill.require(listing(place) == files, f"{name}, after {attempts} attempts: {listing(place)} stays")
drill.finish(f"{kills} runs were ended; {ends} commands came to their end")
