"""What the demo shows of its runs: the datasets, and the books of a day."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from pyiceberg.catalog import Catalog
from rich.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.runs import Materialized


def datasets_table(datasets: Sequence[Dataset], found: Mapping[str, Materialized]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("dataset")
    for title in ("rows", "partitions", "snapshot", "audits passed", "seconds"):
        table.add_column(title, justify="right")
    for item in datasets:
        row = found[item.name]
        table.add_row(
            str(item),
            f"{row.rows:,}",
            f"{row.partitions}",
            row.snapshot,
            f"{row.audits_passed} of {row.audits}",
            f"{row.seconds:.1f}",
        )
    return table


def trial_balance(catalog: Catalog, dataset: Dataset, day: date) -> Table:
    """The accounts of the ledger at the end of a day; credits are negative, so the closings add up to zero."""
    table = Table(box=None, pad_edge=False)
    table.add_column("account")
    amounts = ("opening", "debits", "credits", "closing")
    for name in amounts:
        table.add_column(name, justify="right")
    rows = catalog.load_table(dataset.table).scan(f"as_of = '{day}'").to_arrow().to_pylist()
    for row in sorted(rows, key=lambda row: str(row["account"])):
        table.add_row(row["account"], *(f"{row[name]:,}" for name in amounts))
    totals = [sum((row[name] for row in rows), Decimal(0)) for name in amounts]
    table.add_row("total", *(f"{total:,}" for total in totals))
    return table
