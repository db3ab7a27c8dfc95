"""How much a step gets on a cluster: profiles of pods, and how many executors read so many bytes.

Values and arithmetic: nothing here talks to Spark or to Kubernetes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

BYTES_PER_CORE = 256 << 20
"""Compressed bytes that one core is given to read: a minute of work; an executor is up after ten seconds."""

BYTES_PER_SHUFFLE_PARTITION = 64 << 20
"""Compressed bytes of input for each: some hundred MiB as rows, which a task can sort in memory."""

SCRATCH = "/scratch"
"""Where Spark puts what does not fit into memory, in the step's pod and in its executors."""

_PROCESS = 512
"""MiB of the step's own Python process: Dagster, PyIceberg, PySpark."""

_WORKER = 192
"""MiB of a Python worker of Spark; there is one for each core."""

_HEAP_SHARE = 0.7
"""Of the JVM's memory; the rest is for its classes, compiled code, threads and network buffers."""

_NATIVE_SHARE = 0.5
"""Of the heap, moved out of it for a Spark with native operators: the pages of Spark's own sorts and groups go there
too. What the native code takes beside what it reserves there comes from the JVM's other memory."""

_LEAST_OVERHEAD, _LEAST_OVERHEAD_SHARE = 384, 0.1  # MiB, and of the heap: Spark's own floor
_LEAST_HEAP = 512
_QUANTITY = re.compile(r"([1-9][0-9]*)(Mi|Gi)")


@dataclass(frozen=True)
class Memory:
    """MiB of a pod: the JVM's heap, what the JVM needs beside it, Python's processes, and what native operators hold
    off the heap. Together: the pod's limit."""

    heap: int
    overhead: int
    python: int
    native: int = 0

    def __post_init__(self) -> None:
        least = max(_LEAST_OVERHEAD, ceil(_LEAST_OVERHEAD_SHARE * self.heap))
        if self.heap < _LEAST_HEAP or self.overhead < least:
            others = f"Python has its {self.python}Mi" + (f", native operators {self.native}Mi" if self.native else "")
            raise ValueError(
                f"memory {self.limit}Mi: expected {_LEAST_HEAP}Mi or more for the JVM's heap, {least}Mi beside it; "
                f"found {self.heap}Mi and {self.overhead}Mi once {others}. Give it more."
            )

    @staticmethod
    def split(limit: int, python: int, native: bool) -> "Memory":
        heap = int(_HEAP_SHARE * (limit - python))
        off_heap = int(_NATIVE_SHARE * heap) if native else 0
        return Memory(heap - off_heap, limit - python - heap, python, off_heap)

    @property
    def limit(self) -> int:
        return self.heap + self.overhead + self.python + self.native


@dataclass(frozen=True)
class Pod:
    """`scratch` in MiB."""

    cores: int
    memory: Memory
    scratch: int

    @staticmethod
    def step(cores: int, memory: int, scratch: int, native: bool = False) -> "Pod":
        """The step's own: Dagster's process and Spark's driver, which does all the work if there is little."""
        return Pod(cores, Memory.split(memory, _PROCESS + cores * _WORKER, native), scratch)

    @staticmethod
    def executor(cores: int, memory: int, scratch: int, native: bool = False) -> "Pod":
        return Pod(cores, Memory.split(memory, cores * _WORKER, native), scratch)

    @property
    def text(self) -> str:
        memory = self.memory
        parts = f"JVM heap {memory.heap}Mi, other {memory.overhead}Mi, Python {memory.python}Mi"
        parts += f", native operators {memory.native}Mi" if memory.native else ""
        return f"{self.cores} cores, {memory.limit}Mi ({parts}), scratch {self.scratch}Mi"


@dataclass(frozen=True)
class Profile:
    """The pods of a step, and from how many to how many executors it may have.

    native: Spark's operators are replaced by native ones where those are known to give the same rows (comet.py).
    """

    name: str
    step: Pod
    executor: Pod
    max_executors: int
    min_executors: int = 0

    @property
    def native(self) -> bool:
        return self.step.memory.native > 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_executors <= self.max_executors:
            raise ValueError(
                f"executors: expected 0 <= min_executors <= max_executors; found {self.min_executors} and "
                f"{self.max_executors}."
            )

    @property
    def text(self) -> str:
        return (
            f"{self.name}: the step's pod {self.step.text}; {self.min_executors} to {self.max_executors} executors"
            + (f" of {self.executor.text}" if self.max_executors else "")
        )


