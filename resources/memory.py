"""Whether a step ran out of memory, as seen from inside its container: by the kernel's counters and the JVM's exit."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

_HEAP = "java.lang.OutOfMemoryError"
_HEAP_EXITS = (52, 3)  # Spark's own, and that of -XX:+ExitOnOutOfMemoryError
_JVM_ENDS_SECONDS = 2.0  # from the socket that it closed to its exit
_REMEDY = "Give the dataset a larger compute profile, or run fewer partitions at once."


SHARE = "AFFIRM_STEP_MEMORY"
"""Bytes that a step may use whose container computes others too, at the same time or before; else not set."""


@dataclass(frozen=True)
class Memory:
    """Of this process's control group: processes that the kernel killed at the limit so far; the limit in bytes."""

    kills: int
    limit: int | None


def read_memory(root: Path = Path("/sys/fs/cgroup")) -> Memory | None:
    """From version 2 or 1 of control groups; None where there is no limit to run into."""
    for events, limit in (
        ("memory.events", "memory.max"),
        ("memory/memory.oom_control", "memory/memory.limit_in_bytes"),
    ):
        try:
            counters = dict(line.split() for line in (root / events).read_text().splitlines())
            text = (root / limit).read_text().strip()
        except OSError:
            continue
        return Memory(int(counters.get("oom_kill", 0)), int(text) if text.isdigit() else None)
    return None


def usable_memory() -> int:
    """Bytes that this process may use: its share of its control group's limit, all of that, or the machine's."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = read_memory()
    limit = min(physical, found.limit) if found and found.limit else physical
    return min(limit, int(os.environ[SHARE])) if shares_container() else limit


def shares_container() -> bool:
    """Whether this process computes steps in a container in which others are computed too."""
    return SHARE in os.environ


def jvm_exit(error: BaseException) -> int | None:
    """The exit code of Spark's JVM if an error says that it no longer answers; None if it lives."""
    from py4j.protocol import Py4JNetworkError
    from pyspark import SparkContext

    if not any(isinstance(each, Py4JNetworkError | ConnectionError) for each in causes(error)):
        return None
    process: Any = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return None
    try:
        return int(process.wait(_JVM_ENDS_SECONDS))
    except TimeoutExpired:
        return None


class MemoryWatch:
    """Made before the work; afterwards tells whether an error of the work is for want of memory."""

    def __init__(
        self,
        read: Callable[[], Memory | None] = read_memory,
        jvm_exit: Callable[[BaseException], int | None] = jvm_exit,
    ) -> None:
        self._read = read
        self._jvm_exit = jvm_exit
        self._before = read()

    def blame(self, error: BaseException) -> str | None:
        """What ran out and its limit; None if the error has another cause."""
        now = self._read()
        # In a container that it shares, it may be another step's process that was killed; a step here has one only.
        if now and self._before and now.kills > self._before.kills and not shares_container():
            killed = now.kills - self._before.kills
            limit = f"{now.limit / 2**20:.0f}Mi" if now.limit is not None else "the node's memory"
            return (
                f"out of memory: the kernel killed {killed} of the step's processes (Spark's JVM, or a Python worker) "
                f"at the container's limit of {limit}. {_REMEDY}"
            )
        exit_code = self._jvm_exit(error)
        if exit_code in _HEAP_EXITS or any(_HEAP in str(each) for each in causes(error)):
            return f"out of memory: the heap of Spark's JVM is full (java.lang.OutOfMemoryError). {_REMEDY}"
        return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, and so on."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__
