"""Expressions that are put together at random, with what Spark (ANSI) makes of them in Python's own whole numbers.

Each knows its SQL, its type as Spark types it, and its value for a row. It is written from Spark's rules (of decimals'
types: DecimalPrecision, with precision loss allowed) and knows nothing of any engine.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

Row = Mapping[str, Any]
Value = int | Decimal | bool | None

_EXACT = Context(prec=120, rounding=ROUND_HALF_UP)
_BIGINT = 2**63

COLUMNS = {
    "n": [0, 1, -1, 2, 3, 5, -7, 100, 2**31 - 1, 2**31, -(2**31), 2**40, 2**63 - 1, -(2**63)],
    "k": [0, 1, 2, -3, 10, 36500],
    "m": [
        "0.00",
        "0.01",
        "-0.01",
        "0.50",
        "0.96",
        "1.00",
        "1.04",
        "1.50",
        "-1.50",
        "2.50",
        "2.99",
        "14.99",
        "99999.99",
    ],
    "w": ["9999999999999999.99", "0.10", "-3.00", "7.77", "0.00"],
    "r": ["0.000000", "0.500000", "14.991000", "-0.000001", "1.000000", "0.333333", "999.999999"],
    "b": [True, False],
    "c": [True, False],
}
DDL = {
    "n": "bigint",
    "k": "bigint",
    "m": "decimal(18,2)",
    "w": "decimal(18,2)",
    "r": "decimal(9,6)",
    "b": "boolean",
    "c": "boolean",
}


class Raises(Exception):
    """What Spark raises for a row: an overflow, a division by zero."""


@dataclass(frozen=True)
class Digits:
    """decimal(precision, scale)."""

    precision: int
    scale: int

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})"

    @staticmethod
    def adjusted(precision: int, scale: int) -> "Digits":
        """Within 38: of the places behind the point six are kept, or as many as there are."""
        if precision <= 38:
            return Digits(precision, scale)
        return Digits(38, max(38 - (precision - scale), min(scale, 6)))

    def of(self, value: Decimal) -> Decimal:
        """Half up. Raises what overflows."""
        made = value.quantize(Decimal((0, (1,), -self.scale)), context=_EXACT)
        if made.copy_abs() >= Decimal(10) ** (self.precision - self.scale):
            raise Raises
        return made


@dataclass(frozen=True)
class Expression:
    """`digits`: of a decimal's type; None for a bigint or a boolean."""

    text: str
    value: Callable[[Row], Value]
    digits: Digits | None = None


def rows(chance: random.Random, number: int, *, nulls: bool) -> list[dict[str, Any]]:
    """Values of COLUMNS at random; one in eight null, if there are nulls at all."""

    def drawn(name: str) -> Any:
        value = chance.choice(COLUMNS[name])
        if nulls and chance.random() < 0.125:
            return None
        return Decimal(value) if isinstance(value, str) else value

    return [{"i": i, **{name: drawn(name) for name in COLUMNS}} for i in range(number)]


