"""Days of many loans as columns, against the account's rules: each column of each row, on random histories.

Run more of them with HISTORIES=30000.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from affirm_assets.datasets.servicing import _accounts, _days, _integers
from affirm_assets.datasets.servicing._accounts import LOAN, STATE, TERMS
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.declare import Window
from affirm_assets.declare.contract import spark_schema
from affirm_assets.lender.finance import due_dates, quiet
from affirm_assets.lender.finance.account import NEED_EVENTS, Account
from affirm_assets.lender.finance.accrual import CENT, ZERO, daily_interest
from affirm_assets.lender.finance.days import Day, applications, days, keeps_row
from affirm_assets.lender.finance.movements import Event, Movement
from affirm_assets.lender.finance.periods import months_after
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.products import PRODUCTS
from affirm_assets.lender.vocabulary import REVERSALS
from tests.unit.books import agreed
from tests.unit.histories import History, random_history

HISTORIES = int(os.environ.get("HISTORIES", "200"))
GROUPS = 5
A_DAY = timedelta(days=1)

_TYPES = spark_schema(LoanBalance)
SCHEMA = to_arrow_schema(StructType([_TYPES[name] for name in (*LOAN, *TERMS, *Day._fields)]))

_MONEY, _DAY = pa.decimal128(18, 2), pa.date32()
_MOVED = {
    "transaction_id": pa.string(),
    "kind": pa.string(),
    "amount": _MONEY,
    "posted_on": _DAY,
    "effective_on": _DAY,
    "reverses": pa.string(),
}
ACCOUNTS = pa.schema(
    [
        *(SCHEMA.field(name).with_nullable(True) for name in (*LOAN, *TERMS, *STATE)),
        ("moved", pa.list_(pa.struct({**_MOVED, "came_on": _DAY}))),
        ("needs_earlier", pa.bool_()),
        ("earlier", pa.list_(pa.struct(_MOVED))),
    ]
)


@pytest.fixture(params=range(GROUPS))
def histories(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, History]:
    """By the loan's id. Each loan is of a product of its own, with the rules of its terms."""
    histories = {f"L{seed}": _history(seed) for seed in range(request.param, HISTORIES, GROUPS)}
    _sell(monkeypatch, {name: history.terms.rules for name, history in histories.items()})
    return histories


@cache
def _history(seed: int) -> History:
    return random_history(random.Random(seed))


@cache
def _longest() -> date:
    """Long after the last of all histories."""
    return max(_history(seed).last for seed in range(HISTORIES)) + 200 * A_DAY


def _sell(monkeypatch: pytest.MonkeyPatch, rules: Mapping[str, Rules]) -> None:
    """Products with these rules, by name."""
    products = {name: replace(PRODUCTS["installment"], rules=each) for name, each in rules.items()}
    for module in (_accounts, _integers):
        monkeypatch.setattr(module, "PRODUCTS", products)


def _fail_on_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_accounts, "opened", lambda loan, window: pytest.fail(f"{loan['loan_id']} became an account"))


