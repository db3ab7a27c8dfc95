"""Composed relational plans on Spark with native operators: no row differs from plain Python's. More with PLANS=3000.

Joins, unions, aggregates, windows and what is between them, over Iceberg tables of several files. Batches have two
rows, so that what goes wrong between one batch and the next shows with few rows.
"""

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from affirm_assets.steps.request import RESULT_SETTINGS
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions
from tests.engines.relational import Relation, Row, tables
from tests.engines.test_relational import FILES, difference, drawn, schema_of, write
from tests.native.conftest import OFF

PLANS = int(os.environ.get("PLANS", "100"))
JOINS = {"broadcast": "10485760", "shuffled": "-1"}
"""How, by the size in bytes up to which a side is sent to all."""

Frames = Mapping[str, DataFrame]
Written = tuple[Frames, Frames, Mapping[str, list[Row]]]


@pytest.fixture(scope="module", params=JOINS)
def written(
    request: pytest.FixtureRequest, sessions: SparkSessions, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    """The tables' frames, the same of a session without native operators, and their rows."""
    folder, rows = tmp_path_factory.mktemp("relational"), tables(random.Random(0))
    write(rows, folder)
    catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    conf = {
        **catalog.spark_conf(),
        **RESULT_SETTINGS,
        "spark.sql.autoBroadcastJoinThreshold": JOINS[request.param],
        "spark.comet.batchSize": "2",
    }
    session, other = sessions.session(conf), sessions.session({**conf, **OFF})
    session.sql("CREATE NAMESPACE lake.tests")
    for name in rows:
        session.sql(f"CREATE TABLE lake.tests.{name} ({schema_of(name)}) USING iceberg")
        for at in range(FILES if rows[name] else 0):
            file = session.read.schema(schema_of(name)).parquet(str(Path(folder, name, f"{at}.parquet")))
            file.writeTo(f"lake.tests.{name}").append()
    native, by_spark = ({name: each.table(f"lake.tests.{name}") for name in rows} for each in (session, other))
    return native, by_spark, rows


def test_no_relational_plan_differs(written: Written) -> None:
    """From plain Python's rows; where Spark itself does not give those, from Spark's."""
    frames, by_spark, rows = written
    differs = []
    for seed in range(PLANS):
        plan = drawn(seed, rows)
        found = outcome(plan, frames)
        if found and outcome(plan, by_spark) is None:
            differs.append((len(plan.text), seed, plan.text, found))
    assert not differs, f"{len(differs)} of {PLANS}; the shortest: {min(differs)}"


def outcome(plan: Relation, frames: Mapping[str, DataFrame]) -> str | None:
    try:
        return difference(plan, frames)
    except (PySparkException, Py4JJavaError) as error:
        return f"raises {error}"


def test_a_plan_is_computed_natively(written: Written) -> None:
    frames, _, _ = written
    plan = frames["one"].join(frames["two"].select("k", "s"), "k").groupBy("k").agg({"m": "sum"})
    plan.collect()
    text = plan._jdf.queryExecution().executedPlan().toString()
    for node in ("CometSparkColumnarToColumnar", "CometHashAggregate", "CometExchange"):
        assert node in text, text
    assert "CometBroadcastHashJoin" in text or "CometSortMergeJoin" in text
