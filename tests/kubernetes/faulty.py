"""The platform's code location with tests.kubernetes.faults in it: mounted, since the image has no tests."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kubernetes.cluster import ROOT, kubectl
from tests.kubernetes.platform import LOCATION, Platform

_FAULTS = "tests/kubernetes/faults"
_PACKAGES = ("tests/__init__.py", "tests/kubernetes/__init__.py")
_MOUNT = "/faults"
_DEPLOYMENT = "deployment/affirm-code-location"


@contextmanager
def faulty_datasets(platform: Platform) -> Iterator[None]:
    """For as long as this lasts, the location has the faults beside the platform's datasets."""
    files = [*_PACKAGES, *(str(file.relative_to(ROOT)) for file in sorted((ROOT / _FAULTS).rglob("*.py")))]
    keys = {file.replace("/", "."): file for file in files}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "faults"},
        "data": {key: (ROOT / file).read_text() for key, file in keys.items()},
    }
    kubectl("apply", "--server-side", "--filename", "-", stdin=json.dumps(config_map))
    kubectl("patch", _DEPLOYMENT, "--patch", json.dumps(_patch(keys)))
    _reload(platform)
    try:
        yield
    finally:
        kubectl("rollout", "undo", _DEPLOYMENT)
        _reload(platform)


def _patch(keys: dict[str, str]) -> dict[str, Any]:
    items = [{"key": key, "path": file} for key, file in keys.items()]
    volume = {"name": "faults", "configMap": {"name": "faults", "items": items}}
    mount = {"name": "faults", "mountPath": _MOUNT}
    path = f"/opt/affirm:{_MOUNT}"
    of_runs = {"k8s": {"env_vars": [f"PYTHONPATH={path}"], "volumes": [volume], "volume_mounts": [mount]}}
    serve = ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "3030"]
    container = {
        "name": "dagster",
        "args": [
            *serve,
            "--module-name",
            "tests.kubernetes.faults.definitions",
            "--container-context",
            json.dumps(of_runs),
        ],
        "env": [{"name": "PYTHONPATH", "value": path}],
        "volumeMounts": [mount],
    }
    return {"spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}}}


def _reload(platform: Platform) -> None:
    kubectl("rollout", "status", _DEPLOYMENT, "--timeout=180s")
    deadline = time.monotonic() + 90
    # At first the webserver may still ask the server that is being replaced.
    while (answer := platform.ask(_RELOAD, location=LOCATION)["reloadRepositoryLocation"]["locationOrLoadError"])[
        "__typename"
    ] != "RepositoryLocation":
        assert time.monotonic() < deadline, answer
        time.sleep(2)


_RELOAD = """
mutation Reload($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
  }
}
"""
