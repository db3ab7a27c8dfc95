"""Rewritings into what is proven, each right for all values: of a function's name, its arguments and Spark's type."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import pyarrow as pa
from pyspark.sql.connect import proto
from pyspark.sql.connect.expressions import PythonUDF
from pyspark.util import PythonEvalType

from affirm_assets.engines.sail import plan, proven
from affirm_assets.engines.sail.exact import exact
from affirm_assets.engines.sail.plan import (
    BIGINT,
    BOOLEAN,
    INT,
    INTEGERS,
    MOST_DIGITS,
    Message,
    Range,
    Type,
    Typed,
    cast,
    decimal,
    function,
    held,
)

_WIDE = decimal(20, 0)
"""Holds every bigint."""


class CannotMend(Exception):
    """No rewriting is known for these arguments. The message says why."""


def in_list(_name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    """DataFusion takes two lists of a conjunction together, as if nothing were null: neither a value nor an element."""
    if len(arguments) == 1:
        return plan.boolean(False)
    return held(function("in", *(each.message for each in arguments)), BOOLEAN)


def either(_name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    """It makes a list of two equalities, too."""
    made = function("or", *(each.message for each in arguments))
    return held(made, BOOLEAN) if all(_is_equality(each.message) for each in arguments) else made


def negated(_name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    """And of what is not both it makes what is either not."""
    (of,) = arguments
    return function("not", held(of.message, BOOLEAN) if _called(of.message) == "and" else of.message)


def _is_equality(message: Message) -> bool:
    """Or what was held, or the negation of what becomes one if it is negated."""
    name = _called(message)
    if name == "not":
        (inner,) = message.unresolved_function.arguments
        return _called(inner) == "and" or (
            _called(inner) == "not" and _called(inner.unresolved_function.arguments[0]) == "=="
        )
    return name in ("==", "nullif")


def _called(message: Message) -> str:
    """The function's name; empty for what is none."""
    return str(message.unresolved_function.function_name)


