"""What is tried on both engines: for each line of the list of what is proven, expressions over each type it claims.

SQL where it can be, since that is what datasets write; functions of F where SQL of the platform has none (lambdas).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from affirm_assets.engines.sail import plan, proven
from tests.engines.values import DECIMALS, INTEGERS

Frames = Mapping[str, Any]
Expression = str | Callable[[Any], Any]


@dataclass(frozen=True)
class Case:
    """An expression over each row of a frame. `proves` names the line of the list: its name and its arguments."""

    name: str
    frame: str
    expression: Expression
    proves: str


@dataclass(frozen=True)
class Query:
    """Frames to a frame. Rows are compared in any order, unless `ordered`.

    differs: without a check, Sail makes other rows of it. only_sail_raises: also with it, and no row is wrong.
    """

    name: str
    make: Callable[[Any, Frames], Any]
    proves: tuple[str, ...] = ()
    ordered: bool = False
    differs: bool = False
    only_sail_raises: bool = False


@dataclass(frozen=True)
class Difference:
    """An expression that Sail, as it comes, evaluates otherwise than Spark. Checked, it is refused or mended."""

    name: str
    frame: str
    expression: Expression


_TYPES = {name: plan.decimal(*digits) for name, digits in DECIMALS.items()} | {
    name: {8: plan.TINYINT, 16: plan.SMALLINT, 32: plan.INT, 64: plan.BIGINT}[bits] for name, bits in INTEGERS.items()
}
_NUMBERS = ("m", "r", "q", "w", "v", "x", "y", "c", "h", "k", "n")
_WHOLES = ("c", "h", "k", "n")
_TWIN = {name: f"{name}2" for name in _NUMBERS}
_SAME = (("s", "s2"), ("d", "d2"), ("t", "t2"), ("b", "b2"))
_WHOLE = ("0", "1", "-1", "2", "12", "100", "36500", "2147483648")
_EXACT = ("0.00", "0.01", "1.5", "-2.345", "0.0123", "99999999999999999999999999999999999.999")
_OF_EACH_TYPE = ("s", "d", "t", "b", "f", "NULL", *_NUMBERS)
_KEYS = ("s", "d", "t", "b", "m", "c", "h", "k", "n")
"""A column of `values` of each type that is compared."""
_HASHED = ("s", "d", "t", "m", "r", "q", "n")
_UP_TO_34 = tuple(name for name, (precision, _) in DECIMALS.items() if precision <= 34)


def _pairs(names: Iterable[str], *, alike: bool) -> Iterator[tuple[str, str]]:
    """Each of these columns beside each. alike: only where both have a common type that is proven."""
    for one, other in product(names, names):
        if not alike or proven.common([_TYPES[one], _TYPES[other]]):
            yield one, _TWIN.get(other, other) if one == other else other


def _comparable() -> list[tuple[str, str]]:
    return [*_pairs(_NUMBERS, alike=True), *_SAME]


def _infix(sign: str) -> Iterator[str]:
    for one, other in (
        _comparable() if sign in ("==", "<", "<=>") else (*zip(_TWIN, _TWIN.values(), strict=True), *_SAME)
    ):
        yield f"{one} {sign} {other}"
    for literal in ("0", "1", "-12", "1.50", "NULL"):
        yield from (f"{name} {sign} {literal}" for name in ("m", "r", "n", "k"))
    yield from (f"s {sign} 'L1'", f"s {sign} ''", f"d {sign} DATE'2024-02-29'", f"b {sign} TRUE", f"'ä' {sign} s")


def _decimals(sign: str) -> Iterator[str]:
    for one, other in _pairs(_NUMBERS, alike=False):
        are_wholes = one in _WHOLES and other.rstrip("2") in _WHOLES
        # The whole quotient of a remainder must have a place on Spark.
        has_place = sign != "%" or _TYPES[one].precision - _TYPES[one].scale + _TYPES[other].scale <= plan.MOST_DIGITS
        if not are_wholes and has_place:
            yield f"{one} {sign} {other}"
    for name, literal in product(("m", "x"), _WHOLE):
        yield from (f"{name} {sign} ({literal})", f"({literal}) {sign} {name}")
    for name, literal in product(("m", "n"), _EXACT):
        yield from (f"{name} {sign} ({literal})", f"({literal}) {sign} {name}")
    # DataFusion reckons without some of what is never null.
    for one in ("1", "-1", "1.00", "CAST(1 AS decimal(5,2))", "(2 - 1)"):
        yield from (f"coalesce(m, 0.50) {sign} {one}", f"coalesce(m, 0.50) {sign} {one} = 0.5")
    for zero in ("0", "0.00", "CAST(0 AS decimal(5,2))", "(1 - 1)") if sign not in "/%" else ():
        yield from (f"coalesce(m, 0.50) {sign} {zero}", f"{zero} {sign} coalesce(m, 0.50) = 0")
    yield from (f"(m + m2) {sign} r", f"m {sign} (r {sign} r2)", f"-m {sign} CAST(n AS decimal(38,0))")


def _wholes(sign: str) -> Iterator[str]:
    for one, other in _pairs(_WHOLES, alike=False):
        yield f"{one} {sign} {other}"
    for name, literal in product(_WHOLES, ("0", "1", "-1", "2", "100", "2147483647", "9223372036854775807")):
        yield from (f"{name} {sign} ({literal})", f"({literal}) {sign} {name}")
    yield from (f"length(s) {sign} 1", f"length(s) {sign} year(d)", f"n {sign} n2 {sign} k", f"month(d) {sign} 12")


def _choices(name: str) -> Iterator[str]:
    for one, other in _comparable():
        yield f"{name}({one}, {other})"
    for name_of, literal in product(("m", "n", "k", "w"), ("0", "0.00", "1.005", "NULL")):
        yield f"{name}({name_of}, {literal})"
    yield from (f"{name}(m, r, n)", f"{name}(s, 'x', s2)", f"{name}(d, DATE'2025-01-01', d2)", f"{name}(k, n, h)")


def _when() -> Iterator[str]:
    for one, other in _comparable():
        yield f"CASE WHEN b THEN {one} WHEN b2 THEN {other} END"
        yield f"IF(b, {one}, {other})"
    yield from ("IF(b, m, 0)", "IF(b, 0, m)", "IF(b, NULL, m)", "IF(b, m, NULL)", "IF(NULL, m, m2)", "IF(b, n, 0.5)")
    yield from ("CASE WHEN m > 0 THEN 'plus' WHEN m < 0 THEN 'minus' ELSE 'zero' END", "CASE WHEN b THEN 1 END")
    # What is not chosen is not computed.
    yield from ("CASE WHEN n <> 0 THEN m % n ELSE 0 END", "IF(m2 <> 0, m / m2, 0)", "IF(n > 0 AND n < 10, n * n, 0)")
    yield "CASE WHEN s RLIKE '^-?[0-9]{1,9}\\\\z' THEN CAST(s AS bigint) END"


# Of the patterns that datasets and contracts use, and what each kind of thing in them means to both engines.
_PATTERNS = (
    *(r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\z", r"^[^@\s]{1,64}@[^@\s]{1,189}\z", r"^[A-Za-z0-9_.:+-]{1,64}\z"),
    *(r"^-?[0-9]{1,16}(\.[0-9]{1,2})?\z", r"^-?[0-9]{1,16}\.[0-9]{3,}\z", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\z"),
    *(r"L1", r"^L1\z", r"L1\z", r"^L", r"^\z", r"", r"a|ä", r"^(?:ab|L1)", r"(a)(b)?", r"x{64}\z", r"^x{1,64}\z"),
    *(r"^.\z", r"^..\z", r".", r"^.{64}\z", r"L1.\z", r"^[^a]\z", r"^[^a-z]+\z", r"[\d]", r"^\d+\z", r"\D", r"^\D+\z"),
    *(r"\w", r"^\w+\z", r"\W", r"^\W\z", r"\s", r"^\S+\z", r"[\w.]+@", r"[^\s]\s[^\s]", r"^\s", r"\s\z", r"ä", r"🙂\z"),
    *(r"\.", r"\\", r"\$", r"\-", r"[-a]", r"[a-]", r"[.]", r"a+?b", r"\t|\n|\r", r"^🙂{2}\z", r"^[0-9]{2,}\z"),
)


def _rlike() -> Iterator[Case]:
    for pattern in _PATTERNS:
        yield Case(f"s rlike {pattern!r}", "values", _matching(pattern), "rlike string 'text")
    yield Case("SQL rlike", "values", r"s RLIKE '^L1\\z' OR s NOT RLIKE '^[a-z]+\\z'", "rlike string 'text")


def _matching(pattern: str) -> Expression:
    return lambda F: F.col("s").rlike(pattern)


def _rounds() -> Iterator[str]:
    return (f"round({name}, {places})" for name in DECIMALS for places in (0, 1, 2, 3, 6, 12))


def _digests() -> Iterator[str]:
    yield from (f"xxhash64({name})" for name in _HASHED)
    yield from (
        "xxhash64(s, d, n)",
        "xxhash64(s, s2)",
        "xxhash64(m, n, r, q)",
        "xxhash64(n, n)",
        "xxhash64(d, s, d2, s2)",
    )


_UNARY = ("trim", "ltrim", "rtrim", "md5")
_LIKE = ("a%", "%a%", "%", "", "_", "__", "L1", "L1_", "%.__", "ä%", "%🙂", "_🙂", "%-%-%", "a@b.c", "%\n")


def _texts() -> Iterator[Case]:
    for name in _UNARY:
        yield from _lines(f"{name} string", [f"{name}(s)"])
    for pattern in _LIKE:
        yield Case(f"s like {pattern!r}", "values", _like(pattern), "like string 'text")
    for name in ("startswith", "endswith", "contains"):
        yield from _lines(
            f"{name} string string", [f"{name}(s, {what})" for what in ("'L1'", "''", "'ä'", "s2", "'🙂'")]
        )
    for name in ("lpad", "rpad"):
        padded = [f"{name}(s, {length}, '{by}')" for length in (0, 1, 5, 70) for by in ("*", "ab", "ä")]
        yield from _lines(f"{name} string # 'text", padded)
    parts = [(1, 1), (1, 2), (1, 0), (2, 3), (3, 100), (64, 2), (1000, 1), (1, 2147483)]
    yield from _lines(
        "substring string # #", [f"substring(s, {at}, {length})" for at, length in parts if length < 1_000_000]
    )
    yield from _lines(
        "replace string 'text 'text", ["replace(s, 'a', 'bb')", "replace(s, '1', '')", "replace(s, '🙂', 'ä')"]
    )


def _like(pattern: str) -> Expression:
    return lambda F: F.col("s").like(pattern)


def _calendar() -> Iterator[Case]:
    yield from _lines("+ date #", ["d + 1", "d + 0", "d + 3660", "d + -1"])
    yield from _lines("- date #", ["d - 1", "d - 0", "d - 3660", "d - -1"])
    yield from _lines("add_months date #", [f"add_months(d, {months})" for months in (0, 1, -1, 11, 12, -13, 120)])
    yield from _lines(
        "datediff date date", ["datediff(d, d2)", "datediff(d, DATE'2025-01-01')", "datediff(DATE'0001-01-01', d)"]
    )
    for name in ("last_day", "dayofweek", "quarter"):
        yield from _lines(f"{name} date", [f"{name}(d)"])


def _lines(proves: str, expressions: Iterable[str], frame: str = "values") -> Iterator[Case]:
    for text in dict.fromkeys(expressions):
        yield Case(text, frame, text, proves)


def _made(proves: str, frame: str, expressions: Mapping[str, Callable[[Any], Any]]) -> Iterator[Case]:
    for name, expression in expressions.items():
        yield Case(name, frame, expression, proves)


def _arrays() -> Iterator[Case]:
    c = "collections"
    yield from _lines("array T*", [f"array({name}, {name}2)" for name in _KEYS])
    yield from _lines("array_append array element", [f"array_append(array({name}), {name})" for name in _KEYS])
    yield from _lines(
        "array_append array element", [f"array_append(array({name}), {name})" for name in ("f", "longs", "one")], c
    )
    yield from _lines(
        "named_struct any*", [f"named_struct('a', {name})" for name in ("t", "b", "c", "h", "k", "n", "NULL")]
    )
    yield from _lines(
        "named_struct any*", [f"named_struct('a', {name})" for name in ("f", "longs", "one", "d", "m")], c
    )
    for frame, names in (("values", (*_KEYS, "NULL")), (c, ("f", "longs", "one"))):
        folds = {f"aggregate from {name}": _from(name) for name in names}
        yield from _made("aggregate array any lambda", frame, folds)
    yield from _lines("array T*", ["array(n, 1)", "array(n, m)", "array(s, NULL)", "array(m, 0)", "array(d, e)"], c)
    yield from _lines("size array", [f"size({name})" for name in ("longs", "texts", "days", "entries", "sure")], c)
    yield from _lines(
        "array_compact array", ["array_compact(longs)", "array_compact(entries)", "array_compact(texts)"], c
    )
    yield from _lines("array_sort array", [f"array_sort({name})" for name in ("longs", "texts", "days")], c)
    yield from _lines("array_append array element", ["array_append(longs, n)", "array_append(texts, s)"], c)
    yield from _made(
        "array_append array element", c, {"array_append struct": lambda F: F.array_append("entries", F.col("one"))}
    )
    yield from _made(
        "transform array lambda",
        c,
        {
            "transform longs": lambda F: F.transform("longs", lambda each: F.coalesce(each, F.lit(0))),
            "transform fields": lambda F: F.transform("entries", lambda each: each["amount"]),
            "transform sums": lambda F: F.transform("entries", lambda each: each["amount"] + F.col("m")),
            "transform texts": lambda F: F.transform("texts", lambda each: F.concat(each, F.col("s"))),
        },
    )
    yield from _lines(
        "named_struct any*", ["struct(n, m)", "named_struct('a', s, 'b', n + 1)", "one.amount", "one.day"], c
    )
    yield from _lines("sequence date date day", ["sequence(d, e, INTERVAL 1 DAY)"], c)
    yield from _made(
        "filter array lambda",
        c,
        {
            "filter longs": lambda F: F.filter("longs", lambda each: each > F.col("n")),
            "filter amounts": lambda F: F.filter("entries", lambda each: each["amount"] != 0),
            "filter texts": lambda F: F.filter("texts", lambda each: each.isNull() | (each == F.col("s"))),
        },
    )
    yield from _made(
        "exists array lambda",
        c,
        {
            "exists longs": lambda F: F.exists("longs", lambda each: each > F.col("n")),
            "exists amounts": lambda F: F.exists("entries", lambda each: each["amount"] == F.col("m")),
            "exists days": lambda F: F.exists("days", lambda each: each >= F.date_sub(F.col("d"), 35)),
            "exists true": lambda F: F.exists("longs", lambda each: F.coalesce(each == F.col("n"), F.lit(True))),
        },
    )
    yield from _made("aggregate array any lambda", c, _FOLDS)


def _kept(F: Any) -> Any:
    nothing = F.expr("CAST(array() AS array<bigint>)")
    return F.aggregate(
        "longs",
        nothing,
        lambda kept, each: F.when(F.exists(kept, lambda one: one == each), kept).otherwise(F.array_append(kept, each)),
    )


def _from(zero: str) -> Callable[[Any], Any]:
    """A fold that keeps what it begins with."""
    return lambda F: F.aggregate(F.array(F.lit(1), F.lit(2)), F.expr(zero), lambda kept, _: kept)


_FOLDS: Mapping[str, Callable[[Any], Any]] = {
    "aggregate sum": lambda F: F.aggregate(
        "sure", F.lit(0).cast("decimal(18,2)"), lambda total, each: F.greatest(total, each["amount"])
    ),
    "aggregate kept": _kept,
    "aggregate count": lambda F: F.aggregate("texts", F.lit(""), lambda made, each: F.concat(made, each)),
}

_GUARDED = (
    r"CASE WHEN s RLIKE '^-?[0-9]{1,16}(\\.[0-9]{1,2})?\\z' THEN TRY_CAST(s AS decimal(18,2)) END",
    r"CASE WHEN s RLIKE '^-?[0-9]{1,3}(\\.[0-9]{1,6})?\\z' THEN TRY_CAST(s AS decimal(9,6)) END",
    r"CASE WHEN s RLIKE '^-?[0-9]{1,9}\\z' THEN TRY_CAST(s AS bigint) END",
    r"CASE WHEN s RLIKE '^-?[0-9]{1,9}\\z' THEN CAST(s AS int) END",
    r"CASE WHEN s RLIKE '^-?[0-9]{1,9}\\z' THEN TRY_CAST(s AS int) END",
    r"CASE WHEN s RLIKE '^-?[0-9]{1,3}(\\.[0-9]{1,6})?\\z' THEN CAST(s AS decimal(9,6)) END",
    r"CASE WHEN s RLIKE '^[0-9]{4}-[0-9]{2}-[0-9]{2}\\z' THEN TRY_CAST(s AS date) END",
    r"CASE WHEN s RLIKE '^[0-9]{4}-[0-9]{2}-[0-9]{2}\\z' THEN CAST(s AS date) END",
)
_WRITTEN = (
    *("m * CAST('0.029' AS decimal(4,3))", "CAST('-12.5' AS decimal(18,2))", "TRY_CAST('007' AS decimal(5,2))"),
    *("m > CAST('100.00' AS decimal(18,2))", "CAST('-123456789' AS int)", "CAST('123456789012345678' AS bigint)"),
    *("k = TRY_CAST('-12' AS int)", "n = TRY_CAST('12' AS bigint)"),
    *("d >= CAST('2025-01-31' AS date)", "coalesce(TRY_CAST('2025-02-30' AS date), d)"),
)
"""Texts that are written in a declaration."""

_NULLS = tuple(
    f"{cast}(NULL AS {target})"
    for cast in ("CAST", "TRY_CAST")
    for target in (
        *("boolean", "string", "date", "timestamp", "double", "decimal(18,2)"),
        *("tinyint", "smallint", "int", "bigint", "array<bigint>", "struct<each:bigint>"),
    )
)

_TARGETS = (
    *("decimal(18,2)", "decimal(9,6)", "decimal(28,2)", "decimal(38,2)", "decimal(38,10)", "decimal(10,0)"),
    *("decimal(4,2)", "decimal(38,38)", "int", "bigint", "string"),
)


# Compared with a literal, Sail takes a cast away, and with it what it rounds, cuts off or raises.
_COMPARED = (
    *(
        "CAST(n AS int) < 20",
        "CAST(n AS int) = 1",
        "CAST(m AS bigint) = 1",
        "CAST(m AS int) < 1",
        "1 = CAST(m AS bigint)",
    ),
    *("CAST(r AS decimal(18,2)) = 14.99", "CAST(r AS decimal(9,0)) = 1", "CAST(m AS decimal(18,1)) IN (0.1, 1.5)"),
    *("CAST(w AS decimal(18,2)) < 20", "CAST(r AS int) BETWEEN 0 AND 1", "CAST(m AS bigint) IN (1, 2)"),
    *("NOT (CAST(m AS bigint) = 1)", "CAST(m AS bigint) <=> 1", "CAST(n AS decimal(18,0)) > 1"),
    *("CAST(CAST(m AS decimal(20,0)) AS bigint) > 0", "CAST(m AS bigint) = n", "CAST(CAST(n AS int) AS bigint) = n"),
    *("CAST(m AS decimal(28,4)) = 1.00005", "CAST(m AS string) = '1.00'", "CAST(d AS string) = '2025-01-31'"),
    *("round(r, 2) = 14.99", "m / 3 = 0.333333", "m = 1.005", "n < 1.5", "length(s) - 2 = 1", "year(d) = 2025"),
    *("date_add(d, 1) > DATE'2025-01-01'", "datediff(d, d2) > 0", "trunc(d, 'year') = DATE'2025-01-01'"),
    *("n IN (1, 2) AND n IN (2, 3)", "n > 5 AND n < 1", "n = 1 OR n = 2 OR n = 3 OR n = 4", "n = n", "n - n", "n * 0"),
)
_COMPARED_SUMS = ("n + n2 > 0", "n + 1 = 2", "k + 1 > 5", "h + 1 = 32768")
_COMPARED_DIFFERENCES = ("n - 1 < 5", "k - k2 = 0")
_COMPARED_PRODUCTS = ("n * n > 5", "k * 2 IN (2, 4)")


def _filtered(condition: str) -> Query:
    return Query(f"where {condition}", lambda F, t: t["values"].where(condition).select("i"))


def _named_then_filtered(F: Any, t: Frames) -> Any:
    return t["values"].withColumn("whole", F.col("m").cast("bigint")).where("whole = 1").select("i", "whole")


def _casts() -> Iterator[Case]:
    """Casts are no line of the list: they are proven by `can_cast` and `is_text_of`."""
    yield from _lines("cast", _COMPARED)
    yield from _lines("+ integer integer", _COMPARED_SUMS)
    yield from _lines("- integer integer", _COMPARED_DIFFERENCES)
    yield from _lines("* integer integer", _COMPARED_PRODUCTS)
    yield from _lines("negative integer", ["-n < 5", "-k = 5"])
    yield from _lines("cast", (f"CAST({name} AS {target})" for name in _NUMBERS for target in _TARGETS))
    yield from _lines("cast", ["CAST(b AS string)", "CAST(d AS string)", *_GUARDED, *_WRITTEN, *_NULLS])


def _other_names() -> Iterator[Case]:
    for proves, text in (
        ("concat string string*", "s || s2"),
        ("substring string # #", "substr(s, 2, 3)"),
        ("datediff date date", "date_diff(d, d2)"),
        *(("coalesce T T*", f"{name}(m, m2)") for name in ("ifnull", "nvl")),
        *(("rlike string 'text", f"{name}(s, '^L')") for name in ("regexp_like", "regexp")),
        ("day date", "dayofmonth(d)"),
        *(("length string", f"{name}(s)") for name in ("char_length", "character_length", "len")),
        ("date_add date #", "dateadd(d, 3)"),
    ):
        yield from _lines(proves, [text])
    yield Case("startsWith", "values", lambda F: F.col("s").startswith("L"), "startswith string string")
    yield Case("endsWith", "values", lambda F: F.col("s").endswith("1"), "endswith string string")
    yield Case("isNull", "values", lambda F: F.col("s").isNull(), "isnull any")
    yield Case("isNotNull", "values", lambda F: F.col("s").isNotNull(), "isnotnull any")
    yield Case(
        "reduce", "collections", lambda F: F.reduce("longs", F.col("n"), _greatest), "aggregate array any lambda"
    )


def _greatest(one: Any, other: Any) -> Any:
    from pyspark.sql import functions as F

    return F.greatest(one, other)


@cache
def cases() -> tuple[Case, ...]:
    found: list[Case] = []
    for sign in ("==", "<", "<=", ">", ">=", "<=>"):
        found += _lines(f"{sign} T T", _infix(sign))
    found += _lines(
        "and boolean boolean",
        ["b AND b2", "b AND CAST(NULL AS boolean)", "m > 0 AND n > 0", "b AND b2 AND b3", "n > 0 AND 1.0 < m"],
    )
    found += _lines("or boolean boolean", ["b OR b2", "b OR CAST(NULL AS boolean)", "m > 0 OR n > 0", "n = 0 OR m > 1"])
    found += _lines("not boolean", ["NOT b", "NOT (b AND b2)", "m <> m2", "s <> s2", "n != 0"])
    for name in ("isnull", "isnotnull"):
        found += _lines(f"{name} any", (f"{name}({column})" for column in _OF_EACH_TYPE))
        found += _lines(f"{name} any", (f"{name}({column})" for column in ("longs", "entries", "one")), "collections")
    for name in ("coalesce",):
        found += _lines("coalesce T T*", _choices(name))
    for name in ("greatest", "least"):
        found += _lines(f"{name} T T T*", _choices(name))
    found += _lines("nullif T T", _choices_of_two("nullif"))
    found += _lines("when boolean T*", _when())
    found += _lines("in T T*", _in())
    found += _made("in T T*", "values", {"in nothing": lambda F: F.col("s").isin([])})
    for sign in ("+", "-", "*"):
        found += _lines(f"{sign} decimal decimal", _decimals(sign))
        found += _lines(f"{sign} integer integer", _wholes(sign))
    found += _lines("/ decimal decimal", _decimals("/"))
    found += _lines("% decimal decimal", _decimals("%"))
    found += _lines("% integer integer", [*_wholes("%"), "n % 7 = 3", "mod(n, n2)", "n * 7919 % 200"])
    found += _lines("negative decimal", (f"-{name}" for name in _UP_TO_34))
    found += _lines("negative integer", (f"-{name}" for name in _WHOLES))
    found += _lines("abs decimal", (f"abs({name})" for name in _UP_TO_34))
    found += _lines("round decimal #", _rounds())
    found += _lines("length string", ["length(s)", "length('')", "length(concat(s, s2))"])
    found += _lines("concat string string*", ["concat(s, s2)", "concat(s, '-', s2)", "concat(s)", "concat(s, NULL)"])
    found += _lines(
        "concat_ws 'text string*", ["concat_ws('/', s, s2)", "concat_ws('; ', s, NULL, s2)", "concat_ws('', s, s2)"]
    )
    found += _rlike()
    found += _lines("sha2 string #", (f"sha2(s, {bits})" for bits in (256, 224, 512)))
    found += _lines("xxhash64 hashed hashed*", _digests())
    for name in ("year", "month", "day"):
        found += _lines(f"{name} date", [f"{name}(d)"])
    for name in ("date_add", "date_sub"):
        found += _lines(f"{name} date #", (f"{name}(d, {days})" for days in (0, 1, -1, 31, 35, 3660, -3660)))
    found += _lines("trunc date 'text", (f"trunc(d, '{unit}')" for unit in ("month", "MM", "mon", "year", "YYYY")))
    found += _lines("make_date int int #", ["make_date(year(d), month(d), 1)", "make_date(year(d), month(d2), 28)"])
    found += _texts()
    found += _calendar()
    found += _arrays()
    found += _casts()
    found += _other_names()
    return tuple(found)


def _choices_of_two(name: str) -> Iterator[str]:
    return (each for each in _choices(name) if each.count(",") == 1 or "NULL" in each)


def _in() -> Iterator[str]:
    yield from ("n IN (1, 2, NULL)", "n IN (1, 2)", "n NOT IN (1, 2)", "n NOT IN (1, NULL)", "m IN (0, 1.005, 100)")
    yield from ("s IN ('a', 'ä', '')", "s NOT IN ('a', 'b')", "s NOT IN ('a', NULL)", "s IN (NULL)", "n IN (n2, k)")
    yield from ("t IN (t2)", "h IN (h2, 1, NULL)", "c IN (c2, 1)", "c NOT IN (1, 200)")
    yield from ("d IN (DATE'2025-01-01', DATE'2024-02-29')", "m IN (m2, r)", "b IN (TRUE)", "k IN (1, 2147483648)")


def differences() -> tuple[Difference, ...]:
    """Where Sail, as it comes, is otherwise than Spark: there to be noticed when a new version changes it."""
    tried: Mapping[str, tuple[Expression, str]] = {
        "rlike $": (lambda F: F.col("s").rlike("^L1$"), "values"),
        "rlike ignoring case": (lambda F: F.col("s").rlike("(?i)ä"), "values"),
        "rlike by lines": (lambda F: F.col("s").rlike("(?m)^L1$"), "values"),
        "rlike looking ahead": (lambda F: F.col("s").rlike("(?=a)"), "values"),
        "rlike back to a group": (lambda F: F.col("s").rlike(r"(a)b\1"), "values"),
        "try_cast to a decimal": ("TRY_CAST(s AS decimal(18,2))", "values"),
        "cast to a decimal": ("CAST(s AS decimal(18,2))", "values"),
        "try_cast to a date": ("TRY_CAST(s AS date)", "values"),
        "try_cast to a bigint": ("TRY_CAST(concat(s, '\\u0000') AS bigint)", "values"),
        "bround": ("bround(m, 1)", "values"),
        "bround of a bigint": ("bround(n, 0)", "values"),
        "round of a double": ("round(CAST(n AS double), -1)", "values"),
        "double to decimal": ("CAST(CAST(n AS double) / 3 AS decimal(38,10))", "values"),
        "double to string": ("CAST(CAST(n AS double) AS string)", "values"),
        "decimal to double": ("CAST(w AS double)", "values"),
        "to_json": ("to_json(struct(m))", "values"),
        "to_json of a timestamp": ("to_json(struct(t))", "values"),
        "hash": ("hash(m)", "values"),
        "initcap": ("initcap(s)", "values"),
        "split": ("split(s, '')", "values"),
        "substring": ("substring(s, -5, 3)", "values"),
        "left": ("left(s, month - 6)", "values"),
        "base64": ("base64(s)", "values"),
        "datediff": ("datediff(d, d2)", "values"),
        "date minus date": ("d - d2", "values"),
        "weekday": ("weekday(d)", "values"),
        "timestamp to bigint": ("CAST(t AS bigint)", "values"),
        "unix_seconds": ("unix_seconds(t)", "values"),
        "array_contains": ("array_contains(longs, 1)", "collections"),
        "arrays_overlap": ("arrays_overlap(longs, array(n))", "collections"),
        "array_min of structs": ("array_min(entries)", "collections"),
        "array to string": ("CAST(longs AS string)", "collections"),
        "struct to string": ("CAST(one AS string)", "collections"),
        "try_divide": ("try_divide(m, m2)", "values"),
        "nvl": ("nvl(m, 0)", "values"),
        "nullif": ("nullif(m, r)", "values"),
        "if of two scales": ("IF(b, m, r)", "values"),
        "case of two types": ("CASE WHEN b THEN k ELSE m END", "values"),
        "integer sum": ("n + n2", "values"),
        "integer difference": ("n - 1", "values"),
        "integer product": ("n * n2", "values"),
        "int sum": ("k + k2", "values"),
        "decimal quotient": ("m / r", "values"),
        "rate by days": ("m * r / 36500", "values"),
        "wide product": ("m * m2 * r", "values"),
        "wide sum": ("x + m", "values"),
        "sum of 38 digits": ("y + y2", "values"),
        "cast compared with a literal": ("CAST(m AS bigint) = 1", "values"),
        "cast to fewer places in a list": ("CAST(m AS decimal(18,1)) IN (0.1, 1.5)", "values"),
        "cast that raises, compared": ("CAST(n AS int) < 20", "values"),
        "literal of one digit": ("1 - r", "values"),
        "remainder by a literal": ("m % 1", "values"),
        "remainder by one of what is never null": ("coalesce(m, 0.50) % 1", "values"),
        "product of zero and what is never null": ("coalesce(m, 0.50) * 0 = 0", "values"),
        "round": ("round(m, 2)", "values"),
        "negative wide decimal": ("-x", "values"),
        "rlike digits": (lambda F: F.col("s").rlike(r"^\d+\z"), "values"),
        "rlike words": (lambda F: F.col("s").rlike(r"^\w+\z"), "values"),
        "rlike blanks": (lambda F: F.col("s").rlike(r"^[^@\s]+@[^@\s]+\z"), "values"),
        "rlike dot": (lambda F: F.col("s").rlike(r"L1.\z"), "values"),
        "hash of many digits": ("xxhash64(w)", "values"),
        "quotient of 38 digits": ("m / y", "values"),
        "trunc to the week": ("trunc(d, 'week')", "values"),
        "abs of 38 digits": ("abs(y)", "values"),
        "remainder of a long quotient": ("v % r", "values"),
        "add_months": ("add_months(d, n)", "values"),
        "structs with null fields in order": (lambda F: F.array_sort("entries"), "collections"),
    }
    return tuple(Difference(f"difference: {name}", frame, expression) for name, (expression, frame) in tried.items())


_TOTALS = ("c", "z", "k", "n", "m", "r", "w", "v")
_ORDERED = ("c", "z", "k", "n", "m", "r", "w", "v", "s", "d", "t", "b")


def _aggregates(F: Any) -> list[Any]:
    made = [F.sum(name).alias(f"sum_{name}") for name in _TOTALS]
    made += [getattr(F, name)(of).alias(f"{name}_{of}") for name in ("min", "max") for of in _ORDERED]
    made += [
        F.count(F.lit(1)).alias("rows"),
        F.count("n").alias("count_n"),
        F.count_if(F.col("m") > 0).alias("positive"),
    ]
    made += [F.expr("count(n, m)").alias("both"), F.expr("count(*)").alias("every")]
    made += [F.avg(name).alias(f"avg_{name}") for name in ("m", "r", "w")]
    made += [F.bool_or("b").alias("some"), F.bool_and("b").alias("all"), F.bool_or(F.col("n") > 0).alias("some_n")]
    made += [
        F.min_by("s", "at").alias("first_s"),
        F.max_by("m", "at").alias("last_m"),
        F.max_by("at", "at").alias("last"),
    ]
    late = F.when(F.col("at") > 100, F.col("at"))
    made += [
        F.min_by("at", late).alias("first_late"),
        F.max_by("s", late).alias("last_late"),
        F.expr("sum(IF(b, m, 0))").alias("some_m"),
    ]
    made += [F.expr(f"{name}(b)").alias(f"{name}_b") for name in ("some", "any", "every")]
    made += [F.expr("mean(m)").alias("mean_m")]
    made += [F.expr("sum(m) - sum(r)").alias("net"), F.expr("sum(m) / count(m)").alias("mean")]
    return made


def _of_any(F: Any, t: Frames) -> Any:
    """Aggregates of what need not be compared, and by values of each type that is."""
    made = []
    for each in (*_ORDERED, "f", "longs", "one", "NULL"):
        of = F.expr(each)
        made += [F.count(of), F.size(F.collect_list(of)), F.min_by(of, "at"), F.max_by(of, "at")]
    made += [getattr(F, name)(each, each) for name in ("min_by", "max_by") for each in _ORDERED]
    made += [getattr(F, name)("s", F.struct("d", "at")) for name in ("min_by", "max_by")]
    return t["groups"].groupBy("g").agg(*(each.alias(f"c{at}") for at, each in enumerate(made)))


def _by(*keys: str) -> Callable[[Any, Frames], Any]:
    return lambda F, t: t["groups"].groupBy(*keys).agg(*_aggregates(F))


def _lists(F: Any, t: Frames) -> Any:
    """In the order of what they hold, since a list's own is left to chance."""
    of = {name: F.array_sort(F.collect_list(name)).alias(name) for name in ("n", "m", "s", "d")}
    of["both"] = F.array_sort(F.collect_list(F.struct("at", "n"))).alias("both")
    return t["groups"].groupBy("g").agg(*of.values())


