"""From launch to result on a cluster: where the seconds of a step go, with and without the class-data archive.

`step`: a pod as a step's is, that materializes one small dataset, told from the pod's creation on. `date`: all datasets
for one business date, from the API's launch to the run's success, as runs are and with a pod for each step. Needs what
`make kubernetes-test` needs.
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from resources.compute import PROFILES, step_pod
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY
from tests.kubernetes.cluster import Tools, kubectl
from tests.kubernetes.platform import START, Platform, running_platform

ROUNDS = 5
DATES = 2
"""Of each way, beside the first."""

DATASETS = tuple(f"{DAILY},{ADJUSTMENTS},{BOOKS}".split(","))
DATASET = "landing/loan_rows"
_WAYS: Mapping[str, Mapping[str, Any]] = {
    "small steps in the run's pod": {},
    "each step in its own": {"execution": {"config": {"run_pod_steps": 0}}},
}
"""Of executing a run, and its configuration."""

_SECONDS = 180
_SECONDS_OF_A_DATE = 1200
CPU_SCALE = 0.1
"""How much of each core of its profile a pod asks for, as in the overlay for tests."""

STEP = f"""
import time
times = {{"python": time.time()}}  # when Python ran; what came before is the pod's
import json, os
import pyspark.core.context
import affirm_assets.datasets
from affirm_assets.declare.registry import Registry
from affirm_assets.stores import catalog_of
from affirm_assets.declare.partitions import Window, iso_date
from affirm_assets.settings import Settings
from affirm_assets.steps.storage import Storage
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from resources.compute import PROFILES
from resources.landing import LandingZone
from resources.spark_on_kubernetes import KubernetesSparkSessions

settings = Settings.of(os.environ)
registry = Registry.walk(affirm_assets.datasets)
catalog = catalog_of(settings)
storage = Storage(catalog.load(), LandingZone(settings.landing), catalog.name)
dataset = registry["{DATASET.split("/")[1]}"]
launch = pyspark.core.context.launch_gateway

def launched(*args, **kwargs):
    times["jvm starts"] = time.time()
    gateway = launch(*args, **kwargs)
    times["jvm"] = time.time()
    return gateway

pyspark.core.context.launch_gateway = launched

class Spark:
    def open(self, dataset, window, scan):
        conf = {{**catalog.spark_conf(), **RESULT_SETTINGS}}
        session, _ = KubernetesSparkSessions().open(conf, PROFILES["small"], scan.bytes)
        times["session"] = time.time()
        return SparkEngine(session, catalog.name, "the benchmark asks for it")

