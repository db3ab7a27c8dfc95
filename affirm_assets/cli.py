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
@click.option("--reason", required=True, help="Why it may pass; kept with the table.")
@click.option("--by", help="Who says so; by default your user name, but not in a pod.")
def accept(feed: str, day: datetime, reason: str, by: str | None) -> None:
    """Let a date of a feed pass although more of it is refused than the feed may have."""
    import affirm_assets.datasets
    from affirm_assets.declare.registry import Registry
    from affirm_assets.steps.acceptance import Refuser
    from affirm_assets.steps.request import Acceptance
    from affirm_assets.stores import catalog_of

    if not reason.strip():
        raise click.UsageError("--reason: expected a reason, found none.")
    settings = Settings.of(os.environ)
    by = (by or "").strip()
    if not by and settings.deployment == "kubernetes":
        raise click.UsageError(
            "--by: expected who lets the date pass, found nothing. In a pod, your user name is not known."
        )
    by = by or getpass.getuser()
    said = Acceptance(feed, day.date(), reason.strip())
    refusers, refused = Refuser.of(Registry.walk(affirm_assets.datasets).datasets, feed), []
    catalog = catalog_of(settings).load()
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


@main.command()
def resume() -> None:
    """Compute what is missing or out of date, after a failure that was mended or a run that was stopped.

    Where a daemon runs, and on Kubernetes, its sensors do so.
    """
    from affirm_assets.resume import run_resume

    sys.exit(run_resume(Settings.of(os.environ)))


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