def integers(name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """Integer arithmetic as it is where its range shows that it fits; else in decimals, whose cast back raises."""
    if range_of(name, arguments, result) is not None:
        return function(name, *(_as(each, result) for each in arguments))
    # Two bigints multiplied have 38 digits at most: 2^126 is less than 10^38.
    return held(cast(function(name, *(_as(each, _WIDE) for each in arguments)), result), result)


def range_of(name: str, arguments: Sequence[Typed], result: Type) -> Range | None:
    """What integer arithmetic can come to, where all of it fits the result."""
    least, most = _ends(name, [each.range or full(each.type) for each in arguments])
    return (least, most) if full(result)[0] <= least and most <= full(result)[1] else None


def _as(each: Typed, kind: Type) -> Message:
    return each.message if each.type == kind else cast(each.message, kind)


def full(kind: Type) -> Range:
    bits = INTEGERS[kind.name]
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _ends(name: str, ranges: Sequence[Range]) -> Range:
    if name == "negative":
        ((least, most),) = ranges
        return -most, -least
    (a, b), (c, d) = ranges
    if name == "+":
        return a + c, b + d
    if name == "-":
        return a - d, b - c
    corners = (a * c, a * d, b * c, b * d)
    return min(corners), max(corners)


def integer_total(_name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    return held(cast(function("sum", cast(arguments[0].message, _WIDE)), BIGINT), BIGINT)


def total(_name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """A sum with ten digits to spare cannot overflow below 10^10 rows. One without is refused a value near the limit.

    Sail would wrap. The sum of the absolute values as doubles, which is too small by less than one part in a hundred,
    shows that no partial sum came near; where it does not, the step fails, as it does on Spark where one overflows.
    """
    (of,) = arguments
    made = function("sum", of.message)
    if of.type.precision + 10 <= MOST_DIGITS:
        return made
    limit = proto.Expression()
    limit.literal.double = 0.99 * 10.0 ** (MOST_DIGITS - of.type.scale)
    size = function("sum", function("abs", cast(of.message, plan.DOUBLE)))
    fits = function("coalesce", function("<", size, limit), plan.boolean(True))
    raises = cast(function("raise_error", plan.text(f"the sum does not fit {result}")), result)
    return function("when", fits, made, raises)


def decimals(name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """A sum, difference or product as it is where every digit has a place; else as a quotient."""
    digits = proven.digits_of_product if name == "*" else proven.digits_of_sum
    if digits(*(each.type for each in arguments)) != (result.precision, result.scale):
        return by_python(name, arguments, result)
    if name == "*" and any(map(_may_be_zero, arguments)):
        return _product_with_zero(arguments, result)
    return function(name, *(each.message for each in arguments))


def _may_be_zero(each: Typed) -> bool:
    """Whether it may be a constant zero, as far as the plan shows: then it is made of no column of a table."""
    return not each.literal if each.is_literal else not each.sources.columns


def _product_with_zero(arguments: Sequence[Typed], result: Type) -> Message:
    """Where one is never null, DataFusion takes the zero for the product, but in the zero's type, and fails later.

    A try_cast may be null, as far as it knows; with a digit more it stays, and never is.
    """
    made = [cast(each.message, decimal(each.type.precision + 1, each.type.scale), is_try=True) for each in arguments]
    return cast(function("*", *made), result)


def by_python(name: str, arguments: Sequence[Typed], result: Type) -> Message:
    return _in_python(name, [each.message for each in arguments], result)


def _in_python(name: str, arguments: Sequence[Message], result: Type) -> Message:
    """By a function of Python over Arrow's columns (exact.py)."""
    made = proto.Expression()
    udf = made.common_inline_user_defined_function
    udf.function_name = "exact"
    udf.deterministic = True
    udf.arguments.extend(arguments)
    udf.python_udf.CopyFrom(_udf(name, result.precision, result.scale))
    return made


@cache
def _udf(name: str, precision: int, scale: int) -> Message:
    def work(ones: pa.Array, others: pa.Array) -> pa.Array:
        return exact(ones, others, name=name, precision=precision, scale=scale)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    kind = plan.spark_type(decimal(precision, scale))
    made = PythonUDF(kind, PythonEvalType.SQL_SCALAR_ARROW_UDF, work, version)
    return made.to_plan(None)  # type: ignore[arg-type]  # the type is no text that a server would have to parse


_CLASSES = {"s": r" \t\n\x0B\f\r", "d": "0-9", "w": "A-Za-z0-9_"}
_DOT = r"[^\n\r\x{85}\x{2028}\x{2029}]"
_SAME_ESCAPED = set(r"\.[]{}()*+?^$|-/@&#~%:;,=!_\"' ") | {"t", "n", "r", "f"}


def pattern(java: str) -> str:
    r"""A pattern that means to Rust what this one means to Java. Raises CannotMend where that is not known.

    Java's classes know ASCII only and Rust's all of Unicode, Java's dot stops at more line ends, and its `$` also
    matches before the last one.
    """
    made, at, is_in_class, is_repeated = "", 0, False, False
    while at < len(java):
        character = java[at]
        at += 1
        was_repeated, is_repeated = is_repeated, not is_in_class and character in "*+?}"
        if was_repeated and character in "*+{":
            raise CannotMend("a quantifier after a quantifier of a regular expression is not proven")
        is_repeated = is_repeated and not (was_repeated and character == "?")  # a lazy one
        if character == "\\":
            escaped = java[at : at + 1]
            at += 1
            if (
                is_in_class
                and escaped.lower() in _CLASSES
                and java[at : at + 1] == "-"
                and java[at + 1 : at + 2] != "]"
            ):
                raise CannotMend(f"a range from \\{escaped} in a class of a regular expression is not proven")
            if escaped in _CLASSES:
                made += _CLASSES[escaped] if is_in_class else f"[{_CLASSES[escaped]}]"
            elif escaped.lower() in _CLASSES and not is_in_class:
                made += f"[^{_CLASSES[escaped.lower()]}]"
            elif escaped == "z" and not is_in_class:
                made += r"\z"
            elif escaped in _SAME_ESCAPED:
                made += "\\" + escaped
            else:
                raise CannotMend(f"\\{escaped} in a regular expression is not proven")
        elif is_in_class:
            if character in "[&~" or ord(character) > 127:
                raise CannotMend(
                    f"{character!r} in a class of a regular expression is not proven; write it as \\{character}"
                )
            if character == "-" and java[at : at + 1] == "-":
                raise CannotMend("-- in a class of a regular expression is not proven; write it as \\-")
            # As the first of a class it is no range.
            if character == "-" and re.match(r"\\[sdwSDW]", java[at:]) and not re.search(r"(?<!\\)\[\^?$", made):
                raise CannotMend(f"a range to {java[at : at + 2]} in a class of a regular expression is not proven")
            is_in_class = character != "]"
            made += character
        elif character == "[":
            made += character
            if java[at : at + 1] == "^":
                made, at = made + "^", at + 1
            if java[at : at + 1] == "]":
                raise CannotMend("an empty class of a regular expression is not proven")
            is_in_class = True
        elif character == "{" and not re.match(r"\d+(,\d*)?\}", java[at:]):
            raise CannotMend("{ in a regular expression is not proven but in {2}, {2,} and {2,5}; write it as \\{")
        elif character == "$":
            raise CannotMend(r"$ in a regular expression is not proven: it lets a line break pass; write \z")
        elif character == ".":
            made += _DOT
        elif character == "(" and java[at : at + 1] == "?" and java[at : at + 2] != "?:":
            raise CannotMend("(? in a regular expression is not proven, but (?:")
        elif character in "?*+}" and java[at : at + 1] == "+":
            raise CannotMend("a possessive quantifier of a regular expression is not proven")
        else:
            made += character
    if is_in_class:
        raise CannotMend("a class of a regular expression has no end")
    return made


def translated(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    text, java = arguments
    return function(name, text.message, plan.text(pattern(java.literal)))


def remainder(name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """Only of what is not null: Spark looks at the divisor then alone. Sail brings both to one scale, if that fits."""
    one, other = arguments
    if proven.common([one.type, other.type]) is None:
        return by_python(name, arguments, result)
    # By the same below zero, which makes no difference: DataFusion makes 0 of what is never null % 1, also of 1.50 % 1.
    made = function(name, one.message, function("negative", function("abs", other.message)))
    if other.is_literal and other.literal:
        return made
    return function("when", function("isnotnull", one.message), made)


def whole_remainder(name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """In decimals, which are proven for it."""
    wide = [replace(each, message=_as(each, _WIDE), type=_WIDE) for each in arguments]
    return held(cast(remainder(name, wide, _WIDE), result), result)


def rounded(_name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """A cast rounds half up, too; with a digit more before the point, it always fits."""
    return held(cast(arguments[0].message, result), result)


def mean(_name: str, arguments: Sequence[Typed], result: Type) -> Message:
    """As Spark computes it: an exact sum by a count."""
    of = arguments[0].message
    return _in_python("/", [function("sum", of), cast(function("count", of), _WIDE)], result)


def like(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    if "\\" in arguments[1].literal:
        raise CannotMend("a backslash in a pattern of LIKE is not proven")
    return function(name, *(each.message for each in arguments))


def not_negative(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    if arguments[1].literal < 0 or not arguments[2].literal:
        raise CannotMend("proven for a length that is not negative and a text to fill with")
    return function(name, *(each.message for each in arguments))


def substring(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    if arguments[1].literal < 1 or arguments[2].literal < 0:
        raise CannotMend("proven from a place counted from 1, and of a length that is not negative")
    return function(name, *(each.message for each in arguments))


def sha2(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    if arguments[1].literal not in (224, 256, 512):
        raise CannotMend("proven for 224, 256 and 512 bits")
    return function(name, *(each.message for each in arguments))


def date_add(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    return function("date_add" if name == "+" else "date_sub", *(each.message for each in arguments))


def datediff(name: str, arguments: Sequence[Typed], result: Type) -> Message:
    return cast(function(name, *(each.message for each in arguments)), result)


def trunc(_name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    """By year and month: Sail's own goes by nanoseconds, which do not reach far."""
    of, unit = arguments[0].message, arguments[1].literal.lower()
    one, year = plan.whole(1, INT), function("year", of)
    if unit in ("month", "mon", "mm"):
        return function("make_date", year, function("month", of), one)
    if unit in ("year", "yyyy", "yy"):
        return function("make_date", year, one, one)
    raise CannotMend(f"trunc to {unit!r} is not proven; proven are month and year")


def make_date(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    year, month, day = arguments
    is_date = year.range and month.range and 1 <= month.range[0] <= month.range[1] <= 12 and 1 <= day.literal <= 28
    if not is_date:
        raise CannotMend("proven for the year and the month of a date, and a day up to 28: others may be no date")
    return function(name, *(each.message for each in arguments))


def by_order(name: str, arguments: Sequence[Typed], _result: Type) -> Message:
    """A struct to order by with each field after whether it is there: then nulls are first, as they are in Spark's."""
    of, order = arguments
    if order.type.name != "struct":
        return function(name, of.message, order.message)
    fields = order.message.unresolved_function.arguments
    parts: list[Message] = []
    for field_name, value in zip(fields[::2], fields[1::2], strict=True):
        known = plan.text(f"has {field_name.literal.string}")
        parts += [known, function("isnotnull", value), field_name, value]
    return function(name, of.message, function("named_struct", *parts))


MENDS: Mapping[str, Callable[[str, Sequence[Typed], Type], Message]] = {
    "by order": by_order,
    "date_add": date_add,
    "date_sub": date_add,
    "datediff": datediff,
    "decimals": decimals,
    "either": either,
    "in": in_list,
    "integers": integers,
    "integer total": integer_total,
    "like": like,
    "make_date": make_date,
    "mean": mean,
    "negated": negated,
    "not negative": not_negative,
    "pattern": translated,
    "quotient": by_python,
    "remainder": remainder,
    "whole remainder": whole_remainder,
    "round": rounded,
    "sha2": sha2,
    "substring": substring,
    "total": total,
    "trunc": trunc,
}
