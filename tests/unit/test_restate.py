"""The report of a restatement: what is named by what."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

import affirm_assets.datasets
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.restate import Changed, _changes
from affirm_assets.steps.tables import ensure_table
from resources.iceberg import IcebergCatalog

REGISTRY = Registry.walk(affirm_assets.datasets)
MONTH = date(2025, 2, 1)


def changes(folder: Path, name: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Changed]:
    catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse").load()
    table = ensure_table(catalog, REGISTRY[name])
    schema = table.schema().as_arrow()
    table.append(pa.Table.from_pylist(before, schema))
    then = table.current_snapshot()
    assert then
    table.overwrite(pa.Table.from_pylist(after, schema))
    return [*_changes(REGISTRY[name], table, then.snapshot_id, MONTH, Window(MONTH, date(2025, 2, 28)))]


def rolled(to: str, principal: str) -> dict[str, Any]:
    amounts = {"principal": Decimal(principal), "opening_principal": Decimal("100.00"), "rate": Decimal(1), "loans": 1}
    return {"month": MONTH, "product": "installment", "from_bucket": "current", "to_bucket": to, **amounts}


def test_what_moved_within_a_report_is_named_by_its_key(tmp_path: Path) -> None:
    """The sums of the whole table do not change."""
    found = changes(
        tmp_path,
        "roll_rates",
        [rolled("paid", "60.00"), rolled("1-29", "40.00")],
        [rolled("paid", "50.00"), rolled("1-29", "50.00")],
    )
    assert [(each.of, each.name, each.column, each.before, each.after) for each in found] == [
        ("key", "installment current 1-29", "principal", Decimal("40.00"), Decimal("50.00")),
        ("key", "installment current paid", "principal", Decimal("60.00"), Decimal("50.00")),
    ]


def settled(merchant: str, closing: str) -> dict[str, Any]:
    nothing = Decimal("0.00")
    money = ("opening", "purchases", "discount", "refunds", "refunds_reversed", "discount_returned", "payouts")
    amounts = {**dict.fromkeys(money, nothing), "reassigned": nothing, "closing": Decimal(closing)}
    return {"merchant_id": merchant, "as_of": MONTH, **amounts}


def test_what_moved_from_one_merchant_to_another_is_named_by_both(tmp_path: Path) -> None:
    found = changes(
        tmp_path,
        "merchant_settlements",
        [settled("hats", "5.00"), settled("shoes", "7.00")],
        [settled("hats", "4.00"), settled("shoes", "8.00")],
    )
    assert [(each.of, each.name, each.column, each.after - each.before) for each in found] == [
        ("merchant", "hats", "closing", Decimal("-1.00")),
        ("merchant", "shoes", "closing", Decimal("1.00")),
    ]
