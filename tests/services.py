"""A real Dagster daemon and webserver for tests, on a fresh instance, gone after the test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

ROOT = Path(__file__).parents[1]
MODULE = "tests.projects.two_feeds_definitions"
FIRST_BUSINESS_DATE = "2025-01-30"


@dataclass
class Services:
    """Processes of Dagster over a folder of their own: `lake` and `home` in `root`."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    module: str = MODULE
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        (self.home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        with self.instance():
            pass  # makes its databases: of two services that begin at once, one would find them half made, and end

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def environ(self) -> dict[str, str]:
        own = {
            "DAGSTER_HOME": str(self.home),
            "AFFIRM_LAKE": str(self.lake),
            "AFFIRM_FIRST_BUSINESS_DATE": FIRST_BUSINESS_DATE,
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
        return {**os.environ, **own}

    def daemon(self) -> subprocess.Popen[bytes]:
        return self._start("dagster-daemon", "run", "-m", self.module)

    def webserver(self) -> str:
        """Returns its address, once it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._start("dagster-webserver", "-m", self.module, "-h", "127.0.0.1", "-p", str(port))
        wait_for(lambda: _answers(port), "the webserver to answer", 90)
        return f"http://127.0.0.1:{port}"

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAGSTER_HOME", str(self.home))  # which its dagster.yaml names
            with dg.DagsterInstance.from_config(str(self.home)) as instance:
                yield instance

    def stop(self) -> None:
        for each in self._processes:
            kill(each)

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.root / f"{program}-{len(self._processes)}.log").open("wb")
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.root,
            env=self.environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.append(process)
        return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """At once, with all that it has started: nothing is told, nothing is tidied up."""
    with_children = _group(process.pid)
    for pid in with_children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def wait_for(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}")


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _group(pid: int) -> list[int]:
    """The processes of a session that this one began."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                session = (each / "stat").read_text().rpartition(")")[2].split()[3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(session) == pid:
                found.append(int(each.name))
    return found
