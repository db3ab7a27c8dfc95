"""Steps as jobs of a cluster that a test plays: what is asked of it, and what becomes of its failures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from kubernetes.client import ApiClient, ApiException

from resources.kubernetes import step_jobs
from resources.kubernetes.diagnosis import Patience, Verdict
from resources.kubernetes.step_jobs import StepAccounts, StepJobs

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""

OOM = {"reason": "OOMKilled", "exitCode": 137}
KILLED = {"reason": "Error", "exitCode": 137}
LONG_AGO = "2025-01-01T12:00:00Z"


class Cluster:
    """Both APIs of a cluster in which the pod of each job made has the next of `fates`."""

    def __init__(self, *fates: dict[str, Any] | None) -> None:
        self.fates = list(fates)
        self.jobs: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.executors: list[dict[str, Any]] = []
        self.api_client = ApiClient()

    def create_namespaced_job(self, body: dict[str, Any], namespace: str, **_: Any) -> None:
        self.jobs.append(body)

    def read_namespaced_job(self, name: str, namespace: str) -> dict[str, Any]:
        if name in self.deleted:
            raise ApiException(404)
        return {"metadata": {"name": name, "creationTimestamp": LONG_AGO}, "status": {}}

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> Any:
        if label_selector == "spark-role=executor":
            return SimpleNamespace(items=self.executors)
        names = [job["metadata"]["name"] for job in self.jobs]
        fate = self.fates[names.index(label_selector.removeprefix("job-name="))]
        pod = {
            "metadata": {"name": "step-pod", "uid": "driver", "creationTimestamp": LONG_AGO},
            "spec": self.jobs[-1]["spec"]["template"]["spec"],
            "status": fate,
        }
        return SimpleNamespace(items=[pod] if fate else [])

    def list_namespaced_event(self, namespace: str, field_selector: str) -> Any:
        return SimpleNamespace(items=[])

    def read_namespaced_pod_log(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(data=b"the last line\n")

    def delete_namespaced_job(self, name: str, **_: Any) -> dict[str, Any]:
        self.deleted.append(name)
        return {}

    def delete_namespaced_pod(self, name: str, **_: Any) -> dict[str, Any]:
        return {}


def ended(state: dict[str, Any]) -> dict[str, Any]:
    return {"phase": "Running", "containerStatuses": [{"name": "dagster", "state": {"terminated": state}}]}


NO_ROOM = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}],
}

STAGE = SimpleNamespace(cluster=None, kubeconfig=None)
"""What `played` plays on: Dagster makes an executor from its definition alone."""


@dg.executor(name="played", requirements=[])
def played(_: dg.InitExecutorContext) -> StepDelegatingExecutor:
    return StepDelegatingExecutor(
        StepJobs(
            StepAccounts("affirm-step", "affirm-executor"),
            Patience(),
            load_incluster_config=False,
            kubeconfig_file=STAGE.kubeconfig,
            k8s_client_batch_api=STAGE.cluster,
            k8s_client_core_api=STAGE.cluster,
        ),
        retries=RetryMode.ENABLED,
        check_step_health_interval_seconds=0,
        sleep_seconds=0.05,
    )


def job() -> dg.JobDefinition:
    @dg.op(
        retry_policy=dg.RetryPolicy(max_retries=1),
        tags={"dagster-k8s/config": {"container_config": {"resources": {"limits": {"memory": "2Gi"}}}}},
    )
    def step() -> None: ...

    @dg.job(executor_def=played)
    def steps() -> None:
        step()

    return steps


Play = Callable[..., list[dg.DagsterEvent]]


@contextmanager
def instance_on_cluster(folder: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that launches runs on the cluster of the stage."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    STAGE.kubeconfig = str(kubeconfig)
    launcher = {
        "service_account_name": "affirm-run",
        "instance_config_map": "affirm-instance",
        "job_namespace": "affirm",
        "job_image": "affirm:1",
        "env_secrets": ["affirm-secrets"],
        "load_incluster_config": False,
        "kubeconfig_file": STAGE.kubeconfig,
    }
    overrides = {"run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher}}
    with dg.instance_for_test(overrides) as instance:
        yield instance


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Runs a job of one step on a cluster; returns the run's events."""

    def run(cluster: Cluster) -> list[dg.DagsterEvent]:
        STAGE.cluster = cluster
        with dg.execute_job(dg.reconstructable(job), instance) as result:
            return [
                entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event is not None
            ]

    with instance_on_cluster(tmp_path) as instance:
        yield run


def told(events: list[dg.DagsterEvent], kind: dg.DagsterEventType) -> list[Any]:
    return [event for event in events if event.event_type == kind]


def error_of(event: Any) -> str:
    return str(event.event_specific_data.error.message)


