"""The `affirm` command: what the dagster CLI does not have."""

import getpass
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from dotenv import load_dotenv

import affirm_assets.collector  # noqa: F401  (before what it is for)
from affirm_assets.errors import AcceptanceRefused, AffirmError
from affirm_assets.settings import Settings
from resources.iceberg import REGISTER, CatalogError
from resources.landing import LandingError

if TYPE_CHECKING:
    from affirm_assets.close import Ledger
    from affirm_assets.lender.sample_data import SampleSummary


class _Errors(click.Group):
    """Shows this platform's own errors as a message, not as a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (AffirmError, CatalogError, LandingError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Errors)
def main() -> None:
    """Loans, transactions and adjustments as audited Iceberg tables."""
    # As the dagster command does: what .env says counts, so that both work on one lake and one instance.
    load_dotenv(".env", override=True)


@main.command()
def setup() -> None:
    """Prepare the local Dagster instance and .env."""
    from affirm_assets.local_instance import prepare_instance

    prepare_instance(Path.cwd())


@main.command()
@click.option(
    "--start", type=click.DateTime(["%Y-%m-%d"]), help="First business date.  [default: so that they end yesterday]"
)
@click.option("--days", type=click.IntRange(1), help="Number of business dates.  [default: 180]")
@click.option("--loans", type=click.IntRange(1), help="Number of loans over all days.  [default: 3000]")
@click.option("--seed", type=int, help="Another seed, another business.  [default: 1]")
def demo(start: datetime | None, days: int | None, loans: int | None, seed: int | None) -> None:
    """Write sample files, materialize every dataset over every business date, and show what came of it.

    A lake that has a demo keeps its dates, loans and seed, unless the options say otherwise; its first business date
    stays.
    """
    from affirm_assets.demo import Asked, run_demo
    from affirm_assets.orchestration.partitions import today

    asked = Asked(start.date() if start else None, days, loans, seed)
    sys.exit(run_demo(Settings.of(os.environ), asked, today()))


@main.command("register-tables")
@click.option(
    "--metadata", multiple=True, metavar="FILE", help="Register its table by this metadata file; may be given again."
)
def register_tables(metadata: tuple[str, ...]) -> None:
    """Register the tables of the warehouse in a catalog that has lost them, by their newest metadata files."""
    from affirm_assets.steps.published import PUBLISHED_PROPERTY
    from affirm_assets.stores import catalog_of

    done = catalog_of(Settings.of(os.environ)).register_tables(metadata)
    for file, wrong in done.unreadable.items():
        click.echo(f"{file}: passed over, it cannot be read: {wrong}")
    for name in done.never_committed:
        click.echo(
            f"{name}: passed over, nothing was ever committed to it. The next step that writes it makes it anew."
        )
    for table in done.registered:
        published = table.properties.get(PUBLISHED_PROPERTY, "nothing")
        click.echo(f"{'.'.join(table.name())}: {table.metadata_location}, {PUBLISHED_PROPERTY}: {published}")
    click.echo(f"{len(done.registered)} tables registered.")
    if done.registered:
        click.echo(
            "A table's last metadata file may be of a commit that failed. Check by Dagster's runs that what counts as "
            f"published ({PUBLISHED_PROPERTY}) is right."
        )
    if done.undecided:
        raise click.ClickException(
            "expected one newest metadata file of a table, found:\n"
            + "".join(f"{table}: {file}\n" for table, files in done.undecided.items() for file in files)
            + f"One at most was committed. Choose for each table: {REGISTER} --metadata FILE"
        )


@main.command()
@click.argument("feed")
@click.argument("day", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--reason", help="Why it may pass; kept with the table.")
@click.option("--by", help="Who says so; by default your user name, but not in a pod.")
@click.option("--withdraw", "withdraws", is_flag=True, help="Take back what was accepted of the date.")
def accept(feed: str, day: datetime, reason: str | None, by: str | None, withdraws: bool) -> None:
    """Let a date of a feed pass although more of it is refused than the feed may have."""
    import affirm_assets.datasets
    from affirm_assets.declare.registry import Registry
    from affirm_assets.steps.acceptance import Refuser
    from affirm_assets.steps.request import Acceptance
    from affirm_assets.stores import catalog_of

    settings, reason = Settings.of(os.environ), (reason or "").strip()
    refusers, refused = Refuser.of(Registry.walk(affirm_assets.datasets).datasets, feed), list[AcceptanceRefused]()
    catalog = catalog_of(settings).load()
    if withdraws:
        for each in refusers:
            try:
                each.withdraw(catalog, feed, day.date())
            except AcceptanceRefused as error:
                refused.append(error)
                continue
            click.echo(f"{feed} {day.date()}: what {each.dataset} refuses of it may not pass any more.")
        if len(refused) == len(refusers):
            raise refused[0]
        return
    if not reason:
        raise click.UsageError("--reason: expected a reason, found none.")
    by = _said_by(by, settings)
    said = Acceptance(feed, day.date(), reason)
    for each in refusers:
        try:
            records = each.accept(catalog, said, by, datetime.now(UTC))
        except AcceptanceRefused as error:  # another one that reads the feed may have what this one has not
            refused.append(error)
            continue
        click.echo(
            f"{feed} {said.day}: what is refused of its {records:,} records may pass ({said.reason}, {by}). It is kept "
            f"in the properties of {each.dataset.table}. Now materialize {each.dataset} for that date."
        )
    if len(refused) == len(refusers):
        raise refused[0]
    for problem in refused:
        click.echo(f"Not accepted: {problem}", err=True)


def _said_by(by: str | None, settings: Settings) -> str:
    """Who says it. Raises click.UsageError in a pod, where nobody's name is known."""
    named = (by or "").strip()
    if not named and settings.deployment == "kubernetes":
        raise click.UsageError("--by: expected who says it, found nothing. In a pod, your user name is not known.")
    return named or getpass.getuser()


