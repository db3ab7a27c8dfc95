"""What a dataset is: a contract, one pure function, and how its inputs are read. Registered by decorating the function.

Belongs here: declarations and their checks. Does not: reading, writing, Spark sessions, Dagster.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyiceberg.types as iceberg

from affirm_assets.contract import Contract, columns
from affirm_assets.errors import DeclarationError
from affirm_assets.partitions import Daily, Monthly, Partitions, Window

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = [
    "Audit",
    "Compute",
    "Daily",
    "Dataset",
    "Monthly",
    "Registry",
    "Window",
    "audit",
    "dataset",
    "history",
    "landing",
    "later",
    "previous",
    "shared",
]

WINDOW = "window"
"""A transform or audit that names a parameter so gets the Window that is computed."""

STAGED = "staged"
"""The first parameter of an audit: the staged rows of the window."""

LAST_PUBLISHED = "last_published"
"""An audit that names a parameter so gets the last date after the window for which the dataset is published, or None.

Rows cannot say it: a day may have been published without any."""

NOT_NULL, IN_WINDOW, UNIQUE_KEY = BUILT_IN_AUDITS = ("not_null", "in_window", "unique_key")
"""Audits that every dataset has, beside those of its contract."""

FEEDS = "feeds"
"""Where Dagster shows the feeds: `feeds/loans`."""


@dataclass(frozen=True)
class Compute:
    """How much a step gets where it is more than a laptop: a profile, and what this dataset has otherwise.

    `memory` is the limit of the step's own pod, which is also Spark's driver; `scratch` is for files that Spark spills,
    in each pod. Quantities are written 512Mi or 4Gi.
    """

    profile: str
    memory: str | None = None
    executor_memory: str | None = None
    scratch: str | None = None
    min_executors: int | None = None
    max_executors: int | None = None


@dataclass(frozen=True)
class SameWindow:
    """The default: the input's partitions of the same days. A monthly dataset reads its months' days."""

    dataset: str


@dataclass(frozen=True)
class Previous:
    """The `n` partitions before the window's first."""

    n: int
    dataset: str


@dataclass(frozen=True)
class History:
    """Every partition up to the window: with it for another dataset, without it for the dataset itself."""

    dataset: str


@dataclass(frozen=True)
class Later:
    """Every partition after the window."""

    dataset: str


@dataclass(frozen=True)
class Landing:
    """The files that arrived in a feed for the window's days. `fields`: name -> kind of the feed's fields."""

    feed: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Shared:
    """A frame computed once in a step, from its own inputs, for the transform and the audits that name it."""

    name: str
    function: Callable[..., "DataFrame"]
    inputs: Mapping[str, "Input"]


MappedTable = SameWindow | Previous | History | Later
Mapped = MappedTable | Landing
Input = Mapped | Shared


def previous(n: int, dataset: str) -> Previous:
    """Read the `n` partitions before the window of `dataset` (which may be the dataset itself)."""
    return Previous(n, dataset)


def history(dataset: str) -> History:
    """Read all of `dataset` up to the window; its scheduling depends on the window's own partitions only."""
    return History(dataset)


def later(dataset: str) -> Later:
    """Read what `dataset` has after the window, for an audit that nothing there contradicts it; schedules nothing."""
    return Later(dataset)


def landing(feed: str, fields: Mapping[str, str]) -> Landing:
    """Read the records of `landing/<feed>/<day>/`, fields as text. Only datasets of the landing domain may."""
    return Landing(feed, dict(fields))


def shared(inputs: Mapping[str, Input] | None = None) -> Callable[[Callable[..., "DataFrame"]], Shared]:
    """Declare a function as a frame that several datasets, transforms and audits name and that a step computes once."""

    def decorate(function: Callable[..., "DataFrame"]) -> Shared:
        return Shared(function.__name__, function, _inputs_of(function, inputs or {}))

    return decorate


@dataclass(frozen=True)
class Audit:
    """A check of staged rows against each other or against the inputs.

    `function(staged, <inputs>...)` returns a frame with one row for each thing compared and a boolean column `ok`; the
    other columns are shown: numbers as totals, and rows that are not ok as a sample.
    """

    name: str
    description: str
    blocking: bool
    function: Callable[..., "DataFrame"]