def _joined(how: str) -> Callable[[Any, Frames], Any]:
    def make(F: Any, t: Frames) -> Any:
        return t["groups"].select("g", "h", "at", "n").join(t["others"], ["g", "h"], how)

    return make


def _on_condition(how: str) -> Callable[[Any, Frames], Any]:
    def make(F: Any, t: Frames) -> Any:
        few = t["groups"].where("at < 20").select("at", "g", F.col("m").alias("paid"))
        named = t["others"].select(F.col("g").alias("key"), "other", "m")
        return few.join(named, F.col("g").eqNullSafe(F.col("key")) & (F.col("other") <= F.col("at")), how)

    return make


def _keyed(name: str) -> Iterator[Query]:
    """Grouped by a column, joined by it, distinct and in its order."""

    def joined(F: Any, t: Frames) -> Any:
        return t["values"].select(name, "i").join(t["values"].where("i < 20").select(name), name)

    def in_order(F: Any, t: Frames) -> Any:
        return t["values"].select(name, "i").orderBy(F.col(name).desc(), "i")

    yield Query(f"grouped by {name}", lambda F, t: t["values"].groupBy(name).agg(F.max("i").alias("last")))
    yield Query(f"joined by {name}", joined)
    yield Query(f"distinct {name}", lambda F, t: t["values"].select(name).distinct())
    yield Query(f"in the order of {name}", in_order, ordered=True)


