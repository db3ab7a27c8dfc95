"""What the audits of tables that share out records say of each way to go wrong."""

from collections.abc import Mapping, Sequence
from datetime import date

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits import reconcile
from affirm_assets.declare import Window
from affirm_assets.lender.intake.accounting import accepted_accounts_for, rejected_accounts_for
from tests.engines.connect import CheckedSail

RIGHT: Mapping[str, Sequence[int]] = {"received": (1, 2, 3), "accepted": (1,), "rejected": (2,), "duplicate": (3,)}
WRONG = {
    "all in one": ({}, None),
    "in none": ({"accepted": ()}, "record_number 1: in none"),
    "in two": ({"accepted": (1, 2)}, "record_number 2: accepted, rejected, more than once"),
    "twice in one": ({"accepted": (1, 1)}, "record_number 1: accepted, more than once"),
    "one in none makes up for one in two": ({"accepted": (2,)}, "record_number 1: in none"),
    "never received": ({"rejected": (2, 9)}, "record_number 9: never received, rejected"),
    "nothing received": ({"received": ()}, "record_number 1: never received, accepted"),
}


def records(sail: CheckedSail, numbers: Sequence[int], file: str = "f") -> DataFrame:
    return sail.spark.createDataFrame([(file, each) for each in numbers], "file string, record_number bigint")


@pytest.mark.parametrize("name", WRONG)
def test_each_record_has_one_fate(sail: CheckedSail, name: str) -> None:
    changes, wrong = WRONG[name]
    places = {**RIGHT, **changes}
    frames = {
        place: records(sail, numbers).union(records(sail, RIGHT[place], "g")) for place, numbers in places.items()
    }
    found = reconcile.one_fate_each(frames.pop("received"), frames).orderBy("file").collect()
    assert [row.asDict() for row in found] == [
        {"file": "f", **{place: len(numbers) for place, numbers in places.items()}, "wrong": wrong, "ok": not wrong},
        {"file": "g", **{place: len(numbers) for place, numbers in RIGHT.items()}, "wrong": None, "ok": True},
    ]


def test_keys_that_only_one_has_are_named(sail: CheckedSail) -> None:
    one, other = records(sail, (1, 2, 2)), records(sail, (2, 3))
    found = reconcile.same_keys(one, other, ["file", "record_number"], ("loans", "borrowers")).orderBy("record_number")
    assert [tuple(row) for row in found.collect()] == [
        ("f", 1, "loans", False),
        ("f", 2, None, True),
        ("f", 3, "borrowers", False),
    ]


def test_what_is_published_stands_in_for_what_is_computed_of_its_days(sail: CheckedSail) -> None:
    days = [date(2025, 1, number) for number in range(1, 6)]
    computed = sail.spark.createDataFrame([(each.day, each) for each in days], "number bigint, day date")
    published = sail.spark.createDataFrame([(100, days[1])], "number bigint, day date")
    windows = [Window(days[0], days[1]), Window(days[3], days[3])]
    found = reconcile.published_or_computed(published, computed, ["number"], day="day", days=windows)
    assert sorted(row[0] for row in found.collect()) == [3, 5, 100]
    nothing = reconcile.published_or_computed(published.where("false"), computed, ["number"], day="day", days=())
    assert sorted(row[0] for row in nothing.collect()) == [1, 2, 3, 4, 5]


def test_of_a_range_the_day_is_named_whose_file_is_not_accounted_for(sail: CheckedSail) -> None:
    first, second = date(2025, 1, 2), date(2025, 1, 3)
    received = sail.spark.createDataFrame(
        [(first, "a", 1), (second, "b", 1), (second, "b", 2)], "business_date date, file string, record_number bigint"
    )
    fates = received.withColumn("fate", F.lit("accepted")).withColumn("day", F.col("business_date"))
    lost = accepted_accounts_for(
        fates.where("record_number = 1"),
        received,
        fates,
        fates.where("false"),
        (),
        day="day",
        together=("loans", "rejected_loans"),
    )
    assert {(row["file"], row["day"], row["ok"]) for row in lost.collect()} == {
        ("a", first, True),
        ("b", second, False),
    }
    rejected = rejected_accounts_for(
        fates.where("record_number = 2"),
        received,
        fates,
        fates.where("record_number = 1 AND file = 'b'"),
        day="day",
        together=("loans", "rejected_loans"),
    )
    assert {(row["day"], row["ok"]) for row in rejected.collect()} == {(first, False), (second, True)}
