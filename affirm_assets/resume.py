"""`affirm resume`: compute what is missing or out of date, and nothing else, by runs of the dagster CLI."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import dagster as dg

import affirm_assets.datasets
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import catalog_of, landing_zone_of
from affirm_assets.orchestration.arrivals import arrived
from affirm_assets.orchestration.asking import busy, resume
from affirm_assets.orchestration.books import today
from affirm_assets.orchestration.plan import Ask, Books
from affirm_assets.orchestration.tables import Tables
from affirm_assets.settings import Settings


def run_resume(settings: Settings) -> int:
    """Returns the exit status: 0 if all is published that can be. What runs compute just now is left to them."""
    datasets = {each.name: each for each in Registry.walk(affirm_assets.datasets).in_order()}
    catalog, zone = catalog_of(settings).load(), landing_zone_of(settings)
    done: set[tuple[tuple[str, ...], str]] = set()
    with dg.DagsterInstance.get() as instance:
        resume(instance, datetime.now(UTC))
        while True:
            running = busy(instance, datasets)
            tables = Tables.of(datasets, catalog)
            there = arrived(zone, datasets, tables.records, settings.first_business_date, today())
            plan = Books.of(datasets, tables.records, settings.first_business_date).plan(there.through, running)
            if not plan.asks:
                break
            for ask in plan.asks:
                if (this := (ask.datasets, str(ask.window))) in done:
                    raise click.ClickException(f"{ask.reason}, although a run that succeeded was to compute it.")
                done.add(this)
                click.echo(f"{', '.join(str(datasets[name]) for name in ask.datasets)} of {ask.window}: {ask.reason}")
                if status := _materialize(ask, [str(datasets[name]) for name in ask.datasets]):
                    click.echo("The run failed; `make ui` shows why. Mend it, then run this again.")
                    return status
    for each in (*there.problems, there.lacks, *plan.waits):
        click.echo(each)
    click.echo("Nothing else is missing or out of date.")
    return 0


def _materialize(ask: Ask, selection: list[str]) -> int:
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "asset",
        "materialize",
        "-m",
        "affirm_assets.definitions",
    ]
    command += ["--select", ",".join(selection)]
    if ask.window:
        is_one = ask.window.first == ask.window.last
        keys = str(ask.window.first) if is_one else f"{ask.window.first}...{ask.window.last}"
        command += ["--partition" if is_one else "--partition-range", keys]
    return subprocess.run(command, env=os.environ, check=False).returncode
