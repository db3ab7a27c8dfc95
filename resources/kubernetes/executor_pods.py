"""What a step's executor pods have beside Spark's own: labels and log shipping, from the step pod's environment."""

from collections.abc import Mapping
from typing import Any

from resources.kubernetes.labels import IMAGE, RUN_ID, STEP, executor_labels
from resources.kubernetes.logs import VARIABLE, LogStore, log_files, with_shipping

EXECUTOR_CONTAINER = "executor"
"""For spark.kubernetes.executor.podTemplateContainerName."""

LOG_FILES = "AFFIRM_LOG_FILES"
"""Path, without .out and .err, to which the image's `executor` entrypoint sends what the JVM prints."""

SECRET = "affirm-secrets"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Of S3, by which pods reach it that have no role for that; SECRET holds them under these names."""

_GRACE_SECONDS = 5


def executor_pod(template: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """A pod template for spark.kubernetes.executor.podTemplateFile, made of a profile's own.

    `template`: a pod with a container EXECUTOR_CONTAINER; `environ`: the step pod's.
    """
    run_id, step = environ[RUN_ID.variable], environ[STEP.variable]
    metadata = template.get("metadata", {})
    labels = {**metadata.get("labels", {}), **executor_labels(run_id, step)}
    spec = {**template["spec"], "terminationGracePeriodSeconds": _GRACE_SECONDS}
    if text := environ.get(VARIABLE):
        spec = _with_logs(spec, LogStore.parse(text), environ[IMAGE], run_id)
    return {**template, "metadata": {**metadata, "labels": labels}, "spec": spec}


def _with_logs(spec: Mapping[str, Any], store: LogStore, image: str, run_id: str) -> dict[str, Any]:
    files = f"{store.folder}/{log_files(run_id, '$(POD_NAME)')}"
    environment = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": LOG_FILES, "value": files},
    ]
    shipped = {
        **spec,
        "containers": [
            {**each, "env": [*each.get("env", ()), *environment]} if each["name"] == EXECUTOR_CONTAINER else each
            for each in spec["containers"]
        ],
    }
    return with_shipping(shipped, EXECUTOR_CONTAINER, store, image, {"env": [*map(_key, KEYS)]})


def _key(name: str) -> dict[str, Any]:
    """Optional: without keys, the pod's service account has a role."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": name, "optional": True}}}
