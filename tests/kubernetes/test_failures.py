"""What becomes of a step, its rows, its pods and its logs when something on the cluster dies."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from pyiceberg.exceptions import NoSuchTableError

from tests.kubernetes.cluster import kubectl, objects, until
from tests.kubernetes.faults.datasets.faults._rows import ROWS
from tests.kubernetes.faulty import faulty_datasets
from tests.kubernetes.platform import Platform

HERE = "In the run's own pod: 0.0 MiB to read, of at most 10 MiB."

NO_RUN_RETRIES = {"dagster/max_retries": "0"}
LIVING = ("Pending", "Running")

KILL = """
import os, sys
for each in filter(str.isdigit, os.listdir("/proc")):
    if each != "1" and int(each) != os.getpid():
        command = open(f"/proc/{each}/cmdline", "rb").read().split(b"\\0")
        if any(sys.argv[1].encode() in part for part in command[:2]):
            os.kill(int(each), 9)
"""
"""Kills the container's processes of a program; its first one cannot be killed from within."""


@pytest.fixture(scope="module", autouse=True)
def faults(platform: Platform) -> Iterator[None]:
    with faulty_datasets(platform):
        yield


def at_once(*tries: Callable[[], None]) -> None:
    """Tries that do not disturb each other, since most of each is waiting."""
    with ThreadPoolExecutor(len(tries)) as threads:
        for each in [threads.submit(each) for each in tries]:
            each.result()


def test_a_step_out_of_memory_says_so_with_its_limit(platform: Platform) -> None:
    at_once(partial(python_out_of_memory, platform), partial(jvm_out_of_memory, platform))


def python_out_of_memory(platform: Platform) -> None:
    run = platform.launch("faults/python_out_of_memory")
    assert platform.wait(run) == "FAILURE"
    assert "out of memory: container dagster was killed at its memory limit of 3Gi" in failure(platform, run)
    assert events(platform, run, "STEP_UP_FOR_RETRY") == []
    assert published(platform, "python_out_of_memory") == []
    nothing_lives(run)
    assert "fault: python takes all memory" in log(platform, run, ".out")


def jvm_out_of_memory(platform: Platform) -> None:
    run = platform.launch("faults/jvm_out_of_memory")
    assert platform.wait(run) == "FAILURE"
    said = failure(platform, run)
    assert (
        "out of memory: the kernel killed 1 of the step's processes" in said or "container dagster was killed" in said
    )
    assert "limit of 3" in said
    assert events(platform, run, "STEP_UP_FOR_RETRY") == []
    assert published(platform, "jvm_out_of_memory") == []
    nothing_lives(run)
    assert "fault: the JVM takes all memory" in log(platform, run, ".out")


def test_a_small_step_out_of_memory_says_so_and_is_tried_again_in_a_pod(platform: Platform) -> None:
    """Whoever shares the run's pod with it goes on."""
    run = platform.launch("faults/python_out_of_memory_here", "faults/slow_here")
    assert platform.wait(run) == "FAILURE"
    (retry,) = events(platform, run, "STEP_UP_FOR_RETRY")
    assert "out of memory: the process of the run's own pod that executed it was killed" in str(retry["error"])
    assert "limit of 3072Mi" in str(retry["error"])
    assert places(platform, run, "python_out_of_memory_here") == [HERE, "In a pod of its own: it is tried again."]
    assert "out of memory: container dagster was killed at its memory limit of 3Gi" in failure(platform, run)
    assert published(platform, "python_out_of_memory_here") == []
    assert places(platform, run, "slow_here") == [HERE]
    assert_published_once(platform, run, "slow_here")
    nothing_lives(run)
    until(lambda: log(platform, run, ".out").count("fault: python takes all memory") == 2, 30, "the log of both tries")


def test_an_executor_that_dies_is_replaced_and_its_log_kept(platform: Platform) -> None:
    run = platform.launch("faults/on_executors")
    until(lambda: len(running(run, "executor")) == 2, 240, "two executors")
    time.sleep(8)  # into the tasks
    victim, _ = running(run, "executor")
    kubectl("exec", victim, "--container=executor", "--", "python", "-c", KILL, "java")
    assert platform.wait(run) == "SUCCESS"
    assert events(platform, run, "STEP_UP_FOR_RETRY") == []
    assert_published_once(platform, run, "on_executors")
    current = platform.catalog().load_table("faults.on_executors").current_snapshot()
    assert current is not None
    assert current.summary is not None
    assert str(current.summary["affirm.engine"]).endswith("(native operators)")
    nothing_lives(run)
    assert log(platform, run, ".err", victim)
    assert len(events(platform, run, "LOGS_CAPTURED")) >= 3  # the step's, and those of its executors


