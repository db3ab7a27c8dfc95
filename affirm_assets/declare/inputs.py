"""How the parameters of transforms and audits are read: the same days, other days, files, a shared frame.

Belongs here: what a parameter may mean. Does not: reading it.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from affirm_assets.declare.calendar import US_FEDERAL, BusinessCalendar, Due
from affirm_assets.errors import DeclarationError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


WINDOW = "window"
"""A transform or audit that names a parameter so gets the Window that is computed."""

STAGED = "staged"
"""The first parameter of an audit: the staged rows of the window."""

LAST_PUBLISHED = "last_published"
"""An audit that names a parameter so gets the last date after the window for which the dataset is published, or None.

Rows cannot say it: a day may have been published without any."""

PUBLISHED = "published"
"""An audit that names a parameter so gets, for each beside() parameter by name, the days of the window to compare.

They are windows: what is published of it, but nothing if the same run computes it after this dataset."""

PROVES = "proves"
"""An audit that names a parameter so gets why it is to add up the whole history, or None: it goes on from what the day
before closed with, and its to_prove() inputs have no rows."""

FEED = "feed"
"""An audit that names a parameter so gets the Feed whose records its dataset refuses: how much of it may be refused.

It is the feed whose landing() names the dataset by `refused_by`."""

GIVEN = (STAGED, WINDOW, LAST_PUBLISHED, PUBLISHED, PROVES, FEED)
"""What an audit's parameters may be beside inputs."""


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
class Before:
    """Every partition before the window; with `by`, as a Lookup by that column."""

    dataset: str
    by: str | None = None


@dataclass(frozen=True)
class Through:
    """Every partition up to the window, and those of the window itself; with `by`, as a Lookup by that column.

    Not for a dataset that reads itself.
    """

    dataset: str
    by: str | None = None


@dataclass(frozen=True)
class Later:
    """Every partition after the window, or only the `n` first of them."""

    dataset: str
    n: int | None = None


@dataclass(frozen=True)
class Beside:
    """The same days of a dataset that reads this one, as it was published last."""

    dataset: str


@dataclass(frozen=True)
class ToProve:
    """Every partition up to the window and with it, or of the dataset itself before it, where the window proves what is
    carried from the first day on; else none."""

    dataset: str


class Lookup(Protocol):
    """What a parameter is whose input is declared with `by`."""

    def __call__(self, keys: "DataFrame | Sequence[str]") -> "DataFrame":
        """The rows whose column `by` is among these values, or those of a frame's column of that name.

        Nulls find nothing. The keys of a frame are computed at once, by each call. Of no key, nothing is read, and of
        few only the files that may hold them: where ids ascend by day, those of the days that they are of. Of many, all
        files.
        """


KINDS = ("text", "money", "rate", "integer", "date")
"""Of a feed's fields: what their text is to be read as."""


@dataclass(frozen=True)
class Tolerance:
    """How much of what arrives in a feed's folder may be refused before somebody must look.

    Up to so many `records` of a folder may be, whatever their share; and of more, up to so many `percent`. Of one file,
    and of a folder, not most of more than so many `records`, or of text of more than so many `characters` that is no
    record: nobody could read it. A whole day may be in one line.
    """

    records: int = 10
    percent: Decimal = Decimal(1)
    characters: int = 2_000


@dataclass(frozen=True)
class Feed:
    """A feed as an audit of its records sees it: how much may be refused, and what a person lets pass.

    `accepted_days`: these days, each for how many records, or None: any. `affirm accept` says so, or a run's tag.
    """

    name: str
    tolerance: Tolerance
    accepted_days: Mapping[date, int | None]


@dataclass(frozen=True)
class Landing:
    """The files that arrived in a feed for the window's days. `fields`: name -> kind of the feed's fields.

    `delimiter`: the character between values in the feed's CSV files. `due`: by when the folder of each day must be
    complete, as it was declared; None: nobody waits for it. `since`: the feed's first day; None: the deployment's.
    `refused_by`: the dataset that refuses its records; None: the one that reads it.
    """

    feed: str
    fields: Mapping[str, str]
    delimiter: str = ","
    due: str | None = None
    calendar: BusinessCalendar = US_FEDERAL
    since: date | None = None
    tolerance: Tolerance = Tolerance()
    refused_by: str | None = None

    @property
    def deadline(self) -> Due | None:
        """Raises ValueError if `due` is none."""
        return None if self.due is None else Due.parse(self.due, self.calendar)

    def begins(self, first: date) -> date:
        """The feed's first day in a deployment whose first is `first`."""
        return max(first, self.since or first)


@dataclass(frozen=True)
class Shared:
    """A frame computed once in a step, from its own inputs, for the transform and the audits that name it."""

    name: str
    function: Callable[..., "DataFrame"]
    inputs: Mapping[str, "Input"]


MappedTable = SameWindow | Previous | Before | Through | Later | Beside | ToProve
Mapped = MappedTable | Landing
Input = Mapped | Shared


def same(dataset: str) -> SameWindow:
    """Read the window's own partitions of `dataset`: for a parameter of another name than the dataset's."""
    return SameWindow(dataset)


def previous(n: int, dataset: str) -> Previous:
    """Read the `n` partitions before the window of `dataset` (which may be the dataset itself)."""
    return Previous(n, dataset)


def before(dataset: str, *, by: str | None = None) -> Before:
    """Read all of `dataset` (also itself) before the window; a run waits for the last of these partitions only.

    With `by`, a column of text, the parameter is a Lookup: a history is long, and what is asked of it is little.
    """
    return Before(dataset, by)