def _aliased(F: Any, t: Frames) -> Any:
    one, other = t["others"].alias("one"), t["others"].alias("other")
    return one.join(other, F.col("one.other") == F.col("other.other") + 1).select("one.g", "other.g", "other.m")


def _local(F: Any, t: Frames) -> Any:
    return t["others"].sparkSession.createDataFrame([(1, "a"), (None, None)], "id bigint, s string")


def _range(F: Any, t: Frames) -> Any:
    return t["others"].sparkSession.range(-2, 20, 3).withColumn("twice", F.col("id") * 2)


def _united(F: Any, t: Frames) -> Any:
    return (
        t["groups"].select("g", "n", "m").unionByName(t["others"].select("m", "g", "other"), allowMissingColumns=True)
    )


def _windows(F: Any, t: Frames) -> Any:
    from pyspark.sql import Window

    by_day, by_tie = Window.partitionBy("g").orderBy("at"), Window.partitionBy("g").orderBy("h")
    return t["groups"].select(
        "at",
        F.row_number().over(by_day).alias("number"),
        F.expr("row_number() OVER (PARTITION BY h ORDER BY n DESC, at)").alias("by_text"),
        F.sum("m").over(by_day).alias("so_far"),
        F.sum("n").over(by_tie).alias("peers"),
        F.sum("v").over(Window.partitionBy("g")).alias("of_group"),
        F.count("n").over(by_tie).alias("counted"),
        F.count("n").over(Window.partitionBy("h")).alias("counted_all"),
        F.avg("m").over(by_day).alias("mean"),
        F.avg("m").over(Window.partitionBy("g")).alias("mean_of_all"),
        F.min("t").over(Window.partitionBy("h")).alias("least_of_all"),
        F.max("k").over(by_tie).alias("most_so_far"),
        F.min("d").over(by_day).alias("least"),
        F.max("s").over(Window.partitionBy("h")).alias("most"),
    )


