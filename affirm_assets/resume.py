"""`affirm resume`: compute what is missing or out of date, and nothing else, by runs of the dagster CLI.

Beside a daemon, it leaves that to the sensors: they and it would compute the same at once.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import gettempdir

import dagster as dg
from rich.console import Console

import affirm_assets.datasets
from affirm_assets.declare.dataset import AUTOMATIC, Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.arrivals import arrived, feed_readers
from affirm_assets.orchestration.asking import busy, resume
from affirm_assets.orchestration.landing import looked_through
from affirm_assets.orchestration.lost_runs import end_lost
from affirm_assets.orchestration.partitions import today
from affirm_assets.orchestration.plan import Ask, Books, landing_asks
from affirm_assets.orchestration.tables import Tables
from affirm_assets.orchestration.troubles import sensors_are_looked_after
from affirm_assets.runs import materialize
from affirm_assets.settings import Settings
from affirm_assets.stores import catalog_of, landing_zone_of
from resources.landing import LandingZone


def run_resume(settings: Settings) -> int:
    """Returns the exit status: 0 if all is published that can be, or the sensors of a daemon see to it.

    What runs compute just now is left to them.
    """
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    with dg.DagsterInstance.get() as instance:
        now = datetime.now(UTC)
        sign = sensors_are_looked_after(instance, now)
        resume(instance, now)
        # On Kubernetes nobody but the daemon may start the jobs of runs.
        if sign is not None or settings.deployment == "kubernetes":
            return _left_to_sensors(console, settings, sign)
        return _compute(console, instance, settings)


def _left_to_sensors(console: Console, settings: Settings, sign: datetime | None) -> int:
    """`sign`: of life, the daemon's newest; None: there is none of late."""
    console.print("What failed or was stopped before counts no more. Nothing was computed by this command.")
    if sign is None:
        console.print(
            "Expected a running daemon, whose sensors ask for what is missing or out of date; found no sign of life. "
            f"They do once it runs: see {settings.ui_url}/deployment/daemons"
        )
        return 1
    console.print(
        "A daemon is running: its sensors <feed>_landing, books and months ask for what is missing or out of date, at "
        f"their next ticks. Their ticks and runs: {settings.ui_url}/automation and {settings.ui_url}/runs"
    )
    console.print(
        f"Its last sign of life: {sign:%H:%M:%S} UTC. If it was stopped since, run this again in two minutes."
    )
    return 0


def _compute(console: Console, instance: dg.DagsterInstance, settings: Settings) -> int:
    datasets = {each.name: each for each in Registry.walk(affirm_assets.datasets).in_order()}
    catalog, zone, first = catalog_of(settings).load(), landing_zone_of(settings), settings.first_business_date
    log = Path(settings.lake or gettempdir(), "resume.log")
    tried: list[Ask] = []
    without: set[str] = set()
    # There is no daemon whose sensor does so, and what such a run was to compute would be left to it for ever.
    for ended in end_lost(instance):
        console.print(ended)
    while True:
        tables = Tables.of(datasets, catalog)
        there = arrived(zone, datasets, tables.records, first, today())
        running = busy(instance, datasets, datetime.now(UTC))
        folders, messages = _of_folders(zone, datasets, tables, first, there.through)
        plan = Books.of(datasets, tables.records, first).plan(there.through, running, {*without, *tables.refused})
        # What changes the rows of a day goes first: then it is known what follows from them.
        asks = [ask for ask in folders if ask not in tried and not any(map(ask.meets, running))] or plan.asks
        if not asks:
            break
        for ask in asks:
            if ask in tried:  # what it computes, and what reads that, is left out; the others go on
                without |= {*ask.datasets}
                continue
            tried.append(ask)
            console.print(f"{_of(ask)}: {ask.reason}")
            carried = tables.restatement.id if tables.restatement else ""
            run = materialize(console, instance, [datasets[name] for name in ask.datasets], ask.window, log, carried)
            if run is None and ask in folders:
                without |= {*ask.datasets}
    for going in running:
        console.print(f"{_of(going)}: left to {going.reason}, which has not ended")
    for each in (*messages, there.lacks, *tables.refused.values(), *plan.waits):
        console.print(each)
    if by_hand := [str(each) for each in datasets.values() if each.starts != AUTOMATIC]:
        console.print(f"Not looked at, since nothing starts them by itself: {', '.join(by_hand)}")
    if without or tables.refused:
        console.print("Not everything could be computed. Mend what is said above, then run this again.")
        return 1
    if tried:
        console.print("Nothing else is missing or out of date.")
    else:
        console.print("Nothing was computed: beside what is said above, nothing is missing or out of date.")
    return 0


def _of(ask: Ask) -> str:
    number = len(ask.datasets)
    return f"{number} dataset{'s' * (number > 1)}, {ask.window}"


def _of_folders(
    zone: LandingZone, datasets: Mapping[str, Dataset], tables: Tables, first: date, through: date
) -> tuple[list[Ask], list[str]]:
    """What the sensors of the feeds would ask for, and what they would say."""
    asks: list[Ask] = []
    messages: list[str] = []
    for feed, names in feed_readers(datasets).items():
        able = {name: datasets[name] for name in names if name not in tables.refused}
        complete, changed, said = looked_through(
            zone, feed, {name: tables.records[name] for name in able}, first, today()
        )
        automatic = {name: each for name, each in able.items() if each.starts == AUTOMATIC}
        asks += landing_asks(automatic, tables.records, feed, complete, changed, through)
        messages += said
    return asks, messages
