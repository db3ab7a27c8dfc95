"""Partitions and windows in Dagster's terms."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import dagster as dg

from affirm_assets.declare.calendar import NEW_YORK
from affirm_assets.declare.dataset import FEEDS, Dataset
from affirm_assets.declare.inputs import Before, Beside, Landing, Later, Mapped, MappedTable, Previous
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
        # One definition for each kind: Dagster runs datasets together only if theirs are equal. end_offset=1 gives
        # today a partition before it has ended, since files of a business date arrive during it.
        first = datetime.combine(self.first_business_date, datetime.min.time())
        match partitions:
            case Daily():
                return dg.DailyPartitionsDefinition(start_date=first, timezone=BOOKS_TIME_ZONE, end_offset=1)
            case Monthly():
                return dg.MonthlyPartitionsDefinition(
                    start_date=first.replace(day=1), timezone=BOOKS_TIME_ZONE, end_offset=1
                )
            case None:
                return None


def window_of(dataset: Dataset, context: dg.AssetExecutionContext) -> Window | None:
    """The partitions that the run asks for: one, or a range."""
    if dataset.partitions is None:
        return None
    keys = context.partition_key_range
    return Window(date.fromisoformat(keys.start), date.fromisoformat(keys.end))


def dependencies(dataset: Dataset, upstream: Mapping[str, Dataset]) -> list[dg.AssetDep]:
    """One dependency for each asset that is read, over all the partitions that any parameter reads of it."""
    offsets: dict[tuple[str, ...], tuple[int, int]] = {}
    for mapped in dataset.leaves.values():
        if isinstance(mapped, Later | Beside):
            continue
        key = (
            feed_key(mapped.feed).path
            if isinstance(mapped, Landing)
            else asset_key(_read(dataset, mapped, upstream)).path
        )
        first, last = _offsets(mapped)
        known = offsets.get(tuple(key), (first, last))
        offsets[tuple(key)] = min(known[0], first), max(known[1], last)
    return [
        dg.AssetDep(
            list(key),
            partition_mapping=_mapping(first, last) if _is_time_mapped(dataset, list(key), upstream) else None,
        )
        for key, (first, last) in offsets.items()
    ]


def _mapping(first: int, last: int) -> dg.TimeWindowPartitionMapping:
    with warnings.catch_warnings():
        # The first business dates have no earlier ones: without this argument, which is in beta, they could not be run.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.TimeWindowPartitionMapping(
            start_offset=first, end_offset=last, allow_nonexistent_upstream_partitions=True
        )


def asset_key(dataset: Dataset) -> dg.AssetKey:
    return dg.AssetKey([dataset.domain, dataset.name])


def feed_key(feed: str) -> dg.AssetKey:
    return dg.AssetKey([FEEDS, feed])


def _read(dataset: Dataset, mapped: MappedTable, upstream: Mapping[str, Dataset]) -> Dataset:
    return dataset if mapped.dataset == dataset.name else upstream[mapped.dataset]


def _offsets(mapped: Mapped) -> tuple[int, int]:
    match mapped:
        case Previous(n=n):
            return -n, -1
        case Before():
            return -1, -1
        case _:
            return 0, 0


def _is_time_mapped(dataset: Dataset, key: list[str], upstream: Mapping[str, Dataset]) -> bool:
    """Whether both ends are partitioned; a feed is, by day."""
    read = dataset if key == asset_key(dataset).path else upstream.get(key[-1])
    is_feed = read is None or asset_key(read).path != key
    return dataset.partitions is not None and (is_feed or (read is not None and read.partitions is not None))
