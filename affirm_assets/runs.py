"""A run by the dagster CLI, its progress, and what its events say: for commands that run without a daemon."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from rich.console import Console

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.settings import RESTATEMENT

_POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Materialized:
    """What the events of a run say of one dataset."""

    seconds: float
    partitions: int
    rows: int
    snapshot: str
    audits_passed: int
    audits: int


def materialize(
    console: Console,
    instance: dg.DagsterInstance,
    datasets: Sequence[Dataset],
    window: Window | None,
    log: Path,
    restatement: str = "",
) -> dg.DagsterRun | None:
    """One run by the dagster CLI, as anybody would start it, with progress from its events; None if it failed.

    `restatement`: the one that it carries.
    """
    keys = ["--partition-range", f"{window.first}...{window.last}"] if window else []
    select = ",".join(str(item) for item in datasets)
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "asset",
        "materialize",
        "-m",
        "affirm_assets.definitions",
    ]
    run_id = None
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--select", select, *keys],
            env={**os.environ, RESTATEMENT: restatement} if restatement else None,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        progress = _Progress(instance)
        while True:
            ended = process.poll() is not None
            run_id = run_id or _run_of(log.read_text(errors="replace"), process.pid)
            for line in progress.news(run_id) if run_id else ():
                console.print(line)
            if ended:
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
    run = instance.get_run_by_id(run_id) if run_id else None
    if process.returncode == 0 and run and run.status == dg.DagsterRunStatus.SUCCESS:
        return run
    console.print(f"The run failed. What it printed is in {log}, and `make ui` shows its events.")
    for message in _failures(instance, run.run_id) if run else [log.read_text()]:
        console.print(message, markup=False)
    return None


def _failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data
        cause = failure.error.cause or failure.error if failure.error else None
        yield f"{entry.step_key}: {cause.message if cause else failure.user_failure_data}"


def _run_of(log: str, pid: int) -> str | None:
    """The id of the run that this process executes, by its own log: any newer run may be somebody else's.

    The command takes neither an id nor a tag for its run.
    """
    found = re.search(rf" - ([0-9a-f-]{{36}}) - {pid} - RUN_START - ", log)
    return found[1] if found else None


class _Progress:
    """A line for each step of a run that has ended."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursor: str | None = None
        self._started: dict[str, float] = {}

    def news(self, run_id: str) -> Iterator[str]:
        """The lines since the last call."""
        types = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
        page = self._instance.get_records_for_run(run_id, self._cursor, types)
        self._cursor = page.cursor
        for entry in (record.event_log_entry for record in page.records):
            step = entry.step_key or ""
            if entry.get_dagster_event().is_step_start:
                self._started[step] = entry.timestamp
            else:
                yield f"  {step.replace('__', '/'):36} {entry.timestamp - self._started[step]:6.1f} s"


def read_events(instance: dg.DagsterInstance, run_id: str, datasets: Sequence[Dataset]) -> dict[str, Materialized]:
    types = {
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.STEP_START,
        dg.DagsterEventType.STEP_SUCCESS,
    }
    by_step: dict[str | None, list[dg.EventLogEntry]] = defaultdict(list)
    for entry in instance.all_logs(run_id, of_type=types):
        by_step[entry.step_key].append(entry)
    return {
        item.name: _materialized(
            item, by_step[f"{item.domain}__{item.name}"], instance.get_latest_materialization_event(asset_key(item))
        )
        for item in datasets
    }


def _materialized(dataset: Dataset, entries: Sequence[dg.EventLogEntry], last: dg.EventLogEntry | None) -> Materialized:
    """`last`: a range is reported once for each partition, and the last report says what the step did."""
    events = [each.get_dagster_event() for each in entries]
    checks = [
        e.asset_check_evaluation_data for e in events if e.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert last is not None  # the run succeeded
    assert last.asset_materialization is not None
    assert dataset.partitions is not None
    metadata = last.asset_materialization.metadata
    return Materialized(
        seconds=entries[-1].timestamp - entries[0].timestamp,
        partitions=len(list(dataset.partitions.starts(Window.parse(str(metadata["window"].value))))),
        rows=int(str(metadata["dagster/row_count"].value)),
        snapshot=str(metadata["snapshot"].value),
        audits_passed=sum(check.passed for check in checks),
        audits=len(checks),
    )
