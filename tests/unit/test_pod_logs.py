"""Shipping of a pod's log files: the container that does it, and under which keys."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster_aws.s3 import S3ComputeLogManager
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes.client import ApiClient

from resources.kubernetes.executor_pods import EXECUTOR_CONTAINER, executor_pod
from resources.kubernetes.logs import LogStore, log_files, with_shipping
from resources.kubernetes.run_launcher import RunPods
from resources.kubernetes.ship import Shipper
from tests.unit.test_step_jobs import KUBECONFIG

STORE = LogStore("bucket", "prefix", "/logs", "http://10.0.0.1:7070", "eu-west-1")
ENVIRONMENT = {
    "AFFIRM_RUN_ID": "run",
    "AFFIRM_STEP": "loans__loans",
    "AFFIRM_IMAGE": "affirm:1",
    "AFFIRM_LOG_STORE": STORE.to_json(),
}
TEMPLATE = {"spec": {"containers": [{"name": EXECUTOR_CONTAINER}], "tolerations": [{"key": "spot"}]}}


def manager(folder: Path) -> S3ComputeLogManager:
    return S3ComputeLogManager(
        "bucket", local_dir=str(folder), prefix="/prefix/", endpoint_url="http://10.0.0.1:7070", region="eu-west-1"
    )


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def test_the_keys_are_those_of_dagsters_own_log_manager(tmp_path: Path) -> None:
    dagsters = manager(tmp_path)
    store = LogStore.of(dagsters)
    assert store is not None
    log_key = ["run", "compute_logs", "abcd"]
    for io_type, ending in ((ComputeIOType.STDOUT, "out"), (ComputeIOType.STDERR, "err")):
        path = f"{log_files('run', 'abcd')}.{ending}"
        assert store.key(path) == dagsters._s3_key(log_key, io_type)
        assert f"{store.folder}/{path}" == dagsters.local_manager.get_captured_local_path(log_key, ending)
    assert store.key(f"{log_files('run', 'abcd')}.out.partial") == dagsters._s3_key(log_key, ComputeIOType.STDOUT, True)


def test_a_store_survives_the_environment_and_only_s3_is_one(tmp_path: Path) -> None:
    store = LogStore.of(manager(tmp_path))
    assert store is not None
    assert (
        LogStore.parse(store.to_json())
        == store
        == LogStore("bucket", "prefix", str(tmp_path), "http://10.0.0.1:7070", "eu-west-1")
    )
    assert LogStore.of(NoOpComputeLogManager()) is None


class Uploads(dict[str, str]):
    def __call__(self, file: Path, key: str) -> None:
        self[key] = file.read_text()


@pytest.fixture
def uploads() -> Uploads:
    return Uploads()


@pytest.fixture
def shipper(tmp_path: Path, uploads: Uploads) -> Shipper:
    return Shipper(LogStore("bucket", "prefix", str(tmp_path)), uploads)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / "run" / "compute_logs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_parts_are_shipped_as_they_grow(shipper: Shipper, uploads: Uploads, tmp_path: Path) -> None:
    write(tmp_path, "a.out", "one\n")
    write(tmp_path, "a.err", "")
    shipper.ship_parts()
    assert uploads == {"prefix/storage/run/compute_logs/a.out.partial": "one\n"}
    uploads.clear()
    shipper.ship_parts()
    assert uploads == {}
    write(tmp_path, "a.out", "one\ntwo\n")
    shipper.ship_parts()
    assert uploads == {"prefix/storage/run/compute_logs/a.out.partial": "one\ntwo\n"}


def test_after_the_end_all_is_shipped_for_good(shipper: Shipper, uploads: Uploads, tmp_path: Path) -> None:
    write(tmp_path, "a.out", "one\n")
    write(tmp_path, "a.err", "")
    write(tmp_path, "a.complete", "")
    shipper.ship_all()
    assert uploads == {"prefix/storage/run/compute_logs/a.out": "one\n", "prefix/storage/run/compute_logs/a.err": ""}


def test_what_dagster_has_shipped_and_removed_is_not_shipped_again(
    shipper: Shipper, uploads: Uploads, tmp_path: Path
) -> None:
    file = write(tmp_path, "a.out", "one\n")
    shipper.ship_parts()
    file.unlink()
    uploads.clear()
    shipper.ship_all()
    assert uploads == {}


def test_the_shipping_container_outlives_the_other_and_shares_its_files_and_rights() -> None:
    spec = {
        "containers": [{"name": "dagster", "securityContext": {"readOnlyRootFilesystem": True}}, {"name": "other"}],
        "initContainers": [{"name": "first"}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    shipped = with_shipping(
        spec, "dagster", STORE, "affirm:1", {"envFrom": [{"secretRef": {"name": "affirm-secrets"}}]}
    )
    logs, first = shipped["initContainers"]
    assert (logs["restartPolicy"], logs["image"], first) == ("Always", "affirm:1", {"name": "first"})
    assert logs["securityContext"] == {"readOnlyRootFilesystem": True}
    assert logs["envFrom"] == [{"secretRef": {"name": "affirm-secrets"}}]
    served, other = shipped["containers"]
    assert logs["volumeMounts"] == served["volumeMounts"] == [{"name": "affirm-logs", "mountPath": "/logs"}]
    assert other == {"name": "other"}
    assert [each["name"] for each in shipped["volumes"]] == ["tmp", "affirm-logs"]


def test_an_executor_pod_keeps_its_profile_and_is_labelled_and_shipped() -> None:
    pod = executor_pod(TEMPLATE, ENVIRONMENT)
    labels = pod["metadata"]["labels"]
    assert (labels["affirm/run-id"], labels["affirm/step"], labels["affirm/role"]) == (
        "run",
        "loans__loans",
        "executor",
    )
    assert pod["spec"]["tolerations"] == [{"key": "spot"}]
    (executor,) = pod["spec"]["containers"]
    assert {"name": "AFFIRM_LOG_FILES", "value": "/logs/run/compute_logs/$(POD_NAME)"} in executor["env"]
    assert "secret" not in str(executor).lower()
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["logs"]


def test_an_executor_pod_without_a_store_of_logs_ships_none() -> None:
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "AFFIRM_LOG_STORE"}
    assert "initContainers" not in executor_pod(TEMPLATE, environment)["spec"]


def test_a_runs_pod_ships_its_logs_beside_what_the_instance_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    launcher = RunPods(
        service_account_name="affirm-run",
        instance_config_map="affirm-instance",
        dagster_home="/opt/dagster",
        job_image="affirm:1",
        env_secrets=["affirm-secrets"],
        volumes=[{"name": "tmp", "emptyDir": {}}],
        volume_mounts=[{"name": "tmp", "mountPath": "/tmp"}],
        security_context={"readOnlyRootFilesystem": True},
        load_incluster_config=False,
        kubeconfig_file=str(tmp_path / "kubeconfig"),
    )
    logs = manager(tmp_path / "logs")
    monkeypatch.setattr(RunPods, "_instance", SimpleNamespace(compute_log_manager=logs))
    context = launcher.get_container_context_for_run(dg.DagsterRun("job"))
    config = context.get_k8s_job_config("affirm:1", launcher)
    job = construct_dagster_k8s_job(config, ["dagster"], "run", context.run_k8s_config)
    spec = ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]
    (shipper,) = spec["initContainers"]
    assert (shipper["name"], shipper["image"], shipper["restartPolicy"]) == ("logs", "affirm:1", "Always")
    assert {"secretRef": {"name": "affirm-secrets"}} in shipper["envFrom"]
    assert shipper["securityContext"] == {"readOnlyRootFilesystem": True}
    (container,) = spec["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.items() >= {("tmp", "/tmp"), ("affirm-logs", str(tmp_path / "logs"))}
    assert {each["name"] for each in spec["volumes"]} >= {"tmp", "affirm-logs"}