def _sorted_by(*orders: Callable[[Any], Any]) -> Callable[[Any, Frames], Any]:
    return lambda F, t: t["groups"].select("g", "m", "s", "d", "b", "at").orderBy(*(each(F) for each in orders), "at")


def _exploded(F: Any, t: Frames) -> Any:
    one = t["collections"].select("i", F.explode("longs").alias("each"), F.lit("longs").alias("of"))
    two = t["collections"].select("i", F.posexplode("texts").alias("at", "each"))
    return one.select("i", F.col("each").cast("string").alias("each"), "of").unionByName(
        two.select("i", F.concat_ws(":", F.col("at").cast("string"), "each").alias("each"), F.lit("texts").alias("of"))
    )


def _days(F: Any, t: Frames) -> Any:
    return (
        t["collections"]
        .where("d <= e")
        .select("i", F.explode(F.sequence("d", "e", F.expr("INTERVAL 1 DAY"))).alias("day"))
    )


def _by_arrow(F: Any, t: Frames) -> Any:
    frame = t["values"].select("i", "m", "w", "n", "k", "s", "d", "b")
    return frame.mapInArrow(_as_they_are, frame.schema)


def _as_they_are(batches: Iterable[Any]) -> Iterable[Any]:
    yield from batches


def _structs(F: Any, t: Frames) -> Any:
    return t["collections"].mapInArrow(_as_they_are, t["collections"].schema)


