"""What the drills share: a small model, runs of `ingot`, and the end of a drill.

Each drill is called as `DRILL.py INGOT CHECKPOINT`, takes about INGOT_DRILL_SECONDS (20), draws from INGOT_DRILL_SEED (the clock), prints
what it did, and exits with 1 when something was wrong, after it has named the seed.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = float(os.environ.get("INGOT_DRILL_SECONDS", 20))
SEED = int(os.environ.get("INGOT_DRILL_SEED", time.time_ns() % 1_000_000_000))
LONGEST = 60                    # seconds of one run; what takes longer hangs


class Run:
    """A run that has ended. `code` is negative for a signal, None where the run had to be killed because it hung."""

    def __init__(self, arguments, cwd, preexec=None, kill_after=None, number=signal.SIGKILL):
        start = time.monotonic()
        with subprocess.Popen(arguments, cwd=cwd, preexec_fn=preexec, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                if kill_after is not None:
                    try:
                        process.wait(kill_after)
                    except subprocess.TimeoutExpired:
                        process.send_signal(number)
                out, err = process.communicate(timeout=LONGEST)
                self.code = process.returncode
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                self.code = None
        self.seconds = time.monotonic() - start
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")


class Drill:
    def __init__(self):
        self.ingot, self.pico = (os.path.abspath(path) for path in sys.argv[1:3])
        self.random = random.Random(SEED)
        self.problems = []
        self.directory = Path(tempfile.mkdtemp(prefix="ingot-drill-"))
        self.end = time.monotonic() + SECONDS

    def goes_on(self):
        return time.monotonic() < self.end and len(self.problems) < 10

    def must(self, *arguments, cwd=None):
        """A run that has to succeed, to prepare the drill."""
        done = Run([self.ingot, *map(str, arguments)], cwd or self.directory)
        if done.code != 0:
            sys.exit(f"{arguments}: exit {done.code}\n{done.err}")
        return done

    def require(self, condition, what):
        if not condition:
            self.problems.append(what)
            print(f"WRONG: {what}", file=sys.stderr)
        return condition

    def finish(self, summary):
        shutil.rmtree(self.directory, ignore_errors=True)
        print(summary)
        if self.problems:
            sys.exit(f"{len(self.problems)} problems; again with INGOT_DRILL_SEED={SEED}")


def listing(directory):
    return sorted(path.name for path in Path(directory).iterdir())
