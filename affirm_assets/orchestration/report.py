"""A step's result in Dagster's terms: materialization metadata and check results."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import CONTRACT, Dataset
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.steps.audit import AuditSpec, Outcome, audit_specs
from affirm_assets.steps.run import Result


def materialization(dataset: Dataset, result: Result, compute: Mapping[str, Any]) -> dg.MaterializeResult[Any]:
    """Dagster's standard keys, what the step measured, and what it computed with."""
    return dg.MaterializeResult(
        asset_key=asset_key(dataset),
        data_version=dg.DataVersion(str(result.snapshot)),
        metadata={
            "dagster/row_count": result.total_rows,
            "dagster/uri": result.location,
            **(_of_columns(dataset, result) if None in result.rows else {}),
            "snapshot": str(result.snapshot),
            "already_published": result.already_published,
            "window": result.request.window_text,
            "rows": sum(result.rows.values()),
            "added_files": result.added_files,
            "added_bytes": result.added_bytes,
            "partitions_touched": result.partitions_touched,
            "seconds": dg.MetadataValue.json({name: round(value, 3) for name, value in result.seconds.items()}),
            "input_snapshots": dg.MetadataValue.json(
                {k: v and str(v) for k, v in {**result.request.inputs, **result.request.beside}.items()}
            ),
            "files_read": len(result.request.files),
            **({"engine": result.engine} if result.engine else {}),
            **compute,
        },
    )


def partition_metadata(dataset: Dataset, result: Result) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each partition's own row count; with the last one, which Dagster shows as the latest, what the columns are.

    That is long: with each partition of a range, storing it would take longer than the step.
    """
    starts = [start for start in result.rows if start is not None]
    for start in starts:
        of_columns = _of_columns(dataset, result) if start == starts[-1] else {}
        yield start.isoformat(), {"dagster/partition_row_count": result.rows[start], **of_columns}


def check_specs(dataset: Dataset) -> Iterator[dg.AssetCheckSpec]:
    """A check for each audit, but one for all that are of single rows: they are many, and rarely what fails."""
    specs = audit_specs(dataset)
    shown = f"what each row may hold: {sum(each.of_rows for each in specs)} constraints of {dataset.contract.__name__}"
    for each in (AuditSpec(CONTRACT, shown), *(each for each in specs if not each.of_rows)):
        yield dg.AssetCheckSpec(
            each.name, asset=asset_key(dataset), description=each.description, blocking=each.blocking
        )


def check_results(dataset: Dataset, outcomes: Sequence[Outcome]) -> Iterator[dg.AssetCheckResult]:
    """As check_specs has them."""
    of_rows = [each for each in outcomes if each.of_rows]
    if of_rows:
        yield dg.AssetCheckResult(
            check_name=CONTRACT,
            asset_key=asset_key(dataset),
            passed=all(each.passed for each in of_rows),
            metadata={
                "checked": max(each.checked for each in of_rows),
                "failed": sum(each.failed for each in of_rows),
                "constraints": _constraints(of_rows),
            },
        )
    yield from (_check_result(dataset, each) for each in outcomes if not each.of_rows)


def _constraints(outcomes: Iterable[Outcome]) -> dg.TableMetadataValue:
    """What is broken first."""
    return _table(
        [
            {
                "constraint": each.name,
                "rule": each.description,
                "failed": str(each.failed),
                "keys": "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in each.sample),
            }
            for each in sorted(outcomes, key=lambda each: each.passed)
        ]
    )


def _check_result(dataset: Dataset, outcome: Outcome) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key=asset_key(dataset),
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.ERROR if outcome.blocking else dg.AssetCheckSeverity.WARN,
        description=outcome.description,
        metadata={
            "checked": outcome.checked,
            "failed": outcome.failed,
            **({"totals": dg.MetadataValue.json(dict(outcome.totals))} if outcome.totals else {}),
            **({"sample": _table(outcome.sample)} if outcome.sample else {}),
        },
    )


def _of_columns(dataset: Dataset, result: Result) -> dict[str, Any]:
    return {
        "schema": dg.MetadataValue.text(spark_schema(dataset.contract).simpleString()),
        **({"dagster/column_lineage": _column_lineage(result)} if any(result.lineage.values()) else {}),
    }


def _column_lineage(result: Result) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(each.table.split(".")), each.column) for each in sorted(columns)]
            for name, columns in result.lineage.items()
            if columns
        }
    )


def _table(rows: Sequence[Mapping[str, str | None]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[dg.TableRecord({k: "" if v is None else v for k, v in row.items()}) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in rows[0]]),
    )
