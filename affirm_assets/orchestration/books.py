"""The sensor that keeps the books up to date, and the schedules of datasets that have one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
from dagster import ResourceParam
from dagster._utils.schedules import is_valid_cron_string

from affirm_assets.declare.dataset import AUTOMATIC, BY_HAND, Dataset
from affirm_assets.declare.partitions import Daily, Monthly
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import DeclarationError
from affirm_assets.orchestration.arrivals import arrived
from affirm_assets.orchestration.asking import State, busy, resume, run_request
from affirm_assets.orchestration.partitions import BOOKS_TIME_ZONE, asset_key, today
from affirm_assets.orchestration.plan import Ask, Books
from affirm_assets.orchestration.tables import Tables
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone

SECONDS_BETWEEN_TICKS = 15

_MOST_SHOWN = 10
"""Messages of a tick."""


@dataclass(frozen=True)
class Project:
    """What sensors know of the datasets. `versions`: of each one's code; `first`: the first business date."""

    datasets: Mapping[str, Dataset]
    feeds: Sequence[str]
    versions: Mapping[str, str]
    first: date

    @staticmethod
    def of(registry: Registry, versions: Mapping[str, str], first: date) -> "Project":
        """Raises DeclarationError for a dataset that starts in a way that there is not."""
        datasets = {each.name: each for each in registry.in_order()}
        for each in datasets.values():
            if each.starts not in (AUTOMATIC, BY_HAND) and not is_valid_cron_string(each.starts):
                raise DeclarationError(
                    f"{each.source}: dataset {each.name!r}: expected starts= to be {AUTOMATIC!r}, {BY_HAND!r} or a "
                    f"cron schedule such as '0 6 * * MON'; found {each.starts!r}."
                )
        return Project(datasets, sorted(registry.feeds), versions, first)

    def books(self, tables: Tables) -> Books:
        return Books.of(self.datasets, tables.records, self.first)

    def run_request(
        self, instance: dg.DagsterInstance, ask: Ask, running: Iterable[Ask], tables: Tables, zone: LandingZone
    ) -> dg.RunRequest | str:
        """The next try of what is asked, or why there is none now. `running`: what runs compute."""
        if meets := next((each for each in running if ask.meets(each)), None):
            return f"{ask.datasets[0]} of {ask.window}: after {meets.reason}"
        return run_request(instance, ask, self.datasets, self._state(ask, tables, zone), datetime.now(UTC))

    def _state(self, ask: Ask, tables: Tables, zone: LandingZone) -> State:
        if not ask.window:
            return State(self.versions, ())
        day = ask.window.first
        listings = [f"{feed} {found.listing}" for feed in self.feeds if (found := zone.arrival(feed, day))]
        return State(self.versions, (tables.accepted.get(day, ""), *listings))


def shown(messages: Sequence[str]) -> str:
    """What is shown, and kept, of each tick."""
    more = [f"and {len(messages) - _MOST_SHOWN} more"] * (len(messages) > _MOST_SHOWN)
    return "; ".join([*messages[:_MOST_SHOWN], *more])


_SENSORS: Mapping[type, tuple[str, str]] = {
    Daily: ("books", "Computes a business date once all feeds are there, and what follows from a late file"),
    Monthly: ("months", "Computes a month once all of its days are published, and again once for each change of them"),
    type(None): ("tables", "Computes a dataset without partitions when what it reads was published"),
}
"""One for each kind of partitions: Dagster lets no run, nor a sensor's choice of runs, have datasets of several."""


def books_sensors(project: Project) -> list[dg.SensorDefinition]:
    """They ask for all that is missing or out of date: decided from the tables, without a cursor."""
    kinds = {type(each.partitions) for each in project.datasets.values()}
    return [_sensor(project, kind, *said) for kind, said in _SENSORS.items() if kind in kinds]


