"""Days of a dataset that reads its own previous day, run with a day left out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow, Through, before, landing, previous, same, through
from affirm_assets.declare.partitions import Daily, Monthly, Partitions, Window
from affirm_assets.errors import GapRefused, InputsNotPublished
from tests.conftest import declare
from tests.storage import Steps

D1, D2, D3, D4, D5, D6 = (date(2025, 1, day) for day in range(1, 7))


class Count(Contract):
    """How often something was counted."""

    day: date = key("Business date")
    number: int = column("How many")


def none_left(rows: DataFrame) -> DataFrame:
    return rows.select("day", F.lit(0).alias("opening"), F.lit(0).alias("closing"))


NOTHING = Carry({"opening": "closing"}, opens=none_left, closes=none_left)
"""Goes on from the partition before, and leaves nothing in any: only the check for gaps has something to find."""


def counts_of(*days: date, partitions: Partitions = Daily("day"), carry: Carry | None = NOTHING) -> Dataset:  # noqa: B008  (frozen)
    """Gives a row for each of these days that is in the window."""

    def counts(window: Window) -> DataFrame:
        rows = [(day, 1) for day in days if window.first <= day <= window.last]
        return SparkSession.active().createDataFrame(rows, spark_schema(Count))

    return declare(counts, Count, partitions, carry=carry)


def looking_back(*days: date, n: int) -> Dataset:
    """Compares with the partitions before, and carries nothing."""
    counts = counts_of(*days, carry=None)
    return replace(counts, inputs={"earlier": previous(n, "counts")})


def test_a_day_whose_day_before_was_never_published_is_refused(steps: Steps) -> None:
    counts = counts_of(D1, D2, D5)
    steps.run(counts, Window(D1, D2))
    with pytest.raises(GapRefused) as caught:
        steps.run(counts, Window(D5, D6), run="later")
    assert str(caught.value) == (
        "tests/counts: 2025-01-05...2025-01-06 begins with what 2025-01-04 left; expected 2025-01-04 to be published, "
        "found that the last one published before 2025-01-05...2025-01-06 is 2025-01-02. Run 2025-01-03...2025-01-06 "
        "instead."
    )
    assert [row[0] for row in steps.rows(counts, order="day")] == [D1, D2]
    assert steps.run(counts, Window(D3, D6), run="range").rows == {D3: 0, D4: 0, D5: 1, D6: 0}


@pytest.mark.parametrize("n", [1, 35])
def test_a_dataset_that_only_looks_back_may_leave_days_out(steps: Steps, n: int) -> None:
    steps.run(looking_back(D1, n=n), Window(D1, D1))
    assert steps.run(looking_back(D3, n=n), Window(D3, D3), run="later").rows == {D3: 1}


def test_the_first_window_must_reach_back_to_the_beginning_of_what_it_reads(steps: Steps) -> None:
    def counts(source: DataFrame, previous_partition: DataFrame) -> DataFrame:
        return source

    carried = declare(counts, Count, Daily("day"), carry=NOTHING)
    steps.run(SOURCE, Window(D2, D2))
    steps.run(SOURCE, Window(D3, D3), run="next")
    with pytest.raises(GapRefused, match=r"which it reads, begins with 2025-01-02\. Run 2025-01-02\.\.\."):
        steps.run(carried, Window(D3, D3), upstream=(SOURCE,))
    assert steps.run(carried, Window(D2, D3), upstream=(SOURCE,), run="range").total_rows == 2


def source(window: Window) -> DataFrame:
    return SparkSession.active().createDataFrame([(window.first, 1)], spark_schema(Count))


def derived(source: DataFrame) -> DataFrame:
    return source


SOURCE = declare(source, Count, Daily("day"))
DERIVED = declare(derived, Count, Daily("day"))


def test_a_window_of_which_an_input_was_never_published_is_refused(steps: Steps) -> None:
    with pytest.raises(InputsNotPublished, match=r"tests/source of 2025-01-01\. Run them first"):
        steps.run(DERIVED, Window(D1, D1), upstream=(SOURCE,), run="no table")
    steps.run(SOURCE, Window(D2, D2))
    steps.run(SOURCE, Window(D4, D5), run="later")
    with pytest.raises(InputsNotPublished) as caught:
        steps.run(DERIVED, Window(D1, D6), upstream=(SOURCE,), run="too early")
    assert str(caught.value) == (
        "tests/derived: 2025-01-01...2025-01-06 reads other datasets' partitions of the same days; expected all of "
        "them to be published, if only without rows; found that these were not: tests/source of 2025-01-01, "
        "2025-01-03, 2025-01-06. Run them first."
    )
    assert steps.run(DERIVED, Window(D4, D5), upstream=(SOURCE,), run="what is there").total_rows == 1


def test_what_was_published_before_snapshots_expired_is_not_missed(steps: Steps) -> None:
    for number, day in enumerate((D1, D2, D3)):
        steps.run(SOURCE, Window(day, day), run=f"run{number}")
    table = steps.new_storage().catalog.load_table(SOURCE.table)
    *others, _ = sorted(table.snapshots(), key=lambda each: each.sequence_number or 0)
    table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in others]).commit()
    assert steps.run(DERIVED, Window(D1, D1), upstream=(SOURCE,), run="old").total_rows == 1
    with pytest.raises(InputsNotPublished, match=r"tests/source of 2025-01-04\."):
        steps.run(DERIVED, Window(D3, D4), upstream=(SOURCE,), run="new")


THROUGH = declare(derived, Count, Daily("day"), inputs={"source": through("source")})


def test_a_window_that_an_input_is_read_through_must_be_published_of_it(steps: Steps) -> None:
    with pytest.raises(InputsNotPublished, match=r"tests/source of 2025-01-02\. Run them first"):
        steps.run(THROUGH, Window(D2, D2), upstream=(SOURCE,), run="nothing")
    steps.run(SOURCE, Window(D2, D2))
    with pytest.raises(InputsNotPublished, match=r"tests/source of 2025-01-03\. Run them first"):
        steps.run(THROUGH, Window(D2, D3), upstream=(SOURCE,), run="too early")
    assert steps.run(THROUGH, Window(D2, D2), upstream=(SOURCE,), run="there").total_rows == 1


def test_before_a_feed_begins_nothing_is_missed_of_what_is_read_through(steps: Steps) -> None:
    rows = replace(SOURCE, name="rows", inputs={"records": landing("rows", {}, since=D3)})
    source = replace(DERIVED, name="source", inputs={"source": same("rows")})
    upstream = (rows, source)
    assert steps.run(THROUGH, Window(D1, D2), upstream=upstream).total_rows == 0
    with pytest.raises(InputsNotPublished, match=r"tests/source of 2025-01-03\.\.\.2025-01-04\. Run them first"):
        steps.run(THROUGH, Window(D1, D4), upstream=upstream, run="begun")


@pytest.mark.parametrize("mapped", [same, through])
def test_a_month_lacks_no_day_between_those_that_are_published(
    steps: Steps, mapped: Callable[[str], SameWindow | Through]
) -> None:
    """The days before the books began are none, and a month that goes on has no more."""
    january, february, march = (date(2025, month, 1) for month in (1, 2, 3))

    def first_days(source: DataFrame) -> DataFrame:
        return source.groupBy(F.trunc("day", "month").alias("day")).agg(F.sum("number").alias("number"))

    months = declare(first_days, Count, Monthly("day"), inputs={"source": mapped("source")})
    steps.run(SOURCE, Window(D3, D3))
    assert steps.run(months, Window(january, january), upstream=(SOURCE,), run="begun").rows == {january: 1}
    steps.run(SOURCE, Window(D6, D6), run="later")
    with pytest.raises(InputsNotPublished, match=r"2025-01-01 reads .* tests/source of 2025-01-04\.\.\.2025-01-05\."):
        steps.run(months, Window(january, january), upstream=(SOURCE,), run="hole")
    with pytest.raises(InputsNotPublished, match=r"2025-01-04\.\.\.2025-01-05, 2025-01-07\.\.\.2025-03-31\."):
        steps.run(months, Window(january, march), upstream=(SOURCE,), run="months")
    with pytest.raises(InputsNotPublished, match=r"tests/source of 2025-02-01\.\.\.2025-02-28\."):
        steps.run(months, Window(february, february), upstream=(SOURCE,), run="none of it")


def test_a_day_published_without_rows_is_no_gap(steps: Steps) -> None:
    steps.run(counts_of(D1), Window(D1, D1))
    steps.run(counts_of(), Window(D2, D3), run="empty")
    assert steps.run(counts_of(D4), Window(D4, D4), run="next").rows == {D4: 1}


def test_the_first_day_may_be_any_and_an_earlier_one_may_follow(steps: Steps) -> None:
    counts = counts_of(D1, D2, D4)
    steps.run(counts, Window(D4, D4))
    steps.run(counts, Window(D1, D1), run="earlier")
    with pytest.raises(GapRefused, match=r"is 2025-01-01\. Run 2025-01-02\.\.\.2025-01-04 instead"):
        steps.run(counts, Window(D4, D4), run="again")
    steps.run(counts, Window(D2, D4), run="range")


def test_a_window_that_reaches_over_published_days_needs_the_day_before_its_first(steps: Steps) -> None:
    counts = counts_of(D1, D3, D4)
    steps.run(counts, Window(D3, D3))
    steps.run(counts, Window(D1, D4), run="range")
    assert steps.run(counts, Window(D2, D5), run="over it").rows == {D2: 0, D3: 1, D4: 1, D5: 0}


def test_what_failed_was_not_published(steps: Steps) -> None:
    def counts(previous_partition: DataFrame) -> DataFrame:
        raise ValueError

    steps.run(counts_of(D1), Window(D1, D1))
    with pytest.raises(ValueError):  # noqa: PT011
        steps.run(declare(counts, Count, Daily("day"), carry=NOTHING), Window(D2, D2))
    with pytest.raises(GapRefused):
        steps.run(counts_of(D3), Window(D3, D3), run="later")


def test_a_month_that_was_left_out_is_a_gap(steps: Steps) -> None:
    january, march, april = date(2025, 1, 1), date(2025, 3, 1), date(2025, 4, 1)
    counts = counts_of(january, partitions=Monthly("day"))
    steps.run(counts, Window(january, january))
    with pytest.raises(GapRefused, match=r"is 2025-01-01\. Run 2025-02-01\.\.\.2025-04-01 instead"):
        steps.run(counts, Window(march, april), run="later")


def test_a_dataset_that_does_not_read_its_previous_days_may_leave_days_out(steps: Steps) -> None:
    def counts(everything: DataFrame) -> DataFrame:
        return everything

    dataset = declare(counts, Count, Daily("day"), inputs={"everything": before("counts")})
    steps.run(dataset, Window(D1, D1))
    assert steps.run(dataset, Window(D4, D4), run="later").rows == {D4: 0}


def test_a_retry_of_what_was_published_is_not_refused(steps: Steps) -> None:
    steps.run(counts_of(D4), Window(D4, D4), run="first", root="root")
    steps.run(counts_of(D1), Window(D1, D1), run="earlier")
    again = steps.run(counts_of(D4), Window(D4, D4), run="retry", root="root")
    assert again.already_published
