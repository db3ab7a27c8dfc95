"""Arguments of the money maths that are refused: each error names the argument, what was expected, and what was found.

mypy sees to the types, pandas and JSON do not; and a float that is near enough would only be wrong by a cent.
"""

from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal

from affirm_assets.lender.finance.accrual import CENT, CONTEXT


def check_decimal(name: str, amount: object) -> None:
    """Raises TypeError unless it is a Decimal."""
    if not isinstance(amount, Decimal):
        found = f"a {type(amount).__name__}"
        raise TypeError(f"{name}={amount!r}: expected a Decimal, found {found}. Make it from text.")


def check_money(name: str, amount: Decimal) -> None:
    """Raises ValueError unless it is of dollars above zero."""
    check_decimal(name, amount)
    if not (amount.is_finite() and amount > 0):
        raise ValueError(f"{name}={amount}: expected dollars above zero.")


def check_cents(name: str, amount: Decimal) -> None:
    """Raises ValueError unless it is of dollars above zero with two places."""
    check_money(name, amount)
    if CONTEXT.remainder(amount, CENT):
        raise ValueError(f"{name}={amount}: expected dollars with two places at most.")


def check_rate(name: str, percent: Decimal) -> None:
    """Raises ValueError unless it is of percent a year, zero or more."""
    check_decimal(name, percent)
    if not (percent.is_finite() and percent >= 0):
        raise ValueError(f"{name}={percent}: expected percent a year, zero or more.")


def check_count(name: str, count: int) -> None:
    """Raises TypeError unless it is a whole number, and ValueError unless it is one or more."""
    if not isinstance(count, int):
        raise TypeError(f"{name}={count!r}: expected a whole number, found a {type(count).__name__}.")
    if count < 1:
        raise ValueError(f"{name}={count}: expected one or more.")


def check_word(name: str, word: str, words: Collection[str]) -> None:
    """Raises ValueError unless it is one of the words."""
    if word not in words:
        raise ValueError(f"{name}={word!r}: expected one of {', '.join(words)}.")


def check_date(name: str, day: object) -> None:
    """Raises TypeError unless it is a date, and no moment of one."""
    if isinstance(day, datetime) or not isinstance(day, date):
        raise TypeError(f"{name}={day!r}: expected a date, found a {type(day).__name__}.")