@pytest.mark.parametrize("how", ["deleted", "killed"])
def test_a_step_pod_that_dies_is_noticed_and_the_step_tried_again(platform: Platform, how: str) -> None:
    run = platform.launch("faults/slow")
    until(lambda: events(platform, run, "STEP_START"), 240, "the step's start")
    until(lambda: events(platform, run, "LOGS_CAPTURED"), 30, "the step's logs")
    time.sleep(4)
    (pod,) = running(run, "step")
    at = time.time()
    if how == "deleted":
        kubectl("delete", "pod", pod, "--wait=false")
    else:
        kubectl("exec", pod, "--container=dagster", "--", "python", "-c", KILL, "dagster", check=False)
    (retry,) = until(lambda: events(platform, run, "STEP_UP_FOR_RETRY"), 60, "the retry")
    assert float(retry["timestamp"]) / 1000 - at < 30
    assert platform.wait(run) == "SUCCESS"
    assert_published_once(platform, run, "slow")
    nothing_lives(run)
    assert len(complete_logs(platform, run, ".err")) == 2


def test_a_small_step_whose_process_is_killed_is_tried_again_in_a_pod(platform: Platform) -> None:
    run = platform.launch("faults/slow_here")
    until(lambda: events(platform, run, "STEP_START"), 240, "the step's start")
    time.sleep(2)
    at = time.time()
    (started,) = events(platform, run, "STEP_WORKER_STARTED")
    (pid,) = [entry["text"] for entry in started["metadataEntries"] if entry["label"] == "pid"]
    kill = f"import os; os.kill({int(pid)}, 9)"
    kubectl("exec", run_pod(run), "--container=dagster", "--", "python", "-c", kill)
    (retry,) = until(lambda: events(platform, run, "STEP_UP_FOR_RETRY"), 60, "the retry")
    assert float(retry["timestamp"]) / 1000 - at < 10
    assert "was killed (SIGKILL)" in str(retry["error"])
    assert platform.wait(run) == "SUCCESS"
    assert places(platform, run, "slow_here") == [HERE, "In a pod of its own: it is tried again."]
    assert_published_once(platform, run, "slow_here")
    nothing_lives(run)
    until(lambda: len(complete_logs(platform, run, ".err")) == 2, 30, "the log of both tries")


def test_a_small_step_that_ended_with_its_runs_pod_has_its_own_in_the_next_run(platform: Platform) -> None:
    run = platform.launch("faults/slow_here")
    until(lambda: events(platform, run, "STEP_START"), 240, "the step's start")
    kubectl("delete", "pod", run_pod(run), "--grace-period=0", "--force")
    assert platform.wait(run, 240) == "FAILURE"
    (again,) = until(lambda: platform.runs_tagged("dagster/parent_run_id", run), 120, "the next run")
    assert platform.wait(again) == "SUCCESS"
    why = "In a pod of its own: it was still at work when a run before this one ended."
    assert places(platform, again, "slow_here") == [why]
    assert_published_once(platform, again, "slow_here")
    nothing_lives(run)
    nothing_lives(again)


def test_a_step_killed_between_commit_and_report_is_published_once(platform: Platform) -> None:
    """One in a pod of its own, and one in the run's pod."""
    datasets = ("killed_after_commit", "killed_after_commit_here")
    at_once(*(partial(killed_between_commit_and_report, platform, each) for each in datasets))


def killed_between_commit_and_report(platform: Platform, dataset: str) -> None:
    run = platform.launch(f"faults/{dataset}")
    assert platform.wait(run) == "SUCCESS"
    assert len(events(platform, run, "STEP_UP_FOR_RETRY")) == 1
    assert_published_once(platform, run, dataset)
    (materialized,) = events(platform, run, "ASSET_MATERIALIZATION")
    told = {entry["label"]: entry for entry in materialized["metadataEntries"]}
    assert told["already_published"]["boolValue"] is True
    nothing_lives(run)
    assert "fault: killed after the commit" in log(platform, run, ".out")


@pytest.mark.parametrize("dataset", ["endless", "endless_here"])
def test_a_terminated_run_is_gone_within_15_seconds(platform: Platform, dataset: str) -> None:
    run = platform.launch(f"faults/{dataset}")
    until_at_work(platform, run, dataset)
    at = time.monotonic()
    platform.terminate(run)
    nothing_lives(run, 20)
    assert time.monotonic() - at < 15
    assert platform.wait(run, 60) == "CANCELED"
    assert published(platform, dataset) == []
    assert log(platform, run, ".err")


