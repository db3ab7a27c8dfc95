"""Writes a sample: the loans in order of origination, one at a time, then what their merchants are paid."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

from affirm_assets.declare.partitions import Window
from affirm_assets.lender.intake.feeds import LOOK_BACK_DAYS
from affirm_assets.lender.sample_data.adjustments import MOST_DAYS, Adjustments
from affirm_assets.lender.sample_data.business import BUSINESS_FILE, Business
from affirm_assets.lender.sample_data.files import Feed, SampleFiles, TransactionRecord, money
from affirm_assets.lender.sample_data.loans import MERCHANTS, Loan, make_loan, merchant_id
from affirm_assets.lender.sample_data.oddities import Fate, Host, Oddities, OddityCount
from affirm_assets.lender.sample_data.repayment import Movement, repay
from affirm_assets.lender.sample_data.window import SampleWindow, origination_days

_LOANS_BETWEEN_REPORTS = 5_000

# The farthest that a date of a record, or an instalment that decides one, is after the last day.
_DAYS_BEYOND = 150

# The transactions that an oddity may be about have landed so many days after the loan was made: what becomes of a loan
# does not depend on the days that are written.
_HOST_DAYS = 30


@dataclass(frozen=True)
class SampleSummary:
    """What was written. Of each feed the good ones, each counted once; the oddities come on top."""

    loans: int
    transactions: int
    adjustments: int
    files: int
    days: int
    # Good records that landed after their own date, and of these the ones by more than the intake's look-back.
    late: int
    late_past_look_back: int
    oddities: tuple[OddityCount, ...]

    def planted(self, feed: Feed, fate: Fate) -> int:
        """Records that the intake drops as duplicates, rejects, or keeps in suspense."""
        return sum(count.records for count in self.oddities if (count.feed, count.fate) == (feed, fate))

    def records(self, feed: Feed) -> int:
        """All records in the feed's files, good or not."""
        good = {"loans": self.loans, "transactions": self.transactions, "adjustments": self.adjustments}
        return good[feed] + sum(count.records for count in self.oddities if count.feed == feed)