@pytest.mark.parametrize("rows_in_batch", [100, _days.ROWS_IN_BATCH])
def test_loans_booked_in_a_range_have_the_rows_of_the_rules(
    histories: dict[str, History], rows_in_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its whole history, and long after: till a credit is old, and a settled loan has no rows any more."""
    monkeypatch.setattr(_days, "ROWS_IN_BATCH", rows_in_batch)
    window = Window(
        min(each.booked_on for each in histories.values()), max(each.last for each in histories.values()) + 200 * A_DAY
    )
    accounts, rows = [], []
    for loan_id, history in histories.items():
        accounts.append({**_loan(loan_id, history.terms, history.booked_on), "moved": history.movements})
        rows += [(loan_id, each) for each in _rows(history, window.last)]
    _same(_computed(accounts, window), rows, accounts)


@pytest.mark.parametrize("length", [1, 3, 35, 400])
def test_loans_taken_over_have_the_rows_of_the_rules(histories: dict[str, History], length: int) -> None:
    """From any day of their lives, with what moves them after it, or nothing."""
    rng = random.Random(length)
    for first in _some_days(rng, histories.values()):
        window = Window(first, first + (length - 1) * A_DAY)
        accounts, rows = [], []
        for loan_id, history in histories.items():
            if history.booked_on >= first:
                continue
            opening = next((each for each in _rows(history, first - A_DAY) if each.as_of == first - A_DAY), None)
            moved = [each for each in history.movements if first <= each.posted_on <= window.last]
            if opening is None or not keeps_row(_taken_over(history, opening), first):
                continue
            moved = moved if rng.random() < 0.5 else []
            account = _taken_over(history, opening)
            earlier = [each for each in history.movements if each.posted_on < first]
            needs_earlier = _needs_earlier(moved, earlier)
            if needs_earlier:
                account.events = _events(history, first - A_DAY)
            accounts.append(
                {
                    **_loan(loan_id, history.terms, history.booked_on),
                    **{name: getattr(opening, name) for name in STATE},
                    "moved": moved,
                    "needs_earlier": needs_earlier if moved else None,
                    "earlier": [replace(each, posted_on=each.came_on or each.posted_on) for each in earlier],
                }
            )
            rows += [(loan_id, each) for each in days(account, window.last, moved)]
        _same(_computed(accounts, window), rows, accounts)


def test_the_day_that_closes_is_the_account_s(histories: dict[str, History]) -> None:
    """On a day of each month of a loan's life; also if as much is owed as is just waived, or just not."""
    accounts, ends = [], []
    for loan_id, history in histories.items():
        for row in _rows(history, history.last)[::30]:
            account = _taken_over(history, row)
            waived = history.terms.rules.waived_below
            little = [replace(account, principal=waived, interest=each) for each in (ZERO, CENT)]
            little += [replace(account, principal=max(waived - CENT, ZERO), interest=ZERO)]
            for each in (account, *(little if row.status == "open" else ())):
                state = {name: getattr(each, name) for name in STATE if name != "as_of"}
                accounts.append({**_loan(loan_id, history.terms, history.booked_on), **state, "as_of": row.as_of})
                ends.append(_integers.days_since_1970(each.closes_on) if each.closes_on else None)
    columns = _integers.accounts_of(_days._typed(_batch(accounts), SCHEMA))
    never = [each is None for each in ends]
    assert 0 < sum(never) < len(never)
    on = np.array([quiet.NEVER if each is None else each for each in ends])
    assert columns.close_by(on - 1).tolist() == [False] * len(on)
    assert columns.close_by(np.where(never, on - 1, on)).tolist() == [not each for each in never]


def test_a_quiet_loan_becomes_no_object(histories: dict[str, History], monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_on_objects(monkeypatch)
    accounts, rows = [], []
    for loan_id, history in histories.items():
        opening = _rows(history, history.last)[-1]
        account = _taken_over(history, opening)
        if account.closes_on != history.last + A_DAY and keeps_row(account, history.last + A_DAY):
            window = Window(history.last + A_DAY, history.last + A_DAY)
            state = {name: getattr(opening, name) for name in STATE}
            accounts = [{**_loan(loan_id, history.terms, history.booked_on), **state}]
            rows = [(loan_id, each) for each in days(account, window.last, [])]
            _same(_computed(accounts, window), rows, accounts)
    assert rows


def test_a_loan_that_is_paid_in_time_becomes_no_object(
    histories: dict[str, History], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Day by day, so that a day on which more happens to a loan does not hide the others; also if it is paid off."""
    _fail_on_objects(monkeypatch)
    for loan_id, history in histories.items():
        for movement, opening, closed in _paid_in_time(history, _rows(history, history.last)):
            state = {name: getattr(opening, name) for name in STATE}
            loan = {**_loan(loan_id, history.terms, history.booked_on), **state, "moved": [movement]}
            _same(_computed([loan], Window(closed.as_of, closed.as_of)), [(loan_id, closed)], [loan])


def _paid_in_time(history: History, rows: Iterable[Day]) -> Iterator[tuple[Movement, Day, Day]]:
    """Payments that the columns compute, each with the row of the day before, and that of its own."""
    by_day = Counter(each.posted_on for each in history.movements)
    row_of = {each.as_of: each for each in rows}
    for movement in history.movements:
        day = movement.posted_on
        opening, closed = row_of.get(day - A_DAY), row_of.get(day)
        if by_day[day] > 1 or movement.kind != "payment" or movement.effective_on != day or opening is None:
            continue
        if opening.status != "open" or opening.nonaccrual_since or opening.charge_off_by or opening.cost_recovered:
            continue
        earlier = [each for each in history.movements if each.posted_on < day]
        assert closed is not None
        if _needs_earlier([movement], earlier) or closed.principal_waived or closed.interest_waived:
            continue
        if closed.status == "charged_off" or _would_stop_to_accrue(history, opening):
            continue
        yield movement, opening, closed


def _would_stop_to_accrue(history: History, opening: Day) -> bool:
    after = history.terms.rules.nonaccrual_after
    return after is not None and opening.days_past_due + 1 >= after


STRICT = Rules(shortages_carried=ZERO, waived_below=ZERO)
A_TENTH = replace(STRICT, instalment_met_at=Decimal(90))
CARRIES = replace(STRICT, shortages_carried=Decimal("1.00"))
WAIVES = replace(STRICT, waived_below=Decimal("1.00"))
NONACCRUAL = replace(STRICT, nonaccrual_after=90)

SHORT = {"paid": Decimal("99.60"), "shortage": Decimal("0.40")}
THREE_PAID = {"paid": Decimal("300.00")}
CAUSED = {"charge_off_by": date(2025, 2, 1), "charge_off_cause": "death"}


@pytest.mark.parametrize(
    ("rules", "state", "paid_on", "amount", "is_column"),
    [
        pytest.param(A_TENTH, {}, "2025-02-01", "90.00", True, id="a tenth of the instalment is missing"),
        pytest.param(A_TENTH, {}, "2025-02-01", "89.99", True, id="a tenth and a cent"),
        pytest.param(CARRIES, SHORT, "2025-03-01", "99.40", True, id="a dollar is missing in all"),
        pytest.param(CARRIES, SHORT, "2025-03-01", "99.39", True, id="a dollar and a cent"),
        pytest.param(WAIVES, THREE_PAID, "2025-05-02", "99.00", True, id="a dollar is left"),
        pytest.param(WAIVES, THREE_PAID, "2025-05-02", "99.01", False, id="a cent less, waived"),
        pytest.param(WAIVES, THREE_PAID, "2025-05-01", "99.01", True, id="a cent less, on the last due date"),
        pytest.param(NONACCRUAL, {}, "2025-05-01", "0.01", True, id="89 days past due"),
        pytest.param(NONACCRUAL, {}, "2025-05-02", "0.01", False, id="90 days past due, nonaccrual"),
        pytest.param(STRICT, {}, "2025-05-31", "0.01", True, id="119 days past due"),
        pytest.param(STRICT, {}, "2025-06-01", "0.01", False, id="120 days past due, charged off"),
        pytest.param(STRICT, {}, "2025-06-01", "100.00", True, id="120 days past due until then"),
        pytest.param(STRICT, {}, "2025-02-01", "399.99", True, id="nothing beside it"),
        pytest.param(STRICT, CAUSED, "2025-02-01", "399.99", False, id="charged off for a cause"),
        pytest.param(STRICT, {"credit": CENT}, "2025-02-01", "399.99", False, id="a cent of credit"),
        pytest.param(STRICT, {"cost_recovered": CENT}, "2025-02-01", "400.00", False, id="a cent of cost recovered"),
    ],
)
def test_a_payment_at_a_boundary_has_the_row_of_the_rules(
    rules: Rules, state: dict[str, Any], paid_on: str, amount: str, is_column: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a loan of 400.00 in four instalments, at no rate: up to a week after, by what the payment left of the account.

    is_column: whether its day needs no object. What else comes of the payment, or closes its day, no column says.
    """
    _sell(monkeypatch, {"installment": rules})
    terms, day = agreed(principal="400.00", apr="0", rules=rules), date.fromisoformat(paid_on)
    principal = terms.principal - state.get("paid", ZERO)
    account, loan = _stood(terms, terms.originated_on, principal=principal, last_instalment=4, **state)
    loan["moved"] = [Movement("p", "payment", Decimal(amount), day, day)]
    first, last = terms.originated_on + A_DAY, day + 7 * A_DAY
    rows = [("L", each) for each in days(account, last, loan["moved"])]
    _same(_computed([loan], Window(first, last)), rows, [loan])
    if is_column:
        _fail_on_objects(monkeypatch)
        _computed([loan], Window(first, day))


def test_the_histories_have_what_the_columns_compute() -> None:
    seen: set[Any] = set()
    for seed in range(HISTORIES):
        history = random_history(random.Random(seed))
        terms, rows = history.terms, _rows(history, history.last + 200 * A_DAY)
        for row in rows:
            is_quiet = not any(getattr(row, name) for name in _MOVES) and row.principal == row.opening_principal > 0
            if is_quiet and row.interest_accrued and row.interest == row.opening_interest + row.interest_accrued:
                earns = row.opening_deferred_discount > row.deferred_discount
                seen |= {row.bucket, terms.frequency, earns, (earns, row.days_past_due > 1)}
                seen |= {name for name in ("reaged_on", "charge_off_by", "shortage", "refunded") if getattr(row, name)}
                seen |= {"due on the last of a month"} if terms.due_day == 31 else set()
                seen |= {"nonaccrual"} if row.nonaccrual_since not in (None, row.opening_nonaccrual_since) else set()
            seen |= {"old credit"} if row.credit_over_six_months and not row.credit_overpaid else set()
            seen |= {"recovered"} if row.recovered_interest and not row.recovery_interest else set()
        for _, opening, closed in _paid_in_time(history, rows):
            unpaid = _taken_over(history, opening)
            unpaid.go_to(closed.as_of)
            # Not for the principal alone either, which is the most that is deferred.
            is_share = ZERO < closed.deferred_discount < min(unpaid.deferred_discount, closed.principal)
            seen |= {"paid off"} if closed.status == "repaid" else {"paid late"} if opening.days_past_due else set()
            seen |= {"too much"} if closed.credit_overpaid else set()
            seen |= {"a cent short"} if closed.shortage > opening.shortage else set()
            seen |= {"discount taken along"} if is_share else set()
    assert seen >= {"current", "1-29", "30-59", "60-89", "90-119", "monthly", "biweekly"}
    assert seen >= {(True, True), (True, False), (False, True), (False, False)}
    assert seen >= {"reaged_on", "charge_off_by", "shortage", "refunded", "due on the last of a month"}
    assert seen >= {"nonaccrual", "old credit", "recovered"}
    assert seen >= {"paid off", "paid late", "too much", "a cent short", "discount taken along"}


_MOVES = ("principal_lent", "principal_paid", "interest_paid", "principal_charged_off", "principal_waived")

AN_AMOUNT = Decimal("10000000.00")


@pytest.mark.parametrize(
    ("more", "fits"), [(Decimal("0.00"), True), (Decimal("0.01"), False), (Decimal("9e9"), False)], ids=str
)
def test_as_much_as_the_columns_hold_and_more(more: Decimal, fits: bool) -> None:
    """At the highest rates that there are, half a year late: what is more is left to the rules."""
    terms = agreed(principal="1.00", apr="999.999999", originated_on="2024-08-01", first_due_on="2024-10-04")
    terms = replace(terms, principal=AN_AMOUNT + more, effective_rate=Decimal("36500.00000000"), instalments=120)
    eve, window = date(2024, 12, 31), Window(date(2025, 1, 1), date(2025, 1, 30))
    deferred = Decimal("9999999.87654321")
    account, loan = _stood(terms, eve, principal=terms.principal, last_instalment=120, deferred_discount=deferred)
    until = np.array([_integers.days_since_1970(window.last)])
    assert _integers.accounts_of(_days._typed(_batch([loan]), SCHEMA)).fit(until).tolist() == [fits]
    _same(_computed([loan], window), [("L", each) for each in days(account, window.last, [])], [loan])


def test_no_more_is_past_due_than_is_owed() -> None:
    """After a refund, which meets no instalment: two of four are unpaid, and most of the loan was refunded."""
    eve, window = date(2025, 3, 1), Window(date(2025, 3, 2), date(2025, 3, 31))
    account, loan = _stood(agreed(), eve, principal=Decimal("50.00"), last_instalment=4, refunded=Decimal("950.00"))
    rows = list(days(account, window.last, []))
    assert rows[0].amount_past_due == rows[0].principal + rows[0].interest
    _same(_computed([loan], window), [("L", each) for each in rows], [loan])


def test_a_product_that_stops_to_accrue_finds_loans_that_are_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first day finds that a loan is 95 days past due, and earns of its discount; no other does."""
    terms = agreed(instalments=24, rules=Rules(nonaccrual_after=90))
    _sell(monkeypatch, {"installment": terms.rules})
    eve, window = date(2025, 5, 7), Window(date(2025, 5, 8), date(2025, 5, 10))
    state = {"principal": terms.principal, "last_instalment": 24, "deferred_discount": Decimal("40.00000000")}
    account, loan = _stood(terms, eve, **state)
    rows = list(days(account, window.last, []))
    assert [each.opening_deferred_discount > each.deferred_discount for each in rows] == [True, False, False]
    assert rows[0].nonaccrual_since == date(2025, 5, 2)
    _same(_computed([loan], window), [("L", each) for each in rows], [loan])


@given(st.integers(0, 10**15), st.integers(0, 36_500 * 10**8))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_days_income_is_exact(amount: int, rate: int) -> None:
    income = daily_interest(Decimal(amount).scaleb(-8), Decimal(rate).scaleb(-8))
    assert quiet._daily_income(np.array([amount]), np.array([rate])).tolist() == [int(income.scaleb(8))]


SCHEDULES = [
    pytest.param({}, id="level instalments"),
    pytest.param({"due_day": 31, "first_due_on": "2025-01-31", "apr": "0"}, id="at the end of the month, at no rate"),
    pytest.param({"frequency": "biweekly", "instalment": Decimal("10.00")}, id="most of it is left at the end"),
    pytest.param({"apr": "999", "instalment": Decimal("10.00")}, id="less than the interest"),
    pytest.param({"instalment": Decimal("400.00")}, id="repaid before the last instalment"),
]


@pytest.mark.parametrize("changed", SCHEDULES)
def test_the_contract_s_principal_is_that_of_the_terms(changed: dict[str, Any]) -> None:
    """On each day from the origination to long after the last instalment, and less what was refunded."""
    terms, refunded = agreed(**changed), Decimal("123.45")
    _, loan = _stood(terms, terms.originated_on, principal=terms.principal, last_instalment=4, refunded=refunded)
    accounts = _integers.accounts_of(_days._typed(_batch([loan]), SCHEMA))
    every_day = [terms.originated_on + number * A_DAY for number in range(200)]
    numbers = np.array([_integers.days_since_1970(each) for each in every_day])
    expected = [max(terms.scheduled_principal(each) - refunded, Decimal(0)) for each in every_day]
    found = quiet.scheduled_principal(accounts, np.zeros(len(numbers), dtype=np.int64), numbers).tolist()
    assert found == [int(each * 100) for each in expected]


@pytest.mark.parametrize("frequency", ["monthly", "biweekly"])
def test_instalments_fall_due_as_the_terms_say(frequency: str) -> None:
    """Of first due dates around a leap day, on each day of four years."""
    every_day = np.arange(_day("2023-11-01"), _day("2027-11-01"))
    for first in np.arange(_day("2023-12-28"), _day("2024-03-03")).tolist():
        on = date(1970, 1, 1) + first * A_DAY
        for due_day in {on.day, 29, 30, 31}:
            terms = replace(
                agreed(first_due_on=str(on), originated_on="2023-11-01"), frequency=frequency, due_day=due_day
            )
            columns = np.array([first]), np.array([due_day if frequency == "monthly" else 0])
            number = np.arange(1, 50)
            due_on = due_dates.due_on(*columns, number).tolist()
            assert due_on == [_integers.days_since_1970(terms.due_on(each)) for each in number.tolist()]
            due = due_dates.due_before(*columns, every_day).tolist()
            assert due == [terms.due_before(date(1970, 1, 1) + each * A_DAY) for each in every_day.tolist()]


def test_months_after_a_date_are_as_the_terms_count_them() -> None:
    every_day = np.arange(_day("2023-01-01"), _day("2027-01-01"))
    expected = [
        _integers.days_since_1970(months_after(date(1970, 1, 1) + each * A_DAY, 6)) for each in every_day.tolist()
    ]
    assert due_dates.months_after(every_day, 6).tolist() == expected


def test_a_part_of_a_column_has_its_own_digits() -> None:
    column = pa.array([Decimal("1.00"), Decimal("-0.01"), Decimal("2.00")], _MONEY)
    assert _integers.from_arrow(column.slice(1, 1)).tolist() == [-1]
    assert _integers.decimals(_integers.from_arrow(column), _MONEY).equals(column)


def test_decimals_of_more_digits_than_a_whole_number_holds_are_refused() -> None:
    with pytest.raises(TypeError, match=r"found decimal128\(19, 2\)"):
        _integers.from_arrow(pa.array([Decimal("1.00")], pa.decimal128(19, 2)))


def _day(text: str) -> int:
    return _integers.days_since_1970(date.fromisoformat(text))


def _some_days(rng: random.Random, histories: Iterable[History]) -> Iterator[date]:
    """The day after one on which something happened to a loan, and any other."""
    for history in rng.sample(list(histories), 3):
        yield history.booked_on + rng.randrange(1, (history.last - history.booked_on).days + 200) * A_DAY
    for history in rng.sample([each for each in histories if each.movements], 3):
        yield rng.choice(history.movements).posted_on + A_DAY


def _rows(history: History, last: date) -> list[Day]:
    """A day's row is made of what came by then, so those of the whole history begin with the same ones."""
    return [each for each in _life(history) if each.as_of <= last]


@cache
def _life(history: History) -> list[Day]:
    return list(days(Account.opened(history.terms, history.booked_on), _longest(), history.movements, is_new=True))


def _taken_over(history: History, opening: Day) -> Account:
    state = {name: getattr(opening, name) for name in STATE if name != "as_of"}
    return Account(history.terms, opening.as_of, history.booked_on, **state)


def _needs_earlier(moved: Iterable[Movement], earlier: Iterable[Movement]) -> bool:
    """As the accounts' own column says it."""
    reversed_before = {each.reverses for each in earlier if each.kind in REVERSALS}
    return any(
        each.kind in NEED_EVENTS
        or (each.kind != "credit_refund" and each.effective_on < each.posted_on)
        or each.transaction_id in reversed_before
        for each in moved
    )


def _events(history: History, until: date) -> list[Event] | None:
    account = Account.opened(history.terms, history.booked_on)
    earlier = [each for each in history.movements if each.posted_on <= until]
    for _ in applications(account, until, earlier, is_new=True):
        pass
    return account.events


def _stood(terms: Terms, day: date, **state: Any) -> tuple[Account, dict[str, Any]]:
    """An account, and the columns that it is taken over by."""
    account = Account(terms, day, terms.originated_on, **state)
    carried = {"as_of": day, **{name: getattr(account, name) for name in STATE if name != "as_of"}}
    return account, {**_loan("L", terms, terms.originated_on), "product": "installment", **carried}


def _loan(loan_id: str, terms: Terms, booked_on: date) -> dict[str, Any]:
    """Columns of the loan, as loan_balances has them."""
    agreed = {name: getattr(terms, "principal" if name == "amount_lent" else name) for name in TERMS}
    due_day = terms.due_day if terms.frequency == "monthly" else None
    return {"loan_id": loan_id, "product": loan_id, "booked_on": booked_on, **agreed, "due_day": due_day}


def _batch(accounts: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    def listed(movements: Iterable[Movement] | None, names: Iterable[str]) -> list[dict[str, Any]] | None:
        return [{name: getattr(each, name) for name in names} for each in movements or ()] or None

    rows = [
        {
            **each,
            "moved": listed(each.get("moved"), (*_MOVED, "came_on")),
            "earlier": listed(each.get("earlier"), _MOVED),
        }
        for each in accounts
    ]
    return pa.RecordBatch.from_pylist(rows, ACCOUNTS)


def _computed(accounts: Iterable[Mapping[str, Any]], window: Window) -> pa.Table:
    """In two batches, the second a slice of the whole, as engines may give it."""
    batch = _batch(accounts)
    batches = batch.slice(0, len(batch) // 2), batch.slice(len(batch) // 2)
    return pa.Table.from_batches(_days.of_accounts(iter(batches), window=window, schema=SCHEMA), SCHEMA)


def _same(computed: pa.Table, rows: Iterable[tuple[str, Day]], accounts: Iterable[Mapping[str, Any]]) -> None:
    loans = {each["loan_id"]: each for each in accounts}
    given = [(*(loans[loan_id][name] for name in (*LOAN, *TERMS)), *row) for loan_id, row in rows]
    expected = pa.Table.from_batches([_accounts.batch_of(given, SCHEMA)])
    by_key = [("loan_id", "ascending"), ("as_of", "ascending")]
    computed, expected = computed.sort_by(by_key), expected.sort_by(by_key)
    if not computed.equals(expected):
        pairs = zip(computed.to_pylist(), expected.to_pylist(), strict=True)
        for found, row in pairs:
            differs = {name: (found[name], row[name]) for name in row if found[name] != row[name]}
            assert not differs, f"{row['loan_id']} on {row['as_of']}, found and expected: {differs}"