def _ledger(settings: Settings) -> "Ledger":
    import affirm_assets.datasets
    from affirm_assets.close import Ledger
    from affirm_assets.declare.registry import Registry
    from affirm_assets.stores import catalog_of

    datasets = {each.name: each for each in Registry.walk(affirm_assets.datasets).in_order()}
    return Ledger(catalog_of(settings).load(), datasets, settings.first_business_date)


@main.command()
@click.argument("month", required=False, type=click.DateTime(["%Y-%m"]))
@click.option("--by", help="Who closes it; by default your user name, but not in a pod.")
def close(month: datetime | None, by: str | None) -> None:
    """Close a MONTH (such as 2025-01): nothing can be published into it any more.

    Without a MONTH: the close of business. The branch `closed` of all daily tables moves to the last date that is whole
    in all of them, at once. Where a daemon runs, its sensor `books` does so.
    """
    from affirm_assets.close import close_month
    from affirm_assets.orchestration.closed_date import close_of_business

    settings = Settings.of(os.environ)
    ledger = _ledger(settings)
    if month is None:
        day = close_of_business(ledger.catalog, ledger.datasets, ledger.first)
        if day is None:
            raise click.ClickException(
                "expected all daily tables to end with one date, whole and up to date; they do not. Nothing moved. "
                "What is missing or out of date: affirm resume"
            )
        click.echo(f"{day} is closed: the branch `closed` of all daily tables shows it.")
        return
    closed = close_month(ledger, month.date(), _said_by(by, settings), datetime.now(UTC))
    tags = [each for each in closed.tables if each.tag]
    click.echo(f"{month:%Y-%m} is closed, by {closed.closed_by}. Kept as a tag of {len(tags)} tables:")
    for each in closed.tables:
        kept = f"tag {each.tag}" if each.tag else "personal data: recorded, not kept"
        click.echo(f"  {each.table:<36} snapshot {each.snapshot:<20} {kept}")
    click.echo("Trial balance:")
    for account, (*_, closing) in closed.trial_balance.items():
        click.echo(f"  {account:<36} {closing:>20,.2f}")


