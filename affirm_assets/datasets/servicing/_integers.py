"""Arrow's columns as whole numbers, and back: what finance.quiet computes with."""

from dataclasses import fields
from datetime import date
from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.lender.finance.due_dates import Ints
from affirm_assets.lender.finance.quiet import BUCKETS, NEVER, STATUSES, Accounts
from affirm_assets.lender.products import PRODUCTS

_WORDS = {"bucket": BUCKETS, "status": STATUSES}
_EPOCH = date(1970, 1, 1)


def accounts_of(batch: pa.RecordBatch) -> Accounts:
    """The accounts of a batch of loan, terms and state, typed as loan_balances has them."""
    rules = [each.rules for each in PRODUCTS.values()]
    product = pc.index_in(batch["product"], pa.array(PRODUCTS)).to_numpy()
    may_be_missing = np.array([int((100 - each.instalment_met_at) * 100) for each in rules])
    shortages_carried = np.array([int(each.shortages_carried * 100) for each in rules])
    waived_below = np.array([ceil(each.waived_below * 100) for each in rules])
    nonaccrual_after = np.array([NEVER if each.nonaccrual_after is None else each.nonaccrual_after for each in rules])
    is_biweekly = pc.equal(batch["frequency"], "biweekly").to_numpy(zero_copy_only=False)
    columns = {
        "day": from_arrow(batch["as_of"]),
        # Of a monthly loan it is always known; without it, the loan is left to the rules.
        "due_day": np.where(is_biweekly, 0, from_arrow(pc.fill_null(batch["due_day"], -1))),
        "may_be_missing": may_be_missing[product],
        "shortages_carried": shortages_carried[product],
        "waived_below": waived_below[product],
        "nonaccrual_after": nonaccrual_after[product],
    }
    for field in fields(Accounts):
        if field.name not in columns:
            columns[field.name] = from_arrow(batch[field.name])
    return Accounts(**columns)


def from_arrow(column: pa.Array) -> Ints:
    """Dates as days since 1970, NEVER where there is none. Else the digits of decimals or integers, of which none is
    null. Raises TypeError for decimals of more digits than int64 holds."""
    values: Ints
    if pa.types.is_date32(column.type):
        values = pc.fill_null(column.cast(pa.int32()), NEVER).to_numpy().astype(np.int64)
    elif pa.types.is_decimal128(column.type):
        if column.type.precision > 18:
            raise TypeError(f"expected decimals of no more than 18 digits, which int64 holds; found {column.type}.")
        # Two words each, of which the lower has all digits.
        words = np.frombuffer(column.buffers()[1], dtype=np.int64)[2 * column.offset :]
        values = words[: 2 * len(column) : 2]
    else:
        values = column.to_numpy()
    return values


def to_arrow(name: str, values: Ints, type_: pa.DataType) -> pa.Array:
    """A column of loan_balances of what stands for its values."""
    if name in _WORDS:
        return pa.array(_WORDS[name], type_).take(pa.array(values))
    if pa.types.is_decimal(type_):
        return decimals(values, type_)
    if pa.types.is_date32(type_):
        return pa.array(values.astype(np.int32), mask=values == NEVER).cast(type_)
    return pa.array(values, type_)


def decimals(digits: Ints, type_: pa.DataType) -> pa.Array:
    words = np.empty((len(digits), 2), dtype=np.int64)
    words[:, 0] = digits
    words[:, 1] = digits >> 63
    return pa.Array.from_buffers(type_, len(digits), [None, pa.py_buffer(words)])


def days_since_1970(day: date) -> int:
    return (day - _EPOCH).days