def test_a_pod_that_was_killed_is_tried_again_and_one_out_of_memory_is_not(play: Play) -> None:
    cluster = Cluster(ended(KILLED), ended(OOM))
    events = play(cluster)
    (retry,) = told(events, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert "pod step-pod ended killed (SIGKILL) without reporting how the step ended" in error_of(retry)
    assert error_of(retry).endswith("Its last lines:\nthe last line")
    (failure,) = told(events, dg.DagsterEventType.STEP_FAILURE)
    assert error_of(failure).startswith("out of memory: container dagster was killed at its memory limit of 2Gi")
    assert len(cluster.jobs) == 2


def test_a_step_out_of_memory_fails_at_once_though_its_policy_has_retries_left(play: Play) -> None:
    cluster = Cluster(ended(OOM))
    events = play(cluster)
    assert not told(events, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert len(told(events, dg.DagsterEventType.STEP_FAILURE)) == 1
    assert len(cluster.jobs) == 1
    assert cluster.deleted == []


def test_a_step_for_which_there_is_no_room_fails_and_its_job_is_deleted(play: Play) -> None:
    cluster = Cluster(NO_ROOM)
    (failure,) = told(play(cluster), dg.DagsterEventType.STEP_FAILURE)
    assert "0/1 nodes are available" in error_of(failure)
    assert "limits memory=2Gi" in error_of(failure)
    assert cluster.deleted == [cluster.jobs[0]["metadata"]["name"]]


def test_a_step_that_waits_is_told_of_once_while_there_is_patience(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_jobs, "diagnose", patient := Patient())
    events = play(Cluster(NO_ROOM))
    assert patient.asked > 2
    (said,) = [event.message for event in events if (event.message or "").startswith("Step pod")]
    assert said.startswith("Step pod step-pod: no room: 0/1 nodes are available. Asked: dagster (limits memory=2Gi")


class Patient:
    """In place of a diagnosis: for a while, nothing is wrong."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *_: Any) -> Verdict | None:
        self.asked += 1
        return Verdict("no room", "no room: enough waited", may_retry=False) if self.asked > 2 else None


def test_the_job_has_the_platforms_marks_rights_and_environment(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepJobs, "_detect_current_name_and_uid", lambda _: ("run-pod", "uid"))
    cluster = Cluster(ended(OOM))
    play(cluster)
    (made,) = cluster.jobs
    template = made["spec"]["template"]
    for metadata in (made["metadata"], template["metadata"]):
        assert metadata["labels"]["affirm/step"] == "step"
        assert metadata["labels"]["affirm/role"] == "step"
        assert metadata["labels"]["affirm/run-id"] == metadata["labels"]["dagster/run-id"]
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "run-pod", "uid")
    assert made["spec"]["backoffLimit"] == 0
    spec = template["spec"]
    assert (spec["serviceAccountName"], spec["restartPolicy"]) == ("affirm-step", "Never")
    assert spec["terminationGracePeriodSeconds"] == 5
    (container,) = spec["containers"]
    assert container["resources"] == {"limits": {"memory": "2Gi"}}
    assert {"secretRef": {"name": "affirm-secrets"}} in container["envFrom"]
    environment = {each["name"]: each for each in container["env"]}
    assert environment["AFFIRM_IMAGE"]["value"] == container["image"] == "affirm:1"
    assert environment["AFFIRM_EXECUTOR_SERVICE_ACCOUNT"]["value"] == "affirm-executor"
    assert environment["AFFIRM_STEP"]["value"] == "step"
    paths = {name: environment[name]["valueFrom"]["fieldRef"]["fieldPath"] for name in environment if "POD_" in name}
    assert paths == {"POD_IP": "status.podIP", "POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}


def test_executors_that_wait_are_told_of_once_and_their_logs_are_announced(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"phase": "Running", "containerStatuses": [{"name": "dagster", "state": {"running": {}}}]}
    cluster = Cluster(running)
    executor = {
        "metadata": {"name": "exec-1", "creationTimestamp": LONG_AGO, "ownerReferences": [{"uid": "driver"}]},
        "spec": {"containers": [{"name": "executor", "resources": {"requests": {"memory": "9Gi"}}}]},
        "status": NO_ROOM,
    }
    another = {**executor, "metadata": {**executor["metadata"], "name": "other", "ownerReferences": [{"uid": "x"}]}}
    cluster.executors = [executor, another]
    checks = iter([True, True, True])
    healthy = step_jobs.StepJobs.check_step_health

    def check(self: StepJobs, context: Any) -> Any:
        if next(checks, None) is None:
            cluster.fates = [ended(OOM)]
        return healthy(self, context)

    monkeypatch.setattr(StepJobs, "check_step_health", check)
    events = play(cluster)
    (waits,) = [event.message for event in events if "Executor pod" in (event.message or "")]
    assert waits.startswith(
        "Executor pod exec-1: no room: 0/1 nodes are available. Asked: executor (requests memory=9Gi"
    )
    (logs,) = told(events, dg.DagsterEventType.LOGS_CAPTURED)
    assert (logs.event_specific_data.file_key, logs.event_specific_data.step_keys) == ("exec-1", ["step"])
