"""How the parameters of transforms and audits are read: the same days, other days, files, a shared frame.

Belongs here: what a parameter may mean. Does not: reading it.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
class Beside:
    """The same days of a dataset that reads this one, as it was published last."""

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


MappedTable = SameWindow | Previous | History | Later | Beside
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


def beside(dataset: str) -> Beside:
    """Read what `dataset`, which reads this one, has published for the window, for an audit that the two agree.

    It has no rows where the same run computes it after this one: then that is the one to look. Schedules nothing.
    """
    return Beside(dataset)


def landing(feed: str, fields: Mapping[str, str]) -> Landing:
    """Read the records of `landing/<feed>/<day>/`, fields as text. Only datasets of the landing domain may."""
    return Landing(feed, dict(fields))


def shared(inputs: Mapping[str, Input] | None = None) -> Callable[[Callable[..., "DataFrame"]], Shared]:
    """Declare a function as a frame that several datasets, transforms and audits name and that a step computes once."""

    def decorate(function: Callable[..., "DataFrame"]) -> Shared:
        return Shared(function.__name__, function, inputs_of(function, inputs or {}))

    return decorate


def inputs_of(
    function: Callable[..., Any], mapped: Mapping[str, Input], audits: Iterable[Callable[..., Any]] = ()
) -> Mapping[str, Input]:
    """What the function's parameters mean, and what an audit's mean that only it names."""
    of_audits = {name for each in audits for name in inspect.signature(each).parameters if name in mapped}
    of_function = [name for name in inspect.signature(function).parameters if name != WINDOW]
    parameters = [*of_function, *sorted(of_audits - set(of_function))]
    if unused := sorted(set(mapped) - set(parameters)):
        raise DeclarationError(
            f"{inspect.getfile(function)}: {function.__name__} maps {', '.join(unused)}, which is none of its "
            f"parameters ({', '.join(parameters) or 'none'})."
        )
    return {name: mapped.get(name, SameWindow(name)) for name in parameters}


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
