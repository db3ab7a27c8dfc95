"""The request of a step: a plain value that says all that its result depends on, so that it can be replayed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Beside, Landing
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import WindowRefused
from affirm_assets.steps.folders import Folder
from affirm_assets.steps.proof import why_it_proves
from affirm_assets.steps.published import last_change
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import WHOLE_TABLE, load_if_exists, main_snapshot, table_id, version_of
from resources.landing.landing_file import LandingFile

RESULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # Overflow, division by zero and text that is no number are errors, and not other numbers or nulls.
        "spark.sql.ansi.enabled": "true",
        "spark.sql.ansi.doubleQuotedIdentifiers": "false",
        "spark.sql.ansi.enforceReservedKeywords": "false",
        "spark.sql.ansi.relationPrecedence": "false",
        "spark.sql.storeAssignmentPolicy": "ANSI",
        # How many places the result of decimal arithmetic has.
        "spark.sql.decimalOperations.allowPrecisionLoss": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.timestampType": "TIMESTAMP_LTZ",
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",
        "spark.sql.caseSensitive": "false",
        # What a name or a number in a query means: a column, an alias beside it, the position of a column, a variable.
        "spark.sql.groupByAliases": "true",
        "spark.sql.groupByOrdinal": "true",
        "spark.sql.orderByOrdinal": "true",
        "spark.sql.lateralColumnAlias.enableImplicitResolution": "true",
        "spark.sql.variable.substitute": "true",
        # A frame that is joined with itself: which of the two a column is of, or an error.
        "spark.sql.selfJoinAutoResolveAmbiguity": "true",
        "spark.sql.analyzer.failAmbiguousSelfJoin": "true",
        "spark.sql.crossJoin.enabled": "true",
        # groupBy().agg() has the keys too.
        "spark.sql.retainGroupColumns": "true",
        # By this name a step says which snapshot it reads; under another, Spark would read what is there now.
        "spark.sql.timeTravelVersionKey": "versionAsOf",
        "spark.sql.timeTravelTimestampKey": "timestampAsOf",
        "spark.sql.parser.quotedRegexColumnNames": "false",
        # A backslash in a text of SQL escapes: in a pattern it is written twice.
        "spark.sql.parser.escapedStringLiterals": "false",
        "spark.sql.jsonGenerator.ignoreNullFields": "true",
        "spark.sql.mapKeyDedupPolicy": "EXCEPTION",
        "spark.sql.function.concatBinaryAsString": "false",
        "spark.sql.function.eltOutputAsString": "false",
        "spark.sql.chunkBase64String.enabled": "true",
        "spark.sql.icu.caseMappings.enabled": "true",
        # What becomes of Python's values on their way into rows.
        "spark.sql.pyspark.inferNestedDictAsStruct.enabled": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "false",
        "spark.sql.execution.pythonUDF.arrow.enabled": "false",
        "spark.sql.execution.pandas.convertToArrowArraySafely": "true",
        # A file that is gone or broken is an error, and not fewer rows.
        "spark.sql.files.ignoreMissingFiles": "false",
        "spark.sql.files.ignoreCorruptFiles": "false",
        "spark.sql.sources.partitionOverwriteMode": "static",
    }
)
"""Settings of a session that change which rows come out, said for each step, whatever the user's defaults are.

Spark has no setting for where nulls are sorted: first where ascending, last where descending."""


@dataclass(frozen=True)
class Acceptance:
    """That a person lets the refusals of a feed's day pass, and why."""

    feed: str
    day: date
    reason: str


@dataclass(frozen=True)
class Run:
    """Who asks. A retried run has a new `run_id` and the `root_run_id` of the first try.

    `datasets`: the names of all that the run computes, each for the same window. `accepts`: what it lets pass.
    `restatement`: the id of the one that lets it publish into closed months.
    """

    run_id: str
    root_run_id: str
    datasets: tuple[str, ...] = ()
    accepts: tuple[Acceptance, ...] = ()
    restatement: str = ""


