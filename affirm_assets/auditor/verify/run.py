"""The whole audit: published figures, then all identities over all days, a day at a time."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog

from affirm_assets.auditor.errors import NothingToVerify
from affirm_assets.auditor.verify import (
    of_ledger,
    of_loans,
    of_merchants,
    of_months,
    of_reports,
    of_sources,
    of_tape,
)
from affirm_assets.auditor.verify.figures import FIGURES, Figure
from affirm_assets.auditor.verify.identity import IDENTITIES, Day, Identity
from affirm_assets.auditor.verify.lake import AuditedTable, Days, all_days
from affirm_assets.auditor.verify.rows import Rows, columns, days_of
from affirm_assets.auditor.verify.tally import CENTS, COUNT, Tally, Wrong

MONTHLY = "portfolio.originations_monthly"
MONTHLY_TABLES = (MONTHLY, *of_months.TABLES, of_tape.TAPE)
"""Of which each month is read, where there are any: a month is published when all of its days are."""

DAILY = (
    *(name for feed in of_sources.FEEDS for name in (feed.received, feed.accepted, feed.rejected)),
    of_reports.BORROWERS,
    of_reports.SCHEDULES,
    of_loans.SUSPENSE,
    of_loans.BALANCES,
    of_loans.APPLICATIONS,
    of_reports.CHARGE_OFFS,
    of_reports.UNAPPLIED,
    of_ledger.PROVISIONS,
    of_ledger.ENTRIES,
    of_ledger.TRIAL_BALANCE,
    of_ledger.JOURNAL,
    of_merchants.SETTLEMENTS,
    of_reports.ORIGINATIONS,
    of_reports.CASH,
    of_reports.PORTFOLIO,
)
"""The tables of which each day is read, by name: the lender's, and no list that the code which writes them keeps."""

_NO_DAY_IS_MISSING = "no day is missing between the first and the last, in any daily table"
_KEYS_ARE_UNIQUE = "no key is there twice, in any table"
_AS_REPORTED = "each day has the rows that were audited when it was published"
_MONTHS = "originations of a month are those of its days: count, principal"
_NEW_LOANS = "the loans of the funding tape that are booked in its month are the originations: count, principal"


_ORIGINATED = {"loans": COUNT, "principal": CENTS}


