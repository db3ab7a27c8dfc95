"""Run every benchmark, or those that are named: python -m bench [NAME ...]: the keys of BENCHMARKS and ON_A_CLUSTER.

Those of ON_A_CLUSTER need a cluster, and run only if they are named.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from bench import arrivals, auditor, books, demo, executors, growth, kubernetes, limit, load, step, tick

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "load": load.measure,
    "step": step.measure,
    "limit": limit.measure,
    "growth": growth.measure,
    "books": books.measure,
    "demo": demo.measure,
    "tick": tick.measure,
    "arrivals": arrivals.measure,
    "auditor": auditor.measure,
}
ON_A_CLUSTER = {"kubernetes": kubernetes.measure, "executors": executors.measure}


def main(names: list[str]) -> None:
    known = {**BENCHMARKS, **ON_A_CLUSTER}
    if unknown := set(names) - set(known):
        sys.exit(f"unknown benchmark {', '.join(sorted(unknown))}: expected {', '.join(known)}")
    results = {}
    for name in names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results[name] = known[name]()
    print(json.dumps(results, indent=2))


main(sys.argv[1:])