def audit(*, blocking: bool = True) -> Callable[[Callable[..., "DataFrame"]], Audit]:
    """Declare an audit; its docstring is its description in the Dagster UI."""

    def decorate(function: Callable[..., "DataFrame"]) -> Audit:
        where = f"{inspect.getfile(function)}: audit {function.__name__!r}"
        if not inspect.getdoc(function):
            raise DeclarationError(f"{where}: expected a docstring that says what it proves; found none.")
        if next(iter(inspect.signature(function).parameters), None) != STAGED:
            raise DeclarationError(f"{where}: expected its first parameter to be {STAGED!r}.")
        return Audit(function.__name__, inspect.getdoc(function) or "", blocking, function)

    return decorate


@dataclass(frozen=True)
class Dataset:
    """A declared dataset. `domain/name` is its key in Dagster; `domain.name` its table in the catalog."""

    name: str
    domain: str
    contract: type[Contract]
    partitions: Partitions | None
    inputs: Mapping[str, Input]
    function: Callable[..., "DataFrame"]
    owner: str
    description: str
    source: Path
    audits: tuple[Audit, ...] = ()
    compute: Compute = Compute("small")
    freshness: timedelta | None = None
    retention: timedelta | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> "DataFrame":
        """The transform itself, for a unit test to hand frames to."""
        return self.function(*args, **kwargs)

    def __str__(self) -> str:
        return f"{self.domain}/{self.name}"

    @property
    def table(self) -> str:
        return f"{self.domain}.{self.name}"

    @cached_property
    def leaves(self) -> Mapping[str, Mapped]:
        """Every input that is read, those of shared frames included, by parameter name."""
        found: dict[str, Mapped] = {}
        _collect_leaves(f"{self.source}: dataset {self.name!r}", self.inputs, found, {})
        return found

    @property
    def feeds(self) -> tuple[Landing, ...]:
        return tuple(mapped for mapped in self.leaves.values() if isinstance(mapped, Landing))

    def read_days(self, mapped: Mapped, upstream: Partitions | None, window: Window | None) -> Window | None:
        """The partitions of the input to read, as an inclusive range of its partition dates; None: all of them."""
        if window is None or self.partitions is None or (upstream is None and not isinstance(mapped, Landing)):
            return None
        days = self.partitions.days(window)
        match mapped:
            case Landing():
                return days
            case SameWindow():
                return _partitions_of(upstream).covering(days)
            case Previous(n=n):
                return _partitions_of(upstream).before(_partitions_of(upstream).covering(days), n)
            case Later():
                return Window(days.last + timedelta(days=1), type(days.last).max)
            case History(dataset=name) if name == self.name:
                return Window(type(days.first).min, days.first - timedelta(days=1))
            case History():
                return Window(type(days.first).min, days.last)


def dataset(
    contract: type[Contract],
    *,
    owner: str,
    partitions: Partitions | None = None,
    inputs: Mapping[str, Input] | None = None,
    audits: Iterable[Audit] = (),
    compute: str | Compute = "small",
    freshness: timedelta | None = None,
    retention: timedelta | None = None,
    tags: Mapping[str, str] | None = None,
    ranges: bool = True,
) -> Callable[[Callable[..., "DataFrame"]], Dataset]:
    """Declare the decorated function as the transform of a dataset named like it.

    Its parameters name upstream datasets, read for the same window; `inputs` maps a parameter to something else:
    previous(), history(), landing() or a @shared frame. `owner` is an e-mail address or `team:<name>`. `freshness` is
    the age at which the newest materialization is late; `retention` how long its rows are kept. `ranges=False` is for a
    transform that can compute only one partition at a time. `compute` is a profile's name, or Compute(). Raises
    DeclarationError, naming file and dataset.
    """

    audits = tuple(audits)

    def decorate(function: Callable[..., "DataFrame"]) -> Dataset:
        source = Path(inspect.getfile(function))
        declared = Dataset(
            name=function.__name__,
            domain=source.parent.name,
            contract=contract,
            partitions=partitions,
            inputs=_inputs_of(function, inputs or {}, audits),
            function=function,
            owner=owner,
            description=inspect.getdoc(function) or inspect.getdoc(contract) or "",
            source=source,
            audits=audits,
            compute=Compute(compute) if isinstance(compute, str) else compute,
            freshness=freshness,
            retention=retention,
            tags=dict(tags or {}),
            ranges=ranges,
        )
        _check_declaration(declared)
        return declared

    return decorate


