"""The days of accounts, in batches: quiet ones, and those of a payment in time, as columns of many accounts at once;
all others by the account's rules.

Nearly all rows are of such days. No Python object is made for a loan that has no others in the window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from operator import attrgetter

import numpy as np
import pyarrow as pa

from affirm_assets.datasets.servicing import _accounts
from affirm_assets.datasets.servicing._accounts import LOAN, ROWS_IN_BATCH, STATE, TERMS
from affirm_assets.datasets.servicing._integers import accounts_of, days_since_1970, decimals, to_arrow
from affirm_assets.datasets.servicing._payments import Payments
from affirm_assets.declare import Window
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.days import MOVED, Day, quiet_days, stretches
from affirm_assets.lender.finance.due_dates import Ints
from affirm_assets.lender.finance.in_time import CHANGED, Paid, may_be_paid, paid
from affirm_assets.lender.finance.quiet import Accounts, QuietDays
from affirm_assets.lender.finance.quiet import quiet_days as quiet_columns

_LOAN_AND_TERMS = (*LOAN, *TERMS)

_LOANS_AT_ONCE = 2_000
"""So many accounts are Python objects at a time."""


def of_accounts(batches: Iterator[pa.RecordBatch], /, *, window: Window, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A row for each account and day of the window, as finance.days.days has it, in no order."""
    for batch in batches:
        payments = Payments.of(batch)
        others = [batch.filter(pa.array(~payments.are_all))]
        yield from _as_columns(batch, payments, days_since_1970(window.last), schema, others)
        for each in others:
            for start in range(0, len(each), _LOANS_AT_ONCE):
                yield from _one_by_one(each.slice(start, _LOANS_AT_ONCE), window, schema)


def _as_columns(
    loans: pa.RecordBatch, payments: Payments, last: int, schema: pa.Schema, others: list[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The rows of the loans that nothing moves but interest and payments in time: of all at once, from one payment to
    the next.

    A loan to which more happens is added to `others`, as it is on the day up to which it has rows.
    """
    at = np.flatnonzero(payments.are_all)
    typed, number = _typed(loans.take(pa.array(at)), schema), np.zeros_like(at)
    while len(at):
        accounts = accounts_of(typed)
        day, amount = payments.following(at, number)
        pays = day <= last
        until = np.where(pays, day, last)
        fit = accounts.fit(until) & ~accounts.close_by(until - pays) & (~pays | may_be_paid(accounts, day))
        others.append(_as_it_is(loans.take(pa.array(at[~fit])), typed.filter(pa.array(~fit))))
        until = accounts.last_kept(until)
        [quiet] = np.nonzero(fit & ~pays & (until > accounts.day))
        for part in _parts(quiet, until - accounts.day):
            yield _rows(typed.take(pa.array(part)), quiet_columns(accounts[part], until[part]), schema)
        going_on, moved_on = [at[:0]], [typed.slice(0, 0)]
        for part in _parts(np.flatnonzero(fit & pays), until - accounts.day):
            of = typed.take(pa.array(part))
            rows, end = _to_payment(accounts[part], until[part], amount[part])
            yield _rows(of, rows, schema)
            is_other = pa.array(~end.is_whole)
            others.append(_as_it_is(loans.take(pa.array(at[part])).filter(is_other), of.filter(is_other)))
            going_on.append(part[end.is_whole])
            moved_on.append(_moved_on(of.filter(pa.array(end.is_whole)), end.accounts[end.is_whole]))
        goes_on = np.concatenate(going_on)
        at, number, typed = at[goes_on], number[goes_on] + 1, pa.concat_batches(moved_on)


def _to_payment(accounts: Accounts, day: Ints, amount: Ints) -> tuple[QuietDays, Paid]:
    """The rows of accounts up to the day of a payment, of those whose day ends with no more; and what comes of all."""
    quiet = quiet_columns(accounts, day)
    columns, last = quiet.columns, quiet.last_rows()
    accrued = {name: columns[name][last] for name in ("interest", "accrued", "deferred_discount")}
    highest = columns["opening_highest_days_past_due"][last]
    end = paid(replace(accounts, day=day, highest_days_past_due=highest, **accrued), amount)
    for name, values in end.columns.items():
        if name not in columns:
            before = np.zeros_like(day) if name in MOVED else getattr(accounts, name)
            columns[name] = before[quiet.account]
        columns[name][last] = values
    is_whole = end.is_whole[quiet.account]
    return QuietDays(quiet.account[is_whole], {name: values[is_whole] for name, values in columns.items()}), end


def _typed(accounts: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Loan, terms and state, typed as the rows."""
    fields = [schema.field(name) for name in (*_LOAN_AND_TERMS, *STATE)]
    columns = [accounts[each.name].cast(each.type) for each in fields]
    return pa.RecordBatch.from_arrays(columns, names=[each.name for each in fields])


_PAYMENT_CHANGES = {"as_of": "day", **{name: name for name in (*CHANGED, "accrued", "highest_days_past_due")}}


def _moved_on(typed: pa.RecordBatch, accounts: Accounts) -> pa.RecordBatch:
    """With the state that payments have left of the accounts."""
    columns = [
        to_arrow(each.name, getattr(accounts, _PAYMENT_CHANGES[each.name]), each.type)
        if each.name in _PAYMENT_CHANGES
        else typed[each.name]
        for each in typed.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=typed.schema)


def _as_it_is(loans: pa.RecordBatch, typed: pa.RecordBatch) -> pa.RecordBatch:
    """The loans, with the state on a later day."""
    names = loans.schema.names
    return pa.RecordBatch.from_arrays([(typed if name in STATE else loans)[name] for name in names], names=names)


def _parts(places: Ints, lengths: Ints) -> Iterator[Ints]:
    """Some of the places after the other, of no more rows together than a batch has."""
    part = np.cumsum(lengths[places]) // ROWS_IN_BATCH
    return (each for each in np.split(places, np.flatnonzero(np.diff(part)) + 1) if len(each))


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
                if len(rows) == ROWS_IN_BATCH:
                    yield _eventful(agreed.take(pa.array(of, pa.int64())), rows, schema)
                    rows, of = [], []
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
    for part in _parts(np.flatnonzero(fit), to - columns.day):
        quiet = quiet_columns(columns[part], to[part])
        rows = _rows(typed.take(pa.array(part)), quiet, schema)
        yield rows
        ends_of = rows.select(_CHANGES).take(pa.array(quiet.last_rows())).to_pylist()
        for place, ends in zip(part.tolist(), ends_of, strict=True):
            accounts[place].day = until[place]
            for name, value in ends.items():
                setattr(accounts[place], name, value)
