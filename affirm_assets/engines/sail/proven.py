"""What is proven equal on Sail and on Spark (ANSI), for all values, overflow included. What is not here does not run.

The list is data: tests/same_rows evaluates each line on both engines over the values that break such things.
A line says what the arguments may be, what Spark makes of them, and whether a rewriting (`mend`) is needed first.

Arguments, apart by blanks; the last may end in `*`, for none or more of it:
    T          the types that Spark brings to a common one here; the cast is written into the plan
    any        of any type that can be read at all
    element    of any such type but that of NULL alone
    hashed     of a type that may be hashed
    ordered    of one of the types at T, or a struct of such that is made right there
    decimal, integer (of any width), int, string, date, boolean, array, struct
    'text      a literal text, `#` a literal whole number
Results: a type, `T`, or one of `RESULTS`, which make it of the arguments' types (None: not proven for these).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from affirm_assets.engines.sail.plan import (
    BIGINT,
    BOOLEAN,
    DATE,
    DIGITS,
    INT,
    INTEGERS,
    MOST_DIGITS,
    STRING,
    TIMESTAMP,
    VOID,
    Range,
    Type,
    array,
    decimal,
)


@dataclass(frozen=True)
class Proven:
    """A function or operator, as Connect names it, with what it is proven for."""

    name: str
    arguments: str
    result: str
    mend: str = ""
    range: Range | None = None
    is_aggregate: bool = False
    note: str = ""


ROWS: Range = (0, 2**53)
"""No frame has more rows, nor an aggregate more than these to count."""


def _aggregate(name: str, arguments: str, result: str, **more: object) -> Proven:
    return Proven(name, arguments, result, is_aggregate=True, **more)  # type: ignore[arg-type]


LIST: tuple[Proven, ...] = (
    *(Proven(name, "T T", "boolean") for name in ("==", "<", "<=", ">", ">=", "<=>")),
    Proven("and", "boolean boolean", "boolean"),
    Proven("or", "boolean boolean", "boolean", mend="either"),
    Proven("not", "boolean", "boolean", mend="negated"),
    Proven("isnull", "any", "boolean"),
    Proven("isnotnull", "any", "boolean"),
    Proven("coalesce", "T T*", "T"),
    Proven("when", "boolean T*", "T", note="conditions and values by turns, the last value alone"),
    Proven("in", "T T*", "boolean", mend="in", note="without values: false, also for null"),
    Proven("greatest", "T T T*", "T"),
    Proven("least", "T T T*", "T"),
    Proven("nullif", "T T", "first"),
    Proven("+", "decimal decimal", "decimal sum", mend="decimals", note="what may not fit 38 digits wraps on Sail"),
    Proven("-", "decimal decimal", "decimal sum", mend="decimals", note="what may not fit 38 digits wraps on Sail"),
    Proven(
        "*", "decimal decimal", "decimal product", mend="decimals", note="of more than 38 digits: another type on Sail"
    ),
    Proven("/", "decimal decimal", "decimal quotient", mend="quotient", note="cut off and at another scale on Sail"),
    Proven("%", "decimal decimal", "decimal remainder", mend="remainder", note="Sail raises for null % 0"),
    Proven("+", "integer integer", "integer", mend="integers", note="wraps on Sail where Spark raises"),
    Proven("-", "integer integer", "integer", mend="integers", note="wraps on Sail where Spark raises"),
    Proven("*", "integer integer", "integer", mend="integers", note="wraps on Sail where Spark raises"),
    Proven("%", "integer integer", "integer", mend="whole remainder", note="Sail raises for null % 0"),
    Proven("negative", "decimal", "decimal of 34", note="Spark rounds what has more digits than 34"),
    Proven("negative", "integer", "integer", mend="integers"),
    Proven("abs", "decimal", "decimal of 34", note="Spark rounds what has more digits than 34"),
    Proven(
        "round", "decimal #", "decimal rounded", mend="round", note="of another type on Sail; to places after the point"
    ),
    Proven("length", "string", "int", range=(0, 2**31 - 1)),
    Proven("concat", "string string*", "string"),
    Proven("concat_ws", "'text string*", "string"),
    Proven("rlike", "string 'text", "boolean", mend="pattern", note="Java's and Rust's classes, dot and $ differ"),
    Proven("like", "string 'text", "boolean", mend="like", note="of patterns without a backslash"),
    Proven("startswith", "string string", "boolean"),
    Proven("endswith", "string string", "boolean"),
    Proven("contains", "string string", "boolean"),
    Proven("trim", "string", "string"),
    Proven("ltrim", "string", "string"),
    Proven("rtrim", "string", "string"),
    Proven("lpad", "string # 'text", "string", mend="not negative"),
    Proven("rpad", "string # 'text", "string", mend="not negative"),
    Proven("substring", "string # #", "string", mend="substring", note="from a place counted from 1"),
    Proven("replace", "string 'text 'text", "string"),
    Proven("md5", "string", "string"),
    Proven("sha2", "string #", "string", mend="sha2"),
    Proven("xxhash64", "hashed hashed*", "bigint"),
    Proven("year", "date", "int", range=(-10_000, 300_000)),
    Proven("month", "date", "int", range=(1, 12)),
    Proven("day", "date", "int", range=(1, 31)),
    Proven("date_add", "date #", "date"),
    Proven("date_sub", "date #", "date"),
    Proven("+", "date #", "date", mend="date_add"),
    Proven("-", "date #", "date", mend="date_sub"),
    Proven("add_months", "date #", "date"),
    Proven("last_day", "date", "date"),
    Proven("datediff", "date date", "int", mend="datediff", note="a bigint on Sail"),
    Proven("dayofweek", "date", "int", range=(1, 7)),
    Proven("quarter", "date", "int", range=(1, 4)),
    Proven(
        "trunc", "date 'text", "date", mend="trunc", note="to month or year; Sail raises before 1677 and after 2262"
    ),
    Proven("make_date", "int int #", "date", mend="make_date", note="of a date's year and month, and a day up to 28"),
    Proven("sequence", "date date day", "array of first", note="by INTERVAL 1 DAY"),
    Proven("array", "T*", "array of T"),
    Proven("array_append", "array element", "first"),
    Proven("array_compact", "array", "first"),
    Proven(
        "array_sort",
        "array",
        "first",
        mend="sort",
        note="of structs: only of collect_list; Sail puts nulls in them last",
    ),
    Proven("size", "array", "int", range=(-1, 2**31 - 16)),
    Proven("named_struct", "any*", "struct"),
    Proven("transform", "array lambda", "array of lambda"),
    Proven("filter", "array lambda", "first"),
    Proven("exists", "array lambda", "boolean"),
    Proven("aggregate", "array any lambda", "zero"),
    _aggregate("count", "any any*", "bigint", range=ROWS),
    _aggregate("count_if", "boolean", "bigint", range=ROWS),
    _aggregate("sum", "decimal", "decimal total", mend="total", note="(28,2) holds 10^10 of the largest amounts"),
    _aggregate("sum", "integer", "bigint", mend="integer total", note="wraps on Sail where Spark raises"),
    _aggregate("min", "T", "T"),
    _aggregate("max", "T", "T"),
    _aggregate("avg", "decimal", "decimal mean", mend="mean", note="of up to 28 digits"),
    _aggregate("min_by", "any ordered", "first", mend="by order", note="of rows that tie either, on both engines"),
    _aggregate("max_by", "any ordered", "first", mend="by order", note="of rows that tie either, on both engines"),
    _aggregate("bool_or", "boolean", "boolean"),
    _aggregate("bool_and", "boolean", "boolean"),
    _aggregate("collect_list", "any", "array of first", note="in no order, on both engines"),
)

WINDOW_ONLY: tuple[Proven, ...] = (Proven("row_number", "", "int", range=(1, 2**31 - 1)),)

OVER_WINDOWS = frozenset({"row_number", "count", "sum", "avg", "min", "max"})
"""Of the aggregates: collect_list keeps nulls there, and the others are not proven there."""

GENERATORS = ("explode", "posexplode", "inline")

# Spark's other names for the same.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "isNull": "isnull",
        "isNotNull": "isnotnull",
        "startsWith": "startswith",
        "endsWith": "endswith",
        "||": "concat",
        "substr": "substring",
        "mean": "avg",
        "date_diff": "datediff",
        "ifnull": "coalesce",
        "nvl": "coalesce",
        "if": "when",
        "mod": "%",
        "regexp_like": "rlike",
        "regexp": "rlike",
        "dayofmonth": "day",
        "char_length": "length",
        "character_length": "length",
        "len": "length",
        "some": "bool_or",
        "any": "bool_or",
        "every": "bool_and",
        "reduce": "aggregate",
        "dateadd": "date_add",
    }
)


def digits_of_sum(one: Type, other: Type) -> tuple[int, int]:
    """Precision and scale that hold every sum."""
    scale = max(one.scale, other.scale)
    return max(one.precision - one.scale, other.precision - other.scale) + scale + 1, scale


def digits_of_product(one: Type, other: Type) -> tuple[int, int]:
    return one.precision + other.precision + 1, one.scale + other.scale


def _decimal_quotient(one: Type, other: Type) -> Type:
    scale = max(6, one.scale + other.precision + 1)
    return _adjusted(one.precision - one.scale + other.scale + scale, scale)


def _decimal_remainder(one: Type, other: Type) -> Type | None:
    """Not where the whole quotient may have more digits than Spark computes with: it raises then."""
    if one.precision - one.scale + other.scale > MOST_DIGITS:
        return None
    scale = max(one.scale, other.scale)
    return decimal(min(one.precision - one.scale, other.precision - other.scale) + scale, scale)


def _adjusted(precision: int, scale: int) -> Type:
    """Spark's DecimalType.adjustPrecisionScale: digits beyond 38 give way after the point, down to six places there."""
    if precision <= MOST_DIGITS:
        return decimal(precision, scale)
    whole = precision - scale
    return decimal(MOST_DIGITS, max(MOST_DIGITS - whole, min(scale, 6)))


