"""Lineage of every dataset of the project: what Sail's check tells is what Spark really makes of the transform."""

from datetime import date

import pytest

import affirm_assets.datasets
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.spark.lineage import lineage_of
from affirm_assets.steps.request import Run, pin
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.spark import SparkSessions
from tests.engines.connect import Lineages, lineages
from tests.spark.test_lineage import texts
from tests.storage import on_spark

DAY = date(2025, 1, 1)


@pytest.fixture(scope="module")
def books(sessions: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Lineages:
    """Lineage of every dataset of the project, on empty tables that have a snapshot, and empty landing folders."""
    registry, window, folder = Registry.walk(affirm_assets.datasets), Window(DAY, DAY), tmp_path_factory.mktemp("books")
    catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    landing = folder / "landing"
    without_engine = Storage(catalog.load(), LandingZone(str(landing)), catalog.name)
    storage = on_spark(without_engine, sessions.session(catalog.spark_conf()))
    for feed in registry.feeds:
        day = landing / feed / str(DAY)
        day.mkdir(parents=True)
        (day / "_SUCCESS").touch()
    for dataset in registry.in_order():
        table = ensure_table(storage.catalog, dataset)
        table.append(table.schema().as_arrow().empty_table())
    found = {}
    for dataset in registry.in_order():
        pinned = pin(dataset, registry.datasets, window, Run("run", "run"), "v1", storage)
        frames = storage.frames(dataset, registry.datasets, pinned)
        found[dataset.table] = texts(lineage_of(frames.call(dataset.function)))
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Lineages:
    return lineages(Registry.walk(affirm_assets.datasets), tmp_path_factory.mktemp("empty"))


def test_sail_tells_what_spark_tells(told: Lineages, books: Lineages) -> None:
    """tests/engines say what that is, and that every column has one."""
    nothing: dict[str, set[str]] = {}
    differences = {
        f"{table}.{name}": (told.get(table, nothing).get(name), books.get(table, nothing).get(name))
        for table in {*told, *books}
        for name in {*told.get(table, nothing), *books.get(table, nothing)}
        if told.get(table, nothing).get(name) != books.get(table, nothing).get(name)
    }
    assert differences == {}
    assert told
