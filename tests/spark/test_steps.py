"""The life of a step on real tables: what readers see, and when."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import LongType
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset, audit
from affirm_assets.declare.inputs import previous, through
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.errors import (
    PublishConflict,
    SchemaChangeRefused,
    TableNotStageable,
    WindowRefused,
    WrongColumns,
    WrongSession,
)
from affirm_assets.settings import Settings
from affirm_assets.steps.audit import unique_outcome
from affirm_assets.steps.lake import Storage
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.run import AuditsFailed
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.spark import SparkSessions
from tests.conftest import declare
from tests.lake import Lake, Steps, on_spark, run_in

D1, D2, D3, D4 = (date(2025, 1, day) for day in (1, 2, 3, 4))


class Amount(Contract):
    """An amount of a day."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount", ge=0)


def one(day: date) -> Window:
    return Window(day, day)


def frame(*rows: tuple[str, date, str | None], contract: type[Contract] = Amount) -> DataFrame:
    spark = SparkSession.active()
    typed = [(name, day, None if amount is None else Decimal(amount)) for name, day, amount in rows]
    schema = spark_schema(contract)
    for field in schema.fields:
        field.nullable = True  # what a transform's result mostly is
    return spark.createDataFrame(typed, schema)


def amounts_of(*rows: tuple[str, date, str | None], **over: Any) -> Dataset:
    """A dataset `amounts` whose transform gives these rows, whatever the window."""

    def amounts() -> DataFrame:
        return frame(*rows)

    return declare(amounts, Amount, Daily("day"), **over)


def test_rows_are_published_and_reported_by_partition(steps: Steps) -> None:
    amounts = amounts_of(("a", D1, "1.10"), ("b", D1, "2.20"), ("c", D3, "3.30"))
    result = steps.run(amounts, Window(D1, D3))
    assert result.rows == {D1: 2, D2: 0, D3: 1}
    assert (result.total_rows, result.added_files, result.partitions_touched) == (3, 2, 2)
    assert result.added_bytes > 0
    assert steps.rows(amounts) == [("a", D1, Decimal("1.10")), ("b", D1, Decimal("2.20")), ("c", D3, Decimal("3.30"))]
    assert set(result.seconds) == {"pin", "measure", "session", "transform", "stage", "audit", "publish"}


