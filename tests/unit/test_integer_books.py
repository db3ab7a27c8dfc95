"""The account's code against a second set of books (integer_books), on random loans with random histories.

Run more of them with HISTORIES=30000.
"""

import os
import random
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from affirm_assets.lender.finance.account import EARLY_REVERSAL_DAYS, Account
from affirm_assets.lender.finance.days import Day, applications, days
from affirm_assets.lender.finance.movements import Movement
from tests.unit.histories import History, random_history
from tests.unit.integer_books import Books, of_life, of_row

HISTORIES = int(os.environ.get("HISTORIES", "200"))
GROUPS = 10

_APPLIED = (
    "interest",
    "principal",
    "credit",
    "recovery_principal",
    "recovery_interest",
    "unapplied",
    "interest_given_back",
    "discount_returned",
)
_STATE = [name for name in Account.__dataclass_fields__ if name not in ("terms", "day", "booked_on", "events")]


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_account_is_what_the_second_books_say(group: int) -> None:
    for seed in range(group, HISTORIES, GROUPS):
        history = random_history(random.Random(seed))
        rows = {row.as_of: row for row in _days(history)}
        account = Account.opened(history.terms, history.booked_on)
        done = applications(account, history.last, history.movements, is_new=True)
        by_code = {
            movement.transaction_id: {
                **{part: int(getattr(applied, part) * 100) for part in _APPLIED},
                "exception": applied.exception is not None,
            }
            for movement, applied in done
        }
        books = Books(history.terms, history.booked_on)
        for life in books.run(history.last, history.movements):
            if row := rows.get(date.fromordinal(life.day)):
                assert of_row(row) == of_life(life, books.unapplied), f"seed {seed}, {row.as_of}: {history}"
        assert by_code == books.applied, f"seed {seed}: {history}"


@pytest.mark.parametrize("group", range(GROUPS))
def test_an_account_taken_over_from_its_row_goes_on_as_in_one_run(group: int) -> None:
    """Day by day, or a few days at once, from the row of the day before, with earlier movements only where needed."""
    for seed in range(group, HISTORIES // 3, GROUPS):
        history, rng = random_history(random.Random(seed)), random.Random(seed)
        most_days = rng.choice([1, 40])
        whole = {row.as_of: row for row in _days(history)}
        first = history.booked_on + timedelta(days=1)
        while first <= history.last and (opening := whole.get(first - timedelta(days=1))):
            until = min(first + timedelta(days=rng.randrange(most_days)), history.last)
            moved = [each for each in history.movements if first <= each.posted_on <= until]
            account = _taken_over(history, opening, moved)
            is_carried_on = first in whole
            for row in days(account, until, moved):
                assert not is_carried_on or row == whole[row.as_of], f"seed {seed}, {row.as_of}: {history}"
            first = until + timedelta(days=1)


def _taken_over(history: History, opening: Day, moved: list[Movement]) -> Account:
    state = {name: getattr(opening, name) for name in _STATE}
    account = Account(history.terms, opening.as_of, history.booked_on, **state)
    earlier = [each for each in history.movements if each.posted_on <= opening.as_of]
    since = opening.as_of - timedelta(days=EARLY_REVERSAL_DAYS - 1)
    waiting = {each.reverses for each in earlier if (each.came_on or each.posted_on) >= since}
    if any(account.needs_events(each) or each.transaction_id in waiting for each in moved):
        replayed = Account.opened(history.terms, history.booked_on)
        for _ in applications(replayed, opening.as_of, earlier, is_new=True):
            pass
        account.events = replayed.events
    return account


def _days(history: History) -> Iterator[Day]:
    account = Account.opened(history.terms, history.booked_on)
    return days(account, history.last, history.movements, is_new=True)
