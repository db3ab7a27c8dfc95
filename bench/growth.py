"""A date's steps in a lake of a thousand commits to each table, over the same in one of ten (aim: 1.1 at most).

Both lakes hold the same book: what 39 real days have made of sample files, with late rows, reversals and refunds. One
has the last nine of these days as commits of their own, and those before in one. The other has all of them so, and 960
days before, which hold as many rows, of other loans: nobody reads these but whoever reads the whole history.

The rows were computed once, as a range, in a lake beside, and are copied by PyArrow and the real publish: each commit
leaves the snapshot, manifests, report and record that a step would have left. Of a table's metadata files only the last
is written: its twenty predecessors would be removed one day. What the process remembers of files that it has read is
forgotten before each step: in life, most steps have a process of their own.

The older lake is measured twice: with a snapshot for each of its commits, and as `affirm upkeep` leaves it, which then
runs on it once: the snapshots of the last 35 commits stay, a commit being a day. Had it run on each of these days, the
metadata of the tables would be the same. The younger lake is measured beside it each time.

Seconds are of CPU time, in all threads: the engine is in this process, and a busy machine takes no more of them.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import CommitTableResponse, Table

import affirm_assets.datasets
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.sail.plain import forget
from affirm_assets.lender.sample_data import write_sample_data
from affirm_assets.steps.engine import Staged
from affirm_assets.steps.publish import publish
from affirm_assets.steps.request import Request, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import (
    ensure_table,
    load_if_exists,
    main_history,
    main_snapshot,
    table_id,
    version_of,
)
from affirm_assets.steps.upkeep import DAYS_KEPT, keep_up
from bench.engines import OneEngine
from bench.measuring import interleaved
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions

START = date(2025, 1, 1)
REAL_DAYS = 39
"""So that the date after them has a whole look-back. It is no month's last, on which the books prove themselves."""

COMMITS = {"day 10": 9, "day 1,000": 999}
LOANS_A_DAY = 17
ROUNDS = 5
IDS = ("loan_id", "transaction_id", "adjustment_id", "user_id", "posting_id", "reverses")


@dataclass
class Aging:
    """A catalog that keeps the metadata of one table in memory while it is committed to again and again."""

    catalog: Any
    table: Table

    @staticmethod
    def of(catalog: Catalog, dataset: Dataset) -> "Aging":
        aging = Aging(catalog, ensure_table(catalog, dataset))
        aging.table.catalog = cast("Catalog", aging)
        return aging

    def load_table(self, _name: str) -> Table:
        return self.table

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        staged = self.catalog._update_and_stage_table(table, table.name(), requirements, updates)
        location = staged.metadata_location
        self.table = Table(table.name(), staged.metadata, location, table.io, cast("Catalog", self))
        return CommitTableResponse(metadata=staged.metadata, metadata_location=location)

    def _delete_old_metadata(self, *_: Any) -> None:
        """None was written."""

    def end(self) -> None:
        """The table as it is now, for everybody."""
        table = self.table
        ToOutputFile.table_metadata(table.metadata, table.io.new_output(table.metadata_location))
        self.catalog.drop_table(table.name())
        self.catalog.register_table(table.name(), table.metadata_location)


