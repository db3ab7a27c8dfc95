"""Quotients of whole batches against those row by row, and row by row against Python's own fractions."""

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affirm_assets.engines.sail.exact import exact, quotients, row_by_row

Numbers = list[int | None]
thorough = settings(max_examples=300, deadline=None, derandomize=True)


def column(digits: Numbers, precision: int, scale: int) -> pa.Array:
    # Not by scaleb, which rounds to the 28 digits of Python's context.
    values = [None if each is None else Decimal(f"{each}E-{scale}") for each in digits]
    return pa.array(values, pa.decimal128(precision, scale))


def digits_of(precision: int) -> st.SearchStrategy[int | None]:
    """Some small, some around a power of ten or of two, some of any size."""
    most = 10**precision - 1
    near = st.builds(
        lambda base, power, more, sign: sign * min(base**power + more, most),
        st.sampled_from((2, 5, 10)),
        st.integers(0, 62),
        st.integers(-1, 1),
        st.sampled_from((1, -1)),
    )
    return st.one_of(st.none(), st.integers(-9, 9), near, st.integers(-most, most))


@st.composite
def divisions(draw: st.DrawFn) -> tuple[pa.Array, pa.Array, int, int]:
    sizes = st.sampled_from(((18, 2), (9, 6), (28, 8), (20, 0), (5, 0), (38, 10)))
    (p1, s1), (p2, s2) = draw(sizes), draw(sizes)
    pairs = draw(st.lists(st.tuples(digits_of(min(p1, 20)), digits_of(min(p2, 20))), min_size=1, max_size=12))
    ones, others = ([pair[at] for pair in pairs] for at in (0, 1))
    begin = draw(st.integers(0, len(pairs)))
    scale = draw(st.integers(0, 20))
    return column(ones, p1, s1)[begin:], column(others, p2, s2)[begin:], 38, scale


@thorough
@given(divisions())
def test_quotients_of_a_batch_are_those_of_its_rows(division: tuple[pa.Array, pa.Array, int, int]) -> None:
    ones, others, precision, scale = division
    found = quotients(ones, others, precision, scale)
    if found is None:
        return
    found.validate(full=True)
    assert found.equals(row_by_row(ones, others, "/", precision, scale))


@thorough
@given(st.integers(-(10**30), 10**30), st.integers(1, 10**30), st.integers(0, 12))
def test_a_quotient_of_a_row_is_the_fraction_rounded_half_up(one: int, other: int, scale: int) -> None:
    (found,) = row_by_row(column([one], 38, 4), column([other], 38, 0), "/", 38, scale).to_pylist()
    exactly = Fraction(one, other * 10**4)
    half_up = int(abs(exactly) * 10**scale + Fraction(1, 2))
    assert Fraction(found) == Fraction(half_up if one >= 0 else -half_up, 10**scale)


@pytest.mark.parametrize(
    ("ones", "others", "scale"),
    [
        (column([1_000_000_00, -5, None, 0], 28, 8), column([36500, 36500, 1, None], 5, 0), 14),
        (column([123, 5, -5, 15, -15], 18, 2), column([10, 10, 10, 10, 10], 5, 0), 2),
        (column([10**17, -(10**17)], 18, 2), column([3, 7], 20, 0), 2),
        (column([1, 2], 18, 2), column([10**16 + 1, 3], 20, 0), 10),
    ],
    ids=["interest of a day", "halves", "large amounts", "a large divisor"],
)
def test_what_books_divide_is_computed_for_the_batch(ones: pa.Array, others: pa.Array, scale: int) -> None:
    assert quotients(ones, others, 38, scale).equals(row_by_row(ones, others, "/", 38, scale))


@pytest.mark.parametrize(
    ("one", "other", "precision", "scale"),
    [(10**19, 3, 38, 6), (7, 10**19, 38, 6), (10**15, 3, 38, 10), (2**62, 1, 38, 0), (-(2**63), 1, 38, 0)],
)
def test_what_may_not_fit_is_left_to_the_rows(one: int, other: int, precision: int, scale: int) -> None:
    ones, others = column([one, 1], 38, 0), column([other, 1], 38, 0)
    assert quotients(ones, others, precision, scale) is None
    found = exact(ones, others, name="/", precision=precision, scale=scale)
    assert found.equals(row_by_row(ones, others, "/", precision, scale))


def test_errors_name_the_row() -> None:
    ones = column([100, 1, 200], 18, 2)
    with pytest.raises(ZeroDivisionError, match=r"\[DIVIDE_BY_ZERO\] 2.00 / 0"):
        exact(ones, column([1, None, 0], 5, 0), name="/", precision=20, scale=6)
    with pytest.raises(OverflowError, match=r"\[NUMERIC_VALUE_OUT_OF_RANGE\] 1.00 / 1 is no decimal\(6,6\)"):
        exact(ones, column([1, 1, 1], 5, 0), name="/", precision=6, scale=6)
    unknown = exact(column([None], 18, 2), column([0], 5, 0), name="/", precision=20, scale=6)
    assert unknown.to_pylist() == [None]


def test_no_rows() -> None:
    none = column([], 18, 2)
    assert exact(none, none, name="/", precision=20, scale=6).equals(column([], 20, 6))
