"""What loading costs: of the project's own datasets over importing Dagster; of 5,000 over as many of plain Dagster.

bench/many.py says what either has. Of the 5,000:
- load: from the first of their imports to the snapshot that the UI asks the code server for, in seconds of the
  processor. What Dagster, PySpark and the others take to be imported is left out.
- memory: the most that the process has in memory meanwhile, with and without what was imported before.
- reload: of the code location, as the button in the UI does it: a new server with all its imports, in seconds.
- tick: with nothing to do, of the sensors that look at every table, over one of Dagster's automation (`eager`).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget

from bench import many
from bench.measuring import interleaved

DATASETS = 5_000
_KINDS = ("declared", "plain")
_LOADS, _RELOADS = 3, 2


def measure() -> dict[str, Any]:
    return {"own": _own(), f"{DATASETS:,} datasets": _many()}


def _own() -> dict[str, Any]:
    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    taken = interleaved(
        {
            "import dagster": lambda: run("import dagster"),
            "load the code location": lambda: run(
                "from affirm_assets.definitions import defs; defs.resolve_asset_graph()"
            ),
        },
        rounds=5,
    )
    ratio = taken["load the code location"]["median"] / taken["import dagster"]["median"]
    return {"seconds": taken, "ratio": round(ratio, 2)}


def _many() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        many.declared(root, DATASETS)
        many.plain(root, DATASETS)
        loads: dict[str, list[dict[str, float]]] = {kind: [] for kind in _KINDS}
        for number in range(_LOADS + 1):
            for kind in _KINDS:
                found = _child("load", kind, root)
                loads[kind] += [found] if number else []  # at the first, modules are compiled
        medians = {
            kind: {name: median(each[name] for each in loads[kind]) for name in loads[kind][0]} for kind in _KINDS
        }
        with ExitStack() as stack:
            reloads = {
                kind: partial(stack.enter_context(_location(kind, root)).reload_code_location, kind) for kind in _KINDS
            }
            taken = interleaved(reloads, rounds=_RELOADS)
        for kind in _KINDS:
            medians[kind]["seconds to reload"] = taken[kind]["median"]
        ticks = {kind: _child("tick", kind, root) for kind in _KINDS}
    ratio = {name: round(found / medians["plain"][name], 2) for name, found in medians["declared"].items()}
    ratio["a tick of each"] = round(sum(ticks["declared"].values()) / sum(ticks["plain"].values()), 2)
    return {"median": medians, "all loads": loads, "seconds of a tick": ticks, "ratio": ratio}


def _child(measure: str, kind: str, root: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.many_child", measure, kind, str(root)]
    # Modules are compiled once, as in an image, wherever this environment says otherwise.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command, env=environ, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {name: round(value, 2) for name, value in found.items()}


@contextmanager
def _location(kind: str, root: Path) -> Iterator[Any]:
    target = PythonFileTarget(str(root / f"{kind}_definitions.py"), None, str(root), kind)
    home = root / f"{kind}_home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance, WorkspaceProcessContext(instance, target) as context:
        yield context
