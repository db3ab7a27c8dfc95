"""What is planned, over random histories of a model: the value of a partition is a digest of all that it is made of.

The model knows no plan: in the end each value must be what one run over everything gives.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest

import affirm_assets.datasets
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Beside, Landing, Later, through
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.arrivals import feed_readers
from affirm_assets.orchestration.plan import Ask, Books, first_part, landing_asks
from affirm_assets.steps.published import Publication, Record

NOW = datetime(2025, 3, 1, tzinfo=UTC)
FIRST = date(2025, 1, 20)
DATASETS = {each.name: each for each in Registry.walk(affirm_assets.datasets).in_order()}
FEEDS = feed_readers(DATASETS)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@dataclass
class World:
    """Folders, tables and what is in them."""

    folders: dict[tuple[str, date], int] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=lambda: dict.fromkeys(DATASETS, Record(table_id="id")))
    values: dict[str, dict[date, str]] = field(default_factory=lambda: defaultdict(dict))
    read: dict[tuple[str, date], int] = field(default_factory=dict)
    runs: int = 0

    def land(self, feed: str, on: date) -> None:
        self.folders[feed, on] = self.folders.get((feed, on), 0) + 1

    @property
    def through(self) -> date:
        last = FIRST - timedelta(days=1)
        while all((feed, last + timedelta(days=1)) in self.folders for feed in FEEDS):
            last += timedelta(days=1)
        return last

    def run(self, names: Sequence[str], window: Window | None) -> None:
        assert window is not None
        self.runs += 1
        for name in names:
            dataset = DATASETS[name]
            assert dataset.partitions is not None
            versions = {DATASETS[x].table: f"id {_sequence(self.records[x])}" for x in _sources(dataset)}
            for start in dataset.partitions.starts(window):
                self.values[name][start] = self._value(dataset, start)
            record = self.records[name]
            number = _sequence(record) + 1
            again = record.has_any_of(window)
            new = Publication(f"run{self.runs}", str(window), "", number, number, NOW, 0, versions, again, "v1")
            self.records[name] = record.with_window(window, dataset.partitions).with_publication(new)

    def _value(self, dataset: Dataset, start: date) -> str:
        made_of: list[object] = []
        for parameter, mapped in sorted(dataset.leaves.items()):
            if isinstance(mapped, Later | Beside):
                continue
            if isinstance(mapped, Landing):
                made_of.append(self.folders[mapped.feed, start])
                self.read[mapped.feed, start] = self.folders[mapped.feed, start]
                continue
            source = DATASETS[mapped.dataset]
            days = dataset.read_days(mapped, source.partitions, Window(start, start))
            assert days is not None
            made_of += [parameter, *((x, v) for x, v in sorted(self.values[source.name].items()) if days.contains(x))]
        return hashlib.sha256(repr(made_of).encode()).hexdigest()

    def asks(self) -> Iterator[Ask]:
        for feed in FEEDS:
            there = [on for (each, on) in self.folders if each == feed]
            changed = {
                on: FEEDS[feed]
                for on in there
                if self.read.get((feed, on), self.folders[feed, on]) != self.folders[feed, on]
            }
            yield from landing_asks(DATASETS, self.records, feed, there, changed, self.through)
        yield from Books(DATASETS, self.records, FIRST).plan(self.through).asks


def _sources(dataset: Dataset) -> list[str]:
    tables = [each for each in dataset.leaves.values() if not isinstance(each, Landing)]
    return [each.dataset for each in tables if each.dataset != dataset.name]


def _sequence(record: Record) -> int:
    return record.recent[0].sequence_number if record.recent else 0


def settle(world: World) -> None:
    """Run what is asked for until nothing is."""
    for _ in range(60):
        ask = next(world.asks(), None)
        if ask is None:
            return
        world.run(ask.datasets, ask.window)
    raise AssertionError(f"no end of asking: {ask}")


def computed_at_once(world: World) -> World:
    fresh = World(folders=world.folders)
    daily = [name for name, each in DATASETS.items() if isinstance(each.partitions, Daily)]
    fresh.run(daily, Window(FIRST, world.through))
    for name in DATASETS.keys() - set(daily):
        for start in sorted(world.values[name]):
            fresh.run([name], Window(start, start))
    return fresh


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_everything_is_as_if_computed_at_once(seed: int) -> None:
    chance = random.Random(seed)
    world = World()
    newest = dict.fromkeys(FEEDS, -1)
    for _ in range(25):
        match chance.choice(["land", "land", "land", "land again", "by hand", "killed", "settle"]):
            case "land":
                feed = chance.choice([*FEEDS])
                newest[feed] += 1
                world.land(feed, day(newest[feed]))
            case "land again" if world.folders:
                world.land(*chance.choice(sorted(world.folders)))
            case "by hand":
                name = chance.choice([x for x, each in DATASETS.items() if isinstance(each.partitions, Daily)])
                if windows := world.records[name].windows:
                    world.run([name], windows[0] if chance.random() < 0.3 else Window(windows[0].last, windows[0].last))
            case "killed":
                if ask := next(world.asks(), None):
                    world.run(ask.datasets[: chance.randrange(len(ask.datasets))], ask.window)
            case "settle":
                settle(world)
            case _:
                pass
    settle(world)
    if world.through < FIRST:
        return
    fresh = computed_at_once(world)
    for name, each in DATASETS.items():
        books = {x: v for x, v in world.values[name].items() if each.feeds == () or x <= world.through}
        assert books == fresh.values[name], name
    asked_for_nothing_more = [*world.asks()]
    assert not asked_for_nothing_more


def landed(days: int) -> World:
    world = World()
    for number in range(days):
        for feed in FEEDS:
            world.land(feed, day(number))
    return world


def test_of_one_partition_alone_it_is_known_what_was_published_again_since() -> None:
    """Whatever is out of date before it."""
    world = landed(4)
    settle(world)
    for number in (1, 2):
        world.run(["loans"], Window(day(number), day(number)))
    books = Books(DATASETS, world.records, FIRST)
    found = [books.why_stale("originations_daily", Window(day(number), day(number))) for number in range(4)]
    assert [bool(each) for each in found] == [False, True, True, False]
    assert str(found[2]).startswith(f"loans/loans of {day(2)} was published again by run")


def test_a_backlog_is_one_run_of_everything_daily_and_the_months_wait_for_their_days() -> None:
    world = landed(20)
    books = Books(DATASETS, world.records, FIRST)
    plan = books.plan(world.through)
    (ask,) = plan.asks
    assert ask.window == Window(FIRST, day(19))
    assert set(ask.datasets) == {name for name, each in DATASETS.items() if isinstance(each.partitions, Daily)}
    assert any("originations_monthly of 2025-01-01: waits for" in each for each in plan.waits)
    world.run(ask.datasets, ask.window)
    (month,) = Books(DATASETS, world.records, FIRST).plan(world.through).asks
    monthly = tuple(name for name, each in DATASETS.items() if isinstance(each.partitions, Monthly))
    assert month == Ask(monthly, Window(date(2025, 1, 1), date(2025, 1, 1)), month.reason, "missing")


def test_a_month_that_is_carried_and_was_computed_alone_is_followed_by_the_next_months() -> None:
    world = landed(60)
    settle(world)
    world.run(["vintage_curves"], Window(date(2025, 1, 1), date(2025, 1, 1)))
    (ask,) = Books(DATASETS, world.records, FIRST).plan(world.through).asks
    assert (ask.datasets, ask.window) == (("vintage_curves",), Window(date(2025, 2, 1), date(2025, 2, 1)))


def test_a_month_that_was_published_before_all_of_its_days_were_is_out_of_date_once_they_are_there() -> None:
    world = landed(60)
    settle(world)
    january = date(2025, 1, 1)
    world.records["roll_rates"] = world.records["roll_rates"].with_partial(Window(january, january), [january])
    books = Books(DATASETS, world.records, FIRST)
    assert books.lacking(["roll_rates"], date(2025, 1, 30)) == []
    says = "portfolio/roll_rates of 2025-01-01 was published before all of its days were"
    assert books.lacking(["roll_rates"], date(2025, 1, 31)) == [says]
    (ask,) = books.plan(world.through).asks
    assert ("roll_rates" in ask.datasets, ask.window.first if ask.window else None) == (True, january)


def test_a_late_file_restates_from_its_day_through_the_last_published_one() -> None:
    world = landed(10)
    settle(world)
    world.land("transactions", day(3))
    for feed in FEEDS:
        world.land(feed, day(10))
    first, then, *_ = _settled(world)
    assert (first.datasets, first.window, first.restates) == (("transaction_rows",), Window(day(3), day(3)), True)
    assert first.reason == f"late file: transactions of {day(3)} changed after it was read"
    assert (then.window, then.restates) == (Window(day(3), day(9)), True)
    assert {"transactions", "loan_balances", "ledger_entries", "trial_balance"} <= set(then.datasets)
    assert "loans" not in then.datasets


def _settled(world: World) -> list[Ask]:
    asked = []
    while ask := next(world.asks(), None):
        asked.append(ask)
        world.run(ask.datasets, ask.window)
    return asked


def test_what_can_be_read_is_read_before_the_other_feeds_are_there() -> None:
    world = landed(2)
    settle(world)
    world.land("loans", day(2))
    (ask,) = world.asks()
    assert (ask.datasets, ask.window) == (("loan_rows",), Window(day(2), day(2)))


def test_nothing_is_asked_for_by_two_at_once() -> None:
    world = landed(3)
    books = Books(DATASETS, world.records, FIRST)
    everything = books.plan(world.through).asks[0]
    running = replace(everything, window=Window(day(1), day(1)), reason="run 1234")
    plan = books.plan(world.through, [running])
    assert not plan.asks
    assert any("after run 1234" in each for each in plan.waits)


def test_what_waits_for_a_dataset_by_hand_says_so_and_keeps_nothing_else_back() -> None:
    world = landed(3)
    plan = Books(DATASETS, world.records, FIRST, frozenset({"provisions"})).plan(world.through)
    (ask,) = plan.asks
    assert "loan_balances" in ask.datasets
    assert "provisions" not in ask.datasets
    assert "ledger_entries" not in ask.datasets
    assert any(f"of {FIRST}: waits for ledger/provisions" in each for each in plan.waits)


def test_what_is_read_through_a_day_may_begin_after_it() -> None:
    rows = DATASETS["adjustment_rows"]
    (feed,) = rows.feeds
    later = replace(rows, inputs={"records": replace(feed, since=day(2))})
    reader = replace(DATASETS["originations_daily"], inputs={"adjustment_rows": through("adjustment_rows")})
    datasets = {each.name: each for each in (later, reader)}
    nothing = dict.fromkeys(datasets, Record(table_id="id"))
    (ask,) = Books(datasets, nothing, FIRST).plan(day(1)).asks
    assert (ask.datasets, ask.window) == (("originations_daily",), Window(day(0), day(1)))


def test_a_range_that_fails_is_tried_in_halves() -> None:
    ask = Ask(("loans",), Window(day(0), day(179)), "", "")
    last = [first_part(ask, Daily("as_of"), tries).window for tries in range(11)]
    days = [(each.last - each.first).days + 1 for each in last if each]
    assert days == [180, 180, 90, 45, 22, 11, 5, 2, 1, 1, 1]


def test_what_cannot_be_computed_now_keeps_back_what_reads_it_and_nothing_else() -> None:
    world = landed(3)
    settle(world)
    for feed in FEEDS:
        world.land(feed, day(3))
    plan = Books(DATASETS, world.records, FIRST).plan(world.through, without=["suspense"])
    (ask,) = plan.asks
    assert {"loan_rows", "transactions", "borrowers"} <= set(ask.datasets)
    assert not {"suspense", "loan_balances", "ledger_entries", "trial_balance"} & set(ask.datasets)


def test_a_table_that_was_dropped_and_made_again_is_read_again() -> None:
    world = landed(3)
    settle(world)
    again = Publication("new", f"{day(0)}...{day(2)}", "", 1, 1, NOW, 0, {}, again=False, code_version="v1")
    world.records["loans"] = replace(world.records["loans"], recent=(again,), table_id="another")
    (ask,) = Books(DATASETS, world.records, FIRST).plan(world.through).asks
    assert (ask.window, ask.restates) == (Window(day(0), day(2)), True)
    assert "loan_balances" in ask.datasets


def test_a_restatement_that_nobody_has_followed_is_known_after_many_publishes() -> None:
    world = landed(2)
    settle(world)
    world.run(["loans"], Window(day(0), day(0)))
    for number in range(2, 200):
        world.records["loans"] = world.records["loans"].with_publication(
            Publication(
                "x", str(day(number)), "", 500 + number, 500 + number, NOW + timedelta(days=number), 0, {}, False, "v1"
            )
        )
    (ask,) = Books(DATASETS, world.records, FIRST).plan(world.through).asks
    assert ask.window == Window(day(0), day(1))
