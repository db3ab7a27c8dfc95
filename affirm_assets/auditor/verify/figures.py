"""Figures that others have published, and what this code makes of the same terms.

Nobody here made these numbers. `FIGURES` is a list to add to: a name, where it was published, what was, and a function
that computes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import to_cents
from affirm_assets.lender.finance.delinquency import bucket, days_past_due
from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.rules import InstalmentRounding
from affirm_assets.lender.finance.terms import Terms


@dataclass(frozen=True)
class Figure:
    """`compute` returns what this code makes of it, as text of the same form as `expected`."""

    name: str
    source: str
    expected: str
    compute: Callable[[], str]


_H25B = "CFPB sample form H-25(B)"
_FFIEC = "FFIEC, Uniform Retail Credit Classification, 65 FR 36903"
_FINERACT = "Apache Fineract, EMICalculation-Part1.feature"


def _level(principal: str, apr: str, instalments: int, rounding: InstalmentRounding) -> str:
    return f"{level_instalment(Decimal(principal), Decimal(apr), instalments, 'monthly', rounding)}"


def _a_months_interest(principal: str, apr: str) -> str:
    return f"{to_cents(Decimal(principal) * Decimal(apr) / 1200)}"


def _first_month() -> str:
    interest = to_cents(Decimal("162000") * Decimal("3.875") / 1200)
    return f"{level_instalment(Decimal(162000), Decimal('3.875'), 360, 'monthly', 'nearest') - interest}"


_LENT = date(2025, 1, 1)


def _lent() -> Account:
    terms = Terms.agreed(
        principal=Decimal("1000.00"),
        apr=Decimal("18.25"),
        instalments=12,
        frequency="monthly",
        originated_on=_LENT,
        first_due_on=date(2025, 2, 1),
    )
    return Account.opened(terms)


def _charged_off_after() -> str:
    """Days past due at the end of which a loan of which nothing is paid is charged off."""
    account = _until_charged_off(_lent())
    return f"{days_past_due(account.terms.first_due_on, account.charged_off_on)}" if account.charged_off_on else "never"


def _charged_off_principal(paid: str) -> str:
    account = _lent()
    if Decimal(paid):
        account.apply(Movement("p", "payment", Decimal(paid), _LENT, _LENT))
    return f"{_until_charged_off(account).charged_off_principal}"


def _until_charged_off(account: Account) -> Account:
    """A loan of which nothing is paid any more, on the day of its charge-off, or a year and a half later."""
    for days in range(1, 550):
        account.go_to(_LENT + timedelta(days=days))
        account.close()
        if account.charged_off_on:
            break
    return account


def _edges() -> str:
    return ", ".join(bucket(days) for days in (0, 1, 29, 30, 59, 60, 89, 90, 119))


FIGURES: list[Figure] = [
    Figure(
        "162,000 at 3.875 %, 360 months: payment", _H25B, "761.78", partial(_level, "162000", "3.875", 360, "nearest")
    ),
    Figure(
        "the same, month 1: interest (523.125 before rounding)",
        _H25B,
        "523.13",
        partial(_a_months_interest, "162000", "3.875"),
    ),
    Figure("the same, month 1: principal", _H25B, "238.65", _first_month),
    Figure("100 at 12 %, 30/360, six months: payment", _FINERACT, "17.25", partial(_level, "100", "12", 6, "nearest")),
    Figure(
        "100 at 7 %, 30/360, six months: payment",
        "Apache Fineract, progressive loan schedule",
        "17.01",
        partial(_level, "100", "7", 6, "nearest"),
    ),
    Figure(
        "1,000 at 10 %, three months: payment",
        "Apache Fineract, LoanMerchantIssuedRefund.feature",
        "338.90",
        partial(_level, "1000", "10", 3, "nearest"),
    ),
    Figure(
        "a closed-end loan of which nothing is paid is charged off, days past due", _FFIEC, "120", _charged_off_after
    ),
    Figure(
        "1,000.00 outstanding: principal charged off",
        "Apache Fineract, charge-off posting",
        "1000.00",
        partial(_charged_off_principal, "0"),
    ),
    Figure(
        "the same after a payment of 250.00",
        "Apache Fineract, charge-off posting",
        "750.00",
        partial(_charged_off_principal, "250.00"),
    ),
    Figure(
        "buckets of 0, 1, 29, 30, 59, 60, 89, 90, 119 days past due",
        "Affirm's public filings; FFIEC, 90 days",
        "current, 1-29, 1-29, 30-59, 30-59, 60-89, 60-89, 90-119, 90-119",
        _edges,
    ),
]
