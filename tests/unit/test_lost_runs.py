"""Local runs whose process is gone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent
from dagster._core.test_utils import create_run_for_test

from affirm_assets.orchestration import lost_runs
from affirm_assets.orchestration.lost_runs import end_lost, is_alive

HOUR = 3600.0
NEVER = 2**22 + 1
"""More than any process's number."""

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def begun(instance: dg.DagsterInstance, pid: int, at: float) -> str:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTING)
    event = DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name, pid=pid)
    instance.report_dagster_event(event, run.run_id, timestamp=at)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_process_lives_goes_on(instance: dg.DagsterInstance) -> None:
    run_id = begun(instance, os.getpid(), time.time())
    assert end_lost(instance) == []
    assert status(instance, run_id) is dg.DagsterRunStatus.STARTED


def test_a_run_whose_process_is_gone_has_failed(instance: dg.DagsterInstance) -> None:
    run_id = begun(instance, NEVER, time.time())
    assert end_lost(instance) == [f"Ended run {run_id}: its process {NEVER} is gone"]
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


@needs_proc
def test_another_process_that_has_its_number_now_is_not_it(instance: dg.DagsterInstance) -> None:
    run_id = begun(instance, os.getpid(), time.time() - 24 * HOUR)
    assert end_lost(instance) == [f"Ended run {run_id}: its process {os.getpid()} is gone"]
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


@needs_proc
def test_a_process_that_has_just_begun_is_told_from_one_before_it() -> None:
    before = time.time()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert is_alive(process.pid, time.time())
        assert not is_alive(process.pid, before - 65)
    finally:
        process.communicate()


def test_a_process_s_name_may_hold_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / str(os.getpid())).mkdir()
    fields = ["S", *["7"] * 18, str(100 * os.sysconf("SC_CLK_TCK")), "8"]  # from the third field on
    (tmp_path / str(os.getpid()) / "stat").write_text(f"{os.getpid()} (a) R (1 2 3) {' '.join(fields)}\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1700000000\nprocesses 5\n")
    monkeypatch.setattr(lost_runs, "_PROC", tmp_path)
    assert is_alive(os.getpid(), 1_700_000_100)
    assert is_alive(os.getpid(), 1_700_000_040)
    assert not is_alive(os.getpid(), 1_700_000_039)


def test_without_proc_the_number_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_runs, "_PROC", tmp_path / "none")
    assert is_alive(os.getpid(), 0)
    assert not is_alive(NEVER, 0)


def test_one_that_somebody_stopped_is_cancelled_and_has_not_failed(instance: dg.DagsterInstance) -> None:
    run_id = begun(instance, NEVER, time.time())
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_canceling(run)
    assert end_lost(instance) == [f"Ended run {run_id}: its process {NEVER} is gone"]
    assert status(instance, run_id) is dg.DagsterRunStatus.CANCELED
