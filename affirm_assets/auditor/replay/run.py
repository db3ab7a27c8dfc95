"""A published step, computed again from its request: the same pinned inputs, the same window, no publish."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from affirm_assets.auditor.errors import FilesGone, ReportGone, RunHasNotPublished, RunUnknown, SnapshotExpired
from affirm_assets.auditor.history import as_now, known_runs, of_run
from affirm_assets.auditor.replay.compare import Comparison, of_day
from affirm_assets.declare.contract import key_columns, personal_columns
from affirm_assets.declare.dataset import ENGINES, Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.assets import code_version_of
from affirm_assets.orchestration.compute import profile_of
from affirm_assets.orchestration.engines import StepEngines, StepSpark
from affirm_assets.settings import EngineSettings
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.publish import read_report
from affirm_assets.steps.published import Publication
from affirm_assets.steps.read import Frames
from affirm_assets.steps.request import RESULT_SETTINGS, Pinned, Request
from affirm_assets.steps.run import ENGINE, conform
from affirm_assets.steps.scan_size import scan_size
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import load_if_exists
from resources.sail import SailSessions


@dataclass(frozen=True)
class Opens:
    """What computes: as the resources of the definitions."""

    spark: StepSpark
    spark_conf: Mapping[str, str]
    sail: SailSessions

    def engine(
        self, name: str | None, dataset: Dataset, pinned: Pinned, upstream: Mapping[str, Dataset], catalog: str
    ) -> Engine:
        """`name`: None: the one that fits what is read. Raises EngineMissing."""
        conf = {**self.spark_conf, **RESULT_SETTINGS}
        engines = StepEngines(self.spark, conf, catalog, self.sail, profile_of(dataset), EngineSettings(engine=name))
        return engines.open(dataset, pinned.request.window, scan_size(dataset, upstream, pinned))


@dataclass(frozen=True)
class Replayed:
    """`made_by`: the engine that published it. `code`: of the publish; `code_now`: of the replay."""

    dataset: str
    window: str
    snapshot: int
    made_by: str
    engine: str
    code: str
    code_now: str
    settings: Mapping[str, tuple[str | None, str | None]]
    comparison: Comparison
    seconds: float


def publications(
    registry: Registry, catalog: Catalog, run_id: str, only: Sequence[str]
) -> Iterator[tuple[Dataset, Table, Publication]]:
    """What the run published, in the order of the datasets, each window of each.

    `only`: names or keys of datasets; none: all. Raises RunUnknown, RunHasNotPublished.
    """
    asked = [each.rpartition("/")[2] for each in only]
    datasets = registry.in_order()
    if unknown := sorted(set(asked) - {each.name for each in datasets}):
        raise RunHasNotPublished(run_id, unknown[0], [])
    then = as_now(catalog, datasets)
    found = {name: of_run(each, run_id) for name, each in then.items()}
    has = [str(then[each.name].dataset) for each in datasets if found.get(each.name)]
    if not has:
        raise RunUnknown(run_id, known_runs(then.values()))
    for each in asked:
        if not found.get(each):
            raise RunHasNotPublished(run_id, each, has)
    for dataset in datasets:
        if not asked or dataset.name in asked:
            for one in sorted(found.get(dataset.name, ()), key=lambda one: one.sequence_number):
                yield dataset, then[dataset.name].table, one


def replay(
    registry: Registry,
    storage: Storage,
    opens: Opens,
    dataset: Dataset,
    table: Table,
    publication: Publication,
    engine: str | None,
    clock: Callable[[], float] = monotonic,
) -> Replayed:
    """Nothing is written. All rows that are computed are held in memory; of those published, a day's.

    `engine`: None: the one that made it. Raises ReportGone, SnapshotExpired, FilesGone, UnfitForEngine, EngineMissing.
    """
    started = clock()
    report = read_report(table, publication)
    if report is None:
        raise ReportGone(dataset.table, publication.snapshot, publication.run_id)
    request = report.request
    snapshot = table.snapshot_by_id(publication.snapshot)
    if snapshot is None:
        raise SnapshotExpired(dataset.table, publication.snapshot, f"with which run {publication.run_id} published")
    made_by = (snapshot.summary or {}).get(ENGINE) or "not known"  # type: ignore[call-overload]
    made_on = made_by.partition(":")[0]
    name = engine or (made_on if made_on in ENGINES else None)
    pinned = _pinned(registry, storage, dataset, table, request)
    computed, name = _computed(registry, storage, opens, dataset, pinned, name)
    comparison = _compared(dataset, table, publication.snapshot, request, computed)
    settings = {
        key: (request.settings.get(key), RESULT_SETTINGS.get(key))
        for key in sorted({*request.settings, *RESULT_SETTINGS})
        if request.settings.get(key) != RESULT_SETTINGS.get(key)
    }
    return Replayed(
        str(dataset),
        publication.window,
        publication.snapshot,
        made_by,
        name,
        request.code_version,
        code_version_of(dataset),
        settings,
        comparison,
        clock() - started,
    )


def _pinned(registry: Registry, storage: Storage, dataset: Dataset, own: Table, request: Request) -> Pinned:
    """The tables that the request names, each with its pinned snapshot, and the files as they were."""
    tables = {dataset.table: own}
    _check_snapshot(own, request.base)
    for parameter, mapped in dataset.leaves.items():
        source = getattr(mapped, "dataset", None)
        if source is None or parameter not in request.inputs:
            continue
        name = registry[source].table
        if name not in tables and (loaded := load_if_exists(storage.catalog, name)):
            tables[name] = loaded
        if (snapshot := request.inputs[parameter]) is not None:
            if name not in tables:
                raise SnapshotExpired(name, snapshot, "that the step read")
            _check_snapshot(tables[name], snapshot)
    _check_files(storage, request)
    return Pinned(request, tables)


def _check_snapshot(table: Table, snapshot: int | None) -> None:
    if snapshot is not None and table.snapshot_by_id(snapshot) is None:
        raise SnapshotExpired(".".join(table.name()), snapshot, "that the step read")


def _check_files(storage: Storage, request: Request) -> None:
    """By their checksums: a folder may have got other files since, which the step had not read."""
    for feed in sorted({each.feed for each in request.files}):
        mine = [each for each in request.files if each.feed == feed]
        for day in sorted({each.business_date for each in mine}):
            there = {each.name: each.sha256 for each in storage.landing.pin(feed, day, day)}
            for each in (one for one in mine if one.business_date == day):
                if there.get(each.name) != each.sha256:
                    found = "other bytes" if each.name in there else "no such file"
                    raise FilesGone(
                        each.name, f"the {each.size:,} bytes that the step read (sha256 {each.sha256[:12]})", found
                    )


def _computed(
    registry: Registry, storage: Storage, opens: Opens, dataset: Dataset, pinned: Pinned, name: str | None
) -> tuple[pa.Table, str]:
    """The rows, and which engine has computed them."""
    upstream = registry.datasets
    engine = opens.engine(name, dataset, pinned, upstream, storage.name)
    try:
        with engine.active():
            frames = Frames(dataset, upstream, pinned, storage, engine)
            rows = conform(dataset, frames.call(dataset.function), engine).toArrow()
            engine.check_inputs()
            return rows, engine.name
    finally:
        engine.close()


def _compared(dataset: Dataset, table: Table, snapshot: int, request: Request, computed: pa.Table) -> Comparison:
    comparison, key = Comparison(), key_columns(dataset.contract)
    if request.window is None or dataset.partitions is None:
        published = table.scan(snapshot_id=snapshot).to_arrow()
        comparison.add(published, _with(computed, published), key)
        return comparison
    column = dataset.partitions.column
    for day in dataset.partitions.starts(request.window):
        try:
            published = table.scan(f"{column} = '{day}'", snapshot_id=snapshot).to_arrow()
        except FileNotFoundError as error:
            raise FilesGone(dataset.table, f"the files of snapshot {snapshot}", f"that one is gone: {error}") from error
        comparison.add(published, _with(of_day(computed, column, day), published), key)
    outside = computed.num_rows - comparison.computed
    comparison.computed += outside
    comparison.only_computed += outside
    return comparison


def _with(computed: pa.Table, published: pa.Table) -> pa.Table:
    """As the published rows are typed. A column that only the code of now has is left out: nothing is beside it."""
    return computed.select(published.column_names).cast(published.schema)


def masked(dataset: Dataset, values: Mapping[str, object] | None) -> Mapping[str, object] | None:
    personal = personal_columns(dataset.contract)
    return None if values is None else {name: "***" if name in personal else value for name, value in values.items()}


def as_json(found: Sequence[tuple[Dataset, Replayed]]) -> str:
    return json.dumps([_value(dataset, each) for dataset, each in found], indent=2, default=str)


def _value(dataset: Dataset, each: Replayed) -> Mapping[str, object]:
    comparison = each.comparison
    examples = [
        {
            "key": masked(dataset, one.key),
            "published": masked(dataset, one.published),
            "computed": masked(dataset, one.computed),
        }
        for one in comparison.examples
    ]
    return {
        **vars(each),
        "is_same": comparison.is_same,
        "comparison": {**vars(comparison), "columns": dict(sorted(comparison.columns.items())), "examples": examples},
    }
