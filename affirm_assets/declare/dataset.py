"""What a dataset is: a contract, one pure function, and how its inputs are read. Declared by decorating the function.

Belongs here: a single declaration and its checks. Does not: how datasets fit each other (registry), reading, writing,
Spark sessions, Dagster.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyiceberg.types as iceberg

from affirm_assets.declare.calendar import US_FEDERAL, BusinessCalendar, Due
from affirm_assets.declare.carry import CARRY_AUDITS, LATER_PARTITIONS, PREVIOUS_PARTITION, Carry
from affirm_assets.declare.contract import Contract, columns, key_columns, money_of, personal_columns
from affirm_assets.declare.inputs import (
    GIVEN,
    STAGED,
    Before,
    Beside,
    Input,
    Landing,
    Later,
    Mapped,
    MappedTable,
    Previous,
    SameWindow,
    Shared,
    Through,
    ToProve,
    collect_leaves,
    inputs_of,
)
from affirm_assets.declare.partitions import Partitions, Window
from affirm_assets.errors import DeclarationError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


NOT_NULL, IN_WINDOW, UNIQUE_KEY, CONTROL_TOTALS = BUILT_IN_AUDITS = (
    "not_null",
    "in_window",
    "keys_are_unique",
    "control_totals",
)
"""Audits that every dataset has, beside those of its contract."""

FEW_ARE_UNREADABLE = "few_are_unreadable"
"""The audit that a dataset has beside them if it reads a feed."""

RECORD_COLUMNS = ("file", "problem", "raw")
"""What it looks at, beside the feed's fields."""

CONTRACT = "contract"
"""The check in which Dagster shows all audits of single rows: what the contract's columns may hold."""

FRESH, COMPLETE = STANDING_CHECKS = ("fresh", "complete")
"""Checks that Dagster shows of a dataset with partitions, beside its audits: how it stands against its deadlines."""

EngineName = Literal["sail", "spark"]

ENGINES: tuple[str, ...] = get_args(EngineName)
"""What may compute a step; the only list of them."""

FEEDS = "feeds"
"""Where Dagster shows the feeds: `feeds/loans`."""


AUTOMATIC, BY_HAND = "automatic", "by_hand"
"""Who asks for a dataset; anything else is a cron schedule."""


@dataclass(frozen=True)
class Compute:
    """How much a step gets where it is more than a laptop: a profile, and what this dataset has otherwise.

    `memory` is the limit of the step's own pod, which is also Spark's driver; `scratch` is for files that Spark spills,
    in each pod. Quantities are written 512Mi or 4Gi. `native`: whether Spark's operators are replaced by native ones.
    `own_pod`: on Kubernetes, each step has a pod of its own, however little it reads. So it has if `memory` is said.
    """

    profile: str
    memory: str | None = None
    executor_memory: str | None = None
    scratch: str | None = None
    min_executors: int | None = None
    max_executors: int | None = None
    native: bool | None = None
    own_pod: bool = False


@dataclass(frozen=True)
class Audit:
    """A check of staged rows against each other or against the inputs.

    `function(staged, <inputs>...)` returns a frame with one row for each thing compared and a boolean column `ok`; the
    other columns are shown: numbers as totals, and rows that are not ok as a sample.

    in_sum: a cheaper frame to look at first, with the same parameters. Each of its rows stands for many things: `rows`
    says how many are told as compared, and `ok` is true if none of them differs. If all are ok the audit has passed,
    and `function` is not computed.
    """

    name: str
    description: str
    blocking: bool
    function: Callable[..., "DataFrame"]
    in_sum: Callable[..., "DataFrame"] | None = None


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
    engine: str | None = None
    freshness: Due | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    carry: Carry | None = None
    starts: str = AUTOMATIC
    sums: tuple[str, ...] = ()

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
        collect_leaves(f"{self.source}: dataset {self.name!r}", self.inputs, found, {})
        return found

    @cached_property
    def computed_from(self) -> tuple[MappedTable, ...]:
        """The tables that it reads and that come before it, other partitions of its own among them."""
        tables = (each for each in self.leaves.values() if not isinstance(each, Landing))
        return tuple(each for each in tables if not isinstance(each, Later | Beside | ToProve))

    @cached_property
    def feeds(self) -> tuple[Landing, ...]:
        return tuple(mapped for mapped in self.leaves.values() if isinstance(mapped, Landing))

    def refuses_of(self, others: Iterable["Dataset"]) -> tuple[Landing, ...]:
        """The feeds of whose records its audits know how many are refused: those that it reads, or that name it."""
        return (*self.feeds, *(feed for each in others for feed in each.feeds if feed.refused_by == self.name))

    def read_days(self, mapped: Mapped, upstream: Partitions | None, window: Window | None) -> Window | None:
        """The partitions of the input to read, as an inclusive range of its partition dates; None: all of them."""
        if window is None or self.partitions is None or (upstream is None and not isinstance(mapped, Landing)):
            return None
        days = self.partitions.days(window)
        match mapped:
            case Landing():
                return days
            case SameWindow() | Beside():
                return _partitions_of(upstream).covering(days)
            case Previous(n=n):
                return _partitions_of(upstream).before(_partitions_of(upstream).covering(days), n)
            case Later(n=int(n)):
                return _partitions_of(upstream).after(_partitions_of(upstream).covering(days), n)
            case Later():
                return Window(days.last + timedelta(days=1), type(days.last).max)
            case Before() | ToProve(dataset=self.name):
                first = _partitions_of(upstream).covering(days).first
                return Window(type(first).min, first - timedelta(days=1))
            case Through() | ToProve():
                return Window(type(days.first).min, days.last)


