"""What readers of the branch `closed` of several tables are given, where the catalog hands out one after another."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from affirm_assets.errors import DatesDiffer
from affirm_assets.orchestration import closed_date
from affirm_assets.orchestration.closed_date import CLOSED, CLOSED_DATE, load_closed
from affirm_assets.steps.tables import main_snapshot
from affirm_assets.steps.together import set_properties, set_ref
from resources.iceberg import IcebergCatalog

NAMES = ["lake.first", "lake.second"]
DAY = "2025-01-31"


@pytest.fixture
def lake(tmp_path: Path) -> Catalog:
    catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse").load()
    catalog.create_namespace("lake")
    for name in NAMES:
        catalog.create_table(name, pa.schema([("number", pa.int32())]))
    publish_and_close(catalog)
    return catalog


def publish_and_close(catalog: Catalog, day: str = DAY, names: Collection[str] = NAMES) -> None:
    for name in names:
        catalog.load_table(name).append(pa.table({"number": pa.array([1], pa.int32())}))
        table = catalog.load_table(name)
        head = main_snapshot(table)
        assert head
        table._do_commit((set_ref(CLOSED, "branch", head), set_properties({CLOSED_DATE: day})), ())


def heads(tables: Mapping[str, Table]) -> dict[str, int]:
    return {name: each.metadata.refs[CLOSED].snapshot_id for name, each in tables.items()}


def test_branches_that_move_while_they_are_looked_at_are_looked_at_again(
    lake: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the date is the same: a day of it was published again, and the date closed anew."""
    looks: list[dict[str, int]] = []

    def one_after_another(catalog: Catalog, names: Collection[str]) -> Mapping[str, Table]:
        first, second = names
        found = {first: catalog.load_table(first)}
        if not looks:
            publish_and_close(catalog)
        found[second] = catalog.load_table(second)
        looks.append(heads(found))
        return found

    monkeypatch.setattr(closed_date, "load_together", one_after_another)
    found = heads(load_closed(lake, NAMES))
    assert found == heads({name: lake.load_table(name) for name in NAMES})
    assert looks[0][NAMES[0]] != found[NAMES[0]]
    assert looks[0][NAMES[1]] == found[NAMES[1]]


def test_two_dates_are_refused(lake: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_date, "_TRIES", 3)
    publish_and_close(lake, "2025-02-01", NAMES[:1])
    with pytest.raises(
        DatesDiffer, match=r"found 2025-02-01 in lake\.first; 2025-01-31 in lake\.second\. The close of"
    ):
        load_closed(lake, NAMES)


def test_a_table_without_the_branch_is_named(lake: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_date, "_TRIES", 3)
    with pytest.raises(DatesDiffer, match=r"none in lake\.third"):
        load_closed(lake, [*NAMES, "lake.third"])