RESULTS: Mapping[str, Callable[..., Type | None]] = {
    "decimal sum": lambda *each: _adjusted(*digits_of_sum(*each)),
    "decimal product": lambda *each: _adjusted(*digits_of_product(*each)),
    "decimal quotient": _decimal_quotient,
    "decimal remainder": _decimal_remainder,
    "decimal of 34": lambda one: one if one.precision <= 34 else None,
    "decimal mean": lambda one: decimal(one.precision + 4, one.scale + 4) if one.precision <= 28 else None,
    "decimal total": lambda one: decimal(min(one.precision + 10, MOST_DIGITS), one.scale),
    "integer": lambda *each: max(each, key=lambda kind: INTEGERS[kind.name]),
    "first": lambda one, *_: one,
    "zero": lambda _, zero, *__: zero,
    "array of first": lambda one, *_: array(one),
}

SIMPLE = {kind.name: kind for kind in (BOOLEAN, STRING, DATE, TIMESTAMP, INT, BIGINT)}


def rounded(kind: Type, places: int) -> Type | None:
    """Type of round(decimal, places); to tens and hundreds it is not proven."""
    if places < 0:
        return None
    scale = min(places, kind.scale)
    return decimal(min(kind.precision - kind.scale + 1 + scale, MOST_DIGITS), scale)


