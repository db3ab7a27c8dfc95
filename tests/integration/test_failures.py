"""Steps that must fail: which message Dagster shows, what is recorded, and that no reader sees anything of it."""

import gzip
import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from pyiceberg.exceptions import NoSuchTableError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets import datasets as project
from affirm_assets.declare.contract import Contract, Money, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset, audit
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.engines.sail import SailEngine
from affirm_assets.errors import AffirmError, StageLost, WindowRefused
from affirm_assets.steps.engine import Staged, Target
from affirm_assets.steps.request import Run
from resources.iceberg import IcebergCatalog
from resources.landing import LandingFile, LandingZone
from resources.sail import SailSessions
from resources.spark import SparkSessions
from tests.conftest import declare
from tests.integration.books import Books, jsonl, loan
from tests.storage import StorageWithEngine, run_in


def execute(
    books: Books,
    select: str,
    day: date,
    *,
    registry: Registry | None = None,
    landing_zone: LandingZone | None = None,
    max_retries: int = 0,
) -> dg.ExecuteInProcessResult:
    """A run like those of Books, with other datasets or another landing zone; failing is no error of the test."""
    overrides = {"spark": books.sessions, **({"landing_zone": landing_zone} if landing_zone else {})}
    defs = build_defs(books.settings, registry, overrides)
    keys = [dg.AssetKey(name.split("/")) for name in select.split(",")]
    policy = dg.RetryPolicy(max_retries=max_retries) if max_retries else None
    job = dg.define_asset_job("books", selection=dg.AssetSelection.assets(*keys), op_retry_policy=policy)
    resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("books")
    return resolved.execute_in_process(instance=books.instance, raise_on_error=False, partition_key=str(day))


def published(books: Books, table: str) -> int | None:
    """The snapshot that readers see."""
    settings = books.settings
    catalog = IcebergCatalog(uri=settings.catalog_uri, warehouse=settings.warehouse).load()
    try:
        current = catalog.load_table(table).current_snapshot()
    except NoSuchTableError:
        return None
    return current.snapshot_id if current else None


def steps_with(result: dg.ExecuteInProcessResult, event_type: str) -> list[str | None]:
    return [event.step_key for event in result.all_events if event.event_type_value == event_type]


def messages(result: dg.ExecuteInProcessResult) -> str:
    """What Dagster shows of the failed step: its error and the errors that caused it."""

    def chain() -> Iterator[str]:
        (failure,) = (event for event in result.all_events if event.is_step_failure)
        error = failure.step_failure_data.error
        while error is not None:
            yield error.message
            error = error.cause

    return "\n".join(chain())


def recorded_check(books: Books, dataset: str, check: str) -> AssetCheckExecutionRecord:
    """The last execution of a check that the instance keeps."""
    key = dg.AssetCheckKey(dg.AssetKey(dataset.split("/")), check)
    (record,) = books.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return record


def evaluation(record: AssetCheckExecutionRecord) -> dg.AssetCheckEvaluation:
    assert record.event is not None
    assert record.event.dagster_event is not None
    return record.event.dagster_event.asset_check_evaluation_data


def sample(record: AssetCheckExecutionRecord) -> list[Mapping[str, Any]]:
    metadata = evaluation(record).metadata
    value = metadata["constraints" if "constraints" in metadata else "sample"]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(row.data) for row in value.records]


@dataclass(frozen=True)
class Attempt:
    """A run that was made to fail, and the snapshots of the tables it works on before and after."""

    result: dg.ExecuteInProcessResult
    before: Mapping[str, int | None]
    after: Mapping[str, int | None]


def attempt(books: Books, select: str, day: date, **options: Any) -> Attempt:
    tables = [name.replace("/", ".") for name in select.split(",")]
    before = {table: published(books, table) for table in tables}
    result = execute(books, select, day, **options)
    return Attempt(result, before, {table: published(books, table) for table in tables})