@dataclass(frozen=True)
class Registry:
    """The datasets of a project by name, checked against each other."""

    datasets: Mapping[str, Dataset]

    @staticmethod
    def of(declared: Iterable[Dataset]) -> "Registry":
        """Raises DeclarationError for a repeated name, an unknown input or a cycle."""
        datasets: dict[str, Dataset] = {}
        for item in declared:
            if other := datasets.get(item.name):
                raise DeclarationError(
                    f"{item.source}: a dataset named {item.name!r} is already declared in {other.source}. Names are "
                    "unique across domains, since parameters name them. Rename one."
                )
            datasets[item.name] = item
        for item in datasets.values():
            _check_inputs(item, datasets)
        _check_no_cycle(datasets)
        return Registry(datasets)

    @staticmethod
    def walk(package: ModuleType) -> "Registry":
        """Import every module under `package`, but what begins with `_`, and collect the datasets in them."""
        found: list[Dataset] = []
        for folder in map(Path, package.__path__):
            # The files and not the packages: a folder that lacks an __init__.py must not vanish without a word.
            for file in sorted(folder.rglob("*.py")):
                parts = file.relative_to(folder).with_suffix("").parts
                if file.is_file() and not any(part.startswith(("_", ".")) for part in parts):
                    declared = _declared_in(importlib.import_module(".".join((package.__name__, *parts))))
                    if not declared:
                        raise DeclarationError(
                            f"{file}: expected a dataset in this file, found none. One file is one table; a module of "
                            "helpers begins with an underscore."
                        )
                    found.extend(declared)
        return Registry.of(found)

    def __getitem__(self, name: str) -> Dataset:
        return self.datasets[name]

    @property
    def feeds(self) -> Mapping[str, Landing]:
        return {feed.feed: feed for item in self.datasets.values() for feed in item.feeds}

    def in_order(self) -> list[Dataset]:
        """Upstream first; by name where the order is free."""
        sorter = TopologicalSorter({name: _upstream_names(self[name]) for name in sorted(self.datasets)})
        return [self[name] for name in sorter.static_order()]


def _partitions_of(upstream: Partitions | None) -> Partitions:
    assert upstream is not None
    return upstream


def _inputs_of(
    function: Callable[..., Any], mapped: Mapping[str, Input], audits: Iterable[Audit] = ()
) -> Mapping[str, Input]:
    """What the function's parameters mean, and what an audit's mean that only it names."""
    of_audits = {name for each in audits for name in inspect.signature(each.function).parameters if name in mapped}
    of_function = [name for name in inspect.signature(function).parameters if name != WINDOW]
    parameters = [*of_function, *sorted(of_audits - set(of_function))]
    if unused := sorted(set(mapped) - set(parameters)):
        raise DeclarationError(
            f"{inspect.getfile(function)}: {function.__name__} maps {', '.join(unused)}, which is none of its "
            f"parameters ({', '.join(parameters) or 'none'})."
        )
    return {name: mapped.get(name, SameWindow(name)) for name in parameters}


def _collect_leaves(
    where: str, inputs: Mapping[str, Input], found: dict[str, Mapped], shared_frames: dict[str, Shared]
) -> None:
    for name, item in inputs.items():
        if isinstance(item, Shared):
            if shared_frames.setdefault(name, item) is not item:
                raise DeclarationError(f"{where}: the parameter {name!r} names two different shared frames.")
            _collect_leaves(where, item.inputs, found, shared_frames)
        elif found.setdefault(name, item) != item:
            raise DeclarationError(f"{where}: the parameter {name!r} is read in two ways: {found[name]} and {item}.")


def _declared_in(module: ModuleType) -> list[Dataset]:
    own = Path(module.__file__ or "")
    return list({id(x): x for x in vars(module).values() if isinstance(x, Dataset) and x.source == own}.values())


