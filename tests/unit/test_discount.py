"""The merchant discount as income: published figures of the interest method, and what holds of any loan."""

import random
from datetime import date, timedelta
from decimal import Decimal

import pytest

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import daily_interest, to_cents
from affirm_assets.lender.finance.days import Day, days
from affirm_assets.lender.finance.discount import MOST, Period, earned_of_discount, effective_rate
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.schedule import schedule
from affirm_assets.lender.finance.terms import Terms


def level(principal: Decimal, rate: Decimal, payment: Decimal, periods: int) -> list[Period]:
    """Periods of a day each, of which each bears the rate."""
    found = []
    for _ in range(periods):
        found.append((1, principal))
        principal += principal * rate - payment
    return found


def test_ten_years_of_statement_91() -> None:
    """FASB Statement 91, appendix B, case 1: 100,000 at 10 %, ten payments of 16,275 a year, net fees of 2,000.

    Published: about 10.4736 %; amortization of 264 in the first year and 262 in the second. The published payment is
    rounded up; at the exact one the rate is 10.4730 %. A year is a day here: 36,500 % a year are 100 % a day.
    """
    exact = level(Decimal(100_000), Decimal("0.1"), Decimal("16274.53949"), 10)
    rate = effective_rate(Decimal(2_000), Decimal(3650), exact) / 365
    assert abs(rate - Decimal("10.4736")) < Decimal("0.001")
    deferred, earned = Decimal(2_000), []
    for _, principal in level(Decimal(100_000), Decimal("0.1"), Decimal(16_275), 2):
        earned.append(earned_of_discount(deferred, principal, principal / 10, Decimal("10.4736") * 365))
        deferred -= earned[-1]
    assert [round(amount) for amount in earned] == [264, 262]


def test_sixty_months_of_a_published_question() -> None:
    """A question of the CPA examination: 200,000 at 12 %, a fee of 6,000, sixty monthly payments of 4,450: 13.4 %. The
    first month's interest is 2,000, and 166 of the fee are earned. A month is a day here."""
    periods = level(Decimal(200_000), Decimal("0.01"), Decimal("4448.89"), 60)
    rate = effective_rate(Decimal(6_000), Decimal(365), periods) / 365 * 12
    assert abs(rate - Decimal("13.4")) < Decimal("0.06")
    earned = earned_of_discount(Decimal(6_000), Decimal(200_000), Decimal(2_000), Decimal("13.4") / 12 * 365)
    assert 166 <= earned < 167


def test_without_a_discount_the_effective_rate_is_the_contract_s() -> None:
    assert effective_rate(Decimal(0), Decimal("18.25"), [(31, Decimal(1000))]) == Decimal("18.25")
    assert earned_of_discount(Decimal(0), Decimal(1000), Decimal("0.50"), Decimal("18.25")) == 0


def test_a_loan_that_costs_the_lender_nothing_has_the_highest_rate() -> None:
    assert effective_rate(Decimal(100), Decimal(0), [(14, Decimal(100))]) == MOST
    assert terms(principal="100.00", discount="100.00").effective_rate == MOST


def terms(
    *,
    principal: str = "1000.00",
    discount: str = "50.00",
    apr: str = "18.25",
    instalments: int = 4,
    rules: Rules | None = None,
) -> Terms:
    return Terms.agreed(
        principal=Decimal(principal),
        apr=Decimal(apr),
        instalments=instalments,
        frequency="monthly",
        originated_on=date(2025, 1, 1),
        first_due_on=date(2025, 2, 1),
        merchant_discount=Decimal(discount),
        rules=rules,
    )


def rows(of: Terms, *moved: Movement, last: date = date(2025, 12, 31)) -> dict[date, Day]:
    return {row.as_of: row for row in days(Account.opened(of), last, moved, is_new=True)}


def came(kind: str, amount: str, on: date, effective_on: date | None = None, reverses: str | None = None) -> Movement:
    name = f"{kind}-{on}"
    return Movement(name, kind, Decimal(amount), on, effective_on or on, reverses)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(60))
