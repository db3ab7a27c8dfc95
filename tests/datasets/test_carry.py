"""What a day opens with against what the day before closed with: planted errors, and a step that is refused."""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.audits.carry import Openings, next_openings, openings
from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract, Money, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.steps.audits_failed import AuditsFailed
from tests.conftest import declare
from tests.storage import Steps, StorageWithEngine

D0, D1, D2, D3, D4, D5 = (date(2025, 1, day) for day in range(1, 7))
D9 = date(2025, 1, 10)
WINDOW = Window(D1, D3)
CARRY = Carry({"opening": "principal", "opening_interest": "interest"})
RULE: dict[str, Any] = {"partitions": Daily("as_of"), "keys": ["loan_id"]}


class Balance(Contract):
    """A loan's balance on a day."""

    loan_id: str = key("Loan")
    as_of: date = key("Business date")
    opening: Money = column("Principal when the day began")
    opening_interest: Money = column("Interest when the day began")
    principal: Money = column("Principal when the day ended")
    interest: Money = column("Interest when the day ended")


Balances = dict[tuple[str, date], tuple[str, str, str, str]]

# L1 is there on all days, L2 begins on the second and ends on it, L3 ended with zeros on the day before the window.
BEFORE: Balances = {("L1", D0): ("0", "0", "10.00", "0.10"), ("L3", D0): ("5", "0", "0", "0")}
STAGED: Balances = {
    ("L1", D1): ("10.00", "0.10", "9.00", "0.20"),
    ("L1", D2): ("9.00", "0.20", "8.00", "-0.30"),
    ("L2", D2): ("0", "0", "0.00", "0"),
    ("L1", D3): ("8.00", "-0.30", "7.00", "0.40"),
}
AFTER: Balances = {("L1", D4): ("7.00", "0.40", "6.00", "0"), ("L1", D9): ("1.00", "0", "0.50", "0")}


def frame(spark: SparkSession, balances: Balances) -> DataFrame:
    rows = [(*keys, *map(Decimal, money)) for keys, money in balances.items()]
    return spark.createDataFrame(rows, spark_schema(Balance))


def compared(found: Openings, numbers: Sequence[str] = ("principal", "interest")) -> DataFrame:
    """Row by row; in sum, the partitions together say the same, and count the rows that open."""
    rows = found.row_by_row().cache()
    differ = rows.where(~F.col("ok")).collect()
    in_sum = found.in_sum(numbers).collect()
    assert all(row["ok"] is not None for row in in_sum)
    assert all(row["ok"] for row in in_sum) == (not differ)
    assert sum(row["rows"] for row in in_sum) == found.opened.count()
    return rows


def differences(rows: DataFrame) -> list[tuple[str, date]]:
    return sorted((row["loan_id"], row["as_of"]) for row in rows.where(~F.col("ok")).collect())


@pytest.fixture
def carried(storage: StorageWithEngine) -> Callable[..., DataFrame]:
    def compare(staged: Balances = STAGED, before: Balances = BEFORE, window: Window = WINDOW) -> DataFrame:
        return compared(openings(CARRY, frame(storage.spark, staged), frame(storage.spark, before), window, **RULE))

    return compare


@pytest.fixture
def goes_on(storage: StorageWithEngine) -> Callable[..., DataFrame]:
    def compare(staged: Balances = STAGED, after: Balances = AFTER, window: Window = WINDOW) -> DataFrame:
        last_published = max((day for _, day in after), default=None)
        rows = frame(storage.spark, staged), frame(storage.spark, after)
        return compared(next_openings(CARRY, *rows, window, last_published, **RULE))

    return compare


def test_each_day_is_compared_with_the_day_before(carried: Callable[..., DataFrame]) -> None:
    rows = carried()
    assert rows.columns == ["loan_id", "as_of", "differs", "ok"]
    assert {tuple(row) for row in rows.collect()} == {
        ("L1", D1, "", True),
        ("L1", D2, "", True),
        ("L1", D3, "", True),
        ("L2", D2, "", True),
        ("L2", D3, "", True),
        ("L3", D1, "", True),
    }


