"""What is shown of a step: sums and a sample of what it published, and in which partitions its audits failed."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, column, key, spark_schema
from affirm_assets.declare.dataset import audit
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.steps.audits_failed import AuditsFailed
from tests.conftest import declare
from tests.steps.amounts import D1, D2, D3, D4, Person, amounts_of, one
from tests.storage import Steps

BAD = (("a", D1, "1.00"), ("b", D2, "-2.00"), ("c", D2, "-3.00"), ("d", D3, "4.00"))


@audit()
def amounts_are_positive(staged: DataFrame) -> DataFrame:
    """No amount below nothing."""
    return staged.select("id", "day", (F.col("amount") >= 0).alias("ok"))


@audit()
def no_day_is_named(staged: DataFrame) -> DataFrame:
    """As above, of no partition."""
    return staged.select("id", (F.col("amount") >= 0).alias("ok"))


class Note(Contract):
    """A dataset without partitions."""

    id: str = key("Id")
    text: str = column("Text")


def refused(steps: Steps, *rows: Any, **over: Any) -> AuditsFailed:
    with pytest.raises(AuditsFailed) as caught:
        steps.run(amounts_of(*rows, **over), Window(D1, D4), run="bad")
    return caught.value


def failed_in(error: AuditsFailed) -> dict[str, dict[str, int]]:
    return {each.name: dict(each.failed_in) for each in error.outcomes if not each.passed}


def test_each_partition_has_the_sums_of_its_rows(steps: Steps) -> None:
    amounts = amounts_of(("a", D1, "1.10"), ("b", D1, "2.20"), ("c", D3, "0.05"))
    result = steps.run(replace(amounts, sums=("amount",)), Window(D1, D4))
    assert result.sums == {D1: {"amount": Decimal("3.30")}, D3: {"amount": Decimal("0.05")}}


def test_only_sums_that_are_declared_are_kept(steps: Steps) -> None:
    assert steps.run(amounts_of(("a", D1, "1.10")), one(D1)).sums == {D1: {}}


def test_the_sample_is_the_first_rows_by_key_of_the_newest_partition_that_has_any(steps: Steps) -> None:
    rows = [(name, D3, f"{number}.00") for number, name in enumerate("gfedcba")]
    result = steps.run(amounts_of(("a", D1, "9.00"), *rows), Window(D1, D4))
    assert result.sample == tuple(
        {"id": name, "day": "2025-01-03", "amount": amount}
        for name, amount in (("a", "6.00"), ("b", "5.00"), ("c", "4.00"))
    )


def test_a_sample_of_nothing_is_nothing(steps: Steps) -> None:
    result = steps.run(amounts_of(), Window(D1, D4))
    assert (result.sample, result.sums) == ((), {})


def test_the_sample_masks_personal_data(steps: Steps) -> None:
    def people() -> DataFrame:
        return SparkSession.active().createDataFrame([("a", D1, "jane@example.com")], spark_schema(Person))

    result = steps.run(declare(people, Person, Daily("day")), one(D1))
    assert result.sample == ({"id": "a", "day": "2025-01-01", "email": "***"},)


def test_a_dataset_without_partitions_has_a_sample_too(steps: Steps) -> None:
    def notes() -> DataFrame:
        return SparkSession.active().createDataFrame([("b", "two"), ("a", "one")], spark_schema(Note))

    assert steps.run(declare(notes, Note, None), None).sample == (
        {"id": "a", "text": "one"},
        {"id": "b", "text": "two"},
    )


def test_an_audit_says_in_which_partitions_it_failed(steps: Steps) -> None:
    found = refused(steps, *BAD, audits=(amounts_are_positive, no_day_is_named))
    assert failed_in(found) == {
        "amount_ge": {"2025-01-02": 2},
        "amounts_are_positive": {"2025-01-02": 2},
        "no_day_is_named": {},
    }


def test_a_key_that_comes_twice_does_so_in_its_partition(steps: Steps) -> None:
    found = refused(steps, ("a", D1, "1.00"), ("a", D2, "1.00"), ("b", D2, "1.00"), ("b", D2, "2.00"))
    assert failed_in(found) == {"keys_are_unique": {"2025-01-02": 1}}


def test_a_step_that_is_refused_says_first_what_failed_and_what_readers_see(steps: Steps) -> None:
    before = steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    said = str(refused(steps, *BAD, audits=(amounts_are_positive,))).splitlines()
    assert said[:4] == [
        "tests/amounts 2025-01-01...2025-01-04: nothing was published, as amount_ge failed in 2025-01-02, "
        "amounts_are_positive failed in 2025-01-02.",
        f"Readers still see snapshot {before.snapshot}, as before this run.",
        "What to do: mend what these rows come from, and run tests/amounts 2025-01-01...2025-01-04 again. "
        "What reads it waits until then.",
        "- amount_ge: 2 of 4 failed (amount >= 0); such as",
    ]
    assert said[4:6] == ["    id=b, day=2025-01-02", "    id=c, day=2025-01-02"]
    assert said[-2].startswith("The refused rows: SELECT * FROM")


def test_a_step_that_another_range_mends_says_so(steps: Steps) -> None:
    @audit()
    def never(staged: DataFrame) -> DataFrame:
        """Always fails."""
        return staged.select(
            "id", "day", F.lit("2025-01-01...2025-01-09").alias("run_instead"), F.lit(False).alias("ok")
        )

    said = str(refused(steps, ("a", D1, "1.00"), audits=(never,)))
    assert "What to do: mend what these rows come from (or do what run_instead says), and run" in said
    assert "    id=a, day=2025-01-01, run_instead=2025-01-01...2025-01-09\n" in said


def test_before_anything_was_published_readers_see_nothing(steps: Steps) -> None:
    assert "Readers still see no rows, as nothing was published of it, as before" in str(refused(steps, *BAD))


def test_what_is_masked_is_not_in_the_message(steps: Steps) -> None:
    @audit()
    def never(staged: DataFrame) -> DataFrame:
        """Always fails."""
        return staged.withColumn("ok", F.lit(False))

    def people() -> DataFrame:
        return SparkSession.active().createDataFrame([("a", D1, "jane@example.com")], spark_schema(Person))

    with pytest.raises(AuditsFailed) as caught:
        steps.run(declare(people, Person, Daily("day"), audits=(never,)), one(D1))
    assert "    id=a, day=2025-01-01\n" in str(caught.value)


def test_many_partitions_are_counted(steps: Steps) -> None:
    days = [date(2025, 1, day) for day in range(1, 10)]
    with pytest.raises(AuditsFailed, match=r"failed in 2025-01-01, .*, 2025-01-05 and 4 more\.\n"):
        steps.run(amounts_of(*(("a", day, "-1.00") for day in days)), Window(days[0], days[-1]))
