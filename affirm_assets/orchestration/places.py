"""Which steps are small enough for the run's own pod on Kubernetes, and why.

Memory follows what is read, but not in a range of a dataset that carries its rows from day to day: a few bytes of loans
are a row of each loan for each day of it. So there the bytes count once for each day.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.asking import window_asked
from affirm_assets.orchestration.partitions import step_key
from affirm_assets.settings import SPARK, Settings
from affirm_assets.steps.scan_size import scan_size_now
from affirm_assets.steps.storage import Storage
from affirm_assets.stores import catalog_of, landing_zone_of
from resources.kubernetes.places import Place
from resources.memory import usable_memory
from resources.sail import sail_problem


@dataclass(frozen=True)
class StepPlaces:
    """`memory`: bytes that a step may use in the process that asks."""

    registry: Registry
    settings: Settings
    memory: Callable[[], int] = usable_memory
    sail_problem: Callable[[], str | None] = sail_problem

    def beforehand(self, step: str) -> str | None:
        dataset = self._datasets.get(step)
        if dataset is None:
            return "it belongs to no dataset, so nobody knows how much memory it needs"
        if dataset.compute.own_pod or dataset.compute.memory:
            return "the dataset asks for it"
        if (self.settings.engines.engine or dataset.engine) == SPARK:
            by = "AFFIRM_ENGINE" if self.settings.engines.engine else "the dataset"
            return f"{by} says that spark computes it"
        if problem := self.sail_problem():
            return f"spark computes it: {problem.rstrip('.')}"
        return None

    def now(self, step: str, tags: Mapping[str, str]) -> Place:
        dataset = self._datasets[step]
        try:
            window = window_asked(tags)
            with self._storage() as storage:
                size = scan_size_now(dataset, self.registry.datasets, window, storage)
        except Exception as error:  # a pod is enough for any size, and the step there says what is wrong
            return Place(False, f"how much it reads cannot be told ({type(error).__name__}: {error})")
        most = self.settings.engines.most_in_share(self.memory())
        to_read = f"{size.bytes / 2**20:,.1f} MiB to read"
        times = (
            sum(1 for _ in dataset.partitions.starts(window)) if dataset.carry and dataset.partitions and window else 1
        )
        if times > 1:
            to_read += f", counted for each of the {times} partitions that carry it on"
        if size.bytes * times > most << 20:
            return Place(False, f"{to_read}, more than the {most:,} MiB for a step in the run's own pod")
        return Place(True, f"{to_read}, of at most {most:,} MiB")

    @cached_property
    def _datasets(self) -> Mapping[str, Dataset]:
        """By the keys of their steps."""
        return {step_key(each): each for each in self.registry.datasets.values()}

    @contextmanager
    def _storage(self) -> Iterator[Storage]:
        catalog = catalog_of(self.settings)
        landing: Any = landing_zone_of(self.settings)  # its kinds of fields are more narrow than plain text
        with catalog.load() as loaded:
            yield Storage(loaded, landing, catalog.name)