@cache
def entries(name: str) -> tuple[Proven, ...]:
    return tuple(each for each in (*LIST, *WINDOW_ONLY) if each.name == name)


COMPARABLE = frozenset({"boolean", "string", "date", "timestamp", "decimal", *INTEGERS})
READABLE = COMPARABLE | {"double", "array", "struct", "void"}


def is_comparable(kind: Type) -> bool:
    """Whether values are equal, and in order, alike on both engines. Not structs: nulls in them are first or last."""
    return kind.name in COMPARABLE


def is_hashed(kind: Type) -> bool:
    return kind in (STRING, DATE, TIMESTAMP, BIGINT) or (kind.name == "decimal" and kind.precision <= 18)


def common(kinds: Sequence[Type]) -> Type | None:
    """The type to which Spark (ANSI) brings values that meet; None where it has none or it is not proven."""
    found = VOID
    for kind in kinds:
        both = _wider(found, kind)
        if both is None:
            return None
        found = both
    return found


def _wider(one: Type, other: Type) -> Type | None:
    if one == other or other == VOID:
        return one
    if one == VOID:
        return other
    if one.name in INTEGERS and other.name in INTEGERS:
        return max(one, other, key=lambda kind: INTEGERS[kind.name])
    one, other = as_decimal(one), as_decimal(other)
    if one.name == other.name == "decimal":
        scale = max(one.scale, other.scale)
        precision = max(one.precision - one.scale, other.precision - other.scale) + scale
        return decimal(precision, scale) if precision <= MOST_DIGITS else None
    return None


def as_decimal(kind: Type) -> Type:
    return decimal(DIGITS[kind.name], 0) if kind.name in INTEGERS else kind


def can_cast(source: Type, target: Type, is_try: bool) -> bool:
    """Casts that give the same value, or raise alike; as try_cast: are null alike."""
    if source in (target, VOID):
        return source != target or target.name in READABLE
    if is_try:
        return False
    match source.name, target.name:
        case "array", "array":
            return can_cast(source.element, target.element, is_try)
        case (("decimal" | "tinyint" | "smallint" | "int" | "bigint"), ("decimal" | "int" | "bigint" | "string")):
            return True
        case (("boolean" | "date"), "string"):
            return True
    return False


_NUMBER = re.compile(r"\^-\?\[0-9\]\{1,(?P<whole>\d+)\}(?:\(\\\.\[0-9\]\{1,(?P<places>\d+)\}\)\?)?\\z")
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\z"


def is_text_of(pattern: str, target: Type) -> bool:
    """Whether all texts that match become the same value of the type, or none, on both engines.

    Plain digits that the type has places for, and dates YYYY-MM-DD: of others the engines know different ones.
    """
    if target == DATE:
        return pattern == _DATE
    match = _NUMBER.fullmatch(pattern)
    return match is not None and _has_places(target, int(match["whole"]), int(match["places"] or 0))


def is_plain_text(text: str, target: Type) -> bool:
    """Whether a literal text is such a one: '0.029' for decimal(4,3), '2025-01-31' for a date."""
    if target == DATE:
        return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is not None
    match = re.fullmatch(r"-?(?P<whole>[0-9]+)(?:\.(?P<places>[0-9]+))?", text)
    return match is not None and _has_places(target, len(match["whole"]), len(match["places"] or ""))


def _has_places(target: Type, whole: int, places: int) -> bool:
    """Whether the type holds every number of so many digits before and after the point."""
    if target in (INT, BIGINT):
        return places == 0 and whole <= DIGITS[target.name] - 1 - (target == BIGINT)
    return target.name == "decimal" and whole <= target.precision - target.scale and places <= target.scale
