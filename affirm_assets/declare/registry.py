"""The datasets of a project, found in the files of its packages and checked against each other.

Belongs here: how datasets fit together. Does not: what a single one is (dataset).
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Beside, History, Landing, Later, Previous, SameWindow
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
        if isinstance(mapped, Beside) and not _is_after(datasets[mapped.dataset], item):
            raise DeclarationError(
                f"{where}: beside({mapped.dataset!r}) is for a dataset that reads {item.name!r} and has partitions of "
                "the same kind: then a run of both computes it after this one."
            )
        if isinstance(mapped, SameWindow) and mapped.dataset == item.name:
            raise DeclarationError(
                f"{where}: a dataset cannot read the partition that it computes. Use previous() or history()."
            )


def _upstream_names(item: Dataset) -> set[str]:
    read = [m for m in item.leaves.values() if not isinstance(m, Landing | Beside)]
    return {m.dataset for m in read if m.dataset != item.name}


def _is_after(other: Dataset, item: Dataset) -> bool:
    scheduled = [m for m in other.leaves.values() if isinstance(m, SameWindow | Previous | History)]
    return item.name in {m.dataset for m in scheduled} and type(other.partitions) is type(item.partitions)


def _check_no_cycle(datasets: Mapping[str, Dataset]) -> None:
    try:
        TopologicalSorter({name: _upstream_names(item) for name, item in datasets.items()}).prepare()
    except CycleError as error:
        cycle = error.args[1]
        raise DeclarationError(
            f"{datasets[cycle[0]].source}: datasets read each other in a cycle: {' -> '.join(cycle)}. A dataset may "
            "read earlier partitions of itself, but not of one that reads it."
        ) from None