def test_who_pays_as_scheduled_leaves_nothing_and_the_rate_is_the_yield(seed: int) -> None:
    """Day by day, what the lender has at stake earns the effective rate, and no discount is left at the end."""
    rng = random.Random(seed)
    principal = rng.randrange(50_00, 20_000_00)
    of = Terms.agreed(
        principal=Decimal(principal).scaleb(-2),
        apr=Decimal(rng.choice(["0", "9.99", "18.25", "35.99"])),
        instalments=rng.choice([1, 3, 4, 12, 24, 60]),
        frequency=rng.choice(["monthly", "biweekly"]),
        originated_on=date(2023, 1, 1) + timedelta(days=rng.randrange(700)),
        first_due_on=date(2024, 12, 10),
        merchant_discount=Decimal(rng.randrange(principal // 8)).scaleb(-2),
    )
    of = Terms.agreed(**{
        **{name: getattr(of, name) for name in ("principal", "apr", "instalments", "frequency", "merchant_discount")},
        "originated_on": of.originated_on,
        "first_due_on": of.originated_on + timedelta(days=rng.randrange(10, 32)),
    })  # fmt: skip
    paid = [Movement(str(each.number), "payment", each.payment, each.due_on, each.due_on) for each in schedule(of)]
    account = Account.opened(of)
    # In floats, apart from the account: what the lender has at stake earns the rate, less what the contract's interest
    # is of it; a payment's principal comes off both.
    at_stake, daily = float(of.principal - of.merchant_discount), float(of.effective_rate) / 36_500
    for row in days(account, paid[-1].posted_on - timedelta(days=1), paid, is_new=True):
        if row.as_of > of.originated_on:
            interest = float(row.opening_principal * of.apr / 36_500)
            at_stake += at_stake * daily - interest - float(row.principal_paid)
            assert abs(float(row.principal - row.deferred_discount) - at_stake) < 0.01
    # The last day earns the rest, to the cents of the schedule.
    last = earned_of_discount(
        account.deferred_discount, account.principal, daily_interest(account.principal, of.apr), of.effective_rate
    )
    assert abs(account.deferred_discount - last) < Decimal("0.05")


def test_the_first_day_earns_the_rate_on_what_was_paid_for_the_loan() -> None:
    of = terms()
    # 950.00 x 43.74961301 / 36,500 = 1.13868856, less 0.50 of interest.
    assert rows(of)[date(2025, 1, 2)].deferred_discount == Decimal("50.00") - Decimal("0.63868856")


def test_at_once_nothing_is_deferred() -> None:
    of = terms(rules=Rules(merchant_discount="at_once"))
    assert of.effective_rate == of.apr
    assert {row.deferred_discount for row in rows(of).values()} == {Decimal(0)}


def test_a_loan_that_is_repaid_early_has_nothing_deferred() -> None:
    found = rows(terms(), came("payment", "1010.00", date(2025, 1, 21)))
    assert found[date(2025, 1, 20)].deferred_discount > 37
    assert found[date(2025, 1, 21)].deferred_discount == 0


def test_of_the_discount_that_a_merchant_gets_back_nothing_is_deferred() -> None:
    found = rows(terms(), came("refund", "400.00", date(2025, 1, 1)))
    assert found[date(2025, 1, 1)].deferred_discount == Decimal("30.00")
    assert found[date(2025, 1, 1)].discount_returned == Decimal("20.00")


def test_what_is_repaid_before_its_time_takes_its_share_of_the_discount() -> None:
    """One instalment before its due date takes none; of the 755.92 that it leaves, two thirds take two thirds."""
    day = date(2025, 1, 11)
    before = rows(terms())[day].deferred_discount
    at_once = {amount: rows(terms(), came("payment", amount, day))[day] for amount in ("249.08", "757.05")}
    assert [row.principal for row in at_once.values()] == [Decimal("755.92"), Decimal("247.95")]
    assert at_once["249.08"].deferred_discount == before
    share = before * Decimal("247.95") / Decimal("755.92")
    assert abs(at_once["757.05"].deferred_discount - share) < Decimal("0.00000001")
    in_two = rows(terms(), came("payment", "249.08", day), came("recovery", "507.97", day))[day]
    assert in_two.deferred_discount == at_once["757.05"].deferred_discount


def test_what_is_past_due_earns_no_discount() -> None:
    """Never paid, the discount goes as the schedule does; the last day before the last due date leaves as much."""
    punctual = [came("payment", "259.58", date(2025, month, 1)) for month in (2, 3, 4)]
    as_agreed, never = rows(terms(), *punctual), rows(terms())
    for day in (date(2025, 2, 15), date(2025, 3, 31), date(2025, 4, 30)):
        # On the due date itself nothing is past due yet: that day's night earns on all principal.
        differs = as_agreed[day].deferred_discount - never[day].deferred_discount
        assert Decimal(0) < differs < Decimal("0.60")


def test_a_payment_that_comes_late_leaves_the_discount_as_if_it_had_come_in_time() -> None:
    in_time = rows(terms(), came("payment", "259.58", date(2025, 2, 1)))
    late = rows(terms(), came("payment", "259.58", date(2025, 3, 10), date(2025, 2, 1)))
    assert late[date(2025, 3, 9)].deferred_discount != in_time[date(2025, 3, 9)].deferred_discount
    assert late[date(2025, 3, 10)].deferred_discount == in_time[date(2025, 3, 10)].deferred_discount


def test_what_is_deferred_of_a_charged_off_loan_is_no_loss_until_the_rest_has_come_back() -> None:
    of = terms(instalments=12)
    found = rows(
        of,
        came("recovery", "980.00", date(2025, 7, 1)),
        came("recovery", "10.00", date(2025, 7, 2)),
        came("payment_reversal", "10.00", date(2025, 7, 3), reverses="recovery-2025-07-02"),
    )
    lost = found[date(2025, 6, 1)]
    assert (lost.charged_off_principal, to_cents(lost.deferred_discount)) == (Decimal("1000.00"), Decimal("19.22"))
    assert found[date(2025, 7, 1)].deferred_discount == lost.deferred_discount
    assert found[date(2025, 7, 2)].deferred_discount == Decimal("10.00")
    assert found[date(2025, 7, 3)].deferred_discount == lost.deferred_discount


NONACCRUAL = Rules(nonaccrual_after=90)


def test_nonaccrual_begins_at_90_days_and_ends_when_nothing_is_past_due() -> None:
    of = terms(instalments=12, rules=NONACCRUAL)
    paid = (came("payment", "275.40", date(2025, 5, 10)), came("payment", "91.80", date(2025, 5, 20)))
    found = rows(of, *paid)
    assert found[date(2025, 5, 1)].nonaccrual_since is None
    assert found[date(2025, 5, 2)].nonaccrual_since == date(2025, 5, 2)
    # Three of the four that are due: 9 days past due are not enough to accrue again.
    assert found[date(2025, 5, 10)].days_past_due == 9
    assert found[date(2025, 5, 19)].nonaccrual_since == date(2025, 5, 2)
    assert found[date(2025, 5, 20)].nonaccrual_since is None


def test_without_the_setting_no_loan_stops_to_accrue() -> None:
    assert {row.nonaccrual_since for row in rows(terms()).values()} == {None}


def test_nonaccrual_earns_no_discount() -> None:
    found = rows(terms(instalments=12, rules=NONACCRUAL))
    since = date(2025, 5, 2)
    assert found[since].deferred_discount < found[date(2025, 5, 1)].deferred_discount
    assert {found[since + timedelta(days=n)].deferred_discount for n in range(30)} == {found[since].deferred_discount}


@pytest.mark.parametrize(("basis", "kept"), [("cost_recovery", "65.50"), ("cash_basis", "0.00")])
def test_interest_that_is_paid_in_nonaccrual(basis: str, kept: str) -> None:
    of = terms(instalments=12, rules=Rules(nonaccrual_after=90, payment_in_nonaccrual=basis))  # type: ignore[arg-type]
    row = rows(of, came("payment", "150.00", date(2025, 5, 12)))[date(2025, 5, 12)]
    assert (row.interest_paid, row.cost_recovered) == (Decimal("65.50"), Decimal(kept))


def test_cost_recovered_is_no_loss_and_its_reversal_takes_it_back() -> None:
    of = terms(instalments=12, rules=NONACCRUAL)
    paid = came("payment", "150.00", date(2025, 5, 12))
    found = rows(of, paid, came("payment_reversal", "150.00", date(2025, 5, 14), reverses=paid.transaction_id))
    assert found[date(2025, 5, 12)].cost_recovered == Decimal("65.50")
    assert found[date(2025, 5, 14)].cost_recovered == 0
    lost = next(row for row in rows(of, paid).values() if row.status == "charged_off")
    assert (lost.charged_off_principal, lost.cost_recovered) == (Decimal("915.50"), Decimal("65.50"))


def test_the_books_owe_the_borrower_the_same_whatever_is_income() -> None:
    """Neither setting changes what is owed, or when a loan is past due."""
    moved = (came("payment", "259.58", date(2025, 2, 1)), came("payment", "150.00", date(2025, 6, 20)))
    by_rules = [
        rows(terms(rules=rules), *moved)
        for rules in (Rules(), NONACCRUAL, Rules(merchant_discount="at_once", nonaccrual_after=90))
    ]
    income = {"opening_nonaccrual_since", "opening_cost_recovered", "opening_deferred_discount"}
    income |= {name.removeprefix("opening_") for name in income}
    for day in by_rules[0]:
        said = [{k: v for k, v in each[day]._asdict().items() if k not in income} for each in by_rules]
        assert said[0] == said[1] == said[2]