def _check_declaration(item: Dataset) -> None:
    where = f"{item.source}: dataset {item.name!r}"
    if item.source.stem != item.name:
        raise DeclarationError(f"{where}: expected its file to be named {item.name}.py. One file is one table.")
    if item.name in (WINDOW, STAGED, LAST_PUBLISHED):
        raise DeclarationError(f"{where}: parameters of that name mean something else. Choose another name.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", item.domain) or not re.fullmatch(r"[a-z][a-z0-9_]*", item.name):
        raise DeclarationError(
            f"{where}: its name and its folder's, the domain, are lower-case letters, digits and underscores."
        )
    if item.domain == FEEDS:
        raise DeclarationError(f"{where}: the folder {FEEDS!r} stands for the feeds themselves. Choose another domain.")
    if not re.fullmatch(r"team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+", item.owner):
        raise DeclarationError(
            f"{where}: expected owner to be an e-mail address or 'team:<name>'; found {item.owner!r}."
        )
    specs = {spec.name: spec for spec in columns(item.contract)}
    if item.partitions is not None:
        spec = specs.get(item.partitions.column)
        if spec is None:
            raise DeclarationError(
                f"{where}: its partition column {item.partitions.column!r} is not in {item.contract.__name__}, which "
                f"has {', '.join(specs)}."
            )
        if spec.iceberg_type != iceberg.DateType() or not spec.required:
            raise DeclarationError(
                f"{where}: its partition column {spec.name!r} must be a date, never null; found "
                f"{'' if spec.required else 'nullable '}{spec.iceberg_type}."
            )
    if item.feeds and item.domain != "landing":
        raise DeclarationError(f"{where}: only datasets in the folder landing/ read files; found a landing() input.")
    if item.feeds and item.partitions is None:
        raise DeclarationError(
            f"{where}: a feed arrives by day; expected partitions for a landing() input, found none."
        )
    names = [
        *BUILT_IN_AUDITS,
        *(rule.name for spec in specs.values() for rule in spec.rules),
        *(a.name for a in item.audits),
    ]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DeclarationError(f"{where}: expected audits with different names; found twice: {', '.join(repeated)}.")
    given, available = (STAGED, WINDOW, LAST_PUBLISHED), {*item.inputs, *item.leaves}
    for each in item.audits:
        unknown = [name for name in inspect.signature(each.function).parameters if name not in {*available, *given}]
        if unknown:
            raise DeclarationError(
                f"{where}: its audit {each.name!r} asks for {', '.join(unknown)}; expected inputs of the dataset: "
                f"{', '.join(sorted(available))}; or {', '.join(given)}."
            )


def _check_inputs(item: Dataset, datasets: Mapping[str, Dataset]) -> None:
    for parameter, mapped in item.leaves.items():
        where = f"{item.source}: dataset {item.name!r}, parameter {parameter!r}"
        if isinstance(mapped, Landing):
            continue
        if isinstance(mapped, Previous) and mapped.n < 1:
            raise DeclarationError(
                f"{where}: previous({mapped.n}, {mapped.dataset!r}) reads nothing; expected 1 or more."
            )
        if mapped.dataset not in datasets:
            raise DeclarationError(
                f"{where}: no dataset is named {mapped.dataset!r}. There are: {', '.join(sorted(datasets))}."
            )
        if isinstance(mapped, Previous | History | Later) and (
            item.partitions is None or datasets[mapped.dataset].partitions is None
        ):
            raise DeclarationError(
                f"{where}: previous(), history() and later() are for partitioned datasets that read partitioned ones."
            )
        if isinstance(mapped, SameWindow) and mapped.dataset == item.name:
            raise DeclarationError(
                f"{where}: a dataset cannot read the partition that it computes. Use previous() or history()."
            )


def _upstream_names(item: Dataset) -> set[str]:
    return {m.dataset for m in item.leaves.values() if not isinstance(m, Landing) and m.dataset != item.name}


def _check_no_cycle(datasets: Mapping[str, Dataset]) -> None:
    try:
        TopologicalSorter({name: _upstream_names(item) for name, item in datasets.items()}).prepare()
    except CycleError as error:
        cycle = error.args[1]
        raise DeclarationError(
            f"{datasets[cycle[0]].source}: datasets read each other in a cycle: {' -> '.join(cycle)}. A dataset may "
            "read earlier partitions of itself, but not of one that reads it."
        ) from None
