"""Seconds to load the code location, over those of importing Dagster alone."""

import subprocess
import sys
from typing import Any

from bench.measuring import interleaved


def measure() -> dict[str, Any]:
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
