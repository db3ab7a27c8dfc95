"""A sensor that removes what runs have left on the cluster once they are over."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from resources.kubernetes.leftovers import Api, Made, made_by_runs, own_namespace

_INTERVAL_SECONDS = 30

_LIVING = timedelta(seconds=30)
"""After a run's end, what still lives of it is removed: a pod that ends with its run has done so by then."""

_ENDED = timedelta(hours=1)
"""For which pods and jobs that have ended can be looked at."""

_UNKNOWN = timedelta(minutes=15)
"""After which an object of a run that this instance does not have (somebody deleted it) is removed."""


def leftovers(made: Iterable[Made], ends: Mapping[str, datetime | None], now: datetime) -> list[Made]:
    """What to remove of it.

    `ends`: of each run that the instance knows, when it ended; None: not yet.
    """
    return [each for each in made if _is_left_over(each, ends, now)]


def _is_left_over(each: Made, ends: Mapping[str, datetime | None], now: datetime) -> bool:
    if each.run_id not in ends:
        # A run worker may be another instance's, which labels it the same way.
        return each.is_labelled and now - each.created > _UNKNOWN
    ended = ends[each.run_id]
    return ended is not None and now - ended > (_LIVING if each.is_living else _ENDED)


@dg.sensor(
    name="reaper",
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Removes pods, jobs, config maps and volume claims whose run is over.",
)
def reaper(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    api = Api()
    made = list(made_by_runs(api, own_namespace()))
    removed = leftovers(made, _ends(context.instance, {each.run_id for each in made}), datetime.now(UTC))
    for each in removed:
        api.remove(each)
        context.log.info(f"Removed {each.kind} {each.namespace}/{each.name} of run {each.run_id}")
    return dg.SkipReason(f"{len(removed)} of {len(made)} objects removed")


def _ends(instance: dg.DagsterInstance, run_ids: set[str]) -> dict[str, datetime | None]:
    records = instance.get_run_records(dg.RunsFilter(run_ids=sorted(run_ids))) if run_ids else []
    return {
        record.dagster_run.run_id: (
            # A run that was cancelled or failed from outside may lack an end: its last change stands for it.
            datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
        )
        if record.dagster_run.is_finished
        else None
        for record in records
    }