@main.command()
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first date that is published again.")
@click.option("--reason", help="Why closed books are changed; kept for ever.")
@click.option("--end", "is_end", is_flag=True, help="End it: close its months anew, and keep what changed.")
@click.option("--by", help="Who says so; by default your user name, but not in a pod.")
def restate(first: datetime | None, reason: str | None, is_end: bool, by: str | None) -> None:
    """Let closed months be published again from a date on; or end that, by --end.

    Without options: say which restatement is under way.
    """
    from affirm_assets.restate import begin, counts_by_table, end, under_way
    from affirm_assets.steps.closed import TAG, month_text

    settings = Settings.of(os.environ)
    ledger = _ledger(settings)
    if is_end:
        if first or reason:
            raise click.UsageError("--end ends the restatement that is under way: expected no --from and no --reason.")
        ended = end(ledger, _said_by(by, settings), datetime.now(UTC))
        click.echo(f"Restatement {ended.restatement.id} from {ended.restatement.first} has ended.")
        for (table, month), (days, names) in counts_by_table(ended.changes).items():
            click.echo(f"  {month} {table}: changed on {days} days, of {names} loans, accounts or others")
        if not ended.changes:
            click.echo("  No sum of any table has changed.")
        for table in ended.unknown:
            click.echo(f"  {table}: not compared, its closing snapshot is not there: it is gone, or the table is newer")
        months = ", ".join(f"{month_text(each.month)} (close {each.number})" for each in ended.closes)
        click.echo(f"Closed anew: {months}. Each change, to the cent: table close.changes.")
        return
    if first is None and reason is None:
        going = under_way(ledger)
        click.echo(
            f"{going.id} from {going.first}, begun by {going.by} at {going.at}: {going.reason}"
            if going
            else "No restatement is under way."
        )
        return
    if first is None:
        raise click.UsageError("--from: expected the first date that is published again, found none.")
    begun = begin(ledger, first.date(), reason or "", _said_by(by, settings), datetime.now(UTC))
    click.echo(
        f"Restatement {begun.id} is under way: closed months may be published again from {begun.first} on, by runs "
        f"with the tag {TAG}={begun.id}. Sensors and affirm resume give it to their runs. Once all is computed: "
        "affirm restate --end"
    )


@main.command()
@click.argument("dataset")
@click.option("--to", "run_id", required=True, help="The run whose rows are to be those of the table again.")
@click.option("--restatement", help="The id of the one under way, if closed months are rolled back.")
def rollback(dataset: str, run_id: str, restatement: str | None) -> None:
    """Put the table of a DATASET (such as loans/loans) back to what a run published, without computing anything."""
    from affirm_assets.errors import RollbackRefused
    from affirm_assets.orchestration.plan import Books
    from affirm_assets.steps.published import records_of
    from affirm_assets.steps.request import Run
    from affirm_assets.steps.rollback import roll_back

    ledger = _ledger(Settings.of(os.environ))
    found = next((each for each in ledger.datasets.values() if str(each) == dataset), None)
    if found is None:
        known = ", ".join(map(str, ledger.datasets.values()))
        raise RollbackRefused(f"expected a dataset, one of {known}; found {dataset}.")
    done = roll_back(ledger.catalog, found, run_id, Run("", "", restatement=restatement or ""), datetime.now(UTC))
    click.echo(
        f"{dataset} holds again what run {run_id} published (snapshot {done.to}), as snapshot {done.snapshot}. Undone: "
        f"what was published since for {', '.join(done.undone)}."
    )
    if done.missing:
        click.echo(f"Not published any more: {', '.join(done.missing)}.")
    records = records_of(ledger.datasets, ledger.tables())
    books = Books.of(ledger.datasets, records, ledger.first)
    last = max((each.windows[-1].last for each in records.values() if each.windows), default=ledger.first)
    stale = [
        (name, window)
        for name in [found.name, *sorted(books.readers([found.name]))]
        if (window := books.out_of_date(name, last))
    ]
    for name, window in stale:
        click.echo(f"Out of date: {ledger.datasets[name]} of {window}")
    if stale:
        click.echo("The sensors compute that at their next ticks; without a daemon: affirm resume")


@main.command()
def resume() -> None:
    """Compute what is missing or out of date, after a failure that was mended or a run that was stopped.

    Where a daemon runs, and on Kubernetes, its sensors do so.
    """
    from affirm_assets.resume import run_resume

    sys.exit(run_resume(Settings.of(os.environ)))


