"""A step's result in Dagster's terms: the metadata of its materializations."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from affirm_assets.declare.contract import columns, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.orchestration.row_tables import table_of
from affirm_assets.steps.run import Result

Metadata = Mapping[str, Any]


def materialization(dataset: Dataset, result: Result, compute: Metadata) -> dg.MaterializeResult[Any]:
    """What Dagster records with each partition; for a dataset without any, all that there is to say."""
    of_all = {} if _starts(result) else {**_numbers(dataset, result, None), **_of_step(dataset, result, compute)}
    return dg.MaterializeResult(
        asset_key=asset_key(dataset),
        data_version=dg.DataVersion(str(result.snapshot)),
        metadata={"snapshot": str(result.snapshot), "window": result.request.window_text, **of_all},
    )


def partition_metadata(dataset: Dataset, result: Result, compute: Metadata) -> Iterator[tuple[str, Metadata]]:
    """Each partition's own numbers; with the last one, which Dagster shows as the latest, what is of the whole step.

    That is long: with each partition of a range, storing it would take longer than the step.
    """
    starts = _starts(result)
    for start in starts:
        of_step = _of_step(dataset, result, compute) if start == starts[-1] else {}
        rows = {"dagster/partition_row_count": result.rows[start]}
        yield start.isoformat(), {**_numbers(dataset, result, start), **rows, **of_step}


def _starts(result: Result) -> list[date]:
    return [start for start in result.rows if start is not None]


def _numbers(dataset: Dataset, result: Result, start: date | None) -> dict[str, Any]:
    """What Dagster plots over time.

    It plots sums as floats only: they are to be looked at. To the cent they are in the check `control_totals`.
    """
    numbers: dict[str, Any] = {"rows": result.rows.get(start, 0)}
    if not result.already_published:
        sums = result.sums.get(start, {})
        numbers |= {f"sum/{name}": float(sums.get(name, 0)) for name in dataset.sums}
    return numbers


def _of_step(dataset: Dataset, result: Result, compute: Metadata) -> dict[str, Any]:
    measured = {
        "added_files": result.added_files,
        "added_bytes": result.added_bytes,
        "partitions_touched": result.partitions_touched,
        "files_read": len(result.request.files),
        **compute,
    }
    return {
        **({"sample": _sample(dataset, result)} if result.sample else {}),
        "dagster/row_count": result.total_rows,
        "dagster/uri": result.location,
        "already_published": result.already_published,
        # Numbers as text: they are of the step, and would be plotted as those of one partition.
        **{name: str(value) if isinstance(value, int) else value for name, value in measured.items()},
        "seconds": dg.MetadataValue.json({name: round(value, 3) for name, value in result.seconds.items()}),
        "input_snapshots": dg.MetadataValue.json(
            {k: v and str(v) for k, v in {**result.request.inputs, **result.request.beside}.items()}
        ),
        **({"engine": result.engine} if result.engine else {}),
        **({"proves": result.request.proves} if result.request.proves else {}),
        "schema": dg.MetadataValue.text(spark_schema(dataset.contract).simpleString()),
        **({"dagster/column_lineage": _column_lineage(result)} if any(result.lineage.values()) else {}),
    }


def _sample(dataset: Dataset, result: Result) -> dg.TableMetadataValue:
    """A line for each column, so that one can read it also where there are ninety."""
    names = [spec.name for spec in columns(dataset.contract)]
    numbered = list(enumerate(result.sample, start=1))
    return table_of([{"column": name, **{f"row {n}": row[name] for n, row in numbered}} for name in names])


def _column_lineage(result: Result) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(each.table.split(".")), each.column) for each in sorted(columns)]
            for name, columns in result.lineage.items()
            if columns
        }
    )