@dataclass(frozen=True)
class Request:
    """`base` is the snapshot of the dataset's own table at the pin: also what the step reads of its own partitions.

    `inputs` are the snapshots of the other tables that it reads, by parameter, and `contents` those that last changed
    rows there: a compaction makes another snapshot of the same rows. None: nothing is published there. `settings`: of
    the session, whatever engine computes it. `beside`: the snapshots of what only audits look at; they decide whether
    the result may be published, and not what it is. `versions`: those of the input tables, by name.
    `listings`: a digest of what lay in each landing folder, by `feed/date`. `table_id`: of the dataset's own table.
    `proves`: why its audits add up the whole history of what it carries; None: they need not.
    """

    dataset: str
    window: Window | None
    run: Run
    code_version: str
    base: int | None
    inputs: Mapping[str, int | None]
    files: tuple[LandingFile, ...]
    settings: Mapping[str, str] = field(default_factory=lambda: dict(RESULT_SETTINGS))
    contents: Mapping[str, int | None] = field(default_factory=dict)
    beside: Mapping[str, int | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    listings: Mapping[str, str] = field(default_factory=dict)
    table_id: str = ""
    proves: str | None = None

    @property
    def window_text(self) -> str:
        return WHOLE_TABLE if self.window is None else str(self.window)

    @property
    def wap_id(self) -> str:
        """Names the staged write. A retry of the same work has the same name; other code or inputs have another."""
        work = json.dumps(
            [self.code_version, {**self.inputs, **self.contents}, [(each.name, each.sha256) for each in self.files]],
            sort_keys=True,
        )
        digest = hashlib.sha256(work.encode()).hexdigest()[:12]
        return f"{self.run.root_run_id}/{self.dataset}/{self.window_text}/{digest}"

    def computed_from(self, day: date | None) -> str:
        """A digest of the code and of what is read: of files, those of the day, if there is one. The same for a retry,
        also of more or fewer days."""
        files = sorted((each.name, each.sha256) for each in self.files if day in (None, each.business_date))
        work = json.dumps([self.code_version, self.contents, files], sort_keys=True)
        return hashlib.sha256(work.encode()).hexdigest()[:12]

    @property
    def folders(self) -> Mapping[tuple[str, date], Folder]:
        """What was read of the landing folders."""
        contents: dict[str, list[tuple[str, str]]] = {name: [] for name in self.listings}
        for each in self.files:
            contents[f"{each.feed}/{each.business_date}"].append((each.name, each.sha256))
        found: dict[tuple[str, date], Folder] = {}
        for name, listing in self.listings.items():
            feed, day = name.rsplit("/", 1)
            found[feed, date.fromisoformat(day)] = Folder(listing, contents_digest(contents[name]), len(contents[name]))
        return found

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, default=date.isoformat, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "Request":
        value: dict[str, Any] = json.loads(text)
        window = value["window"]
        return Request(
            dataset=value["dataset"],
            window=window and Window(date.fromisoformat(window["first"]), date.fromisoformat(window["last"])),
            run=_run(value["run"]),
            code_version=value["code_version"],
            base=value["base"],
            inputs=value["inputs"],
            contents=value["contents"],
            files=tuple(
                LandingFile(**{**each, "business_date": date.fromisoformat(each["business_date"])})
                for each in value["files"]
            ),
            settings=value["settings"],
            beside=value["beside"],
            versions=value["versions"],
            listings=value["listings"],
            table_id=value["table_id"],
            proves=value["proves"],
        )


def contents_digest(files: Iterable[tuple[str, str]]) -> str:
    """Of a folder: twelve hex digits of its files' names and checksums."""
    return hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:12]


def _run(value: Mapping[str, Any]) -> Run:
    accepts = (Acceptance(**{**each, "day": date.fromisoformat(each["day"])}) for each in value["accepts"])
    return Run(**{**value, "datasets": tuple(value["datasets"]), "accepts": tuple(accepts)})


@dataclass(frozen=True)
class Pinned:
    """A request, and the tables by name as they were loaded for it: snapshot and record of one and the same commit.

    The dataset's own is among them; a table that does not exist is not.
    """

    request: Request
    tables: Mapping[str, Table]


def pin(
    dataset: Dataset,
    upstream: Mapping[str, Dataset],
    window: Window | None,
    run: Run,
    code_version: str,
    storage: Storage,
    own: Table | None = None,
) -> Pinned:
    """Fix what the step reads. `upstream`: the datasets that it names, by name; `own`: its table, if just loaded.

    Raises WindowRefused, RecordRefused, or the landing zone's errors where a day's files are not there.
    """
    _check_window(dataset, window)
    # The own table first: whoever publishes this window after that is noticed when this step publishes, so a step with
    # older inputs can never replace the result of one with newer inputs.
    loaded = {dataset.table: own or load_if_exists(storage.catalog, dataset.table)}
    inputs: dict[str, int | None] = {}
    contents: dict[str, int | None] = {}
    beside: dict[str, int | None] = {}
    versions: dict[str, str] = {}
    listings: dict[str, str] = {}
    files: list[LandingFile] = []
    for parameter, mapped in dataset.leaves.items():
        if isinstance(mapped, Landing):
            days = dataset.read_days(mapped, None, window)
            assert days is not None
            # Before the files are read: what changes after the listing is found by it, and never taken for the same.
            listings |= storage.landing.listings(mapped.feed, days.first, days.last)
            files += storage.landing.pin(mapped.feed, days.first, days.last)
        elif mapped.dataset != dataset.name:
            name = upstream[mapped.dataset].table
            if name not in loaded:  # two parameters of one table read one snapshot of it
                loaded[name] = load_if_exists(storage.catalog, name)
            if isinstance(mapped, Beside):
                beside[parameter] = main_snapshot(loaded[name])
                continue
            inputs[parameter] = main_snapshot(loaded[name])
            versions[name] = version_of(loaded[name])
            contents[parameter] = last_change(upstream[mapped.dataset], loaded[name])
    table = loaded[dataset.table]
    request = Request(
        str(dataset),
        window,
        run,
        code_version,
        main_snapshot(table),
        inputs,
        tuple(files),
        contents=contents,
        beside=beside,
        versions=versions,
        listings=listings,
        table_id="" if table is None else table_id(table),
        proves=why_it_proves(dataset, upstream, window, code_version, loaded),
    )
    return Pinned(request, {name: each for name, each in loaded.items() if each is not None})


def _check_window(dataset: Dataset, window: Window | None) -> None:
    if dataset.partitions is None:
        if window is not None:
            raise WindowRefused(f"{dataset}: it is not partitioned; expected no window, found {window}.")
        return
    if window is None:
        raise WindowRefused(
            f"{dataset}: it is partitioned by {dataset.partitions.column}; expected a window, found none."
        )
    if not all(dataset.partitions.contains(day) for day in (window.first, window.last)):
        raise WindowRefused(f"{dataset}: {window} does not begin and end with partitions of {dataset.partitions}.")
    if not dataset.ranges and window.first != window.last:
        raise WindowRefused(f"{dataset}: it computes one partition at a time (ranges=False); found {window}.")
