"""What a step asks of an engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pyiceberg.manifest import DataFile


@dataclass(frozen=True)
class Staged:
    """Data files of a table that no snapshot of main names yet, and what the engine says of the rows it wrote."""

    files: tuple[DataFile, ...]
    rows: int
    sums: Mapping[str, Decimal]
    snapshot: int | None = None
