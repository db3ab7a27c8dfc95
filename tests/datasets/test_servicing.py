"""The accounts of random loans through Spark: the same rows as the rules alone give, in one range or day by day."""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.audits.carry import audits_of
from affirm_assets.datasets.adjustments.adjustments import Adjustment
from affirm_assets.datasets.loans.loan_schedules import (
    all_but_the_last_are_level,
    every_loan_is_repaid,
    instalments_follow_each_other,
    interest_is_what_accrues,
    loan_schedules,
)
from affirm_assets.datasets.loans.loans import Loan
from affirm_assets.datasets.servicing import _accounts
from affirm_assets.datasets.servicing.charge_offs import ChargedOffLoan, charge_offs, net_loss_adds_up
from affirm_assets.datasets.servicing.loan_balances import (
    LoanBalance,
    delinquency_follows_from_the_due_date,
    every_loan_is_lent_once,
    every_transaction_is_applied,
    interest_is_principal_times_rate_times_days,
    loan_balances,
    money_is_where_it_can_be,
    movements_add_up,
)
from affirm_assets.datasets.servicing.payment_applications import (
    applications_are_the_balances_movements,
    every_transaction_has_one,
    payment_applications,
)
from affirm_assets.datasets.transactions.suspense import Suspense
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.declare import Audit, Lookup
from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.partitions import Window
from affirm_assets.lender.finance.account import EARLY_REVERSAL_DAYS, Account
from affirm_assets.lender.finance.days import applications, days
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.schedule import schedule
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, WITHOUT_AMOUNT
from tests.datasets import lender
from tests.datasets.lender import Row, changed, frame, not_ok
from tests.storage import Keep

FIRST, LAST = date(2025, 1, 1), date(2025, 10, 31)
LOANS = 60

OPENS, NEXT_DAY_OPENS = audits_of(loan_balances)
CHARGE_OFFS_OPEN, CHARGE_OFFS_NEXT_DAY_OPENS = audits_of(charge_offs)

History = tuple[Terms, date, list[Movement]]


def random_history(number: int) -> History:
    """A loan, the day on which it is booked and what moves it: some borrowers stop paying, some rows come late, and
    where the loan is booked late, some wait for it in suspense."""
    rng = Random(number)
    originated_on = FIRST + timedelta(days=rng.randrange(60))
    agreed: dict[str, Any] = {
        "principal": Decimal(rng.randrange(50_00, 3000_00)) / 100,
        "apr": Decimal(rng.choice(["0", "9.99", "35.99"])),
        "instalments": rng.choice([3, 4, 6]),
        "frequency": rng.choice(["biweekly", "monthly"]),
        "originated_on": originated_on,
        "first_due_on": originated_on + timedelta(days=rng.randrange(14, 40)),
        "merchant_discount": Decimal("12.34"),
    }
    if number % 3 == 0:  # a contract's own cent, and month's ends
        agreed |= {"instalment": Terms.agreed(**agreed).instalment - Decimal("0.01"), "due_day": 31}
        if agreed["frequency"] == "monthly":
            agreed["first_due_on"] = month_end(agreed["first_due_on"])
    terms = Terms.agreed(**agreed)
    booked_on = originated_on + timedelta(days=rng.choice([0, 0, 0, 90]))
    movements: list[Movement] = []
    for position in range(rng.choice([0, 2, 6, 9])):
        effective_on = originated_on + timedelta(days=rng.randrange(1, 200))
        came_on = effective_on + timedelta(days=rng.choice([0, 0, 0, 1, 30]))
        kind = rng.choice(["payment"] * 6 + ["refund", "recovery", "credit_refund", "adjustment"])
        if kind == "adjustment":
            movements.append(decided(rng, f"{number}-{position}", max(came_on, booked_on), effective_on, movements))
            continue
        amount = rng.choice([terms.instalment, terms.principal, 2 * terms.principal, Decimal("10.01")])
        movements.append(came(came_on, booked_on, f"T{number}-{position}", kind, amount, effective_on))
    for paid in [each for each in movements if each.kind == "payment"]:
        if rng.random() < 0.2:
            back_on = (paid.came_on or paid.posted_on) + timedelta(days=rng.choice([0, 3]))
            of = paid.transaction_id
            movements.append(came(back_on, booked_on, f"{of}R", "payment_reversal", paid.amount, back_on, of))
    return terms, booked_on, [each for each in movements if each.posted_on <= LAST]


