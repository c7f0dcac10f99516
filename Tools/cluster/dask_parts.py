#!/usr/bin/env python3
"""Quantizes a checkpoint in parts with Dask: plans, makes the parts wherever there are workers, merges.

    dask_parts.py CHECKPOINT -o OUT.ingot --parts 64 --workers 4                                  # processes on this machine
    dask_parts.py CHECKPOINT -o OUT.ingot --parts 64 --cluster ssh --hosts a,b,c                  # a worker on each host
    dask_parts.py CHECKPOINT -o OUT.ingot --parts 64 --cluster slurm --workers 16 --queue cpu --memory 8GB --walltime 02:00:00
    dask_parts.py CHECKPOINT -o OUT.ingot --parts 64 --cluster tcp://scheduler:8786               # a cluster that is there

What follows `--` goes to `ingot plan`: -- --calibration mini.calibration --target 4.25bpw.

Needs dask.distributed, and dask-jobqueue for Slurm. Checkpoint and parts lie where all workers see them under the same names; `ingot` is on their
PATH or named with --ingot. A plan that is there is used again if the same command made it, which `plan.command` beside it tells, and so is each part that
is there and sound, so that the same command goes on after any interruption. A part that ends with 75, by a signal (129, 130, 143, or a negative code), or
with its worker is tried again, wherever a worker is free; what ends with another code would end so again, and ends the run when all else is done. Exits
with 0, or with the code of what failed; 64 where the plan that is there is of another command.
"""

import argparse
import json
import os
import subprocess
import sys
import time

TEMPORARY = 75
# Of a process that was asked to end, by SIGHUP, SIGINT or SIGTERM; a negative code is one that a signal ended.
ASKED = {129, 130, 143}


def make(command):
    """On a worker: how a part ended, and what was said of it."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stderr.strip()


def arguments():
    words, more = sys.argv[1:], []
    if "--" in words:
        words, more = words[:words.index("--")], words[words.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--parts-dir", help="default: OUT.parts, which also gets the plan")
    parser.add_argument("--cluster", default="local", help="local, ssh, slurm, or the address of a scheduler")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, or jobs of Slurm")
    parser.add_argument("--hosts", default="", help="of ssh; the scheduler runs on the first")
    parser.add_argument("--threads", type=int, default=1, help="of each part")
    parser.add_argument("--memory", default="4GB", help="of a job of Slurm")
    parser.add_argument("--walltime", default="01:00:00")
    parser.add_argument("--queue")
    parser.add_argument("--tries", type=int, default=5, help="of each part")
    parser.add_argument("--wait", type=float, default=5, help="seconds before another try")
    parser.add_argument("--ingot", default="ingot")
    return parser.parse_args(words), more


def cluster(options):
    """A client, and what must be closed after it."""
    import dask
    from distributed import Client, LocalCluster, SSHCluster

    # A worker that dies takes the blame of its part only after many times: machines die, too.
    dask.config.set({"distributed.scheduler.allowed-failures": 20})
    if options.cluster == "local":
        made = LocalCluster(n_workers=options.workers, threads_per_worker=1, processes=True, dashboard_address=None)
    elif options.cluster == "ssh":
        hosts = options.hosts.split(",")
        made = SSHCluster([hosts[0], *hosts], worker_options={"nthreads": 1})
    elif options.cluster == "slurm":
        from dask_jobqueue import SLURMCluster

        made = SLURMCluster(cores=options.threads, processes=1, memory=options.memory, walltime=options.walltime,
                            queue=options.queue)
        made.scale(jobs=options.workers)
    else:
        return Client(options.cluster), None
    return Client(made), made


def run(client, commands, options):
    """Makes all parts; the code of the first that failed for good, or 0."""
    from distributed import as_completed

    tries, failed = {part: 0 for part in commands}, {}

    def submit(part):
        tries[part] += 1
        # Not with `workers=`, others than the last one: a part whose chosen workers are all gone waits for ever.
        future = client.submit(make, commands[part], key=f"part-{part}-{tries[part]}-{os.getpid()}", pure=False)
        part_of[future.key] = part
        return future

    part_of, done = {}, 0
    queue = as_completed([])
    for part in commands:
        queue.add(submit(part))
    for future in queue:
        part = part_of[future.key]
        if future.status == "finished":
            code, said = future.result()
        else:
            code, said = TEMPORARY, f"its worker died: {future.exception()!r}"
        if code == 0:
            done += 1
            print(f"{done} of {len(commands)} parts", file=sys.stderr)
            continue
        print(f"part {part}, try {tries[part]}, ended with {code}: {said}", file=sys.stderr)
        if (code == TEMPORARY or code in ASKED or code < 0) and tries[part] < options.tries:
            time.sleep(options.wait)
            queue.add(submit(part))
        else:
            failed[part] = code
    for part, code in sorted(failed.items()):
        print(f"part {part} failed with {code} after {tries[part]} tries", file=sys.stderr)
    return next((max(code, 1) for code in failed.values()), 0)


def planned(plan, checkpoint, options, more):
    """How many parts the plan has, which is made where there is none."""
    wanted = ["plan", checkpoint, "--parts", str(options.parts), *more]
    note = f"{os.path.dirname(plan)}/plan.command"
    if not os.path.exists(plan):
        # First, so that there is no plan without it.
        with open(note, "w") as file:
            json.dump(wanted, file)
        done = subprocess.run([options.ingot, *wanted, "-o", plan], stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(done.returncode)
    elif os.path.exists(note):
        with open(note) as file:
            made = json.load(file)
        if made != wanted:
            print(f"error: `{plan}` was made by `ingot {' '.join(made)}`, and `ingot {' '.join(wanted)}` is asked for\n\n"
                  "hint: give the same options, another --parts-dir, or remove that directory", file=sys.stderr)
            sys.exit(64)
    else:
        print(f"note: `{plan}` was not made by this program: it decides, whatever options are given", file=sys.stderr)
    try:
        with open(plan) as file:
            count = len(json.load(file)["parts"])
    except (ValueError, KeyError, TypeError):
        print(f"error: `{plan}` is no plan", file=sys.stderr)
        sys.exit(4)
    if count != options.parts:
        print(f"note: the plan has {count} parts, not {options.parts}", file=sys.stderr)
    return count


def main():
    options, more = arguments()
    directory = os.path.abspath(options.parts_dir or f"{options.output}.parts")
    os.makedirs(directory, exist_ok=True)
    plan, checkpoint = f"{directory}/plan.json", options.checkpoint
    if os.path.isdir(checkpoint):
        checkpoint = os.path.abspath(checkpoint)
    count = planned(plan, checkpoint, options, more)
    commands = {
        part: [options.ingot, "quantize", "--plan", plan, "--part", str(part), "--parts-dir", directory, "--threads",
               str(options.threads), "-q"]
        for part in range(count)
    }
    client, made = cluster(options)
    try:
        code = run(client, commands, options)
    finally:
        client.close()
        if made:
            made.close()
    if code:
        sys.exit(code)
    sys.exit(subprocess.run([options.ingot, "merge", "--plan", plan, "--parts-dir", directory, "-o", options.output]).returncode)


if __name__ == "__main__":
    main()
