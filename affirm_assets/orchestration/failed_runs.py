"""What people must know of a run that is over: its failed steps, its failed checks. Pure: events in, alerts out.

No value of a row may get into an alert. Messages of errors hold such values (a cast says which text it could not read,
a failed audit shows keys), so that only those of errors that are known to hold none are shown; of others their class,
and of checks their names and counts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import dagster as dg
from dagster._core.events import JobFailureData
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster_shared.error import SerializableErrorInfo

from affirm_assets import errors
from affirm_assets.orchestration.alerts import Alert
from affirm_assets.orchestration.asking import asked
from affirm_assets.orchestration.checks import COMPUTED_FROM
from resources import iceberg
from resources.checks_by_partition import keys_of
from resources.landing import errors as landing

_WITHOUT_ROWS = {
    kind.__name__
    for kind in (
        errors.AcceptanceRefused,
        errors.AlertsNotSent,
        errors.FilesLost,
        errors.GapRefused,
        errors.InputsNotPublished,
        errors.PublishConflict,
        errors.RecordRefused,
        errors.SchemaChangeRefused,
        errors.StageLost,
        errors.TableNotStageable,
        errors.WindowRefused,
        errors.WrongColumns,
        errors.WrongSession,
        iceberg.CatalogDamaged,
        iceberg.CatalogLost,
        iceberg.CatalogUnreachable,
        iceberg.MetadataUnreadable,
        landing.CorruptLandingFile,
        landing.LandingFileChanged,
        landing.LandingNotReady,
        landing.LandingUnreachable,
        landing.UnknownLandingFile,
    )
}
"""Errors whose messages speak of tables, files, days and counts alone."""

_OF_MACHINES = ("out of memory:", "A disk is full")
"""How a step's failure begins that is the machine's: what MemoryWatch and step_failures say."""

_PASSING = re.compile(r"pod [a-z0-9.-]+|[0-9]+")

_MOST_NAMED = 5

_UNSAID = "Dagster does not say why"

EVENTS = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}
"""What `alerts_of_run` looks at."""


@dataclass(frozen=True)
class Place:
    """Who owns an asset, its code's version, and where people look at things. `ui_url` has no slash at its end."""

    owners: Mapping[dg.AssetKey, str]
    ui_url: str
    version: Callable[[dg.AssetKey], str]

    def run(self, run_id: str) -> str:
        return f"{self.ui_url}/runs/{run_id}"


@dataclass
class _Events:
    """A run's events by what they are of.

    `planned`: a step's assets; `failed`: why a step did; `read`: a digest of what a step read, if its audits failed;
    `day`: of the last event.
    """

    planned: dict[str, list[dg.AssetKey]] = field(default_factory=dict)
    going: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    why: str = _UNSAID
    checks: dict[tuple[dg.AssetKey, str, str | None], dg.AssetCheckEvaluation] = field(default_factory=dict)
    day: date | None = None

    @staticmethod
    def of(entries: Iterable[dg.EventLogEntry]) -> "_Events":
        found = _Events()
        for entry in entries:
            found.day = datetime.fromtimestamp(entry.timestamp, UTC).date()
            if entry.dagster_event:
                found._add(entry.dagster_event)
        return found

    def _add(self, event: dg.DagsterEvent) -> None:
        step = event.step_key or ""
        match event.event_type:
            case dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED if event.asset_key:
                assets = self.planned.setdefault(step, [])
                # One for each partition, unless the instance has none for ranges.
                if event.asset_key not in assets:
                    assets.append(event.asset_key)
            case dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                check = event.asset_check_evaluation_data
                # The last one counts: a step that is tried again says it again.
                self.checks[check.asset_key, check.check_name, check.partition] = check
            case dg.DagsterEventType.STEP_START:
                self.going.add(step)
            case dg.DagsterEventType.STEP_SUCCESS:
                self.going.discard(step)
            case dg.DagsterEventType.STEP_FAILURE:
                self.going.discard(step)
                self.failed[step] = _why_step(event)
                if read := _metadata(event).get(COMPUTED_FROM):
                    self.read[step] = str(read.value)
            case dg.DagsterEventType.RUN_FAILURE:
                # Of a process that died there is a message alone.
                failure = event.event_specific_data
                self.why = reason_of(failure.error if isinstance(failure, JobFailureData) else None, event.message)

    def broken(self, assets: Sequence[dg.AssetKey]) -> list[dg.AssetCheckEvaluation]:
        return [each for each in self.checks.values() if each.asset_key in assets and not each.passed]


