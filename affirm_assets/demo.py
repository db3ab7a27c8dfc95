"""`affirm demo`: the whole platform on sample data, in real Dagster runs, and a table of what came of it."""

import hashlib
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from rich.console import Console
from rich.table import Table

import affirm_assets.datasets
from affirm_assets.declare.contract import key_columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Monthly, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import catalog_of
from affirm_assets.errors import SettingError
from affirm_assets.lender.sample_data import write_sample_data
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.settings import Settings

_POLL_SECONDS = 0.3


@dataclass(frozen=True)
class _Materialized:
    """What the events of a run say of one dataset."""

    seconds: float
    partitions: int
    rows: int
    snapshot: str
    audits_passed: int
    audits: int


def run_demo(settings: Settings, *, loans: int, days: int, seed: int) -> int:
    """Returns the exit status: 0 if every run succeeded."""
    started = time.monotonic()
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    registry = Registry.walk(affirm_assets.datasets)
    if settings.lake is None:
        raise SettingError("AFFIRM_DEPLOYMENT", repr(settings.deployment), "local: the demo works on a folder")
    catalog = catalog_of(settings).load()
    before = {name: _fingerprint(catalog, item) for name, item in registry.datasets.items()}
    window = Window(settings.first_business_date, settings.first_business_date + timedelta(days=days - 1))
    _write_landing_files(console, Path(settings.landing), window, loans=loans, seed=seed)
    found: dict[str, _Materialized] = {}
    with dg.DagsterInstance.get() as instance:
        for title, datasets, keys in _runs(registry, window):
            console.print(f"\n{title}, partitions {keys}, in one Dagster run")
            run = _materialize(console, instance, datasets, keys, settings.lake / "demo.log")
            if run is None:
                return 1
            found |= _read_events(instance, run.run_id, datasets)
    console.print()
    console.print(_table(registry.in_order(), found))
    console.print(_comparison(before, lambda name: _fingerprint(catalog, registry[name])))
    console.print(f"{time.monotonic() - started:.0f} seconds in all.\n")
    console.print(f"The books on {window.last}:")
    console.print(_trial_balance(catalog, registry["trial_balance"], window.last))
    console.print()
    console.print(_next_commands(window))
    return 0


def _write_landing_files(console: Console, landing: Path, window: Window, *, loans: int, seed: int) -> None:
    days = (window.last - window.first).days + 1
    console.print(f"Sample data: {loans:,} loans over {days} business dates from {window.first} ...")
    summary = write_sample_data(landing, loans=loans, start=window.first, days=days, seed=seed)
    console.print(
        f"  {summary.records('loans'):,} loan and {summary.records('transactions'):,} transaction records, good and "
        f"bad, in {summary.files:,} files under {landing}"
    )


def _runs(registry: Registry, window: Window) -> Iterator[tuple[str, list[Dataset], str]]:
    """Datasets of different partitions cannot share a run: the days first, then the months made from them."""
    ordered = registry.in_order()
    monthly = [item for item in ordered if isinstance(item.partitions, Monthly)]
    yield "Daily datasets", [item for item in ordered if item not in monthly], f"{window.first}...{window.last}"
    for months in {item.partitions.covering(window) for item in monthly if item.partitions}:
        yield "Monthly datasets", monthly, f"{months.first}...{months.last}"


def _materialize(
    console: Console, instance: dg.DagsterInstance, datasets: Sequence[Dataset], keys: str, log: Path
) -> dg.DagsterRun | None:
    """One run by the dagster CLI, as anybody would start it, with progress from its events; None if it failed."""
    select = ",".join(str(item) for item in datasets)
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "asset",
        "materialize",
        "-m",
        "affirm_assets.definitions",
    ]
    run_id = None
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--select", select, "--partition-range", keys], stdout=output, stderr=subprocess.STDOUT
        )
        progress = _Progress(instance)
        while True:
            ended = process.poll() is not None
            run_id = run_id or _run_of(log.read_text(errors="replace"), process.pid)
            for line in progress.news(run_id) if run_id else ():
                console.print(line)
            if ended:
                break
            time.sleep(_POLL_SECONDS)
    run = instance.get_run_by_id(run_id) if run_id else None
    if process.returncode == 0 and run and run.status == dg.DagsterRunStatus.SUCCESS:
        return run
    console.print(f"The run failed. What it printed is in {log}, and `make ui` shows its events.")
    for message in _failures(instance, run.run_id) if run else [log.read_text()]:
        console.print(message, markup=False)
    return None


def _failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data
        cause = failure.error.cause or failure.error if failure.error else None
        yield f"{entry.step_key}: {cause.message if cause else failure.user_failure_data}"


def _run_of(log: str, pid: int) -> str | None:
    """The id of the run that this process executes, by its own log: any newer run may be somebody else's.

    The command takes neither an id nor a tag for its run.
    """
    found = re.search(rf" - ([0-9a-f-]{{36}}) - {pid} - RUN_START - ", log)
    return found[1] if found else None


