"""Seconds of a tick of a landing sensor and of the books' sensor, by folders already read, over those of ten."""

from datetime import date, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from pyiceberg.table import Table

import affirm_assets.datasets
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.orchestration.partitions import today
from affirm_assets.settings import Settings
from affirm_assets.steps.folders import Folder
from affirm_assets.steps.published import Record
from affirm_assets.steps.tables import ensure_table
from affirm_assets.stores import catalog_of, landing_zone_of
from bench.measuring import seconds

FOLDERS = (10, 1_000, 100_000)
_ROUNDS = 5


def measure() -> dict[str, Any]:
    found = {}
    for folders in FOLDERS:
        with TemporaryDirectory() as root, dg.DagsterInstance.ephemeral(root) as instance:
            found[folders] = _ticks(Path(root), folders, instance)
    return {
        "seconds by folders of a feed": found,
        "ratio": {name: round(found[FOLDERS[-1]][name] / found[FOLDERS[0]][name], 2) for name in found[FOLDERS[0]]},
    }


def _ticks(root: Path, folders: int, instance: dg.DagsterInstance) -> dict[str, float]:
    days = Window(today() - timedelta(days=folders), today() - timedelta(days=1))
    settings = Settings.local(root / "lake", days.first)
    registry = Registry.walk(affirm_assets.datasets)
    _land(Path(settings.landing), [*registry.feeds], days)
    _say_it_is_published(settings, registry, days)
    defs = build_defs(settings)
    return {name: _tick(defs, name, instance) for name in ("loans_landing", "books")}


def _tick(defs: dg.Definitions, name: str, instance: dg.DagsterInstance) -> float:
    cursor: str | None = None

    def once() -> int:
        nonlocal cursor
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            repository_def=defs.get_repository_def(),
            sensor_name=name,
            resources=dict(defs.resources or {}),
        )
        result = defs.get_sensor_def(name).evaluate_tick(context)
        assert not result.run_requests, "everything is published"
        cursor = result.cursor
        return len(result.asset_events)

    while once():  # tells the instance of the folders, of some at a time
        pass
    return round(median(seconds(once) for _ in range(_ROUNDS)), 3)


def _land(landing: Path, feeds: list[str], days: Window) -> None:
    for feed in feeds:
        for day in _each(days):
            folder = landing / feed / day.isoformat()
            folder.mkdir(parents=True)
            (folder / "part.csv").write_bytes(b"")
            (folder / "_SUCCESS").write_bytes(b"")


def _say_it_is_published(settings: Settings, registry: Registry, days: Window) -> None:
    catalog, zone = catalog_of(settings).load(), landing_zone_of(settings)
    for dataset in registry.datasets.values():
        covered = dataset.partitions.covering(days) if dataset.partitions else None
        record = Record().with_window(covered, dataset.partitions)
        for feed in dataset.feeds:
            listings = zone.listings(feed.feed, days.first, days.last)
            read = {(feed.feed, day): Folder(listings[f"{feed.feed}/{day}"], "", 1) for day in _each(days)}
            record = record.with_folders(read)
        _set(ensure_table(catalog, dataset), record)


def _set(table: Table, record: Record) -> None:
    with table.transaction() as transaction:
        transaction.set_properties(dict(record.properties()))


def _each(days: Window) -> list[date]:
    return [*Daily("").starts(days)]