@dataclass(frozen=True)
class Found:
    """What one figure or identity came to."""

    kind: str
    name: str
    source: str
    expected: str
    found: str
    compared: int
    failed: int
    wrong: tuple[Wrong, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failed


@dataclass(frozen=True)
class Verified:
    """`first` and `last`: the days that were looked at. `snapshots`: of each table, the one that was read."""

    first: date
    last: date
    found: tuple[Found, ...]
    rows: int
    snapshots: Mapping[str, int | None]

    @property
    def passed(self) -> bool:
        return all(each.passed for each in self.found)


@dataclass
class _Audit:
    tables: Mapping[str, AuditedTable]
    first: date
    last: date
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    months: Counter[tuple[date, str, str, str]] = field(default_factory=Counter)
    month: of_tape.Month | None = None

    def __post_init__(self) -> None:
        self.waiting = [of_sources.Waiting(feed) for feed in of_sources.FEEDS]
        self.refunds = of_merchants.Refunds()
        self.columns = _columns(self.tables)
        self.reported = {name: table.reported() for name, table in self.tables.items()}
        self.carried = {of_loans.BALANCES, *(name for each in IDENTITIES for name in each.carries)}
        self.of_months = of_months.Months(self.tables[of_reports.SCHEDULES])

    def run(self, progress: Callable[[date], None]) -> None:
        self._no_day_is_missing()
        before: Mapping[str, Rows] = {}
        for day in all_days(self.first, self.last):
            progress(day)
            rows = {name: self.tables[name].day(day, self.columns[name]) for name in DAILY}
            read = Day(day, rows, before)
            for name, of_table in rows.items():
                self._keys_and_counts(name, day, of_table)
            for each in IDENTITIES:
                each.check(read, self.tallies[each.name])
            for waiting in self.waiting:
                of_sources.account_for(read, waiting, self.tallies[waiting.name()])
            self.refunds.add(read)
            if self.refunds.are_many or day == self.last:
                self._settle_refunds(day)
            self._add_to_month(read)
            self._reports_of_months(read)
            self._tape(read)
            before = {name: rows[name] for name in self.carried}
        days = all_days(self.first, self.last)
        for waiting in self.waiting:
            of_sources.settle(waiting, self.tables[waiting.feed.accepted], days, self.tallies[waiting.name()])
        self._months()
        for report, identity in {MONTHLY: _MONTHS, **of_months.NAMES, of_tape.TAPE: of_tape.NAME}.items():
            if report in self.tables:
                self._no_month_is_missing(report, self.tallies[identity])
        for name, table in self.tables.items():
            self.tallies[_AS_REPORTED].same(f"{name}, rows in the partition of another day", 0, table.astray)

    def _no_day_is_missing(self) -> None:
        tally = self.tallies[_NO_DAY_IS_MISSING]
        for name in DAILY:
            published = self.tables[name].published
            found = ", ".join(f"{first}...{last}" for first, last in published) or "nothing"
            is_whole = len(_joined(published)) == 1 and published[0][0] == self.first and published[-1][1] >= self.last
            tally.count(1)
            if not is_whole:
                tally.wrong(f"{name} is published for", f"{self.first}...{self.last}", found)

    def _keys_and_counts(self, name: str, day: date, rows: Rows) -> None:
        keys, tally = self.tables[name].key, self.tallies[_KEYS_ARE_UNIQUE]
        tally.count(len(rows))
        grouped = rows.table.group_by(keys, use_threads=False).aggregate([([], "count_all")])
        if grouped.num_rows < len(rows):
            counts = grouped["count_all"].to_numpy()
            for index in np.flatnonzero(counts > 1):
                at = " ".join(str(grouped[key][int(index)]) for key in keys)
                tally.wrong(f"{name} {day} {at}", "1 row", f"{counts[index]} rows")
        said = self.reported[name].get(day)
        if said is None:
            return
        self.tallies[_AS_REPORTED].same(f"{name} {day}", f"{said:,} rows", f"{len(rows):,} rows")
        tally = self.tallies[_NO_DAY_IS_MISSING]
        tally.count(1)
        if said and not len(rows):
            tally.wrong(f"{name} {day}", f"{said:,} rows", "no row of that day")

    def _settle_refunds(self, last: date) -> None:
        """By the loans up to this day, in a reading of their own: the other goes on from day to day."""
        loans = self.tables[of_loans.LOANS]
        again = AuditedTable(loans.name, loans.table, loans.column)
        self.refunds.settle(again, all_days(self.first, last), self.tallies[of_merchants.REFUNDS_ARE_OF_MERCHANTS])

    def _add_to_month(self, day: Day) -> None:
        """Of a whole history, as many numbers as the report of its months has."""
        rows, month = day[of_reports.ORIGINATIONS], day.day.replace(day=1)
        keys = list(zip(rows.text("product").to_pylist(), rows.text("borrower_state").to_pylist(), strict=True))
        for name in _ORIGINATED:
            for (product, state), number in zip(keys, rows.number(name).tolist(), strict=True):
                self.months[month, product, state, name] += number

    def _reports_of_months(self, day: Day) -> None:
        """The reports of loans, at the end of a month that they are published for."""
        if not self.tables.keys() & set(of_months.TABLES):
            return
        self.of_months.add(day)
        month = day.day.replace(day=1)
        if day.day != _month_end(month):
            return
        loans = self.of_months.end_month(day)
        for name in of_months.TABLES:
            if name in self.tables and month in _published_months(self.tables[name]):
                table, tally = self.tables[name], self.tallies[of_months.NAMES[name]]
                rows = table.day(month, (*table.key, *of_months.FOUND[name]))
                self._keys_and_counts(name, month, rows)
                if name == of_months.ROLL_RATES:
                    self.of_months.compare_roll_rates(month, loans, rows, tally)
                else:
                    self.of_months.compare_vintages(month, day[of_reports.CHARGE_OFFS], rows, tally)

    def _no_month_is_missing(self, name: str, tally: Tally) -> None:
        """From the first month on, as long as any of the monthly tables goes: they are made of the same days."""
        there = {each: _published_months(self.tables[each]) for each in MONTHLY_TABLES if each in self.tables}
        ended = [month for months in there.values() for month in months if _month_end(month) <= self.last]
        for month in _months_of((self.first.replace(day=1), max(ended))) if ended else ():
            tally.count(1)
            if month not in there[name]:
                tally.wrong(f"{name} of {month:%Y-%m}", "published", "not there")

    def _tape(self, day: Day) -> None:
        table = self.tables.get(of_tape.TAPE)
        if table is None:
            return
        if self.month is None or self.month.month != day.day.replace(day=1):
            self.month = of_tape.Month.begun(day)
        self.month.add(day[of_loans.BALANCES])
        month = self.month.month
        if day.day != _month_end(month) or month not in _published_months(table):
            return
        rows = table.day(month, self.columns[of_tape.TAPE])
        self._keys_and_counts(of_tape.TAPE, month, rows)
        self.month.compare(day[of_loans.BALANCES], rows, self.tallies[of_tape.NAME])
        new = rows.where(rows.number("booked_on") >= days_of(month))
        keys = {name: new.text(name) for name in ("product", "borrower_state")}
        lent = new.number("amount_lent")
        found = columns(keys, {"loans": np.ones_like(lent), "principal": lent})
        self.tallies[_NEW_LOANS].tables(month, "new loans of", self._originated(month), found, list(keys), _ORIGINATED)

    def _originated(self, month: date) -> pa.Table:
        """By product and state, as the days of a month add up."""
        keys = sorted({key[1:3] for key in self.months if key[0] == month})
        text = {
            name: pa.array([key[at] for key in keys], pa.string())
            for at, name in enumerate(("product", "borrower_state"))
        }
        numbers = {
            name: np.array([self.months[month, *key, name] for key in keys], dtype=np.int64) for name in _ORIGINATED
        }
        return columns(text, numbers)

    def _months(self) -> None:
        table, tally = self.tables.get(MONTHLY), self.tallies[_MONTHS]
        if table is None:
            return
        for month in _published_months(table):
            if month < self.first.replace(day=1) or _month_end(month) > self.last:
                continue
            rows = table.day(month, (*table.key, *_ORIGINATED))
            self._keys_and_counts(MONTHLY, month, rows)
            found = columns(
                {name: rows.text(name) for name in ("product", "borrower_state")},
                {name: rows.number(name) for name in _ORIGINATED},
            )
            tally.tables(
                month, "originations of", self._originated(month), found, ["product", "borrower_state"], _ORIGINATED
            )

    def found(self) -> Iterator[Found]:
        tables = f"{self.first}...{self.last} in each of {len(DAILY)} tables"
        yield _found(_NO_DAY_IS_MISSING, "the ledger's identities: every day", self.tallies[_NO_DAY_IS_MISSING], tables)
        yield _found(_KEYS_ARE_UNIQUE, "the tables' own keys", self.tallies[_KEYS_ARE_UNIQUE], "rows")
        tally = self.tallies[_AS_REPORTED]
        yield _found(_AS_REPORTED, "the reports beside the snapshots", tally, "days of tables")
        for waiting in self.waiting:
            source = "the ledger's identities: accepted + rejected = received"
            yield _found(waiting.name(), source, self.tallies[waiting.name()], "values")
        for each in IDENTITIES:
            yield _found(each.name, each.source, self.tallies[each.name], "values")
        ties = "reports tie to what they sum up"
        refunds = of_merchants.REFUNDS_ARE_OF_MERCHANTS
        yield _found(refunds, ties, self.tallies[refunds], "values")
        if MONTHLY in self.tables:
            yield _found(_MONTHS, ties, self.tallies[_MONTHS], "values")
        for table, name in of_months.NAMES.items():
            if table in self.tables:
                yield _found(name, of_months.SOURCES[table], self.tallies[name], "values")
        if of_tape.TAPE in self.tables:
            yield _found(of_tape.NAME, of_tape.SOURCE, self.tallies[of_tape.NAME], "values")
            yield _found(_NEW_LOANS, ties, self.tallies[_NEW_LOANS], "values")


def verify(
    catalog: Catalog, figures: Sequence[Figure] = (), progress: Callable[[date], None] = lambda _: None
) -> Verified:
    """Raises NothingToVerify. `figures`: FIGURES, if none are given."""
    tables = {name: AuditedTable.of(catalog, name) for name in DAILY}
    tables |= {name: AuditedTable.of(catalog, name) for name in MONTHLY_TABLES if catalog.table_exists(name)}
    first, last = _days_of_all(tables)
    audit = _Audit(tables, first, last)
    audit.run(progress)
    snapshots = {
        name: (current.snapshot_id if (current := each.table.current_snapshot()) else None)
        for name, each in tables.items()
    }
    found = (*(_of_figure(each) for each in figures or FIGURES), *audit.found())
    return Verified(first, last, found, sum(each.rows_read for each in tables.values()), snapshots)


def as_json(verified: Verified) -> str:
    return json.dumps(
        {
            "first": str(verified.first),
            "last": str(verified.last),
            "passed": verified.passed,
            "rows": verified.rows,
            "snapshots": verified.snapshots,
            "found": [
                {**vars(each), "passed": each.passed, "wrong": [vars(one) for one in each.wrong]}
                for each in verified.found
            ],
        },
        indent=2,
    )


def _days_of_all(tables: Mapping[str, AuditedTable]) -> Days:
    """From the first day of any table to the last that all have: a run may be at work on the days after it."""
    published = {name: tables[name].published for name in DAILY}
    if nothing := [name for name, days in published.items() if not days]:
        raise NothingToVerify(
            f"{', '.join(nothing)}: expected a published day, found none. Materialize the books first."
        )
    first = min(days[0][0] for days in published.values())
    return first, min(days[-1][1] for days in published.values())


def _columns(tables: Mapping[str, AuditedTable]) -> Mapping[str, set[str]]:
    """By table, what is read of it: all that any identity looks at, once."""
    found: dict[str, set[str]] = {name: set(table.key) for name, table in tables.items()}
    reads = [each.reads for each in IDENTITIES] + [of_sources.reads(feed) for feed in of_sources.FEEDS]
    reads += [of_merchants.READS, of_months.READS, of_tape.READS]
    for each in reads:
        for name, names in each.items():
            if name in found:  # no monthly table need be there
                found[name] |= set(names)
    return found


def _found(name: str, source: str, tally: Tally, what: str) -> Found:
    expected = what if what.startswith("2") else f"0 of {tally.compared:,} {what} wrong"
    good = what if what.startswith("2") else "0"
    found = f"{tally.failed:,} wrong" if tally.failed else good
    return Found("identity", name, source, expected, found, tally.compared, tally.failed, tuple(tally.shown))


def _of_figure(figure: Figure) -> Found:
    try:
        found = figure.compute()
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
    failed = int(found != figure.expected)
    return Found("figure", figure.name, figure.source, figure.expected, found, 1, failed)


def _joined(days: Sequence[Days]) -> list[Days]:
    joined: list[Days] = []
    for first, last in days:
        if joined and first <= joined[-1][1] + timedelta(days=1):
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


def _published_months(table: AuditedTable) -> list[date]:
    return [month for days in table.published for month in _months_of(days)]


def _months_of(days: Days) -> Iterator[date]:
    month = days[0]
    while month <= days[1]:
        yield month
        month = _month_end(month) + timedelta(days=1)


def _month_end(month: date) -> date:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


__all__ = ["Found", "Identity", "Verified", "as_json", "verify"]
