"""The days of accounts, in batches: quiet ones as columns of many accounts at once, all others by the account's rules.

Nine rows of ten and more are of quiet days. No Python object is made for a loan that has no others in the window.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from operator import attrgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.datasets.servicing import _accounts
from affirm_assets.datasets.servicing._accounts import LOAN, ROWS_IN_BATCH, STATE, TERMS
from affirm_assets.datasets.servicing._integers import accounts_of, days_since_1970, decimals, to_arrow
from affirm_assets.declare import Window
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.days import MOVED, Day, quiet_days, stretches
from affirm_assets.lender.finance.due_dates import Ints
from affirm_assets.lender.finance.quiet import Accounts, QuietDays
from affirm_assets.lender.finance.quiet import quiet_days as quiet_columns

_LOAN_AND_TERMS = (*LOAN, *TERMS)

_LOANS_AT_ONCE = 2_000
"""So many accounts are Python objects at a time."""


def of_accounts(batches: Iterator[pa.RecordBatch], /, *, window: Window, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A row for each account and day of the window, as finance.days.days has it, in no order."""
    last = days_since_1970(window.last)
    for batch in batches:
        is_quiet = _is_quiet(batch, last, schema)
        quiet = _typed(batch.filter(is_quiet), schema)
        accounts = accounts_of(quiet)
        for rows, _ in _expanded(quiet, accounts, accounts.last_kept(np.full(len(accounts), last)), schema):
            yield rows
        others = batch.filter(pc.invert(is_quiet))
        for start in range(0, len(others), _LOANS_AT_ONCE):
            yield from _one_by_one(others.slice(start, _LOANS_AT_ONCE), window, schema)


def _is_quiet(batch: pa.RecordBatch, last: int, schema: pa.Schema) -> pa.Array:
    """Which loans are carried, and none of their days up to the last has more than interest."""
    is_quiet = pc.and_(pc.is_valid(batch["as_of"]), pc.is_null(batch["moved"])).to_numpy(zero_copy_only=False)
    accounts = accounts_of(_typed(batch.filter(pa.array(is_quiet)), schema))
    until = np.full(len(accounts), last)
    is_quiet[is_quiet] = accounts.fit(until) & ~accounts.close_by(until)
    return pa.array(is_quiet)


def _typed(accounts: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Loan, terms and state, typed as the rows."""
    fields = [schema.field(name) for name in (*_LOAN_AND_TERMS, *STATE)]
    columns = [accounts[each.name].cast(each.type) for each in fields]
    return pa.RecordBatch.from_arrays(columns, names=[each.name for each in fields])


def _expanded(
    typed: pa.RecordBatch, accounts: Accounts, until: Ints, schema: pa.Schema
) -> Iterator[tuple[pa.RecordBatch, QuietDays]]:
    """Rows of quiet days, a part of the accounts at a time."""
    lengths = np.maximum(until - accounts.day, 0)
    part = np.cumsum(lengths) // ROWS_IN_BATCH
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(accounts)]
    for start, end in pairwise(bounds):
        quiet = quiet_columns(accounts[start:end], until[start:end])
        yield _rows(typed.slice(start, end - start), quiet, schema), quiet


def _rows(typed: pa.RecordBatch, quiet: QuietDays, schema: pa.Schema) -> pa.RecordBatch:
    at = pa.array(quiet.account)
    zero = decimals(np.zeros(len(at), dtype=np.int64), schema.field("adjusted").type)
    taken: dict[str, pa.Array] = {}
    columns = []
    for field in schema:
        name = field.name
        if name in quiet.columns:
            columns.append(to_arrow(name, quiet.columns[name], field.type))
        elif name in MOVED:
            columns.append(zero)
        else:
            # What is not moved closes as it opened.
            source = name.removeprefix("opening_")
            if source not in taken:
                taken[source] = typed[source].take(at)
            columns.append(taken[source])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _one_by_one(loans: pa.RecordBatch, window: Window, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Each account by its rules from one quiet stretch to the next; then the stretches of all of them at once."""
    accounts, histories, terms = [], [], []
    for loan in loans.to_pylist():
        account, movements = _accounts.opened(loan, window)
        accounts.append(account)
        histories.append(stretches(account, window.last, movements, is_new=_accounts.is_new(loan, window)))
        terms.append(_accounts.loan_columns(loan, account.terms, _LOAN_AND_TERMS))
    agreed = _accounts.batch_of(terms, pa.schema([schema.field(name) for name in _LOAN_AND_TERMS]))
    going_on = list(range(len(accounts)))
    while going_on:
        rows: list[Day] = []
        of: list[int] = []
        quiet: list[int] = []
        until: list[date] = []
        for place in going_on:
            for each in histories[place]:
                if not isinstance(each, Day):
                    quiet.append(place)
                    until.append(each)
                    break
                rows.append(each)
                of.append(place)
        yield _eventful(agreed.take(pa.array(of, pa.int64())), rows, schema)
        yield from _quiet(agreed.take(pa.array(quiet, pa.int64())), [accounts[each] for each in quiet], until, schema)
        going_on = quiet


def _eventful(agreed: pa.RecordBatch, rows: Sequence[Day], schema: pa.Schema) -> pa.RecordBatch:
    days = _accounts.batch_of(rows, pa.schema([schema.field(name) for name in Day._fields]))
    return pa.RecordBatch.from_arrays([*agreed.columns, *days.columns], schema=schema)


_STATE = attrgetter(*("day" if name == "as_of" else name for name in STATE))
_CHANGES = ("interest", "accrued", "highest_days_past_due", "nonaccrual_since", "deferred_discount")
"""What quiet days change of an account, beside its day."""


def _quiet(
    agreed: pa.RecordBatch, accounts: Sequence[Account], until: Sequence[date], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of quiet days up to a date of each account, which goes on to it."""
    state = _accounts.batch_of([_STATE(each) for each in accounts], pa.schema([schema.field(name) for name in STATE]))
    typed = pa.RecordBatch.from_arrays([*agreed.columns, *state.columns], names=[*_LOAN_AND_TERMS, *STATE])
    columns, to = accounts_of(typed), np.array([days_since_1970(each) for each in until], dtype=np.int64)
    fit = columns.fit(to)
    for place in np.flatnonzero(~fit).tolist():
        by_rules = list(quiet_days(accounts[place], until[place]))
        yield _eventful(agreed.take(pa.array([place] * len(by_rules))), by_rules, schema)
    places = iter(np.flatnonzero(fit).tolist())
    for rows, quiet in _expanded(typed.filter(pa.array(fit)), columns[fit], to[fit], schema):
        yield rows
        for ends in rows.select(_CHANGES).take(pa.array(quiet.last_rows())).to_pylist():
            place = next(places)
            accounts[place].day = until[place]
            for name, value in ends.items():
                setattr(accounts[place], name, value)
