"""Rows as a table of Dagster's, for people."""

from collections.abc import Mapping, Sequence

import dagster as dg


def table_of(rows: Sequence[Mapping[str, str | None]]) -> dg.TableMetadataValue:
    """One row or more, of which each has the columns of the first. What is null is shown as nothing."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: "" if value is None else value for name, value in row.items()}) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in rows[0]]),
    )
