"""Whether the demo sees that rows are others than before. Real tables, no engine."""

from datetime import date
from pathlib import Path

import pytest

from affirm_assets.declare.partitions import Window
from affirm_assets.demo.compare import Comparison
from affirm_assets.steps.storage import Storage
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.staged import amounts, publish_rows

D1 = date(2025, 1, 1)
AMOUNTS = amounts()
ROWS = [("a", D1, "1.00"), ("b", D1, "2.00")]


@pytest.fixture
def storage(catalog: IcebergCatalog, tmp_path: Path) -> Storage:
    return Storage(catalog.load(), LandingZone(str(tmp_path / "landing")))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (list(reversed(ROWS)), "The same rows as before this run, in all 1 datasets."),
        ([("a", D1, "1.00"), ("b", D1, "2.01")], f"Other rows than before this run in: {AMOUNTS.name}."),
        (ROWS[:1], f"Other rows than before this run in: {AMOUNTS.name}."),
        ([], f"Other rows than before this run in: {AMOUNTS.name}."),
    ],
    ids=["another order", "a cent", "a row less", "no rows"],
)
def test_rows_are_compared_with_those_of_before(storage: Storage, now: list[tuple[str, date, str]], said: str) -> None:
    publish_rows(AMOUNTS, Window(D1, D1), ROWS, storage)
    comparison = Comparison(storage.catalog, [AMOUNTS])
    publish_rows(AMOUNTS, Window(D1, D1), now, storage, run="second")
    comparison.look_again()
    assert comparison.said() == said


def test_the_first_run_of_a_lake_has_nothing_to_compare(storage: Storage) -> None:
    comparison = Comparison(storage.catalog, [AMOUNTS])
    publish_rows(AMOUNTS, Window(D1, D1), ROWS, storage)
    comparison.look_again()
    assert comparison.said().startswith("The first run of this lake;")
