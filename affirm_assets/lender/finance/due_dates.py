"""When instalments fall due, of many loans at once: finance.periods as columns. A date is int64, days since 1970."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def due_on(first_due_on: Ints, due_day: Ints, number: Ints) -> Ints:
    """Terms.due_on. due_day: 0 of a loan with instalments every 14 days. number: counted from 1."""
    by_month = _day_of_month(_month(first_due_on) + number - 1, due_day)
    later = np.where(due_day == 0, first_due_on + 14 * (number - 1), by_month)
    return np.where(number == 1, first_due_on, later)


def due_before(first_due_on: Ints, due_day: Ints, day: Ints) -> Ints:
    """Terms.due_before."""
    by_days = -((first_due_on - day) // 14)
    months = _month(day) - _month(first_due_on)
    by_month = months + (due_on(first_due_on, due_day, months + 1) < day)
    return np.where(day <= first_due_on, 0, np.where(due_day == 0, by_days, by_month))


def months_after(first: Ints, months: int) -> Ints:
    """periods.months_after, on the date's own day of the month."""
    month = _month(first)
    return _day_of_month(month + months, first - _first_of(month) + 1)


def _month(day: Ints) -> Ints:
    """Months since January 1970."""
    return day.astype("M8[D]").astype("M8[M]").astype(np.int64)


def _first_of(month: Ints) -> Ints:
    return month.astype("M8[M]").astype("M8[D]").astype(np.int64)


def _day_of_month(month: Ints, day: Ints) -> Ints:
    """In a shorter month its last."""
    dates: Ints = np.minimum(_first_of(month) + day, _first_of(month + 1)) - 1
    return dates