def test_no_reader_sees_a_row_before_its_audits(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    steps.run(amounts_of(("old", D1, "1.00")), one(D1))
    seen: list[list[Any]] = []

    @audit()
    def what_readers_see_meanwhile(staged: DataFrame) -> DataFrame:
        """Look at main while the new rows are staged."""
        lake = new_lake()
        seen.append([row["id"] for row in lake.spark.table("lake.tests.amounts").collect()])
        return staged.select("id", F.lit(True).alias("ok"))

    steps.run(amounts_of(("new", D1, "2.00"), audits=(what_readers_see_meanwhile,)), one(D1), run="second")
    assert seen == [["old"]]
    assert [row[0] for row in steps.rows(amounts_of())] == ["new"]


def test_a_failed_blocking_audit_leaves_main_and_keeps_the_stage(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    good = amounts_of(("a", D1, "1.00"))
    before = steps.run(good, one(D1)).snapshot
    with pytest.raises(AuditsFailed, match="amount_ge: 1 of 2 failed") as caught:
        steps.run(amounts_of(("b", D1, "-1.00"), ("c", D1, "1.00")), one(D1), run="bad")
    lake = new_lake()
    assert lake.catalog.load_table("tests.amounts").current_snapshot().snapshot_id == before
    assert [row[0] for row in steps.rows(good)] == ["a"]
    outcome = next(each for each in caught.value.outcomes if each.name == "amount_ge")
    assert (outcome.checked, outcome.failed, outcome.sample) == (2, 1, ({"id": "b"},))
    staged = lake.read(good, caught.value.staged_snapshot).orderBy("id")
    assert [row["id"] for row in staged.collect()] == ["b", "c"]
    assert f"VERSION AS OF {caught.value.staged_snapshot}" in str(caught.value)


def test_a_failed_audit_that_does_not_block_is_reported_and_publishes(steps: Steps) -> None:
    @audit(blocking=False)
    def is_large(staged: DataFrame) -> DataFrame:
        """Amounts are large."""
        return staged.select("id", "amount", (F.col("amount") > 100).alias("ok"))

    result = steps.run(amounts_of(("a", D1, "1.00"), ("b", D1, "200.00"), audits=(is_large,)), one(D1))
    outcome = result.outcomes[-1]
    assert (outcome.passed, outcome.blocking, outcome.checked, outcome.failed) == (False, False, 2, 1)
    assert outcome.totals == {"amount": "201.00"}
    assert outcome.sample == ({"id": "a", "amount": "1.00"},)


def test_an_audit_whose_comparison_is_null_has_failed(steps: Steps) -> None:
    @audit()
    def unknown(staged: DataFrame) -> DataFrame:
        """Compare with nothing."""
        return staged.select("id", F.lit(None).cast("boolean").alias("ok"))

    with pytest.raises(AuditsFailed, match="unknown: 1 of 1 failed"):
        steps.run(amounts_of(("a", D1, "1.00"), audits=(unknown,)), one(D1))


def test_an_empty_result_clears_its_partition_only(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00"), ("b", D2, "2.00")), Window(D1, D2))
    result = steps.run(amounts_of(), one(D1), run="second")
    assert result.rows == {D1: 0}
    assert [row[0] for row in steps.rows(amounts_of())] == ["b"]


def test_in_a_range_the_days_without_rows_are_cleared(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00"), ("b", D2, "2.00"), ("d", D4, "4.00")), Window(D1, D4))
    steps.run(amounts_of(("c", D3, "3.00")), Window(D1, D3), run="second")
    assert [row[0] for row in steps.rows(amounts_of())] == ["c", "d"]


@pytest.mark.parametrize(
    "of_nothing",
    [
        pytest.param(lambda: frame(), id="a relation that is known to be empty"),
        pytest.param(lambda: frame(("a", D1, "1.00")).where("amount < 0"), id="a filter that leaves nothing"),
        pytest.param(
            lambda: (
                frame(("a", D1, "1.00"))
                .groupBy("id", "day")
                .agg(F.sum("amount").cast("decimal(18,2)").alias("amount"))
                .where("amount < 0")
            ),
            id="a stage that ends empty",
        ),
    ],
)
def test_a_range_without_any_row_is_cleared(steps: Steps, of_nothing: Callable[[], DataFrame]) -> None:
    """Spark replaces a plan that turns out to be empty; what was observed in it must not go with it."""
    steps.run(amounts_of(("a", D1, "1.00"), ("b", D2, "2.00"), ("d", D4, "4.00")), Window(D1, D4))

    def amounts() -> DataFrame:
        return of_nothing()

    result = steps.run(declare(amounts, Amount, Daily("day")), Window(D1, D2), run="second")
    assert result.rows == {D1: 0, D2: 0}
    assert [row[0] for row in steps.rows(amounts_of())] == ["d"]


def test_an_empty_first_run_publishes_an_empty_table(steps: Steps) -> None:
    result = steps.run(amounts_of(), one(D1))
    assert result.rows == {D1: 0}
    assert steps.rows(amounts_of()) == []


@dataclass
class CountingCatalog:
    """A catalog that counts how often it reads a table's metadata, which grows with every commit."""

    catalog: Catalog
    loads: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.catalog, name)

    def load_table(self, name: str) -> Table:
        self.loads += 1
        return self.catalog.load_table(name)


def test_a_step_reads_its_table_s_metadata_only_where_it_may_have_changed(
    steps: Steps, new_lake: Callable[[], Lake]
) -> None:
    """At the pin, and before the commit; the stage and the commit look once more by themselves."""
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    lake = new_lake()
    catalog: Any = CountingCatalog(lake.catalog)
    run_in(replace(lake, catalog=catalog), amounts_of(("b", D1, "1.00")), {}, one(D1), Run("r", "r"))
    assert catalog.loads == 2


def test_the_same_try_again_is_published_once(steps: Steps) -> None:
    """As when a step is killed after its commit and before its report, and is then retried."""
    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1), run="first", root="root")
    again = steps.run(amounts_of(("a", D1, "1.00")), one(D1), run="retry", root="root")
    assert not first.already_published
    assert again.already_published
    assert (again.snapshot, again.rows, again.outcomes) == (first.snapshot, first.rows, first.outcomes)


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"root": "another"}, id="another run"),
        pytest.param({"root": "root", "code_version": "v2"}, id="new code"),
    ],
)
def test_other_work_is_computed_again(steps: Steps, over: dict[str, str]) -> None:
    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    again = steps.run(amounts_of(("a", D1, "1.00")), one(D1), **over)
    assert not again.already_published
    assert again.snapshot != first.snapshot


