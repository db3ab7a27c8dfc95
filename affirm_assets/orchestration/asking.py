"""From what should be computed to a run of Dagster: each asked for a few times at most, for one cause."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Partitions, Window
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.orchestration.plan import Ask, first_part

CAUSE, TOLD, REASON = "affirm/cause", "affirm/told", "affirm/reason"
"""Tags of a run that a sensor asked for: a digest of why, by which its tries are counted; another by which people are
told of its failures once; and why in words.

What the first try published is left out of the next. So the next may be counted anew, but `TOLD` stays the same.
"""

MOST_TRIES = 3
"""Of one window for one cause. A longer window is tried in shorter parts first."""

_WAITS = (timedelta(0), timedelta(minutes=1), timedelta(minutes=10))
"""After a run that failed, before the next: what failed because a service did not answer may do so again at once."""

_RESUMED = "affirm/resumed"
"""Key in the instance's store: when somebody resumed last, so that what failed before is another cause."""

_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_ONE = "dagster/partition"

_MOST_TO_START = timedelta(minutes=10)
"""A run that was made so long ago and is not even queued will not start: whoever made it was killed."""

_RUNNING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def busy(instance: dg.DagsterInstance, datasets: Mapping[str, Dataset], now: datetime) -> list[Ask]:
    """What the runs compute that have not ended, whoever started them."""
    names = {asset_key(each): name for name, each in datasets.items()}
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_RUNNING)):
        run = record.dagster_run
        is_lost = record.create_timestamp.astimezone(UTC) < now - _MOST_TO_START
        if run.status == dg.DagsterRunStatus.NOT_STARTED and is_lost:
            continue
        if computed := sorted(names[key] for key in run.asset_selection or () if key in names):
            found.append(Ask(tuple(computed), _window(run), f"run {run.run_id[:8]}", run.run_id))
    return found


@dataclass(frozen=True)
class State:
    """What a try depends on beside its window and its trigger: other code or files may make it succeed.

    `code`: the version of each dataset of the project; `day`: the files of the window's first day, and what was
    accepted of them.
    """

    code: Mapping[str, str]
    day: Sequence[str]


def run_request(
    instance: dg.DagsterInstance, ask: Ask, datasets: Mapping[str, Dataset], state: State, now: datetime
) -> dg.RunRequest | str:
    """The next try of what is asked, or why there is none now.

    Of another state there are tries anew, and so there are after a resume: a person acted, and is told if it fails
    again.
    """
    because = [ask.trigger, str(ask.window.first if ask.window else None), *state.day, _resumed(instance)]
    cause = _digest([*because, *(f"{name} {state.code[name]}" for name in ask.datasets)])
    told = _digest([*because, *(f"{name} {version}" for name, version in sorted(state.code.items()))])
    records = instance.get_run_records(dg.RunsFilter(tags={CAUSE: cause}))  # newest first
    kind = datasets[ask.datasets[0]].partitions
    ask = first_part(ask, kind, len(records))
    if waits := _waits(records, ask, now):
        return waits
    return dg.RunRequest(
        # By the try before it: a daemon that was killed in a tick asks for the same one again, and Dagster sees that.
        run_key=f"{cause}/{records[0].dagster_run.run_id if records else 'first'}",
        asset_selection=[asset_key(datasets[name]) for name in ask.datasets],
        tags={CAUSE: cause, TOLD: told, REASON: ask.reason, **_tags(ask.window, kind)},
        partition_key=_key(ask.window),
    )


def resume(instance: dg.DagsterInstance, now: datetime) -> None:
    """Failed runs of before count no more: what they were to compute is asked for again."""
    instance.daemon_cursor_storage.set_cursor_values({_RESUMED: now.astimezone(UTC).isoformat()})


def _waits(tries: Sequence[dg.RunRecord], ask: Ask, now: datetime) -> str:
    """Why there is no further try now; empty: there is."""
    if not tries:
        return ""
    last = tries[0].dagster_run
    if not last.is_finished:
        return f"{ask.datasets[0]} of {ask.window}: after run {last.run_id[:8]}"
    said = f"{ask.datasets[0]} of {ask.window}: run {last.run_id[:8]}, which was to compute it ({ask.reason}),"
    if last.status == dg.DagsterRunStatus.CANCELED:
        return f"{said} was cancelled. To go on: affirm resume"
    if len(tries) >= MOST_TRIES and _window(last) == ask.window:
        how = "failed" if last.status == dg.DagsterRunStatus.FAILURE else "changed nothing"
        return f"{said} {how}, try {len(tries)}. Mend what it says, then: affirm resume"
    ended = datetime.fromtimestamp(tries[0].end_time, UTC) if tries[0].end_time else tries[0].update_timestamp
    again = ended.astimezone(UTC) + _WAITS[min(len(tries), len(_WAITS) - 1)]
    return f"{said} ended at {ended:%H:%M:%S} UTC; again at {again:%H:%M:%S}" if now < again else ""


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def _resumed(instance: dg.DagsterInstance) -> str:
    return instance.daemon_cursor_storage.get_cursor_values({_RESUMED}).get(_RESUMED, "")


def _key(window: Window | None) -> str | None:
    return str(window.first) if window and window.first == window.last else None


def _tags(window: Window | None, kind: Partitions | None) -> Mapping[str, str]:
    if window is None or kind is None or window.first == window.last:
        return {}
    return {_FIRST: str(window.first), _LAST: str(window.last)}


def _window(run: dg.DagsterRun) -> Window | None:
    """What a run computes; None: it does not say."""
    first = run.tags.get(_FIRST) or run.tags.get(_ONE)
    last = run.tags.get(_LAST) or run.tags.get(_ONE)
    if not first or not last:
        return None
    with suppress(ValueError):  # of a job whose partitions are no dates
        return Window(date.fromisoformat(first), date.fromisoformat(last))
    return None