def test_what_differs_is_named_with_both_values(carried: Callable[..., DataFrame]) -> None:
    rows = carried({**STAGED, ("L1", D2): ("9.01", "-0.20", "8.00", "-0.30"), ("L2", D2): ("0", "0", "0.01", "0")})
    assert {row["loan_id"]: row["differs"] for row in rows.where("NOT ok").collect()} == {
        "L1": "principal closed as 9.00, opens as 9.01; interest closed as 0.20, opens as -0.20",
        "L2": "principal closed as 0.01, opens as 0.00",
    }


PLANTED = [
    pytest.param({("L1", D1): ("10.01", "0.10", "9.00", "0.20")}, [("L1", D1)], id="first day opens with a cent more"),
    pytest.param({("L1", D2): ("9.00", "0.21", "8.00", "-0.30")}, [("L1", D2)], id="later day, second balance"),
    pytest.param({("L1", D2): ("9.00", "0.20", "8.01", "-0.30")}, [("L1", D3)], id="closing that the next lacks"),
    pytest.param({("L2", D2): ("0", "0", "0.01", "0")}, [("L2", D3)], id="row that ends with something left"),
    pytest.param({("L2", D2): ("0.01", "0", "0", "0")}, [("L2", D2)], id="row that begins with something"),
    pytest.param({("L1", D1): None}, [("L1", D1), ("L1", D2)], id="first day missing"),
    pytest.param({("L1", D2): None}, [("L1", D2), ("L1", D3)], id="day missing in between"),
    pytest.param({("L1", D3): None}, [("L1", D3)], id="all of the last day missing"),
    pytest.param(dict.fromkeys(STAGED), [("L1", D1)], id="everything missing"),
    pytest.param({("L1", D3): ("8.00", "-0.30", "99.00", "99.00")}, [], id="what the last day closes with is free"),
]


@pytest.mark.parametrize(("change", "expected"), PLANTED)
def test_an_opening_that_is_not_the_closing_before_is_found(
    carried: Callable[..., DataFrame], change: dict[Any, Any], expected: list[Any]
) -> None:
    staged = {keys: money for keys, money in {**STAGED, **change}.items() if money}
    assert differences(carried(staged)) == expected


def test_a_window_of_one_day_is_compared_with_the_day_before_only(carried: Callable[..., DataFrame]) -> None:
    day = {keys: money for keys, money in STAGED.items() if keys[1] == D2}
    before = {keys: money for keys, money in STAGED.items() if keys[1] == D1}
    assert differences(carried(day, before, Window(D2, D2))) == []
    # What is left from an earlier day is not what closed before.
    assert differences(carried(day, BEFORE, Window(D2, D2))) == [("L1", D2)]


def test_balances_that_swap_are_not_taken_for_equal(carried: Callable[..., DataFrame]) -> None:
    assert differences(carried({**STAGED, ("L1", D1): ("0.10", "10.00", "9.00", "0.20")})) == [("L1", D1)]


def test_differences_that_cancel_are_not_taken_for_none(carried: Callable[..., DataFrame]) -> None:
    """What the day opens with comes to the same in all, and by the loans it does not."""
    before: Balances = {("L1", D0): ("0", "0", "10.00", "0.10"), ("L2", D0): ("0", "0", "20.00", "0.20")}
    for first, second in (("10.01", "19.99"), ("20.00", "10.00")):
        staged: Balances = {("L1", D1): (first, "0.10", "0", "0"), ("L2", D1): (second, "0.20", "0", "0")}
        assert differences(carried(staged, before, Window(D1, D1))) == [("L1", D1), ("L2", D1)]


def test_amounts_of_another_scale_are_compared_as_amounts(storage: StorageWithEngine) -> None:
    """A hundred cents and a hundred hundredths of a cent are both the number 100 to a computer."""
    schema = "k string, d date, c decimal(18,2), o decimal(18,4)"
    before = storage.spark.createDataFrame([("a", D0, Decimal("1.00"), Decimal(0))], schema)
    for opening, expected in (("0.0100", [False]), ("1.0000", [True])):
        staged = storage.spark.createDataFrame([("a", D1, Decimal(0), Decimal(opening))], schema)
        found = openings(Carry({"o": "c"}), staged, before, Window(D1, D1), partitions=Daily("d"), keys=["k"])
        assert [row["ok"] for row in found.row_by_row().collect()] == expected
        # Digests of more than 18 digits are for Spark.
        if storage.own.name == "spark":
            compared(found, ["c"])


