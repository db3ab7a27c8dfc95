"""Which text is a value of each kind of field: only texts of which all engines read the same."""

from pyspark.sql import Column
from pyspark.sql import functions as F

# Plain digits: no plus sign, exponent, NaN, thousands separator or blank; \z since Java's $ lets a line break pass.
# Sixteen digits before the point fit Money.
PATTERNS = {
    "money": r"^-?[0-9]{1,16}(\.[0-9]{1,2})?\z",
    "rate": r"^-?[0-9]{1,3}(\.[0-9]{1,6})?\z",
    "integer": r"^-?[0-9]{1,9}\z",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\z",
}
"""Of text of the kind `text` nothing is expected."""

_TYPES = {"money": "decimal(18,2)", "rate": "decimal(9,6)", "integer": "bigint", "date": "date"}

EXPECTED = {
    "money": "an amount in plain digits with at most two decimal places",
    "rate": "a rate in percent with at most six decimal places",
    "integer": "a whole number of at most nine digits",
    "date": "a calendar date YYYY-MM-DD",
}


def value_in(name: str, kind: str) -> Column:
    """The value that a field's text is, null if it is none of its kind."""
    return F.when(F.col(name).rlike(PATTERNS[kind]), F.col(name).try_cast(_TYPES[kind]))


def problem_of(name: str, kind: str) -> Column:
    """Why a field's text, if there is any, is no value of its kind; null if it is one."""
    return F.when(F.col(name).isNotNull() & value_in(name, kind).isNull(), F.lit(f"{name}: not {EXPECTED[kind]}"))