# Files that cannot be read: each on a day of its own, beside a good file.

GOOD_DAY = date(2025, 1, 1)


def loans_of(day: date) -> bytes:
    return jsonl([loan(loan_id=f"L{day}", originated_on=str(day), first_due_on="2025-02-15")])


def corrupt_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([loan()]), sink)
    content = bytearray(sink.getvalue())
    content[4:40] = b"\xff" * 36  # the first page; the footer at the end stays whole
    return bytes(content)


@dataclass(frozen=True)
class BadFolder:
    """`files`: what is bad, none if that is the folder; `says`: what the error must."""

    name: str
    day: date
    says: tuple[str, ...]
    files: Mapping[str, bytes]
    lands: bool = True
    complete: bool = True
    changes: str | None = None


BAD_FOLDERS = (
    BadFolder(
        "without _SUCCESS",
        date(2025, 1, 2),
        ("landing feed 'loans'", "2025-01-02: no _SUCCESS in ", "/landing/loans/2025-01-02", "Wait for the sender"),
        {},
        complete=False,
    ),
    BadFolder(
        "missing",
        date(2025, 1, 3),
        ("landing feed 'loans'", "2025-01-03: no folder ", "/landing/loans/2025-01-03", "Wait for the sender"),
        {},
        lands=False,
    ),
    BadFolder(
        "truncated gzip",
        date(2025, 1, 4),
        ("landing file loans/2025-01-04/bad.jsonl.gz", "complete gzip archive", "truncated", "Land the file again"),
        {"bad.jsonl.gz": gzip.compress(jsonl([loan()] * 100))[:-20]},
    ),
    BadFolder(
        "corrupt Parquet",
        date(2025, 1, 5),
        ("landing file loans/2025-01-05/bad.parquet", "readable Parquet file", "damaged", "Land the file again"),
        {"bad.parquet": corrupt_parquet()},
    ),
    BadFolder(
        "no Parquet at all",
        date(2025, 1, 6),
        ("landing file loans/2025-01-06/bad.parquet", "readable Parquet file", "damaged", "Land the file again"),
        {"bad.parquet": jsonl([loan()])},
    ),
    BadFolder(
        "unknown ending",
        date(2025, 1, 7),
        ("/landing/loans/2025-01-07/bad.xlsx", "a name that ends in .jsonl", "Convert or remove the file"),
        {"bad.xlsx": b"PK"},
    ),
    BadFolder(
        "folder in it",
        date(2025, 1, 8),
        ("/landing/loans/2025-01-08/bad'", "a folder", "Rename or remove it"),
        {"bad/inner.jsonl": jsonl([loan()])},
    ),
    BadFolder(
        "file that changes",
        date(2025, 1, 9),
        ("landing file loans/2025-01-09/good.jsonl, which changed since it was pinned", "sha256", "Run the step again"),
        {},
        changes="good.jsonl",
    ),
)
LAST_BAD_DAY = BAD_FOLDERS[-1].day
LANDED = "landing/loan_rows,loans/loans"


@dataclass(frozen=True)
class ChangingZone(LandingZone):
    """A sender that rewrites a file, at the same length, between the pin and the read."""

    changes: str = ""

    def pin(self, feed: str, first: date, last: date) -> tuple[LandingFile, ...]:
        pinned = super().pin(feed, first, last)
        path = Path(self.root, feed, str(first), self.changes)
        path.write_bytes(path.read_bytes().replace(b'"CA"', b'"NY"'))
        return pinned


