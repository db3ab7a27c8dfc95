"""The fields of a refused record, made safe to keep outside the landing zone."""

from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.lender.intake.duplicates import RECORD, REJECTED, with_fate

# Digits, dates, codes and ids, but no blank and no @: any field of a bad record may hold a name or an address.
_SAFE = r"^[A-Za-z0-9_.:+-]{1,64}\z"
MASK = "***"


def refused(fates: DataFrame, fields: Sequence[str], *, day: str, direct_identifiers: Iterable[str] = ()) -> DataFrame:
    """The rejected of a feed's records: their place, `day` and reasons, and their fields as text, masked."""
    found = with_fate(fates, REJECTED).select(day, *RECORD, "reasons", "text.*")
    return found.select(day, *RECORD, "reasons", *masked_fields(fields, direct_identifiers))


def masked_fields(names: Iterable[str], direct_identifiers: Iterable[str]) -> list[Column]:
    """Each field as text: direct identifiers, and any value that does not look like a code, number or date, masked."""
    hidden = set(direct_identifiers)
    return [
        F.when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        if name in hidden
        else F.when(F.col(name).rlike(_SAFE), F.col(name)).when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        for name in names
    ]
