"""Partitions and windows in Dagster's terms."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

import dagster as dg

from affirm_assets.declare.calendar import NEW_YORK
from affirm_assets.declare.dataset import FEEDS, Dataset
from affirm_assets.declare.inputs import Before, Beside, Landing, Later, Mapped, Previous, ToProve
from affirm_assets.declare.partitions import Daily, Monthly, Partitions, Window

BOOKS_TIME_ZONE = NEW_YORK.key
"""A business date ends at midnight here."""


def today() -> date:
    """The business date that has begun."""
    return datetime.now(NEW_YORK).date()


@dataclass(frozen=True)
class PartitionSets:
    """The deployment's daily and monthly partitions, from its first business date to today's, today included."""

    first_business_date: date

    def of(self, partitions: Partitions | None) -> dg.PartitionsDefinition[str] | None:
        match partitions:
            case Daily():
                return _daily(self.first_business_date)
            case Monthly():
                return _monthly(self.first_business_date)
            case None:
                return None


# One definition for each kind: Dagster runs datasets together only if theirs are equal. end_offset=1 gives today a
# partition before it has ended, since files of a business date arrive during it.


@cache
def _daily(first: date) -> dg.DailyPartitionsDefinition:
    start = datetime.combine(first, datetime.min.time())
    return dg.DailyPartitionsDefinition(start_date=start, timezone=BOOKS_TIME_ZONE, end_offset=1)


@cache
def _monthly(first: date) -> dg.MonthlyPartitionsDefinition:
    start = datetime.combine(first.replace(day=1), datetime.min.time())
    return dg.MonthlyPartitionsDefinition(start_date=start, timezone=BOOKS_TIME_ZONE, end_offset=1)


def window_of(dataset: Dataset, context: dg.AssetExecutionContext) -> Window | None:
    """The partitions that the run asks for: one, or a range."""
    if dataset.partitions is None:
        return None
    keys = context.partition_key_range
    return Window(date.fromisoformat(keys.start), date.fromisoformat(keys.end))


def dependencies(dataset: Dataset, upstream: Mapping[str, Dataset]) -> list[dg.AssetDep]:
    """One dependency for each asset that is read, over all the partitions that any parameter reads of it."""
    offsets: dict[dg.AssetKey, tuple[int, int]] = {}
    partitioned: set[dg.AssetKey] = set()
    for mapped in dataset.leaves.values():
        if isinstance(mapped, Later | Beside | ToProve):
            continue
        if isinstance(mapped, Landing):
            key, has_partitions = feed_key(mapped.feed), True
        else:
            read = dataset if mapped.dataset == dataset.name else upstream[mapped.dataset]
            key, has_partitions = asset_key(read), read.partitions is not None
        if dataset.partitions and has_partitions:
            partitioned.add(key)
        first, last = _offsets(mapped)
        known = offsets.get(key, (first, last))
        offsets[key] = min(known[0], first), max(known[1], last)
    return [
        dg.AssetDep(key, partition_mapping=_mapping(*window) if key in partitioned else None)
        for key, window in offsets.items()
    ]


@cache
def _mapping(first: int, last: int) -> dg.TimeWindowPartitionMapping:
    with warnings.catch_warnings():
        # The first business dates have no earlier ones: without this argument, which is in beta, they could not be run.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.TimeWindowPartitionMapping(
            start_offset=first, end_offset=last, allow_nonexistent_upstream_partitions=True
        )


def asset_key(dataset: Dataset) -> dg.AssetKey:
    return _key(dataset.domain, dataset.name)


def step_key(dataset: Dataset) -> str:
    return f"{dataset.domain}__{dataset.name}"


def feed_key(feed: str) -> dg.AssetKey:
    return _key(FEEDS, feed)


@cache
def _key(*path: str) -> dg.AssetKey:
    return dg.AssetKey(path)


def _offsets(mapped: Mapped) -> tuple[int, int]:
    match mapped:
        case Previous(n=n):
            return -n, -1
        case Before():
            return -1, -1
        case _:
            return 0, 0
