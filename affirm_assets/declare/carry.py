"""What a dataset takes over from one partition to the next, declared once.

Belongs here: what may be said of it. Does not: the audits that compare (affirm_assets.audits.carry).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affirm_assets.declare.inputs import Input, Later, Previous, SameWindow

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PREVIOUS_PARTITION = "previous_partition"
"""What a transform or audit names so is the dataset's own partition before the window."""

LATER_PARTITIONS = "later_partitions"
"""What an audit names so are the dataset's own partitions after the window."""

OPENS_AS_CLOSED, NEXT_DAY_OPENS_AS_CLOSED = CARRY_AUDITS = ("opens_as_closed", "next_day_opens_as_closed")
"""The audits of a dataset with a carry=."""


@dataclass(frozen=True)
class Carry:
    """Each partition opens as the one before it closed.

    columns: opening column -> closing column. kept: columns that a row takes over as they are. What names a row is the
    contract's key without the partition column.

        @dataset(Balance, partitions=Daily("as_of"), carry=Carry({"opening": "closing"}, kept=("product",)), ...)
        def balances(previous_partition: DataFrame, payments: DataFrame) -> DataFrame: ...

    The dataset then has `previous_partition` to go on from; two blocking audits, which compare each partition with the
    one before, and the next that is published with the window's last; and no window after a partition that was never
    published.

    opens, closes: where the table's rows do not have these columns as they are, a function of rows that returns them
    with the keys, the partition column, the kept columns and the openings, or the closings. An opening is to have its
    closing's type, so cast what is computed: a sum of amounts has more digits, and then the step runs on Spark, since
    Sail refuses to compare them. Further parameters of `opens` name datasets, read for the partitions that its rows are
    of.
    """

    columns: Mapping[str, str]
    kept: tuple[str, ...] = ()
    opens: "Callable[..., DataFrame] | None" = None
    closes: "Callable[[DataFrame], DataFrame] | None" = None

    @property
    def others(self) -> tuple[str, ...]:
        """The datasets that `opens` reads."""
        return tuple(inspect.signature(self.opens).parameters)[1:] if self.opens else ()

    def inputs(self, dataset: str) -> Mapping[str, Input]:
        """What a dataset of this name reads to carry on, and to be compared with what went on from it."""
        return {
            PREVIOUS_PARTITION: Previous(1, dataset),
            LATER_PARTITIONS: Later(dataset),
            **{name: SameWindow(name) for name in self.others},
            **{next_of(name): Later(name, 1) for name in self.others},
        }


def next_of(dataset: str) -> str:
    """The parameter for another dataset's partition after the window."""
    return f"next_{dataset}"
