"""A few processes, forked from this one, each of which does one task after another: what is imported stays imported.

Linux only. This process must have no thread at work when it starts one: a fork has none of them, and their locks as
they were. So nothing here is a thread: whoever owns a pool asks it, now and then, what has ended.
"""

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.memory import read_memory

_FIRST_TO_DIE = 300
"""Thousandths of the container's memory that the kernel adds to what the process uses, when it chooses whom to kill."""


_PR_SET_PDEATHSIG = 1
"""prctl(2)."""


@dataclass(frozen=True)
class Done:
    """`answer`: what the work returned."""

    answer: Any


@dataclass(frozen=True)
class Died:
    """The process ended within the task. `out_of_memory`: the limit in bytes at which the kernel killed it."""

    exit_code: int
    out_of_memory: int | None

    @property
    def text(self) -> str:
        if self.out_of_memory is not None:
            return f"was killed by the kernel at the container's memory limit of {self.out_of_memory / 2**20:.0f}Mi"
        if self.exit_code < 0:
            return f"was killed ({signal.Signals(-self.exit_code).name})"
        return f"ended with exit code {self.exit_code}"


class WarmProcess:
    """Does `work(task)` for each task that it is told, with these variables in its environment.

    An error of the work ends it, and so does the end of this process, or of the thread that made it.
    """

    def __init__(self, work: Callable[[Any], Any], environment: Mapping[str, str]) -> None:
        fork = multiprocessing.get_context("fork")
        self._tasks, tasks = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(tasks, work, environment, os.getpid()), daemon=True)
        self._process.start()
        tasks.close()  # or its end would not be seen
        self._kills = 0

    def tell(self, task: Any) -> None:
        """Hand it a task; it must have none."""
        self._kills = _kills()
        with suppress(BrokenPipeError):  # it is dead, and `ended` says so
            self._tasks.send(task)

    def ended(self) -> Done | Died | None:
        """What became of its task; None: it is at work."""
        try:
            return Done(self._tasks.recv()) if self._tasks.poll() else None
        except (EOFError, ConnectionResetError):
            self._process.join()
        exit_code = self._process.exitcode or 0
        memory = read_memory()
        is_full = exit_code == -signal.SIGKILL and memory is not None and memory.kills > self._kills
        return Died(exit_code, memory.limit if memory and is_full else None)

    def stop(self, seconds: float) -> None:
        """Interrupt it, and kill it if it goes on for longer than this."""
        self._process.terminate()
        self._process.join(seconds)
        self._process.kill()
        self._process.join()


class WarmPool:
    """Tasks by their names, begun in the order in which they were added by `most` processes at the same time.

    `start` makes a process: the first time when there is a task for it, and again in the place of one that died.
    """

    def __init__(self, most: int, start: Callable[[], WarmProcess]) -> None:
        self._most = most
        self._start = start
        self._waiting: deque[tuple[str, Any]] = deque()
        self._at_work: dict[str, WarmProcess] = {}
        self._free: list[WarmProcess] = []
        self._ended: dict[str, Done | Died] = {}

    def __contains__(self, name: str) -> bool:
        """Whether the task is waiting or at work, or has ended and nobody has asked since."""
        return name in self._at_work or name in self._ended or any(name == each for each, _ in self._waiting)

    def add(self, name: str, task: Any) -> None:
        self._waiting.append((name, task))
        self._go_on()

    def ended(self, name: str) -> Done | Died | None:
        """What became of a task, told once; None: it waits or is at work."""
        self._go_on()
        return self._ended.pop(name, None)

    def stop(self, name: str, seconds: float) -> None:
        """Forget a task; a process that is at it has so many seconds to leave it."""
        self._waiting = deque(each for each in self._waiting if each[0] != name)
        self._ended.pop(name, None)
        if process := self._at_work.pop(name, None):
            process.stop(seconds)

    def _go_on(self) -> None:
        for name, process in [*self._at_work.items()]:
            if ended := process.ended():
                self._ended[name] = ended
                del self._at_work[name]
                if isinstance(ended, Done):
                    self._free.append(process)
        while self._waiting and len(self._at_work) < self._most:
            process = self._idle() or self._start()
            name, task = self._waiting.popleft()
            process.tell(task)
            self._at_work[name] = process

    def _idle(self) -> WarmProcess | None:
        """One that has nothing to do, and was not killed meanwhile."""
        while self._free:
            if (process := self._free.pop()).ended() is None:
                return process
        return None


def _serve(tasks: Any, work: Callable[[Any], Any], environment: Mapping[str, str], parent: int) -> None:
    _end_with(parent)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)  # the parent's handlers would wait for a loop that is not here
    os.environ.update(environment)
    _be_first_to_die()
    while True:
        try:
            task = tasks.recv()
        except EOFError:
            return
        tasks.send(work(task))


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _be_first_to_die() -> None:
    """Out of memory, the kernel shall kill this process and not the one that sees it and can say so."""
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        score.write_text(str(min(1000, int(score.read_text()) + _FIRST_TO_DIE)))


def _kills() -> int:
    memory = read_memory()
    return memory.kills if memory else 0
