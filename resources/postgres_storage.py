"""Dagster's storage in PostgreSQL, with asset checks by partition."""

from collections.abc import Sequence
from typing import Any

from dagster import EventLogEntry
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config

from resources.checks_by_partition import ChecksByPartition
from resources.event_log import apart


class PostgresEventLogWithChecks(ChecksByPartition, PostgresEventLogStorage):
    """As PostgresEventLogStorage, but for the times of what comes in a batch."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        super().store_event_batch(apart(events))


class PostgresStorage(DagsterPostgresStorage):
    """For `storage: custom:` in dagster.yaml, with the config of `storage: postgres:`."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        self._event_log_storage = PostgresEventLogWithChecks(
            postgres_url, should_autocreate_tables, token_provider=token_provider
        )

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "PostgresStorage":
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )
