"""What Spark reads and writes: no more files than it needs, what another engine has published, what Sail may not."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.transforms import BucketTransform
from pyspark.sql import DataFrame

from affirm_assets.declare.inputs import previous, through
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import NotPlain
from affirm_assets.settings import SAIL, SPARK
from affirm_assets.steps.request import Run, pin
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.conftest import opens_engine
from tests.steps.amounts import D1, D2, D3, D4, amounts_of, downstream, noted, one
from tests.steps.test_tables import in_a_folder
from tests.storage import NewStorage, Steps, StorageWithEngine


def scanned_files(read: DataFrame) -> int:
    """How many data files Iceberg's plan of the scan holds, after pruning."""
    execution: Any = read._jdf.queryExecution()  # type: ignore[operator]
    execution.toRdd().count()
    return int(execution.executedPlan().collectLeaves().head().metrics().apply("resultDataFiles").value())


def test_only_the_files_of_the_window_are_read(steps: Steps, new_storage: NewStorage) -> None:
    source = amounts_of(*((f"id{day}", date(2025, 1, day), "1.00") for day in range(1, 11)))
    steps.run(source, Window(D1, date(2025, 1, 10)))
    reads = {
        "same window": (downstream(), 2),
        "previous": (downstream({"amounts": previous(1, "amounts")}), 1),
        "through": (downstream({"amounts": through("amounts")}), 4),
    }
    storage = new_storage()
    for name, (dataset, files) in reads.items():
        pinned = pin(dataset, {"amounts": source}, Window(D3, D4), Run("r", "r"), "v1", storage)
        read = storage.frames(dataset, {"amounts": source}, pinned).call(dataset.function)
        assert scanned_files(read) == files, name


@pytest.mark.parametrize("publisher", [SAIL, SPARK])
def test_spark_reads_what_an_engine_has_published(
    publisher: str, catalog: IcebergCatalog, request: pytest.FixtureRequest, storage: StorageWithEngine
) -> None:
    opens = opens_engine(publisher, catalog.spark_conf(), request)
    steps = Steps(lambda: StorageWithEngine(catalog.load(), LandingZone(""), opens=opens))
    amounts = amounts_of(("a", D1, "1.10"), ("b", D2, "922337203685477.58"))
    steps.run(amounts, Window(D1, D2))
    steps.run(amounts, Window(D1, D2), run="second")
    found = storage.spark.table("lake.tests.amounts").orderBy("id").collect()
    assert [tuple(row) for row in found] == steps.rows(amounts)


def test_properties_and_partition_fields_of_others_stay(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    table = new_storage().catalog.load_table("tests.amounts")
    with table.transaction() as change:
        change.set_properties({"owner": "somebody", "write.parquet.compression-codec": "gzip"})
    with table.update_spec() as update:
        update.add_field("id", BucketTransform(2), "id_bucket")
    properties, spec = table.properties, table.spec()
    steps.run(noted(), one(D2), run="second")
    steps.run(noted(note="again"), Window(D1, D2), run="third")
    after = new_storage().catalog.load_table("tests.amounts")
    assert {k: v for k, v in after.properties.items() if k in properties and not k.startswith("affirm.")} == {
        k: v for k, v in properties.items() if not k.startswith("affirm.")
    }
    assert after.spec() == spec
    assert [row[3] for row in steps.rows(noted())] == ["again"]


def test_a_folder_whose_name_means_something_else_to_sail(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = tmp_path / "[a]{b}*"
    amounts = amounts_of(("a", D1, "1.10"))
    with pytest.raises(NotPlain, match="its name has characters that mean something else"):
        in_a_folder(folder, SAIL, request)[0].run(amounts, one(D1))
    steps, catalog = in_a_folder(folder, SPARK, request)
    steps.run(amounts, one(D1))
    assert steps.rows(amounts) == [("a", D1, Decimal("1.10"))]
    assert catalog.load().load_table("tests.amounts").scan().to_arrow().num_rows == 1
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