class Lakes:
    """The lake whose rows are copied, and those that are measured, in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._datasets = Registry.walk(affirm_assets.datasets)
        self._count = iter(range(1_000_000))
        self.daily = [each for each in self._datasets.in_order() if isinstance(each.partitions, Daily)]

    def compute(self, lake: str, dataset: Dataset, first: date, last: date) -> Mapping[str, float]:
        """The seconds of each part of the real step."""
        forget()
        engine = OneEngine(lambda: SailEngine(SailSessions().open, "measured"))
        storage, window = self._storage(lake), Window(first, last)
        clock = time.process_time
        return run_step(dataset, self._datasets.datasets, window, self._run(), "v1", storage, engine, clock).seconds

    def keep_up(self, lake: str) -> None:
        """As on a day on which the last commits are of the last days, one each."""
        catalog = self._storage(lake).catalog
        for dataset in self.daily:
            oldest = list(main_history(catalog.load_table(dataset.table)))[:DAYS_KEPT][-1]
            on = datetime.fromtimestamp(oldest.timestamp_ms / 1000, UTC) + timedelta(days=DAYS_KEPT)
            keep_up(dataset, catalog, on)

    def age(self, lake: str, source: str, commits: int) -> None:
        """Fill a lake with the days before the date that is measured, by so many commits to each table."""
        for dataset in self.daily:
            self._age(dataset, lake, source, commits)

    def _age(self, dataset: Dataset, lake: str, source: str, commits: int) -> None:
        storage = self._storage(lake)
        aging = Aging.of(storage.catalog, dataset)
        in_memory = Storage(cast("Catalog", aging), storage.landing, storage.name)
        versions = self._versions(dataset, storage.catalog)
        rows = self._storage(source).catalog.load_table(dataset.table).scan().to_arrow()
        for window, of_window in self._windows(dataset, rows, commits):
            table = aging.table
            arrow = of_window.cast(schema_to_pyarrow(table.schema(), include_field_ids=False))
            files = tuple(_dataframe_to_data_files(table.metadata, arrow, table.io)) if arrow.num_rows else ()
            for each in files:
                each.spec_id = table.spec().spec_id
            request = Request(
                str(dataset),
                window,
                self._run(),
                "v1",
                main_snapshot(table),
                {},
                (),
                versions=versions,
                listings={f"{each.feed}/{day}": "0" * 12 for each in dataset.feeds for day in _days(window)},
                table_id=table_id(table),
            )
            publish(dataset, request, Staged(files, arrow.num_rows, {}), (), in_memory, datetime.now(UTC))
        aging.end()

    def _versions(self, dataset: Dataset, catalog: Catalog) -> Mapping[str, str]:
        read = {self._datasets[each.dataset].table for each in dataset.computed_from if each.dataset != dataset.name}
        return {name: version_of(load_if_exists(catalog, name)) for name in read}

    def _windows(self, dataset: Dataset, rows: pa.Table, commits: int) -> Iterator[tuple[Window, pa.Table]]:
        """What each commit is of: days of other loans, the real days that share a commit, each of the others."""
        assert dataset.partitions is not None
        column = dataset.partitions.column
        of_days = [rows.filter(pc.equal(rows[column], pa.scalar(_day(number)))) for number in range(REAL_DAYS)]
        for number in range(REAL_DAYS - commits, 0):
            day = _day(number)
            copied = of_days[number % REAL_DAYS]
            copied = copied.set_column(
                copied.schema.get_field_index(column), column, pa.array([day] * copied.num_rows, pa.date32())
            )
            for name in set(IDS) & set(copied.column_names):
                others = pc.binary_join_element_wise(f"Y{-number}-", copied[name].cast("string"), "")
                copied = copied.set_column(copied.schema.get_field_index(name), name, others)
            yield Window(day, day), copied
        together = max(REAL_DAYS - commits + 1, 0)
        if together:
            yield Window(_day(0), _day(together - 1)), pa.concat_tables(of_days[:together])
        for number in range(together, REAL_DAYS):
            yield Window(_day(number), _day(number)), of_days[number]

    def _storage(self, lake: str) -> Storage:
        folder = self._folder
        catalog = IcebergCatalog(name=lake, uri=f"sqlite:///{folder}/{lake}.db", warehouse=f"file://{folder}/{lake}")
        return Storage(catalog.load(), LandingZone(f"{folder}/landing"), lake)

    def _run(self) -> Run:
        name = f"run{next(self._count)}"
        return Run(name, name)


def _day(number: int) -> date:
    return START + timedelta(days=number)


def _days(window: Window) -> Iterator[date]:
    return Daily("").starts(window)


def filled(folder: str) -> Lakes:
    """With the lakes of COMMITS, and in each what comes before the date that is measured."""
    write_sample_data(
        Path(folder, "landing"), loans=LOANS_A_DAY * (REAL_DAYS + 1), start=START, days=REAL_DAYS + 1, seed=1
    )
    lakes = Lakes(folder)
    for dataset in lakes.daily:
        lakes.compute("source", dataset, START, _day(REAL_DAYS - 1))
    for lake, commits in COMMITS.items():
        lakes.age(_name(lake), "source", commits)
    return lakes


def measured(lakes: Lakes) -> dict[str, Any]:
    grown = _measured(lakes)
    _, late = COMMITS
    lakes.keep_up(_name(late))
    return {"commits to each table": COMMITS, "without upkeep": grown, "after upkeep": _measured(lakes)}


def _measured(lakes: Lakes) -> dict[str, Any]:
    parts: dict[str, dict[str, list[Mapping[str, float]]]] = defaultdict(lambda: defaultdict(list))
    day = _day(REAL_DAYS)

    def work(lake: str) -> None:
        for dataset in lakes.daily:
            parts[lake][dataset.name].append(lakes.compute(_name(lake), dataset, day, day))

    taken = interleaved({lake: lambda lake=lake: work(lake) for lake in COMMITS}, ROUNDS, time.process_time)
    of_steps = {
        lake: {name: round(median(sum(each.values()) for each in found[1:]), 2) for name, found in steps.items()}
        for lake, steps in parts.items()
    }
    early, late = COMMITS
    return {
        "seconds of the date": taken,
        "seconds of its steps": of_steps,
        "seconds of parts": {
            lake: {
                part: round(sum(median(each[part] for each in found[1:]) for found in steps.values()), 2)
                for part in next(iter(steps.values()))[0]
            }
            for lake, steps in parts.items()
        },
        "ratio": {
            f"{late} over {early}": round(taken[late]["median"] / taken[early]["median"], 2),
            "of steps": {name: round(of_steps[late][name] / of_steps[early][name], 2) for name in of_steps[early]},
        },
    }


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return measured(filled(folder))


def _name(lake: str) -> str:
    return lake.replace(" ", "").replace(",", "")