@pytest.mark.parametrize("opened", [(D1, None), (None, D2), (D2, D1), (D1, D1), (None, None), (None, D1), (D1, D2)])
def test_dates_that_are_exchanged_are_not_taken_for_equal(
    storage: StorageWithEngine, opened: tuple[date | None, date | None]
) -> None:
    schema = "k string, d date, o1 date, o2 date, c1 date, c2 date"
    before = storage.spark.createDataFrame([("a", D0, None, None, None, D1), ("b", D0, None, None, D1, D2)], schema)
    staged = storage.spark.createDataFrame([("a", D1, *opened, None, None), ("b", D1, D1, D2, None, None)], schema)
    carry = Carry({"o1": "c1", "o2": "c2"})
    found = openings(carry, staged, before, Window(D1, D1), partitions=Daily("d"), keys=["k"])
    assert [row["ok"] for row in compared(found, []).orderBy("k").collect()] == [opened == (None, D1), True]


@pytest.mark.parametrize(
    ("before", "staged", "ok"),
    [
        pytest.param((D1, None), (D1, 0), False, id="null, then zero"),
        pytest.param((D1, 0), (D1, None), False, id="zero, then null"),
        pytest.param((None, None), (None, 0), False, id="null, then zero, of a row with nothing in it"),
        pytest.param((D1, None), (D1, None), True, id="null on both days"),
    ],
)
def test_a_number_that_is_kept_beside_a_date_is_not_taken_for_zero_if_it_is_null(
    storage: StorageWithEngine, before: tuple[date | None, int | None], staged: tuple[date | None, int | None], ok: bool
) -> None:
    schema = "k string, d date, o date, c date, n bigint"
    closed = storage.spark.createDataFrame([("a", D0, None, *before)], schema)
    opened = storage.spark.createDataFrame([("a", D1, staged[0], None, staged[1])], schema)
    carry = Carry({"o": "c"}, kept=("n",))
    found = openings(carry, opened, closed, Window(D1, D1), partitions=Daily("d"), keys=["k"])
    assert [row["ok"] for row in compared(found, []).collect()] == [ok]


def test_columns_may_have_any_name(storage: StorageWithEngine) -> None:
    schema = "digest string, rows date, o bigint, opens bigint, ok string"
    before = storage.spark.createDataFrame([("a", D0, 0, 1, "x")], schema)
    staged = storage.spark.createDataFrame([("a", D1, 2, 0, "x")], schema)
    carry = Carry({"o": "opens"})
    found = openings(carry, staged, before, Window(D1, D1), partitions=Daily("rows"), keys=["digest"])
    assert [row["differs"] for row in compared(found, ["opens"]).collect()] == ["opens closed as 1, opens as 2"]


def test_balances_may_be_kept_by_several_keys_and_be_numbers(storage: StorageWithEngine) -> None:
    schema = "k string, l string, d date, o bigint, c bigint"
    before = storage.spark.createDataFrame([("a", "x", D0, 0, 2), ("a", "y", D0, 0, 3)], schema)
    staged = storage.spark.createDataFrame([("a", "x", D1, 2, 0), ("a", "y", D1, 2, 0)], schema)
    found = openings(Carry({"o": "c"}), staged, before, Window(D1, D1), partitions=Daily("d"), keys=["k", "l"])
    assert [tuple(row) for row in compared(found, ["c"]).orderBy("l").collect()] == [
        ("a", "x", D1, "", True),
        ("a", "y", D1, "c closed as 3, opens as 2", False),
    ]