@pytest.fixture(scope="module")
def books(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """One good day is published."""
    books = Books(tmp_path_factory.mktemp("failures"), spark_if_needed)
    refused = jsonl([loan(loan_id="refused", currency="EUR")])
    books.land("loans", GOOD_DAY, {"good.jsonl": loans_of(GOOD_DAY), "refused.jsonl": refused})
    books.materialize(f"{LANDED},loans/rejected_loans,portfolio/originations_daily", GOOD_DAY)
    return books


@pytest.fixture(scope="module")
def bad_runs(books: Books) -> dict[str, Attempt]:
    attempts = {}
    for folder in BAD_FOLDERS:
        if folder.lands:
            path = books.landing / "loans" / str(folder.day)
            books.land("loans", folder.day, {"good.jsonl": loans_of(folder.day)}, complete=folder.complete)
            for name, content in folder.files.items():
                (path / name).parent.mkdir(exist_ok=True)
                (path / name).write_bytes(content)
        zone = ChangingZone(books.settings.landing, changes=folder.changes) if folder.changes else None
        attempts[folder.name] = attempt(books, LANDED, folder.day, landing_zone=zone)
    return attempts


@pytest.fixture(scope="module")
def mended(books: Books, bad_runs: dict[str, Attempt]) -> dg.ExecuteInProcessResult:
    """All folders are put right, and their days run at once."""
    for folder in BAD_FOLDERS:
        path = books.landing / "loans" / str(folder.day)
        for name in folder.files:
            (path / name).unlink()
            if (path / name).parent != path:
                (path / name).parent.rmdir()
        books.land("loans", folder.day, {"good.jsonl": loans_of(folder.day)})
    return books.materialize(LANDED, GOOD_DAY, LAST_BAD_DAY)


BY_FOLDER = pytest.mark.parametrize("folder", BAD_FOLDERS, ids=lambda folder: folder.name)


@BY_FOLDER
def test_a_folder_that_cannot_be_read_fails_its_step_by_name_and_says_what_to_do(
    bad_runs: dict[str, Attempt], folder: BadFolder
) -> None:
    result = bad_runs[folder.name].result
    assert not result.success
    assert steps_with(result, "STEP_FAILURE") == ["landing__loan_rows"]
    shown = messages(result)
    assert [text for text in folder.says if text not in shown] == []


@BY_FOLDER
def test_nothing_of_a_folder_that_cannot_be_read_is_published(bad_runs: dict[str, Attempt], folder: BadFolder) -> None:
    found = bad_runs[folder.name]
    assert None not in found.before.values()
    assert found.after == found.before
    assert steps_with(found.result, "ASSET_MATERIALIZATION") == []


@BY_FOLDER
def test_what_reads_a_step_that_failed_is_not_run(bad_runs: dict[str, Attempt], folder: BadFolder) -> None:
    assert steps_with(bad_runs[folder.name].result, "STEP_START") == ["landing__loan_rows"]


@BY_FOLDER
def test_a_mended_folder_is_booked_by_a_later_run(
    books: Books, mended: dg.ExecuteInProcessResult, folder: BadFolder
) -> None:
    assert mended.success
    booked = [row["loan_id"] for row in books.rows("loans.loans") if row["booked_on"] == folder.day]
    assert booked == [f"L{folder.day}"]


# Transforms of this project that lose or invent something: its own audits stop them.


def without_first(function: Callable[[DataFrame], DataFrame]) -> Callable[[DataFrame], DataFrame]:
    def transform(loan_fates: DataFrame) -> DataFrame:
        return function(loan_fates).where("NOT file RLIKE '2025-01-01'")

    return transform


def a_cent_more(function: Callable[[DataFrame], DataFrame], source: str) -> Callable[..., DataFrame]:
    def add(frame: DataFrame) -> DataFrame:
        return frame.withColumn("principal", (F.col("principal") + F.lit(Decimal("0.01"))).cast("decimal(18,2)"))

    if source == "loans":
        return lambda loans: add(function(loans))
    return lambda originations_daily: add(function(originations_daily))


WRONG_TRANSFORMS: Mapping[str, tuple[Callable[[Callable[..., DataFrame]], Callable[..., DataFrame]], str]] = {
    "loans": (without_first, "every_record_is_accounted_for"),
    "rejected_loans": (without_first, "every_record_is_accounted_for"),
    "originations_daily": (lambda function: a_cent_more(function, "loans"), "totals_equal_the_loans"),
    "originations_monthly": (lambda function: a_cent_more(function, "originations_daily"), "totals_equal_the_days"),
}


def test_a_sum_that_the_files_do_not_hold_is_a_red_check_of_a_failed_step(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged_by = SailEngine.stage

    def a_cent_more_than_the_files_hold(engine: SailEngine, rows: DataFrame, target: Target) -> Staged:
        staged = staged_by(engine, rows, target)
        return replace(staged, sums={name: each + Decimal("0.01") for name, each in staged.sums.items()})

    monkeypatch.setattr(SailEngine, "stage", a_cent_more_than_the_files_hold)
    found = attempt(books, "loans/loans", GOOD_DAY)
    assert not found.result.success
    assert "nothing was published, as control_totals failed" in messages(found.result)
    assert None not in found.before.values()
    assert found.after == found.before
    assert steps_with(found.result, "ASSET_MATERIALIZATION") == []
    check = recorded_check(books, "loans/loans", "control_totals")
    assert not evaluation(check).passed
    assert evaluation(check).severity == dg.AssetCheckSeverity.ERROR
    by_total = {row["total"]: Decimal(row["engine"]) - Decimal(row["files"]) for row in sample(check)}
    assert set(by_total.values()) == {Decimal("0.01")}
    assert "principal" in by_total


@pytest.mark.parametrize("name", WRONG_TRANSFORMS)
def test_a_transform_that_loses_a_record_or_adds_a_cent_is_stopped_by_its_audit(books: Books, name: str) -> None:
    wrong, check = WRONG_TRANSFORMS[name]
    registry = Registry.walk(project)
    dataset = registry[name]
    changed = replace(dataset, function=wrong(dataset.function), source=Path(__file__))
    registry = Registry.of([changed if each is dataset else each for each in registry.datasets.values()])
    found = attempt(books, str(dataset), GOOD_DAY, registry=registry)
    assert not found.result.success
    assert f"{check}: 1 of " in messages(found.result)
    record = evaluation(recorded_check(books, str(dataset), check))
    assert not record.passed
    assert record.severity == dg.AssetCheckSeverity.ERROR
    assert record.metadata["failed"].value == 1
    assert found.after == found.before
    assert steps_with(found.result, "ASSET_MATERIALIZATION") == []


# Datasets made up for what a contract and its audits refuse.


class Amount(Contract):
    """An amount of a day."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount", ge=0)


class Count(Contract):
    """The same with another type, and without a column."""

    id: str = key("Id")
    amount: int = column("Amount", ge=0)
    day: date = column("Business date")
    currency: str = column("Currency")


class Total(Contract):
    """The amounts of a day."""

    day: date = key("Business date")
    amount: Money = column("Amount")


DAY = date(2025, 1, 1)
KEYS = "tests/amounts,tests/totals"


def amounts_of(*rows: tuple[str, str | None], **over: Any) -> Dataset:
    def amounts() -> DataFrame:
        typed = [(name, DAY, None if amount is None else Decimal(amount)) for name, amount in rows]
        schema = spark_schema(Amount)
        for each in schema.fields:
            each.nullable = True  # what a transform's result mostly is
        return SparkSession.active().createDataFrame(typed, schema)

    return replace(declare(amounts, Amount, Daily("day"), **over), source=Path(__file__))


def totals(amounts: DataFrame) -> DataFrame:
    return amounts.groupBy("day").agg(F.sum("amount").cast("decimal(18,2)").alias("amount"))


def registry_of(amounts: Dataset) -> Registry:
    return Registry.of([amounts, replace(declare(totals, Total, Daily("day")), source=Path(__file__))])


@audit()
def amounts_are_below_100(staged: DataFrame) -> DataFrame:
    """No amount of 100 or more."""
    return staged.select("id", "amount", (F.col("amount") < 100).alias("ok"))


@audit(blocking=False)
def amounts_are_round(staged: DataFrame) -> DataFrame:
    """Whole amounts."""
    return staged.select("id", "amount", (F.col("amount") % 1 == 0).alias("ok"))


GOOD_AMOUNTS = amounts_of(("a", "1.00"), ("b", "2.00"), audits=(amounts_are_below_100, amounts_are_round))


def wrong_columns(**columns: str) -> Dataset:
    def amounts() -> DataFrame:
        return SparkSession.active().range(1).selectExpr(*(f"{sql} AS {name}" for name, sql in columns.items()))

    return replace(GOOD_AMOUNTS, function=amounts)


def unanswered() -> DataFrame:
    raise OSError("the service did not answer")


@dataclass(frozen=True)
class Refused:
    """A change of a dataset that its step must refuse; `says`: what the error must."""

    name: str
    dataset: Dataset
    says: tuple[str, ...]
    checks: Mapping[str, tuple[int, int, list[Mapping[str, Any]]]]  # failed ones: checked, failed, sample
    retried: bool = False


def constraint(name: str, rule: str, checked: int, failed: int, keys: str = "") -> Mapping[str, str]:
    """A row of the table of constraints."""
    return {"constraint": name, "rule": rule, "checked": str(checked), "failed": str(failed), "keys": keys}


REFUSED = (
    Refused(
        "contract that changed",
        replace(GOOD_AMOUNTS, contract=Count, audits=()),
        (
            "tests.amounts: the contract differs from the table",
            "column currency (string) is new and not nullable",
            "column amount: the table has decimal(18, 2), the contract long",
            "Restore the contract, or migrate the table",
        ),
        {},
    ),
    Refused(
        "transform of wrong columns",
        wrong_columns(id="'a'", day=f"DATE'{DAY}'", amount=f"DATE'{DAY}'", note="''"),
        (
            "tests/amounts: the transform's result does not fit Amount",
            "extra column note (string)",
            "column amount: expected decimal(18,2), found date",
            "Select, rename and cast in the transform",
        ),
        {},
    ),
    Refused(
        "error that may pass",
        replace(GOOD_AMOUNTS, function=unanswered),
        ("the service did not answer",),
        {},
        retried=True,
    ),
    Refused(
        "failed audit of the contract",
        replace(GOOD_AMOUNTS, function=amounts_of(("a", "-1.00"), ("b", "2.00"), ("c", "-3.00")).function),
        ("nothing was published, as amount_ge failed in 2025-01-01", "amount_ge: 2 of 3 failed", "VERSION AS OF"),
        {
            "contract": (
                3,
                2,
                [
                    constraint("amount_ge", "amount >= 0", 3, 2, "id=a, day=2025-01-01; id=c, day=2025-01-01"),
                    constraint("not_null", "never null: id, day, amount", 3, 0),
                    constraint("in_window", "day is a partition of the window that was computed", 3, 0),
                ],
            )
        },
    ),
    Refused(
        "failed audit of its own",
        replace(GOOD_AMOUNTS, function=amounts_of(("a", "99.99"), ("b", "100.00")).function),
        ("amounts_are_below_100: 1 of 2 failed (No amount of 100 or more.)", "VERSION AS OF"),
        {
            "amounts_are_below_100": (2, 1, [{"id": "b", "amount": "100.00"}]),
            "amounts_are_round": (2, 1, [{"id": "a", "amount": "99.99"}]),
        },
    ),
    Refused(
        "repeated key",
        replace(GOOD_AMOUNTS, function=amounts_of(("a", "1.00"), ("b", "2.00"), ("a", "3.00")).function),
        ("keys_are_unique: 1 of 3 failed (One row for each id, day.)",),
        {"keys_are_unique": (3, 1, [{"id": "a", "day": "2025-01-01", "rows": "2"}])},
    ),
    Refused(
        "null in a required column",
        replace(GOOD_AMOUNTS, function=amounts_of(("a", "1.00"), ("b", None)).function),
        ("not_null: 1 of 2 failed", "Nothing was staged"),
        {
            "contract": (
                2,
                1,
                [constraint("not_null", "never null: id, day, amount", 2, 1, "id=b, day=2025-01-01")],
            )
        },
    ),
)
BY_REFUSED = pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.name)


@pytest.fixture(scope="module")
def small_books(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Books:
    books = Books(tmp_path_factory.mktemp("refused"), spark_if_needed)
    assert execute(books, KEYS, DAY, registry=registry_of(GOOD_AMOUNTS)).success
    return books


@pytest.fixture(scope="module")
def refusals(small_books: Books) -> dict[str, tuple[Attempt, Mapping[str, AssetCheckExecutionRecord]]]:
    """Each refused step, in a job that would try it twice, with its failed checks as the instance has them then."""
    found = {}
    for each in REFUSED:
        run = attempt(small_books, KEYS, DAY, registry=registry_of(each.dataset), max_retries=1)
        checks = {check: recorded_check(small_books, "tests/amounts", check) for check in each.checks}
        found[each.name] = run, checks
    return found


@BY_REFUSED
def test_a_step_that_is_refused_says_why_and_what_to_do(refusals: dict[str, Any], refused: Refused) -> None:
    run, _ = refusals[refused.name]
    assert not run.result.success
    assert steps_with(run.result, "STEP_FAILURE") == ["tests__amounts"]
    shown = messages(run.result)
    assert [text for text in refused.says if text not in shown] == []


@BY_REFUSED
def test_a_step_that_is_refused_publishes_nothing(refusals: dict[str, Any], refused: Refused) -> None:
    run, _ = refusals[refused.name]
    assert None not in run.before.values()
    assert run.after == run.before
    assert steps_with(run.result, "ASSET_MATERIALIZATION") == []


@BY_REFUSED
def test_what_reads_a_refused_step_is_not_run(refusals: dict[str, Any], refused: Refused) -> None:
    run, _ = refusals[refused.name]
    assert set(steps_with(run.result, "STEP_START")) == {"tests__amounts"}


@pytest.mark.parametrize("refused", [each for each in REFUSED if each.checks], ids=lambda refused: refused.name)
def test_a_failed_audit_is_recorded_with_counts_and_a_sample(refusals: dict[str, Any], refused: Refused) -> None:
    run, checks = refusals[refused.name]
    for name, (checked, failed, rows) in refused.checks.items():
        assert checks[name].run_id == run.result.run_id
        found = evaluation(checks[name])
        assert not found.passed
        assert (found.metadata["checked"].value, found.metadata["failed"].value) == (checked, failed)
        assert sample(checks[name]) == rows
    failed_checks = {each.check_name for each in run.result.get_asset_check_evaluations() if not each.passed}
    assert failed_checks == set(refused.checks)


def test_what_is_refused_is_not_tried_again_where_an_error_that_may_pass_is(refusals: dict[str, Any]) -> None:
    """Bad data does not get better by waiting. The other error shows that the job's retry policy is in force."""
    retried = {
        each.name: steps_with(refusals[each.name][0].result, "STEP_UP_FOR_RETRY") == ["tests__amounts"]
        for each in REFUSED
    }
    assert retried == {each.name: each.retried for each in REFUSED}


def test_after_refusals_a_mended_dataset_is_published(small_books: Books, refusals: dict[str, Any]) -> None:
    mended = replace(GOOD_AMOUNTS, function=amounts_of(("a", "1.00"), ("c", "5.00")).function)
    assert execute(small_books, KEYS, DAY, registry=registry_of(mended)).success
    assert [row["id"] for row in small_books.rows("tests.amounts")] == ["a", "c"]
    assert [row["amount"] for row in small_books.rows("tests.totals")] == [Decimal("6.00")]


def test_an_audit_that_does_not_block_warns_and_publishes(small_books: Books, refusals: dict[str, Any]) -> None:
    uneven = replace(GOOD_AMOUNTS, function=amounts_of(("a", "1.50"), ("b", "2.00")).function)
    result = execute(small_books, KEYS, DAY, registry=registry_of(uneven))
    assert result.success
    assert steps_with(result, "ASSET_MATERIALIZATION") == ["tests__amounts", "tests__totals"]
    record = recorded_check(small_books, "tests/amounts", "amounts_are_round")
    found = evaluation(record)
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert (found.metadata["checked"].value, found.metadata["failed"].value) == (2, 1)
    assert sample(record) == [{"id": "a", "amount": "1.50"}]
    assert [row["amount"] for row in small_books.rows("tests.totals")] == [Decimal("3.50")]


# Steps that say "run the step again": Dagster does, twice at most.


def publish_theirs(books: Books) -> None:
    """What another run would do: publish DAY of `amounts`."""
    settings, run = books.settings, f"theirs{published(books, 'tests.amounts')}"
    catalog = IcebergCatalog(uri=settings.catalog_uri, warehouse=settings.warehouse)
    opens = partial(SailEngine, SailSessions().open, "another run's")
    storage = StorageWithEngine(catalog.load(), LandingZone(settings.landing), opens=opens)
    run_in(storage, amounts_of(("theirs", "9.00")), {}, Window(DAY, DAY), Run(run, run))


def disturbed(disturb: Callable[[], None], times: int) -> Dataset:
    """The good amounts; something happens while they are computed, the first `times` times."""
    tries = itertools.count()

    def amounts() -> DataFrame:
        rows = GOOD_AMOUNTS.function()
        if next(tries) < times:
            disturb()
        return rows

    return replace(GOOD_AMOUNTS, function=amounts)


def test_a_step_that_was_overtaken_is_run_again_on_the_present_state(small_books: Books) -> None:
    overtaken = disturbed(lambda: publish_theirs(small_books), times=1)
    result = execute(small_books, KEYS, DAY, registry=registry_of(overtaken))
    assert result.success
    assert steps_with(result, "STEP_UP_FOR_RETRY") == ["tests__amounts"]
    assert [row["id"] for row in small_books.rows("tests.amounts")] == ["a", "b"]
    checks = [each.check_name for each in result.get_asset_check_evaluations() if each.asset_key.path[-1] == "amounts"]
    assert len(checks) == len(set(checks))
    assert steps_with(result, "ASSET_MATERIALIZATION") == ["tests__amounts", "tests__totals"]


def test_a_step_that_is_overtaken_again_and_again_fails_and_says_by_whom(small_books: Books) -> None:
    overtaken = disturbed(lambda: publish_theirs(small_books), times=3)
    result = execute(small_books, KEYS, DAY, registry=registry_of(overtaken))
    assert not result.success
    assert steps_with(result, "STEP_UP_FOR_RETRY") == ["tests__amounts"] * 2
    assert "tests.amounts: nothing was published for 2025-01-01" in messages(result)
    assert "of run theirs" in messages(result)
    assert [row["id"] for row in small_books.rows("tests.amounts")] == ["theirs"]


@pytest.mark.parametrize(
    ("error", "retried"), [(StageLost("Lost."), True), (WindowRefused("No."), False)], ids=["lost", "refused"]
)
def test_only_what_another_try_may_mend_is_tried_again(small_books: Books, error: AffirmError, retried: bool) -> None:
    def fail() -> None:
        raise error

    result = execute(small_books, "tests/amounts", DAY, registry=registry_of(disturbed(fail, times=1)))
    assert (result.success, bool(steps_with(result, "STEP_UP_FOR_RETRY"))) == (retried, retried)