def month_end(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


def decided(rng: Random, name: str, posted_on: date, effective_on: date, earlier: Sequence[Movement]) -> Movement:
    kind = rng.choice(ADJUSTMENT_KINDS)
    amount = Decimal(0) if kind in WITHOUT_AMOUNT else rng.choice([Decimal("10.01"), Decimal("2.50")])
    of = rng.choice(earlier).transaction_id if earlier else "none"
    cleared = of if kind == "clear_unapplied" else None
    return Movement(f"adjustment/A{name}", kind, amount, posted_on, min(effective_on, posted_on), cleared)


def came(came_on: date, booked_on: date, name: str, kind: Any, amount: Decimal, *rest: Any) -> Movement:
    """A movement that waits in suspense if it came before its loan was booked."""
    is_early = came_on < booked_on
    return Movement(name, kind, amount, max(came_on, booked_on), *rest, came_on=came_on if is_early else None)


def states_all(loan_id: str) -> bool:
    """Whether its contract states its instalment and due day."""
    return int(loan_id[1:]) % 3 == 0


def due_day(terms: Terms) -> int | None:
    return terms.due_day if terms.frequency == "monthly" else None


HISTORIES = {f"L{number:03}": random_history(number) for number in range(LOANS)}


def loan_row(loan_id: str) -> Row:
    terms, booked_on, _ = HISTORIES[loan_id]
    agreed = {
        "principal": terms.principal,
        **{name: getattr(terms, name) for name in _accounts.TERMS if name not in ("amount_lent", "effective_rate")},
    }
    agreed |= {"due_day": due_day(terms)} if states_all(loan_id) else {"instalment": None, "due_day": None}
    names = {"user_id": "U", "merchant_id": "M", "borrower_state": "CA", "currency": "USD", "file": "f"}
    return {**agreed, **names, "loan_id": loan_id, "booked_on": booked_on, "product": "installment", "record_number": 1}


def adjustment_row(loan_id: str, movement: Movement) -> Row:
    return lender.row(
        Adjustment,
        adjustment_id=movement.transaction_id.removeprefix("adjustment/"),
        loan_id=loan_id,
        product="installment",
        kind=movement.kind,
        amount=None if movement.kind in WITHOUT_AMOUNT else movement.amount,
        posted_on=movement.posted_on,
        effective_on=movement.effective_on,
        transaction_id=movement.reverses,
    )


def transaction_row(loan_id: str, movement: Movement) -> Row:
    fields = {name: getattr(movement, name) for name in Movement.__slots__}
    return {
        **fields,
        "posted_on": movement.came_on or movement.posted_on,
        "loan_id": loan_id,
        "merchant_id": None,
        "product": "none" if movement.came_on else "installment",
        "file": "f",
        "record_number": 1,
    }


def suspense_row(loan_id: str, movement: Movement) -> Row:
    """Its last day in suspense."""
    fields = {name: getattr(movement, name) for name in Movement.__slots__}
    days = {"as_of": movement.posted_on, "waiting_since": movement.came_on, "taken_up_on": movement.posted_on}
    return {
        **fields,
        **days,
        "loan_id": loan_id,
        "merchant_id": None,
        "opening": movement.amount,
        "closing": Decimal(0),
    }


def inputs(
    spark: SparkSession,
    window: Window,
    opening: DataFrame | None = None,
    name_of_opening: str = "previous_partition",
) -> dict[str, Any]:
    loans = [loan_row(loan_id) for loan_id in HISTORIES]
    of_loans = [(loan_id, each) for loan_id, (_, _, all_of) in HISTORIES.items() for each in all_of]
    moved = [transaction_row(*each) for each in of_loans if each[1].kind not in ADJUSTMENT_KINDS]
    adjusted = [adjustment_row(*each) for each in of_loans if each[1].kind in ADJUSTMENT_KINDS]
    waited = [suspense_row(loan_id, m) for loan_id, (_, _, all_of) in HISTORIES.items() for m in all_of if m.came_on]

    def inside(day: date) -> bool:
        return window.first <= day <= window.last

    def is_recent(day: date) -> bool:
        return window.first - timedelta(days=EARLY_REVERSAL_DAYS) <= day < window.first

    return {
        "loans": frame(spark, Loan, [row for row in loans if inside(row["booked_on"])]),
        "transactions": frame(spark, Transaction, [row for row in moved if inside(row["posted_on"])]),
        "suspense": frame(spark, Suspense, [row for row in waited if inside(row["as_of"])]),
        "adjustments": frame(spark, Adjustment, [row for row in adjusted if inside(row["posted_on"])]),
        name_of_opening: frame(spark, LoanBalance, []) if opening is None else opening,
        "recent_transactions": frame(spark, Transaction, [row for row in moved if is_recent(row["posted_on"])]),
        "all_loans": by_loan_id(frame(spark, Loan, [row for row in loans if row["booked_on"] <= window.last])),
        "all_transactions": by_loan_id(frame(spark, Transaction, [r for r in moved if r["posted_on"] <= window.last])),
        "all_adjustments": by_loan_id(frame(spark, Adjustment, [r for r in adjusted if r["posted_on"] <= window.last])),
    }


def by_loan_id(rows: DataFrame) -> Lookup:
    def found(keys: DataFrame | Sequence[str]) -> DataFrame:
        assert not isinstance(keys, DataFrame), "these histories have few loans"
        return rows.where(F.col("loan_id").isin(*keys))

    return found


def rows(balances: DataFrame) -> list[Row]:
    return sorted((row.asDict() for row in balances.collect()), key=lambda row: (row["loan_id"], row["as_of"]))


@pytest.fixture(scope="module")
def expected() -> list[Row]:
    """By the rules alone."""
    found = []
    for loan_id, (terms, booked_on, movements) in HISTORIES.items():
        of_loan = {
            **loan_row(loan_id),
            "instalment": terms.instalment,
            "due_day": due_day(terms),
            "effective_rate": terms.effective_rate,
        }
        of_loan["amount_lent"] = terms.principal
        fixed = {name: of_loan[name] for name in spark_schema(LoanBalance).names if name in of_loan}
        for day in days(Account.opened(terms, booked_on), LAST, movements, is_new=True):
            found.append({**fixed, **day._asdict()})
    return found


WHOLE = Window(FIRST, LAST)


@pytest.fixture(scope="module")
def balances(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(loan_balances(**inputs(spark, WHOLE), window=WHOLE))


def test_a_range_gives_what_the_rules_give(balances: DataFrame, expected: list[Row]) -> None:
    found = rows(balances)
    assert len(found) == len(expected) > 8_000
    for row, wanted in zip(found, expected, strict=True):
        assert row == wanted


def test_the_histories_have_every_kind_of_day(expected: list[Row]) -> None:
    moved = ("principal_reversed", "principal_refunded", "principal_charged_off", "interest_given_back")
    for name in (
        *moved,
        "credit_overpaid",
        "credit_paid_out",
        "recovery_principal",
        "recovery_interest",
        "unapplied_moved",
    ):
        assert any(row[name] for row in expected), name
    assert any(row["interest_paid"] < 0 for row in expected)
    waited = {each.kind for _, _, movements in HISTORIES.values() for each in movements if each.came_on}
    assert waited >= {"payment", "payment_reversal", "refund"}


def test_windows_one_after_another_give_the_same_rows(
    spark: SparkSession, balances: DataFrame, expected: list[Row]
) -> None:
    """Single days and longer windows: each takes over what the one before it left."""
    opening, found = None, []
    ends = [date(2025, 1, 20), date(2025, 1, 21), date(2025, 1, 22), date(2025, 3, 1), date(2025, 7, 1), LAST]
    first = FIRST
    for last in ends:
        window = Window(first, last)
        computed = rows(loan_balances(**inputs(spark, window, opening), window=window))
        found += computed
        opening = frame(spark, LoanBalance, [row for row in computed if row["as_of"] == last])
        first = last + timedelta(days=1)
    assert sorted(found, key=lambda row: (row["loan_id"], row["as_of"])) == expected


SETTLED = (
    Terms.agreed(
        principal=Decimal("100.00"),
        apr=Decimal(0),
        instalments=4,
        frequency="biweekly",
        originated_on=date(2025, 1, 1),
        first_due_on=date(2025, 1, 15),
        merchant_discount=Decimal("5.00"),
    ),
    date(2025, 1, 1),
    [
        Movement("T1", "payment", Decimal("100.00"), date(2025, 1, 20), date(2025, 1, 20)),
        Movement("T2", "refund", Decimal("40.00"), date(2025, 8, 5), date(2025, 8, 5)),
    ],
)
"""Repaid in January, so that its rows end in July; refunded in August."""


def after_its_rows_ended(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, history: History) -> DataFrame:
    window = Window(date(2025, 8, 1), date(2025, 8, 10))
    monkeypatch.setattr(f"{__name__}.HISTORIES", {"L1": history})
    return loan_balances(**inputs(spark, window), window=window)


def test_a_movement_on_a_loan_whose_rows_have_ended_finds_its_past(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms, booked_on, movements = SETTLED
    found = rows(after_its_rows_ended(spark, monkeypatch, SETTLED))
    assert [(row["as_of"].day, row["credit"], row["opening_paid"], row["discount_returned"]) for row in found] == [
        (day, Decimal("40.00"), Decimal("0.00" if day == 5 else "100.00"), Decimal("2.00")) for day in range(5, 11)
    ]
    expected = [
        day
        for day in days(Account.opened(terms, booked_on), date(2025, 8, 10), movements, is_new=True)
        if day.as_of.month == 8
    ]
    assert [{name: row[name] for name in expected[0]._fields} for row in found] == [day._asdict() for day in expected]


def test_a_loan_that_owes_and_has_no_balance_stops_the_step(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not paid, so charged off in May: such a loan keeps its rows for ever."""
    terms, booked_on, (_, refund) = SETTLED
    with pytest.raises(PySparkException, match=r"loan L1: expected a balance on 2025-07-31.*Run the balances from"):
        after_its_rows_ended(spark, monkeypatch, (terms, booked_on, [refund])).collect()


def test_a_balance_that_its_transactions_do_not_make_stops_the_step(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, keep: Keep
) -> None:
    """Else the difference would be posted on the refund that asks for the past."""
    terms, booked_on, _ = SETTLED
    day = date(2025, 1, 20)
    eve = day - timedelta(days=1)
    refund = Movement("T2", "refund", Decimal("1.00"), day, day)
    paid = Movement("T1", "payment", Decimal("25.00"), eve, eve)
    monkeypatch.setattr(f"{__name__}.HISTORIES", {"L1": (terms, booked_on, [paid, refund])})
    before, window = Window(booked_on, eve), Window(day, day)
    opening = keep(loan_balances(**inputs(spark, before), window=before).where(f"as_of = DATE'{eve}'"))
    assert rows(loan_balances(**inputs(spark, window, opening), window=window))[0]["refunded"] == 1

    corrected = replace(paid, amount=Decimal("26.00"))
    monkeypatch.setattr(f"{__name__}.HISTORIES", {"L1": (terms, booked_on, [corrected, refund])})
    found = r"loan L1: expected the balance of 2025-01-19 .* paid 25\.00 and not 26\.00\..* run the balances from"
    with pytest.raises(PySparkException, match=found):
        loan_balances(**inputs(spark, window, opening), window=window).collect()


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=40)])
def test_a_payment_whose_reversal_came_the_day_before_comes_to_nothing(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, age: timedelta
) -> None:
    terms, booked_on, _ = SETTLED
    came = date(2025, 3, 15)
    payment = Movement("T1", "payment", Decimal("25.00"), came, came - age)
    eve = came - timedelta(days=1)
    reversal = Movement("R1", "payment_reversal", Decimal("25.00"), eve, eve - age, "T1")
    monkeypatch.setattr(f"{__name__}.HISTORIES", {"L1": (terms, booked_on, [payment, reversal])})
    before, window = Window(booked_on, eve), Window(came, came)
    opening = loan_balances(**inputs(spark, before), window=before).where(f"as_of = DATE'{eve}'")
    given = inputs(spark, window, opening)

    [row] = rows(loan_balances(**given, window=window))
    assert (row["principal"], row["paid"], row["unapplied"]) == (Decimal("100.00"), 0, 0)
    assert row["opening_unapplied"] == -row["unapplied_moved"] == -payment.amount
    given["opening_balances"] = given.pop("previous_partition")
    [application] = payment_applications(**given, window=window).collect()
    assert application.exception == "was reversed before it came"


def applied(loan_ids: Sequence[str]) -> list[tuple[Any, ...]]:
    found = []
    for loan_id in loan_ids:
        terms, booked_on, movements = HISTORIES[loan_id]
        for movement, application in applications(Account.opened(terms, booked_on), LAST, movements, is_new=True):
            found.append((movement.transaction_id, movement.posted_on, application.interest, application.principal))
    return sorted(found)


def test_applications_of_a_later_window_know_what_happened_before_it(spark: SparkSession, balances: DataFrame) -> None:
    cut = date(2025, 4, 1)
    opening = balances.where(f"as_of = DATE'{cut}'")
    window = Window(cut + timedelta(days=1), LAST)
    found = payment_applications(**inputs(spark, window, opening, "opening_balances"), window=window)
    assert sorted((row.transaction_id, row.posted_on, row.interest, row.principal) for row in found.collect()) == [
        each for each in applied(list(HISTORIES)) if each[1] > cut
    ]


@pytest.fixture(scope="module")
def staged_applications(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(payment_applications(**inputs(spark, WHOLE, None, "opening_balances"), window=WHOLE))


def test_audits_of_the_balances_pass(spark: SparkSession, balances: DataFrame) -> None:
    given = inputs(spark, WHOLE)
    nothing = frame(spark, LoanBalance, [])
    for each in OF_ROWS:
        assert not_ok(each.function(balances)) == 0, each.name
    assert not_ok(OPENS.function(balances, nothing, WHOLE)) == 0
    assert not_ok(every_loan_is_lent_once.function(balances, given["loans"])) == 0
    assert not_ok(every_transaction_is_applied.function(balances, given["transactions"], given["suspense"])) == 0
    assert NEXT_DAY_OPENS.function(balances, nothing, WHOLE, None).count() == 0


OF_ROWS = (
    movements_add_up,
    interest_is_principal_times_rate_times_days,
    delinquency_follows_from_the_due_date,
    money_is_where_it_can_be,
)


def planted(balances: DataFrame, **changes: str) -> DataFrame:
    """One row changed: the last of a loan's that was paid in the middle of the range."""
    chosen = balances.where("principal_paid > 0 AND as_of BETWEEN DATE'2025-02-10' AND DATE'2025-09-01'").orderBy(
        "loan_id"
    )
    row = chosen.first()
    assert row is not None
    is_chosen = f"loan_id = '{row.loan_id}' AND as_of = DATE'{row.as_of}'"
    return changed(balances, is_chosen, **changes)


@pytest.mark.parametrize("name", ["principal", "interest", "credit", "interest_accrued", "principal_paid"])
def test_a_cent_too_much_does_not_add_up(balances: DataFrame, name: str) -> None:
    assert not_ok(movements_add_up.function(planted(balances, **{name: f"{name} + 0.01"}))) == 1


@pytest.mark.parametrize("name", ["principal", "interest", "credit", "opening_principal", "paid"])
def test_a_day_that_opens_with_another_cent_is_found(spark: SparkSession, balances: DataFrame, name: str) -> None:
    wrong = planted(balances, **{name: f"{name} + 0.01"})
    assert not_ok(OPENS.function(wrong, frame(spark, LoanBalance, []), WHOLE)) >= 1


@pytest.mark.parametrize(
    "change",
    [
        *(
            {name: f"{name} + 0.01"}
            for name in ("refunded", "discount_returned", "recovered_principal", "waived_interest", "unapplied")
        ),
        *({name: f"{name} + 0.01"} for name in ("charged_off_principal", "charged_off_interest")),
        *({name: "DATE'2025-01-31'"} for name in ("charged_off_on", "settled_on")),
        *(
            {name: f"{name} + 1"}
            for name in (
                "last_instalment",
                "apr",
                "instalments",
                "instalment",
                "amount_lent",
                "merchant_discount",
            )
        ),
        *({name: f"date_sub({name}, 1)"} for name in ("booked_on", "originated_on", "first_due_on")),
        {"frequency": "IF(frequency = 'monthly', 'biweekly', 'monthly')"},
        {"product": "'pay_in_4'"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_day_that_takes_over_something_else_is_found(
    spark: SparkSession, balances: DataFrame, change: dict[str, str]
) -> None:
    (name,) = change
    compared = OPENS.function(planted(balances, **change), frame(spark, LoanBalance, []), WHOLE)
    found = compared.where("NOT ok").collect()
    assert found
    assert [row.differs for row in found if not row.differs.startswith(f"{name} closed as ")] == []


def test_all_that_an_account_is_made_of_is_compared() -> None:
    assert loan_balances.carry is not None
    assert {*_accounts.LOAN, *_accounts.TERMS, *_accounts.STATE} == {
        *("loan_id", "as_of"),
        *loan_balances.carry.columns.values(),
        *loan_balances.carry.kept,
    }


REPAID = Movement("T1", "payment", Decimal("100.00"), date(2025, 1, 20), date(2025, 1, 20))


@pytest.mark.parametrize(
    "later",
    [
        pytest.param([], id="nothing"),
        pytest.param([("refund", "40.00", date(2025, 8, 5))], id="comes back to stay"),
        pytest.param([("recovery", "5.00", date(2025, 7, 20))], id="a day of its own, right after its last"),
        pytest.param([("recovery", "5.00", date(2025, 8, 5)), ("recovery", "6.00", date(2025, 8, 6))], id="two days"),
        pytest.param(
            [("refund", "40.00", date(2025, 7, 18)), ("credit_refund", "40.00", date(2025, 8, 5))], id="twice"
        ),
        pytest.param(
            [("refund", "40.00", date(2025, 8, 5)), ("credit_refund", "40.00", date(2025, 8, 5))], id="in one"
        ),
    ],
)
def test_rows_of_a_settled_loan_may_end_and_come_back(spark: SparkSession, later: list[tuple[Any, str, date]]) -> None:
    terms, booked_on, _ = SETTLED
    moved = [Movement(f"T{n}", kind, Decimal(amount), on, on) for n, (kind, amount, on) in enumerate(later, 2)]
    fixed = {**lender.row(LoanBalance), "amount_lent": terms.principal, "booked_on": booked_on, "loan_id": "L"}
    expected = [
        {**fixed, **each._asdict()}
        for each in days(Account.opened(terms, booked_on), LAST, [REPAID, *moved], is_new=True)
    ]
    staged, nothing = frame(spark, LoanBalance, expected), frame(spark, LoanBalance, [])
    assert len(expected) >= 200
    compared = OPENS.function(staged, nothing, WHOLE)
    assert not_ok(compared) == 0, compared.where("NOT ok").collect()


NOTICE = Movement("adjustment/A1", "bankruptcy", Decimal("0.00"), date(2025, 1, 5), date(2025, 1, 5))


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([replace(REPAID, amount=Decimal("99.50"))], id="after a small balance was waived"),
        pytest.param([NOTICE, REPAID], id="after a notice, and a payment before its day"),
        pytest.param(
            [
                NOTICE,
                replace(
                    NOTICE,
                    transaction_id="adjustment/A2",
                    kind="undo_charge_off",
                    effective_on=date(2025, 3, 8),
                    posted_on=date(2025, 3, 8),
                ),
                replace(REPAID, posted_on=date(2025, 3, 9), effective_on=date(2025, 3, 9)),
            ],
            id="after an undone charge-off",
        ),
    ],
)
def test_rows_of_a_loan_end_and_come_back_whatever_was_decided_about_it(
    spark: SparkSession, before: list[Movement]
) -> None:
    terms, booked_on, _ = SETTLED
    later = Movement("T9", "refund", Decimal("40.00"), date(2025, 10, 20), date(2025, 10, 20))
    fixed = {**lender.row(LoanBalance), "amount_lent": terms.principal, "booked_on": booked_on, "loan_id": "L"}
    account = Account.opened(terms, booked_on)
    expected = [{**fixed, **each._asdict()} for each in days(account, LAST, [*before, later], is_new=True)]
    assert {each["status"] for each in expected[-1:]} == {"repaid"}
    assert len(expected) < (LAST - booked_on).days
    compared = OPENS.function(frame(spark, LoanBalance, expected), frame(spark, LoanBalance, []), WHOLE)
    assert not_ok(compared) == 0, compared.where("NOT ok").collect()


def test_a_loan_whose_rows_end_too_early_is_found(spark: SparkSession, balances: DataFrame) -> None:
    owing = balances.where("status = 'open' AND as_of = DATE'2025-06-01'").first()
    assert owing is not None
    cut = balances.where(f"NOT (loan_id = '{owing.loan_id}' AND as_of > DATE'2025-06-01')")
    assert not_ok(OPENS.function(cut, frame(spark, LoanBalance, []), WHOLE)) == 1


def test_a_loan_that_is_not_lent_is_found(spark: SparkSession, balances: DataFrame) -> None:
    given = inputs(spark, WHOLE)
    assert not_ok(every_loan_is_lent_once.function(balances.where("loan_id <> 'L007'"), given["loans"])) == 1


def test_a_transaction_applied_with_a_cent_less_is_found(spark: SparkSession, balances: DataFrame) -> None:
    given = inputs(spark, WHOLE)
    wrong = planted(balances, principal_paid="principal_paid - 0.01")
    assert not_ok(every_transaction_is_applied.function(wrong, given["transactions"], given["suspense"])) == 1


def test_a_day_that_closes_otherwise_than_the_next_opened_is_found(spark: SparkSession, balances: DataFrame) -> None:
    window = Window(date(2025, 5, 1), date(2025, 5, 3))
    staged = balances.where("as_of BETWEEN DATE'2025-05-01' AND DATE'2025-05-03'")
    after = balances.where("as_of > DATE'2025-05-03'")
    assert not_ok(NEXT_DAY_OPENS.function(staged, after, window, LAST)) == 0
    wrong = staged.withColumn("accrued", staged.accrued + Decimal("0.00000001"))
    failed = NEXT_DAY_OPENS.function(wrong, after, window, LAST).where("NOT ok")
    assert {row.run_instead for row in failed.collect()} == {"2025-05-01...2025-10-31"}


def test_audits_of_the_applications_pass(
    spark: SparkSession, balances: DataFrame, staged_applications: DataFrame
) -> None:
    given = inputs(spark, WHOLE)
    checked = every_transaction_has_one.function(
        staged_applications, given["transactions"], given["suspense"], given["adjustments"]
    )
    assert not_ok(checked) == 0
    assert checked.count() == len(applied(list(HISTORIES)))
    assert not_ok(applications_are_the_balances_movements.function(staged_applications, balances)) == 0


@pytest.mark.parametrize(
    "name",
    ["interest", "principal", "credit", "recovery_principal", "recovery_interest", "unapplied", "interest_given_back"],
)
def test_an_application_of_another_cent_is_found(
    spark: SparkSession, balances: DataFrame, staged_applications: DataFrame, name: str
) -> None:
    first = staged_applications.orderBy("transaction_id").first()
    assert first is not None
    wrong = changed(staged_applications, f"transaction_id = '{first.transaction_id}'", **{name: f"{name} + 0.01"})
    assert not_ok(applications_are_the_balances_movements.function(wrong, balances)) == 1


def test_a_transaction_without_application_is_found(spark: SparkSession, staged_applications: DataFrame) -> None:
    given = inputs(spark, WHOLE)
    first = staged_applications.orderBy("transaction_id").first()
    assert first is not None
    missing = staged_applications.where(f"transaction_id <> '{first.transaction_id}'")
    assert (
        not_ok(
            every_transaction_has_one.function(missing, given["transactions"], given["suspense"], given["adjustments"])
        )
        == 1
    )


@pytest.fixture(scope="module")
def charged_off(balances: DataFrame, keep: Keep) -> DataFrame:
    return keep(charge_offs(balances))


def test_charge_offs_grow_by_the_movements(spark: SparkSession, balances: DataFrame, charged_off: DataFrame) -> None:
    nothing = frame(spark, ChargedOffLoan, [])
    assert charged_off.where("principal_recovered > 0").count() > 0
    assert not_ok(CHARGE_OFFS_OPEN.function(charged_off, nothing, WHOLE, balances)) == 0
    cut = date(2025, 8, 1)
    before, window = charged_off.where(f"as_of = DATE'{cut}'"), Window(cut + timedelta(days=1), LAST)
    later, of_window = charged_off.where(f"as_of > DATE'{cut}'"), balances.where(f"as_of > DATE'{cut}'")
    assert not_ok(CHARGE_OFFS_OPEN.function(later, before, window, of_window)) == 0


def test_the_day_after_goes_on_from_the_charge_offs(balances: DataFrame, charged_off: DataFrame) -> None:
    day = date(2025, 8, 1)
    window, later = Window(day, day), charged_off.where(f"as_of > DATE'{day}'")
    staged, of_next = charged_off.where(f"as_of = DATE'{day}'"), balances.where(f"as_of = date_add(DATE'{day}', 1)")
    assert not_ok(CHARGE_OFFS_NEXT_DAY_OPENS.function(staged, later, window, LAST, of_next)) == 0
    wrong = staged.withColumn("principal_recovered", staged.principal_recovered + Decimal("0.01"))
    failed = CHARGE_OFFS_NEXT_DAY_OPENS.function(wrong, later, window, LAST, of_next)
    assert not_ok(failed) == staged.count() > 0


@pytest.mark.parametrize(
    "name", ["principal", "interest_reversed", "principal_recovered", "interest_recovered", "net_loss"]
)
def test_a_charge_off_of_another_cent_is_found(
    spark: SparkSession, balances: DataFrame, charged_off: DataFrame, name: str
) -> None:
    wrong = changed(charged_off, f"as_of = DATE'{LAST}'", **{name: f"{name} + 0.01"})
    nothing = frame(spark, ChargedOffLoan, [])
    found = [CHARGE_OFFS_OPEN.function(wrong, nothing, WHOLE, balances), net_loss_adds_up.function(wrong, balances)]
    assert sum(map(not_ok, found)) >= 1


def test_a_charge_off_without_a_row_is_found(spark: SparkSession, balances: DataFrame, charged_off: DataFrame) -> None:
    lost = charged_off.orderBy("loan_id").first()
    assert lost is not None
    missing = charged_off.where(f"loan_id <> '{lost.loan_id}'")
    nothing = frame(spark, ChargedOffLoan, [])
    assert not_ok(CHARGE_OFFS_OPEN.function(missing, nothing, WHOLE, balances)) >= 1


@pytest.fixture(scope="module")
def schedules(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(loan_schedules(inputs(spark, WHOLE)["loans"]))


def test_schedules_through_spark_are_those_of_the_rules(spark: SparkSession, schedules: DataFrame) -> None:
    found = {(row.loan_id, row.number): (row.due_on, row.payment, row.balance) for row in schedules.collect()}
    assert found == {
        (loan_id, each.number): (each.due_on, each.payment, each.balance)
        for loan_id, (terms, _, _) in HISTORIES.items()
        for each in schedule(terms)
    }
    assert found_wrong(schedules, inputs(spark, WHOLE)["loans"]) == set()


def found_wrong(staged: DataFrame, loans: DataFrame) -> set[str]:
    """The audits of schedules that block."""
    return {each.name for each in loan_schedules.audits if each.blocking and not_ok(each.function(staged, loans))}


@pytest.mark.parametrize(
    ("number", "name", "audits"),
    [
        (1, "payment", {instalments_follow_each_other, all_but_the_last_are_level}),
        (2, "interest", {instalments_follow_each_other, interest_is_what_accrues}),
        (2, "principal", {instalments_follow_each_other, every_loan_is_repaid}),
        (2, "balance", {instalments_follow_each_other}),
    ],
)
@pytest.mark.parametrize("loan_id", ["L006", "L007"])
def test_another_cent_in_a_schedule_is_found(
    spark: SparkSession, schedules: DataFrame, loan_id: str, number: int, name: str, audits: set[Audit]
) -> None:
    wrong = changed(schedules, f"loan_id = '{loan_id}' AND number = {number}", **{name: f"{name} + 0.01"})
    assert found_wrong(wrong, inputs(spark, WHOLE)["loans"]) == {each.name for each in audits}


def test_a_schedule_that_leaves_a_cent_is_found(spark: SparkSession, schedules: DataFrame) -> None:
    last = schedules.where("loan_id = 'L007'").count()
    wrong = changed(schedules, f"loan_id = 'L007' AND number = {last}", balance="0.01")
    found = {instalments_follow_each_other.name, every_loan_is_repaid.name}
    assert found_wrong(wrong, inputs(spark, WHOLE)["loans"]) == found


def test_a_later_due_date_is_found_by_the_interest_that_it_takes(spark: SparkSession, schedules: DataFrame) -> None:
    wrong = changed(schedules, "loan_id = 'L007' AND number = 2", due_on="date_add(due_on, 1)")
    assert found_wrong(wrong, inputs(spark, WHOLE)["loans"]) == {interest_is_what_accrues.name}


def test_a_schedule_of_another_instalment_than_the_contract_states_is_found(
    spark: SparkSession, schedules: DataFrame
) -> None:
    loans = changed(inputs(spark, WHOLE)["loans"], "loan_id = 'L006'", instalment="instalment + 0.01")
    assert found_wrong(schedules, loans) == {all_but_the_last_are_level.name}


@pytest.mark.parametrize("lost", ["loan_id = 'L007'", "loan_id = 'L007' AND number = 1"])
def test_a_loan_without_all_of_its_schedule_is_found(spark: SparkSession, schedules: DataFrame, lost: str) -> None:
    missing = schedules.where(f"NOT ({lost})")
    assert every_loan_is_repaid.name in found_wrong(missing, inputs(spark, WHOLE)["loans"])


def test_interest_that_an_instalment_does_not_cover_is_paid_by_the_next(spark: SparkSession) -> None:
    """A year to the first due date, and instalments that are less than the year's interest."""
    terms = {"apr": "36", "instalments": 60, "frequency": "monthly", "principal": "1000.00"}
    dates = {"booked_on": FIRST, "originated_on": FIRST, "first_due_on": FIRST + timedelta(days=366)}
    names = {"product": "installment", "loan_id": "L1", "record_number": 1}
    loans = frame(spark, Loan, [lender.row(Loan, **terms, **dates, **names)])
    schedules = loan_schedules(loans)
    assert schedules.where("principal = 0").count() > 1
    assert found_wrong(schedules, loans) == set()
