#!/usr/bin/env python3
"""Checks that `unbraid-run` is small and starts fast.

    cargo build --profile small -p unbraid --features cli --bin unbraid-run
    python scripts/check_command.py target/small/unbraid-run

Size: the file as built, 1.5 MiB at most. Cold start: a whole process from its start to its end, which reads the shipped
model, checks it, decodes one picture and writes it, 5 ms at most. Runs of `--version` beside them show what starting
any process costs here. The least time counts: other programs make a run longer, never shorter. Exits with 1 above a limit.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

MODEL = pathlib.Path(__file__).resolve().parents[1] / "models/sprites-factorvae/model.int8.safetensors"
SIZE_LIMIT_BYTES = 3 << 19
START_LIMIT_MS = 5.0
RUNS = 100


def milliseconds(command):
    """The time from before the process starts until it has ended, and what of it the process computed."""
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    start = time.perf_counter_ns()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(process, 0)
    whole = (time.perf_counter_ns() - start) / 1e6
    if status:
        sys.exit(f"{' '.join(command)}: failed")
    return whole, 1e3 * (usage.ru_utime + usage.ru_stime)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    program = sys.argv[1]
    size = pathlib.Path(program).stat().st_size
    print(f"size: {size} bytes, {size / (1 << 20):.2f} MiB")
    # In memory where there is such a folder: a disk takes its own time to flush.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        commands = {
            "decode": [program, "decode", str(MODEL), "-o", f"{folder}/picture.png", "--force"],
            "--version": [program, "--version"],
        }
        times = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, command in commands.items():
                times[name].append(milliseconds(command))
    for name, runs in times.items():
        (median, least), cpu = ((statistics.median(t), min(t)) for t in zip(*runs))
        print(f"{name}: median {median:.2f} ms, least {least:.2f} ms, processor {cpu[0]:.2f} ms; {RUNS} runs")
    if size > SIZE_LIMIT_BYTES:
        sys.exit(f"{program}: found {size} bytes, expected at most {SIZE_LIMIT_BYTES}")
    least = min(whole for whole, _ in times["decode"])
    if least > START_LIMIT_MS:
        sys.exit(f"{program}: found {least:.2f} ms to decode a picture, expected at most {START_LIMIT_MS} ms")


if __name__ == "__main__":
    main()
