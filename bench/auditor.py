"""What an auditor waits for, by how old the lake is; and what closed months cost the publishes after them.

All commands run as processes of their own, over the demo's business: 3,000 loans in 180 business dates, and as many a
day in 1,000. `affirm explain loan` is of the loan with the most movements among those of the last half year; its
baseline is the younger lake. `affirm verify` reads every row of the younger lake.

The cost of a close: the last date is computed again by all steps of the lake, before its months are closed and after.
Seconds are of CPU time: the engine is in this process, and a busy machine takes no more of them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import affirm_assets.datasets
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail import SailEngine
from affirm_assets.local_instance import prepare_instance
from affirm_assets.settings import Settings
from affirm_assets.steps.request import Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from affirm_assets.stores import catalog_of
from bench.engines import OneEngine
from bench.measuring import peak_memory, seconds
from resources.landing import LandingZone
from resources.sail import SailSessions

REGISTRY = Registry.walk(affirm_assets.datasets)
START = date(2024, 1, 1)
LOANS = {180: 3_000, 1_000: 16_667}
"""By the number of business dates."""

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05")
ROUNDS = 3


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        lakes = {days: _Lake(Path(folder, str(days)), days, loans) for days, loans in LOANS.items()}
        younger = lakes[min(lakes)]
        explained = {f"{days} days": lake.explain() for days, lake in lakes.items()}
        few, many = (each["seconds"] for each in explained.values())
        return {
            "explain": {**explained, "ratio": round(many / few, 2)},
            "verify": younger.verify(),
            "close": younger.close(),
        }


class _Lake:
    """A folder with the demo's business over so many dates, published."""

    def __init__(self, folder: Path, days: int, loans: int) -> None:
        folder.mkdir()
        (folder / "dagster.yaml").write_text(Path("dagster.yaml").read_text())
        prepare_instance(folder)
        self._folder, self._last = folder, START + timedelta(days=days - 1)
        self._environ = {**os.environ, "AFFIRM_LAKE": f"{folder}/lake", "DAGSTER_HOME": f"{folder}/.dagster"}
        self._affirm("demo", "--start", str(START), "--days", str(days), "--loans", str(loans))
        self._settings = Settings.of(self._environ)

    def explain(self) -> Mapping[str, Any]:
        """The median of the seconds, and what is read."""
        applications = catalog_of(self._settings).load().load_table("servicing.payment_applications")
        since = self._last - timedelta(days=180)
        of_loans = applications.scan(f"posted_on > '{since}'", selected_fields=("loan_id",)).to_arrow()["loan_id"]
        most = max(of_loans.value_counts().to_pylist(), key=lambda each: (each["counts"], each["values"]))["values"]
        command = ("explain", "loan", most, "--as-of", str(self._last), "--json")
        said = json.loads(self._affirm(*command))
        taken = [round(seconds(lambda: self._affirm(*command)), 2) for _ in range(ROUNDS)]
        return {"seconds": median(taken), "all": taken, "files": said["files_read"]}

    def verify(self) -> Mapping[str, Any]:
        """Rows a second, and the peak of its memory."""
        start = time.perf_counter()
        process = self._start("verify")
        with peak_memory(process.pid) as peak:
            said, _ = process.communicate()
        taken = time.perf_counter() - start
        assert process.returncode == 0, said
        rows = _rows(said)
        return {"rows": rows, "seconds": round(taken, 1), "rows a second": round(rows / taken), "MiB": round(peak.mib)}

    def close(self) -> Mapping[str, Any]:
        """The CPU seconds of a date, and of its publishes, with open months and with closed ones."""
        opened = [self._last_date() for _ in range(ROUNDS + 1)][1:]
        for month in MONTHS:
            self._affirm("close", month, "--by", "bench")
        closed = [self._last_date() for _ in range(ROUNDS)]
        found = {
            name: {part: round(median(each[part] for each in rounds), 3) for part in ("date", "publish")}
            for name, rounds in (("open", opened), ("closed", closed))
        }
        ratio = {part: round(found["closed"][part] / found["open"][part], 2) for part in ("date", "publish")}
        return {"closed months": len(MONTHS), **found, "ratio": ratio}

    def _last_date(self) -> Mapping[str, float]:
        catalog = catalog_of(self._settings).load()
        storage = Storage(catalog, LandingZone(self._settings.landing), "measured")
        name = f"measured{time.time_ns()}"
        parts = [
            run_step(
                dataset,
                REGISTRY.datasets,
                Window(self._last, self._last),
                Run(name, name),
                "v1",
                storage,
                OneEngine(lambda: SailEngine(SailSessions().open, "measured")),
                time.process_time,
            ).seconds
            for dataset in REGISTRY.in_order()
            if isinstance(dataset.partitions, Daily)
        ]
        return {
            "date": sum(sum(each.values()) for each in parts),
            "publish": sum(each["publish"] for each in parts),
        }

    def _affirm(self, *arguments: str) -> str:
        process = self._start(*arguments)
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return said

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [str(Path(sys.executable).with_name("affirm")), *arguments]
        return subprocess.Popen(command, cwd=self._folder, env=self._environ, stdout=subprocess.PIPE, text=True)


def _rows(said: str) -> int:
    """Of the last line of `affirm verify`: `53 of 53 hold. 867,486 rows in 89 s, ...`."""
    *_, last = said.splitlines()
    return int(last.split(" hold. ")[1].split(" rows")[0].replace(",", ""))
