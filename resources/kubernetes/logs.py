"""Where a pod's stdout and stderr go: files on a volume that a second container ships to Dagster's compute logs.

Dagster's compute log manager uploads what a step printed when the step ends, and nothing once it was killed. The
container here outlives the one it serves (an init container with restartPolicy Always: Kubernetes 1.29 and newer ends
it after the others) and then uploads what is left under the keys that Dagster's UI reads.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

VOLUME = "affirm-logs"
CONTAINER = "logs"
VARIABLE = "AFFIRM_LOG_STORE"

_AMOUNTS = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
"""A Python with boto3 that sleeps most of the time."""


@dataclass(frozen=True)
class LogStore:
    """`bucket` and `prefix` of S3, `endpoint` unless AWS, `region` unless the environment's; `folder` in the pod."""

    bucket: str
    prefix: str
    folder: str
    endpoint: str | None = None
    region: str | None = None

    @staticmethod
    def of(compute_log_manager: Any) -> "LogStore | None":
        """That of an instance's compute log manager; None if it does not keep logs on S3."""
        from dagster_aws.s3 import S3ComputeLogManager

        if not isinstance(compute_log_manager, S3ComputeLogManager):
            return None
        client = compute_log_manager._s3_session
        return LogStore(
            bucket=compute_log_manager._s3_bucket,
            prefix=compute_log_manager._s3_prefix,
            folder=compute_log_manager.local_manager._base_dir,
            endpoint=client.meta.endpoint_url,
            region=client.meta.region_name,
        )

    @staticmethod
    def parse(text: str) -> "LogStore":
        return LogStore(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def key(self, path: str) -> str:
        """The key of a file, by its path in the folder: <run id>/compute_logs/<file key>.out or .err."""
        return f"{self.prefix}/storage/{path}"


def log_files(run_id: str, file_key: str) -> str:
    """The path of a pod's log files in its folder, without their endings."""
    return f"{run_id}/compute_logs/{file_key}"


def with_shipping(
    spec: Mapping[str, Any], container: str, store: LogStore, image: str, environment: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """A pod's spec with the container that ships the logs of `container`.

    `environment`: its `env` and `envFrom`, by which it reaches S3.
    """
    mount = {"name": VOLUME, "mountPath": store.folder}
    served = next(each for each in spec["containers"] if each["name"] == container)
    shipper = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": served.get("imagePullPolicy", "IfNotPresent"),
        "restartPolicy": "Always",
        # Not through the image's entrypoint, which is Dagster's and Spark's.
        "command": ["python3", "-m", "resources.kubernetes.ship"],
        "env": [*environment.get("env", ()), {"name": VARIABLE, "value": store.to_json()}],
        "envFrom": list(environment.get("envFrom", ())),
        "resources": _AMOUNTS,
        "volumeMounts": [mount],
        **({"securityContext": served["securityContext"]} if served.get("securityContext") else {}),
    }
    return {
        **spec,
        "initContainers": [shipper, *(spec.get("initContainers") or ())],
        "containers": [
            {**each, "volumeMounts": [*(each.get("volumeMounts") or ()), mount]} if each is served else each
            for each in spec["containers"]
        ],
        "volumes": [*(spec.get("volumes") or ()), {"name": VOLUME, "emptyDir": {}}],
    }
