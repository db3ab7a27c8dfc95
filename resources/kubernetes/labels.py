"""By which labels the platform knows its own objects, and by which variables a step pod knows who it is."""

import hashlib
import re
from dataclasses import dataclass

_MAX_LENGTH = 63


@dataclass(frozen=True)
class Mark:
    label: str
    variable: str


RUN_ID = Mark("affirm/run-id", "AFFIRM_RUN_ID")
STEP = Mark("affirm/step", "AFFIRM_STEP")
ROLE = "affirm/role"
"""step, executor: what a run has made. No run is known by it, nor anything else that was there before."""

IMAGE = "AFFIRM_IMAGE"


def step_labels(run_id: str, step: str) -> dict[str, str]:
    return _labels(run_id, step, "step")


def executor_labels(run_id: str, step: str) -> dict[str, str]:
    return {**_labels(run_id, step, "executor"), "app.kubernetes.io/component": "spark_executor"}


def label_value(text: str) -> str:
    """The text as a label's value: what is not allowed becomes _, and a long one is told apart by its digest."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", text).strip("_.-")
    if len(plain) <= _MAX_LENGTH:
        return plain
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: _MAX_LENGTH - 9]}-{digest}"


def _labels(run_id: str, step: str, role: str) -> dict[str, str]:
    return {
        RUN_ID.label: label_value(run_id),
        STEP.label: label_value(step),
        ROLE: role,
        "app.kubernetes.io/part-of": "affirm",
    }
