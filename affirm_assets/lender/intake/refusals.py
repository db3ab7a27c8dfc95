"""The fields of a refused record, made safe to keep outside the landing zone."""

from collections.abc import Iterable

from pyspark.sql import Column
from pyspark.sql import functions as F

# Digits, dates, codes and ids, but no blank and no @: any field of a bad record may hold a name or an address.
_SAFE = r"^[A-Za-z0-9_.:+-]{1,64}\z"
MASK = "***"


def masked_fields(names: Iterable[str], direct_identifiers: Iterable[str]) -> list[Column]:
    """Each field as text: direct identifiers, and any value that does not look like a code, number or date, masked."""
    hidden = set(direct_identifiers)
    return [
        F.when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        if name in hidden
        else F.when(F.col(name).rlike(_SAFE), F.col(name)).when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        for name in names
    ]
