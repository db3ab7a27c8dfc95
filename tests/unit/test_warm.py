"""Processes that are forked once and do one task after another: what they answer, and how it is seen that one died."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources import warm
from resources.memory import SHARE, Memory, shares_container, usable_memory
from resources.warm import Died, Done, WarmPool, WarmProcess

FORKED_IN = os.getpid()


def work(task: Any) -> Any:
    match task:
        case "pid":
            return os.getpid()
        case "memory":
            return usable_memory() if shares_container() else None
        case "score":
            return int(Path("/proc/self/oom_score_adj").read_text())
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "error":
            raise ValueError("an error of the work")
        case "long":
            time.sleep(60)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
    return task


@pytest.fixture
def process() -> Iterator[WarmProcess]:
    made = WarmProcess(work, {SHARE: str(1 << 20)})
    yield made
    made.stop(5)


Pools = Callable[[int], WarmPool]


@pytest.fixture
def pools() -> Iterator[Pools]:
    started: list[WarmProcess] = []

    def start() -> WarmProcess:
        started.append(WarmProcess(work, {}))
        return started[-1]

    yield lambda most: WarmPool(most, start)
    for each in started:
        each.stop(5)


def outcome(process: WarmProcess, task: Any) -> Done | Died:
    process.tell(task)
    return until(process.ended)


def until(ended: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while (found := ended()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_one_process_does_task_after_task(process: WarmProcess) -> None:
    first, second = (outcome(process, "pid") for _ in range(2))
    assert first == second != Done(FORKED_IN)


def test_it_knows_its_share_of_memory_and_is_the_first_to_be_killed(process: WarmProcess) -> None:
    assert outcome(process, "memory") == Done(1 << 20)
    mine = int(Path("/proc/self/oom_score_adj").read_text())
    assert outcome(process, "score") == Done(min(1000, mine + 300))
    assert not shares_container()


def test_a_death_is_seen_and_its_cause_told(process: WarmProcess) -> None:
    died = outcome(process, "killed")
    assert died == Died(-signal.SIGKILL, None)
    assert died.text == "was killed (SIGKILL)"
    assert until(process.ended) == died


def test_an_error_of_the_work_ends_the_process(process: WarmProcess) -> None:
    died = outcome(process, "error")
    assert (died, died.text) == (Died(1, None), "ended with exit code 1")


def test_a_kill_that_the_kernel_counted_is_out_of_memory(process: WarmProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([Memory(2, 3 << 30), Memory(3, 3 << 30)])
    monkeypatch.setattr(warm, "read_memory", lambda: next(readings))
    died = outcome(process, "killed")
    assert died == Died(-signal.SIGKILL, 3 << 30)
    assert died.text == "was killed by the kernel at the container's memory limit of 3072Mi"


def test_an_end_of_its_own_is_not_out_of_memory_though_another_was_killed(
    process: WarmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([Memory(2, 3 << 30), Memory(3, 3 << 30)])
    monkeypatch.setattr(warm, "read_memory", lambda: next(readings))
    assert outcome(process, "error") == Died(1, None)


@pytest.mark.parametrize("task", ["long", "deaf"])
def test_a_task_is_interrupted_or_killed(process: WarmProcess, task: str) -> None:
    process.tell(task)
    time.sleep(0.3)
    at = time.monotonic()
    process.stop(0.5)
    assert time.monotonic() - at < 5
    assert isinstance(process.ended(), Died)


def test_a_dead_process_takes_a_task_without_an_error(process: WarmProcess) -> None:
    outcome(process, "killed")
    assert isinstance(outcome(process, "pid"), Died)


def test_it_ends_with_its_parent_though_that_is_killed_and_it_is_at_work() -> None:
    code = (
        "import os, time; from resources.warm import WarmProcess; from tests.unit.test_warm import work; "
        "process = WarmProcess(work, {}); process.tell('long'); print(process._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pool_begins_as_many_as_it_has_processes_and_uses_them_again(pools: Pools) -> None:
    pool = pools(2)
    for name in "abcd":
        pool.add(name, "pid")
    assert all(name in pool for name in "abcd")
    pids = {until(lambda name=name: pool.ended(name)).answer for name in "abcd"}
    assert len(pids) == 2
    assert not any(name in pool for name in "abcd")


def test_a_pool_goes_on_with_another_process_when_one_died(pools: Pools) -> None:
    pool = pools(1)
    pool.add("a", "killed")
    pool.add("b", "pid")
    assert isinstance(until(lambda: pool.ended("b")), Done)
    assert isinstance(pool.ended("a"), Died)


def test_what_is_stopped_is_forgotten_whether_it_waits_or_is_at_work(pools: Pools) -> None:
    pool = pools(1)
    pool.add("a", "long")
    pool.add("b", "pid")
    pool.add("c", "pid")
    pool.stop("b", 1)
    pool.stop("a", 1)
    assert isinstance(until(lambda: pool.ended("c")), Done)
    assert "a" not in pool
    assert "b" not in pool