def dataset(
    contract: type[Contract],
    *,
    owner: str,
    partitions: Partitions | None = None,
    inputs: Mapping[str, Input] | None = None,
    audits: Iterable[Audit] = (),
    compute: str | Compute = "small",
    engine: EngineName | None = None,
    freshness: str | None = None,
    calendar: BusinessCalendar = US_FEDERAL,
    tags: Mapping[str, str] | None = None,
    ranges: bool = True,
    carry: Carry | None = None,
    starts: str = AUTOMATIC,
    sums: Sequence[str] | None = None,
) -> Callable[[Callable[..., "DataFrame"]], Dataset]:
    """Declare the decorated function as the transform of a dataset named like it.

    Its parameters and its audits' name upstream datasets, read for the same window; `inputs` maps a parameter to
    something else: same(), previous(), before(), through(), later(), landing() or a @shared frame; for an audit alone,
    to beside() or to_prove(). `carry` says what each partition takes over from the one before. `owner` is an e-mail
    address or `team:<name>`. `freshness` is the deadline by which each business date must be published, such as
    "06:00 next business day" in New York, by the business days of `calendar`. `ranges=False` is for a transform that
    can compute only one partition at a time. `compute` is a profile's name, or Compute(). `engine` is for one that only
    one engine computes rightly; otherwise what a step reads decides. `starts` says who asks for it: "automatic" (what
    it reads is there), "by_hand" (nobody but people), or a cron schedule in New York's time, such as "0 6 * * MON".
    `sums` are the Money columns whose sums Dagster plots over time: by default all of them. Raises DeclarationError,
    naming file and dataset.
    """

    audits = tuple(audits)

    def decorate(function: Callable[..., "DataFrame"]) -> Dataset:
        source, name = Path(inspect.getfile(function)), function.__name__
        carried = carry.inputs(name) if carry else {}
        if mapped := sorted(carried.keys() & (inputs or {}).keys()):
            raise DeclarationError(f"{source}: dataset {name!r}: its carry= says what {', '.join(mapped)} is.")
        declared = Dataset(
            name=name,
            domain=source.parent.name,
            contract=contract,
            partitions=partitions,
            inputs=inputs_of(function, inputs or {}, [each.function for each in audits], carried),
            function=function,
            owner=owner,
            description=inspect.getdoc(function) or inspect.getdoc(contract) or "",
            source=source,
            audits=audits,
            compute=Compute(compute) if isinstance(compute, str) else compute,
            engine=engine,
            freshness=_deadline(f"{source}: dataset {name!r}: freshness=", freshness, calendar),
            tags=dict(tags or {}),
            ranges=ranges,
            carry=carry,
            starts=starts,
            sums=money_of(contract) if sums is None else tuple(sums),
        )
        _check_declaration(declared)
        return declared

    return decorate


def _partitions_of(upstream: Partitions | None) -> Partitions:
    assert upstream is not None
    return upstream


def _deadline(where: str, text: str | None, calendar: BusinessCalendar) -> Due | None:
    try:
        return None if text is None else Due.parse(text, calendar)
    except ValueError as error:
        raise DeclarationError(f"{where}: {error}.") from None


