"""The platform's code location with the faults beside its datasets."""

import os

import dagster as dg

import affirm_assets.datasets
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.settings import Settings
from tests.kubernetes.faults import datasets

_HUGE = {"requests": {"cpu": "200m", "memory": "9Ti"}, "limits": {"memory": "9Ti"}}


@dg.asset(op_tags={"dagster-k8s/config": {"container_config": {"resources": _HUGE}}})
def without_room() -> None:
    """No node has as much memory."""


@dg.asset(op_tags={"dagster-k8s/config": {"container_config": {"image": "docker.io/library/affirm:missing"}}})
def without_image() -> None:
    """No registry has this image."""


_registry = Registry.of(
    [
        *Registry.walk(affirm_assets.datasets).datasets.values(),
        *Registry.walk(datasets).datasets.values(),
    ]
)
defs = dg.Definitions.merge(
    build_defs(Settings.of(os.environ), _registry), dg.Definitions(assets=[without_room, without_image])
)
