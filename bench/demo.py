"""The demo as a user runs it, on a lake and an instance of its own: seconds and peak memory of all its processes."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measuring import peak_memory


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "dagster")
        home.mkdir()
        environ = {**os.environ, "AFFIRM_LAKE": f"{folder}/lake", "DAGSTER_HOME": str(home)}
        command = [str(Path(sys.executable).with_name("affirm")), "demo"]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        with peak_memory(process.pid) as peak:
            status = process.wait()
    return {"exit status": status, "seconds": round(time.perf_counter() - start, 1), "peak MiB": round(peak.mib)}
