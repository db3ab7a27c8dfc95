"""The code location: `build_defs` for a deployment, and `defs` for the one that the environment names."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

import affirm_assets.datasets
from affirm_assets import collector
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.alert_sensor import alert_sensor
from affirm_assets.orchestration.alerts import hooks_of
from affirm_assets.orchestration.assets import assets, code_versions
from affirm_assets.orchestration.books import Project, books_sensors, resume_job, schedules
from affirm_assets.orchestration.deadlines import deadline_schedules
from affirm_assets.orchestration.engines import StepSpark, lacks
from affirm_assets.orchestration.execution import execution_of
from affirm_assets.orchestration.landing import landing_sensors
from affirm_assets.orchestration.lost_runs import lost_runs
from affirm_assets.orchestration.partitions import PartitionSets
from affirm_assets.orchestration.reaper import reaper
from affirm_assets.orchestration.standing_checks import standing_sensor
from affirm_assets.settings import Settings
from affirm_assets.steps.request import RESULT_SETTINGS
from affirm_assets.stores import catalog_of, landing_zone_of
from resources.sail import SailSessions
from resources.spark import LOCAL_NATIVE_MIB, local_sessions
from resources.spark_on_kubernetes import KubernetesSparkSessions

_log = logging.getLogger(__name__)


def build_defs(
    settings: Settings, registry: Registry | None = None, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Definitions of a deployment; a test hands in other datasets or resources instead of patching."""
    registry = registry or Registry.walk(affirm_assets.datasets)
    for each in lacks(registry.datasets.values(), settings.engines):
        _log.warning("%s", each)
    execution = execution_of(settings, registry)
    made = assets(registry, PartitionSets(settings.first_business_date), settings, execution.retries)
    project = Project.of(registry, code_versions(made), settings.first_business_date)
    return dg.Definitions(
        assets=made,
        resources={**resources_of(settings), **(resource_overrides or {})},
        executor=execution.executor,
        sensors=[
            *landing_sensors(project, settings.ui_url),
            *books_sensors(project),
            standing_sensor(registry, settings.first_business_date, settings.ui_url),
            alert_sensor(registry, settings.ui_url),
            reaper if settings.deployment == "kubernetes" else lost_runs,
        ],
        schedules=[*schedules(project), *deadline_schedules(registry, settings.first_business_date, settings.ui_url)],
        jobs=[resume_job()],
    )


def resources_of(settings: Settings) -> dict[str, Any]:
    """What steps work with, as the deployment has it."""
    return {
        "catalog": catalog_of(settings),
        "spark": _spark(settings),
        "sail": SailSessions(settings.s3_endpoint, settings.region, RESULT_SETTINGS),
        "landing_zone": landing_zone_of(settings),
        "alerts": hooks_of(settings.alerts),
    }


def _spark(settings: Settings) -> StepSpark:
    match settings.deployment:
        case "kubernetes":
            return KubernetesSparkSessions(cpu_request_scale=settings.cpu_request_scale, spot=settings.spot)
        case _:
            return local_sessions(native=LOCAL_NATIVE_MIB if settings.engines.native else 0)


with collector.loading():
    defs = build_defs(Settings.of(os.environ))
