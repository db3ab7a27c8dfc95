"""The table of a step: its columns, its properties, what its snapshots say and who else reads it."""

import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.errors import (
    SchemaChangeRefused,
    TableNotStageable,
    WindowRefused,
    WrongColumns,
    WrongSession,
)
from affirm_assets.settings import Settings
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.conftest import declare, opens_engine
from tests.steps.amounts import (
    D1,
    D2,
    Amount,
    amounts_of,
    downstream,
    frame,
    noted,
    one,
)
from tests.storage import NewStorage, Steps, StorageWithEngine


def test_wrong_columns_are_named_and_nothing_is_staged(steps: Steps, new_storage: NewStorage) -> None:
    def amounts() -> DataFrame:
        return frame(("a", D1, "1.00")).select("id", F.col("day").cast("string").alias("day"), F.lit(1).alias("extra"))

    with pytest.raises(WrongColumns) as caught:
        steps.run(declare(amounts, Amount, Daily("day")), one(D1))
    for part in (
        "missing column amount (decimal(18,2))",
        "extra column extra (int)",
        "column day: expected date, found string",
    ):
        assert part in str(caught.value)
    assert new_storage().catalog.load_table("tests.amounts").metadata.snapshots == []


def test_a_result_of_another_session_is_refused_before_it_is_written(steps: Steps, new_storage: NewStorage) -> None:
    """Its session knows no wap.id: the write would be seen by readers at once."""

    def amounts() -> DataFrame:
        return new_storage().spark.createDataFrame(frame(("a", D1, "1.00")).collect(), spark_schema(Amount))

    with pytest.raises(WrongSession, match=r"SparkSession\.active\(\)"):
        steps.run(declare(amounts, Amount, Daily("day")), one(D1))
    assert new_storage().catalog.load_table("tests.amounts").metadata.snapshots == []


@pytest.mark.parametrize(
    ("dataset", "window", "message"),
    [
        pytest.param(amounts_of(), None, "expected a window, found none", id="no window"),
        pytest.param(amounts_of(ranges=False), Window(D1, D2), "one partition at a time", id="range"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(steps: Steps, dataset: Dataset, window: Window, message: str) -> None:
    with pytest.raises(WindowRefused, match=message):
        steps.run(dataset, window)


def test_a_new_nullable_column_evolves_the_table(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    steps.run(noted(), one(D2), run="second")
    assert steps.rows(noted()) == [("a", D1, Decimal("1.00"), None), ("n", D2, Decimal("2.00"), "hello")]


def test_an_incompatible_contract_is_refused_with_the_difference(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(noted(), one(D2))
    before = new_storage().catalog.load_table("tests.amounts").metadata
    with pytest.raises(SchemaChangeRefused, match=r"note.*not in the contract: dropped or renamed"):
        steps.run(amounts_of(("a", D1, "1.00")), one(D1), run="second")
    assert new_storage().catalog.load_table("tests.amounts").metadata == before


def test_properties_of_others_stay(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    table = new_storage().catalog.load_table("tests.amounts")
    with table.transaction() as change:
        change.set_properties({"owner": "somebody", "write.parquet.compression-codec": "gzip"})
    properties = table.properties
    steps.run(noted(), one(D2), run="second")
    steps.run(noted(note="again"), Window(D1, D2), run="third")
    after = new_storage().catalog.load_table("tests.amounts")
    assert {k: v for k, v in after.properties.items() if k in properties and not k.startswith("affirm.")} == {
        k: v for k, v in properties.items() if not k.startswith("affirm.")
    }
    assert [row[3] for row in steps.rows(noted())] == ["again"]


def test_a_table_without_staging_is_refused(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    with new_storage().catalog.load_table("tests.amounts").transaction() as change:
        change.set_properties({"write.wap.enabled": "false"})
    with pytest.raises(TableNotStageable, match=r"write\.wap\.enabled=true, found false"):
        steps.run(amounts_of(("b", D1, "1.00")), one(D1), run="second")


def test_a_table_that_lost_its_partition_field_is_refused(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    with new_storage().catalog.load_table("tests.amounts").update_spec() as update:
        update.remove_field("day")
    with pytest.raises(TableNotStageable, match="expected the partition field day"):
        steps.run(amounts_of(("b", D1, "1.00")), one(D1), run="second")


def test_other_engines_read_the_same_rows(steps: Steps, new_storage: NewStorage) -> None:
    amounts = amounts_of(("a", D1, "1.10"), ("b", D2, "922337203685477.58"))
    steps.run(amounts, Window(D1, D2))
    steps.run(amounts, Window(D1, D2), run="second")
    expected = steps.rows(amounts)
    arrow = new_storage().catalog.load_table("tests.amounts").scan().to_arrow()  # noqa: F841  (DuckDB finds it)
    assert duckdb.sql("SELECT * FROM arrow ORDER BY id").fetchall() == expected


def in_a_folder(folder: Path, engine: str, request: pytest.FixtureRequest) -> tuple[Steps, IcebergCatalog]:
    settings = Settings.of({"AFFIRM_LAKE": str(folder)})
    catalog = IcebergCatalog(uri=settings.catalog_uri, warehouse=settings.warehouse)
    opens = opens_engine(engine, catalog.spark_conf(), request)
    return Steps(lambda: StorageWithEngine(catalog.load(), LandingZone(""), opens=opens)), catalog


@pytest.mark.parametrize("name", ["a blank", "ü'é", "a:b&c=d;e"])
def test_a_lake_may_lie_in_a_folder_of_any_name_but_those_refused(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    steps, catalog = in_a_folder(tmp_path / name, engine, request)
    amounts = amounts_of(("a", D1, "1.10"))
    steps.run(amounts, one(D1))
    assert steps.rows(amounts) == [("a", D1, Decimal("1.10"))]
    assert catalog.load().load_table("tests.amounts").scan().to_arrow().num_rows == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_snapshot_says_how_it_came_about(steps: Steps, new_storage: NewStorage) -> None:
    source = amounts_of(("a", D1, "1.00"))
    published = steps.run(source, one(D1)).snapshot
    result = steps.run(downstream(), one(D1), upstream=(source,), run="r2", root="r1")
    table = new_storage().catalog.load_table("tests.copies")
    assert [each.snapshot_id for each in table.snapshots()] == [result.snapshot]  # the staged one is gone
    summary = table.snapshot_by_id(result.snapshot).summary
    assert (summary["affirm.run-id"], summary["affirm.root-run-id"]) == ("r2", "r1")
    assert (summary["affirm.dataset"], summary["affirm.window"]) == ("tests/copies", "2025-01-01")
    assert summary["affirm.code-version"] == "v1"
    assert len(str(summary.additional_properties)) < 1_500
    report = json.loads(Path(summary["affirm.report"].removeprefix("file://")).read_text())
    assert report["request"]["inputs"] == {"amounts": published}


def test_field_ids_survive_the_round_trip_between_engines(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    schema: Schema = new_storage().catalog.load_table("tests.amounts").schema()
    assert [(f.field_id, f.name, f.required) for f in schema.fields] == [
        (1, "id", True),
        (2, "day", True),
        (3, "amount", True),
    ]
    assert schema.identifier_field_ids == [1]
    assert LongType() not in [f.field_type for f in schema.fields]
