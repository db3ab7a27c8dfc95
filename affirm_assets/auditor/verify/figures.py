"""Figures that others have published, and what this code makes of the same terms.

Nobody here made these numbers. `FIGURES` is a list to add to: a name, where it was published, what was, and a function
that computes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial

from affirm_assets.lender.finance import annual_percentage_rate, level_schedule
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import to_cents
from affirm_assets.lender.finance.delinquency import bucket, days_past_due
from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.periods import DayCount, PaymentFrequency, due_on
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


def _apr(advance: str, principal: str, first: str, frequency: PaymentFrequency, payments: Sequence[str]) -> str:
    """Of one advance and a payment at each interval. payments: "250 23*230" is 250 once, then 230, 23 times."""
    amounts = [Decimal(amount) for text in payments for amount in _repeated(text)]
    begins = date.fromisoformat(first)
    dates = [due_on(begins, frequency, begins.day, number) for number in range(1, len(amounts) + 1)]
    advances = [(date.fromisoformat(advance), Decimal(principal))]
    return f"{annual_percentage_rate(advances, list(zip(dates, amounts, strict=True)))}"


def _repeated(text: str) -> list[str]:
    times, star, amount = text.rpartition("*")
    return [amount] * (int(times) if star else 1)


def _schedule(principal: str, apr: str, instalments: int, lent: str, first: str, day_count: DayCount) -> str:
    """First and last payment; each period's interest; each balance."""
    rows = level_schedule(
        Decimal(principal),
        Decimal(apr),
        instalments,
        originated_on=date.fromisoformat(lent),
        first_due_on=date.fromisoformat(first),
        frequency="monthly",
        day_count=day_count,
        payment_rounding="half_up",
        interest_rounding="half_up",
        payment_periods="equal" if day_count == "30/360" else "actual",
    )
    interest, balance = (" ".join(str(getattr(each, name)) for each in rows) for name in ("interest", "balance"))
    return f"{rows[0].payment} {rows[-1].payment}; {interest}; {balance}"


def _appendix_j(
    paragraph: str, expected: str, advance: str, principal: str, first: str, frequency: PaymentFrequency, payments: str
) -> Figure:
    what = f"{principal} advanced on {advance}, paid {frequency} from {first}: {payments}: APR"
    compute = partial(_apr, advance, principal, first, frequency, payments.split())
    return Figure(what, f"Regulation Z, 12 CFR 1026, Appendix J {paragraph}", expected, compute)


FIGURES: list[Figure] = [
    _appendix_j("(c)(1)(i)", "9.69", "1978-01-10", "5000", "1978-02-10", "monthly", "24*230"),
    _appendix_j("(c)(1)(ii)", "11.82", "1978-02-10", "6000", "1978-04-01", "monthly", "36*200"),
    _appendix_j("(c)(1)(iii)", "10.34", "1978-02-23", "5000", "1978-03-01", "semimonthly", "24*219.17"),
    _appendix_j("(c)(1)(v)", "14.96", "1978-03-20", "500", "1978-04-21", "weekly", "30*17.60"),
    _appendix_j("(c)(2)(i)", "10.08", "1978-01-10", "5000", "1978-02-10", "monthly", "250 23*230"),
    _appendix_j("(c)(3)(i)", "10.50", "1978-01-10", "5000", "1978-02-10", "monthly", "23*230 280"),
    Figure(
        "10,000 at 12 %, actual/actual, six months: schedule",
        _FINERACT,
        "1725.56 1725.59; 101.81 85.14 64.05 51.58 33.45 17.36; 8376.25 6735.83 5074.32 3400.34 1708.23 0.00",
        partial(_schedule, "10000.00", "12", 6, "2023-12-12", "2024-01-12", "actual/actual"),
    ),
    Figure(
        "100 at 12 %, 30/360, six months: schedule",
        _FINERACT,
        "17.25 17.28; 1.00 0.84 0.67 0.51 0.34 0.17; 83.75 67.34 50.76 34.02 17.11 0.00",
        partial(_schedule, "100.00", "12", 6, "2024-01-01", "2024-02-01", "30/360"),
    ),
    Figure(
        "1,000 at 10 %, 30/360, three months: schedule",
        "Apache Fineract, LoanMerchantIssuedRefund.feature",
        "338.90 338.91; 8.33 5.58 2.80; 669.43 336.11 0.00",
        partial(_schedule, "1000.00", "10", 3, "2024-07-01", "2024-08-01", "30/360"),
    ),
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