class _Progress:
    """A line for each step of a run that has ended."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursor: str | None = None
        self._started: dict[str, float] = {}

    def news(self, run_id: str) -> Iterator[str]:
        """The lines since the last call."""
        types = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
        page = self._instance.get_records_for_run(run_id, self._cursor, types)
        self._cursor = page.cursor
        for entry in (record.event_log_entry for record in page.records):
            step = entry.step_key or ""
            if entry.get_dagster_event().is_step_start:
                self._started[step] = entry.timestamp
            else:
                yield f"  {step.replace('__', '/'):36} {entry.timestamp - self._started[step]:6.1f} s"


def _read_events(instance: dg.DagsterInstance, run_id: str, datasets: Sequence[Dataset]) -> dict[str, _Materialized]:
    types = {
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.STEP_START,
        dg.DagsterEventType.STEP_SUCCESS,
    }
    by_step: dict[str | None, list[dg.EventLogEntry]] = defaultdict(list)
    for entry in instance.all_logs(run_id, of_type=types):
        by_step[entry.step_key].append(entry)
    return {
        item.name: _materialized(
            item, by_step[f"{item.domain}__{item.name}"], instance.get_latest_materialization_event(asset_key(item))
        )
        for item in datasets
    }


def _materialized(
    dataset: Dataset, entries: Sequence[dg.EventLogEntry], last: dg.EventLogEntry | None
) -> _Materialized:
    """`last`: a range is reported once for each partition, and the last report says what the step did."""
    events = [each.get_dagster_event() for each in entries]
    checks = [
        e.asset_check_evaluation_data for e in events if e.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert last is not None  # the run succeeded
    assert last.asset_materialization is not None
    assert dataset.partitions is not None
    metadata = last.asset_materialization.metadata
    return _Materialized(
        seconds=entries[-1].timestamp - entries[0].timestamp,
        partitions=len(list(dataset.partitions.starts(Window.parse(str(metadata["window"].value))))),
        rows=int(str(metadata["dagster/row_count"].value)),
        snapshot=str(metadata["snapshot"].value),
        audits_passed=sum(check.passed for check in checks),
        audits=len(checks),
    )


def _table(datasets: Sequence[Dataset], found: Mapping[str, _Materialized]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("dataset")
    for title in ("rows", "partitions", "snapshot", "audits passed", "seconds"):
        table.add_column(title, justify="right")
    for item in datasets:
        row = found[item.name]
        table.add_row(
            str(item),
            f"{row.rows:,}",
            f"{row.partitions}",
            row.snapshot,
            f"{row.audits_passed} of {row.audits}",
            f"{row.seconds:.1f}",
        )
    return table


def _trial_balance(catalog: Catalog, dataset: Dataset, day: date) -> Table:
    """The accounts of the ledger at the end of a day; credits are negative, so the closings add up to zero."""
    table = Table(box=None, pad_edge=False)
    table.add_column("account")
    amounts = ("opening", "debits", "credits", "closing")
    for name in amounts:
        table.add_column(name, justify="right")
    rows = catalog.load_table(dataset.table).scan(f"as_of = '{day}'").to_arrow().to_pylist()
    for row in sorted(rows, key=lambda row: str(row["account"])):
        table.add_row(row["account"], *(f"{row[name]:,}" for name in amounts))
    totals = [sum((row[name] for row in rows), Decimal(0)) for name in amounts]
    table.add_row("total", *(f"{total:,}" for total in totals))
    return table


def _fingerprint(catalog: Catalog, dataset: Dataset) -> str | None:
    """A digest of the table's rows in the order of their key; None if there are none."""
    try:
        rows = catalog.load_table(dataset.table).scan().to_arrow()
    except NoSuchTableError:
        return None
    if rows.num_rows == 0:
        return None
    within = (dataset.partitions.column,) if dataset.partitions else ()
    order = [(name, "ascending") for name in (*key_columns(dataset.contract), *within)]
    named = rows.select(sorted(rows.column_names)).sort_by(order).combine_chunks()
    # Text is of one kind whoever wrote the files, which say how their writer held it.
    plain = named.cast(pa.schema([(each.name, _plain_type(each.type)) for each in named.schema]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_string(kind) else kind


def _comparison(before: Mapping[str, str | None], now: Callable[[str], str | None]) -> str:
    if all(value is None for value in before.values()):
        return "The first run of this lake; run `make demo` again and it compares the rows."
    changed = [name for name, found in before.items() if now(name) != found]
    if not changed:
        return f"The same rows as before this run, in all {len(before)} datasets."
    return f"Other rows than before this run in: {', '.join(changed)}."


def _next_commands(window: Window) -> str:
    day = window.first + timedelta(days=1)
    return (
        "Next:\n"
        "  make ui        these runs, the assets and their checks, on http://127.0.0.1:3000\n"
        "  .venv/bin/dagster asset materialize -m affirm_assets.definitions "
        f"--select loans/loans --partition {day}\n"
        "  .venv/bin/dagster asset materialize -m affirm_assets.definitions "
        f"--select loans/loans,portfolio/originations_daily --partition-range {day}...{day + timedelta(days=3)}\n"
        "  make test      the test suite"
    )
