"""Want of memory, told from the kernel's counters and the JVM's exit."""

from collections.abc import Callable
from pathlib import Path

import pytest

from resources.memory import SHARE, Memory, MemoryWatch, read_memory, usable_memory

GIB = 2**30


def watch(*readings: Memory | None, exit_code: int | None = None) -> MemoryWatch:
    following = iter(readings)
    return MemoryWatch(lambda: next(following), lambda _: exit_code)


def version_2(root: Path) -> None:
    (root / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n")
    (root / "memory.max").write_text(f"{2 * GIB}\n")


def version_1(root: Path) -> None:
    (root / "memory").mkdir()
    (root / "memory/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (root / "memory/memory.limit_in_bytes").write_text(f"{2 * GIB}\n")


@pytest.mark.parametrize("write", [version_1, version_2])
def test_both_versions_of_control_groups_are_read(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    assert read_memory(tmp_path) == Memory(kills=1, limit=2 * GIB)


def test_a_version_2_group_without_limit(tmp_path: Path) -> None:
    version_2(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert read_memory(tmp_path) == Memory(kills=1, limit=None)


def test_where_there_are_no_counters_nothing_is_read(tmp_path: Path) -> None:
    assert read_memory(tmp_path) is None


def test_a_killed_process_is_out_of_memory_at_the_limit() -> None:
    said = watch(Memory(0, 2 * GIB), Memory(1, 2 * GIB)).blame(OSError("Answer from Java side is empty"))
    assert said is not None
    assert "killed 1 of the step's processes" in said
    assert "limit of 2048Mi" in said


def test_in_a_shared_container_a_kill_was_of_another_steps_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE, str(GIB))
    assert watch(Memory(0, 2 * GIB), Memory(1, 2 * GIB)).blame(OSError("S3 did not answer")) is None


def test_a_share_of_a_container_is_all_that_a_step_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_it = usable_memory()
    monkeypatch.setenv(SHARE, str(all_of_it // 2))
    assert usable_memory() == all_of_it // 2


def test_what_was_killed_before_the_work_is_not_held_against_it() -> None:
    assert watch(Memory(3, GIB), Memory(3, GIB)).blame(OSError("another error")) is None


def test_another_error_has_another_cause() -> None:
    assert watch(None, None).blame(OSError("another error")) is None


def test_a_full_heap_is_out_of_memory_also_deep_in_the_chain() -> None:
    error = RuntimeError("the step failed")
    error.__cause__ = ValueError("An error occurred: java.lang.OutOfMemoryError: Java heap space")
    assert "the heap of Spark's JVM is full" in str(watch(None, None).blame(error))


def test_a_jvm_that_left_for_want_of_heap_is_out_of_memory() -> None:
    assert "the heap of Spark's JVM is full" in str(
        watch(None, None, exit_code=52).blame(OSError("connection refused"))
    )
    assert watch(None, None, exit_code=1).blame(OSError("connection refused")) is None