_GI = 1024
PROFILES: Mapping[str, Profile] = {
    each.name: each
    for each in (
        Profile("small", Pod.step(2, 3 * _GI, 10 * _GI), Pod.executor(2, 3 * _GI, 10 * _GI), max_executors=2),
        Profile(
            "medium",
            Pod.step(2, 4 * _GI, 20 * _GI, native=True),
            Pod.executor(4, 8 * _GI, 40 * _GI, native=True),
            max_executors=8,
        ),
        Profile(
            "large",
            Pod.step(4, 8 * _GI, 40 * _GI, native=True),
            Pod.executor(4, 16 * _GI, 80 * _GI, native=True),
            max_executors=32,
        ),
    )
}


def profile(
    name: str,
    *,
    memory: str | None = None,
    executor_memory: str | None = None,
    scratch: str | None = None,
    min_executors: int | None = None,
    max_executors: int | None = None,
    native: bool | None = None,
) -> Profile:
    """A profile with some of it overridden. `memory` is the step pod's limit; quantities are written 512Mi or 4Gi.

    Raises ValueError, which says what is wrong.
    """
    if name not in PROFILES:
        raise ValueError(f"expected compute to be one of {', '.join(PROFILES)}; found {name!r}.")
    base = PROFILES[name]

    def mebibytes(what: str, quantity: str | None, default: int) -> int:
        return default if quantity is None else _mebibytes(what, quantity)

    step, executor = base.step, base.executor
    is_native = base.native if native is None else native
    return replace(
        base,
        step=Pod.step(
            step.cores,
            mebibytes("memory", memory, step.memory.limit),
            mebibytes("scratch", scratch, step.scratch),
            is_native,
        ),
        executor=Pod.executor(
            executor.cores,
            mebibytes("executor_memory", executor_memory, executor.memory.limit),
            mebibytes("scratch", scratch, executor.scratch),
            is_native,
        ),
        min_executors=base.min_executors if min_executors is None else min_executors,
        max_executors=base.max_executors if max_executors is None else max_executors,
    )


@dataclass(frozen=True)
class Decision:
    """What a step gets, and why. No executors: Spark works in the step's own process and pod."""

    profile: Profile
    scan_bytes: int
    executors: int
    why: str

    @property
    def cores(self) -> int:
        return self.executors * self.profile.executor.cores or self.profile.step.cores

    @property
    def shuffle_partitions(self) -> int:
        """A few for each core, so that none waits long for the last; more if they would be large."""
        return max(4 * self.cores, ceil(self.scan_bytes / BYTES_PER_SHUFFLE_PARTITION))


def decide(profile: Profile, scan_bytes: int) -> Decision:
    """As many executors as the bytes to read give work to, within the profile's bounds."""
    to_read = f"{scan_bytes / 2**20:,.1f} MiB to read"
    alone = profile.step.cores * BYTES_PER_CORE
    if profile.min_executors == 0 and scan_bytes <= alone:
        why = f"the step's pod alone takes up to {_mib(alone)}"
        return Decision(profile, scan_bytes, 0, f"{to_read}: {why}.")
    each = profile.executor.cores * BYTES_PER_CORE
    wanted = ceil(scan_bytes / each)
    executors = min(max(wanted, profile.min_executors), profile.max_executors)
    why = f"executors for {_mib(each)} each, so {wanted}"
    if executors != wanted:
        why += f"; within {profile.min_executors} to {profile.max_executors}, {executors}"
    return Decision(profile, scan_bytes, executors, f"{to_read}: {why}.")


def cpu(cores: int, scale: float) -> str:
    """What a pod asks for; it may use more where the node has some to spare, as far as Spark's tasks go."""
    return f"{max(1, round(1000 * cores * scale))}m"


def step_pod(pod: Pod, cpu_request_scale: float) -> dict[str, Any]:
    """For a step's tag `dagster-k8s/config`. Memory is asked for in full: it cannot be taken back from a process."""
    memory = f"{pod.memory.limit}Mi"
    return {
        "container_config": {
            "resources": {
                "requests": {"cpu": cpu(pod.cores, cpu_request_scale), "memory": memory},
                "limits": {"memory": memory},
            },
            "env": [{"name": "SPARK_LOCAL_DIRS", "value": SCRATCH}],
            "volume_mounts": [{"name": "scratch", "mount_path": SCRATCH}],
        },
        "pod_spec_config": {"volumes": [{"name": "scratch", "empty_dir": {"size_limit": f"{pod.scratch}Mi"}}]},
    }


def _mebibytes(what: str, quantity: str) -> int:
    found = _QUANTITY.fullmatch(quantity)
    if not found:
        raise ValueError(f"{what}: expected a quantity such as 512Mi or 4Gi; found {quantity!r}.")
    return int(found[1]) * (_GI if found[2] == "Gi" else 1)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
