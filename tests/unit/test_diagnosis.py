"""What is said of a step's pod, from what the API says of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resources.kubernetes.diagnosis import Patience, Verdict, diagnose, waiting

CREATED = datetime(2025, 1, 1, 12, 0, tzinfo=UTC)
PATIENCE = Patience(pod=60, room=600, start=180)
JOB: dict[str, Any] = {"metadata": {"name": "job", "creationTimestamp": "2025-01-01T12:00:00Z"}, "status": {}}
NO_ROOM = "0/1 nodes are available: 1 Insufficient memory."


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    return {
        "metadata": {"name": "job-abc", "creationTimestamp": "2025-01-01T12:00:00Z", **metadata},
        "spec": {
            "containers": [{"name": "dagster", "image": "affirm:1", "resources": resources}],
            "nodeSelector": {"pool": "big"},
        },
        "status": status,
    }


def ended(**state: Any) -> dict[str, Any]:
    """The step's container has ended; the one that ships its logs still runs, and so does the pod."""
    return pod(
        {
            "phase": "Running",
            "initContainerStatuses": [{"name": "logs", "state": {"running": {}}}],
            "containerStatuses": [{"name": "dagster", "state": {"terminated": state}}],
        }
    )


def pending(waiting: dict[str, Any] | None) -> dict[str, Any]:
    """A node has been found a minute after the pod was made."""
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2025-01-01T12:01:00Z"}
    state = {"waiting": waiting} if waiting else {}
    return pod(
        {
            "phase": "Pending",
            "conditions": [scheduled],
            "containerStatuses": [{"name": "dagster", "state": state}],
        }
    )


def unschedulable() -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}
    return pod({"phase": "Pending", "conditions": [condition]})


def diagnosis(
    pod: dict[str, Any] | None, *, seconds: float = 1, job: dict[str, Any] | None = JOB, events: Any = ()
) -> Verdict | None:
    return diagnose(job, pod, events, CREATED + timedelta(seconds=seconds), PATIENCE)


def verdict(*args: Any, **kwargs: Any) -> Verdict:
    found = diagnosis(*args, **kwargs)
    assert found is not None
    return found


def test_out_of_memory_names_the_limit_and_is_not_tried_again() -> None:
    found = verdict(ended(reason="OOMKilled", exitCode=137))
    assert found.message.startswith(
        "out of memory: container dagster was killed at its memory limit of 2Gi (pod job-abc)"
    )
    assert (found.cause, found.may_retry) == ("out of memory", False)


def test_a_step_goes_on_while_the_container_that_ships_its_logs_was_out_of_memory() -> None:
    killed = {"name": "logs", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    running = {"name": "dagster", "state": {"running": {}}}
    status = {"phase": "Running", "initContainerStatuses": [killed], "containerStatuses": [running]}
    assert diagnosis(pod(status)) is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"reason": "Error", "exitCode": 137}, "pod job-abc ended killed (SIGKILL) without reporting"),
        ({"reason": "Error", "exitCode": 143}, "pod job-abc ended terminated (SIGTERM) without reporting"),
        ({"reason": "Error", "exitCode": 1}, "pod job-abc ended with exit code 1 without reporting"),
        ({"reason": "Completed", "exitCode": 0}, "pod job-abc ended with exit code 0 without reporting"),
    ],
)
def test_an_end_without_a_report_is_told_and_may_be_tried_again(state: dict[str, Any], said: str) -> None:
    found = verdict(ended(**state))
    assert found.message.startswith(said)
    assert found.may_retry


def test_an_eviction_says_why() -> None:
    found = verdict(pod({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}))
    assert "(Evicted: The node was low on memory)" in found.message
    assert found.may_retry


def test_a_running_pod_is_well() -> None:
    running = {"phase": "Running", "containerStatuses": [{"name": "dagster", "state": {"running": {}}}]}
    assert diagnosis(pod(running), seconds=1e6) is None


@pytest.mark.parametrize(
    ("job", "cause"), [(None, "job is gone"), ({**JOB, "status": {"failed": 1}}, "pod of job job")]
)
def test_a_pod_that_is_gone_may_be_tried_again(job: dict[str, Any] | None, cause: str) -> None:
    found = verdict(None, job=job)
    assert cause in found.message
    assert found.may_retry


def test_a_deleted_pod_is_given_up_only_when_its_node_does_not_end_it() -> None:
    deleted = pod({"phase": "Running"}, deletionTimestamp="2025-01-01T12:00:10Z")
    assert diagnosis(deleted, seconds=25) is None
    assert "its node has not ended it" in verdict(deleted, seconds=26).message


def test_no_room_fails_after_its_patience_with_the_schedulers_words_and_what_was_asked() -> None:
    assert diagnosis(unschedulable(), seconds=600) is None
    found = verdict(unschedulable(), seconds=601)
    assert not found.may_retry
    assert found.message.startswith(f"no room: pod job-abc has waited for 601 s, 600 s at most: {NO_ROOM}")
    assert "requests cpu=200m memory=1Gi, limits memory=2Gi; image affirm:1" in found.message
    assert "nodes with pool=big" in found.message


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ({"reason": "ImagePullBackOff", "message": "Back-off pulling image affirm:1"}, "image missing"),
        ({"reason": "ErrImageNeverPull", "message": "not present"}, "image missing"),
        ({"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}, "cannot start"),
        ({"reason": "ContainerCreating"}, "cannot start"),
        (None, "cannot start"),
    ],
)
def test_what_cannot_start_fails_after_its_patience_with_the_kubelets_words(
    reason: dict[str, str] | None, cause: str
) -> None:
    assert diagnosis(pending(reason), seconds=60 + 180) is None
    found = verdict(pending(reason), seconds=60 + 181)
    assert (found.cause, found.may_retry) == (cause, False)
    assert (reason or {}).get("message", "") in found.message
    assert "image affirm:1" in found.message


def test_a_job_that_may_make_no_pod_fails_with_the_reason() -> None:
    events = [{"type": "Warning", "message": "exceeded quota: pods=10"}, {"type": "Normal", "message": "no matter"}]
    assert diagnosis(None, seconds=60, events=events) is None
    found = verdict(None, seconds=61, events=events)
    assert found.message == "no pod: job job has made none for 61 s: exceeded quota: pods=10"
    assert not found.may_retry


def test_a_pod_that_runs_waits_for_nothing() -> None:
    assert waiting(pod({"phase": "Running"})) is None
    held = waiting(unschedulable())
    assert held is not None
    assert (held.cause, held.message, held.since) == ("no room", NO_ROOM, CREATED)
