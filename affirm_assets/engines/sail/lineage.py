"""Which table columns each column of a frame is computed from, told by the check of its Connect plan.

The same rules as for Spark (engines.spark.lineage): of a value counts all that its expression names, the condition of a
CASE too; what only filters, joins, groups or orders does not. The checker resolves every name anyway, so it carries
along what each is made of (plan.Sources); here is what it knows of the leaves, and what it says of the columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from affirm_assets.engines.sail import plan, sql
from affirm_assets.engines.sail.plan import Columns, Message
from affirm_assets.steps.lineage import ColumnRef


@dataclass(frozen=True)
class Leaves:
    """What is known of the Parquet files that plans read by name; both mappings may grow.

    tables: path -> the table that it is of. kept: path -> the columns of the frame that was kept there.
    """

    tables: Mapping[str, str]
    kept: Mapping[str, Columns]

    def __call__(self, leaf: Message) -> Columns | None:
        """The leaf's columns, with the table's or the kept frame's lineage. None if it is not of these paths."""
        paths = list(leaf.read.data_source.paths) if leaf.WhichOneof("rel_type") == "read" else []
        if len(paths) == 1 and paths[0] in self.kept:
            return self.kept[paths[0]]
        tables = {self.tables.get(path) for path in paths}
        if len(tables) != 1 or None in tables:
            return None
        return plan.columns_of(sql.schema_of(leaf.read.data_source.schema), tables.pop())


def column_lineage(columns: Columns) -> Mapping[str, frozenset[ColumnRef]]:
    """For each column, the table columns that its value is computed from. Columns of one name are taken together."""
    lineage: dict[str, frozenset[ColumnRef]] = {}
    for each in columns:
        if each.name is not None:
            lineage[each.name] = lineage.get(each.name, frozenset()) | each.sources.columns
    return lineage