def alerts_of_run(run: dg.DagsterRun, entries: Iterable[dg.EventLogEntry], place: Place) -> list[Alert]:
    """Of a run that succeeded or failed: of each failed step; of each other asset of which a check failed."""
    found = _Events.of(entries)
    is_failed = run.status is dg.DagsterRunStatus.FAILURE
    # What was under way when the run's process died has no failure of its own.
    failed = {**dict.fromkeys(sorted(found.going), found.why), **found.failed} if is_failed else {}
    told = {asset for step in failed for asset in found.planned.get(step, [])}
    broken = dict.fromkeys(each.asset_key for each in found.checks.values() if not each.passed)
    return [
        *(_failed_step(run, found, step, why, place) for step, why in failed.items()),
        *(_never_began(run, found, place) if is_failed and not failed else ()),
        *(_checks(run, found, asset, place) for asset in broken if asset not in told),
    ]


def window_of_run(run: dg.DagsterRun) -> str | None:
    """The partition or the range of partitions that it was asked for."""
    first, last = (run.tags.get(tag) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
    if first and last:
        return first if first == last else f"{first}...{last}"
    return run.tags.get(PARTITION_NAME_TAG)


def reason_of(error: SerializableErrorInfo | None, message: str | None = None) -> str:
    """What may be shown of an error, or of the message of an event that has none: that is Dagster's own."""
    if error is None:
        return (message or "").strip().partition("\n")[0] or _UNSAID
    chain = [*_chain(error)]
    if error.cls_name is None:  # an executor's words of a pod; lines of the pod's log may follow
        return error.message.strip().partition("\n")[0]
    known = next((each for each in chain if each.cls_name in _WITHOUT_ROWS), None)
    if known:
        # Dagster puts the class before it, and the class's module.
        return known.message.strip().partition(f"{known.cls_name}: ")[2] or str(known.cls_name)
    return f"{chain[-1].cls_name}; its message may hold values of rows, and is not shown here"


def _chain(error: SerializableErrorInfo) -> Iterator[SerializableErrorInfo]:
    """From what was raised last to what began it."""
    each: SerializableErrorInfo | None = error
    while each is not None:
        yield each
        each = each.cause


def _why_step(event: dg.DagsterEvent) -> str:
    failure = event.step_failure_data
    user = failure.user_failure_data
    said = ((user.description if user else None) or "").partition("\n")[0]
    if said.startswith(_OF_MACHINES):
        return said if said.startswith(_OF_MACHINES[0]) else _OF_MACHINES[1]
    return reason_of(failure.error, event.message)


def _metadata(event: dg.DagsterEvent) -> Mapping[str, dg.MetadataValue[Any]]:
    user = event.step_failure_data.user_failure_data
    return user.metadata if user else {}


def _failed_step(run: dg.DagsterRun, found: _Events, step: str, why: str, place: Place) -> Alert:
    assets = found.planned.get(step, [])
    blocking = [each for each in found.broken(assets) if each.severity is dg.AssetCheckSeverity.ERROR]
    cause = _of_audits(blocking, found.read.get(step, "")) if blocking else _lasting(why)
    return Alert(
        cause=_cause(run, step, cause, assets, place, is_of_input=bool(blocking and step in found.read)),
        title="audits failed" if blocking else "the run failed",
        reason=f"{_said(blocking)}. Readers still see what they saw before." if blocking else why,
        owner=_owner(assets, place),
        dataset=_names(assets) if assets else step,
        window=window_of_run(run),
        link=place.run(run.run_id),
    )


def _cause(
    run: dg.DagsterRun, of: str, why: str, assets: Sequence[dg.AssetKey], place: Place, *, is_of_input: bool = False
) -> str:
    """Of a run that a sensor asked for, the same at each try: a file that fails three times is told of once.

    `is_of_input`: `why` says what was read, whatever else the run was asked for.
    """
    sensor = asked(run)
    if sensor is None:
        return f"run/{run.run_id}/{of}"
    if is_of_input:
        return f"asked/{sensor.since}/{of}/{why}"
    versions = ",".join(map(place.version, sorted(assets)))
    return f"asked/{sensor.since}/{sensor.day}/{_digest(versions)}/{of}/{why}"


def _of_audits(failed: Sequence[dg.AssetCheckEvaluation], read: str) -> str:
    """Names the failure by what failed in the first partition of those, of what was read.

    The next try may be of fewer partitions, of which fewer fail. What fails in others is told once this is mended.
    """
    found = {(next(keys_of(each.partition), "") if each.partition else "", each.check_name) for each in failed}
    first = min(found)[0]
    checks = sorted(name for partition, name in found if partition == first)
    return f"{first}/{_digest(','.join(checks))}/{read}"


def _lasting(why: str) -> str:
    """A digest without what differs at each try: numbers, such as of a process, and the names of pods."""
    return _digest(_PASSING.sub("", why))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _never_began(run: dg.DagsterRun, found: _Events, place: Place) -> Iterator[Alert]:
    """A run without a step to blame: to each owner all that was to be computed."""
    assets = sorted({asset for each in found.planned.values() for asset in each})
    by_owner: dict[str | None, list[dg.AssetKey]] = {}
    for asset in assets:
        by_owner.setdefault(place.owners.get(asset), []).append(asset)
    for owner, owned in (by_owner or {None: []}).items():
        yield Alert(
            cause=_cause(run, owner or "", _lasting(found.why), owned, place),
            title="the run failed",
            reason=found.why,
            owner=owner,
            dataset=_names(owned) or run.job_name,
            window=window_of_run(run),
            link=place.run(run.run_id),
        )


def _checks(run: dg.DagsterRun, found: _Events, asset: dg.AssetKey, place: Place) -> Alert:
    """Of a run that computes the asset, once for the run; else, of a check that runs by itself, once a day."""
    broken = found.broken([asset])
    names = ",".join(sorted({each.check_name for each in broken}))
    is_computed = any(asset in each for each in found.planned.values())
    is_warning = all(each.severity is dg.AssetCheckSeverity.WARN for each in broken)
    check = f"check/{asset.to_user_string()}/{names}"
    return Alert(
        cause=_cause(run, check, "", [asset], place) if is_computed else f"{found.day}/{check}",
        title="checks warn" if is_warning else "checks failed",
        reason=_said(broken),
        owner=place.owners.get(asset),
        dataset=asset.to_user_string(),
        window=window_of_run(run),
        link=place.run(run.run_id),
    )


def _said(checks: Sequence[dg.AssetCheckEvaluation]) -> str:
    """Names and counts, such as `keys_are_unique: 3 of 100 failed (2025-01-03)`; never what a check says of rows."""
    said = [
        f"{each.check_name}{_counts(each)}{f' ({each.partition})' if each.partition else ''}"
        for each in sorted(checks, key=lambda each: (each.check_name, each.partition or ""))
    ]
    more = f" and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    return "; ".join(said[:_MOST_NAMED]) + more


def _counts(check: dg.AssetCheckEvaluation) -> str:
    failed, checked = (check.metadata.get(name) for name in ("failed", "checked"))
    if isinstance(failed, dg.IntMetadataValue) and isinstance(checked, dg.IntMetadataValue):
        return f": {failed.value} of {checked.value} failed"
    return ""


def _owner(assets: Sequence[dg.AssetKey], place: Place) -> str | None:
    return next((place.owners[each] for each in assets if each in place.owners), None)


def _names(assets: Sequence[dg.AssetKey]) -> str:
    names = [each.to_user_string() for each in assets]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
