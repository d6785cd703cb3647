"""The protocol: how a step is timed, how a worker is run, and what counts.

Each side runs in processes of its own, in turn with the others, since two OpenMP runtimes in one process spin against
each other. A neighbour on the same machine only ever slows a process, so what counts is the fastest decile: the 10 %
quantile of all times per step, pooled over all processes of a side.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

WARM_UP_SECONDS = 0.5
CALL_SECONDS = 0.02  # long enough for a clock, short enough to fall between two disturbances
WORKER_TIMEOUT = 600.0  # seconds beyond the measurement itself: compiling a network for the first time takes minutes
PEAK_PROCESSES = 3
VOID_BELOW = 0.9  # of n times the peak of one thread, with n threads: 1.8 times for two

HERE = Path(__file__).parent


class WorkerError(Exception):
    """A worker ended without a result."""


class Absent(Exception):
    """What a worker was to measure is not installed."""


def time_steps(step, seconds, *, warm_up=WARM_UP_SECONDS, call_seconds=CALL_SECONDS, clock=time.perf_counter):
    """Return the times per step of calls ``step(n_steps)``, n_steps chosen so that a call takes about 20 ms."""
    n_steps = warm(step, warm_up, call_seconds)
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = clock()
        step(n_steps)
        times.append((clock() - start) / n_steps)
    return times


def warm(step, seconds, call_seconds=CALL_SECONDS):
    """Run ``step(n_steps)`` for some seconds; return the n_steps of a call of about `call_seconds`."""
    n_steps = 1
    end = time.perf_counter() + seconds
    step(1)  # allocates, compiles
    while True:
        start = time.perf_counter()
        step(n_steps)
        elapsed = time.perf_counter() - start
        if elapsed > call_seconds / 2 and time.perf_counter() > end:
            return n_steps
        # At most ten times as many at once: the first calls are the slow ones, and the clock may not have moved.
        n_steps = max(1, round(n_steps * call_seconds / max(elapsed, call_seconds / 10)))


def fastest_decile(times):
    """Return the 10 % quantile of `times`: the smallest time that a tenth of them do not exceed."""
    return sorted(times)[max(0, -(-len(times) // 10) - 1)]


def run_worker(python, script, *arguments, n_threads, seconds=0.0, environment=None):
    """Run a worker of this folder with `n_threads` threads and return what it printed.

    `environment` is added to that of this process; None takes a variable away.

    Raises
    ------
    Absent
        If what it was to measure cannot be imported.
    WorkerError
        If it failed or took too long; the message says how.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads), **(environment or {})}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [python, str(HERE / script), *arguments, "--threads", str(n_threads)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds + WORKER_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no result after {seconds + WORKER_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise WorkerError(f"{python}: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["nothing on stderr"]
        # The last line that names an error: PyTorch adds hints below it.
        reason = next((line for line in reversed(lines) if "Error" in line), lines[-1])
        raise WorkerError(f"exit status {done.returncode}: {reason}")
    lines = done.stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise WorkerError("no JSON in its output") from None
    if "absent" in result:
        raise Absent(result["absent"])
    return result


def peaks(n_threads, processes=PEAK_PROCESSES):
    """Return {1: GFLOP/s, n_threads: GFLOP/s}, the multiply-add peak with one and with n threads.

    Each is the best of a few processes, as a neighbour only ever takes away.
    """
    counts = sorted({1, n_threads})
    best = dict.fromkeys(counts, 0.0)
    for _ in range(processes):
        result = run_worker(sys.executable, "peak.py", *map(str, counts), n_threads=n_threads)
        for count, peak in zip(counts, result["peaks"]):
            best[count] = max(best[count], peak)
    return best


def is_void(*measured_peaks):
    """Tell whether the threads got in each other's way, or in a neighbour's, in any of the results of `peaks`."""
    return any(
        peak < VOID_BELOW * count * measured[1] for measured in measured_peaks for count, peak in measured.items()
    )
