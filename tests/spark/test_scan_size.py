"""A step's inputs are pinned and measured before there is Spark; how, is in tests/unit/test_scan_size.py."""

from datetime import date, timedelta
from decimal import Decimal

from pyspark.sql import DataFrame, SparkSession

from affirm_assets.declare.contract import Contract, Money, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.request import Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.scan_size import ScanSize
from tests.conftest import declare
from tests.storage import NewStorage, OneEngine, Steps

D1, D2, D3 = (date(2025, 1, day) for day in range(1, 4))


class Amount(Contract):
    """An amount."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount")


def source(rows_a_day: int) -> Dataset:
    def amounts(window: Window) -> DataFrame:
        days = [window.first + timedelta(days=n) for n in range((window.last - window.first).days + 1)]
        rows = [(f"{day}/{n}", day, Decimal(n)) for day in days for n in range(rows_a_day)]
        return SparkSession.active().createDataFrame(rows, spark_schema(Amount))

    return declare(amounts, Amount, Daily("day"))


def copies(amounts: DataFrame) -> DataFrame:
    return amounts


def test_inputs_are_pinned_and_measured_before_an_engine_is_asked_for(steps: Steps, new_storage: NewStorage) -> None:
    """What is published while the session starts is neither read nor counted."""
    steps.run(source(1), Window(D1, D3))
    steps.run(source(1000), Window(D2, D2), run="again")
    storage = new_storage()
    files = [each.file for each in storage.catalog.load_table("tests.amounts").scan("day = '2025-01-02'").plan_files()]

    def opens() -> Engine:
        steps.run(source(2), Window(D2, D2), run="later")
        return storage.opens()

    reader = declare(copies, Amount, Daily("day"), inputs={"amounts": SameWindow("amounts")})
    upstream, engines = {"amounts": source(1)}, OneEngine(opens)
    result = run_step(reader, upstream, Window(D2, D2), Run("run", "run"), "v1", storage, engines)
    assert engines.sizes == [ScanSize(sum(each.file_size_in_bytes for each in files), len(files))]
    assert result.rows == {D2: 1000}