@main.command()
@click.option(
    "--keep-days",
    type=click.IntRange(1),
    help="Keep what readers saw within so many days.  [default: 35, as long as the record of publishes]",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, file by file, and do nothing.")
def upkeep(keep_days: int | None, dry_run: bool) -> None:
    """Expire old snapshots of the datasets' tables, and remove the files that only these name: for cron, once a day.

    What branches and tags name stays, and so does what is published: no row that readers see changes. Exit code 1: a
    table was left as it is.
    """
    import affirm_assets.datasets
    from affirm_assets.declare.registry import Registry
    from affirm_assets.steps.upkeep import DAYS_KEPT, keep_up
    from affirm_assets.stores import catalog_of

    days, now, problems = keep_days or DAYS_KEPT, datetime.now(UTC), 0
    catalog = catalog_of(Settings.of(os.environ)).load()
    for dataset in Registry.walk(affirm_assets.datasets).in_order():
        try:
            done = keep_up(dataset, catalog, now, days, dry=dry_run)
        except (AffirmError, CatalogError) as error:
            problems += 1
            click.echo(str(error), err=True)
            continue
        except Exception as error:  # a file that is not there, a store that does not answer: the others are kept up
            problems += 1
            click.echo(f"{dataset.table}: {type(error).__name__}: {error}", err=True)
            continue
        if done.snapshots:
            click.echo(
                f"{done.table}: {done.expired:,} of {done.snapshots:,} snapshots {'would go' if dry_run else 'expired'}"
                f", and {len(done.data_files):,} data files and {len(done.metadata_files):,} metadata files with them"
            )
        for path in done.files if dry_run else ():
            click.echo(f"  {path}")
    sys.exit(1 if problems else 0)


@main.command("sample-data")
@click.option("--loans", type=int, help="Number of loans over all days.")
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help="First business date.")
@click.option("--days", type=int, help="Number of business dates.")
@click.option("--seed", type=int, help="Another seed, another business.  [default: 1]")
@click.option("--next", "next_date", is_flag=True, help="Land the business date after the newest one that is there.")
def sample_data(loans: int | None, start: datetime | None, days: int | None, seed: int | None, next_date: bool) -> None:
    """Write deterministic landing files of a made-up lender into the deployment's landing zone.

    Either say how many loans over which days, or go on with what is there by --next: its loans are paid, and others are
    made at the same rate.
    """
    from affirm_assets.lender.sample_data import Business
    from affirm_assets.orchestration.partitions import today
    from affirm_assets.sample import land_next, write_sample

    settings = Settings.of(os.environ)
    try:
        if next_date:
            if (loans, start, days, seed) != (None, None, None, None):
                raise click.UsageError("--next goes on with the sample that is there: expected no other option.")
            day, summary = land_next(settings, today())
            click.echo(
                f"{day} has landed: {_written(summary)} under {settings.landing}/<feed>/{day}\n"
                "The sensors of a running `make ui`, or of the deployment, materialize it without a click."
            )
            return
        if loans is None or start is None or days is None:
            raise click.UsageError("expected --loans, --start and --days, or --next.")
        summary = write_sample(settings, Business(loans, start.date(), days, 1 if seed is None else seed))
        click.echo(f"Over {summary.days} days: {_written(summary)} under {settings.landing}")
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _written(summary: "SampleSummary") -> str:
    return (
        f"{summary.loans:,} loans, {summary.transactions:,} transactions and {summary.adjustments:,} adjustments, "
        f"beside {sum(each.records for each in summary.oddities):,} duplicate, conflicting or malformed records, in "
        f"{summary.files:,} files"
    )


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(as_json: bool) -> None:
    """Check the published figures, and the identities of every business date in the lake.

    By a reader of its own: no code that wrote the tables. Prints each with its source, what was expected and what was
    found; under one that fails, where. Exit code 1: one fails.
    """
    import resource
    import time

    from affirm_assets.auditor.verify import run
    from affirm_assets.auditor.verify.show import lines
    from affirm_assets.stores import catalog_of

    started = time.monotonic()
    verified = run.verify(catalog_of(Settings.of(os.environ)).load())
    if as_json:
        click.echo(run.as_json(verified))
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux says KiB
        for line in lines(verified, time.monotonic() - started, peak):
            click.echo(line)
    sys.exit(0 if verified.passed else 1)


@main.command("export")
@click.argument("report", metavar="REPORT")
@click.argument("partition")
@click.option("--to", required=True, metavar="FILE", type=click.Path(path_type=Path), help=".csv, .parquet or .xlsx")
def export_(report: str, partition: str, to: Path) -> None:
    """Write a PARTITION of a REPORT (such as funding_tape 2025-01) to a file, with its control totals.

    A month that is closed as it was closed, any other as it is published now. The file is whole, or not there.
    """
    from affirm_assets.export.report import find
    from affirm_assets.export.run import check_file, export

    check_file(to)
    exported = export(find(_ledger(Settings.of(os.environ)), report, partition), to)
    for what, value in exported.said:
        click.echo(f"{what:<30} {f'{value:,}' if not isinstance(value, str) else value:>30}")
    click.echo(f"Written: {', '.join(map(str, exported.files))}")


@main.group()
def explain() -> None:
    """Say what the books hold, how they came to it, and what they were made by."""


