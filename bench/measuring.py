"""Seconds and memory."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def interleaved(
    works: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict[str, Any]]:
    """Run the works in turn, `rounds` times after one that is not counted: the median and every figure of each."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            taken = seconds(work, clock)
            if number:
                found[name].append(round(taken, 2))
    return {name: {"median": median(each), "all": each} for name, each in found.items()}


@dataclass
class Peak:
    """Peak resident memory, in MiB, of a process and all that it started."""

    mib: float = 0.0


@contextmanager
def peak_memory(pid: int, every: float = 0.2) -> Iterator[Peak]:
    """Sample the process tree until the block ends."""
    peak, done = Peak(), threading.Event()

    def sample() -> None:
        while not done.wait(every):
            peak.mib = max(peak.mib, _tree_mib(pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _tree_mib(pid: int) -> float:
    total = 0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            try:
                total += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return 0.0
    return total / 2**20
