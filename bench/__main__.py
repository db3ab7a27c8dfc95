"""Run every benchmark, or those that are named: python -m bench [load] [step] [growth] [books] [demo]."""

import json
import sys
from collections.abc import Callable
from typing import Any

from bench import books, demo, growth, load, step

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "load": load.measure,
    "step": step.measure,
    "growth": growth.measure,
    "books": books.measure,
    "demo": demo.measure,
}


def main(names: list[str]) -> None:
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"unknown benchmark {', '.join(sorted(unknown))}: expected {', '.join(BENCHMARKS)}")
    results = {}
    for name in names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results[name] = BENCHMARKS[name]()
    print(json.dumps(results, indent=2))


main(sys.argv[1:])
