"""The Spark of a step that is a pod: the pod is the driver, in client mode, and asks Kubernetes for its executors."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pyspark.sql import SparkSession

from resources.comet import comet_conf
from resources.compute import SCRATCH, Decision, Pod, Profile, cpu, decide
from resources.kubernetes.executor_pods import EXECUTOR_CONTAINER, KEYS, SECRET, executor_pod
from resources.kubernetes.labels import IMAGE, RUN_ID, STEP
from resources.memory import shares_container
from resources.spark import LOGGING, SparkSessions, common_conf

DRIVER_PORT, BLOCK_PORT = 7078, 7079
"""Of the step's pod, to which executors connect."""

_PLAIN = ("AWS_REGION", "AWS_ENDPOINT_URL_S3", "AFFIRM_S3_ENDPOINT")

_NEEDED = {
    "KUBERNETES_SERVICE_HOST": "the API server's address, which Kubernetes sets in each pod",
    "KUBERNETES_SERVICE_PORT": "its port",
    "POD_NAME": "metadata.name of the pod, by the downward API",
    "POD_NAMESPACE": "metadata.namespace",
    "POD_IP": "status.podIP",
    IMAGE: "the image of the pod, for its executors",
    "AFFIRM_EXECUTOR_SERVICE_ACCOUNT": "the account of its executors",
    RUN_ID.variable: "the run that it is of",
    STEP.variable: "the step that it is",
}

_USER = 10001
"""Of the image."""

_MAX_PREFIX = 47
"""Spark adds -exec-<number> to it, and a name has 63 characters at most."""

_SPOT_GRACE_SECONDS = 60
"""For an executor whose node goes, to hand on what it holds."""


class NotInAStepPod(Exception):
    """The environment lacks what a step's pod has."""


class NeedsOwnPod(Exception):
    """A step that Spark has to compute, in a pod that has no room for a JVM."""


class KubernetesSparkSessions(ConfigurableResource[Any]):
    """`cpu_request_scale`: how much of a profile's cores pods ask for, less than 1 on a small node.

    `spot`: <key>=<value>, the taint and the label of nodes that may vanish. Executors tolerate and prefer them; steps
    never go there.
    """

    cpu_request_scale: float = 1.0
    spot: str | None = None

    def open(self, conf: Mapping[str, str], profile: Profile, scan_bytes: int) -> tuple[SparkSession, Decision]:
        """The session of the only step of this process. Raises NotInAStepPod, or NeedsOwnPod in a run's own pod."""
        if shares_container():
            raise NeedsOwnPod("Spark is not started in the run's own pod, whose memory is for small steps on sail.")
        decision = decide(profile, scan_bytes)
        static = {**common_conf(), **driver_conf(decision)}
        if decision.executors:
            static |= self._cluster_conf(decision, os.environ)
        return SparkSessions(spark_config=static).session(conf), decision

    def _cluster_conf(self, decision: Decision, environ: Mapping[str, str]) -> dict[str, str]:
        pod = StepPod.of(environ)
        template = executor_pod(executor_template(self.spot), environ)
        if self.spot:
            template["spec"]["terminationGracePeriodSeconds"] = _SPOT_GRACE_SECONDS
        file = Path(tempfile.mkdtemp(), "executor.json")  # JSON is YAML
        file.write_text(json.dumps(template))
        return {
            **executors_conf(decision, pod, self.cpu_request_scale, environ),
            "spark.kubernetes.executor.podTemplateFile": str(file),
            # Spark puts its own setting in the place of the template's.
            "spark.kubernetes.executor.terminationGracePeriodSeconds": str(
                template["spec"]["terminationGracePeriodSeconds"]
            ),
            **(_DECOMMISSION if self.spot else {}),
        }


@dataclass(frozen=True)
class StepPod:
    """What the step's pod knows of itself. `master` is Spark's URL of the API server."""

    master: str
    name: str
    namespace: str
    ip: str
    image: str
    executor_account: str

    @staticmethod
    def of(environ: Mapping[str, str]) -> "StepPod":
        missing = [f"{name}: {what}" for name, what in _NEEDED.items() if not environ.get(name)]
        if missing:
            lines = "\n  - ".join(missing)
            raise NotInAStepPod(f"a step that needs executors: these variables of its pod are not set:\n  - {lines}")
        return StepPod(
            master=f"k8s://https://{environ['KUBERNETES_SERVICE_HOST']}:{environ['KUBERNETES_SERVICE_PORT']}",
            name=environ["POD_NAME"],
            namespace=environ["POD_NAMESPACE"],
            ip=environ["POD_IP"],
            image=environ[IMAGE],
            executor_account=environ["AFFIRM_EXECUTOR_SERVICE_ACCOUNT"],
        )

    @property
    def executor_prefix(self) -> str:
        """Begins the names of its executors."""
        return self.name.removeprefix("dagster-")[-_MAX_PREFIX:].lstrip("-.")


