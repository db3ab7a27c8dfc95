"""The sensor that keeps the books up to date, and the schedules of datasets that have one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster import ResourceParam
from dagster._utils.schedules import is_valid_cron_string

from affirm_assets.declare.dataset import AUTOMATIC, BY_HAND, Dataset
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import DeclarationError
from affirm_assets.orchestration.arrivals import arrived
from affirm_assets.orchestration.asking import NotNow, State, busy, resume, run_request
from affirm_assets.orchestration.closed_date import close_of_business, is_due
from affirm_assets.orchestration.partitions import BOOKS_TIME_ZONE, asset_key, today
from affirm_assets.orchestration.plan import MISSING, Ask, Books
from affirm_assets.orchestration.tables import Tables
from affirm_assets.steps.closed import TAG as RESTATEMENT_TAG
from affirm_assets.steps.published import Record
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone

SECONDS_BETWEEN_TICKS = 15

_MOST_SHOWN = 10
"""Messages of a tick."""

_MOST_GIVEN_UP = 10
"""Days that are given up before a feed's next ones are not tried."""


@dataclass(frozen=True)
class Project:
    """What sensors know of the datasets. `versions`: of each one's code; `first`: the first business date."""

    datasets: Mapping[str, Dataset]
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
        return Project(datasets, versions, first)

    def books(self, tables: Tables) -> Books:
        return Books.of(self.datasets, tables.records, self.first)

    def run_request(
        self, instance: dg.DagsterInstance, ask: Ask, running: Iterable[Ask], tables: Tables, zone: LandingZone
    ) -> dg.RunRequest | NotNow:
        """The next try of what is asked, or why there is none now. `running`: what runs compute."""
        if meets := next((each for each in running if ask.meets(each)), None):
            return NotNow(f"{ask.datasets[0]} of {ask.window}: after {meets.reason}")
        if closed := tables.closed_part(self.datasets, ask.datasets, ask.window):
            return NotNow(
                f"{ask.datasets[0]} of {ask.window}: {closed} is closed. To change closed books: affirm restate --from "
                f"{closed.first} --reason TEXT"
            )
        tags = {RESTATEMENT_TAG: tables.restatement.id} if tables.restatement else {}
        return run_request(instance, ask, self.datasets, self._state(ask, tables, zone), datetime.now(UTC), tags)

    def run_requests(
        self, instance: dg.DagsterInstance, ask: Ask, running: Sequence[Ask], tables: Tables, zone: LandingZone
    ) -> tuple[list[dg.RunRequest], list[str]]:
        """The next try of what is asked, and what is said where there is none.

        Days on which only files are read do not read each other: after one that is given up, the next is tried. But if
        many days fail, it is not for what they hold.
        """
        messages: list[str] = []
        left: Ask | None = ask
        if (closed := tables.closed_part(self.datasets, ask.datasets, ask.window)) and (
            still_open := self._after(closed.last, ask)
        ):
            messages.append(f"{ask.datasets[0]}: {closed} is closed, and is not read")
            left = still_open
        while left and len(messages) < _MOST_GIVEN_UP:
            asked = self.run_request(instance, left, running, tables, zone)
            if isinstance(asked, dg.RunRequest):
                return [asked], messages
            messages.append(asked.why)
            left = self._after_its_first_day(left, tables) if asked.is_given_up else None
        return [], messages

    def _after(self, day: date, ask: Ask) -> Ask | None:
        """Its days after this one: of datasets that read files alone, whose days do not follow from each other."""
        if not ask.window or ask.window.last <= day or any(self.datasets[name].computed_from for name in ask.datasets):
            return None
        return replace(ask, window=Window(day + timedelta(days=1), ask.window.last))

    def _after_its_first_day(self, ask: Ask, tables: Tables) -> Ask | None:
        """Of the datasets that read files alone; where days are missing, from the next one that is."""
        names = tuple(name for name in ask.datasets if not self.datasets[name].computed_from)
        if not names or not ask.window or ask.window.first == ask.window.last:
            return None
        left = Window(ask.window.first + timedelta(days=1), ask.window.last)
        if not ask.restates or ask.trigger == MISSING:
            gaps = [gap for name in names for gap in tables.records[name].missing(left, Daily(""))]
            if not gaps:
                return None
            left = Window(min(gap.first for gap in gaps), max(gap.last for gap in gaps))
        return replace(ask, datasets=names, window=left)

    def _state(self, ask: Ask, tables: Tables, zone: LandingZone) -> State:
        code = [f"{name} {self.versions[name]}" for name in ask.datasets]
        day, inputs = self._inputs(ask, tables)
        if ask.window is None:
            return State(code, [*day, *inputs])
        day.append(tables.accepted.get(ask.window.first, ""))
        # One that is being written says nothing yet, and would be another at each tick.
        arrivals = {feed: zone.arrival(feed, ask.window.first) for feed in self._feeds_of(ask)}
        day += [f"{feed} {found.listing}" for feed, found in arrivals.items() if found and found.is_complete]
        return State(code, day, inputs)

    def _feeds_of(self, ask: Ask) -> list[str]:
        """Those that the datasets read, or what they read."""
        found, waiting = set[str](), [*ask.datasets]
        while waiting:
            if (name := waiting.pop()) not in found:
                found.add(name)
                waiting.extend(each.dataset for each in self.datasets[name].computed_from)
        return sorted({each.feed for name in found for each in self.datasets[name].feeds})

    def _inputs(self, ask: Ask, tables: Tables) -> tuple[list[str], list[str]]:
        """The last publications of what the first partition reads: of other kinds of partitions, which no run of this
        one computes, and of the same."""
        of_others, of_same = set[str](), set[str]()
        first = Window(ask.window.first, ask.window.first) if ask.window else None
        for dataset in map(self.datasets.__getitem__, ask.datasets):
            for mapped in dataset.computed_from:
                source = self.datasets[mapped.dataset]
                if source.name in ask.datasets:
                    continue
                days = dataset.read_days(mapped, source.partitions, first)
                newest = f"{source.name} {tables.records.get(source.name, Record()).newest(days)}"
                (of_same if type(source.partitions) is type(dataset.partitions) else of_others).add(newest)
        return sorted(of_others), sorted(of_same)


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
        # No target=: Dagster would make a job for each sensor, and look at every asset to make it.
        asset_selection=dg.AssetSelection.assets(*map(asset_key, own.values())),
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
            asked = [project.run_requests(context.instance, ask, running, tables, landing_zone) for ask in asks]
            requests = [each for found, _ in asked for each in found]
            messages += [each for _, said in asked for each in said]
            # What is not tried now keeps back what reads it, and nothing else.
            not_now = [ask.datasets for ask, (found, _) in zip(asks, asked, strict=True) if not found]
            if not not_now:
                messages += plan.waits
                break
            without.update(*not_now)
        if behind := sorted(books_of_now.readers(without)):
            messages.append(f"these wait for what is not computed: {', '.join(behind)}")
        if kind is Daily and not requests and is_due(project.datasets, tables.records, tables.closed_dates):
            with catalog.load() as loaded:
                day = close_of_business(loaded, project.datasets, project.first)
            messages += [f"closed {day}: readers of the branch `closed` see it in all daily tables"] if day else []
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
        return dg.SkipReason(asked.why) if isinstance(asked, NotNow) else asked

    return schedule