class Composer:
    """Makes expressions of a depth, of one kind of type. Deterministic, by its random numbers."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def whole(self, depth: int) -> Expression:
        """A bigint."""
        if depth == 0:
            if self._chance.random() < 0.3:
                return _constant(self._chance.choice([0, 1, -1, 2, 7, 100]), "L")
            return _column(self._chance.choice("nk"))
        make = self._chance.choice([self._whole_arithmetic, self._whole_cast, self._whole_coalesce, self._whole_if])
        return make(depth - 1)

    def decimal(self, depth: int) -> Expression:
        if depth == 0:
            if self._chance.random() < 0.25:
                return _constant(Decimal(self._chance.choice(["0.00", "1.00", "1.5", "0.5", "100.00", "2.345"])), "BD")
            return _column(self._chance.choice("mwr"))
        make = self._chance.choice(
            [self._arithmetic, self._quotient, self._rounded, self._cast, self._coalesce, self._if, self._of_whole]
        )
        return make(depth - 1)

    def condition(self, depth: int) -> Expression:
        if depth == 0:
            return _column(self._chance.choice("bc"))
        make = self._chance.choice(
            [self._compared, self._compared, self._compared, self._listed, self._between, self._not, self._and_or]
        )
        return make(depth - 1)

    def algebra(self, depth: int) -> Expression:
        """Conditions on one column: an optimizer takes several of them together."""
        name = self._chance.choice("nkmr")
        values = [str(each) for each in COLUMNS[name] if abs(Decimal(each)) < 1000]
        return self._algebra(depth, name, values)

    def _algebra(self, depth: int, name: str, values: list[str]) -> Expression:
        if depth == 0:
            return self._of_column(name, values)
        one, other = self._algebra(depth - 1, name, values), self._algebra(depth - 1, name, values)
        match self._chance.choice(["AND", "AND", "OR", "OR", "NOT", "IF"]):
            case "NOT":
                return self._negated(one)
            case "IF":
                asked = self._of_column(name, values)
                return Expression(f"IF({asked.text}, {one.text}, {other.text})", chosen(asked, one, other))
            case word:
                return connected(one, other, word)

    def _of_column(self, name: str, values: list[str]) -> Expression:
        """Compared with a constant on either side, or in a list, which may have a null."""
        column = _column(name)
        if self._chance.random() < 0.4:
            listed = self._chance.sample(values, self._chance.choice([1, 2, 3]))
            has_null, is_not = self._chance.random() < 0.3, self._chance.random() < 0.4
            members = [Decimal(each) for each in listed]

            def value(row: Row) -> Value:
                found = column.value(row)
                if found is None:
                    return None
                is_in = True if found in members else None if has_null else False
                return is_in if is_in is None or not is_not else not is_in

            texts = ", ".join([*listed, *(["NULL"] if has_null else [])])
            return Expression(f"({name} {'NOT ' if is_not else ''}IN ({texts}))", value)
        constant, sign = self._chance.choice(values), self._chance.choice(["=", "=", "<>", "<", "<=", ">", ">="])
        compared = Decimal(constant)
        if self._chance.random() < 0.5:
            flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
            value_of = applied(column, lambda found: compares(sign, found, compared))
            return Expression(f"({constant} {flipped} {name})", value_of)
        return Expression(f"({name} {sign} {constant})", applied(column, lambda found: compares(sign, found, compared)))

    # Whole numbers

    def _whole_arithmetic(self, depth: int) -> Expression:
        one, other, sign = self.whole(depth), self.whole(depth), self._chance.choice("+-*%")

        def work(a: int, b: int) -> int:
            if sign == "%":
                if b == 0:
                    raise Raises
                return abs(a) % abs(b) * (-1 if a < 0 else 1)
            return _bigint(a + b if sign == "+" else a - b if sign == "-" else a * b)

        return Expression(f"({one.text} {sign} {other.text})", applied_to_both(one, other, work))

    def _whole_cast(self, depth: int) -> Expression:
        of = self.decimal(depth)
        return Expression(f"CAST({of.text} AS bigint)", applied(of, lambda value: _bigint(int(value))))

    def _whole_coalesce(self, depth: int) -> Expression:
        of, instead = self.whole(depth), self._chance.choice([0, 1, 5])
        return Expression(f"coalesce({of.text}, {instead}L)", _or(of, instead))

    def _whole_if(self, depth: int) -> Expression:
        asked, one, other = self.condition(depth), self.whole(depth), self.whole(depth)
        return Expression(f"IF({asked.text}, {one.text}, {other.text})", chosen(asked, one, other))

    # Decimals

    def _arithmetic(self, depth: int) -> Expression:
        one, other, sign = self.decimal(depth), self.decimal(depth), self._chance.choice("+-*")
        a, b = _digits(one), _digits(other)
        scale = max(a.scale, b.scale)
        digits = (
            Digits.adjusted(a.precision + b.precision + 1, a.scale + b.scale)
            if sign == "*"
            else Digits.adjusted(max(a.precision - a.scale, b.precision - b.scale) + scale + 1, scale)
        )
        work = {"+": _EXACT.add, "-": _EXACT.subtract, "*": _EXACT.multiply}[sign]
        value = applied_to_both(one, other, lambda x, y: digits.of(work(x, y)))
        return Expression(f"({one.text} {sign} {other.text})", value, digits)

    def _quotient(self, depth: int) -> Expression:
        one, other = self.decimal(depth), self.decimal(depth)
        a, b = _digits(one), _digits(other)
        scale = max(6, a.scale + b.precision + 1)
        digits = Digits.adjusted(a.precision - a.scale + b.scale + scale, scale)

        def work(x: Decimal, y: Decimal) -> Decimal:
            if y == 0:
                raise Raises
            return digits.of(_EXACT.divide(x, y))

        return Expression(f"({one.text} / {other.text})", applied_to_both(one, other, work), digits)

    def _rounded(self, depth: int) -> Expression:
        of, places = self.decimal(depth), self._chance.choice([0, 1, 2])
        was = _digits(of)
        scale = min(places, was.scale)
        digits = Digits(min(was.precision - was.scale + 1 + scale, 38), scale)
        return Expression(f"round({of.text}, {places})", applied(of, digits.of), digits)

    def _cast(self, depth: int) -> Expression:
        of, digits = (
            self.decimal(depth),
            self._chance.choice([Digits(18, 2), Digits(9, 0), Digits(38, 6), Digits(20, 1)]),
        )
        return Expression(f"CAST({of.text} AS {digits})", applied(of, digits.of), digits)

    def _coalesce(self, depth: int) -> Expression:
        of = self.decimal(depth)
        digits = _digits(of)
        text = f"coalesce(CAST({of.text} AS {digits}), CAST(0 AS {digits}))"
        return Expression(text, _or(of, digits.of(Decimal(0))), digits)

    def _if(self, depth: int) -> Expression:
        asked, one = self.condition(depth), self.decimal(depth)
        nothing = Expression(f"CAST(NULL AS {_digits(one)})", lambda _: None)
        return Expression(f"IF({asked.text}, {one.text}, {nothing.text})", chosen(asked, one, nothing), one.digits)

    def _of_whole(self, depth: int) -> Expression:
        of = self.whole(depth)
        return Expression(f"CAST({of.text} AS decimal(20,0))", applied(of, Decimal), Digits(20, 0))

    # Conditions

    def _compared(self, depth: int) -> Expression:
        kind = self._chance.choice([self.whole, self.decimal, self.decimal])
        sign = self._chance.choice(["=", "<>", "<", "<=", ">", ">=", "<=>"])
        # With a constant more often than not: that is what an optimizer looks through.
        one, other = kind(depth), kind(0 if self._chance.random() < 0.6 else depth)
        if sign == "<=>":
            return Expression(f"({one.text} <=> {other.text})", lambda row: one.value(row) == other.value(row))
        return Expression(
            f"({one.text} {sign} {other.text})", applied_to_both(one, other, lambda x, y: compares(sign, x, y))
        )

    def _listed(self, depth: int) -> Expression:
        of = self.decimal(depth)
        listed = self._chance.sample(["0.00", "1.5", "1.00", "15", "2", "0.33"], self._chance.choice([1, 3, 5]))
        values = [Decimal(each) for each in listed]
        return Expression(f"({of.text} IN ({', '.join(listed)}))", applied(of, lambda value: value in values))

    def _between(self, depth: int) -> Expression:
        of, (least, most) = self.decimal(depth), self._chance.choice([("0", "1.5"), ("-1.50", "2"), ("1.505", "99")])
        value = applied(of, lambda found: Decimal(least) <= found <= Decimal(most))
        return Expression(f"({of.text} BETWEEN {least} AND {most})", value)

    def _not(self, depth: int) -> Expression:
        return self._negated(self.condition(depth))

    def _negated(self, of: Expression) -> Expression:
        return Expression(f"(NOT {of.text})", applied(of, lambda value: not value))

    def _and_or(self, depth: int) -> Expression:
        return connected(self.condition(depth), self.condition(depth), self._chance.choice(["AND", "OR"]))


def connected(one: Expression, other: Expression, word: str) -> Expression:
    """AND or OR. The second is looked at only where the first does not decide."""
    decides = word == "OR"

    def value(row: Row) -> Value:
        first = one.value(row)
        if first is decides:
            return decides
        second = other.value(row)
        if second is decides:
            return decides
        return None if first is None or second is None else not decides

    return Expression(f"({one.text} {word} {other.text})", value)


def _column(name: str) -> Expression:
    digits = {"m": Digits(18, 2), "w": Digits(18, 2), "r": Digits(9, 6)}.get(name)
    return Expression(name, lambda row: row[name], digits)


def _constant(value: int | Decimal, suffix: str) -> Expression:
    if isinstance(value, int):
        return Expression(f"({value}{suffix})", lambda _: value)
    _, digits, exponent = value.as_tuple()
    scale = -int(exponent)
    return Expression(f"({value}{suffix})", lambda _: value, Digits(max(len(digits), scale), scale))


def _digits(of: Expression) -> Digits:
    assert of.digits is not None
    return of.digits


def _bigint(value: int) -> int:
    if not -_BIGINT <= value < _BIGINT:
        raise Raises
    return value


def applied(one: Expression, work: Callable[[Any], Value]) -> Callable[[Row], Value]:
    return lambda row: None if (found := one.value(row)) is None else work(found)


def applied_to_both(one: Expression, other: Expression, work: Callable[[Any, Any], Value]) -> Callable[[Row], Value]:
    def value(row: Row) -> Value:
        first, second = one.value(row), other.value(row)
        return None if first is None or second is None else work(first, second)

    return value


def _or(of: Expression, instead: Value) -> Callable[[Row], Value]:
    return lambda row: instead if (found := of.value(row)) is None else found


def chosen(asked: Expression, one: Expression, other: Expression) -> Callable[[Row], Value]:
    return lambda row: one.value(row) if asked.value(row) is True else other.value(row)


def compares(sign: str, one: Any, other: Any) -> bool:
    return bool(
        {
            "=": one == other,
            "<>": one != other,
            "<": one < other,
            "<=": one <= other,
            ">": one > other,
            ">=": one >= other,
        }[sign]
    )