def _sum_of(expression: str) -> Callable[[Any, Frames], Any]:
    return lambda F, t: t["values"].agg(F.sum(F.expr(expression)).alias("sum"))


def _semi_then_union(how: str) -> Callable[[Any, Frames], Any]:
    """By name, the key comes first in what is left; by position, the union sees it."""

    def query(F: Any, t: Frames) -> Any:
        kept = t["groups"].select("s", "g").join(t["others"].select("g"), "g", how)
        return kept.union(t["groups"].where("at < 3").select("g", "s"))

    return query


def _constant_of_a_total(F: Any, t: Frames) -> Any:
    """Nothing is a detail here that was a total, though the condition looks at a constant only."""
    total = t["others"].agg(F.sum("other").alias("other")).select(F.lit("total").alias("kind"), "other")
    details = t["others"].select(F.lit("detail").alias("kind"), F.col("other").cast("bigint").alias("other"))
    of_totals = total.withColumn("other", F.col("other").cast("bigint"))
    return details.unionByName(of_totals).where(F.col("kind") == "detail")


def _numbered_by_a_match(F: Any, t: Frames) -> Any:
    """`found` is 1 where there is a row on the other side, and null elsewhere: first of all."""
    from pyspark.sql import Window

    matches = t["groups"].where("at % 3 = 0").select("at", F.lit(1).alias("found"))
    joined = t["groups"].select("h", "at").join(matches, "at", "left")
    return joined.withColumn("number", F.row_number().over(Window.partitionBy("h").orderBy("found", "at")))