@explain.command("loan")
@click.argument("loan_id", metavar="ID")
@click.option(
    "--as-of", "as_of", type=click.DateTime(["%Y-%m-%d"]), help="Business date.  [default: the last that is published]"
)
@click.option("--run", "run_id", help="What the books said when this run had published.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--html", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write a page, too.")
def explain_loan(loan_id: str, as_of: datetime | None, run_id: str | None, as_json: bool, html: Path | None) -> None:
    """A loan's statement: terms, schedule, every movement with its posting, and the lineage of each row."""
    import time

    from rich.console import Console

    import affirm_assets.datasets
    from affirm_assets.auditor.explain import show
    from affirm_assets.auditor.explain.statement import READS, statement
    from affirm_assets.auditor.history import as_now, as_of_run
    from affirm_assets.declare.registry import Registry
    from affirm_assets.stores import catalog_of

    started = time.monotonic()
    registry = Registry.walk(affirm_assets.datasets)
    catalog = catalog_of(Settings.of(os.environ)).load()
    if run_id:
        then = as_of_run(catalog, registry.datasets.values(), run_id)
    else:
        then = as_now(catalog, [registry[name] for name in READS])
    said = statement(then, loan_id, as_of.date() if as_of else None, run_id)
    if html:
        html.write_text(show.as_html(said))
    if as_json:
        click.echo(show.as_json(said))
        return
    width = None if sys.stdout.isatty() else 200
    show.show(Console(highlight=False, markup=False, width=width), said)
    seconds = time.monotonic() - started
    click.echo(
        f"{said.files:,} files, {said.bytes / 2**20:,.1f} MiB, in {seconds:.1f} s." + (f" {html}" if html else "")
    )


@main.command()
@click.argument("run_id")
@click.option("--dataset", "only", multiple=True, help="Only this one of what the run published; may be given again.")
@click.option("--engine", type=click.Choice(["spark", "sail"]), help="[default: the one that made it]")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def replay(run_id: str, only: tuple[str, ...], engine: str | None, as_json: bool) -> None:
    """Compute again what a run published, from what it had read, and compare the rows. Nothing is published.

    Exit code 1: rows differ. With another code version it shows what the change does.
    """
    import affirm_assets.datasets
    from affirm_assets.auditor.replay import run
    from affirm_assets.auditor.replay.show import lines
    from affirm_assets.declare.registry import Registry
    from affirm_assets.definitions import resources_of
    from affirm_assets.steps.storage import Storage

    found = []
    resources = resources_of(Settings.of(os.environ))
    catalog = resources["catalog"]
    opens = run.Opens(resources["spark"], catalog.spark_conf(), resources["sail"])
    registry = Registry.walk(affirm_assets.datasets)
    with catalog.load() as loaded:
        storage = Storage(loaded, resources["landing_zone"], catalog.name)
        for dataset, table, publication in run.publications(registry, loaded, run_id, only):
            each = run.replay(registry, storage, opens, dataset, table, publication, engine)
            found.append((dataset, each))
            if not as_json:
                for line in lines(dataset, each):
                    click.echo(line)
    if as_json:
        click.echo(run.as_json(found))
    sys.exit(0 if all(each.comparison.is_same for _, each in found) else 1)


@main.command()
def alerts() -> None:
    """Look once, from outside, for what people must be told, and tell it: for cron or a Kubernetes CronJob.

    As the sensor `alerts` does, which tells of nothing when its own daemon stands still. Exit code 1: a daemon or the
    sensor stands still, or a hook did not take what is to be told. What was told of is no failure of this command.
    """
    import dagster as dg

    import affirm_assets.datasets
    from affirm_assets.declare.registry import Registry
    from affirm_assets.orchestration.alert_sensor import look_from_outside, place_of
    from affirm_assets.orchestration.alerts import hooks_of

    settings = Settings.of(os.environ)
    hooks = hooks_of(settings.alerts)
    place = place_of(Registry.walk(affirm_assets.datasets), settings.ui_url)
    with dg.DagsterInstance.get() as instance:
        found = look_from_outside(instance, hooks, place, datetime.now(UTC))
    for each in found.still:
        click.echo(f"{each.title}: {each.reason}")
    for problem in found.delivery.problems:
        click.echo(problem)
    names = (
        " and ".join(hook.name for hook in hooks) or "nobody: AFFIRM_ALERT_WEBHOOK and AFFIRM_ALERT_SMTP are not set"
    )
    click.echo(f"Alerts sent: {found.delivery.sent}, to {names}.")
    sys.exit(1 if found.still or found.delivery.problems else 0)