times["code"] = time.time()
name = f"bench-{{time.time_ns()}}"
day = iso_date("{START}")
result = run_step(dataset, registry.datasets, Window(day, day), Run(name, name), "v1", storage, Spark())
times["result"] = time.time()
print("TIMES " + json.dumps({{"times": times, "parts": dict(result.seconds)}}), flush=True)
os._exit(0)
"""


def measure() -> dict[str, Any]:
    tools = Tools.of(os.environ)
    tools.provide_image()
    steps: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, running_platform(tools, Path(folder)) as platform:
        platform.stop_sensors()
        platform.land(START, START + timedelta(days=DATES * len(_WAYS)))
        for number in range(ROUNDS + 1):
            for name, archive in (("with archive", True), ("without archive", False)):
                taken = _step(f"bench-{number}-{'with' if archive else 'without'}", archive)
                if number:  # the first pod of an image pays for its files' first reading
                    steps[name].append(taken)
        dates = _dates(platform)
    medians = {name: _medians(taken) for name, taken in steps.items()}
    return {
        "dataset": DATASET,
        "seconds of a step": medians,
        "share of a step": {
            name: {part: round(value / taken["total"], 2) for part, value in taken.items() if part != "total"}
            for name, taken in medians.items()
        },
        "ratio": {
            part: round(medians["with archive"][part] / medians["without archive"][part], 2)
            for part in ("jvm", "session", "work", "total")
        },
        "seconds of a date": dates,
        "ratio of a date": round(
            dates["small steps in the run's pod"]["to the run's success"]
            / dates["each step in its own"]["to the run's success"],
            2,
        ),
    }


def _dates(platform: Platform) -> Mapping[str, Mapping[str, float]]:
    """A date each way, in turn; medians. The first date of an empty lake makes the tables, and does not count."""
    days = (START + timedelta(days=number) for number in count())
    _date(platform, next(days), {})
    taken: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for _ in range(DATES):
        for name, config in _WAYS.items():
            taken[name].append(_date(platform, next(days), config))
    return {name: _medians(each) for name, each in taken.items()}


def _medians(taken: list[Mapping[str, float]]) -> dict[str, float]:
    return {part: round(median(each[part] for each in taken), 2) for part in taken[0]}


def _step(name: str, archive: bool) -> Mapping[str, float]:
    """Seconds of each part of one pod's step, and of all."""
    created = time.time()
    kubectl("create", "--filename", "-", stdin=json.dumps(_pod(name, archive)))
    try:
        said = printed(name, "TIMES ", _SECONDS)
    finally:
        kubectl("delete", "pod", name, "--wait=false")
    times, parts = said["times"], said["parts"]
    work, publish = parts["stage"] + parts["audit"], parts["publish"]
    found = {
        "pod": times["python"] - created,
        "python": times["code"] - times["python"],
        "jvm": times["jvm"] - times["jvm starts"],
        "session": times["session"] - times["jvm"],
        "plan": parts["pin"] + parts["measure"] + parts["transform"],
        "work": work,
        "publish": publish,
        "total": times["result"] - created,
    }
    return {**found, "report": found["total"] - sum(value for part, value in found.items() if part != "total")}


def printed(name: str, mark: str, seconds: float) -> Any:
    """The JSON after a mark in what a pod printed until it ended. Raises TimeoutError; RuntimeError with its log."""
    deadline = time.monotonic() + seconds
    while (phase := kubectl("get", "pod", name, "--output=jsonpath={.status.phase}")) not in ("Succeeded", "Failed"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"pod {name} is {phase} after {seconds} s:\n" + kubectl("describe", "pod", name))
        time.sleep(0.5)
    log = kubectl("logs", name)
    line = next((line for line in log.splitlines() if line.startswith(mark)), None)
    if line is None:
        raise RuntimeError(f"pod {name} printed no line {mark}...:\n{log}")
    return json.loads(line.removeprefix(mark))


def _pod(name: str, archive: bool) -> dict[str, Any]:
    """With the memory of a small step."""
    pod = code_pod(name, ["python", "-c", STEP])
    (container,) = pod["spec"]["containers"]
    container["resources"] = step_pod(PROFILES["small"].step, CPU_SCALE)["container_config"]["resources"]
    if not archive:
        container.setdefault("env", []).append({"name": "SPARK_SUBMIT_OPTS", "value": ""})
    return pod


def code_pod(name: str, arguments: list[str]) -> dict[str, Any]:
    """A pod as the code location's, with the account of a step."""
    deployed = json.loads(kubectl("get", "deployment", "affirm-code-location", "--output=json"))
    spec = deployed["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for each in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):
        container.pop(each, None)
    container["args"] = arguments
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {**spec, "serviceAccountName": "affirm-step", "restartPolicy": "Never"},
    }


def _date(platform: Platform, day: date, config: Mapping[str, Any]) -> Mapping[str, float]:
    """Seconds from the launch of a run of all datasets for a date to its stages, and how many pods it had."""
    launched = time.time()
    run_id = platform.materialize(*DATASETS, first=day, seconds=_SECONDS_OF_A_DATE, config=config)
    events = platform.events(run_id)

    def at(kind: str) -> list[float]:
        return [float(each["timestamp"]) / 1000 - launched for each in events if each["eventType"] == kind]

    return {
        "to the run's start": at("RUN_START")[0],
        "to the first step's start": min(at("STEP_START")),
        "to the last step's success": max(at("STEP_SUCCESS")),
        "to the run's success": at("RUN_SUCCESS")[0],
        "steps": len(at("STEP_SUCCESS")),
        "pods": len(platform.pods_of(run_id)),
    }
