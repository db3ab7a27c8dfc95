"""Composed relational plans on Spark with native operators: no row differs from plain Python's. More with PLANS=3000.

Joins, unions, aggregates, windows and what is between them, over Iceberg tables of several files. Batches have two
rows, so that what goes wrong between one batch and the next shows with few rows.
"""

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from pyspark.sql import DataFrame

from affirm_assets.steps.request import RESULT_SETTINGS
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions
from tests.engines.relational import Row, tables
from tests.engines.test_relational import FILES, difference, drawn, schema_of, write

PLANS = int(os.environ.get("PLANS", "100"))
JOINS = {"broadcast": "10485760", "shuffled": "-1"}
"""How, by the size in bytes up to which a side is sent to all."""

Written = tuple[Mapping[str, DataFrame], Mapping[str, list[Row]]]


@pytest.fixture(scope="module", params=JOINS)
def written(
    request: pytest.FixtureRequest, sessions: SparkSessions, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    """The tables' frames, and their rows."""
    folder, rows = tmp_path_factory.mktemp("relational"), tables(random.Random(0))
    write(rows, folder)
    catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    how = {"spark.sql.autoBroadcastJoinThreshold": JOINS[request.param], "spark.comet.batchSize": "2"}
    session = sessions.session({**catalog.spark_conf(), **RESULT_SETTINGS, **how})
    session.sql("CREATE NAMESPACE lake.tests")
    for name in rows:
        session.sql(f"CREATE TABLE lake.tests.{name} ({schema_of(name)}) USING iceberg")
        for at in range(FILES if rows[name] else 0):
            file = session.read.schema(schema_of(name)).parquet(str(Path(folder, name, f"{at}.parquet")))
            file.writeTo(f"lake.tests.{name}").append()
    return {name: session.table(f"lake.tests.{name}") for name in rows}, rows


def test_no_relational_plan_differs(written: Written) -> None:
    frames, rows = written
    differs = []
    for seed in range(PLANS):
        plan = drawn(seed, rows)
        if found := difference(plan, frames):
            differs.append((len(plan.text), seed, plan.text, found))
    assert not differs, f"{len(differs)} of {PLANS}; the shortest: {min(differs)}"


def test_a_plan_is_computed_natively(written: Written) -> None:
    frames, _ = written
    plan = frames["one"].join(frames["two"].select("k", "s"), "k").groupBy("k").agg({"m": "sum"})
    plan.collect()
    text = plan._jdf.queryExecution().executedPlan().toString()
    for node in ("CometIcebergNativeScan", "CometHashAggregate", "CometExchange"):
        assert node in text, text
    assert "CometBroadcastHashJoin" in text or "CometSortMergeJoin" in text
