"""An identity, and what became of it: how much was compared, and what is not as it should be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa

from affirm_assets.auditor.verify.rows import Bools, Ints, as_amount, as_date, summed, together

_MOST_SHOWN = 5

CENTS, EXACT, COUNT, DAY = 2, 8, 0, -1
"""How a number is shown: with so many places, or as a date."""


@dataclass(frozen=True)
class Wrong:
    """One thing that is not as it should be."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


@dataclass
class Tally:
    """Of one identity over all days. `totals`: what it carries from day to day."""

    compared: int = 0
    failed: int = 0
    shown: list[Wrong] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)

    def count(self, compared: int) -> None:
        self.compared += compared

    def wrong(self, where: str, expected: object, found: object) -> None:
        self.failed += 1
        if len(self.shown) < _MOST_SHOWN:
            self.shown.append(Wrong(where, str(expected), str(found)))

    def same(self, where: str, expected: object, found: object) -> None:
        self.compared += 1
        if expected != found:
            self.wrong(where, expected, found)

    def amount(self, where: str, expected: int, found: int) -> None:
        """Two sums of cents."""
        self.same(where, as_amount(expected, CENTS), as_amount(found, CENTS))

    def rows(
        self,
        where: Callable[[int], str],
        expected: Ints,
        found: Ints,
        *,
        places: int = CENTS,
        only: Bools | None = None,
    ) -> None:
        """Row by row. `where` names the row of an index."""
        differs = expected != found
        if only is not None:
            differs &= only
        self.compared += len(expected) if only is None else int(only.sum())
        at = np.flatnonzero(differs)
        named = at[: _MOST_SHOWN - len(self.shown)]
        for index in named:
            self.wrong(where(int(index)), *(shown(int(each[index]), places) for each in (expected, found)))
        self.failed += len(at) - len(named)

    def tables(
        self,
        day: date | None,
        what: str,
        expected: pa.Table,
        found: pa.Table,
        by: Sequence[str],
        places: Mapping[str, int],
    ) -> None:
        """Two tables of the same keys and numbers, added up by key: each number of each key, and how many rows it has.

        `places`: the numbers, and how each is shown.
        """
        names = list(places)
        sides = [_side(expected, by, names, "e"), _side(found, by, names, "f")]
        both = summed(together(sides), by, [f"{side}_{name}" for side in "ef" for name in names])
        self.compared += both.num_rows
        keys = [both[name] for name in by]
        for name in names:
            left, right = (both[f"{side}_{name}"].to_numpy() for side in "ef")
            for index in np.flatnonzero(left != right):
                at = " ".join(str(key[int(index)]) for key in keys)
                where = f"{'' if day is None else f'{day} '}{what}{f' {at}' if at else ''} {name}"
                self.wrong(where, *(shown(int(each[index]), places[name]) for each in (left, right)))


def shown(value: int, places: int) -> str:
    return as_date(value) if places == DAY else as_amount(value, places)


def _side(table: pa.Table, by: Sequence[str], names: Sequence[str], side: str) -> pa.Table:
    zeros = np.zeros(table.num_rows, dtype=np.int64)
    other = "f" if side == "e" else "e"
    return pa.table(
        {
            **{name: table[name].cast(pa.string()) for name in by},
            **{f"{side}_{name}": table[name] for name in names},
            **{f"{other}_{name}": zeros for name in names},
        }
    )
