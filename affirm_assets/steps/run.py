"""One step, from request to result."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import chain
from typing import Protocol

from pyiceberg.table import Table
from pyspark.sql import DataFrame

from affirm_assets.declare.contract import Rule, column_differences, columns, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import StageLost, UnfitForEngine, WrongColumns, WrongSession
from affirm_assets.steps.acceptance import passed_by_people
from affirm_assets.steps.audit import (
    Outcome,
    Question,
    audit_specs,
    control_totals_spec,
    declared_audits,
    declared_question,
    null_question,
    unique_question,
    value_question,
    value_rules,
)
from affirm_assets.steps.audits_failed import AuditsFailed
from affirm_assets.steps.beside import check_beside_unchanged
from affirm_assets.steps.closed import check_open
from affirm_assets.steps.control_totals import Totals, added_up, control_totals_outcome, listed_rows, totals_of_files
from affirm_assets.steps.engine import Days, Engine, NullInRequiredColumn, Staged, Target
from affirm_assets.steps.lineage import ColumnRef
from affirm_assets.steps.manifests import delete_files
from affirm_assets.steps.prerequisites import check_inputs_published, check_no_gap, months_that_go_on
from affirm_assets.steps.publish import (
    Report,
    find_published,
    keep_for_inspection,
    publish,
    read_report,
    report_of,
    summary,
)
from affirm_assets.steps.published import Publication
from affirm_assets.steps.read import Frames
from affirm_assets.steps.request import Pinned, Request, Run, pin
from affirm_assets.steps.scan_size import ScanSize, scan_size
from affirm_assets.steps.shown import Sums, sample_rows, sums_by_partition
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import SUMMARY, ensure_table

Lineage = Mapping[str, frozenset[ColumnRef]]
"""The table columns that each column's values come from; empty for a step that was already published."""

ENGINE = f"{SUMMARY}engine"
"""In a snapshot's summary: which engine computed it, and why that one."""


class Engines(Protocol):
    """The engines that a step may have."""

    def open(self, dataset: Dataset, window: Window | None, size: ScanSize) -> Engine:
        """The one that fits what the step will read, at work for this step alone. Raises EngineMissing."""

    def instead(self, dataset: Dataset, window: Window | None, size: ScanSize, error: UnfitForEngine) -> Engine:
        """Another one, for a step that the first was found unfit for. Raises EngineMissing, or the error itself."""