def test_of_a_run_whose_pod_dies_nothing_lives_on(platform: Platform) -> None:
    ways = (("endless", "deleted"), ("endless", "killed"), ("endless_here", "killed"))
    at_once(*(partial(run_whose_pod_dies, platform, dataset, how) for dataset, how in ways))


def run_whose_pod_dies(platform: Platform, dataset: str, how: str) -> None:
    run = platform.launch(f"faults/{dataset}", tags=NO_RUN_RETRIES)
    until_at_work(platform, run, dataset)
    if how == "deleted":
        kubectl("delete", "pod", run_pod(run), "--grace-period=0", "--force")
    else:
        kubectl("exec", run_pod(run), "--container=dagster", "--", "python", "-c", KILL, "dagster", check=False)
    assert platform.wait(run, 240) == "FAILURE"
    nothing_lives(run, 120)
    assert published(platform, dataset) == []
    assert log(platform, run, ".err")


def test_a_step_that_cannot_start_fails_with_the_clusters_words(platform: Platform) -> None:
    at_once(
        partial(cannot_start, platform, "without_room", "Insufficient memory", "memory=9Ti"),
        partial(cannot_start, platform, "without_image", "affirm:missing", "image docker.io/library/affirm:missing"),
    )


def cannot_start(platform: Platform, asset: str, said: str, asked: str) -> None:
    patience = {"room_patience_seconds": 10.0, "start_patience_seconds": 15.0}
    run = platform.launch(asset, config={"execution": {"config": patience}})
    assert platform.wait(run, 240) == "FAILURE"
    failed = failure(platform, run)
    assert said in failed
    assert asked in failed
    nothing_lives(run)


def events(platform: Platform, run: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in platform.events(run) if each["eventType"] == kind]


def failure(platform: Platform, run: str) -> str:
    """The error of the step that failed, with its causes."""
    (event,) = events(platform, run, "STEP_FAILURE")
    return str(event["error"])


def places(platform: Platform, run: str, dataset: str) -> list[str]:
    """Where the step was executed, one try after the other, and why."""
    return [
        each["message"]
        for each in events(platform, run, "ENGINE_EVENT")
        if each["stepKey"] == f"faults__{dataset}" and each["message"].startswith("In ")
    ]


def until_at_work(platform: Platform, run: str, dataset: str) -> None:
    if dataset.endswith("_here"):
        until(lambda: events(platform, run, "LOGS_CAPTURED"), 240, "the step's logs")
        time.sleep(2)
    else:
        until(lambda: running(run, "executor"), 240, "an executor")


def run_pod(run: str) -> str:
    (pod,) = objects("pods", f"dagster/run-id={run},!affirm/run-id")
    return str(pod["metadata"]["name"])


def running(run: str, role: str) -> list[str]:
    """Names of the run's pods in this role whose container is up."""
    return [
        pod["metadata"]["name"]
        for pod in objects("pods", f"affirm/run-id={run},affirm/role={role}")
        if any("running" in each["state"] for each in pod["status"].get("containerStatuses", ()))
    ]


def nothing_lives(run: str, seconds: float = 45) -> None:
    def living() -> list[str]:
        return [
            pod["metadata"]["name"]
            for label in ("affirm/run-id", "dagster/run-id")
            for pod in objects("pods", f"{label}={run}")
            if pod["status"].get("phase") in LIVING
        ]

    until(lambda: not living(), seconds, f"the end of all pods of run {run}")


def published(platform: Platform, dataset: str) -> list[str]:
    """The run ids of the snapshots on the table's main branch."""
    try:
        table = platform.catalog().load_table(f"faults.{dataset}")
    except NoSuchTableError:
        return []
    current, found = table.current_snapshot(), []
    while current is not None:
        assert current.summary is not None
        found.append(str(current.summary["affirm.run-id"]))
        current = table.snapshot_by_id(current.parent_snapshot_id) if current.parent_snapshot_id else None
    return found


def assert_published_once(platform: Platform, run: str, dataset: str) -> None:
    assert published(platform, dataset).count(run) == 1
    numbers = platform.table(f"faults.{dataset}").column("number").to_pylist()
    assert sorted(numbers) == list(range(ROWS))


def complete_logs(platform: Platform, run: str, ending: str) -> dict[str, str]:
    return {
        key: text for key, text in platform.logs().items() if f"/{run}/compute_logs/" in key and key.endswith(ending)
    }


def log(platform: Platform, run: str, ending: str, pod: str = "") -> str:
    """The run's complete logs, or one pod's, once they are there."""

    def found() -> str:
        return "\n".join(text for key, text in complete_logs(platform, run, ending).items() if pod in key)

    return until(found, 30, f"a complete {ending} log of run {run} {pod}")
