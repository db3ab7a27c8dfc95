"""A step in a pod of its own, for bench/executors.py: python -m bench.step_in_pod RUN ROWS EXECUTORS CPU_SCALE.

EXECUTORS: how many it has, each with one core, as its own pod has. `source`: it makes the table that the others read.
CPU_SCALE: how much of a core each pod asks for.
Prints RESULT and a JSON object: `ended`, seconds since the epoch; `bytes` to read; `rows`.
"""

import json
import os
import sys
import time

from affirm_assets.declare.inputs import SameWindow
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.settings import Settings
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.scan_size import scan_size_now
from affirm_assets.steps.storage import Storage
from affirm_assets.stores import catalog_of
from bench.engines import OneEngine
from bench.payments import WHY, WINDOW, Payment, PaymentWithFee, bench_dataset, payments_of, with_fees
from resources.compute import Pod, Profile
from resources.landing import LandingZone
from resources.spark_on_kubernetes import KubernetesSparkSessions

MEMORY, SCRATCH = 3 * 1024, 10 * 1024
"""MiB of each pod."""


def profile(executors: int) -> Profile:
    """Pods of one core each; what is in it depends on nothing."""
    step, executor = Pod.step(1, MEMORY, SCRATCH, native=True), Pod.executor(1, MEMORY, SCRATCH, native=True)
    return Profile("bench", step, executor, max_executors=executors, min_executors=executors)


def main(run: str, rows: int, executors: str, cpu_scale: float) -> None:
    settings = Settings.of(os.environ)
    catalog = catalog_of(settings)
    storage = Storage(catalog.load(), LandingZone(settings.landing), catalog.name)
    source = bench_dataset(f"payments_{rows}", Payment, payments_of(rows), {})
    step = bench_dataset(f"with_fees_{rows}", PaymentWithFee, with_fees, {"payments": SameWindow(source.name)})
    step = source if executors == "source" else step
    pods = profile(0 if executors == "source" else int(executors))
    conf = {**catalog.spark_conf(), **RESULT_SETTINGS}
    read = scan_size_now(step, {source.name: source}, WINDOW, storage).bytes

    def engine() -> SparkEngine:
        session, decision = KubernetesSparkSessions(cpu_request_scale=cpu_scale).open(conf, pods, read)
        assert decision.executors == pods.max_executors, decision
        return SparkEngine(session, catalog.name, WHY)

    datasets = {each.name: each for each in (source, step)}
    result = run_step(step, datasets, WINDOW, Run(run, run), "v1", storage, OneEngine(engine))
    said = {"ended": time.time(), "bytes": read, "rows": sum(result.rows.values())}
    print("RESULT " + json.dumps(said), flush=True)
    os._exit(0)  # the JVM's own end is not the step's


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