class Payables:
    """What merchants are owed: one sum for each merchant and day, the only thing that is kept of all loans."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._owed = array("q", bytes(8 * MERCHANTS * days))

    def lend(self, loan: Loan) -> None:
        self._owe(loan, loan.landed, loan.principal - loan.discount)

    def refund(self, loan: Loan, cents: int, day: int) -> None:
        """The merchant returns the price and gets its discount back in proportion, rounded half up."""
        discount = (2 * loan.discount * cents + loan.principal) // (2 * loan.principal)
        self._owe(loan, day, discount - cents)

    def _owe(self, loan: Loan, day: int, cents: int) -> None:
        if day < self._days:
            self._owed[loan.merchant * self._days + day] += cents

    def payouts(self) -> Iterator[tuple[int, int, int]]:
        """Merchant, day and cents. A day pays what the days before left; what a merchant owes is carried on."""
        for merchant in range(MERCHANTS):
            balance = 0
            for day in range(1, self._days):
                balance += self._owed[merchant * self._days + day - 1]
                if balance > 0:
                    yield merchant, day, balance
                    balance = 0


@dataclass
class _Tally:
    loans: int = 0
    transactions: int = 0
    adjustments: int = 0
    late: int = 0
    late_past_look_back: int = 0

    def note_delay(self, days: int) -> None:
        self.late += days > 0
        self.late_past_look_back += days > LOOK_BACK_DAYS


def write_sample_data(
    landing: Path,
    *,
    loans: int,
    start: date,
    days: int,
    seed: int,
    only: Window | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> SampleSummary:
    """Write the landing files of a made-up lender: `landing/<feed>/<day>/part-00000.<ext>`, then each day's `_SUCCESS`.

    The same arguments give the same bytes, and a day's bytes do not depend on `only`. Part files of the days that were
    there before are removed; other days are not touched. `landing/_sample.json` says whose files they are. Memory does
    not grow with the number of loans. At least one of each oddity is among 1,000 loans or more over 90 days or more.

    Args:
        landing: the landing zone's folder; made if it is not there.
        loans: how many loans are made, over the days.
        start: the first day.
        days: how many days; each gets a folder and its `_SUCCESS` in each feed, with or without records.
        seed: another seed gives another history.
        only: the days that are written, instead of these. After them the business goes on: its loans are paid, and
            others are made at the same rate.
        progress: called with how far it is, in words.

    Raises:
        ValueError: an argument is out of its range, or `landing` is not a folder.
    """
    _check(landing, loans, start, days, only)
    window = SampleWindow(start, days)
    wanted = range((only.first - start).days, (only.last - start).days + 1) if only else range(days)
    files, payables = SampleFiles(landing, window, wanted), Payables(wanted.stop)
    oddities, adjustments, tally = Oddities(), Adjustments(window, seed), _Tally()
    users = 2 * loans // 3 + 1

    files.clear()
    (landing / BUSINESS_FILE).write_bytes(Business(loans, start, days, seed).json())
    for number, originated in enumerate(origination_days(window, loans, seed, wanted.stop)):
        rng, flaws = Random(f"{seed}/{number}"), Random(f"{seed}/{number}/oddity")
        loan = make_loan(rng, seed, number, originated, users)
        if number < loans:
            # All that were asked for land in the days that were asked for.
            loan = replace(loan, landed=min(window.last, loan.landed))
        movements = repay(loan, window, max(wanted.stop - 1, originated + MOST_DAYS), rng)
        host = _write_history(loan, movements, window, files, payables, tally)
        if adjusted := adjustments.of(loan, movements):
            day, adjustment = adjusted
            tally.adjustments += files.add("adjustments", day, adjustment.line())
        for feed, day, line in oddities.plant(number, host, flaws, wanted):
            files.add(feed, day, line)
        if (number + 1) % _LOANS_BETWEEN_REPORTS == 0 or number + 1 == loans:
            progress(f"{number + 1:,} of {loans:,} loans, up to {window.text(originated)}")
    _write_payouts(payables, window, files, tally)
    files.finish()

    return SampleSummary(
        loans=tally.loans,
        transactions=tally.transactions,
        adjustments=tally.adjustments,
        files=files.files,
        days=len(wanted),
        late=tally.late,
        late_past_look_back=tally.late_past_look_back,
        oddities=oddities.counts(),
    )


def _write_history(
    loan: Loan, movements: list[Movement], window: SampleWindow, files: SampleFiles, payables: Payables, tally: _Tally
) -> Host:
    """Write what lands of a loan and its movements; give what an oddity may be about."""
    record = loan.record(window)
    if files.add("loans", loan.landed, record.line()):
        tally.loans += 1
        tally.note_delay(loan.landed - loan.originated)
    payables.lend(loan)

    transactions = []
    for position, movement in enumerate(movements):
        transaction = _transaction(loan, position, movement, window)
        if movement.landed <= loan.originated + _HOST_DAYS:
            transactions.append((movement.landed, transaction))
        if files.add("transactions", movement.landed, transaction.line()):
            tally.transactions += 1
            tally.note_delay(movement.landed - movement.effective)
        if movement.kind == "refund":
            payables.refund(loan, movement.cents, movement.landed)
    return Host(record, loan.landed, tuple(transactions))


def _transaction(loan: Loan, position: int, movement: Movement, window: SampleWindow) -> TransactionRecord:
    return TransactionRecord(
        transaction_id=_transaction_id(loan, position),
        loan_id=loan.loan_id,
        merchant_id=loan.merchant_id if movement.kind == "refund" else "",
        kind=movement.kind,
        amount=money(movement.cents),
        effective_on=window.text(movement.effective),
        reverses="" if movement.reverses is None else _transaction_id(loan, movement.reverses),
    )


def _transaction_id(loan: Loan, position: int) -> str:
    return f"T{loan.number:09d}-{position + 1:03d}"


def _write_payouts(payables: Payables, window: SampleWindow, files: SampleFiles, tally: _Tally) -> None:
    for merchant, day, cents in payables.payouts():
        payout = TransactionRecord(
            transaction_id=f"P{merchant:04d}-{window.text(day)}",
            loan_id="",
            merchant_id=merchant_id(merchant),
            kind="merchant_payout",
            amount=money(cents),
            effective_on=window.text(day),
            reverses="",
        )
        tally.transactions += files.add("transactions", day, payout.line())


def _check(landing: Path, loans: int, start: date, days: int, only: Window | None) -> None:
    for name, number in (("loans", loans), ("days", days)):
        if number < 1:
            raise ValueError(f"{name}={number}: expected 1 or more.")
    # A datetime is a date to the type checker, but neither compares nor prints as one.
    if isinstance(start, datetime):
        raise ValueError(f"start={start!r}: expected a date, found a datetime.")
    if days > (date.max - start).days - _DAYS_BEYOND:
        raise ValueError(
            f"days={days}: expected a window from {start} that ends {_DAYS_BEYOND} days or more before {date.max}."
        )
    if only and not start <= only.first <= only.last <= date.max - timedelta(days=_DAYS_BEYOND):
        raise ValueError(f"only={only}: expected days from {start} to {_DAYS_BEYOND} days before {date.max}.")
    if landing.exists() and not landing.is_dir():
        raise ValueError(f"landing={landing}: expected a folder, found a file.")