def through(dataset: str, *, by: str | None = None) -> Through:
    """Read all of another `dataset` up to the window and with it; a run waits for the window's own partitions only.

    With `by`, a column of text, the parameter is a Lookup: a history is long, and what is asked of it is little.
    """
    return Through(dataset, by)


def later(dataset: str) -> Later:
    """Read what `dataset` has after the window, for an audit that nothing there contradicts it; schedules nothing."""
    return Later(dataset)


def beside(dataset: str) -> Beside:
    """Read what `dataset`, which reads this one, has published for the window, for an audit that the two agree.

    It has no rows where the same run computes it after this one: then that is the one to look. Schedules nothing.
    """
    return Beside(dataset)


def to_prove(dataset: str) -> ToProve:
    """Read all of `dataset` (also itself) up to the window, but only now and then: for an audit that what is carried is
    what the whole history adds up to. Schedules nothing.

    It is read for a window that has a month's last day, and for one before which something that the dataset reads was
    published or changed since the day before the window was computed; else it has no rows. The audit's parameter
    `proves` says which it is.
    """
    return ToProve(dataset)


def landing(
    feed: str,
    fields: Mapping[str, str],
    delimiter: str = ",",
    due: str | None = None,
    calendar: BusinessCalendar = US_FEDERAL,
    since: date | None = None,
    tolerance: Tolerance = Tolerance(),  # noqa: B008  (frozen)
    refused_by: str | None = None,
) -> Landing:
    """Read the records of `landing/<feed>/<day>/`, fields as text. Only datasets of the landing domain may.

    `delimiter` is one character, between the values of a CSV line. `due` is the deadline of a day's folder, such as
    "05:00 next business day" in New York, by the business days of `calendar`; who owns the dataset is told if the
    folder is not complete then. `since` is the first day of a feed that begins later than the others: what reads it
    begins with that day, too. `tolerance` says how much may be refused: beyond it the step stops, until a person lets
    the date pass. Refused are records that nobody can read, and text that is not of its field's kind. A dataset that
    refuses records by more than that is named by `refused_by`: it has an audit with the parameter `feed`, which is what
    stops then, and what is known of the records here is a warning.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", feed):
        better = re.sub(r"[^A-Za-z0-9_]+", "_", feed).strip("_") or "disputes"
        raise DeclarationError(
            f"landing({feed!r}): expected a feed's name of letters, digits and _, since its sensor in Dagster is named "
            f"after it. Name it {better!r}, and its folder of the landing zone, too."
        )
    if unknown := {name: kind for name, kind in fields.items() if kind not in KINDS}:
        raise DeclarationError(
            f"landing({feed!r}): expected each field to be one of {', '.join(KINDS)}; found "
            f"{', '.join(f'{name}: {kind}' for name, kind in unknown.items())}."
        )
    if len(delimiter) != 1 or delimiter in "\"'\r\n" or delimiter.isalnum():
        raise DeclarationError(
            f"landing({feed!r}): expected a delimiter of one character that is no quote, line break, letter or digit; "
            f"found {delimiter!r}. Declare the character that stands between two values in the feed's CSV files."
        )
    return Landing(feed, dict(fields), delimiter, due, calendar, since, tolerance, refused_by)


def shared(inputs: Mapping[str, Input] | None = None) -> Callable[[Callable[..., "DataFrame"]], Shared]:
    """Declare a function as a frame that several datasets, transforms and audits name and that a step computes once."""

    def decorate(function: Callable[..., "DataFrame"]) -> Shared:
        return Shared(function.__name__, function, inputs_of(function, inputs or {}))

    return decorate


def inputs_of(
    function: Callable[..., Any],
    mapped: Mapping[str, Input],
    audits: Iterable[Callable[..., Any]] = (),
    carried: Mapping[str, Input] | None = None,
) -> Mapping[str, Input]:
    """What the function's parameters mean, and what those mean that only an audit names: the same by the same rule.

    An audit may also name what a shared frame reads. `carried`: the inputs that a dataset has by its carry=.
    """
    of_function = [name for name in inspect.signature(function).parameters if name != WINDOW]
    of_audits = sorted({name for each in audits for name in inspect.signature(each).parameters} - set(GIVEN))
    known = {**(carried or {}), **mapped}
    if unused := sorted(set(mapped) - {*of_function, *of_audits}):
        parameters = dict.fromkeys((*of_function, *of_audits))
        raise DeclarationError(
            f"{inspect.getfile(function)}: {function.__name__} maps {', '.join(unused)}, which is none of its "
            f"parameters ({', '.join(parameters) or 'none'})."
        )
    inputs = {name: known.get(name, SameWindow(name)) for name in of_function}
    read_by_shared = set(_read_by_shared({**inputs, **known}))
    for name in of_audits:
        if name in known or name not in read_by_shared:
            inputs.setdefault(name, known.get(name, SameWindow(name)))
    return {**inputs, **(carried or {})}


def _read_by_shared(inputs: Mapping[str, Input]) -> Iterator[str]:
    for item in inputs.values():
        if isinstance(item, Shared):
            yield from (name for name, each in item.inputs.items() if not isinstance(each, Shared))
            yield from _read_by_shared(item.inputs)


def collect_leaves(
    where: str, inputs: Mapping[str, Input], found: dict[str, Mapped], shared_frames: dict[str, Shared]
) -> None:
    for name, item in inputs.items():
        if isinstance(item, Shared):
            if shared_frames.setdefault(name, item) is not item:
                raise DeclarationError(f"{where}: the parameter {name!r} names two different shared frames.")
            collect_leaves(where, item.inputs, found, shared_frames)
        elif found.setdefault(name, item) != item:
            raise DeclarationError(f"{where}: the parameter {name!r} is read in two ways: {found[name]} and {item}.")
