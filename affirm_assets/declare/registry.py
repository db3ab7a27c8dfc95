"""The datasets of a project, found in the files of its packages and checked against each other.

Belongs here: how datasets fit together. Does not: what a single one is (dataset).
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from inspect import getfile, signature
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from affirm_assets.declare.carry import LATER_PARTITIONS, PREVIOUS_PARTITION, next_of
from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import (
    FEED,
    Before,
    Beside,
    Input,
    Landing,
    Later,
    Previous,
    SameWindow,
    Shared,
    Through,
    ToProve,
)
from affirm_assets.errors import DeclarationError


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
        _check_known(datasets)
        for item in datasets.values():
            _check_inputs(item, datasets)
        _check_deadlines(datasets)
        _check_refusals(datasets)
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
                    declared = _declared_in(_imported(package.__name__, parts))
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


def _imported(package: str, parts: tuple[str, ...]) -> ModuleType:
    """The module. Raises DeclarationError with the file whose import of another one of the package fails."""
    try:
        return importlib.import_module(".".join((package, *parts)))
    except ImportError as error:
        if (error.name or "").partition(".")[0] != package.partition(".")[0]:
            raise
        files = [each.filename for each in extract_tb(error.__traceback__) if not each.filename.startswith("<")]
        raise DeclarationError(f"{files[-1]}: {error}. Was a file renamed that it imports?") from error


def _declared_in(module: ModuleType) -> list[Dataset]:
    own = Path(module.__file__ or "")
    return list({id(x): x for x in vars(module).values() if isinstance(x, Dataset) and x.source == own}.values())


def _check_inputs(item: Dataset, datasets: Mapping[str, Dataset]) -> None:
    for parameter, mapped in item.leaves.items():
        where = f"{item.source}: dataset {item.name!r}, parameter {parameter!r}"
        if isinstance(mapped, Landing):
            continue
        if isinstance(mapped, Previous) and mapped.n < 1:
            raise DeclarationError(
                f"{where}: previous({mapped.n}, {mapped.dataset!r}) reads nothing; expected 1 or more."
            )
        if isinstance(mapped, Previous | Before | Through | Later | ToProve) and (
            item.partitions is None or datasets[mapped.dataset].partitions is None
        ):
            raise DeclarationError(
                f"{where}: previous(), before(), through(), later() and to_prove() are for partitioned datasets that "
                "read partitioned ones."
            )
        if isinstance(mapped, Before | Through) and mapped.by is not None:
            fields = spark_schema(datasets[mapped.dataset].contract).fields
            texts = [each.name for each in fields if each.dataType.simpleString() == "string"]
            if mapped.by not in texts:
                raise DeclarationError(
                    f"{where}: expected by= to name a column of text of {mapped.dataset!r}, which has "
                    f"{', '.join(texts) or 'none'}; found {mapped.by!r}."
                )
        if isinstance(mapped, Beside) and not _is_after(datasets[mapped.dataset], item):
            raise DeclarationError(
                f"{where}: beside({mapped.dataset!r}) is for a dataset that reads {item.name!r} and has partitions of "
                "the same kind: then a run of both computes it after this one."
            )
        if isinstance(mapped, SameWindow | Through) and mapped.dataset == item.name:
            word = "same" if isinstance(mapped, SameWindow) else "through"
            raise DeclarationError(
                f"{where}: {word}({item.name!r}) is of the dataset itself, which cannot read the partition that it "
                "computes. Use previous() or before(); in an audit, `staged`."
            )


_HINTS = dict.fromkeys((PREVIOUS_PARTITION, LATER_PARTITIONS), " A dataset has it by its carry=.")


def _check_known(datasets: Mapping[str, Dataset]) -> None:
    """Refuses names that no dataset has, all of them at once: of a renamed file, everything that reads the old name."""
    unknown = {
        f"{where}: no dataset is named {mapped.dataset!r}.{_HINTS.get(mapped.dataset, '')}": mapped.dataset
        for item in datasets.values()
        for parameter, mapped in item.leaves.items()
        if not isinstance(mapped, Landing) and mapped.dataset not in datasets
        for where in _readers(item, parameter)
    }
    if unknown:
        close = [
            f"Close to {name!r}: {', '.join(found)}."
            for name in dict.fromkeys(unknown.values())
            if (found := get_close_matches(name, sorted(datasets), cutoff=0.5))
        ]
        there_are = f"There are: {', '.join(sorted(datasets))}."
        raise DeclarationError("\n".join([*unknown, " ".join([*close, there_are])]))


def _readers(item: Dataset, parameter: str) -> Iterator[str]:
    """Each function that names the parameter, with its file; the dataset, if none does."""
    functions = {
        f"{item.source}: dataset {item.name!r}": item.function,
        **{f"{getfile(x.function)}: audit {x.name!r} of dataset {item.name!r}": x.function for x in item.audits},
        **{f"{getfile(x.function)}: shared frame {x.name!r}": x.function for x in _shared_frames(item.inputs)},
    }
    if item.carry and item.carry.opens:
        if parameter in map(next_of, item.carry.others):
            return  # said of the parameter that it follows from
        functions[f"{getfile(item.carry.opens)}: carry of dataset {item.name!r}"] = item.carry.opens
    named = [where for where, function in functions.items() if parameter in signature(function).parameters]
    for where in named or [f"{item.source}: dataset {item.name!r}"]:
        yield f"{where}, parameter {parameter!r}"


def _shared_frames(inputs: Mapping[str, Input]) -> Iterator[Shared]:
    for each in inputs.values():
        if isinstance(each, Shared):
            yield each
            yield from _shared_frames(each.inputs)


def _upstream_names(item: Dataset) -> set[str]:
    read = [m for m in item.leaves.values() if not isinstance(m, Landing | Beside)]
    return {m.dataset for m in read if m.dataset != item.name}


def _check_deadlines(datasets: Mapping[str, Dataset]) -> None:
    """One dataset says when a feed is due: its owner is told."""
    declared: dict[str, Dataset] = {}
    for item in datasets.values():
        for each in item.feeds:
            if each.due and (other := declared.setdefault(each.feed, item)) is not item:
                raise DeclarationError(
                    f"{item.source}: landing({each.feed!r}): expected due= in one place; {other.source} declares it, "
                    "too, and its owner is told. Remove one of them."
                )


def _check_refusals(datasets: Mapping[str, Dataset]) -> None:
    """Which dataset refuses a feed's records is said on both sides: by refused_by=, and by an audit that looks."""
    readers = [each for each in datasets.values() if each.feeds]
    for reader in readers:
        for each in reader.feeds:
            by = datasets.get(each.refused_by or reader.name)
            if by is None or (by is not reader and not (reader.name in _upstream_names(by) and _looks_at_feed(by))):
                raise DeclarationError(
                    f"{reader.source}: landing({each.feed!r}): expected refused_by= to name a dataset that reads "
                    f"{reader.name!r} and has an audit with the parameter {FEED!r}, which says how many records it "
                    f"refuses; found {each.refused_by!r}. Without refused_by= this dataset has such an audit itself."
                )
    for item in filter(_looks_at_feed, datasets.values()):
        feeds = [each.feed for each in item.refuses_of(readers)]
        if len(feeds) != 1:
            raise DeclarationError(
                f"{item.source}: dataset {item.name!r}: an audit has the parameter {FEED!r}; expected one landing() "
                f"with refused_by={item.name!r}, found {', '.join(feeds) or 'none'}."
            )


def _looks_at_feed(item: Dataset) -> bool:
    return any(FEED in signature(each.function).parameters for each in item.audits)


def _is_after(other: Dataset, item: Dataset) -> bool:
    scheduled = [m for m in other.leaves.values() if isinstance(m, SameWindow | Previous | Before | Through)]
    reads_it = other.name != item.name and item.name in {m.dataset for m in scheduled}
    return reads_it and type(other.partitions) is type(item.partitions)


def _check_no_cycle(datasets: Mapping[str, Dataset]) -> None:
    try:
        TopologicalSorter({name: _upstream_names(item) for name, item in datasets.items()}).prepare()
    except CycleError as error:
        cycle = error.args[1]
        raise DeclarationError(
            f"{datasets[cycle[0]].source}: datasets read each other in a cycle: {' -> '.join(cycle)}. A dataset may "
            "read earlier partitions of itself, but not of one that reads it."
        ) from None
