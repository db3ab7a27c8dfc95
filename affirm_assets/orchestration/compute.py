"""What a dataset's compute profile means: its step's pod, its session, and what Dagster shows of both."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import dagster as dg
from pyspark.sql import SparkSession

from affirm_assets.declare.dataset import Dataset
from affirm_assets.errors import DeclarationError
from affirm_assets.steps.scan import ScanSize
from resources.compute import Decision, Profile, profile, step_pod


class StepSpark(Protocol):
    """Makes Spark for a step that will read so much."""

    def open(self, conf: Mapping[str, str], profile: Profile, scan_bytes: int) -> tuple[SparkSession, Decision | None]:
        """A session of the step's own with these settings; None: in this process, which was there before."""


class StepSession:
    """Opens a step's session, and remembers what was chosen for it: nothing, if the step needed none."""

    def __init__(self, spark: StepSpark, conf: Mapping[str, str], profile: Profile) -> None:
        self._spark, self._conf, self._profile = spark, conf, profile
        self.metadata: Mapping[str, Any] = {}

    def open(self, scan: ScanSize) -> SparkSession:
        session, decision = self._spark.open(self._conf, self._profile, scan.bytes)
        self.metadata = _metadata(self._profile, decision, scan)
        return session


def profile_of(dataset: Dataset) -> Profile:
    """Raises DeclarationError for an unknown profile, or overrides that cannot be."""
    overrides = asdict(dataset.compute)
    try:
        return profile(overrides.pop("profile"), **overrides)
    except ValueError as error:
        raise DeclarationError(f"{dataset.source}: dataset {dataset.name!r}: {error}") from None


def op_tags(profile: Profile, cpu_request_scale: float) -> dict[str, Any]:
    """Of a step, for executors that make pods; tags of a run or a job do not reach all of them."""
    return {"dagster-k8s/config": step_pod(profile.step, cpu_request_scale)}


def _metadata(profile: Profile, decision: Decision | None, scan: ScanSize) -> dict[str, Any]:
    chosen = {"profile": profile.name, "why": "Profiles are for steps in pods: this one had the cores of its machine."}
    if decision:
        chosen |= {"why": decision.why, "step": profile.step.text}
        chosen |= {"executor": profile.executor.text} if decision.executors else {}
    return {
        "scan_bytes": scan.bytes,
        "scan_files": scan.files,
        "executors": decision.executors if decision else 0,
        "compute": dg.MetadataValue.json(chosen),
    }