def _sensor(project: Project, kind: type, name: str, description: str) -> dg.SensorDefinition:
    own = {each: dataset for each, dataset in project.datasets.items() if isinstance(dataset.partitions, kind)}

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*map(asset_key, own.values())),
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"{description}. Decides from what is published, and asks a few times at most for one cause.",
    )
    def books(
        context: dg.SensorEvaluationContext, catalog: IcebergCatalog, landing_zone: ResourceParam[LandingZone]
    ) -> dg.SensorResult:
        # Before the tables: what a run publishes meanwhile is seen, or the run is.
        running = busy(context.instance, project.datasets, datetime.now(UTC))
        with catalog.load() as loaded:
            tables = Tables.of(project.datasets, loaded)
        there = arrived(landing_zone, project.datasets, tables.records, project.first, today())
        messages = [*there.problems, there.lacks, *tables.refused.values()]
        books_of_now, without, requests = project.books(tables), {*tables.refused}, list[dg.RunRequest]()
        while not requests:
            plan = books_of_now.plan(there.through, running, without)
            asks = [each for each in plan.asks if own.keys() >= {*each.datasets}]
            asked = [project.run_request(context.instance, ask, running, tables, landing_zone) for ask in asks]
            requests = [each for each in asked if isinstance(each, dg.RunRequest)]
            messages += [each for each in asked if isinstance(each, str)]
            # What is not tried now keeps back what reads it, and nothing else.
            not_now = [ask.datasets for ask, each in zip(asks, asked, strict=True) if isinstance(each, str)]
            if not not_now:
                messages += plan.waits
                break
            without.update(*not_now)
        if behind := sorted(books_of_now.readers(without)):
            messages.append(f"these wait for what is not computed: {', '.join(behind)}")
        for each in messages:
            context.log.info(each)
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else dg.SkipReason(shown(messages)))

    return books


def resume_job() -> dg.JobDefinition:
    """For people in the UI, who see in a sensor's tick that it gave up."""

    @dg.op(name="ask_again")
    def ask_again(context: dg.OpExecutionContext) -> None:
        resume(context.instance, datetime.now(UTC))
        context.log.info("The sensors ask again for what is missing or out of date, at their next tick.")

    @dg.job(
        name="resume",
        executor_def=dg.in_process_executor,
        description="Has the sensors ask again for what they have given up, once its cause is mended.",
    )
    def job() -> None:
        ask_again()

    return job


def schedules(project: Project) -> list[dg.ScheduleDefinition]:
    """One for each dataset that declares a cron schedule; it computes what is missing or out of date then."""
    scheduled = [each for each in project.datasets.values() if each.starts not in (AUTOMATIC, BY_HAND)]
    return [_schedule(project, each) for each in scheduled]


def _schedule(project: Project, dataset: Dataset) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"{dataset.domain}__{dataset.name}",
        cron_schedule=dataset.starts,
        execution_timezone=BOOKS_TIME_ZONE,
        target=dg.AssetSelection.assets(asset_key(dataset)),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Computes what is missing or out of date of {dataset}.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, catalog: IcebergCatalog, landing_zone: ResourceParam[LandingZone]
    ) -> dg.RunRequest | dg.SkipReason:
        running = busy(context.instance, project.datasets, datetime.now(UTC))
        with catalog.load() as loaded:
            tables = Tables.of(project.datasets, loaded)
        if tables.refused:
            return dg.SkipReason(shown([*tables.refused.values()]))
        through = today()
        if dataset.feeds:
            through = arrived(landing_zone, {dataset.name: dataset}, tables.records, project.first, through).through
        plan = project.books(tables).only(dataset.name, through)
        if not plan.asks:
            return dg.SkipReason(shown(plan.waits) or f"{dataset} is up to date")
        (ask,) = plan.asks
        asked = project.run_request(context.instance, ask, running, tables, landing_zone)
        return dg.SkipReason(asked) if isinstance(asked, str) else asked

    return schedule
