"""A sensor that ends local runs whose process is gone: nothing else would, and all that waits for them would wait."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dagster as dg

_INTERVAL_SECONDS = 30

_SLACK_SECONDS = 60
"""By which a process may seem to have begun too late: the kernel says when the machine started by the clock as it is
now, which may have been set forward meanwhile."""

_PROC = Path("/proc")


def is_alive(pid: int, at: float) -> bool:
    """Whether this machine has the process that had this number at that time, in seconds since 1970.

    After the machine or its container has started anew, another may have it: one that began later.
    """
    with suppress(PermissionError):  # it is another user's
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    began = _began(pid)
    return began is None or began <= at + _SLACK_SECONDS


def lost(instance: dg.DagsterInstance, alive: Callable[[int, float], bool]) -> list[tuple[dg.DagsterRun, int]]:
    """The runs that have begun and not ended, and whose process is gone, with its pid."""
    found = []
    begun = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=begun)):
        started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_START)
        starts = [(event.pid, each.timestamp) for each in started if (event := each.dagster_event) and event.pid]
        if starts and not alive(*starts[-1]):
            found.append((run, starts[-1][0]))
    return found


def end_lost(instance: dg.DagsterInstance) -> list[str]:
    """Report that they failed, or were cancelled if somebody was stopping them. What was done, in words."""
    ended = lost(instance, is_alive)
    for run, pid in ended:
        seen = "Readers see what each of its steps had published, and nothing of the others."
        if run.status is dg.DagsterRunStatus.CANCELING:
            # No failure: whoever stopped it knows, and nobody is told.
            instance.report_run_canceled(run, f"Its process {pid} is gone, after somebody stopped it. {seen}")
        else:
            instance.report_run_failed(
                run,
                f"Its process {pid} is gone: it was killed, or the machine has started anew. {seen} The sensors ask "
                "again for what is missing.",
            )
    return [f"Ended run {run.run_id}: its process {pid} is gone" for run, pid in ended]


def _began(pid: int) -> float | None:
    """When a process began, in seconds since 1970; None: it is not said, as on machines without /proc."""
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text(errors="replace")
        (booted,) = (line.split()[1] for line in _PROC.joinpath("stat").open() if line.startswith("btime "))
        # The name, second of the fields, may hold spaces and brackets: the third is the first after it.
        ticks = stat.rpartition(")")[2].split()[22 - 3]
        return int(booted) + int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


@dg.sensor(
    name="lost_runs",
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed, or was not there any more after this machine had started anew.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = end_lost(context.instance)
    for each in ended:
        context.log.info(each)
    return dg.SkipReason(f"{len(ended)} runs ended")
