"""Writes a sample: the loans in order of origination, one at a time, then what their merchants are paid."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from random import Random

from affirm_assets.lender.intake.feeds import LOOK_BACK_DAYS
from affirm_assets.lender.sample_data.adjustments import Adjustments
from affirm_assets.lender.sample_data.files import Feed, LandingFiles, TransactionRecord, money
from affirm_assets.lender.sample_data.loans import MERCHANTS, Loan, make_loan, merchant_id
from affirm_assets.lender.sample_data.oddities import Fate, Host, Oddities, OddityCount
from affirm_assets.lender.sample_data.repayment import Movement, repay
from affirm_assets.lender.sample_data.window import SampleWindow, origination_days

_LOANS_BETWEEN_REPORTS = 5_000

# The farthest that a first instalment falls due after the last day.
_DAYS_BEYOND = 62


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
        self._owed[loan.merchant * self._days + loan.landed] += loan.principal - loan.discount

    def refund(self, loan: Loan, cents: int, day: int) -> None:
        """The merchant returns the price and gets its discount back in proportion, rounded half up."""
        discount = (2 * loan.discount * cents + loan.principal) // (2 * loan.principal)
        self._owed[loan.merchant * self._days + day] -= cents - discount

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
    progress: Callable[[str], None] = lambda _: None,
) -> SampleSummary:
    """Write the landing files of a made-up lender: `landing/<feed>/<day>/part-00000.<ext>`, then each day's `_SUCCESS`.

    The same arguments give the same bytes. Part files of the window's days that were there before are removed; other
    days are not touched. Memory does not grow with the number of loans. At least one of each oddity is among 1,000
    loans or more, given a window of 60 days or more.

    Args:
        landing: the landing zone's folder; made if it is not there.
        loans: how many loans are made, over all days.
        start: the first day.
        days: how many days; each gets a folder and its `_SUCCESS` in each feed, with or without records.
        seed: another seed gives another history.
        progress: called with how far it is, in words.

    Raises:
        ValueError: an argument is out of its range, or `landing` is not a folder.
    """
    _check(landing, loans, start, days)
    window = SampleWindow(start, days)
    files, payables, oddities, tally = LandingFiles(landing, window), Payables(days), Oddities(), _Tally()
    adjustments = Adjustments(window, seed)
    users = 2 * loans // 3 + 1

    files.clear()
    for number, originated in enumerate(origination_days(window, loans, seed)):
        rng = Random(f"{seed}/{number}")
        loan = make_loan(rng, seed, number, originated, users, window.last)
        movements = repay(loan, window, rng)
        host = _write_history(loan, movements, window, files, payables, tally)
        if adjusted := adjustments.of(loan, movements):
            day, adjustment = adjusted
            files.add("adjustments", day, adjustment.line())
            tally.adjustments += 1
        for feed, day, line in oddities.plant(number, host, rng):
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
        days=days,
        late=tally.late,
        late_past_look_back=tally.late_past_look_back,
        oddities=oddities.counts(),
    )


def _write_history(
    loan: Loan, movements: list[Movement], window: SampleWindow, files: LandingFiles, payables: Payables, tally: _Tally
) -> Host:
    """Write a loan and the movements that land in the window; give both, as written."""
    record = loan.record(window)
    files.add("loans", loan.landed, record.line())
    payables.lend(loan)
    tally.loans += 1
    tally.note_delay(loan.landed - loan.originated)

    transactions = []
    for position, movement in enumerate(movements):
        if movement.landed > window.last:
            continue
        transaction = _transaction(loan, position, movement, window)
        transactions.append((movement.landed, transaction))
        files.add("transactions", movement.landed, transaction.line())
        if movement.kind == "refund":
            payables.refund(loan, movement.cents, movement.landed)
        tally.transactions += 1
        tally.note_delay(movement.landed - movement.effective)
    return Host(record, loan.landed, tuple(transactions), window.last)


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


def _write_payouts(payables: Payables, window: SampleWindow, files: LandingFiles, tally: _Tally) -> None:
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
        files.add("transactions", day, payout.line())
        tally.transactions += 1


def _check(landing: Path, loans: int, start: date, days: int) -> None:
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
    if landing.exists() and not landing.is_dir():
        raise ValueError(f"landing={landing}: expected a folder, found a file.")
