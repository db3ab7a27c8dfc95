"""What a dataset's compute profile means: its step's pod, and what Dagster shows of it."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import dagster as dg

from affirm_assets.declare.dataset import Compute, Dataset
from affirm_assets.errors import DeclarationError
from affirm_assets.steps.scan_size import ScanSize
from resources.compute import Decision, Profile, profile, step_pod


def profile_of(dataset: Dataset, native: bool | None = None) -> Profile:
    """`native`: of the whole deployment; it decides before the declaration does.

    Raises DeclarationError for an unknown profile, or overrides that cannot be.
    """
    try:
        return _profile(dataset.compute if native is None else replace(dataset.compute, native=native))
    except ValueError as error:
        raise DeclarationError(f"{dataset.source}: dataset {dataset.name!r}: {error}") from None


@cache
def _profile(compute: Compute) -> Profile:
    overrides = asdict(compute)
    del overrides["own_pod"]  # where a step runs, and not how much it gets there
    return profile(overrides.pop("profile"), **overrides)


@cache
def op_tags(profile: Profile, cpu_request_scale: float) -> Mapping[str, Any]:
    """Of a step, for executors that make pods; tags of a run or a job do not reach all of them."""
    return {"dagster-k8s/config": step_pod(profile.step, cpu_request_scale)}


def compute_metadata(profile: Profile, decision: Decision | None, size: ScanSize) -> dict[str, Any]:
    """`decision`: how many executors; None: nobody asked for any, since the step is sail's or not on Kubernetes."""
    chosen = {
        "profile": profile.name,
        "why": "Computed without executors; the profile is for a step that has a pod of its own.",
    }
    if decision:
        chosen |= {"why": decision.why, "step": profile.step.text}
        chosen |= {"executor": profile.executor.text} if decision.executors else {}
    return {
        "scan_bytes": size.bytes,
        "scan_files": size.files,
        "executors": decision.executors if decision else 0,
        "compute": dg.MetadataValue.json(chosen),
    }
