"""The settings of a Spark whose executors are pods: what fits what, who gets what, and that no secret is in them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from resources.compute import PROFILES, decide, profile
from resources.spark_on_kubernetes import (
    KubernetesSparkSessions,
    NotInAStepPod,
    StepPod,
    driver_conf,
    executor_template,
    executors_conf,
)

MIB = 1 << 20
POD = "dagster-step-0123456789abcdef0123456789abcdef-x7k2p"
ENVIRON = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "POD_NAME": POD,
    "POD_NAMESPACE": "affirm",
    "POD_IP": "10.244.0.17",
    "AFFIRM_IMAGE": "docker.io/library/affirm:test",
    "AFFIRM_EXECUTOR_SERVICE_ACCOUNT": "affirm-executor",
    "AFFIRM_RUN_ID": "5f3c",
    "AFFIRM_STEP": "loans__loans",
    "AWS_REGION": "us-east-1",
}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "hunter2", "PGPASSWORD": "hunter3"}


def conf(environ: dict[str, str], native: bool | None = None) -> dict[str, str]:
    return executors_conf(decide(profile("medium", native=native), 4096 * MIB), StepPod.of(environ), 0.1, environ)


def test_the_driver_alone_uses_the_cores_and_the_heap_of_its_pod() -> None:
    decision = decide(profile("small", memory="4Gi"), 1)
    found = driver_conf(decision)
    assert found["spark.master"] == "local[2]"
    assert found["spark.driver.memory"] == f"{decision.profile.step.memory.heap}m"
    assert "-XX:ActiveProcessorCount=2" in found["spark.driver.extraJavaOptions"]
    assert found["spark.sql.shuffle.partitions"] == "8"


def test_an_executor_s_pod_is_its_profile_s() -> None:
    """Spark makes the pod's memory, request and limit, of these two; its Python workers must fit into the second."""
    found, executor = conf(ENVIRON, native=False), profile("medium", native=False).executor
    heap, overhead = (int(found[f"spark.executor.{name}"].removesuffix("m")) for name in ("memory", "memoryOverhead"))
    assert heap == executor.memory.heap
    assert heap + overhead == executor.memory.limit == 8192
    assert found["spark.executor.cores"] == "4"
    assert found["spark.kubernetes.executor.request.cores"] == "400m"
    scratch = "spark.kubernetes.executor.volumes.emptyDir.spark-local-dir-1"
    assert (found[f"{scratch}.mount.path"], found[f"{scratch}.options.sizeLimit"]) == ("/scratch", "40960Mi")


def test_without_native_operators_nothing_is_off_the_heap() -> None:
    decision = decide(profile("medium", native=False), 4096 * MIB)
    found = {**driver_conf(decision), **executors_conf(decision, StepPod.of(ENVIRON), 0.1, ENVIRON)}
    assert not [name for name in found if "offHeap" in name or "comet" in name or name == "spark.plugins"]


def test_native_operators_of_a_driver_alone_fit_into_its_pod() -> None:
    decision = decide(profile("medium", native=True), 1)
    found, memory = driver_conf(decision), decision.profile.step.memory
    assert found["spark.driver.memory"] == f"{memory.heap}m"
    assert (found["spark.memory.offHeap.enabled"], found["spark.memory.offHeap.size"]) == ("true", f"{memory.native}m")
    assert found["spark.plugins"] == "org.apache.spark.CometPlugin"
    assert memory.heap + memory.native + memory.overhead + memory.python == memory.limit == 4096


def test_native_operators_fit_into_an_executor_s_pod() -> None:
    """Spark adds what is off the heap to the two parts that make the pod's memory without it."""
    decision = decide(profile("medium", native=True), 4096 * MIB)
    found = {**driver_conf(decision), **executors_conf(decision, StepPod.of(ENVIRON), 0.1, ENVIRON)}
    parts = ("executor.memory", "executor.memoryOverhead", "memory.offHeap.size")
    assert sum(int(found[f"spark.{name}"].removesuffix("m")) for name in parts) == 8192
    assert found["spark.shuffle.manager"].endswith(".CometShuffleManager")


def test_executors_are_those_decided_on_and_go_when_idle() -> None:
    found = conf(ENVIRON)
    prefix = "spark.dynamicAllocation"
    assert found[f"{prefix}.enabled"] == found[f"{prefix}.shuffleTracking.enabled"] == "true"
    bounds = [found[f"{prefix}.{name}Executors"] for name in ("min", "initial", "max")]
    assert bounds == ["1", "4", "4"]


