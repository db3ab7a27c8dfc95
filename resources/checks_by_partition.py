"""Asset checks by partition, in Dagster's event log: a row for each run of partitions that had one outcome.

Dagster 1.13 lets a check have partitions, keeps a row with the whole event for each one that is announced, and wants an
event for each that is evaluated: a minute more for a range of 180 days. Here an evaluation may name an inclusive range,
`2025-01-01...2025-01-31`, and is one row. Whoever asks for partitions gets partitions: ranges are taken apart when they
are read.

The keys of partitions are dates, as those of Dagster's daily and monthly partitions.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import sqlalchemy as db
from dagster import AssetCheckEvaluation, AssetCheckKey, AssetKey, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckPartitionInfo
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Executions

_DOTS = "..."
_DATE = len("2025-01-01")
_RANGE = 2 * _DATE + len(_DOTS)


def range_key(first: str, last: str) -> str:
    """What an evaluation has for its partition: the key of one, or an inclusive range."""
    return first if first == last else f"{first}{_DOTS}{last}"


def keys_of(partition: str) -> Iterator[str]:
    """The inverse: every date of it. Of monthly partitions those that are no first of a month are no keys."""
    first, dots, last = partition.partition(_DOTS)
    if not dots:
        yield partition
        return
    start = date.fromisoformat(first)
    for offset in range((date.fromisoformat(last) - start).days + 1):
        yield str(start + timedelta(days=offset))


class ChecksByPartition(SqlEventLogStorage):
    """For an event log on SQL: mixed in before Dagster's own storage for SQLite or PostgreSQL."""

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """Nothing for partitions: a row for each would stay as "execution failed" for all that a run did not get to,
        and hide what is known of those partitions."""
        planned = event.get_dagster_event().event_specific_data
        assert isinstance(planned, AssetCheckEvaluationPlanned)
        if planned.partitions_subset is None:
            super()._store_asset_check_evaluation_planned(event, event_id)

    def _update_asset_check_evaluation(self, event: EventLogEntry, event_id: int | None) -> None:
        evaluation = event.get_dagster_event().event_specific_data
        assert isinstance(evaluation, AssetCheckEvaluation)
        if evaluation.partition is None:
            super()._update_asset_check_evaluation(event, event_id)
            return
        with self.index_connection() as index:
            # A step that is tried again within its run says so again.
            index.execute(
                Executions.delete().where(
                    Executions.c.asset_key == evaluation.asset_key.to_string(),
                    Executions.c.check_name == evaluation.check_name,
                    Executions.c.run_id == event.run_id,
                    Executions.c.partition == evaluation.partition,
                )
            )
        # Of its own accord, as nothing was announced.
        self._store_runless_asset_check_evaluation(event, event_id)

    def _get_asset_check_partition_filter_clause(self, partition_filter: PartitionKeyFilter | None) -> Any:
        """The rows of this partition: its own, and the ranges that it lies in."""
        if partition_filter is None or partition_filter.key is None:
            return super()._get_asset_check_partition_filter_clause(partition_filter)
        key, partition = partition_filter.key, Executions.c.partition
        lies_in = db.and_(
            db.func.length(partition) == _RANGE,
            db.func.substr(partition, 1, _DATE) <= key,
            db.func.substr(partition, _RANGE - _DATE + 1) >= key,
        )
        return db.or_(partition == key, lies_in)

    def _get_asset_check_partition_info_for_key(
        self,
        check_key: AssetCheckKey,
        after_storage_id: int | None,
        partition_keys: Sequence[str] | None,
        latest_unpartitioned_materialization_storage_ids: Mapping[AssetKey, int],
    ) -> Sequence[AssetCheckPartitionInfo]:
        """The newest evaluation of each partition. It holds until the partition is materialized after it."""
        rows = super()._get_asset_check_partition_info_for_key(
            check_key, None, None, latest_unpartitioned_materialization_storage_ids
        )
        materialized = self.get_latest_storage_id_by_partition(
            check_key.asset_key, DagsterEventType.ASSET_MATERIALIZATION
        )
        wanted = None if partition_keys is None else set(partition_keys)
        found: dict[str | None, AssetCheckPartitionInfo] = {}
        for row in sorted(rows, key=lambda each: each.latest_check_event_storage_id):
            for key in [None] if row.partition_key is None else keys_of(row.partition_key):
                if wanted is None or key in wanted:
                    found[key] = _of_partition(row, key, materialized.get(key) if key else None)
        return [each for each in found.values() if _is_after(each, after_storage_id)]


def _of_partition(row: AssetCheckPartitionInfo, key: str | None, materialized: int | None) -> AssetCheckPartitionInfo:
    latest = max(filter(None, (row.latest_materialization_storage_id, materialized)), default=None)
    is_newer = latest is not None and row.latest_check_event_storage_id > latest
    return AssetCheckPartitionInfo(
        check_key=row.check_key,
        partition_key=key,
        latest_execution_status=row.latest_execution_status,
        latest_planned_run_id=row.latest_planned_run_id,
        latest_check_event_storage_id=row.latest_check_event_storage_id,
        latest_materialization_storage_id=latest,
        latest_target_materialization_storage_id=(latest if is_newer else row.latest_target_materialization_storage_id),
    )


def _is_after(info: AssetCheckPartitionInfo, storage_id: int | None) -> bool:
    newest = max(info.latest_check_event_storage_id, info.latest_materialization_storage_id or 0)
    return storage_id is None or newest > storage_id
