"""The demo as a user runs it, on a lake and an instance of its own: seconds and peak memory of all its processes."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from affirm_assets.local_instance import prepare_instance
from bench.measuring import peak_memory


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").write_text(Path("dagster.yaml").read_text())
        prepare_instance(Path(folder))
        environ = {**os.environ, "AFFIRM_LAKE": f"{folder}/lake"}
        command = [str(Path(sys.executable).with_name("affirm")), "demo"]
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL)
        with peak_memory(process.pid) as peak:
            status = process.wait()
    return {"exit status": status, "seconds": round(time.perf_counter() - start, 1), "peak MiB": round(peak.mib)}
