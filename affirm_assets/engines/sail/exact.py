"""Arithmetic of decimals to the last digit, for what Sail does otherwise than Spark: functions of Arrow's columns.

A quotient whose digits fit 64 bits is computed for a whole batch at once, in whole numbers; everything else row by row.
"""

from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]

# A quotient of 38 digits by 38 has at most 76 before the point: it is cut off far behind the place where it is rounded,
# and nearer to a half than one in 10^76 it cannot be.
_EXACT = Context(prec=200, rounding=ROUND_HALF_UP)
_WORK = {
    "+": _EXACT.add,
    "-": _EXACT.subtract,
    "*": _EXACT.multiply,
    "/": _EXACT.divide,
    "%": _EXACT.remainder,
}

_MOST = 2**62
"""What the whole numbers of a batch stay below: twice one of them is an int64 too."""


def exact(ones: pa.Array, others: pa.Array, *, name: str, precision: int, scale: int) -> pa.Array:
    """`ones` and `others`, decimals of up to 38 digits, put together by the operator `name` as Spark (ANSI) does it:
    half up at the result's scale.

    Spark cuts off at 39 digits or places before it rounds, which leaves the digit by which it rounds as it is.

    Raises:
        ZeroDivisionError: A divisor is zero in a row where both are known.
        OverflowError: A result that has more digits than `precision`.
    """
    quick = quotients(ones, others, precision, scale) if name == "/" else None
    return row_by_row(ones, others, name, precision, scale) if quick is None else quick


def row_by_row(ones: pa.Array, others: pa.Array, name: str, precision: int, scale: int) -> pa.Array:
    """By Python's decimals: a microsecond and more for each row."""
    work, last = _WORK[name], Decimal(1).scaleb(-scale)
    most = Decimal(10) ** (precision - scale)
    found: list[Decimal | None] = []
    for one, other in zip(ones.to_pylist(), others.to_pylist(), strict=True):
        if one is None or other is None:
            found.append(None)
            continue
        if name in "/%" and other == 0:
            raise ZeroDivisionError(f"[DIVIDE_BY_ZERO] {one} {name} {other}")
        value = work(one, other).quantize(last, context=_EXACT)
        if value.copy_abs() >= most:  # abs() would round to fewer digits
            raise OverflowError(f"[NUMERIC_VALUE_OUT_OF_RANGE] {one} {name} {other} is no decimal({precision},{scale})")
        found.append(value)
    return pa.array(found, pa.decimal128(precision, scale))


def quotients(ones: pa.Array, others: pa.Array, precision: int, scale: int) -> pa.Array | None:
    """All at once, by long division of their digits; None where a number on the way may not fit, or there is an error.

    12.34 / 5 to six places: 1234 / 5 = 246, 4 are left; 4 and four zeros more / 5 = 8000; together 2.468000.
    """
    if not all(pa.types.is_decimal128(each.type) and len(each) for each in (ones, others)):
        return None
    zeros = scale - ones.type.scale + others.type.scale
    known = pc.and_(ones.is_valid(), others.is_valid())
    mask = known.to_numpy(zero_copy_only=False)
    dividends, divisors = _digits(ones, mask, 0), _digits(others, mask, 1)
    if dividends is None or divisors is None or zeros < 0 or not divisors.all():
        return None
    is_negative = (dividends < 0) != (divisors < 0)
    divisors = np.abs(divisors)
    found, left = np.divmod(np.abs(dividends), divisors)
    step = min(zeros, _digits_to_spare(divisors))
    if (_most(found) + 1) * 10**zeros >= _MOST or (zeros and not step):
        return None
    while zeros:
        step = min(step, zeros)
        more, left = np.divmod(left * 10**step, divisors)
        found = found * 10**step + more
        zeros -= step
    found += 2 * left >= divisors
    if _most(found) >= 10**precision:
        return None
    words = np.empty((len(found), 2), dtype=np.int64)
    words[:, 0] = np.where(is_negative, -found, found)
    words[:, 1] = words[:, 0] >> 63
    is_known = pa.array(mask).buffers()[1]
    return pa.Array.from_buffers(pa.decimal128(precision, scale), len(found), [is_known, pa.py_buffer(words)])


def _digits(column: pa.Array, mask: npt.NDArray[np.bool_], instead: int) -> Ints | None:
    """The digits of decimals, `instead` where the mask is false; None if those of one do not fit."""
    words = np.frombuffer(column.buffers()[1], dtype=np.int64)[2 * column.offset :][: 2 * len(column)].reshape(-1, 2)
    lower, upper = np.where(mask, words[:, 0], instead), np.where(mask, words[:, 1], 0)
    if (upper != lower >> 63).any() or (lower <= -_MOST).any() or (lower >= _MOST).any():
        return None
    return lower


def _digits_to_spare(divisors: Ints) -> int:
    """How many zeros can be put behind what a division by them leaves."""
    return max(0, len(str(_MOST // (_most(divisors) + 1))) - 1)


def _most(numbers: Ints) -> int:
    return int(numbers.max(initial=0))
