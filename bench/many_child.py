"""One measure of bench/load.py in a process of its own: python -m bench.many_child MEASURE KIND ROOT. Prints JSON."""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import psutil
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

_TICKS = 3


def load(kind: str, root: str) -> dict[str, float]:
    """What a code server does until the UI has its definitions; seconds of the processor, since it has one thread."""
    if kind == "declared":
        importlib.import_module("affirm_assets.definitions")
    imported = _resident()
    start = time.process_time()
    repository = _defs(kind, root).get_repository_def()
    repository.load_all_definitions()
    serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
    taken = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": taken, "MiB beyond imports": peak - imported, "MiB": peak}


def tick(kind: str, root: str) -> dict[str, float]:
    """Nothing is to be done. Of the declared all the sensors that look at every table; of the others, Dagster's own."""
    defs = _defs(kind, root)
    with dg.DagsterInstance.ephemeral() as instance:
        return _automation(defs, instance) if kind == "plain" else _sensors(defs, instance)


def _automation(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, float]:
    """`eager` on each asset, of which nothing was ever materialized: that is the least that Dagster has to look at."""
    eager = dg.AutomationCondition.eager()
    defs = defs.map_asset_specs(func=lambda spec: spec.replace_attributes(automation_condition=eager))
    cursor = None

    def once() -> None:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
        assert not result.total_requested
        cursor = result.cursor

    return {"automation": _last_of(once)}


def _sensors(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, float]:
    from affirm_assets.declare.partitions import Window
    from affirm_assets.declare.registry import Registry
    from affirm_assets.orchestration.partitions import today
    from bench.many_tables import publish

    declared = importlib.import_module("declared_definitions")
    yesterday = today() - timedelta(days=1)
    publish(declared.SETTINGS, Registry.walk(importlib.import_module("declared")), Window(declared.FIRST, yesterday))

    def once(name: str) -> None:
        context = dg.build_sensor_context(
            instance=instance,
            repository_def=defs.get_repository_def(),
            sensor_name=name,
            resources=dict(defs.resources or {}),
        )
        result = defs.get_sensor_def(name).evaluate_tick(context)
        assert not result.run_requests, "everything is published"

    return {name: _last_of(lambda name=name: once(name)) for name in ("books", "standing")}  # type: ignore[misc]


def _defs(kind: str, root: str) -> dg.Definitions:
    sys.path.insert(0, root)
    found: Any = importlib.import_module(f"{kind}_definitions")
    assert isinstance(found.defs, dg.Definitions)
    return found.defs


def _last_of(work: Callable[[], None]) -> float:
    """The first tick has no cursor, and others look at what it has found."""
    taken = 0.0
    for _ in range(_TICKS):
        start = time.process_time()
        work()
        taken = time.process_time() - start
    return round(taken, 2)


def _resident() -> float:
    return psutil.Process().memory_info().rss / 2**20


if __name__ == "__main__":
    measure, kind, root = sys.argv[1:]
    print(json.dumps({"load": load, "tick": tick}[measure](kind, root)))
