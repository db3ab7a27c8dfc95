"""Helpers of the integration tests: a lake, Dagster runs over it, and what came of them."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from pyiceberg.catalog import Catalog

from affirm_assets.definitions import build_defs
from affirm_assets.settings import BY_SIZE, EngineSettings, Settings
from affirm_assets.steps.acceptance import TAG
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions

GOOD_LOAN: Mapping[str, Any] = {
    "loan_id": "L1",
    "user_id": "U1",
    "merchant_id": "M1",
    "borrower_email": "jane.doe@example.com",
    "borrower_state": "CA",
    "product": "installment",
    "principal": "1000.00",
    "merchant_discount": "30.00",
    "apr": "14.99",
    "instalments": 12,
    "frequency": "monthly",
    "originated_on": "2025-01-02",
    "first_due_on": "2025-02-02",
    "currency": "USD",
}

GOOD_TRANSACTION: Mapping[str, Any] = {
    "transaction_id": "T1",
    "loan_id": "L1",
    "merchant_id": None,
    "kind": "payment",
    "amount": "90.00",
    "effective_on": "2025-01-02",
    "reverses": None,
}

GOOD_ADJUSTMENT: Mapping[str, Any] = {
    "adjustment_id": "A1",
    "loan_id": "L1",
    "kind": "waiver",
    "amount": "5.00",
    "effective_on": "2025-01-02",
    "reason": "Payment page was down",
    "approver": "E0007",
    "transaction_id": None,
}


@dataclass
class Books:
    """A lake of its own, worked on by real Dagster runs in this process. No step needs Spark."""

    folder: Path
    sessions: SparkSessions
    first: date = date(2025, 1, 1)
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    engines: EngineSettings = BY_SIZE
    restatement: str = ""
    catalog_uri: str = ""  # of another catalog than a SQLite file in the folder

    @property
    def settings(self) -> Settings:
        local = Settings.local(self.folder, self.first, self.engines)
        return replace(local, restatement=self.restatement, catalog_uri=self.catalog_uri or local.catalog_uri)

    @property
    def landing(self) -> Path:
        return Path(self.settings.landing)

    def fork(self, folder: Path) -> "Books":
        """Another lake, which begins with what has landed and is published here; neither sees what the other does then.

        Both read the files that there are by now, so this is for lakes from which nobody removes any.
        """
        shutil.copytree(self.landing, folder / "landing")
        if (catalog := self.folder / "catalog.db").exists():
            shutil.copy(catalog, folder)
        return replace(self, folder=folder, instance=dg.DagsterInstance.ephemeral())

    def land(self, feed: str, day: date, files: Mapping[str, bytes], *, complete: bool = True) -> None:
        folder = self.landing / feed / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if complete:
            (folder / "_SUCCESS").touch()

    def materialize(
        self,
        select: str,
        first: date,
        last: date | None = None,
        *,
        raises: bool = True,
        accepts: Iterable[tuple[str, date]] = (),
    ) -> dg.ExecuteInProcessResult:
        """A run of these assets (comma-separated keys) for a day, or a range of days. accepts: feeds' bad days."""
        tags = {} if last is None else range_tags(first, last)
        if accepted := "\n".join(f"{feed} {day} Bad on purpose" for feed, day in accepts):
            tags[TAG] = accepted
        return self.job(select).execute_in_process(
            instance=self.instance,
            raise_on_error=raises,
            partition_key=str(first) if last is None else None,
            tags=tags,
        )

    def job(self, select: str) -> dg.JobDefinition:
        """Of these assets (comma-separated keys)."""
        defs = build_defs(self.settings, resource_overrides={"spark": self.sessions})
        keys = [dg.AssetKey(key.split("/")) for key in select.split(",")]
        job = dg.define_asset_job("books", selection=dg.AssetSelection.assets(*keys))
        return dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("books")

    @property
    def catalog(self) -> Catalog:
        return IcebergCatalog(uri=self.settings.catalog_uri, warehouse=self.settings.warehouse).load()

    def table(self, name: str) -> pa.Table:
        return self.catalog.load_table(name).scan().to_arrow()

    def rows(self, name: str, *columns: str) -> list[dict[str, Any]]:
        """What PyIceberg reads on `main`, in the order of all its values."""
        table = self.table(name)
        rows = (table.select(list(columns)) if columns else table).to_pylist()
        return sorted(rows, key=lambda row: [str(value) for value in row.values()])


LOANS = "landing/loan_rows,loans/loans,loans/borrowers,loans/rejected_loans,portfolio/originations_daily"
TRANSACTIONS = (
    "landing/transaction_rows,transactions/transactions,transactions/rejected_transactions,transactions/suspense"
)
ADJUSTMENTS = "landing/adjustment_rows,adjustments/adjustments,adjustments/rejected_adjustments"
DAILY = f"{LOANS},{TRANSACTIONS}"
BOOKS = (
    "loans/loan_schedules,servicing/loan_balances,servicing/payment_applications,servicing/unapplied,"
    "servicing/charge_offs,"
    "ledger/provisions,ledger/ledger_entries,ledger/trial_balance,ledger/journal,"
    "merchants/merchant_settlements,portfolio/portfolio_daily,portfolio/cash_daily"
)
"""What is computed from those."""
MONTHLY = "portfolio/originations_monthly,portfolio/roll_rates,portfolio/vintage_curves,portfolio/funding_tape"
"""What is computed of a month, once its days are there."""


def range_tags(first: date, last: date) -> dict[str, str]:
    """Of a run over a range of days."""
    return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}


def loan(**over: Any) -> dict[str, Any]:
    return {**GOOD_LOAN, **over}


def transaction(**over: Any) -> dict[str, Any]:
    return {**GOOD_TRANSACTION, **over}


def adjustment(**over: Any) -> dict[str, Any]:
    return {**GOOD_ADJUSTMENT, **over}


def jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