def driver_conf(decision: Decision) -> dict[str, str]:
    """Spark in the step's pod: alone, unless `executors_conf` is added."""
    step = decision.profile.step
    return {
        # Not local[*]: a pod without a CPU limit sees all the node's cores, and Python workers for them would not fit.
        "spark.master": f"local[{step.cores}]",
        "spark.driver.memory": f"{step.memory.heap}m",
        "spark.driver.extraJavaOptions": _java_options(step),
        "spark.sql.shuffle.partitions": str(decision.shuffle_partitions),
        **_native_conf(step),
    }


def executors_conf(
    decision: Decision, pod: StepPod, cpu_request_scale: float, environ: Mapping[str, str]
) -> dict[str, str]:
    """Executors as pods. No secret is in it: keys of S3 are referred to, where the step itself has keys.

    For native operators the driver only plans, and holds no memory: what is said of it is for the executors.
    """
    executor = decision.profile.executor
    prefix = "spark.kubernetes.executor"
    scratch = f"{prefix}.volumes.emptyDir.spark-local-dir-1"  # Spark knows its scratch space by this name
    return {
        "spark.master": pod.master,
        "spark.driver.host": pod.ip,
        "spark.driver.bindAddress": "0.0.0.0",
        "spark.driver.port": str(DRIVER_PORT),
        "spark.driver.blockManager.port": str(BLOCK_PORT),
        "spark.kubernetes.namespace": pod.namespace,
        # Executors belong to this pod, and go with it.
        "spark.kubernetes.driver.pod.name": pod.name,
        # There are none to look for or to delete, and the step's account may not.
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        "spark.kubernetes.container.image": pod.image,
        "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
        "spark.kubernetes.authenticate.executor.serviceAccountName": pod.executor_account,
        f"{prefix}.podNamePrefix": pod.executor_prefix,
        f"{prefix}.podTemplateContainerName": EXECUTOR_CONTAINER,
        f"{prefix}.disableConfigMap": "true",
        f"{prefix}.request.cores": cpu(executor.cores, cpu_request_scale),
        "spark.executor.cores": str(executor.cores),
        "spark.executor.memory": f"{executor.memory.heap}m",
        "spark.executor.memoryOverhead": f"{executor.memory.overhead + executor.memory.python}m",
        "spark.executor.extraJavaOptions": _java_options(executor),
        **_native_conf(executor),
        f"{scratch}.mount.path": SCRATCH,
        f"{scratch}.options.sizeLimit": f"{executor.scratch}Mi",
        # Executors with nothing to do go, those that die are replaced; more than were decided on there never are.
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.initialExecutors": str(decision.executors),
        "spark.dynamicAllocation.maxExecutors": str(decision.executors),
        "spark.dynamicAllocation.minExecutors": str(max(1, decision.profile.min_executors)),
        **{f"spark.executorEnv.{name}": environ[name] for name in _PLAIN if environ.get(name)},
        **{f"{prefix}.secretKeyRef.{name}": f"{SECRET}:{name}" for name in KEYS if environ.get(name)},
    }


def executor_template(spot: str | None) -> dict[str, Any]:
    """What Spark's settings cannot say of an executor's pod."""
    spec: dict[str, Any] = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": EXECUTOR_CONTAINER,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if spot:
        key, _, value = spot.partition("=")
        wanted = {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
        spec["tolerations"] = [{"key": key, "operator": "Equal", "value": value}]
        spec["affinity"] = {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": wanted}],
            }
        }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}


_DECOMMISSION = {
    # An executor whose node goes hands its shuffle files to others.
    "spark.decommission.enabled": "true",
    "spark.storage.decommission.enabled": "true",
    "spark.storage.decommission.shuffleBlocks.enabled": "true",
    "spark.storage.decommission.rddBlocks.enabled": "true",
    "spark.kubernetes.decommission.script": str(Path(__file__).with_name("decommission")),
}


def _native_conf(pod: Pod) -> dict[str, str]:
    """Spark adds what is off the heap to the memory that it asks for an executor's pod."""
    return comet_conf(pod.memory.native) if pod.memory.native else {}


def _java_options(pod: Pod) -> str:
    return f"-Dlog4j2.configurationFile={LOGGING.as_uri()} -XX:ActiveProcessorCount={pod.cores}"
