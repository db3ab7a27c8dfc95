"""`affirm demo`: the whole platform on sample data, in real Dagster runs, and a table of what came of it."""

import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
from rich.console import Console

import affirm_assets.datasets
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Monthly, Partitions, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.demo.compare import Comparison
from affirm_assets.demo.dates import Asked, business_of
from affirm_assets.demo.show import datasets_table, trial_balance
from affirm_assets.errors import SettingError
from affirm_assets.lender.sample_data import Business
from affirm_assets.runs import Materialized, materialize, read_events
from affirm_assets.sample import begins_with_sample, kept_business, write_sample
from affirm_assets.settings import Settings
from affirm_assets.stores import catalog_of
from resources.landing.stores import Folder

__all__ = ["Asked", "run_demo"]


def run_demo(settings: Settings, asked: Asked, today: date) -> int:
    """Returns the exit status: 0 if every run succeeded. `today`: in the books' time zone.

    Raises:
        SettingError: The deployment is not a folder of this machine.
        SampleDateRefused: The lake cannot have the dates.
    """
    started = time.monotonic()
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    registry = Registry.walk(affirm_assets.datasets)
    if settings.lake is None:
        raise SettingError("AFFIRM_DEPLOYMENT", repr(settings.deployment), "local: the demo works on a folder")
    first = None if begins_with_sample(settings) else settings.first_business_date
    business = business_of(asked, first, kept_business(Folder(settings.landing)), today)
    window = Window(business.start, business.start + timedelta(days=business.days - 1))
    catalog = catalog_of(settings).load()
    if first is None:
        console.print(
            f"The first business date of this lake is {business.start}. A UI that runs already shows it once its "
            "definitions are reloaded."
        )
    _write_landing_files(console, settings, business)
    found: dict[str, Materialized] = {}
    with dg.DagsterInstance.get() as instance, Comparison(catalog, registry.datasets.values()) as comparison:
        for title, datasets, computed in runs_of(registry, window):
            partitions = f"{computed.first}...{computed.last}"
            console.print(f"\n{title}, partitions {partitions}, in one Dagster run")
            run = materialize(console, instance, datasets, computed, settings.lake / "demo.log")
            if run is None:
                return 1
            comparison.look_again()
            found |= read_events(instance, run.run_id, datasets)
        console.print()
        console.print(datasets_table([item for item in registry.in_order() if item.name in found], found))
        console.print(comparison.said())
    console.print(f"{time.monotonic() - started:.0f} seconds in all.\n")
    console.print(f"The books on {window.last}:")
    console.print(trial_balance(catalog, registry["trial_balance"], window.last))
    console.print()
    console.print(_next_commands(window))
    return 0


def _write_landing_files(console: Console, settings: Settings, business: Business) -> None:
    console.print(
        f"Sample data: {business.loans:,} loans over {business.days} business dates from {business.start} ..."
    )
    summary = write_sample(settings, business)
    console.print(
        f"  {summary.records('loans'):,} loan and {summary.records('transactions'):,} transaction records, good and "
        f"bad, in {summary.files:,} files under {settings.landing}"
    )


def runs_of(registry: Registry, window: Window) -> Iterator[tuple[str, list[Dataset], Window]]:
    """Datasets of different partitions cannot share a run: the days first, then the months that have ended with them.

    A month that goes on has days that are not there yet. The month in which the days begin has no others before them.
    """
    ordered = registry.in_order()
    monthly = [item for item in ordered if isinstance(item.partitions, Monthly)]
    yield "Daily datasets", [item for item in ordered if item not in monthly], window
    for whole in {whole for item in monthly if (whole := _whole_months(item.partitions, window))}:
        yield "Monthly datasets", monthly, whole


def _whole_months(partitions: Partitions | None, window: Window) -> Window | None:
    if partitions is None:
        return None
    starts = partitions.starts(partitions.covering(window))
    whole = [start for start in starts if partitions.days(Window(start, start)).last <= window.last]
    return Window(whole[0], whole[-1]) if whole else None


def _next_commands(window: Window) -> str:
    day = window.first + timedelta(days=1)
    return (
        "Next:\n"
        "  make ui        these runs, the assets and their checks, on http://127.0.0.1:3000\n"
        "  .venv/bin/affirm sample-data --next\n"
        "                 lands the next business date: the sensors of the running UI materialize it without a click\n"
        "  .venv/bin/dagster asset materialize -m affirm_assets.definitions "
        f"--select loans/loans --partition {day}\n"
        "  .venv/bin/dagster asset materialize -m affirm_assets.definitions "
        f"--select loans/loans,portfolio/originations_daily --partition-range {day}...{day + timedelta(days=3)}\n"
        "  make test      the test suite"
    )
