"""A real cluster, as a test talks to it: kubectl, the image, a service's port."""

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
NAMESPACE = "affirm"
IMAGE = "docker.io/library/affirm:test"

T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """`builder`, `loader`: commands. `host`: this machine's address for the cluster's pods."""

    builder: str
    loader: str
    host: str

    @staticmethod
    def of(environ: Mapping[str, str]) -> "Tools":
        """Raises LookupError, which names all that is missing."""
        missing = []
        if not environ.get("KUBECONFIG"):
            missing.append("KUBECONFIG: the file that says where the cluster is (kind get kubeconfig > FILE)")
        if not environ.get("AFFIRM_TEST_HOST"):
            missing.append("AFFIRM_TEST_HOST: the address of this machine on which the cluster's pods reach it")
        if not shutil.which("kubectl"):
            missing.append("kubectl: on the PATH")
        builder = environ.get("AFFIRM_IMAGE_BUILDER") or "docker build -t"
        loader = environ.get("AFFIRM_IMAGE_LOADER") or "kind load docker-image"
        for name, command, called in (
            ("AFFIRM_IMAGE_BUILDER", builder, "IMAGE CONTEXT -f DOCKERFILE"),
            ("AFFIRM_IMAGE_LOADER", loader, "IMAGE"),
        ):
            if not shutil.which(shlex.split(command)[0]):
                missing.append(f"{name}: a command to be called with {called}; `{command}` is not there")
        if missing:
            raise LookupError("The tests on a cluster need\n" + "\n".join(f"  {each}" for each in missing))
        return Tools(builder, loader, environ["AFFIRM_TEST_HOST"])

    def provide_image(self) -> None:
        """Build the image and load it. What the commands print goes to stderr."""
        build = [*shlex.split(self.builder), IMAGE, str(ROOT), "-f", "deploy/Dockerfile"]
        for command in (build, [*shlex.split(self.loader), IMAGE]):
            subprocess.run(command, cwd=ROOT, check=True, stdout=2)


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """What it prints, in the platform's namespace. Raises AssertionError with what it complains of."""
    done = subprocess.run(
        ["kubectl", "--namespace", NAMESPACE, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or not check, f"kubectl {shlex.join(arguments)}: {done.stderr or done.stdout}"
    return done.stdout


def objects(kind: str, selector: str = "") -> list[dict[str, Any]]:
    """The namespace's objects of a kind (`pods`, `pods,jobs`), those with these labels, as the API serves them."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", kind, "--selector", selector, "--output", "json"))["items"]
    return items


@contextmanager
def forwarded(service: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to the service's."""
    command = ["kubectl", "--namespace", NAMESPACE, "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found, f"kubectl port-forward: {line}"
            yield int(found[1])
        finally:
            process.terminate()


def until(found: Callable[[], T], seconds: float, what: str) -> T:
    """What is found, once it is. Raises AssertionError if it takes longer."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)
    return value
