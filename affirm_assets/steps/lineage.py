"""A column of a table: what lineage is made of, whichever engine tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ColumnRef:
    """A column of a table; `table` is its namespace and name, without the catalog: `loans.loans`."""

    table: str
    column: str
