"""The sensor `alerts`, and the same once from outside: `affirm alerts`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster import ResourceParam

from affirm_assets.declare.registry import Registry
from affirm_assets.errors import AlertsNotSent
from affirm_assets.orchestration.alerts import Alert, AlertHook, Delivery, deliver
from affirm_assets.orchestration.assets import code_version_of
from affirm_assets.orchestration.failed_runs import Place
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.orchestration.troubles import (
    SENSOR,
    STANDS_STILL,
    daemons_that_stand_still,
    look,
    looked,
    remember,
    sensor_that_stands_still,
)
from resources.key_values import KeyValues

_INTERVAL_SECONDS = 30


def alert_sensor(registry: Registry, ui_url: str) -> dg.SensorDefinition:
    """Tells of failed runs and checks, of sensors and schedules that fail, and of daemons that stand still."""
    place = place_of(registry, ui_url)

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of failed runs and checks, and of sensors, schedules and daemons that fail.",
    )
    def sensor(context: dg.SensorEvaluationContext, alerts: ResourceParam[list[AlertHook]]) -> dg.SkipReason:
        if not alerts:
            return dg.SkipReason("No hook is set (AFFIRM_ALERT_WEBHOOK or AFFIRM_ALERT_SMTP): nobody is told anything.")
        now = datetime.now(UTC)
        last = context.last_tick_completion_time
        # After a pause of its own (the machine slept, the daemon was away), the others may be about to wake, too.
        was_awake = last is not None and datetime.fromtimestamp(last, UTC) > now - STANDS_STILL
        still = daemons_that_stand_still(context.instance, place, now) if was_awake else []
        delivery = _tell(context.instance, alerts, place, still, now)
        if delivery.problems:
            # A tick that is red says so where people look; it is told by the other hook, too.
            raise AlertsNotSent(delivery.problems)
        return dg.SkipReason(f"Alerts sent: {delivery.sent}")

    return sensor


@dataclass(frozen=True)
class Outside:
    """What a look from outside came to. `still`: what stands still at this moment, told or not."""

    delivery: Delivery
    still: Sequence[Alert]


def look_from_outside(instance: dg.DagsterInstance, hooks: Sequence[AlertHook], place: Place, now: datetime) -> Outside:
    """As the sensor does, and also tells if the sensor or its daemon stands still."""
    still = [*daemons_that_stand_still(instance, place, now), *sensor_that_stands_still(instance, place, now)]
    return Outside(_tell(instance, hooks, place, still, now) if hooks else Delivery(), still)


def place_of(registry: Registry, ui_url: str) -> Place:
    datasets = {asset_key(each): each for each in registry.datasets.values()}

    def version(asset: dg.AssetKey) -> str:
        return code_version_of(datasets[asset]) if asset in datasets else ""

    return Place({asset: each.owner for asset, each in datasets.items()}, ui_url, version)


def _tell(
    instance: dg.DagsterInstance, hooks: Sequence[AlertHook], place: Place, still: Sequence[Alert], now: datetime
) -> Delivery:
    values = KeyValues(instance)
    found, after = look(instance, place, looked(values, now), now)
    delivery = deliver(instance, hooks, [*still, *found], now)
    remember(values, after)
    return delivery