def test_months_go_on_from_months(storage: StorageWithEngine) -> None:
    december, january, february = date(2024, 12, 1), date(2025, 1, 1), date(2025, 2, 1)
    rule: dict[str, Any] = {"partitions": Monthly("d"), "keys": ["k"]}

    def rows(*of: tuple[str, date, int, int]) -> DataFrame:
        return storage.spark.createDataFrame(list(of), "k string, d date, o bigint, c bigint")

    staged, before = rows(("a", january, 2, 3), ("a", february, 4, 5)), rows(("a", december, 0, 2))
    window, carry = Window(january, february), Carry({"o": "c"})
    found = openings(carry, staged, before, window, **rule)
    assert [tuple(row) for row in compared(found, ["c"]).orderBy("d").collect()] == [
        ("a", january, "", True),
        ("a", february, "c closed as 3, opens as 4", False),
    ]
    march = date(2025, 3, 1)
    found = next_openings(carry, staged, rows(("a", march, 6, 6)), window, march, **rule)
    assert [tuple(row)[:3] for row in compared(found, ["c"]).collect()] == [("a", march, "c closed as 5, opens as 6")]


Opening = tuple[int | None, date | None, str | None, str | None]


@pytest.mark.parametrize(
    ("closed", "opened", "expected"),
    [
        pytest.param((1, D0, "a", "b"), (1, D0, "a", "b"), "", id="the same"),
        pytest.param((0, None, None, None), (0, None, None, None), "", id="nulls on both days"),
        pytest.param((1, D0, "a", None), (1, D1, "a", None), f"at closed as {D0}, opens as {D1}", id="another date"),
        pytest.param(
            (1, D0, "a", None), (1, None, "a", None), f"at closed as {D0}, opens as null", id="date, then none"
        ),
        pytest.param(
            (1, None, "a", None), (1, D0, "a", None), f"at closed as null, opens as {D0}", id="none, then a date"
        ),
        pytest.param(
            (1, D0, "a", "b"),
            (1, D0, "x", "y"),
            "k closed as a, opens as x; l closed as b, opens as y",
            id="neither kept",
        ),
        pytest.param((1, D0, "a", "b"), (1, D0, None, "b"), "k closed as a, opens as null", id="not kept, but null"),
        pytest.param((1, D0, None, "b"), (1, D0, "a", "b"), "k closed as null, opens as a", id="null, but not kept"),
        pytest.param(
            (0, None, "a", "b"), (0, None, "x", "b"), "k closed as a, opens as x", id="nothing, but not kept either"
        ),
        pytest.param(
            (0, None, "a", None),
            (0, None, None, "a"),
            "k closed as a, opens as null; l closed as null, opens as a",
            id="nothing, and one kept as the other",
        ),
        pytest.param(
            (1, D0, "a", None),
            (1, D0, None, "a"),
            "k closed as a, opens as null; l closed as null, opens as a",
            id="one kept as the other",
        ),
        pytest.param(None, (0, None, "a", "b"), "", id="begins with nothing"),
        pytest.param(None, (0, D0, "a", "b"), f"at closed as null, opens as {D0}", id="begins with a date"),
        pytest.param((0, None, "a", "b"), None, "", id="ends with nothing"),
        pytest.param((0, D0, "a", "b"), None, f"at closed as {D0}, opens as null", id="ends with a date"),
    ],
)
def test_dates_are_carried_and_what_a_row_keeps_is_compared(
    storage: StorageWithEngine, closed: Opening | None, opened: Opening | None, expected: str
) -> None:
    def day(row: Opening | None, *names: str) -> DataFrame:
        n, at, other_n, other_at = names
        schema = f"id string, d date, {n} bigint, {at} date, k string, l string, {other_n} bigint, {other_at} date"
        as_of = D0 if n == "n" else D1
        return storage.spark.createDataFrame([] if row is None else [("A", as_of, *row, None, None)], schema)

    before, staged = (
        day(closed, "n", "at", "opening_n", "opening_at"),
        day(opened, "opening_n", "opening_at", "n", "at"),
    )
    carry = Carry({"opening_n": "n", "opening_at": "at"}, kept=("k", "l"))
    found = openings(carry, staged, before, Window(D1, D1), partitions=Daily("d"), keys=["id"])
    assert [(row["ok"], row["differs"]) for row in compared(found, ["n"]).collect()] == [(expected == "", expected)]


