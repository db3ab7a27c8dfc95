"""Text to typed values. Each reader gives a value (null if the text is not one) and the reason why it is refused.

A reason never quotes the text, which may hold personal data: it names the field, and what was expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits.kinds import EXPECTED, PATTERNS, value_in
from affirm_assets.declare.contract import java_pattern

_TOO_FINE_MONEY = r"^-?[0-9]{1,16}\.[0-9]{3,}\z"
_NOT_BLANK = r"[^ \t\r\n]"


@dataclass(frozen=True)
class Reading:
    """A field's typed value and the reason to refuse its row; either is null where it does not apply."""

    value: Column
    reason: Column


def amount_in(name: str) -> Column:
    """The amount that a field's text is, null if it is none."""
    return value_in(name, "money")


def date_in(name: str) -> Column:
    """The date that a field's text is, null if it is none."""
    return value_in(name, "date")


def money(name: str, least: Column | Decimal, most: Column | Decimal) -> Reading:
    """Decimal(18,2) of at most two places, from `least` to `most`, both included."""
    value = amount_in(name)
    reason = _first(
        name,
        (F.col(name).isNull(), "missing"),
        (F.col(name).rlike(_TOO_FINE_MONEY), "more than two decimal places"),
        (~F.col(name).rlike(PATTERNS["money"]), f"not {EXPECTED['money']}"),
        (value < _literal(least), "less than it can be"),
        (value > _literal(most), "more than it can be"),
    )
    return Reading(_unless(reason, value), reason)


def rate(name: str, least: Decimal, most: Decimal) -> Reading:
    """Decimal(9,6), in percent, of at most six places, from `least` to `most`, both included."""
    value = value_in(name, "rate")
    reason = _first(
        name,
        (F.col(name).isNull(), "missing"),
        (~F.col(name).rlike(PATTERNS["rate"]), f"not {EXPECTED['rate']}"),
        (value < _literal(least), f"less than {least}"),
        (value > _literal(most), f"more than {most}"),
    )
    return Reading(_unless(reason, value), reason)


def integer(name: str, least: Column, most: Column) -> Reading:
    value = value_in(name, "integer")
    reason = _first(
        name,
        (F.col(name).isNull(), "missing"),
        (~F.col(name).rlike(PATTERNS["integer"]), f"not {EXPECTED['integer']}"),
        (value < least, "less than it can be"),
        (value > most, "more than it can be"),
    )
    return Reading(_unless(reason, value), reason)


def day(name: str, earliest: Column, latest: Column) -> Reading:
    """A calendar date from `earliest` to `latest`, both included; either may be null, and then does not limit it."""
    value = date_in(name)
    reason = _first(
        name,
        (F.col(name).isNull(), "missing"),
        (value.isNull(), f"not {EXPECTED['date']}"),
        (value < earliest, "too early"),
        (value > latest, "too late"),
    )
    return Reading(_unless(reason, value), reason)


def matching(name: str, pattern: str, expected: str) -> Reading:
    """Text that matches a pattern."""
    reason = _first(
        name, (F.col(name).isNull(), "missing"), (~F.col(name).rlike(java_pattern(pattern)), f"not {expected}")
    )
    return Reading(_unless(reason, F.col(name)), reason)


def words(name: str, most: int) -> Reading:
    """Text of at most so many characters, not only blanks."""
    reason = _first(
        name,
        (F.col(name).isNull(), "missing"),
        (~F.col(name).rlike(_NOT_BLANK), "blank"),
        (F.length(name) > most, f"longer than {most} characters"),
    )
    return Reading(_unless(reason, F.col(name)), reason)


def one_of(name: str, known: Sequence[str]) -> Reading:
    shown = ", ".join(known) if len(known) <= 8 else f"{len(known)} known ones"
    reason = _first(
        name, (F.col(name).isNull(), "missing"), (~F.col(name).isin(*known), f"unknown; expected one of {shown}")
    )
    return Reading(_unless(reason, F.col(name)), reason)


def optional(reading: Reading, name: str) -> Reading:
    """The same, but a missing field is no reason."""
    return Reading(reading.value, F.when(F.col(name).isNotNull(), reading.reason))


def typed(
    rows: DataFrame, day: str, readings: Mapping[str, Reading], *together: Column, also: Sequence[str] = ()
) -> DataFrame:
    """Landing rows -> `day`, file, record_number, text (the raw fields), the typed fields, reasons, problem, unread,
    `also`.

    unread: how many characters there are that make no record.

    together: reasons of several fields. A record that is not well-formed has its problem for a reason, and its missing
    fields are no news.
    """
    found = reasons(*(each.reason for each in readings.values()), *together)
    return rows.select(
        F.col("business_date").alias(day),
        "file",
        "record_number",
        F.struct(*readings).alias("text"),
        *(each.value.alias(name) for name, each in readings.items()),
        F.coalesce("problem", found).alias("reasons"),
        "problem",
        F.coalesce(F.length("raw"), F.lit(0)).alias("unread"),
        *also,
    )


def unless(condition: Column, reason: str) -> Column:
    """A reason where the condition is not known to hold."""
    return F.when(~F.coalesce(condition, F.lit(False)), F.lit(reason))


def reasons(*each: Column) -> Column:
    """All reasons joined by `; `, null if there are none."""
    joined = F.concat_ws("; ", *each)
    return F.when(joined != "", joined)


def _first(name: str, *cases: tuple[Column, str]) -> Column:
    chosen = F.when(cases[0][0], F.lit(f"{name}: {cases[0][1]}"))
    for condition, text in cases[1:]:
        chosen = chosen.when(condition, F.lit(f"{name}: {text}"))
    return chosen


def _unless(reason: Column, value: Column) -> Column:
    return F.when(reason.isNull(), value)


def _literal(value: Column | Decimal | date) -> Column:
    return value if isinstance(value, Column) else F.lit(value)