def _groups_of_a_join(F: Any, t: Frames) -> Any:
    """Groups of a join with groups: the keys of these alone do not tell them apart."""
    return t["groups"].select("h").distinct().crossJoin(t["groups"].select("at")).groupBy("h", "at").agg(F.count("*"))


def _constants(F: Any, t: Frames) -> Any:
    from datetime import date
    from decimal import Decimal

    given = [
        Decimal("0.00"),
        Decimal("-1.5"),
        Decimal("1000"),
        Decimal("9" * 18),
        date(1582, 10, 15),
        date(9999, 12, 31),
    ]
    more = [0, -1, 2**31, -(2**62), "", "ä'\\\n", True, None]
    return t["others"].select(*(F.lit(each).alias(f"c{at}") for at, each in enumerate([*given, *more])))


@cache
def queries() -> tuple[Query, ...]:
    aggregates = (
        *("sum decimal", "sum integer", "min T", "max T", "count any any*", "count_if boolean", "bool_or boolean"),
        *("bool_and boolean", "min_by any ordered", "max_by any ordered", "avg decimal"),
    )
    joins = ("inner", "left", "right", "full", "left_semi", "left_anti")
    return (
        Query("by a key", _by("g"), aggregates),
        Query("by two keys", _by("g", "h"), aggregates),
        Query("of all", _by(), aggregates),
        Query("of none", lambda F, t: t["groups"].where("at < 0").agg(*_aggregates(F)), aggregates),
        Query(
            "by a key of none", lambda F, t: t["groups"].where("at < 0").groupBy("g").agg(*_aggregates(F)), aggregates
        ),
        Query("of any type", _of_any, aggregates),
        Query("lists", _lists, ("collect_list any",)),
        *(Query(f"{how} join", _joined(how)) for how in joins),
        *(Query(f"{how} join by name, then by position", _semi_then_union(how)) for how in ("left_semi", "left_anti")),
        Query("a condition on a constant of a total", _constant_of_a_total, differs=True),
        *(Query(f"{how} join on a condition", _on_condition(how)) for how in joins),
        Query("join on nothing", lambda F, t: t["others"].select("g").join(t["others"].select("h"))),
        *(query for name in _KEYS for query in _keyed(name)),
        Query("aliased", _aliased),
        Query("local rows", _local),
        Query("a range", _range),
        Query("renamed", lambda F, t: t["others"].withColumnRenamed("g", "key").select("key", "h")),
        Query("dropped", lambda F, t: t["others"].drop("h", "m")),
        Query("named anew", lambda F, t: t["others"].select("g", "m").toDF("m", "g")),
        Query("hinted", lambda F, t: t["groups"].select("g", "at").join(F.broadcast(t["others"]), "g")),
        Query("repartitioned", lambda F, t: t["others"].repartition(3)),
        Query("repartitioned by a key", lambda F, t: t["others"].repartition(2, "g")),
        Query("doubles", lambda F, t: t["values"].select("i", "f")),
        Query("rows numbered by what only a match has", _numbered_by_a_match, differs=True),
        Query(
            "groups of groups of a join with groups",
            lambda F, t: _groups_of_a_join(F, t).groupBy("h", "at").agg(F.count(F.lit(1)).alias("rows")).select("rows"),
            differs=True,
        ),
        Query(
            "groups of a join with groups, in order",
            lambda F, t: _groups_of_a_join(F, t).select("h", "at").orderBy("h", F.col("at").desc()),
            ordered=True,
            differs=True,
        ),
        Query("cross join", lambda F, t: t["others"].select("g").crossJoin(t["others"].select("other"))),
        Query("union by name", _united, differs=True),
        Query(
            "union of void",
            lambda F, t: t["others"].select("g", F.lit(None).alias("m")).unionByName(t["others"].select("m", "g")),
        ),
        Query("windows", _windows, ("row_number ",)),
        Query("distinct", lambda F, t: t["groups"].select("g", "h", "b").distinct()),
        Query("distinct decimals", lambda F, t: t["values"].select("r").distinct()),
        Query("filled", lambda F, t: t["groups"].select("at", "m", "n", "k", "r", "s", "b").na.fill(0)),
        Query("filled text", lambda F, t: t["groups"].select("at", "g", "s").na.fill("none", ["g"])),
        Query("exploded", _exploded),
        Query("inline", lambda F, t: t["collections"].select("i", F.inline("entries"))),
        Query("days", _days, ("sequence date date day",)),
        Query("by Arrow", _by_arrow),
        Query("structs by Arrow", _structs),
        Query("constants", _constants),
        Query("pivot", lambda F, t: t["groups"].groupBy("h").pivot("g", ["a", "ä", "z"]).agg(F.count(F.lit(1)))),
        Query("limit", lambda F, t: t["groups"].select("at").orderBy("at").limit(7), ordered=True),
        Query("by text", _sorted_by(lambda F: F.col("s")), ordered=True),
        Query("by text downwards", _sorted_by(lambda F: F.col("s").desc()), ordered=True),
        Query(
            "nulls last",
            _sorted_by(lambda F: F.col("m").asc_nulls_last(), lambda F: F.col("d").desc_nulls_first()),
            ordered=True,
        ),
        Query("by booleans", _sorted_by(lambda F: F.col("b"), lambda F: F.col("m")), ordered=True),
        Query("sum of bigint beyond", _sum_of("CASE WHEN n > 0 THEN n ELSE NULL END"), ("sum integer",), differs=True),
        Query(
            "sum of decimals beyond", _sum_of("CASE WHEN y > 0 THEN y ELSE NULL END"), ("sum decimal",), differs=True
        ),
        Query(
            "sum of small ones of 38 digits",
            _sum_of("CASE WHEN y BETWEEN -1000000 AND 1000000 THEN y ELSE NULL END"),
            ("sum decimal",),
        ),
        Query("sum of ints", _sum_of("k"), ("sum integer",)),
        Query("keys of null", lambda F, t: t["others"].where("g IS NULL").groupBy("g").agg(F.sum("m").alias("sum"))),
        Query(
            "computed before it is filtered",
            lambda F, t: t["values"].where("i = 0").select("i", F.expr("n + n2").alias("sum")),
            only_sail_raises=True,
        ),
        Query(
            "what would raise, beside a null",  # of which Spark does not look at the other side
            lambda F, t: t["others"].where("h IS NULL").select(F.expr("other % (other - other) % h").alias("rest")),
            only_sail_raises=True,
        ),
        *map(
            _filtered, ("CAST(m AS bigint) = 1", "CAST(r AS int) BETWEEN 0 AND 1", "n + 1 = 2", "CAST(n AS int) < 20")
        ),
        *map(_filtered, ("m > 0 AND n IS NOT NULL AND s <> ''", "round(m, 1) = 1.5", "NOT (s IN ('a', 'L1') OR b)")),
        Query("named, then where", _named_then_filtered),
        Query("where null", lambda F, t: t["values"].where("b AND n > NULL").select("i")),
    )