@dataclass(frozen=True)
class Result:
    """What a step published. `rows` by partition (first day; None: unpartitioned), zeros included; sizes in bytes.

    `engine`: which one computed it, and why that one; `sums` of the dataset's declared columns; `sample`: a few rows,
    masked. These and the lineage are not known of a step that was already published.
    """

    request: Request
    snapshot: int
    rows: Mapping[date | None, int]
    total_rows: int
    added_files: int
    added_bytes: int
    partitions_touched: int
    location: str
    outcomes: tuple[Outcome, ...]
    already_published: bool = False
    engine: str | None = None
    lineage: Lineage = field(default_factory=dict)
    sums: Sums = field(default_factory=dict)
    sample: tuple[Mapping[str, str | None], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Computed:
    staged: Staged
    outcomes: tuple[Outcome, ...]
    lineage: Lineage
    engine: str
    sums: Sums
    sample: tuple[Mapping[str, str | None], ...]


def run_step(
    dataset: Dataset,
    upstream: Mapping[str, Dataset],
    window: Window | None,
    run: Run,
    code_version: str,
    storage: Storage,
    engines: Engines,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Result:
    """Pin, read, transform, stage, audit, publish and report. On AffirmError readers see what they saw before.

    `engines` is asked for one once it is known how much there is to read; not at all if an earlier try has published
    already, or if the window is refused.
    """
    timer = _Timer(clock)
    with timer.part("pin"):
        table = ensure_table(storage.catalog, dataset)
        pinned = pin(dataset, upstream, window, run, code_version, storage, table)
    if earlier := find_published(dataset, pinned.request, table):
        report = read_report(table, earlier)
        return replace(_result(pinned.request, earlier, report, table, timer.seconds), already_published=True)
    check_open(dataset, pinned.request, table)
    check_no_gap(dataset, upstream, pinned)
    check_inputs_published(dataset, upstream, pinned)
    step = _Step(dataset, upstream, pinned, storage, table, timer)
    computed = step.compute(engines)
    if not _may_publish(computed.outcomes):
        raise step.failed(computed)
    with timer.part("publish"):
        check_beside_unchanged(dataset, upstream, pinned, storage)
        notes, passed = {ENGINE: computed.engine}, passed_by_people(dataset, upstream, table, pinned.request)
        publication = publish(
            dataset,
            pinned.request,
            computed.staged,
            computed.outcomes,
            storage,
            now(),
            notes=notes,
            passed=passed,
            partial=months_that_go_on(dataset, upstream, pinned),
        )
    report = report_of(dataset, pinned.request, computed.staged, computed.outcomes, table)
    result = _result(pinned.request, publication, report, table, timer.seconds)
    return replace(
        result,
        lineage=computed.lineage,
        engine=computed.engine,
        sums=computed.sums,
        sample=computed.sample,
    )


@dataclass(frozen=True)
class _Step:
    """What is between the pin and the publish."""

    dataset: Dataset
    upstream: Mapping[str, Dataset]
    pinned: Pinned
    storage: Storage
    table: Table
    timer: "_Timer"

    def compute(self, engines: Engines) -> _Computed:
        """On the engine that fits, or on another if that one finds out that it does not."""
        window = self.pinned.request.window
        with self.timer.part("measure"):
            size = scan_size(self.dataset, self.upstream, self.pinned)
        with self.timer.part("session"):
            engine = engines.open(self.dataset, window, size)
        try:
            return self._compute_on(engine)
        except UnfitForEngine as error:
            with self.timer.part("session"):
                engine = engines.instead(self.dataset, window, size, error)
            return self._compute_on(engine)

    def failed(self, computed: _Computed) -> AuditsFailed:
        try:
            snapshot = keep_for_inspection(self.dataset, self.pinned.request, computed.staged, self.storage)
        except Exception as error:
            # What failed is told in any case.
            lost = f"The refused rows could not be kept to look at: {type(error).__name__}: {error}"
            return AuditsFailed(self.dataset, self.pinned.request, computed.outcomes, lost, None)
        days = self._target.days
        table, where = self.dataset.table, f" WHERE {days.sql}" if days else ""
        kept = (
            f"The refused rows: SELECT * FROM {self.storage.name}.{table} VERSION AS OF {snapshot}{where}\n"
            f"Without Spark, as the README reads tables: .load_table({table!r}).scan(snapshot_id={snapshot}).to_arrow()"
        )
        return AuditsFailed(self.dataset, self.pinned.request, computed.outcomes, kept, snapshot)

    @property
    def _target(self) -> Target:
        request, partitions = self.pinned.request, self.dataset.partitions
        days = None if request.window is None or partitions is None else Days(partitions.column, request.window)
        return Target(self.table, days, request.wap_id, summary(request))

    def _compute_on(self, engine: Engine) -> _Computed:
        frames = Frames(self.dataset, self.upstream, self.pinned, self.storage, engine)
        try:
            with engine.active():
                return self._stage_and_audit(engine, frames)
        finally:
            engine.close()

    def _stage_and_audit(self, engine: Engine, frames: Frames) -> _Computed:
        dataset, target = self.dataset, self._target
        with self.timer.part("transform"):
            rows = conform(dataset, frames.call(dataset.function), engine)
            lineage = _lineage(engine, rows)
        with self.timer.part("check"):
            self._check_audits(engine, frames)
        try:
            with self.timer.part("stage"):
                staged = engine.stage(rows, target)
        except NullInRequiredColumn:
            kept = "Nothing was staged, since such rows cannot be written at all."
            (nulls,) = _outcomes(engine, [null_question(dataset, rows)])
            raise AuditsFailed(dataset, self.pinned.request, tuple(nulls), kept, None) from None
        with self.timer.part("audit"), self._let_go_if_it_fails(staged), engine.active():
            frame = engine.look(staged, target, spark_schema(dataset.contract))
            totals = totals_of_files(staged.files, list(staged.sums), self.table.io)
            values, *others = _outcomes(engine, (ask() for ask in self._questions(frames, frame, staged.rows)))
            reported = {each.name: place for place, each in enumerate(audit_specs(dataset))}
            outcomes = (
                *self._values(values, rows, staged, engine),
                self._control_totals(staged, totals),
                *sorted(chain.from_iterable(others), key=lambda each: reported[each.name]),
            )
            engine.check_inputs()
        with self.timer.part("sample"):
            sample = sample_rows(dataset, self.table, staged.files, frame) if _may_publish(outcomes) else ()
        sums = sums_by_partition(dataset, self.table, staged.files, totals)
        notes = f" ({engine.notes})" if engine.notes else ""
        return _Computed(staged, outcomes, lineage, f"{engine.name}: {engine.why}{notes}", sums, sample)

    def _check_audits(self, engine: Engine, frames: Frames) -> None:
        """An engine that is unfit for an audit is given up before the rows are computed, and not after."""
        nothing = engine.empty(spark_schema(self.dataset.contract))
        engine.check(partial(_query_of, ask) for ask in self._questions(frames, nothing, 0))

    @contextmanager
    def _let_go_if_it_fails(self, staged: Staged) -> Iterator[None]:
        """Files that are in no snapshot are removed, as far as it goes, if nobody will commit or look at them."""
        try:
            yield
        except BaseException:
            if staged.snapshot is None:
                delete_files(self.table.io, [file.file_path for file in staged.files])
            raise

    def _questions(self, frames: Frames, looked_at: DataFrame, rows: int) -> Iterator[Callable[[], Question]]:
        """What makes each question that the audits ask of the staged rows, so many."""
        yield partial(value_question, self.dataset, self._value_rules, looked_at)
        yield partial(unique_question, self.dataset, looked_at, rows)
        # Of these, what is carried comes first: it takes longest. Sail has two queries at work at a time, and if the
        # longest came last, a core would be idle beside it.
        for each in sorted(declared_audits(self.dataset), key=lambda each: each.in_sum is None):
            yield partial(declared_question, self.dataset, each, frames, looked_at)

    @property
    def _value_rules(self) -> Sequence[Rule]:
        return value_rules(self.dataset, self.pinned.request.window)

    def _values(self, found: list[Outcome], rows: DataFrame, staged: Staged, engine: Engine) -> list[Outcome]:
        """What was found of the staged rows. If not as many were found as were staged: of the transform's result."""
        if all(each.checked == staged.rows for each in found):
            return found
        # Rows of other days are found in the transform's result, and not by looking at the window's days.
        (outcomes,) = _outcomes(engine, [value_question(self.dataset, self._value_rules, rows)])
        if all(each.passed for each in outcomes):
            raise StageLost(
                f"{self.dataset} {self.pinned.request.window_text}: expected the {staged.rows} rows that were staged, "
                "found others in the staged files. Nothing was published; run the step again."
            )
        return outcomes

    def _control_totals(self, staged: Staged, of_files: Sequence[Totals]) -> Outcome:
        found = added_up(of_files, list(staged.sums))
        return control_totals_outcome(control_totals_spec(self.dataset), staged, listed_rows(staged.files), found)


def _outcomes(engine: Engine, questions: Iterable[Question]) -> list[list[Outcome]]:
    """What each question tells, in the order of the questions."""
    asked: list[Question] = []

    def queries() -> Iterator[DataFrame]:
        for each in questions:
            asked.append(each)
            yield each.query

    answers = engine.answers(queries())
    return [each.outcomes(row) for each, row in zip(asked, answers, strict=True)]


def _query_of(ask: Callable[[], Question]) -> DataFrame:
    return ask().query


def _may_publish(outcomes: Iterable[Outcome]) -> bool:
    return all(each.passed or not each.blocking for each in outcomes)


def conform(dataset: Dataset, result: DataFrame, engine: Engine) -> DataFrame:
    """The contract's columns in the contract's order. Raises WrongColumns or WrongSession; casts and drops nothing."""
    if not engine.owns(result):
        raise WrongSession(str(dataset))
    if differences := column_differences(dataset.contract, result.schema):
        raise WrongColumns(str(dataset), dataset.contract.__name__, differences)
    return result.select([spec.name for spec in columns(dataset.contract)])


def _lineage(engine: Engine, rows: DataFrame) -> Lineage:
    """Lineage is a report: a plan that it cannot read must not keep rows from being published."""
    try:
        return engine.lineage(rows)
    except (LookupError, TypeError, ValueError, AttributeError):
        return {}


def _result(
    request: Request, publication: Publication, report: Report | None, table: Table, seconds: Mapping[str, float]
) -> Result:
    return Result(
        request=request,
        snapshot=publication.snapshot,
        rows=report.rows if report else {},
        total_rows=publication.total_rows,
        added_files=report.files if report else 0,
        added_bytes=report.bytes if report else 0,
        partitions_touched=sum(1 for rows in report.rows.values() if rows) if report else 0,
        location=table.location(),
        outcomes=report.outcomes if report else (),
        seconds=dict(seconds),
    )


class _Timer:
    """Seconds of each part of the step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start
