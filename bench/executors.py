"""At which size executors pay: a whole step in a pod alone, with one executor and with two, from the pod's creation on.

Each pod has one core, so that two executors at work have both cores of a small machine; the driver's pod is then nearly
idle. Without executors the second core is free for what Spark does beside its tasks, so that executors look a little
worse here than on a cluster of many nodes. Needs what `make kubernetes-test` needs.
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench.kubernetes import CPU_SCALE, code_pod, printed
from bench.step_in_pod import profile
from resources.compute import SCRATCH, step_pod
from resources.kubernetes.labels import RUN_ID, STEP, step_labels
from tests.kubernetes.cluster import ROOT, Tools, kubectl
from tests.kubernetes.platform import running_platform

SIZES = (1_000_000, 4_000_000, 16_000_000, 64_000_000)
WAYS: Mapping[str, int] = {"alone": 0, "one executor": 1, "two executors": 2}
ROUNDS = 3
SECONDS = 600
FOLDER = "/bench"
"""Where the pods find these benchmarks, which are not in the image."""


def measure() -> dict[str, Any]:
    tools = Tools.of(os.environ)
    tools.provide_image()
    taken: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    read = {}
    with tempfile.TemporaryDirectory() as folder, running_platform(tools, Path(folder)) as platform:
        platform.stop_sensors()
        kubectl("create", "configmap", "bench", f"--from-file={ROOT}/bench")
        for rows in SIZES:
            _step(f"bench-source-{rows}", rows, "source")
            for number in range(ROUNDS):
                for way, executors in WAYS.items():
                    seconds, read[rows] = _step(f"bench-{rows}-{executors}-{number}", rows, str(executors))
                    taken[rows][way].append(seconds)
    medians = {rows: {way: median(each) for way, each in ways.items()} for rows, ways in taken.items()}
    return {
        f"{rows:,} rows, {read[rows] / 2**20:.0f} MiB to read": {
            "seconds": ways,
            "ratio of one executor to none": round(medians[rows]["one executor"] / medians[rows]["alone"], 2),
            "ratio of two to none": round(medians[rows]["two executors"] / medians[rows]["alone"], 2),
            "ratio of two to one": round(medians[rows]["two executors"] / medians[rows]["one executor"], 2),
        }
        for rows, ways in taken.items()
    }


def _step(name: str, rows: int, executors: str) -> tuple[float, int]:
    """Seconds from the pod's creation to the step's result, and the bytes that it had to read."""
    created = time.time()
    kubectl("create", "--filename", "-", stdin=json.dumps(_pod(name, rows, executors)))
    try:
        said = printed(name, "RESULT ", SECONDS)
    finally:
        kubectl("delete", "pod", name, "--wait=true")  # its executors go with it, before the next begins
    assert said["rows"] == rows, said
    return round(said["ended"] - created, 1), said["bytes"]


def _pod(name: str, rows: int, executors: str) -> dict[str, Any]:
    pod = code_pod(name, ["python", "-m", "bench.step_in_pod", name, str(rows), executors, str(CPU_SCALE)])
    pod["metadata"]["labels"] = step_labels(name, "bench")
    step = step_pod(profile(0).step, CPU_SCALE)
    (container,) = pod["spec"]["containers"]
    container["resources"] = step["container_config"]["resources"]
    container["env"] = [
        *container.get("env", ()),
        *step["container_config"]["env"],
        {"name": "PYTHONPATH", "value": f"/opt/affirm:{FOLDER}"},
        {"name": "AFFIRM_EXECUTOR_SERVICE_ACCOUNT", "value": "affirm-executor"},
        {"name": RUN_ID.variable, "value": name},
        {"name": STEP.variable, "value": "bench"},
        *(
            {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for variable, path in (
                ("POD_NAME", "metadata.name"),
                ("POD_NAMESPACE", "metadata.namespace"),
                ("POD_IP", "status.podIP"),
            )
        ),
    ]
    container["volumeMounts"] += [
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "bench", "mountPath": f"{FOLDER}/bench"},
    ]
    pod["spec"]["volumes"] += [{"name": "scratch", "emptyDir": {}}, {"name": "bench", "configMap": {"name": "bench"}}]
    return pod
