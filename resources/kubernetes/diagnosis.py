"""Why the pod of a step died or does not start, in words. Pure: what the API says of it in, a verdict out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Manifest = Mapping[str, Any]
"""An object of the Kubernetes API as its JSON."""

STEP_CONTAINER = "dagster"

_REAPING_SECONDS = 15
"""By then the node of a deleted pod has ended it; if not, the node does not answer."""

_OUT_OF_MEMORY = "OOMKilled"
_STARTING = frozenset({None, "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Patience:
    """Seconds for which a pod may wait before its step is failed."""

    pod: float = 60
    """For the job to make it: what it takes is a moment, unless a quota or an admission hook refuses."""
    room: float = 1800
    """For a node with room: an autoscaler brings one in minutes, the end of other work may take longer."""
    start: float = 180
    """For its image and its containers, once it has a node."""


@dataclass(frozen=True)
class Verdict:
    """`cause`: a few words. `message`: all that somebody needs to act. `may_retry`: whether the same again may work."""

    cause: str
    message: str
    may_retry: bool


@dataclass(frozen=True)
class Waiting:
    """A pod that does not start: since when, and what the scheduler or the kubelet says."""

    cause: str
    message: str
    since: datetime


def diagnose(
    job: Manifest | None, pod: Manifest | None, events: Sequence[Manifest], now: datetime, patience: Patience
) -> Verdict | None:
    """What is wrong with a step's job or its pod; None: nothing, or not for long enough yet.

    `pod`: the job's newest; `events`: the job's own.
    """
    if pod is None:
        return _without_pod(job, events, now, patience)
    if ended := _ended(pod):
        return ended
    if deleted := pod["metadata"].get("deletionTimestamp"):
        late = seconds_between(deleted, now)
        return (
            _lost(pod, f"was deleted and its node has not ended it since, {late:.0f} s")
            if (late > _REAPING_SECONDS)
            else None
        )
    if held := waiting(pod):
        limit = patience.room if held.cause == "no room" else patience.start
        waited = seconds_between(held.since, now)
        if waited > limit:
            said = held.message.rstrip(".")
            return Verdict(
                held.cause,
                f"{held.cause}: pod {_name(pod)} has waited for {waited:.0f} s, {limit:.0f} s at most: {said}. "
                f"Asked: {asked(pod)}.",
                may_retry=False,
            )
    return None


def waiting(pod: Manifest) -> Waiting | None:
    """Why a pod that was not started yet is not; None if it runs or has ended."""
    if pod["status"].get("phase") != "Pending":
        return None
    scheduled = next((c for c in pod["status"].get("conditions", ()) if c["type"] == "PodScheduled"), None)
    if scheduled is None or scheduled["status"] != "True":
        message = (scheduled or {}).get("message") or "the scheduler has said nothing yet"
        return Waiting("no room", message, _time(pod["metadata"]["creationTimestamp"]))
    since = _time(scheduled["lastTransitionTime"])
    for status in _statuses(pod):
        reason = status.get("state", {}).get("waiting", {})
        if reason.get("reason") not in _STARTING:
            cause = "image missing" if "Image" in reason["reason"] else "cannot start"
            return Waiting(cause, f"{reason['reason']}: {reason.get('message', 'no message')}", since)
    return Waiting("cannot start", "its containers have not started", since)


def out_of_memory(pod: Manifest) -> str | None:
    """The container of the pod that was killed at its memory limit, and the limit.

    Not the one that ships the logs: it is started again, and the work beside it goes on.
    """
    for status in pod["status"].get("containerStatuses", ()):
        ended = status.get("state", {}).get("terminated") or {}
        if ended.get("reason") == _OUT_OF_MEMORY:
            return f"container {status['name']} was killed at its memory limit of {_memory_limit(pod, status['name'])}"
    return None


def is_ended(pod: Manifest) -> bool:
    """Whether the pod's work has ended, though its logs may still be on their way."""
    return _ended(pod) is not None


def asked(pod: Manifest) -> str:
    """What the pod asked of the cluster."""
    parts = []
    for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
        resources = container.get("resources", {})
        amounts = ", ".join(
            f"{kind} {' '.join(f'{k}={v}' for k, v in sorted(resources[kind].items()))}"
            for kind in ("requests", "limits")
            if resources.get(kind)
        )
        parts.append(f"{container['name']} ({amounts or 'no amounts'}; image {container.get('image')})")
    if selector := pod["spec"].get("nodeSelector"):
        parts.append(f"nodes with {' '.join(f'{k}={v}' for k, v in sorted(selector.items()))}")
    return "; ".join(parts)


def seconds_between(earlier: str | datetime, later: datetime) -> float:
    return (later - (earlier if isinstance(earlier, datetime) else _time(earlier))).total_seconds()


def _without_pod(job: Manifest | None, events: Sequence[Manifest], now: datetime, patience: Patience) -> Verdict | None:
    if job is None:
        return Verdict("lost", "its Kubernetes job is gone: somebody, or the end of its owner, deleted it", True)
    name = job["metadata"]["name"]
    if job.get("status", {}).get("failed") or job["metadata"].get("deletionTimestamp"):
        return Verdict("lost", f"the pod of job {name} is gone: it was deleted, or evicted from its node", True)
    waited = seconds_between(job["metadata"]["creationTimestamp"], now)
    if waited <= patience.pod:
        return None
    said = "; ".join(event["message"] for event in events if event.get("type") == "Warning") or "no events"
    return Verdict("no pod", f"no pod: job {name} has made none for {waited:.0f} s: {said}", may_retry=False)


def _ended(pod: Manifest) -> Verdict | None:
    if killed := out_of_memory(pod):
        return Verdict(
            "out of memory",
            f"out of memory: {killed} (pod {_name(pod)}). Give the dataset a larger compute profile, or run fewer "
            "partitions at once.",
            may_retry=False,
        )
    statuses = pod["status"].get("containerStatuses", ())
    step: Manifest = next((each for each in statuses if each["name"] == STEP_CONTAINER), {})
    ended = step.get("state", {}).get("terminated")
    if ended:
        return _lost(pod, f"ended {_exit(ended)} without reporting how the step ended")
    if pod["status"].get("phase") in ("Failed", "Succeeded"):
        return _lost(pod, "ended without reporting how the step ended")
    return None


def _lost(pod: Manifest, what: str) -> Verdict:
    status = pod["status"]
    why = ": ".join(status[key] for key in ("reason", "message") if status.get(key))
    return Verdict("lost", f"pod {_name(pod)} {what}" + (f" ({why})" if why else ""), may_retry=True)


def _exit(ended: Manifest) -> str:
    code = ended.get("exitCode")
    signal = ended.get("signal") or (code - 128 if code is not None and code > 128 else 0)
    names = {9: "killed (SIGKILL)", 15: "terminated (SIGTERM)"}
    return names.get(signal, f"with exit code {code}")


def _statuses(pod: Manifest) -> Iterator[Manifest]:
    yield from pod["status"].get("initContainerStatuses", ())
    yield from pod["status"].get("containerStatuses", ())


def _memory_limit(pod: Manifest, container: str) -> str:
    for each in pod["spec"]["containers"]:
        if each["name"] == container:
            return str(each.get("resources", {}).get("limits", {}).get("memory", "its node (none of its own)"))
    return "unknown"


def _name(pod: Manifest) -> str:
    return str(pod["metadata"]["name"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
