"""The duplicate rule, against a day-by-day reading of its words in plain Python."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import SparkSession

from affirm_assets.lender.intake.duplicates import ACCEPTED, DUPLICATE, REJECTED, decide_fates, fates, not_booked_later

LOOK_BACK = 5
START = date(2025, 1, 1)


@dataclass(frozen=True, order=True)
class Row:
    day: date
    file: str
    record_number: int
    id: str
    own_date: date
    terms: str
    private: str | None


@dataclass(frozen=True)
class Booking:
    id: str
    day: date
    terms: str
    private: str | None


def by_the_words(rows: Iterable[Row], booked: Iterable[Booking] = ()) -> tuple[dict[Row, str], list[Booking]]:
    """Each day in turn: compare with what was booked before it, then the rows of the folder with each other."""
    bookings = list(booked)
    fates: dict[Row, str] = {}
    days: dict[date, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows):
        days[row.day][row.id].append(row)
    for day in sorted(days):
        today: list[Booking] = []
        for name, group in days[day].items():
            fresh = []
            for row in group:
                horizon = day - timedelta(days=LOOK_BACK)
                seen = [b for b in bookings if b.id == name and (b.day >= horizon or row.own_date < horizon)]
                if seen:
                    equal = any(b.terms == row.terms and b.private in (None, row.private) for b in seen)
                    fates[row] = DUPLICATE if equal else REJECTED
                else:
                    fresh.append(row)
            unanimous = len({(row.terms, row.private, row.own_date) for row in group}) == 1
            if fresh and unanimous:
                today.append(Booking(name, day, fresh[0].terms, fresh[0].private))
            for number, row in enumerate(fresh):
                fates[row] = REJECTED if not unanimous else ACCEPTED if number == 0 else DUPLICATE
        bookings += today
    return fates, bookings


def by_spark(spark: SparkSession, rows: Iterable[Row], booked: Iterable[Booking]) -> dict[Row, str]:
    row_schema = "day date, file string, record_number bigint, id string, own_date date, terms string, private string"
    row_frame = spark.createDataFrame([tuple(vars(row).values()) for row in rows], row_schema)
    booked_schema = "id string, day date, terms string, private string"
    booked_frame = spark.createDataFrame([tuple(vars(each).values()) for each in booked], booked_schema)
    decided = decide_fates(row_frame, booked_frame, LOOK_BACK).collect()
    assert all((each["conflict"] is not None) == (each["fate"] == REJECTED) for each in decided)
    fields = tuple(Row.__dataclass_fields__)
    return {Row(*(each[name] for name in fields)): each["fate"] for each in decided}


def random_rows(seed: int, ids: int, days: int) -> list[Row]:
    """Few terms for each id, so that equal and different rows meet on one day, on near days and beyond the look-back.

    A row's terms hold its own date, as a loan's do.
    """
    draw = random.Random(seed)
    rows = []
    for number in range(ids):
        choices = [
            (f"terms{k}", START + timedelta(days=draw.randrange(-3, days)), draw.choice(["x", "x", "y"]))
            for k in range(2)
        ]
        for record in range(draw.randrange(1, 6)):
            terms, own_date, private = draw.choice(choices)
            day = max(own_date, START) + timedelta(
                days=draw.choice([0, 0, 1, 2, LOOK_BACK, LOOK_BACK + 1, 2 * LOOK_BACK])
            )
            rows.append(
                Row(day, f"file{draw.randrange(2)}", number * 10 + record, f"id{number}", own_date, terms, private)
            )
    return rows


def test_a_range_gives_what_its_days_give_one_by_one(spark: SparkSession) -> None:
    rows = random_rows(seed=7, ids=400, days=25)
    expected, _ = by_the_words(rows)
    assert {
        name: list(expected.values()).count(name) > 50 for name in (ACCEPTED, DUPLICATE, REJECTED)
    } == dict.fromkeys((ACCEPTED, DUPLICATE, REJECTED), True)
    assert by_spark(spark, rows, []) == expected


def test_a_range_goes_on_from_what_is_booked(spark: SparkSession) -> None:
    rows = random_rows(seed=8, ids=400, days=25)
    middle = START + timedelta(days=14)
    before, after = [r for r in rows if r.day < middle], [r for r in rows if r.day >= middle]
    _, booked = by_the_words(before)
    expected, _ = by_the_words(after, booked)
    assert by_spark(spark, after, booked) == expected


def test_what_is_not_known_of_a_booking_is_not_compared(spark: SparkSession) -> None:
    row = Row(START, "file", 1, "id", START, "terms", "address")
    known = Booking("id", START - timedelta(days=1), "terms", "another address")
    unknown = Booking("id", START - timedelta(days=1), "terms", None)
    assert by_spark(spark, [row], [known]) == {row: REJECTED}
    assert by_spark(spark, [row], [unknown]) == {row: DUPLICATE}


def test_each_reading_has_one_fate_and_only_a_refused_one_has_reasons(spark: SparkSession) -> None:
    readings = spark.createDataFrame(
        [("good", None), ("known", None), ("other", None), ("bad", "id: missing")], "id string, reasons string"
    )
    rows = [
        ("good", START, "file", 1, START, "terms", None),
        ("known", START, "file", 2, START, "terms", None),
        ("other", START, "file", 3, START, "terms", None),
    ]
    schema = "id string, day date, file string, record_number bigint, own_date date, terms string, private string"
    valid = readings.where("reasons IS NULL").join(spark.createDataFrame(rows, schema), "id")
    yesterday = START - timedelta(days=1)
    booked = spark.createDataFrame(
        [("known", yesterday, "terms", None), ("other", yesterday, "other terms", None)],
        "id string, day date, terms string, private string",
    )
    found = fates(readings, valid, booked, LOOK_BACK)
    assert found.columns == ["id", "reasons", "fate"]
    assert {tuple(row) for row in found.collect()} == {
        ("good", None, ACCEPTED),
        ("known", None, DUPLICATE),
        ("other", "conflicts with a row of this id booked on an earlier day", REJECTED),
        ("bad", "id: missing", REJECTED),
    }


def test_a_staged_id_that_is_booked_later_is_not_ok(spark: SparkSession) -> None:
    staged = spark.createDataFrame([("L1", 1), ("L2", 2)], "loan_id string, day int")
    later = spark.createDataFrame([("L2", 3), ("L2", 4), ("L3", 3)], "loan_id string, day int")
    found = not_booked_later(staged, later, "loan_id", "day")
    assert sorted(tuple(row) for row in found.collect()) == [("L1", 1, True), ("L2", 2, False)]
