"""What `kubectl apply -k` would send: who may do what, how the pods are confined, that the two instances agree."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
TEST = ROOT / "deploy" / "kubernetes" / "overlays" / "test"

pytestmark = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="kubectl is not installed: it renders the manifests"
)

Manifest = dict[str, Any]

RULES: dict[str, set[tuple[str, str, str]]] = {
    "affirm-webserver": {("batch", "jobs", "delete"), ("", "pods", "list delete")},
    "affirm-daemon": {
        ("batch", "jobs", "create list delete"),
        ("batch", "jobs/status", "get"),
        ("", "pods", "list delete"),
        ("", "pods/log", "get"),
        ("", "events", "list"),
    },
    "affirm-code-location": {
        ("batch", "jobs", "list delete"),
        ("", "pods", "list delete"),
        ("", "configmaps", "list delete"),
        ("", "persistentvolumeclaims", "list delete"),
    },
    "affirm-run": {
        ("batch", "jobs", "create get delete"),
        ("", "pods", "get list delete"),
        ("", "pods/log", "get"),
        ("", "events", "list"),
    },
    "affirm-step": {("", "pods", "create get list watch patch delete deletecollection")},
}
"""Of each account: API group, resource, verbs."""


def render(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*yaml.safe_load_all(done.stdout)]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render(TEST)


@pytest.fixture(scope="module")
def instance(manifests: list[Manifest]) -> Manifest:
    data: Manifest = yaml.safe_load(one(manifests, "ConfigMap", "affirm-instance")["data"]["dagster.yaml"])
    return data


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return of_kind(manifests, kind)[name]


def pods(manifests: list[Manifest], instance: Manifest) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name, settings of the pod, settings of its container: of each deployment, and of what Dagster launches.

    A container that comes before a deployment's own is named <deployment>/<container>.
    """
    for name, deployment in of_kind(manifests, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        yield name, spec, container
        for earlier in spec.get("initContainers", ()):
            yield f"{name}/{earlier['name']}", spec, earlier
    launcher = instance["run_launcher"]["config"]
    container = {
        "securityContext": launcher["security_context"],
        "resources": launcher["resources"],
        "volumeMounts": launcher["volume_mounts"],
    }
    yield "runs", {**launcher["run_k8s_config"]["pod_spec_config"], "volumes": launcher["volumes"]}, container


def test_each_account_may_do_this_and_no_more(manifests: list[Manifest]) -> None:
    found = {
        name: {
            (group, resource, " ".join(rule["verbs"]))
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
        for name, role in of_kind(manifests, "Role").items()
    }
    assert found == RULES
    assert not of_kind(manifests, "ClusterRole")
    assert not of_kind(manifests, "ClusterRoleBinding")
    for name, binding in of_kind(manifests, "RoleBinding").items():
        assert binding["roleRef"]["name"] == name
        assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [("ServiceAccount", name)]


def test_an_executor_has_no_token(manifests: list[Manifest]) -> None:
    assert one(manifests, "ServiceAccount", "affirm-executor")["automountServiceAccountToken"] is False


def test_no_pod_is_root_or_writes_its_root_file_system(manifests: list[Manifest], instance: Manifest) -> None:
    seen = []
    for name, pod, container in pods(manifests, instance):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name
        assert {"name": "tmp", "emptyDir": {}} in pod["volumes"], name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        seen.append(name)
    deployments = ["affirm-code-location", "affirm-daemon", "affirm-webserver", "affirm-webserver/after-code"]
    assert seen == [*deployments, "runs"]
    labels = one(manifests, "Namespace", "affirm")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_each_deployment_is_probed(manifests: list[Manifest], instance: Manifest) -> None:
    for name, _, container in pods(manifests, instance):
        if name in of_kind(manifests, "Deployment"):
            assert {"startupProbe", "livenessProbe"} <= container.keys(), name


def test_no_secret_is_in_the_manifests(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")
    for name, deployment in of_kind(manifests, "Deployment").items():
        for variable in deployment["spec"]["template"]["spec"]["containers"][0].get("env", ()):
            assert "value" not in variable, name


class OnceOnly(yaml.SafeLoader):
    """Refuses a key that is said twice: some versions of kubectl do, others take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key) for key, _ in node.value]
        assert len(names) == len(set(names)), f"{node.start_mark}: said twice: {names}"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("file", sorted((ROOT / "deploy").rglob("*.yaml")), ids=lambda file: file.name)
def test_nothing_is_said_twice(file: Path) -> None:
    assert [*yaml.load_all(file.read_text(), OnceOnly)]


def test_executors_take_the_image_of_the_code(manifests: list[Manifest]) -> None:
    images = {
        container["image"]
        for deployment in of_kind(manifests, "Deployment").values()
        for container in deployment["spec"]["template"]["spec"]["containers"]
    }
    assert images == {one(manifests, "ConfigMap", "affirm-environment")["data"]["AFFIRM_IMAGE"]}
    assert images == {"docker.io/library/affirm:test"}


def test_what_dagster_names_is_there(manifests: list[Manifest], instance: Manifest) -> None:
    launcher = instance["run_launcher"]["config"]
    assert launcher["job_namespace"] in of_kind(manifests, "Namespace")
    assert launcher["service_account_name"] in of_kind(manifests, "ServiceAccount")
    assert {launcher["instance_config_map"], *launcher["env_config_maps"]} == of_kind(manifests, "ConfigMap").keys()
    workspace = yaml.safe_load(one(manifests, "ConfigMap", "affirm-instance")["data"]["workspace.yaml"])
    (location,) = workspace["load_from"]
    service = one(manifests, "Service", location["grpc_server"]["host"])
    assert [each["port"] for each in service["spec"]["ports"]] == [location["grpc_server"]["port"]]


def test_the_instances_agree(instance: Manifest) -> None:
    """Where the instance on Kubernetes and the local one set the same thing, they set it alike."""
    local = dict(settings(yaml.safe_load((ROOT / "dagster.yaml").read_text())))
    deployed = dict(settings(instance))
    shared = local.keys() & deployed.keys()
    assert {key: deployed[key] for key in shared} == {key: local[key] for key in shared}
    assert {("telemetry", "enabled"), ("retention", "schedule", "purge_after_days")} <= shared


def settings(config: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The path and the value of every leaf."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from settings(value, *path, key)
    else:
        yield path, config


def test_dagster_accepts_the_instance(instance: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._config import process_config, resolve_to_config_type
    from dagster._core.instance.config import dagster_instance_config
    from dagster_aws.s3 import S3ComputeLogManager

    from resources.kubernetes.run_launcher import RunPods

    for name in ("HOST", "PORT", "DB", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "5432")
    monkeypatch.setenv("AFFIRM_LOGS_BUCKET", "logs")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    shutil.copy(BASE / "dagster.yaml", tmp_path)
    dagster_instance_config(str(tmp_path))
    for part, kind in (("run_launcher", RunPods), ("compute_logs", S3ComputeLogManager)):
        result = process_config(resolve_to_config_type(kind.config_type()), instance[part]["config"])
        assert result.success, result.errors
