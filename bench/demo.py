"""What a user waits for, on each engine: the demo, and one partition by the dagster CLI. Spark is the baseline.

All of it runs as a user runs it, in processes of its own, on lakes and instances of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from affirm_assets.declare.dataset import ENGINES
from affirm_assets.local_instance import prepare_instance
from affirm_assets.settings import SAIL, SPARK
from bench.measuring import interleaved, peak_memory

ROUNDS = 3


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        homes = {engine: _Home(Path(folder, engine), engine) for engine in ENGINES}
        demos = {engine: home.demo() for engine, home in homes.items()}
        partition = interleaved({engine: home.one_partition for engine, home in homes.items()}, ROUNDS)
    return {
        "demo": {**demos, "ratio": round(demos[SAIL]["seconds"] / demos[SPARK]["seconds"], 2)},
        "one partition": {
            "seconds": partition,
            "ratio": round(partition[SAIL]["median"] / partition[SPARK]["median"], 2),
        },
    }


class _Home:
    """A folder with an instance and a lake, where one engine computes every step."""

    def __init__(self, folder: Path, engine: str) -> None:
        folder.mkdir()
        (folder / "dagster.yaml").write_text(Path("dagster.yaml").read_text())
        prepare_instance(folder)
        self._folder = folder
        self._environ = {
            **os.environ,
            "AFFIRM_LAKE": f"{folder}/lake",
            "AFFIRM_ENGINE": engine,
            "DAGSTER_HOME": f"{folder}/.dagster",
        }

    def demo(self) -> dict[str, Any]:
        start = time.perf_counter()
        process = self._start("affirm", "demo")
        with peak_memory(process.pid) as peak:
            assert process.wait() == 0
        return {"seconds": round(time.perf_counter() - start, 1), "peak MiB": round(peak.mib)}

    def one_partition(self) -> None:
        module = ("-m", "affirm_assets.definitions")
        selected = ("--select", "portfolio/originations_daily", "--partition", "2025-01-02")
        assert self._start("dagster", "asset", "materialize", *module, *selected).wait() == 0

    def _start(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        silent = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=self._folder, env=self._environ, stdout=silent, stderr=silent)
