"""What a killed step printed, as Dagster's UI reads it from a real S3 server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster_aws.s3 import S3ComputeLogManager

from resources.kubernetes.logs import VARIABLE, LogStore, log_files
from tests.servers import REGION, S3Server

LOG_KEY = ["run", "compute_logs", "abcd"]


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-")[:60]
    s3.create_bucket(name)
    return str(name)


def manager(s3: S3Server, bucket: str, folder: Path) -> S3ComputeLogManager:
    return S3ComputeLogManager(bucket, local_dir=str(folder), endpoint_url=s3.endpoint, region=REGION)


@pytest.fixture
def shipping(s3: S3Server, bucket: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the container that ships the logs; `pod` below tmp_path is the volume."""
    store = LogStore.of(manager(s3, bucket, tmp_path / "pod"))
    assert store is not None
    command = [sys.executable, "-m", "resources.kubernetes.ship"]
    with subprocess.Popen(command, env={**os.environ, VARIABLE: store.to_json()}) as process:
        yield process
        process.kill()


def test_all_that_a_killed_step_printed_is_there_for_good(
    s3: S3Server, bucket: str, shipping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    files = tmp_path / "pod" / log_files("run", "abcd")
    files.parent.mkdir(parents=True)
    files.with_suffix(".out").write_text("before the kill\n")
    files.with_suffix(".err").write_text("")
    _wait_until_it_listens(shipping.pid)
    shipping.send_signal(signal.SIGTERM)
    assert shipping.wait(10) == 0
    seen = manager(s3, bucket, tmp_path / "webserver")
    assert seen.is_capture_complete(LOG_KEY)
    assert seen.get_log_data(LOG_KEY).stdout == b"before the kill\n"


def test_a_long_log_is_shipped_within_the_containers_memory(
    s3: S3Server, bucket: str, shipping: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    files = tmp_path / "pod" / log_files("run", "abcd")
    files.parent.mkdir(parents=True)
    files.with_suffix(".out").write_bytes(b"x" * (96 << 20))
    files.with_suffix(".err").write_text("")
    _wait_until_it_listens(shipping.pid)
    shipping.send_signal(signal.SIGTERM)
    peak = 0
    deadline = time.monotonic() + 30
    while shipping.poll() is None and time.monotonic() < deadline:
        found = [line for line in Path(f"/proc/{shipping.pid}/status").read_text().splitlines() if "VmHWM" in line]
        peak = max([peak, *(int(line.split()[1]) << 10 for line in found)])
        time.sleep(0.05)
    assert shipping.returncode == 0
    assert 0 < peak < 128 << 20, peak >> 20
    key = f"dagster/storage/{log_files('run', 'abcd')}.out"
    assert s3.client().head_object(Bucket=bucket, Key=key)["ContentLength"] == 96 << 20


def _wait_until_it_listens(pid: int) -> None:
    """Before it has a handler for it, SIGTERM would end the process."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if int(status["SigCgt"], 16) & (1 << (signal.SIGTERM - 1)):
            return
        time.sleep(0.1)
    raise AssertionError("no handler for SIGTERM after 20 s")
