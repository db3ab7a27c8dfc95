"""The code location: `build_defs` for a deployment, and `defs` for the one that the environment names."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

import affirm_assets.datasets
from affirm_assets.dataset import Registry
from affirm_assets.orchestration.assets import assets
from affirm_assets.orchestration.partitions import PartitionSets
from affirm_assets.settings import Settings
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.spark import local_sessions


def build_defs(
    settings: Settings, registry: Registry | None = None, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Definitions of a deployment; a test hands in other datasets or resources instead of patching."""
    registry = registry or Registry.walk(affirm_assets.datasets)
    return dg.Definitions(
        assets=assets(registry, PartitionSets(settings.first_business_date)),
        resources={**_resources(settings), **(resource_overrides or {})},
        # The steps of a run share one process and one Spark: a process for each would pay for a JVM each.
        executor=dg.in_process_executor,
    )


def catalog_of(settings: Settings) -> IcebergCatalog:
    return IcebergCatalog(
        uri=settings.catalog_uri,
        warehouse=settings.warehouse,
        region=settings.region,
        s3_endpoint=settings.s3_endpoint,
    )


def _resources(settings: Settings) -> dict[str, Any]:
    return {
        "catalog": catalog_of(settings),
        "spark": local_sessions(),
        "landing_zone": LandingZone(settings.landing),
    }


defs = build_defs(Settings.of(os.environ))
