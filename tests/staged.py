"""Files of a table written by PyArrow, as an engine stages them, where no engine is needed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.table import Table

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Input
from affirm_assets.declare.partitions import Daily, Partitions, Window
from affirm_assets.steps.engine import Staged
from affirm_assets.steps.publish import publish
from affirm_assets.steps.published import Publication
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)

Row = tuple[str, date, str]


class Amount(Contract):
    """An amount of a day."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount", ge=0)


def amounts(
    partitions: Partitions | None = Daily("day"),  # noqa: B008  (frozen)
    inputs: Mapping[str, Input] | None = None,
    name: str = "amounts",
) -> Dataset:
    """A dataset that is never computed."""
    return Dataset(
        name=name,
        domain="tests",
        contract=Amount,
        partitions=partitions,
        inputs=inputs or {},
        function=_never,
        owner="team:tests",
        description="",
        source=Path(__file__),
    )


def stage(table: Table, rows: Sequence[Row]) -> Staged:
    """Data files by partition; the schema is that of `Amount`."""
    typed = [{"id": name, "day": day, "amount": Decimal(amount)} for name, day, amount in rows]
    schema = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("day", pa.date32(), nullable=False),
            pa.field("amount", pa.decimal128(18, 2), nullable=False),
        ]
    )
    arrow = pa.Table.from_pylist(typed, schema=schema)
    files = tuple(_dataframe_to_data_files(table.metadata, arrow, table.io)) if rows else ()
    for each in files:
        each.spec_id = table.spec().spec_id
    return Staged(files, len(rows), {"amount": sum((each["amount"] for each in typed), Decimal(0))})


def request_of(
    dataset: Dataset, window: Window | None, storage: Storage, run: str = "run", root: str | None = None
) -> Request:
    table = ensure_table(storage.catalog, dataset)
    return pin(dataset, {}, window, Run(run, root or run), "v1", storage, table).request


def publish_rows(
    dataset: Dataset,
    window: Window | None,
    rows: Sequence[Row],
    storage: Storage,
    *,
    run: str = "run",
    root: str | None = None,
    base: int | None = 0,
    now: datetime = NOW,
    meanwhile: Callable[[], object] = lambda: None,
    **options: Any,
) -> Publication:
    """Pin, stage and publish; `meanwhile` is between the pin and the publish; `base` is another than the pinned."""
    request = request_of(dataset, window, storage, run, root)
    if base != 0:
        request = replace(request, base=base)
    staged = stage(storage.catalog.load_table(dataset.table), rows)
    meanwhile()
    return publish(dataset, request, staged, (), storage, now, **options)


def rows_of(table: Table) -> list[str]:
    """The ids that a reader of main sees, in order."""
    return sorted(table.scan(selected_fields=("id",)).to_arrow().column("id").to_pylist())


def days(*numbers: int) -> Iterable[date]:
    return (date(2025, 1, number) for number in numbers)


def _never() -> Any:
    raise NotImplementedError