def test_executors_find_their_driver_and_belong_to_it() -> None:
    found = conf(ENVIRON)
    assert found["spark.master"] == "k8s://https://10.96.0.1:443"
    assert (found["spark.driver.host"], found["spark.driver.bindAddress"]) == ("10.244.0.17", "0.0.0.0")
    assert (found["spark.driver.port"], found["spark.driver.blockManager.port"]) == ("7078", "7079")
    assert found["spark.kubernetes.driver.pod.name"] == POD
    assert found["spark.kubernetes.namespace"] == "affirm"
    assert found["spark.kubernetes.container.image"] == ENVIRON["AFFIRM_IMAGE"]
    assert found["spark.kubernetes.authenticate.executor.serviceAccountName"] == "affirm-executor"


@pytest.mark.parametrize(
    ("pod", "prefix"),
    [
        pytest.param(POD, "step-0123456789abcdef0123456789abcdef-x7k2p", id="a step's job's"),
        pytest.param("x" * 60, "x" * 47, id="long"),
        pytest.param("x-" + "y" * 46, "y" * 46, id="long, with a hyphen where it is cut"),
    ],
)
def test_executors_are_named_after_their_step_as_far_as_a_name_may_go(pod: str, prefix: str) -> None:
    found = conf({**ENVIRON, "POD_NAME": pod})["spark.kubernetes.executor.podNamePrefix"]
    assert found == prefix
    assert len(f"{found}-exec-{2**31}") <= 63


def test_keys_are_referred_to_and_never_said() -> None:
    environ = {**ENVIRON, **KEYS}
    decision = decide(PROFILES["medium"], 4096 * MIB)
    found = {**driver_conf(decision), **conf(environ)}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert found[f"spark.kubernetes.executor.secretKeyRef.{name}"] == f"affirm-secrets:{name}"
    assert found["spark.executorEnv.AWS_REGION"] == "us-east-1"
    assert not [name for name, value in found.items() if any(key in value for key in KEYS.values())]


def test_without_keys_executors_use_their_account_s_role() -> None:
    assert not [name for name in conf(ENVIRON) if "secretKeyRef" in name]


def test_all_that_a_step_s_pod_lacks_is_named() -> None:
    with pytest.raises(NotInAStepPod) as caught:
        StepPod.of({name: value for name, value in ENVIRON.items() if name not in ("POD_IP", "AFFIRM_IMAGE")})
    assert str(caught.value) == (
        "a step that needs executors: these variables of its pod are not set:\n"
        "  - POD_IP: status.podIP\n"
        "  - AFFIRM_IMAGE: the image of the pod, for its executors"
    )


def test_executors_may_not_become_root_nor_write_into_the_image() -> None:
    spec = executor_template(None)["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {}}]


def cluster_conf(spot: str | None) -> tuple[dict[str, str], dict[str, Any]]:
    """The settings, and the pod template that they name."""
    sessions = KubernetesSparkSessions(spot=spot)
    found = sessions._cluster_conf(decide(PROFILES["medium"], 4096 * MIB), ENVIRON)
    return found, json.loads(Path(found["spark.kubernetes.executor.podTemplateFile"]).read_text())


def grace(found: dict[str, str]) -> int:
    return int(found["spark.kubernetes.executor.terminationGracePeriodSeconds"])


def test_without_spot_nodes_executors_are_placed_like_any_pod() -> None:
    found, template = cluster_conf(None)
    assert {"tolerations", "affinity"}.isdisjoint(template["spec"])
    assert "spark.decommission.enabled" not in found
    assert template["metadata"]["labels"]["affirm/run-id"] == "5f3c"
    assert grace(found) == template["spec"]["terminationGracePeriodSeconds"] == 5


def test_executors_prefer_spot_nodes_and_hand_on_what_they_hold_when_one_goes() -> None:
    found, template = cluster_conf("karpenter.sh/capacity-type=spot")
    spec = template["spec"]
    assert spec["tolerations"] == [{"key": "karpenter.sh/capacity-type", "operator": "Equal", "value": "spot"}]
    (preferred,) = spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["preference"]["matchExpressions"] == [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]}
    ]
    assert found["spark.decommission.enabled"] == found["spark.storage.decommission.shuffleBlocks.enabled"] == "true"
    assert grace(found) == spec["terminationGracePeriodSeconds"] == 60
    assert os.access(found["spark.kubernetes.decommission.script"], os.X_OK)
