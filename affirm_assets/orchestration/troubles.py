"""What people must know of this instance: looked for in what its databases say, not in events that may be lost.

Dagster's hooks do not fire for runs that sensors start, and nothing of it tells of sensors, schedules and daemons
(dagster#29625). How far one has looked is kept in the instance. If that is lost, the last day is looked through again;
what was told of it is known by its cause.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from dagster._utils.tags import get_boolean_tag_value
from dagster_shared.error import SerializableErrorInfo

from affirm_assets.orchestration.alerts import OLDEST, Alert
from affirm_assets.orchestration.failed_runs import EVENTS, Place, alerts_of_run, reason_of
from resources.key_values import KeyValues

SENSOR = "alerts"

STANDS_STILL = timedelta(minutes=10)
"""Without a sign of life from a daemon, which gives one every 30 seconds, and from the sensor, which is evaluated as
often. Dagster itself waits for half an hour: one step of a daemon may take minutes on thousands of assets."""

_IS_SILENT = timedelta(minutes=2)
"""So that the process is taken for dead, once one of its daemons stands still."""

_SENSOR_DAEMON = "SENSOR"
_NEVER = datetime.fromtimestamp(0, UTC)

_LOOKED = "affirm/alert/looked"

_OVERLAP = timedelta(minutes=15)
"""Looked at again: the time of a change is that of its event, which may be stored after a later one's."""

_RETRY_IS_LAUNCHED = timedelta(minutes=5)
"""By then Dagster has launched the run that tries a failed one again; it may not, if the backfill has ended."""

_RUNS = 50
"""Whose events are read at once; the next tick goes on. A failed run of 23 datasets over 180 days has 4,000 of them,
which takes a second; a tick has a minute."""

_TICKS = 100
_OK = (TickStatus.SUCCESS, TickStatus.SKIPPED)


@dataclass(frozen=True)
class Looked:
    """How far: runs, ticks and backfills until then, and the runs shortly before it that need no second look."""

    until: datetime
    runs: frozenset[str] = frozenset()

    @property
    def row(self) -> str:
        return json.dumps({"until": self.until.isoformat(), "runs": sorted(self.runs)})


def looked(values: KeyValues, now: datetime) -> Looked:
    """A day ago, if it was never looked, or if that cannot be read."""
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(values.get(_LOOKED) or "")
        return Looked(datetime.fromisoformat(found["until"]), frozenset(found["runs"]))
    return Looked(now - OLDEST)


def remember(values: KeyValues, to: Looked) -> None:
    """Once what was found is in the outbox."""
    values.put(_LOOKED, to.row)


def look(instance: dg.DagsterInstance, place: Place, before: Looked, now: datetime) -> tuple[list[Alert], Looked]:
    """Failed runs and checks, ticks and backfills since then, though of a day at most; and how far that was."""
    since = max(before.until - _OVERLAP, now - OLDEST)
    alerts, after = _runs(instance, place, before, since, now)
    return [*alerts, *_ticks(instance, place, since), *_backfills(instance, place, since)], after


def daemons_that_stand_still(instance: dg.DagsterInstance, place: Place, now: datetime) -> list[Alert]:
    """Those that this instance needs; one that never gave a sign of life is among them.

    All of them are threads of one process: if it is gone, that is one alert.
    """
    signs = _signs_of_life(instance)
    still = {daemon: last for daemon, last in signs.items() if last < now - STANDS_STILL}
    newest = max(signs.values(), default=now)
    if still and newest < now - _IS_SILENT:
        return [_still("dagster-daemon", newest, place)]
    return [_still(f"the daemon {daemon}", last, place) for daemon, last in still.items()]


def sensors_are_looked_after(instance: dg.DagsterInstance, now: datetime) -> datetime | None:
    """The newest sign of life of a daemon's process whose sensors do not stand still; None: there is none."""
    signs = _signs_of_life(instance)
    newest, of_sensors = max(signs.values(), default=_NEVER), signs.get(_SENSOR_DAEMON, _NEVER)
    return newest if newest >= now - _IS_SILENT and of_sensors >= now - STANDS_STILL else None


