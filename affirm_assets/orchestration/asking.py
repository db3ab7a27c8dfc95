"""From what should be computed to a run of Dagster: each asked for a few times at most, for one cause."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import RETRY_NUMBER_TAG

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Partitions, Window
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.orchestration.plan import Ask, first_part

CAUSE, REASON = "affirm/cause", "affirm/reason"
"""Tags of a run that a sensor asked for: a digest of why, by which its tries are counted; and why in words."""

_DAY, _SINCE = "affirm/day", "affirm/since"
"""Tags of such a run, by which people are told of a failure once: a digest of its first day and of what was there of
it, which is the same in each try though what the first one published is left out; and when somebody resumed last."""

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
            found.append(Ask(tuple(computed), window_asked(run.tags), f"run {run.run_id[:8]}", run.run_id))
    return found


@dataclass(frozen=True)
class State:
    """What a try depends on beside its window and its trigger: other code or files may make it succeed.

    `code`: the versions of the datasets; `day`: the files of the window's first day, what was accepted of them, and the
    last publications of inputs that no try of it computes; `inputs`: those that a first try may have published itself.
    """

    code: Sequence[str] = ()
    day: Sequence[str] = ()
    inputs: Sequence[str] = ()


@dataclass(frozen=True)
class NotNow:
    """Why nothing is asked for now. `is_given_up`: it was tried so often that a person must act."""

    why: str
    is_given_up: bool = False


@dataclass(frozen=True)
class Asked:
    """What a run that a sensor asked for says of why: of two with the same `day` and `since`, people are told once."""

    day: str
    since: str


def run_request(
    instance: dg.DagsterInstance,
    ask: Ask,
    datasets: Mapping[str, Dataset],
    state: State,
    now: datetime,
    tags: Mapping[str, str],
) -> dg.RunRequest | NotNow:
    """The next try of what is asked, or why there is none now. `tags`: further ones of the run.

    Of another state there are tries anew, and so there are after a resume: a person acted, and is told if it fails
    again.
    """
    day = [str(ask.window.first if ask.window else None), *state.day]
    since = _resumed(instance)
    cause = _digest([ask.trigger, *day, *state.code, *state.inputs, since])
    newest_first = instance.get_run_records(dg.RunsFilter(tags={CAUSE: cause}))
    records = [each for each in newest_first if not _is_by_hand(each.dagster_run)]
    kind = datasets[ask.datasets[0]].partitions
    ask = first_part(ask, kind, len(records))
    if waits := _waits(records, ask, now):
        return waits
    return dg.RunRequest(
        # By the try before it: a daemon that was killed in a tick asks for the same one again, and Dagster sees that.
        run_key=f"{cause}/{records[0].dagster_run.run_id if records else 'first'}",
        asset_selection=[asset_key(datasets[name]) for name in ask.datasets],
        tags={CAUSE: cause, REASON: ask.reason, _DAY: _digest(day), _SINCE: since, **tags, **_tags(ask.window, kind)},
        partition_key=_key(ask.window),
    )


def asked(run: dg.DagsterRun) -> Asked | None:
    """None: a person started the run. One that somebody executes again in the UI has the tags of the one before."""
    is_by_sensor = {CAUSE, _DAY, _SINCE} <= run.tags.keys() and not _is_by_hand(run)
    return Asked(run.tags[_DAY], run.tags[_SINCE]) if is_by_sensor else None


def _is_by_hand(run: dg.DagsterRun) -> bool:
    return bool(run.parent_run_id) and RETRY_NUMBER_TAG not in run.tags


def resume(instance: dg.DagsterInstance, now: datetime) -> None:
    """Failed runs of before count no more: what they were to compute is asked for again."""
    instance.daemon_cursor_storage.set_cursor_values({_RESUMED: now.astimezone(UTC).isoformat()})


def _waits(tries: Sequence[dg.RunRecord], ask: Ask, now: datetime) -> NotNow | None:
    """Why there is no further try now; None: there is."""
    if not tries:
        return None
    last = tries[0].dagster_run
    if not last.is_finished:
        return NotNow(f"{ask.datasets[0]} of {ask.window}: after run {last.run_id[:8]}")
    said = f"{ask.datasets[0]} of {ask.window}: run {last.run_id[:8]}, which was to compute it ({ask.reason}),"
    if last.status == dg.DagsterRunStatus.CANCELED:
        return NotNow(f"{said} was cancelled. To go on: affirm resume")
    if len(tries) >= MOST_TRIES and window_asked(last.tags) == ask.window:
        how = "failed" if last.status == dg.DagsterRunStatus.FAILURE else "changed nothing"
        return NotNow(f"{said} {how}, try {len(tries)}. Mend what it says, then: affirm resume", is_given_up=True)
    ended = datetime.fromtimestamp(tries[0].end_time, UTC) if tries[0].end_time else tries[0].update_timestamp
    again = ended.astimezone(UTC) + _WAITS[min(len(tries), len(_WAITS) - 1)]
    return NotNow(f"{said} ended at {ended:%H:%M:%S} UTC; again at {again:%H:%M:%S}") if now < again else None


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


def window_asked(tags: Mapping[str, str]) -> Window | None:
    """What a run with these tags computes; None: it does not say."""
    first = tags.get(_FIRST) or tags.get(_ONE)
    last = tags.get(_LAST) or tags.get(_ONE)
    if not first or not last:
        return None
    with suppress(ValueError):  # of a job whose partitions are no dates
        return Window(date.fromisoformat(first), date.fromisoformat(last))
    return None
