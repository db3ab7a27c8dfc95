"""What an identity is: a name, where it is from, what it reads, and a function of one day."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from affirm_assets.auditor.verify.rows import Rows
from affirm_assets.auditor.verify.tally import Tally


@dataclass(frozen=True)
class Day:
    """What each table holds of a day, by the table's name. `before`: the day before, of the tables that carry on."""

    day: date
    tables: Mapping[str, Rows]
    before: Mapping[str, Rows]

    def __getitem__(self, table: str) -> Rows:
        return self.tables[table]


Check = Callable[[Day, Tally], None]


@dataclass(frozen=True)
class Identity:
    """`reads`: columns by table. `carries`: the tables whose day before it looks at, too."""

    name: str
    source: str
    reads: Mapping[str, Sequence[str]]
    check: Check
    carries: Sequence[str] = ()


IDENTITIES: list[Identity] = []
"""In the order in which they are shown."""


def identity(
    name: str, *, source: str, reads: Mapping[str, Sequence[str]], carries: Sequence[str] = ()
) -> Callable[[Check], Check]:
    """Declare what the function checks."""

    def declared(check: Check) -> Check:
        IDENTITIES.append(Identity(name, source, reads, check, carries))
        return check

    return declared


def row_of(day: date, rows: Rows, what: str, *keys: str) -> Callable[[int], str]:
    """Names a row by its key."""

    def named(index: int) -> str:
        at = " ".join(str(rows.table[key][index]) for key in keys)
        return f"{day} {at} {what}"

    return named