def _signs_of_life(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """The last of each daemon that this instance needs."""
    return {
        each.daemon_type: datetime.fromtimestamp(each.last_heartbeat.timestamp, UTC) if each.last_heartbeat else _NEVER
        for each in instance.get_daemon_statuses().values()
        if each.required
    }


def sensor_that_stands_still(instance: dg.DagsterInstance, place: Place, now: datetime) -> list[Alert]:
    """The sensor `alerts` itself: not evaluated though its daemon lives, such as when the code cannot be loaded.

    To be asked from outside. Nothing if somebody has switched it off, or if it never ran: then no daemon did.
    """
    states = [each for each in instance.all_instigator_state() if each.instigator_name == SENSOR and each.is_running]
    starts = [data.last_tick_start_timestamp or 0 for each in states if (data := each.sensor_instigator_data)]
    last = datetime.fromtimestamp(max(starts, default=0), UTC)
    if not any(starts) or last >= now - STANDS_STILL:
        return []
    reason = (
        f"The sensor {SENSOR} was last evaluated at {last:%Y-%m-%d %H:%M:%S} UTC. Nobody is told of failures but by "
        "the command `affirm alerts`. Does the code location load?"
    )
    title = "sensors stand still"
    return [Alert(f"still/{SENSOR}/{last.isoformat()}", title, reason, link=f"{place.ui_url}/deployment/locations")]


def _still(daemon: str, last: datetime, place: Place) -> Alert:
    sign = f"{last:%Y-%m-%d %H:%M:%S} UTC" if last.timestamp() else "never"
    return Alert(
        cause=f"daemon/{daemon}/{sign}",
        title=f"{daemon} stands still",
        reason=f"Its last sign of life: {sign}; one is expected every 30 seconds. Does its process run?",
        link=f"{place.ui_url}/deployment/daemons",
    )


def _runs(
    instance: dg.DagsterInstance, place: Place, before: Looked, since: datetime, now: datetime
) -> tuple[list[Alert], Looked]:
    over = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS], updated_after=since)
    records = instance.get_run_records(over, order_by="update_timestamp", ascending=True)
    new = [each for each in records if each.dagster_run.run_id not in before.runs]
    alerts: list[Alert] = []
    open_runs = {each.dagster_run.run_id for each in new[_RUNS:]}
    for each in new[:_RUNS]:
        run = each.dagster_run
        match _is_tried_again(each, now):
            case None:
                open_runs.add(run.run_id)
            case False:
                alerts += _alerts_of_run(instance, run, place)
    is_all = len(new) <= _RUNS
    until = now if is_all else new[_RUNS - 1].update_timestamp
    seen = {each.dagster_run.run_id for each in records if each.update_timestamp > until - _OVERLAP} - open_runs
    return alerts, Looked(until, frozenset(seen))


def _alerts_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, place: Place) -> list[Alert]:
    if run.status is dg.DagsterRunStatus.SUCCESS:
        # Most runs: what they planned need not be read.
        checks = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if all(each.get_dagster_event().asset_check_evaluation_data.passed for each in checks):
            return []
    return alerts_of_run(run, instance.all_logs(run.run_id, of_type=EVENTS), place)


def _is_tried_again(record: RunRecord, now: datetime) -> bool | None:
    """By Dagster itself: then the run that does so will tell. None: it will be, and is not yet."""
    run = record.dagster_run
    if run.status is not dg.DagsterRunStatus.FAILURE:
        return False
    if run.tags.get(AUTO_RETRY_RUN_ID_TAG):
        return True
    if not get_boolean_tag_value(run.tags.get(WILL_RETRY_TAG), default_value=False):
        return False
    return None if now - record.update_timestamp < _RETRY_IS_LAUNCHED else False


def _ticks(instance: dg.DagsterInstance, place: Place, since: datetime) -> Iterator[Alert]:
    """Each error of a sensor or schedule once, until it succeeds again."""
    for state in instance.all_instigator_state():
        origin, selector = state.instigator_origin_id, state.selector_id
        failed = instance.get_ticks(
            origin, selector, after=since.timestamp(), limit=_TICKS, statuses=[TickStatus.FAILURE]
        )
        told = set()
        for tick in failed:
            ok = instance.get_ticks(origin, selector, before=tick.timestamp, limit=1, statuses=[*_OK])
            if (alert := _failed_tick(state, tick, ok, place)).cause not in told:
                told.add(alert.cause)
                yield alert


def _failed_tick(state: InstigatorState, tick: InstigatorTick, ok: Sequence[InstigatorTick], place: Place) -> Alert:
    kind = state.instigator_type.value.lower()
    repository = state.origin.repository_origin.get_label()
    return Alert(
        cause=f"tick/{state.name}/{ok[0].tick_id if ok else 0}/{_which(tick.error)}",
        title=f"the {kind} {state.name} failed",
        reason=reason_of(tick.error),
        link=f"{place.ui_url}/locations/{repository}/{kind}s/{state.name}",
    )


def _which(error: SerializableErrorInfo | None) -> str:
    """Names an error by its class and the line that raised it: messages may differ each time, such as by an hour."""
    if error is None:
        return "?"
    while error.cause is not None:
        error = error.cause
    line = error.stack[-1].strip().partition("\n")[0] if error.stack else ""
    return f"{error.cls_name} {line}"


def _backfills(instance: dg.DagsterInstance, place: Place, since: datetime) -> Iterable[Alert]:
    """Those that Dagster gave up by itself: it does not always have a run to show for it."""
    failed = BulkActionsFilter(statuses=[BulkActionStatus.FAILED], created_after=since)
    for each in instance.get_backfills(filters=failed):
        assets = each.asset_selection or []
        yield Alert(
            cause=f"backfill/{each.backfill_id}",
            title="the backfill failed",
            reason=reason_of(each.error),
            owner=next((place.owners[asset] for asset in assets if asset in place.owners), None),
            dataset=", ".join(asset.to_user_string() for asset in assets[:5]) or None,
            link=f"{place.ui_url}/runs/b/{each.backfill_id}",
        )
