"""A sensor that ends local runs whose process is gone: nothing else would, and all that waits for them would wait."""

import os
from collections.abc import Callable
from contextlib import suppress

import dagster as dg

_INTERVAL_SECONDS = 30


def is_alive(pid: int) -> bool:
    """Whether this machine has such a process."""
    with suppress(PermissionError):  # it is another user's
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def lost(instance: dg.DagsterInstance, alive: Callable[[int], bool]) -> list[tuple[dg.DagsterRun, int]]:
    """The runs that have begun and not ended, and whose process is gone, with its pid."""
    found = []
    begun = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=begun)):
        started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_START)
        pids = [event.pid for each in started if (event := each.dagster_event) and event.pid]
        if pids and not alive(pids[-1]):
            found.append((run, pids[-1]))
    return found


def end_lost(instance: dg.DagsterInstance) -> list[str]:
    """Report that they failed. What was done, in words."""
    ended = lost(instance, is_alive)
    for run, pid in ended:
        instance.report_run_failed(
            run,
            f"Its process {pid} is gone: it was killed, or the machine has started anew. Readers see what each of its "
            "steps had published, and nothing of the others. The sensors ask again for what is missing.",
        )
    return [f"Ended run {run.run_id}: its process {pid} is gone" for run, pid in ended]


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
