"""A step that begins on Sail and is computed by Spark, with both at work."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset, audit
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.errors import UnfitForEngine
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import Result, run_step
from affirm_assets.steps.scan_size import ScanSize
from affirm_assets.steps.storage import Storage
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import SparkSessions
from tests.conftest import declare

D1 = date(2025, 1, 1)


class Amount(Contract):
    """An amount of a day."""

    day: date = key("Business date")
    id: str = key("Id")
    amount: Money = column("Amount")
    units: int = column("Units")


@audit()
def ids_are_lower_case(staged: DataFrame) -> DataFrame:
    """What `lower` makes of an id is not proven for Sail."""
    return staged.select("day", "id", (F.lower("id") == F.col("id")).alias("ok"))


@audit(blocking=False)
def shares_are_positive(staged: DataFrame) -> DataFrame:
    """Spark divides only where the divisor is not zero; Sail fails, since it divides all."""
    return staged.select("day", "id", F.expr("units <> 0 AND amount / units > 0").alias("ok"))


def amounts() -> DataFrame:
    rows = [(D1, "a", Decimal("1.10"), 1), (D1, "b", Decimal("2.20"), 0)]
    return SparkSession.active().createDataFrame(rows, spark_schema(Amount))


@dataclass
class SailThenSpark:
    """As the platform's own: Spark, where Sail is not fit for a step."""

    spark: Callable[[], Engine]
    error: str = ""

    def open(self, _dataset: Dataset, _window: Window | None, _scan: ScanSize) -> Engine:
        return SailEngine(SailSessions().open, "small")

    def instead(self, _dataset: Dataset, _window: Window | None, _scan: ScanSize, error: UnfitForEngine) -> Engine:
        self.error = str(error)
        return self.spark()


@pytest.fixture
def run(catalog: IcebergCatalog, tmp_path: Path, sessions: SparkSessions) -> Callable[[Dataset], tuple[Result, str]]:
    storage = Storage(catalog.load(), LandingZone(str(tmp_path / "landing")), catalog.name)
    runs = count()
    session = partial(sessions.session, {**catalog.spark_conf(), **RESULT_SETTINGS})

    def run(dataset: Dataset) -> tuple[Result, str]:
        name = f"run{next(runs)}"
        engines = SailThenSpark(lambda: SparkEngine(session(), catalog.name, "sail was not fit for it"))
        result = run_step(dataset, {}, Window(D1, D1), Run(name, name), "v1", storage, engines)
        return result, engines.error

    return run


def test_an_audit_that_is_not_proven_is_found_before_sail_computes_anything(
    run: Callable[[Dataset], tuple[Result, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SailEngine, "stage", lambda *_: pytest.fail("computed on Sail"))
    result, error = run(declare(amounts, Amount, Daily("day"), audits=(ids_are_lower_case,)))
    assert "lower" in error
    assert result.engine == "spark: sail was not fit for it"
    assert result.total_rows == 2


def test_an_audit_that_fails_on_sail_alone_leaves_no_file_of_sail_s(
    run: Callable[[Dataset], tuple[Result, str]], catalog: IcebergCatalog, tmp_path: Path
) -> None:
    result, error = run(declare(amounts, Amount, Daily("day"), audits=(shares_are_positive,)))
    assert "[DIVIDE_BY_ZERO] 2.20 / 0" in error
    assert result.engine == "spark: sail was not fit for it"
    assert result.total_rows == 2
    table = catalog.load().load_table("tests.amounts")
    read = {Path(task.file.file_path).name for task in table.scan().plan_files()}
    assert read == {each.name for each in (tmp_path / "warehouse").rglob("*.parquet")}
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == ["a", "b"]


def test_files_are_parquet_whatever_others_have_made_the_table_s_default(
    run: Callable[[Dataset], tuple[Result, str]], catalog: IcebergCatalog
) -> None:
    dataset = declare(amounts, Amount, Daily("day"))
    run(dataset)
    with catalog.load().load_table(dataset.table).transaction() as change:
        change.set_properties({"write.format.default": "orc"})
    result, error = run(dataset)
    assert "its files are to be orc" in error
    assert (result.engine, result.total_rows) == ("spark: sail was not fit for it", 2)
    formats = {task.file.file_format for task in catalog.load().load_table(dataset.table).scan().plan_files()}
    assert {str(each).rpartition(".")[2] for each in formats} == {"PARQUET"}