def _check_declaration(item: Dataset) -> None:
    where = f"{item.source}: dataset {item.name!r}"
    if item.source.stem != item.name:
        raise DeclarationError(f"{where}: expected its file to be named {item.name}.py. One file is one table.")
    if item.name in (*GIVEN, PREVIOUS_PARTITION, LATER_PARTITIONS):
        raise DeclarationError(f"{where}: parameters of that name mean something else. Choose another name.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", item.domain) or not re.fullmatch(r"[a-z][a-z0-9_]*", item.name):
        raise DeclarationError(
            f"{where}: its name and its folder's, the domain, are lower-case letters, digits and underscores."
        )
    if item.engine not in (None, *ENGINES):
        known = " or ".join(map(repr, ENGINES))
        raise DeclarationError(f"{where}: expected engine to be {known}; found {item.engine!r}.")
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
    if unknown := [name for name in item.sums if name not in money_of(item.contract)]:
        raise DeclarationError(
            f"{where}: expected sums= to name Money columns of {item.contract.__name__}, which are "
            f"{', '.join(money_of(item.contract)) or 'none'}; found {', '.join(unknown)}."
        )
    if item.feeds and item.domain != "landing":
        raise DeclarationError(f"{where}: only datasets in the folder landing/ read files; found a landing() input.")
    if len(item.feeds) > 1:
        raise DeclarationError(
            f"{where}: expected one landing() input, found {len(item.feeds)}. Declare a dataset for each feed."
        )
    for each in item.feeds:
        _deadline(f"{where}: landing({each.feed!r}), due=", each.due, each.calendar)
    if item.freshness and item.partitions is None:
        raise DeclarationError(
            f"{where}: freshness= is the deadline of each business date; expected partitions, found none."
        )
    if item.feeds and item.partitions is None:
        raise DeclarationError(
            f"{where}: a feed arrives by day; expected partitions for a landing() input, found none."
        )
    for each in item.feeds:
        if lacking := [name for name in (*RECORD_COLUMNS, *each.fields) if name not in specs]:
            raise DeclarationError(
                f"{where}: the audit {FEW_ARE_UNREADABLE} looks at the records as they arrived; expected "
                f"{item.contract.__name__} to have all their columns, found no {', '.join(lacking)}."
            )
    parameters = inspect.signature(item.function).parameters
    computing = {name: each for name, each in item.inputs.items() if name in parameters or isinstance(each, Shared)}
    computed_from: dict[str, Mapped] = {}
    collect_leaves(where, computing, computed_from, {})
    if wrong := [name for name, mapped in computed_from.items() if isinstance(mapped, Beside)]:
        raise DeclarationError(
            f"{where}: beside() is for audits of the dataset alone: what another has published must not decide what "
            f"this one computes. Found it for a parameter of its function or of a shared frame: {', '.join(wrong)}."
        )
    if wrong := [name for name, mapped in computed_from.items() if isinstance(mapped, ToProve)]:
        raise DeclarationError(
            f"{where}: to_prove() is for audits alone: most windows read nothing of it. Found it for a parameter of "
            f"its function or of a shared frame: {', '.join(wrong)}."
        )
    if not item.carry and any(isinstance(each, ToProve) for each in item.inputs.values()):
        raise DeclarationError(
            f"{where}: to_prove() is for what is carried from day to day; expected a carry=, found none. Without one, "
            "read what the audit needs by through() or before()."
        )
    names = [
        *BUILT_IN_AUDITS,
        CONTRACT,
        *STANDING_CHECKS,
        *(rule.name for spec in specs.values() for rule in spec.rules),
        *(a.name for a in item.audits),
        *([FEW_ARE_UNREADABLE] if item.feeds else ()),
        *(CARRY_AUDITS if item.carry else ()),
    ]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DeclarationError(f"{where}: expected audits with different names; found twice: {', '.join(repeated)}.")
    if item.carry:
        _check_carry(where, item, item.carry)


def _check_carry(where: str, item: Dataset, carry: Carry) -> None:
    if item.partitions is None:
        raise DeclarationError(f"{where}: carry= is from partition to partition; expected partitions, found none.")
    if item.partitions.column not in key_columns(item.contract):
        raise DeclarationError(
            f"{where}: carry= needs a row for each partition; expected its partition column {item.partitions.column!r} "
            "to be a key column."
        )
    if not carry.columns:
        raise DeclarationError(f"{where}: its carry= says of no column what it opens with; expected one or more.")
    # Functions may make openings and closings of other columns; what a row keeps is in the table in any case.
    named = [
        *(() if carry.opens else carry.columns),
        *(() if carry.closes else carry.columns.values()),
        *carry.kept,
    ]
    if unknown := [name for name in named if name not in item.contract.model_fields]:
        raise DeclarationError(
            f"{where}: its carry= names {', '.join(unknown)}; expected columns of {item.contract.__name__}, which has "
            f"{', '.join(item.contract.model_fields)}."
        )
    if personal := sorted(personal_columns(item.contract) & {*named}):
        raise DeclarationError(
            f"{where}: where what is carried differs, its audits show both values; expected no personal column in "
            f"carry=, found {', '.join(personal)}."
        )