def test_the_next_published_day_goes_on_from_the_window(goes_on: Callable[..., DataFrame]) -> None:
    (row,) = goes_on().collect()
    assert row.asDict() == {
        "loan_id": "L1",
        "as_of": D4,
        "differs": "",
        "ok": True,
        "run_instead": "2025-01-02...2025-01-10",
    }


@pytest.mark.parametrize(
    ("staged", "after", "expected"),
    [
        pytest.param({("L1", D3): ("8.00", "-0.30", "7.01", "0.40")}, {}, [("L1", D4)], id="closes otherwise now"),
        pytest.param({("L1", D3): None}, {}, [("L1", D4)], id="is gone now"),
        pytest.param({("L2", D3): ("0", "0", "0.01", "0")}, {}, [("L2", D4)], id="was not there then"),
        pytest.param({("L2", D3): ("0", "0", "0", "0")}, {}, [], id="was not there then, and has nothing"),
        pytest.param({}, {("L1", D4): None}, [("L1", D4)], id="next day without rows, a later one with"),
        pytest.param({("L1", D3): ("8.00", "-0.30", "7.01", "0.40")}, dict.fromkeys(AFTER), [], id="nothing after"),
        pytest.param({("L1", D2): ("9.99", "9.99", "9.99", "9.99")}, {}, [], id="other days of the window"),
    ],
)
def test_a_closing_with_which_the_next_published_day_did_not_open_is_found(
    goes_on: Callable[..., DataFrame], staged: dict[Any, Any], after: dict[Any, Any], expected: list[Any]
) -> None:
    rows = goes_on(
        {keys: money for keys, money in {**STAGED, **staged}.items() if money},
        {keys: money for keys, money in {**AFTER, **after}.items() if money},
    )
    assert differences(rows) == expected


# In a step: a balance that grows by what a day's list says.


def balances_of(moved: dict[date, str]) -> Dataset:
    """One loan's principal: each day has a row, and adds what is moved on it."""

    def balances(previous_partition: DataFrame, window: Window) -> DataFrame:
        principal = sum((row["principal"] for row in previous_partition.collect()), Decimal(0))
        rows: Balances = {}
        for day in Daily("as_of").starts(window):
            opening, principal = principal, principal + Decimal(moved.get(day, "0"))
            if opening or principal:
                rows["L1", day] = (str(opening), "0", str(principal), "0")
        return frame(SparkSession.active(), rows)

    return declare(balances, Balance, Daily("as_of"), carry=CARRY)


def test_a_day_in_the_middle_that_would_close_otherwise_is_refused_with_the_range_to_run(steps: Steps) -> None:
    steps.run(balances_of({D1: "5", D2: "5"}), Window(D1, D4))
    corrected = balances_of({D1: "5", D2: "6"})
    says = r"(?s)next_day_opens_as_closed: 1 of 1 failed .*, run_instead=2025-01-03\.\.\.2025-01-05"
    with pytest.raises(AuditsFailed, match=says):
        steps.run(corrected, Window(D2, D2), run="correction")
    assert [row[4] for row in steps.rows(corrected, order="as_of")] == [Decimal(n) for n in (5, 10, 10, 10)]
    steps.run(corrected, Window(D2, D4), run="range")
    assert [row[4] for row in steps.rows(corrected, order="as_of")] == [Decimal(n) for n in (5, 11, 11, 11)]


def test_a_day_whose_next_ones_were_published_without_rows_is_refused_too(steps: Steps) -> None:
    steps.run(balances_of({}), Window(D1, D4))
    with pytest.raises(AuditsFailed, match=r"run_instead=2025-01-02\.\.\.2025-01-05"):
        steps.run(balances_of({D1: "5"}), Window(D1, D1), run="correction")
    assert steps.rows(balances_of({}), order="as_of") == []


def test_a_day_in_the_middle_that_closes_as_before_is_published(steps: Steps) -> None:
    steps.run(balances_of({D1: "5", D2: "5"}), Window(D1, D4))
    assert steps.run(balances_of({D1: "5", D2: "5"}), Window(D2, D3), run="again").rows == {D2: 1, D3: 1}
