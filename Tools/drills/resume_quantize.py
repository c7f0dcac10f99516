#!/usr/bin/env python3
"""Ends runs that can go on by SIGKILL at any moment, and begins them again by the same command until they are done: the same bytes as at once,
and nothing else stays. INGOT_DRILL_KILLS (200) runs are killed, in turns of each kind.

    resume_quantize.py INGOT CHECKPOINT
"""

import os
import shutil

from drill import Drill, Run, listing

KILLS = int(os.environ.get("INGOT_DRILL_KILLS", 200))
drill = Drill()
base = drill.directory
QUIET = ["-q", "--threads", "2"]
drill.must("calibrate", drill.pico, "--prompts", f"{drill.pico}/eval.jsonl", "--tokens", "2k", "-o", "states", *QUIET)
STATES = ["--calibration", str(base / "states")]
RECIPES = {
    "absmax": ["--solver", "absmax"], "search": ["--compress", "zstd", "--rest", "int4-g64"], "calibrated": STATES,
    "target": [*STATES, "--target", "4.6bpw"],
}
KINDS = {}
for name, recipe in RECIPES.items():
    drill.must("quantize", drill.pico, "-o", f"{name}.ingot", *recipe, *QUIET)
    drill.must("plan", drill.pico, "--parts", "5", "-o", f"{name}.json", *recipe, "-q")
    plan = str(base / f"{name}.json")
    # Commands in turn, each begun again until it succeeds.
    KINDS[f"quantize --resume, {name}"] = ([["quantize", drill.pico, "-o", "out", "--resume", *recipe, *QUIET]], name)
    KINDS[f"parts and merge, {name}"] = (
        [["quantize", "--plan", plan, "--part", str(part), "--parts-dir", "parts", *QUIET] for part in range(5)]
        + [["merge", "--plan", plan, "--parts-dir", "parts", "-o", "out", *QUIET]], name)

place = base / "place"
seconds = {}
kills = {kind: 0 for kind in KINDS}
repeated = 0


def noted():
    """Chunks that a resumable run has noted."""
    try:
        return max(0, (place / "out.resume/chunks").read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def clear():
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()


for kind, (commands, _) in KINDS.items():
    clear()
    seconds[kind] = [Run([drill.ingot, *command], place).seconds for command in commands]
while min(kills.values()) < KILLS / len(KINDS) and len(drill.problems) < 10:
    kind = min(kills, key=kills.get)
    commands, name = KINDS[kind]
    clear()
    for number, command in enumerate(commands):
        for attempt in range(60):
            before = noted()
            # Near the end, too, where names are given.
            share = drill.random.uniform(0.1, 1.1) if attempt < 50 else 9
            done = Run([drill.ingot, *command], place, kill_after=seconds[kind][number] * share)
            drill.require(done.code in (0, -9) or "exists already" in done.err, f"{kind}: exit {done.code}: {done.err}")
            drill.require(noted() + 3 >= before or done.code != -9 or not (place / "out.resume").exists(),
                          f"{kind}: {before} chunks were done, {noted()} are left")
            kills[kind] += done.code == -9
            # Killed when all was done but the end of the process.
            if done.code == 0 or "exists already" in done.err:
                break
        else:
            drill.require(False, f"{kind}: never done")
    wanted = {"out", "parts"} if len(commands) > 1 else {"out"}
    # A part or a pack that was ended between two calls may leave a name that the next run of the same output takes away.
    drill.require(set(listing(place)) == wanted, f"{kind}: {listing(place)} stays")
    drill.require((place / "out").read_bytes() == (base / f"{name}.ingot").read_bytes(), f"{kind}: another pack")
    if len(commands) > 1:
        drill.require(len(listing(place / "parts")) == 5, f"{kind}: {listing(place / 'parts')} stays")
drill.finish("\n".join(f"{kind}: killed {count} times, the same pack, nothing left" for kind, count in kills.items()))
