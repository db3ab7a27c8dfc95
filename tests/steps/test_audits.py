"""What a step publishes and what its audits keep from its readers."""

import errno
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import audit
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.steps import run
from affirm_assets.steps.audit import unique_question
from affirm_assets.steps.audits_failed import AuditsFailed
from affirm_assets.steps.engine import Engine, Staged, Target
from tests.conftest import declare
from tests.steps.amounts import D1, D2, D3, D4, Amount, Person, amounts_of, frame, one
from tests.storage import NewStorage, Steps, StorageWithEngine


def test_rows_are_published_and_reported_by_partition(steps: Steps) -> None:
    amounts = amounts_of(("a", D1, "1.10"), ("b", D1, "2.20"), ("c", D3, "3.30"))
    result = steps.run(amounts, Window(D1, D3))
    assert result.rows == {D1: 2, D2: 0, D3: 1}
    assert (result.total_rows, result.added_files, result.partitions_touched) == (3, 2, 2)
    assert result.added_bytes > 0
    assert steps.rows(amounts) == [("a", D1, Decimal("1.10")), ("b", D1, Decimal("2.20")), ("c", D3, Decimal("3.30"))]
    parts = {"pin", "measure", "session", "transform", "check", "stage", "audit", "sample", "publish"}
    assert set(result.seconds) == parts


def test_no_reader_sees_a_row_before_its_audits(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(amounts_of(("old", D1, "1.00")), one(D1))
    seen: list[list[Any]] = []

    @audit()
    def what_readers_see_meanwhile(staged: DataFrame) -> DataFrame:
        """Look at main while the new rows are staged."""
        seen.append([row[0] for row in new_storage().rows("tests.amounts", order="id")])
        return staged.select("id", F.lit(True).alias("ok"))

    steps.run(amounts_of(("new", D1, "2.00"), audits=(what_readers_see_meanwhile,)), one(D1), run="second")
    assert seen
    assert all(each == ["old"] for each in seen)
    assert [row[0] for row in steps.rows(amounts_of())] == ["new"]


def test_an_audit_that_cannot_be_called_with_no_rows_sees_those_that_are_staged(steps: Steps) -> None:
    @audit()
    def is_the_first(staged: DataFrame) -> DataFrame:
        """Of one row, which a dataset without rows has not."""
        first = staged.orderBy("id").first()
        assert first is not None
        return staged.select("id", (F.col("id") == first["id"]).alias("ok"))

    result = steps.run(amounts_of(("a", D1, "2.00"), audits=(is_the_first,)), one(D1))
    assert [each.checked for each in result.outcomes if each.name == "is_the_first"] == [1]


def test_a_failed_blocking_audit_leaves_main_and_keeps_the_stage(steps: Steps, new_storage: NewStorage) -> None:
    good = amounts_of(("a", D1, "1.00"))
    before = steps.run(good, one(D1)).snapshot
    with pytest.raises(AuditsFailed, match="amount_ge: 1 of 2 failed") as caught:
        steps.run(amounts_of(("b", D1, "-1.00"), ("c", D1, "1.00")), one(D1), run="bad")
    storage = new_storage()
    assert storage.catalog.load_table("tests.amounts").current_snapshot().snapshot_id == before
    assert [row[0] for row in steps.rows(good)] == ["a"]
    outcome = next(each for each in caught.value.outcomes if each.name == "amount_ge")
    assert (outcome.checked, outcome.failed, outcome.sample) == (2, 1, ({"id": "b", "day": "2025-01-01"},))
    staged = storage.read(good, caught.value.staged_snapshot).orderBy("id")
    assert [row["id"] for row in staged.collect()] == ["b", "c"]
    assert f"VERSION AS OF {caught.value.staged_snapshot}" in str(caught.value)


class SaysACentMore:
    """An engine whose files do not hold what it says of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stage(self, rows: DataFrame, target: Target) -> Staged:
        staged = self._engine.stage(rows, target)
        return replace(staged, sums={name: each + Decimal("0.01") for name, each in staged.sums.items()})


def test_a_sum_that_the_files_do_not_hold_stops_the_step(steps: Steps, new_storage: NewStorage) -> None:
    good = amounts_of(("a", D1, "1.00"))
    before = steps.run(good, one(D1)).snapshot

    def wrong_storage() -> StorageWithEngine:
        storage = new_storage()
        return replace(storage, opens=lambda: cast(Engine, SaysACentMore(storage.opens())))

    with pytest.raises(AuditsFailed, match="nothing was published, as control_totals failed") as caught:
        Steps(wrong_storage).run(amounts_of(("b", D1, "2.20"), ("c", D1, "3.30")), one(D1), run="wrong")
    [red] = [each for each in caught.value.outcomes if not each.passed]
    assert (red.name, red.blocking, red.failed) == ("control_totals", True, 1)
    assert red.sample == ({"total": "amount", "engine": "5.51", "files": "5.50"},)
    assert "total=amount, engine=5.51, files=5.50" in str(caught.value)
    assert new_storage().catalog.load_table("tests.amounts").current_snapshot().snapshot_id == before
    assert [row[0] for row in steps.rows(good)] == ["a"]


def test_a_failed_audit_is_told_though_its_rows_cannot_be_kept(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "keep_for_inspection", fails)
    with pytest.raises(AuditsFailed, match="amount_ge: 1 of 1 failed") as caught:
        steps.run(amounts_of(("b", D1, "-1.00")), one(D1))
    assert "could not be kept to look at: OSError: [Errno 28] No space left on device" in str(caught.value)


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


def test_a_null_in_a_required_column_is_a_failed_audit(steps: Steps) -> None:
    with pytest.raises(AuditsFailed, match="not_null: 1 of 2 failed") as caught:
        steps.run(amounts_of(("a", D1, None), ("b", D1, "1.00")), one(D1))
    assert caught.value.outcomes[0].sample == ({"id": "a", "day": "2025-01-01"},)
    assert "Nothing was staged" in str(caught.value)


def test_a_row_of_another_day_is_a_failed_audit(steps: Steps) -> None:
    steps.run(amounts_of(("b", D2, "1.00")), one(D2))
    with pytest.raises(AuditsFailed, match="in_window: 1 of 2 failed"):
        steps.run(amounts_of(("a", D1, "1.00"), ("stray", D2, "1.00")), one(D1), run="second")
    assert [row[0] for row in steps.rows(amounts_of())] == ["b"]


def test_a_repeated_key_is_a_failed_audit_with_a_sample(steps: Steps) -> None:
    with pytest.raises(AuditsFailed, match="keys_are_unique: 2 of 4 failed") as caught:
        steps.run(amounts_of(("a", D1, "1.00"), ("a", D1, "2.00"), ("a", D1, "3.00"), ("b", D1, "1.00")), one(D1))
    outcome = next(each for each in caught.value.outcomes if each.name == "keys_are_unique")
    assert outcome.sample == ({"id": "a", "day": "2025-01-01", "rows": "3"},)


def test_keys_whose_hashes_meet_are_told_apart(storage: StorageWithEngine) -> None:
    """A hash count below the row count is only a suspicion: here it is given as if two hashes had met."""
    amounts = amounts_of()
    staged = frame(("a", D1, "1.00"), ("b", D1, "1.00"))
    (outcome,) = unique_question(amounts, staged, rows=3).outcomes(Row(hashes=2))
    assert outcome.passed


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


def test_a_key_may_come_again_in_another_partition_of_a_range(steps: Steps) -> None:
    assert steps.run(amounts_of(("a", D1, "1.00"), ("a", D2, "2.00")), Window(D1, D2)).rows == {D1: 1, D2: 1}


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