def test_a_try_that_was_overtaken_is_computed_again(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    steps.run(amounts_of(("b", D1, "2.00")), one(D1), root="other")
    again = steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    assert not again.already_published
    assert [row[0] for row in steps.rows(amounts_of())] == ["a"]


def test_a_retry_is_not_overtaken_by_another_day(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    steps.run(amounts_of(("b", D2, "2.00")), one(D2), root="other")
    assert steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root").already_published


def racing(steps: Steps, day: date, other_day: date, **over: Any) -> Dataset:
    """A dataset whose transform is overtaken: another run publishes `other_day` while it computes `day`."""

    def amounts() -> DataFrame:
        mine = frame(("mine", day, "1.00"))
        steps.run(amounts_of(("theirs", other_day, "2.00")), one(other_day), run="theirs")
        return mine

    return declare(amounts, Amount, Daily("day"), **over)


def test_a_lost_update_is_refused(steps: Steps) -> None:
    with pytest.raises(PublishConflict, match=r"tests\.amounts: nothing was published for 2025-01-01") as caught:
        steps.run(racing(steps, D1, D1), one(D1), run="mine")
    assert "Run the step again" in str(caught.value)
    assert [row[0] for row in steps.rows(amounts_of())] == ["theirs"]


def test_disjoint_windows_are_published_side_by_side(steps: Steps) -> None:
    steps.run(racing(steps, D1, D2), one(D1), run="mine")
    assert [row[0] for row in steps.rows(amounts_of())] == ["mine", "theirs"]


def running_total(steps: Steps, interloper: date | None = None) -> Dataset:
    """Each day's row is the sum of what the dataset has of the two days before, plus one."""

    def amounts(earlier: DataFrame, window: Window) -> DataFrame:
        total = earlier.agg(F.coalesce(F.sum("amount"), F.lit(0)) + 1).first()
        result = frame((f"t{window.first.day}", window.first, str(total[0] if total else 0)))
        if interloper:
            steps.run(amounts_of(("x", interloper, "7.00")), one(interloper), run="interloper")
        return result

    return declare(amounts, Amount, Daily("day"), inputs={"earlier": previous(2, "amounts")}, ranges=False)


def test_a_dataset_reads_its_own_earlier_partitions(steps: Steps) -> None:
    for day in (D1, D2, D3, D4):
        steps.run(running_total(steps), one(day), run=str(day))
    assert [row[2] for row in steps.rows(amounts_of())] == [Decimal(n) for n in (1, 2, 4, 7)]


def test_a_change_of_its_own_earlier_partitions_meanwhile_is_refused(steps: Steps) -> None:
    steps.run(running_total(steps), one(D1))
    with pytest.raises(PublishConflict):
        steps.run(running_total(steps, interloper=D1), one(D2))
    assert steps.run(running_total(steps), one(D2), run="again").rows == {D2: 1}
    assert [row[2] for row in steps.rows(amounts_of())] == [Decimal(8), Decimal(7)]  # ids t2, x


def test_a_retry_of_a_self_dependent_step_after_its_commit_is_published_once(steps: Steps) -> None:
    steps.run(running_total(steps), one(D1))
    first = steps.run(running_total(steps), one(D2), run="first", root="root")
    again = steps.run(running_total(steps), one(D2), run="retry", root="root")
    assert again.already_published
    assert again.snapshot == first.snapshot


def test_a_null_in_a_required_column_is_a_failed_audit(steps: Steps) -> None:
    with pytest.raises(AuditsFailed, match="not_null: 1 of 2 failed") as caught:
        steps.run(amounts_of(("a", D1, None), ("b", D1, "1.00")), one(D1))
    assert caught.value.outcomes[0].sample == ({"id": "a"},)
    assert "Nothing was staged" in str(caught.value)


def test_a_row_of_another_day_is_a_failed_audit(steps: Steps) -> None:
    steps.run(amounts_of(("b", D2, "1.00")), one(D2))
    with pytest.raises(AuditsFailed, match="in_window: 1 of 2 failed"):
        steps.run(amounts_of(("a", D1, "1.00"), ("stray", D2, "1.00")), one(D1), run="second")
    assert [row[0] for row in steps.rows(amounts_of())] == ["b"]


def test_a_repeated_key_is_a_failed_audit_with_a_sample(steps: Steps) -> None:
    with pytest.raises(AuditsFailed, match="unique_key: 2 of 4 failed") as caught:
        steps.run(amounts_of(("a", D1, "1.00"), ("a", D1, "2.00"), ("a", D1, "3.00"), ("b", D1, "1.00")), one(D1))
    outcome = next(each for each in caught.value.outcomes if each.name == "unique_key")
    assert outcome.sample == ({"id": "a", "day": "2025-01-01", "rows": "3"},)


def test_keys_whose_hashes_meet_are_told_apart(lake: Lake) -> None:
    """A hash count below the row count is only a suspicion: here it is given as if two hashes had met."""
    amounts = amounts_of()
    staged = frame(("a", D1, "1.00"), ("b", D1, "1.00"))
    assert unique_outcome(amounts, staged, rows=3).passed


class Person(Contract):
    """A person."""

    id: str = key("Id")
    day: date = column("Business date")
    email: str = column("E-mail", pii="direct", pattern="@")


def test_a_sample_masks_personal_data(steps: Steps) -> None:
    @audit()
    def never(staged: DataFrame) -> DataFrame:
        """Always fails."""
        return staged.withColumn("ok", F.lit(False))

    def people() -> DataFrame:
        return SparkSession.active().createDataFrame([("a", D1, "jane@example.com")], spark_schema(Person))

    with pytest.raises(AuditsFailed) as caught:
        steps.run(declare(people, Person, Daily("day"), audits=(never,)), one(D1))
    assert caught.value.outcomes[-1].sample == ({"id": "a", "day": "2025-01-01", "email": "***"},)
    assert "jane" not in str(caught.value)


def test_wrong_columns_are_named_and_nothing_is_staged(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    def amounts() -> DataFrame:
        return frame(("a", D1, "1.00")).select("id", F.col("day").cast("string").alias("day"), F.lit(1).alias("extra"))

    with pytest.raises(WrongColumns) as caught:
        steps.run(declare(amounts, Amount, Daily("day")), one(D1))
    for part in (
        "missing column amount (decimal(18,2))",
        "extra column extra (int)",
        "column day: expected date, found string",
    ):
        assert part in str(caught.value)
    assert new_lake().catalog.load_table("tests.amounts").metadata.snapshots == []


def test_a_result_of_another_session_is_refused_before_it_is_written(
    steps: Steps, new_lake: Callable[[], Lake]
) -> None:
    """Its session knows no wap.id: the write would be seen by readers at once."""

    def amounts() -> DataFrame:
        return new_lake().spark.createDataFrame(frame(("a", D1, "1.00")).collect(), spark_schema(Amount))

    with pytest.raises(WrongSession, match=r"SparkSession\.active\(\)"):
        steps.run(declare(amounts, Amount, Daily("day")), one(D1))
    assert new_lake().catalog.load_table("tests.amounts").metadata.snapshots == []


@pytest.mark.parametrize(
    ("dataset", "window", "message"),
    [
        pytest.param(amounts_of(), None, "expected a window, found none", id="no window"),
        pytest.param(amounts_of(ranges=False), Window(D1, D2), "one partition at a time", id="range"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(steps: Steps, dataset: Dataset, window: Window, message: str) -> None:
    with pytest.raises(WindowRefused, match=message):
        steps.run(dataset, window)


class AmountWithNote(Amount):
    """An amount of a day, with a note."""

    note: str | None = column("Note")


def noted(contract: type[Contract] = AmountWithNote, note: str = "hello") -> Dataset:
    def amounts() -> DataFrame:
        return frame(("n", D2, "2.00")).withColumn("note", F.lit(note))

    return declare(amounts, contract, Daily("day"))


def test_a_new_nullable_column_evolves_the_table(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    steps.run(noted(), one(D2), run="second")
    assert steps.rows(noted()) == [("a", D1, Decimal("1.00"), None), ("n", D2, Decimal("2.00"), "hello")]


def test_an_incompatible_contract_is_refused_with_the_difference(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    steps.run(noted(), one(D2))
    before = new_lake().catalog.load_table("tests.amounts").metadata
    with pytest.raises(SchemaChangeRefused, match=r"note.*not in the contract: dropped or renamed"):
        steps.run(amounts_of(("a", D1, "1.00")), one(D1), run="second")
    assert new_lake().catalog.load_table("tests.amounts").metadata == before


def test_an_older_snapshot_reads_with_the_new_column_null(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    steps.run(noted(), one(D2), run="second")
    rows = new_lake().read(noted(), first.snapshot).collect()
    assert [tuple(row) for row in rows] == [("a", D1, Decimal("1.00"), None)]


def test_properties_and_partition_fields_of_others_stay(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    table = new_lake().catalog.load_table("tests.amounts")
    with table.transaction() as change:
        change.set_properties({"owner": "somebody", "write.parquet.compression-codec": "gzip"})
    with table.update_spec() as update:
        update.add_field("id", BucketTransform(2), "id_bucket")
    properties, spec = table.properties, table.spec()
    steps.run(noted(), one(D2), run="second")
    steps.run(noted(note="again"), Window(D1, D2), run="third")
    after = new_lake().catalog.load_table("tests.amounts")
    assert {k: v for k, v in after.properties.items() if k in properties and not k.startswith("affirm.")} == {
        k: v for k, v in properties.items() if not k.startswith("affirm.")
    }
    assert after.spec() == spec
    assert [row[3] for row in steps.rows(noted())] == ["again"]


def test_a_table_without_staging_is_refused(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    with new_lake().catalog.load_table("tests.amounts").transaction() as change:
        change.set_properties({"write.wap.enabled": "false"})
    with pytest.raises(TableNotStageable, match=r"write\.wap\.enabled=true, found false"):
        steps.run(amounts_of(("b", D1, "1.00")), one(D1), run="second")


def test_a_table_that_lost_its_partition_field_is_refused(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    with new_lake().catalog.load_table("tests.amounts").update_spec() as update:
        update.remove_field("day")
    with pytest.raises(TableNotStageable, match="expected the partition field day"):
        steps.run(amounts_of(("b", D1, "1.00")), one(D1), run="second")


def downstream(over_input: Any = None) -> Dataset:
    def copies(amounts: DataFrame) -> DataFrame:
        return amounts

    return declare(copies, Amount, Daily("day"), inputs=over_input)


def test_inputs_are_read_at_their_pinned_snapshot(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    source = amounts_of(("a", D1, "1.00"))
    steps.run(source, one(D1))
    lake = new_lake()
    pinned = pin(downstream(), {"amounts": source}, one(D1), Run("r", "r"), "v1", lake)
    steps.run(amounts_of(("changed", D1, "2.00")), one(D1), run="later")
    replayed = replace(pinned, request=Request.from_json(pinned.request.to_json()))
    frames = lake.frames(downstream(), {"amounts": source}, replayed)
    assert [row["id"] for row in frames.call(downstream().function).collect()] == ["a"]


def scanned_files(read: DataFrame) -> int:
    """How many data files Iceberg's plan of the scan holds, after pruning."""
    execution: Any = read._jdf.queryExecution()  # type: ignore[operator]
    execution.toRdd().count()
    return int(execution.executedPlan().collectLeaves().head().metrics().apply("resultDataFiles").value())


def test_only_the_files_of_the_window_are_read(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    source = amounts_of(*((f"id{day}", date(2025, 1, day), "1.00") for day in range(1, 11)))
    steps.run(source, Window(D1, date(2025, 1, 10)))
    reads = {
        "same window": (downstream(), 2),
        "previous": (downstream({"amounts": previous(1, "amounts")}), 1),
        "through": (downstream({"amounts": through("amounts")}), 4),
    }
    lake = new_lake()
    for name, (dataset, files) in reads.items():
        pinned = pin(dataset, {"amounts": source}, Window(D3, D4), Run("r", "r"), "v1", lake)
        read = lake.frames(dataset, {"amounts": source}, pinned).call(dataset.function)
        assert scanned_files(read) == files, name


def test_a_history_that_was_never_published_is_empty(steps: Steps) -> None:
    copies = downstream({"amounts": through("amounts")})
    assert steps.run(copies, one(D1), upstream=(amounts_of(),)).rows == {D1: 0}


def test_a_range_is_one_call_of_the_transform(steps: Steps) -> None:
    calls: list[Window] = []

    def amounts(window: Window) -> DataFrame:
        calls.append(window)
        return frame(*((f"id{day}", date(2025, 1, day), "1.00") for day in range(1, 31)))

    result = steps.run(declare(amounts, Amount, Daily("day")), Window(D1, date(2025, 1, 30)))
    assert calls == [Window(D1, date(2025, 1, 30))]
    assert set(result.rows.values()) == {1}


class MonthTotal(Contract):
    """The total of a month."""

    month: date = key("Month")
    amount: Money = column("Total")


def test_a_month_reads_its_days(steps: Steps) -> None:
    days = amounts_of(("a", D1, "1.00"), ("b", date(2025, 1, 31), "2.00"), ("c", date(2025, 2, 1), "4.00"))
    steps.run(days, Window(D1, date(2025, 2, 1)))

    def totals(amounts: DataFrame) -> DataFrame:
        months = amounts.groupBy(F.trunc("day", "month").alias("month"))
        return months.agg(F.sum("amount").cast("decimal(18,2)").alias("amount"))

    monthly = declare(totals, MonthTotal, Monthly("month"))
    assert steps.run(monthly, one(D1), upstream=(days,)).rows == {D1: 1}
    assert steps.rows(monthly, order="month") == [(D1, Decimal("3.00"))]


def test_a_dataset_without_partitions_is_replaced_whole(steps: Steps) -> None:
    def whole(ids: tuple[str, ...]) -> Dataset:
        def amounts() -> DataFrame:
            return frame(*((name, D1, "1.00") for name in ids))

        return declare(amounts, Amount, None)

    assert steps.run(whole(("a", "b")), None).rows == {None: 2}
    assert steps.run(whole(("c",)), None, run="second").rows == {None: 1}
    assert steps.run(whole(("c",)), None, run="second").already_published
    assert [row[0] for row in steps.rows(whole(()))] == ["c"]


def test_other_engines_read_the_same_rows(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    amounts = amounts_of(("a", D1, "1.10"), ("b", D2, "922337203685477.58"))
    steps.run(amounts, Window(D1, D2))
    steps.run(amounts, Window(D1, D2), run="second")
    expected = steps.rows(amounts)
    lake = new_lake()
    arrow = lake.catalog.load_table("tests.amounts").scan().to_arrow()  # noqa: F841  (DuckDB finds it by its name)
    assert [tuple(row) for row in lake.spark.table("lake.tests.amounts").orderBy("id").collect()] == expected
    assert duckdb.sql("SELECT * FROM arrow ORDER BY id").fetchall() == expected


@pytest.mark.parametrize("name", ["a blank", "ü'é", "a:b&c=d;e", "[a]{b}*"])
def test_a_lake_may_lie_in_a_folder_of_any_name_but_those_refused(
    sessions: SparkSessions, tmp_path: Path, name: str
) -> None:
    settings = Settings.of({"AFFIRM_LAKE": str(tmp_path / name)})
    catalog = IcebergCatalog(uri=settings.catalog_uri, warehouse=settings.warehouse)
    storage = Storage(catalog.load(), LandingZone(""))
    steps = Steps(lambda: on_spark(storage, sessions.session(catalog.spark_conf())))
    amounts = amounts_of(("a", D1, "1.10"))
    steps.run(amounts, one(D1))
    assert steps.rows(amounts) == [("a", D1, Decimal("1.10"))]
    assert catalog.load().load_table("tests.amounts").scan().to_arrow().num_rows == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_snapshot_says_how_it_came_about(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    source = amounts_of(("a", D1, "1.00"))
    published = steps.run(source, one(D1)).snapshot
    result = steps.run(downstream(), one(D1), upstream=(source,), run="r2", root="r1")
    table = new_lake().catalog.load_table("tests.copies")
    assert [each.snapshot_id for each in table.snapshots()] == [result.snapshot]  # the staged one is gone
    summary = table.snapshot_by_id(result.snapshot).summary
    assert (summary["affirm.run-id"], summary["affirm.root-run-id"]) == ("r2", "r1")
    assert (summary["affirm.dataset"], summary["affirm.window"]) == ("tests/copies", "2025-01-01")
    assert summary["affirm.code-version"] == "v1"
    assert len(str(summary.additional_properties)) < 1_500
    report = json.loads(Path(summary["affirm.report"].removeprefix("file://")).read_text())
    assert report["request"]["inputs"] == {"amounts": published}


def test_field_ids_survive_the_round_trip_between_engines(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    schema: Schema = new_lake().catalog.load_table("tests.amounts").schema()
    assert [(f.field_id, f.name, f.required) for f in schema.fields] == [
        (1, "id", True),
        (2, "day", True),
        (3, "amount", True),
    ]
    assert schema.identifier_field_ids == [1]
    assert LongType() not in [f.field_type for f in schema.fields]


def test_an_empty_result_that_was_overtaken_by_an_empty_one_is_refused(steps: Steps) -> None:
    """No file was added or removed in between, so Iceberg alone would let it pass."""

    def amounts() -> DataFrame:
        mine = frame(("mine", D1, "1.00"))
        steps.run(amounts_of(), one(D1), run="theirs")
        return mine

    with pytest.raises(PublishConflict, match="of run theirs"):
        steps.run(declare(amounts, Amount, Daily("day")), one(D1), run="mine")
    assert steps.rows(amounts_of()) == []


def test_a_key_may_come_again_in_another_partition_of_a_range(steps: Steps) -> None:
    assert steps.run(amounts_of(("a", D1, "1.00"), ("a", D2, "2.00")), Window(D1, D2)).rows == {D1: 1, D2: 1}


def test_a_required_column_that_a_snapshot_lacks_is_refused(steps: Steps, new_lake: Callable[[], Lake]) -> None:
    class AmountWithCurrency(Amount):
        """An amount of a day in a currency."""

        currency: str = column("Currency")

    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    source, lake = noted(AmountWithCurrency), new_lake()
    pinned = pin(downstream(), {"amounts": source}, one(D1), Run("r", "r"), "v1", lake)
    assert pinned.request.inputs == {"amounts": first.snapshot}
    with pytest.raises(SchemaChangeRefused, match="column currency is not in snapshot"):
        lake.frames(downstream(), {"amounts": source}, pinned).call(downstream().function)


def test_a_sample_masks_what_an_audit_shows_of_its_inputs(steps: Steps) -> None:
    def people() -> DataFrame:
        return SparkSession.active().createDataFrame([("a", D1, "jane@example.com")], spark_schema(Person))

    @audit()
    def shows_too_much(staged: DataFrame, people: DataFrame) -> DataFrame:
        """Always fails."""
        return people.select("email", F.lit(False).alias("ok"))

    def amounts(people: DataFrame) -> DataFrame:
        return people.select("id", "day", F.lit(Decimal("1.00")).cast("decimal(18,2)").alias("amount"))

    source = declare(people, Person, Daily("day"))
    steps.run(source, one(D1))
    with pytest.raises(AuditsFailed) as caught:
        steps.run(
            declare(amounts, Amount, Daily("day"), audits=(shows_too_much,)), one(D1), upstream=(source,), run="b"
        )
    assert caught.value.outcomes[-1].sample == ({"email": "***"},)
