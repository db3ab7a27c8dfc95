"""Partitions and windows: which business dates a step computes, and which it reads. Pure date arithmetic.

A partition is named by its first day. A window is what one step computes: one partition, or an inclusive range of them.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache


def iso_date(text: str) -> date:
    """A date written YYYY-MM-DD and in no other of ISO 8601's ways; raises ValueError with the text."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise ValueError(f"expected a date YYYY-MM-DD, found {text!r}")


@dataclass(frozen=True)
class Window:
    """An inclusive range of dates. Of a dataset's own partitions, or of the days that an input is read for."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"window {self.first}...{self.last}: expected the first day not to be after the last.")

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}...{self.last}"

    @staticmethod
    @lru_cache(maxsize=10_000)  # thousands of tables say the same few of their last publishes
    def parse(text: str) -> "Window":
        """The inverse of str: `2025-01-02` or `2025-01-02...2025-01-05`."""
        first, dots, last = text.partition("...")
        return Window(iso_date(first), iso_date(last if dots else first))

    def contains(self, day: date) -> bool:
        return self.first <= day <= self.last

    def overlaps(self, other: "Window") -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Daily:
    """One partition a business date; `column` is the contract's date column that holds it."""

    column: str

    def contains(self, day: date) -> bool:  # noqa: ARG002  (every day is the start of one)
        return True

    def starts(self, window: Window) -> Iterator[date]:
        for offset in range((window.last - window.first).days + 1):
            yield window.first + timedelta(days=offset)

    def days(self, window: Window) -> Window:
        return window

    def before(self, window: Window, partitions: int) -> Window:
        return Window(window.first - timedelta(days=partitions), window.first - timedelta(days=1))

    def after(self, window: Window, partitions: int) -> Window:
        return Window(window.last + timedelta(days=1), window.last + timedelta(days=partitions))

    def covering(self, days: Window) -> Window:
        return days


@dataclass(frozen=True)
class Monthly:
    """One partition a calendar month; `column` is the contract's date column that holds the month's first day."""

    column: str

    def contains(self, day: date) -> bool:
        return day.day == 1

    def starts(self, window: Window) -> Iterator[date]:
        start = window.first
        while start <= window.last:
            yield start
            start = _month_start(start, 1)

    def days(self, window: Window) -> Window:
        """From the first day of the first month to the last day of the last."""
        return Window(window.first, _month_start(window.last, 1) - timedelta(days=1))

    def before(self, window: Window, partitions: int) -> Window:
        return Window(_month_start(window.first, -partitions), _month_start(window.first, -1))

    def after(self, window: Window, partitions: int) -> Window:
        return Window(_month_start(window.last, 1), _month_start(window.last, partitions))

    def covering(self, days: Window) -> Window:
        """The months that hold these days."""
        return Window(days.first.replace(day=1), days.last.replace(day=1))


Partitions = Daily | Monthly


def _month_start(month: date, months: int) -> date:
    count = month.year * 12 + month.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)
