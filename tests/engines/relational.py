"""Relational plans that are put together at random, with the rows that Spark (ANSI) makes of them, in plain Python.

A plan is a text of PySpark's frames, the types of its columns, and its rows: what makes it makes all three. It knows
nothing of any engine. What raises by Spark's rules is drawn anew, and so is what has many rows or is left to chance.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from tests.engines.composed import (
    Digits,
    Expression,
    Raises,
    Row,
    applied,
    applied_to_both,
    chosen,
    compares,
    connected,
)

Kind = str | Digits
"""A type, as Spark SQL names it."""
Kinds = Mapping[str, Kind]
Rows = Sequence[Row]

MOST_ROWS = 200

_MONEY, _RATE = Digits(18, 2), Digits(9, 4)
COLUMNS: Kinds = {"k": "int", "n": "bigint", "m": _MONEY, "r": _RATE, "s": "string", "d": "date", "b": "boolean"}
CONSTANTS: Mapping[Kind, Sequence[Any]] = {
    "int": [0, 1, 2, 3, -1, 12],
    "bigint": [0, 1, 2, 3, -1, 2**40],
    _MONEY: [Decimal(each) for each in ("0.00", "1.00", "1.50", "-1.50", "2.00", "99.99")],
    _RATE: [Decimal(each) for each in ("0.0000", "1.0000", "1.5000", "0.3333", "-2.0000", "0.0001")],
    "string": ["", "a", "b", "ab", "1", " a"],
    "date": [date(2024, 2, 29), date(2024, 3, 1), date(2023, 12, 31), date(1970, 1, 1)],
    "boolean": [True, False],
}
NEVER_NULL = ("sure", "none")
"""Tables, of whose columns none may be null; the second has no rows."""
TABLES = ("one", "two", "sure", "none")


def tables(chance: random.Random, most: int = 14) -> dict[str, list[Row]]:
    """Rows of each table: of few values, so that keys meet."""

    def drawn(kind: Kind, nulls: bool) -> Any:
        return None if nulls and chance.random() < 0.2 else chance.choice(CONSTANTS[kind])

    return {
        name: [
            {column: drawn(kind, name not in NEVER_NULL) for column, kind in COLUMNS.items()}
            for _ in range(0 if name == "none" else most)
        ]
        for name in TABLES
    }


def literal(kind: Kind, value: Any) -> str:
    """As SQL, of just this type."""
    if value is None:
        return f"CAST(NULL AS {kind})"
    match kind:
        case Digits():
            return f"CAST({value:f} AS {kind})"
        case "bigint":
            return f"{value}L"
        case "string":
            return f"'{value}'"
        case "date":
            return f"DATE'{value}'"
    return str(value).upper()


@dataclass(frozen=True)
class Relation:
    """`text` makes the frame, of the tables by their names and of `F`; `inputs`: what it is made of."""

    text: str
    kinds: Kinds
    rows: Rows
    inputs: tuple["Relation", ...] = ()
    is_ordered: bool = False


class DrawAnew(Exception):
    """What was drawn cannot be compared, or is too much."""


class Scalars:
    """Expressions over the columns of a relation."""

    def __init__(self, chance: random.Random, kinds: Kinds) -> None:
        self._chance, self._kinds = chance, kinds

    def column(self, kind: Kind) -> Expression | None:
        names = [name for name, each in self._kinds.items() if each == kind]
        return self._named(self._chance.choice(names)) if names else None

    def any_column(self) -> tuple[Expression, Kind]:
        name = self._chance.choice(list(self._kinds))
        return self._named(name), self._kinds[name]

    def _named(self, name: str) -> Expression:
        return Expression(name, lambda row: row[name])

    def constant(self, kind: Kind, nulls: float = 0.1) -> Expression:
        if kind in CONSTANTS:
            value = self._chance.choice(CONSTANTS[kind])
        else:
            assert isinstance(kind, Digits)
            value = kind.of(self._chance.choice([Decimal(0), Decimal(1), Decimal("1.5")]))
        value = None if self._chance.random() < nulls else value
        return Expression(literal(kind, value), lambda _: value)

    def of(self, kind: Kind, depth: int) -> Expression:
        """Of just this type."""
        if depth == 0:
            found = self.column(kind) if self._chance.random() < 0.85 else None
            return found or self.constant(kind)
        make = self._chance.choice([self._coalesce, self._if, self._of_kind, self._of_kind, self._of_kind])
        return make(kind, depth - 1)

    def _coalesce(self, kind: Kind, depth: int) -> Expression:
        one, other = self.of(kind, depth), self.of(kind, 0)

        def value(row: Row) -> Any:
            found = one.value(row)
            return other.value(row) if found is None else found

        return Expression(f"coalesce({one.text}, {other.text})", value)

    def _if(self, kind: Kind, depth: int) -> Expression:
        asked, one, other = self.condition(depth), self.of(kind, depth), self.of(kind, 0)
        return Expression(f"IF({asked.text}, {one.text}, {other.text})", chosen(asked, one, other))

    def _of_kind(self, kind: Kind, depth: int) -> Expression:
        match kind:
            case Digits():
                return self._decimal(kind, depth)
            case "int":
                return self._int(depth)
            case "bigint":
                return self._bigint(depth)
            case "string":
                return self._string(depth)
            case "date":
                return self._date(depth)
        return self.condition(depth)

    def _int(self, depth: int) -> Expression:
        match self._chance.choice(["length", "month", "+", "%", "datediff"]):
            case "length":
                of = self.of("string", depth)
                return Expression(f"length({of.text})", applied(of, len))
            case "month":
                of = self.of("date", depth)
                return Expression(f"month({of.text})", applied(of, lambda value: value.month))
            case "datediff":
                one, other = self.of("date", depth), self.of("date", 0)
                value = applied_to_both(one, other, lambda x, y: (x - y).days)
                return Expression(f"datediff({one.text}, {other.text})", value)
            case sign:
                return self._whole(self.of("int", depth), str(sign), "", 31)

    def _bigint(self, depth: int) -> Expression:
        match self._chance.choice(["int", "decimal", "+", "%"]):
            case "int":
                of = self.of("int", depth)
                return Expression(f"CAST({of.text} AS bigint)", of.value)
            case "decimal":
                of = self.of(_MONEY, depth)
                return Expression(f"CAST({of.text} AS bigint)", applied(of, int))
            case sign:
                return self._whole(self.of("bigint", depth), str(sign), "L", 63)

    def _whole(self, of: Expression, sign: str, suffix: str, bits: int) -> Expression:
        constant = self._chance.choice([1, 2, 3])

        def work(value: int) -> int:
            if sign == "%":
                return abs(value) % constant * (-1 if value < 0 else 1)
            if value + constant >= 2**bits:
                raise Raises
            return value + constant

        return Expression(f"({of.text} {sign} {constant}{suffix})", applied(of, work))

    def _decimal(self, kind: Digits, depth: int) -> Expression:
        match self._chance.choice(["int", "scale", "+", "*"]):
            case "int":
                of = self.of("int", depth)
                return Expression(f"CAST({of.text} AS {kind})", applied(of, lambda value: kind.of(Decimal(value))))
            case "scale":
                of = self.of(self._chance.choice([_MONEY, _RATE]), depth)
                return Expression(f"CAST({of.text} AS {kind})", applied(of, kind.of))
            case sign:
                # Of few digits, so that each sum and product has its place.
                one, other = self.of(_RATE, depth), self.of(_RATE, 0)
                value = applied_to_both(one, other, lambda x, y: kind.of(x + y if sign == "+" else x * y))
                return Expression(f"CAST(({one.text} {sign} {other.text}) AS {kind})", value)

    def _string(self, depth: int) -> Expression:
        match self._chance.choice(["concat", "trim", "substring", "cast"]):
            case "concat":
                one, other = self.of("string", depth), self.of("string", 0)
                value = applied_to_both(one, other, lambda x, y: x + y)
                return Expression(f"concat({one.text}, {other.text})", value)
            case "trim":
                of = self.of("string", depth)
                return Expression(f"trim({of.text})", applied(of, lambda value: value.strip(" ")))
            case "substring":
                of = self.of("string", depth)
                return Expression(f"substring({of.text}, 1, 1)", applied(of, lambda value: value[:1]))
        kind = self._chance.choice(["int", "bigint", "date", "boolean"])
        of = self.of(kind, depth)
        return Expression(f"CAST({of.text} AS string)", applied(of, lambda value: str(value).lower()))

    def _date(self, depth: int) -> Expression:
        of = self.of("date", depth)
        match self._chance.choice(["date_add", "trunc", "last_day"]):
            case "date_add":
                days = self._chance.choice([0, 1, 366])
                return Expression(
                    f"date_add({of.text}, {days})", applied(of, lambda value: value + timedelta(days=days))
                )
            case "trunc":
                return Expression(f"trunc({of.text}, 'month')", applied(of, lambda value: value.replace(day=1)))
        return Expression(f"last_day({of.text})", applied(of, _last_day))

    # Conditions

    def condition(self, depth: int) -> Expression:
        if depth == 0:
            return self._simple()
        make = self._chance.choice(
            [self._simple, self._compared, self._compared, self._is_null, self._not, self._and_or, self._and_or]
        )
        return make(depth - 1)

    def algebra(self, depth: int) -> Expression:
        """Conditions on one column."""
        of, kind = self.any_column()
        return self._algebra(of, kind, depth)

    def _algebra(self, of: Expression, kind: Kind, depth: int) -> Expression:
        if depth == 0:
            return self._of_column(of, kind)
        one = self._algebra(of, kind, depth - 1)
        match self._chance.choice(["AND", "AND", "OR", "OR", "NOT"]):
            case "NOT":
                return _negated(one)
            case word:
                return connected(one, self._algebra(of, kind, depth - 1), str(word))

    def _simple(self, _depth: int = 0) -> Expression:
        """What decides nothing, a column that is a condition, or one column compared."""
        if self._chance.random() < 0.06:
            value = self._chance.choice([True, False, False, None])
            return Expression(literal("boolean", value), lambda _: value)
        if self._chance.random() < 0.15 and (found := self.column("boolean")) is not None:
            return found
        return self._of_column(*self.any_column())

    def _of_column(self, of: Expression, kind: Kind) -> Expression:
        match self._chance.choice(["=", "compared", "IN", "IS NULL", "column"]):
            case "IS NULL":
                return self._whether_null(of)
            case "IN":
                return self._listed(of, kind)
            case "column" if (other := self.column(kind)) is not None:
                return self._by_sign(of, other)
            case "=":
                constant = self.constant(kind, nulls=0.02)
                value = applied_to_both(of, constant, lambda x, y: compares("=", x, y))
                return Expression(f"({of.text} = {constant.text})", value)
        constant = self.constant(kind, nulls=0.02)
        return self._by_sign(of, constant) if self._chance.random() < 0.7 else self._by_sign(constant, of)

    def _by_sign(self, one: Expression, other: Expression) -> Expression:
        sign = self._chance.choice(["=", "<>", "<", "<=", ">", ">=", "<=>"])
        if sign == "<=>":
            return Expression(f"({one.text} <=> {other.text})", lambda row: one.value(row) == other.value(row))
        value = applied_to_both(one, other, lambda x, y: compares(sign, x, y))
        return Expression(f"({one.text} {sign} {other.text})", value)

    def _listed(self, of: Expression, kind: Kind) -> Expression:
        listed = [self.constant(kind) for _ in range(self._chance.choice([1, 2, 3]))]
        is_not = self._chance.random() < 0.4

        def value(row: Row) -> Any:
            found = of.value(row)
            if found is None:
                return None
            members = [each.value(row) for each in listed]
            is_in = True if found in members else None if None in members else False
            return is_in if is_in is None or not is_not else not is_in

        texts = ", ".join(each.text for each in listed)
        return Expression(f"({of.text} {'NOT ' if is_not else ''}IN ({texts}))", value)

    def _compared(self, depth: int) -> Expression:
        kind = self._chance.choice(list(COLUMNS.values()))
        return self._by_sign(self.of(kind, depth), self.of(kind, 0))

    def _whether_null(self, of: Expression) -> Expression:
        is_not = self._chance.random() < 0.5
        text = f"({of.text} IS {'NOT ' if is_not else ''}NULL)"
        return Expression(text, lambda row: (of.value(row) is None) is not is_not)

    def _is_null(self, depth: int) -> Expression:
        return self._whether_null(self.of(self._chance.choice(list(COLUMNS.values())), depth))

    def _not(self, depth: int) -> Expression:
        return _negated(self.condition(depth))

    def _and_or(self, depth: int) -> Expression:
        return connected(self.condition(depth), self.condition(depth), self._chance.choice(["AND", "OR"]))


def _negated(of: Expression) -> Expression:
    return Expression(f"(NOT {of.text})", applied(of, lambda value: not value))


def _last_day(of: date) -> date:
    return (of.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


# Aggregates

Total = Callable[[Rows], Any]
"""What an aggregate makes of the rows of a group."""


def _there(of: Expression, rows: Rows) -> list[Any]:
    return [value for row in rows if (value := of.value(row)) is not None]


def _sum(of: Expression, kind: Kind) -> Total:
    def total(rows: Rows) -> Any:
        values = _there(of, rows)
        if not values:
            return None
        if isinstance(kind, Digits):
            return kind.of(sum(values, Decimal(0)))
        if abs(sum(values)) >= 2**63:
            raise Raises
        return sum(values)

    return total


def _mean(of: Expression, digits: Digits) -> Total:
    def mean(rows: Rows) -> Any:
        values = _there(of, rows)
        # One division: rounded once, as Spark does. The sums are short enough for Python's own digits.
        return digits.of(sum(values, Decimal(0)) / len(values)) if values else None

    return mean


class Plans:
    """Relations of a depth. Deterministic, by its random numbers."""

    def __init__(self, chance: random.Random, rows: Mapping[str, Rows]) -> None:
        self._chance, self._rows = chance, rows
        self._names = (f"c{at}" for at in count(1))

    def plan(self, depth: int) -> Relation:
        made = self.relation(depth)
        return self._first_rows(made) if self._chance.random() < 0.1 else made

    def relation(self, depth: int) -> Relation:
        if depth == 0:
            return self._table()
        of = self.relation(depth - 1)
        one_input = [self._filtered, self._selected, self._aggregated, self._windowed, self._distinct, self._changed]
        two_inputs = [
            *(self._joined_on_columns, self._joined_on, self._kept, self._united, self._with_itself),
            *(self._with_its_groups, self._tied),
        ]
        while True:
            makes = one_input if self._chance.random() < 0.5 else two_inputs
            try:
                made = self._chance.choice(makes)(of)
                if self._chance.random() < 0.5:
                    made = self._filtered(made)
            except (Raises, DrawAnew):
                continue
            is_seldom = not made.rows and of.rows and self._chance.random() < 0.8
            if len(made.rows) <= MOST_ROWS and len(made.kinds) <= 12 and not is_seldom:
                return made

    def _table(self) -> Relation:
        name = self._chance.choices(TABLES, [4, 3, 4, 1])[0]
        chosen_columns = self._chance.sample(list(COLUMNS), self._chance.choice([2, 3, 4]))
        names = {next(self._names): each for each in chosen_columns}
        texts = ", ".join(repr(f"{column} AS {each}") for each, column in names.items())
        return Relation(
            f"{name}.selectExpr({texts})",
            {each: COLUMNS[column] for each, column in names.items()},
            [{each: row[column] for each, column in names.items()} for row in self._rows[name]],
        )

    def _other(self) -> Relation:
        """The other input: less deep, mostly."""
        return self.relation(self._chance.choice([0, 0, 0, 1]))

    def _scalars(self, *of: Relation) -> Scalars:
        return Scalars(self._chance, {name: kind for each in of for name, kind in each.kinds.items()})

    def _condition(self, scalars: Scalars) -> Expression:
        make = self._chance.choice([scalars.condition, scalars.algebra])
        return make(self._chance.choice([0, 1, 2]))

    def _value(self, scalars: Scalars) -> tuple[Expression, Kind]:
        """A column, a constant, or what is computed."""
        draw = self._chance.random()
        if draw < 0.3:
            return scalars.any_column()
        kind = self._chance.choice(list(COLUMNS.values()))
        return (scalars.constant(kind) if draw < 0.45 else scalars.of(kind, self._chance.choice([1, 2]))), kind

    # Of one input

    def _filtered(self, of: Relation) -> Relation:
        condition = self._condition(self._scalars(of))
        rows = [row for row in of.rows if condition.value(row) is True]
        return Relation(f"{of.text}.where({condition.text!r})", of.kinds, rows, (of,))

    def _selected(self, of: Relation) -> Relation:
        scalars = self._scalars(of)
        made = {next(self._names): self._value(scalars) for _ in range(self._chance.choice([1, 2, 3]))}
        kept = self._chance.sample(list(of.kinds), self._chance.randint(0, len(of.kinds)))
        texts = [*map(repr, kept), *(repr(f"{value.text} AS {name}") for name, (value, _) in made.items())]
        return Relation(
            f"{of.text}.selectExpr({', '.join(texts)})",
            {**{name: of.kinds[name] for name in kept}, **{name: kind for name, (_, kind) in made.items()}},
            [
                {**{name: row[name] for name in kept}, **{name: value.value(row) for name, (value, _) in made.items()}}
                for row in of.rows
            ],
            (of,),
        )

    def _changed(self, of: Relation) -> Relation:
        """A column computed in the place of one, renamed, or dropped; or nulls filled."""
        name = self._chance.choice(list(of.kinds))
        match self._chance.choice(["withColumn", "withColumnRenamed", "drop", "fill"]):
            case "withColumn":
                value, kind = self._value(self._scalars(of))
                rows = [{**row, name: value.value(row)} for row in of.rows]
                text = f"{of.text}.withColumn({name!r}, F.expr({value.text!r}))"
                return Relation(text, {**of.kinds, name: kind}, rows, (of,))
            case "withColumnRenamed":
                new = next(self._names)
                kinds = {new if each == name else each: kind for each, kind in of.kinds.items()}
                rows = [dict(zip(kinds, row.values(), strict=True)) for row in of.rows]
                return Relation(f"{of.text}.withColumnRenamed({name!r}, {new!r})", kinds, rows, (of,))
            case "drop" if len(of.kinds) > 1:
                rows = [{each: value for each, value in row.items() if each != name} for row in of.rows]
                kinds = {each: kind for each, kind in of.kinds.items() if each != name}
                return Relation(f"{of.text}.drop({name!r})", kinds, rows, (of,))
        zeros = {
            each: Decimal(0) if isinstance(kind, Digits) else 0
            for each, kind in of.kinds.items()
            if kind not in ("string", "date", "boolean")
        }
        rows = [{each: zeros.get(each) if value is None else value for each, value in row.items()} for row in of.rows]
        return Relation(f"{of.text}.na.fill(0)", of.kinds, rows, (of,))

    def _distinct(self, of: Relation) -> Relation:
        rows = [dict(zip(of.kinds, each, strict=True)) for each in dict.fromkeys(_tuples(of))]
        word = self._chance.choice(["distinct", "dropDuplicates"])
        return Relation(f"{of.text}.{word}()", of.kinds, rows, (of,))

    def _aggregated(self, of: Relation) -> Relation:
        scalars = self._scalars(of)
        keys: dict[str, tuple[Expression, Kind]] = {}
        for _ in range(self._chance.choice([0, 1, 1, 2])):
            is_column = self._chance.random() < 0.7
            kind = self._chance.choice(list(COLUMNS.values()))
            keys[next(self._names)] = scalars.any_column() if is_column else (scalars.of(kind, 1), kind)
        if any(not any(name in key.text for name in of.kinds) for key, _ in keys.values()):
            raise DrawAnew  # Spark may take a whole number for the place of a column
        totals = {next(self._names): self._total(scalars) for _ in range(self._chance.choice([1, 2, 3]))}
        groups: dict[tuple[Any, ...], list[Row]] = {} if keys else {(): []}
        for row in of.rows:
            groups.setdefault(tuple(key.value(row) for key, _ in keys.values()), []).append(row)
        rows = [
            {**dict(zip(keys, group, strict=True)), **{name: total(found) for name, (_, _, total) in totals.items()}}
            for group, found in groups.items()
        ]
        by = ", ".join(f"F.expr({f'{key.text} AS {name}'!r})" for name, (key, _) in keys.items())
        aggregates = ", ".join(f"F.expr({f'{text} AS {name}'!r})" for name, (text, _, _) in totals.items())
        kinds = {
            **{name: kind for name, (_, kind) in keys.items()},
            **{name: kind for name, (_, kind, _) in totals.items()},
        }
        return Relation(f"{of.text}.groupBy({by}).agg({aggregates})", kinds, rows, (of,))

    def _total(self, scalars: Scalars) -> tuple[str, Kind, Total]:
        """An aggregate, or what is computed of one."""
        text, kind, total = self._plain_total(scalars, is_over=False)
        match self._chance.choice(["", "", "", "coalesce", "<", "+"]):
            case "coalesce":
                constant = scalars.constant(kind, nulls=0)
                value = coalesced_total(total, constant.value({}))
                return f"coalesce({text}, {constant.text})", kind, value
            case "<":
                constant = scalars.constant(kind, nulls=0)
                compared = constant.value({})
                return f"({text} < {constant.text})", "boolean", _of_total(total, lambda found: found < compared)
            case "+" if kind == "bigint":
                return f"({text} + 1L)", kind, _of_total(total, lambda found: found + 1)
        return text, kind, total

    def _plain_total(self, scalars: Scalars, *, is_over: bool) -> tuple[str, Kind, Total]:
        more = [] if is_over else ["count_if", "bool_or", "bool_and", "max_by", "min_by"]
        name = self._chance.choice(["count(1)", "count", "sum", "sum", "avg", "min", "max", *more])
        depth = self._chance.choice([0, 0, 1])
        kind: Kind
        match name:
            case "count(1)":
                return name, "bigint", len
            case "count":
                of = [scalars.any_column()[0] for _ in range(self._chance.choice([1, 1, 2]))]
                counted = lambda rows: sum(all(each.value(row) is not None for each in of) for row in rows)  # noqa: E731
                return f"count({', '.join(each.text for each in of)})", "bigint", counted
            case "sum":
                kind = self._chance.choice(["int", "bigint", _MONEY, _RATE])
                summed = scalars.of(kind, depth)
                found = Digits(min(kind.precision + 10, 38), kind.scale) if isinstance(kind, Digits) else "bigint"
                return f"sum({summed.text})", found, _sum(summed, found)
            case "avg":
                digits = self._chance.choice([_MONEY, _RATE])
                meant = scalars.of(digits, depth)
                found = Digits(digits.precision + 4, digits.scale + 4)
                return f"avg({meant.text})", found, _mean(meant, found)
            case "min" | "max":
                kind = self._chance.choice(list(COLUMNS.values()))
                compared, work = scalars.of(kind, depth), min if name == "min" else max
                return f"{name}({compared.text})", kind, lambda rows: work(_there(compared, rows), default=None)
            case "max_by" | "min_by":
                return self._by_order(scalars, name)
        condition = scalars.condition(depth)
        text = f"{name}({condition.text})"
        if name == "count_if":
            return text, "bigint", lambda rows: sum(_there(condition, rows))
        some = any if name == "bool_or" else all
        return text, "boolean", lambda rows: some(found) if (found := _there(condition, rows)) else None

    def _by_order(self, scalars: Scalars, name: str) -> tuple[str, Kind, Total]:
        """By a struct of all columns: what ties is alike."""
        of, kind = scalars.any_column()
        columns = list(scalars._kinds)
        self._chance.shuffle(columns)
        work = max if name == "max_by" else min

        def total(rows: Rows) -> Any:
            key = lambda row: [(row[each] is not None, row[each]) for each in columns]  # noqa: E731
            return of.value(work(rows, key=key)) if rows else None

        return f"{name}({of.text}, struct({', '.join(columns)}))", kind, total

    def _windowed(self, of: Relation) -> Relation:
        """row_number by all columns, so that what ties is alike; an aggregate up to the last of those that tie."""
        scalars = self._scalars(of)
        is_number = self._chance.random() < 0.4
        parts = [scalars.any_column()[0] for _ in range(self._chance.choice([0, 1, 1, 2]))]
        columns = self._chance.sample(list(of.kinds), len(of.kinds))
        orders = [self._order(each) for each in columns[: None if is_number else self._chance.choice([0, 1, 2])]]
        name = next(self._names)
        text, kind, total = ("row_number()", "int", len) if is_number else self._plain_total(scalars, is_over=True)
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in of.rows:
            found.setdefault(tuple(each.value(row) for each in parts), []).append(row)
        rows: list[Row] = []
        for group in found.values():
            ordered = _in_order(group, orders)
            tied = [tuple(row[each.column] for each in orders) for row in ordered]
            for at, row in enumerate(ordered):
                last = at if is_number else max(i for i, each in enumerate(tied) if each == tied[at])
                rows.append({**row, name: total(ordered[: last + 1])})
        window = [f"PARTITION BY {', '.join(each.text for each in parts)}"] if parts else []
        window += [f"ORDER BY {', '.join(each.text for each in orders)}"] if orders else []
        texts = [*map(repr, of.kinds), repr(f"{text} OVER ({' '.join(window)}) AS {name}")]
        made = Relation(f"{of.text}.selectExpr({', '.join(texts)})", {**of.kinds, name: kind}, rows, (of,))
        if is_number and self._chance.random() < 0.5:
            # The first of each part: an optimizer has a plan of its own for it.
            most = self._chance.choice([1, 1, 2])
            kept = [row for row in rows if row[name] <= most]
            return Relation(f"{made.text}.where('{name} <= {most}')", made.kinds, kept, (made,))
        return made

    def _order(self, column: str) -> "_Order":
        return _Order(column, self._chance.random() < 0.4, self._chance.random() < 0.5)

    def _first_rows(self, of: Relation) -> Relation:
        """By all columns, so that what ties is alike."""
        orders = [self._order(each) for each in self._chance.sample(list(of.kinds), len(of.kinds))]
        number = self._chance.choice([1, 3, 10])
        by = ", ".join(each.function for each in orders)
        rows = _in_order(of.rows, orders)[:number]
        return Relation(f"{of.text}.orderBy({by}).limit({number})", of.kinds, rows, (of,), is_ordered=True)

    # Of two inputs

    def _joined_on_columns(self, left: Relation) -> Relation:
        """By names. The other side's columns are called as those of this one that they are to meet."""
        right, how = self._other(), self._chance.choice(["inner", "left", "right", "full", "left_semi", "left_anti"])
        pairs = [(one, other) for one in left.kinds for other in right.kinds if left.kinds[one] == right.kinds[other]]
        self._chance.shuffle(pairs)
        keys: dict[str, str] = {}
        for one, other in pairs[: self._chance.choice([1, 1, 2])]:
            if one not in keys and other not in keys.values():
                keys[one] = other
        if not keys:
            raise DrawAnew
        others = [each for each in right.kinds if each not in keys.values()]
        texts = [*(repr(f"{other} AS {one}") for one, other in keys.items()), *map(repr, others)]
        named = f"{right.text}.selectExpr({', '.join(texts)})"
        text = f"{left.text}.join({named}, {list(keys)!r}, {how!r})"
        rest = [each for each in left.kinds if each not in keys]
        kinds = {name: left.kinds[name] for name in [*keys, *rest]}
        meets = lambda row: all(row[one] is not None and row[one] == row[other] for one, other in keys.items())  # noqa: E731
        if how in ("left_semi", "left_anti"):
            rows = [{name: row[name] for name in kinds} for row in _kept_rows(left, right, meets, how)]
            return Relation(text, kinds, rows, (left, right))
        rows = [
            {
                **{one: row[other] if row[one] is None else row[one] for one, other in keys.items()},
                **{name: row[name] for name in [*rest, *others]},
            }
            for row in _joined_rows(left, right, meets, how)
        ]
        return Relation(text, {**kinds, **{name: right.kinds[name] for name in others}}, rows, (left, right))

    def _meets(self, left: Relation, right: Relation) -> Expression:
        """A condition of a join: equal keys, which may be computed, and more of either side or of both."""
        ones, others, both = self._scalars(left), self._scalars(right), self._scalars(left, right)
        parts = []
        for _ in range(self._chance.choice([0, 1, 1, 1, 2])):
            kind = self._chance.choice([*left.kinds.values(), *right.kinds.values()])
            one, other = (each.of(kind, self._chance.choice([0, 0, 1])) for each in (ones, others))
            sign = "<=>" if self._chance.random() < 0.2 else "="
            value = (
                (lambda row, one=one, other=other: one.value(row) == other.value(row))
                if sign == "<=>"
                else applied_to_both(one, other, lambda x, y: x == y)
            )
            sides = (one, other) if self._chance.random() < 0.7 else (other, one)
            parts.append(Expression(f"({sides[0].text} {sign} {sides[1].text})", value))
        if not parts or self._chance.random() < 0.4:
            parts.append(self._condition(self._chance.choice([ones, others, both, both])))
        made = parts[0]
        for each in parts[1:]:
            made = connected(made, each, "OR" if self._chance.random() < 0.1 else "AND")
        return made

    def _joined_on(self, left: Relation) -> Relation:
        right, how = self._other(), self._chance.choice(["inner", "left", "right", "full", "cross"])
        kinds = {**left.kinds, **right.kinds}
        if how == "cross":
            rows = _joined_rows(left, right, lambda _: True, "inner")
            return self._filtered(Relation(f"{left.text}.crossJoin({right.text})", kinds, rows, (left, right)))
        condition = self._meets(left, right)
        rows = _joined_rows(left, right, condition.value, how)
        text = f"{left.text}.join({right.text}, F.expr({condition.text!r}), {how!r})"
        return Relation(text, kinds, rows, (left, right))

    def _kept(self, left: Relation) -> Relation:
        right, how = self._other(), self._chance.choice(["left_semi", "left_anti"])
        condition = self._meets(left, right)
        text = f"{left.text}.join({right.text}, F.expr({condition.text!r}), {how!r})"
        return Relation(text, left.kinds, _kept_rows(left, right, condition.value, how), (left, right))

    def _with_itself(self, of: Relation) -> Relation:
        """The same frame on both sides, told apart by an alias, and then named anew."""
        how = self._chance.choice(["inner", "left", "full", "left_anti"])
        left, right = (
            Relation(
                "",
                {f"{side}.{name}": kind for name, kind in of.kinds.items()},
                [{f"{side}.{name}": value for name, value in row.items()} for row in of.rows],
            )
            for side in ("x", "y")
        )
        condition = self._meets(left, right)
        if how == "left_anti":
            rows, kinds = _kept_rows(left, right, condition.value, how), left.kinds
        else:
            rows, kinds = _joined_rows(left, right, condition.value, how), {**left.kinds, **right.kinds}
        names = {next(self._names): name for name in kinds}
        texts = ", ".join(repr(f"{name} AS {new}") for new, name in names.items())
        joined = f"t.alias('x').join(t.alias('y'), F.expr({condition.text!r}), {how!r}).selectExpr({texts})"
        return Relation(
            f"(lambda t: {joined})({of.text})",
            {new: kinds[name] for new, name in names.items()},
            [{new: row[name] for new, name in names.items()} for row in rows],
            (of,),
        )

    def _with_its_groups(self, of: Relation) -> Relation:
        """The same frame on both sides, on one of them in groups by a column that both are joined by."""
        scalars, how = self._scalars(of), self._chance.choice(["inner", "left", "right", "full"])
        key, name = self._chance.choice(list(of.kinds)), next(self._names)
        text, kind, total = self._total(scalars)
        condition = self._condition(scalars)
        groups: dict[Any, list[Row]] = {}
        for row in of.rows:
            if condition.value(row) is True:
                groups.setdefault(row[key], []).append(row)
        totals = [{"key": value, name: total(found)} for value, found in groups.items()]
        right = Relation("", {"key": of.kinds[key], name: kind}, totals)
        rows = [
            {**row, key: row["key"] if row[key] is None else row[key]}
            for row in _joined_rows(of, right, lambda row: row[key] is not None and row[key] == row["key"], how)
        ]
        grouped = f"t.where({condition.text!r}).groupBy({key!r}).agg(F.expr({f'{text} AS {name}'!r}))"
        rest = {each: kind for each, kind in of.kinds.items() if each != key}
        return Relation(
            f"(lambda t: t.join({grouped}, [{key!r}], {how!r}))({of.text})",
            {key: of.kinds[key], **rest, name: kind},
            [{each: row.get(each) for each in (key, *rest, name)} for row in rows],
            (of,),
        )

    def _tied(self, left: Relation) -> Relation:
        """On columns, and a selection of them, that are tied to the frames that they are of."""
        right, how = self._other(), self._chance.choice(["inner", "left", "right", "full"])
        pairs = [(one, other) for one in left.kinds for other in right.kinds if left.kinds[one] == right.kinds[other]]
        if not pairs:
            raise DrawAnew
        one, other = self._chance.choice(pairs)
        joined = _joined_rows(left, right, lambda row: row[one] is not None and row[one] == row[other], how)
        kinds = {**left.kinds, **right.kinds}
        names = self._chance.sample(list(kinds), self._chance.randint(1, len(kinds)))
        tied = ", ".join(f"{'l' if name in left.kinds else 'r'}[{name!r}]" for name in names)
        text = f"(lambda l, r: l.join(r, l[{one!r}] == r[{other!r}], {how!r})"
        if self._chance.random() < 0.5:
            text += ".distinct()"
            joined = [
                dict(zip(kinds, each, strict=True))
                for each in dict.fromkeys(tuple(row[name] for name in kinds) for row in joined)
            ]
            tied = ", ".join(map(repr, names))
        return Relation(
            f"{text}.select({tied}))({left.text}, {right.text})",
            {name: kinds[name] for name in names},
            [{name: row[name] for name in names} for row in joined],
            (left, right),
        )

    def _united(self, left: Relation) -> Relation:
        """By position, or by name with columns of one side only. Each side may have a constant that tells it."""
        right = self._other()
        is_by_name, scalars = self._chance.random() < 0.5, self._scalars(right)
        ones = {name: (name, kind) for name, kind in left.kinds.items()}
        others: dict[str, tuple[Expression, Kind]] = {}
        for name, kind in left.kinds.items():
            met = self._chance.choice(["int", "bigint"]) if kind in ("int", "bigint") else kind
            others[name] = scalars.of(met, self._chance.choice([0, 0, 1])), met
        if self._chance.random() < 0.5:
            kind = self._chance.choice(["int", "string", "boolean"])
            name, one = next(self._names), scalars.constant(kind)
            ones[name] = one.text, kind
            others[name] = scalars.constant(kind), kind
            left_rows = [{**row, name: one.value(row)} for row in left.rows]
        else:
            left_rows = list(left.rows)
        extra = {}
        if is_by_name:
            order = list(others)
            self._chance.shuffle(order)
            others = {name: others[name] for name in order}
            if self._chance.random() < 0.3 and len(others) > 1:
                del others[order[0]]
            if self._chance.random() < 0.3:
                extra = {next(self._names): scalars.any_column()}
                others |= extra
        kinds: dict[str, Kind] = {name: kind for name, (_, kind) in ones.items()}
        for name, (_, kind) in others.items():
            kinds[name] = "bigint" if {kind, kinds.get(name)} == {"int", "bigint"} else kinds.get(name, kind)
        right_rows = [{name: value.value(row) for name, (value, _) in others.items()} for row in right.rows]
        rows = [{name: row.get(name) for name in kinds} for row in [*left_rows, *right_rows]]
        one_texts = ", ".join(repr(text if text == name else f"{text} AS {name}") for name, (text, _) in ones.items())
        other_texts = ", ".join(repr(f"{value.text} AS {name}") for name, (value, _) in others.items())
        union = "unionByName" if is_by_name else "union"
        more = ", allowMissingColumns=True" if set(others) != set(ones) else ""
        one = left.text if len(ones) == len(left.kinds) else f"{left.text}.selectExpr({one_texts})"
        text = f"{one}.{union}({right.text}.selectExpr({other_texts}){more})"
        return Relation(text, kinds, rows, (left, right))


