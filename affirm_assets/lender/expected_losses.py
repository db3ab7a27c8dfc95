"""What the lender expects to lose: percent of the principal owed, by product and delinquency bucket.

The rates in expected_losses.csv are the lender's to set, from its own losses and what it forecasts: of all that the
loans will lose until they end, and not of the next months alone (ASC 326-20-30-6). Those that are there only keep the
sample's books plausible. Days that are published keep the rates that they were made with: one that is run again with
other rates is refused where the day after has opened otherwise.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from affirm_assets.errors import DeclarationError
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, PRODUCT_NAMES

_HEADER = "product,bucket,percent"
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


def read_rates(file: Path) -> Mapping[tuple[str, str], Decimal]:
    """Percent by product and bucket. Raises DeclarationError with the file, the line, and what is wrong there."""
    header, *lines = file.read_text().splitlines() or [""]
    if header != _HEADER:
        raise DeclarationError(f"{file}:1: expected the header {_HEADER}; found {header!r}.")
    rates: dict[tuple[str, str], Decimal] = {}
    for number, line in enumerate(lines, start=2):
        product, bucket, percent = _fields(f"{file}:{number}", line)
        if (product, bucket) in rates:
            raise DeclarationError(
                f"{file}:{number}: expected each product and bucket once; found {product},{bucket} again: {line!r}."
            )
        rates[product, bucket] = percent
    wanted = {(product, bucket) for product in PRODUCT_NAMES for bucket in OPEN_BUCKETS}
    if lacking := sorted(f"{product},{bucket}" for product, bucket in wanted - set(rates)):
        raise DeclarationError(
            f"{file}:{len(lines) + 1}: expected a line for each product and bucket; found none of {'; '.join(lacking)}."
        )
    return MappingProxyType(rates)


def _fields(where: str, line: str) -> tuple[str, str, Decimal]:
    fields = line.split(",")
    if len(fields) != 3:
        raise DeclarationError(f"{where}: expected {_HEADER}; found {line!r}.")
    product, bucket, percent = fields
    for value, known in ((product, PRODUCT_NAMES), (bucket, OPEN_BUCKETS)):
        if value not in known:
            raise DeclarationError(f"{where}: expected one of {', '.join(known)}; found {value!r}.")
    if not _PERCENT.fullmatch(percent) or Decimal(percent) > 100:
        raise DeclarationError(
            f"{where}: expected percent from 0 to 100 with at most six decimal places; found {percent!r}."
        )
    return product, bucket, Decimal(percent)


EXPECTED_LOSSES = read_rates(Path(__file__).with_suffix(".csv"))