@dataclass(frozen=True)
class _Order:
    column: str
    is_descending: bool
    nulls_first: bool

    @property
    def text(self) -> str:
        return (
            f"{self.column} {'DESC' if self.is_descending else 'ASC'} NULLS {'FIRST' if self.nulls_first else 'LAST'}"
        )

    @property
    def function(self) -> str:
        word = f"{'desc' if self.is_descending else 'asc'}_nulls_{'first' if self.nulls_first else 'last'}"
        return f"F.{word}({self.column!r})"


def _in_order(rows: Iterable[Row], orders: Sequence[_Order]) -> list[Row]:
    made = list(rows)
    for each in reversed(orders):
        name = each.column
        there = sorted(
            (row for row in made if row[name] is not None),
            key=lambda row, name=name: row[name],
            reverse=each.is_descending,
        )
        nulls = [row for row in made if row[name] is None]
        made = [*nulls, *there] if each.nulls_first else [*there, *nulls]
    return made


def _joined_rows(left: Relation, right: Relation, meets: Callable[[Row], Any], how: str) -> list[Row]:
    if len(left.rows) * len(right.rows) > 100 * MOST_ROWS:
        raise DrawAnew
    found: list[Row] = []
    met: set[int] = set()
    for one in left.rows:
        those = [at for at, other in enumerate(right.rows) if meets({**one, **other}) is True]
        met.update(those)
        found += [{**one, **right.rows[at]} for at in those]
        if not those and how in ("left", "full"):
            found.append({**one, **dict.fromkeys(right.kinds)})
    if how in ("right", "full"):
        nothing = dict.fromkeys(left.kinds)
        found += [{**nothing, **other} for at, other in enumerate(right.rows) if at not in met]
    return found


def _kept_rows(left: Relation, right: Relation, meets: Callable[[Row], Any], how: str) -> list[Row]:
    wanted = how == "left_semi"
    return [row for row in left.rows if any(meets({**row, **other}) is True for other in right.rows) is wanted]


def _tuples(of: Relation) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in of.kinds) for row in of.rows]


def coalesced_total(total: Total, instead: Any) -> Total:
    return lambda rows: instead if (found := total(rows)) is None else found


def _of_total(total: Total, work: Callable[[Any], Any]) -> Total:
    return lambda rows: None if (found := total(rows)) is None else work(found)
