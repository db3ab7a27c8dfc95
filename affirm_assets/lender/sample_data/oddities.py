"""What goes wrong on the way to the landing zone: records sent twice, sent with two contents, broken, or of no loan.

A broken, conflicting or stray record is always one more, with an id of its own that says what is wrong with it: the
records that the rest of a loan's history needs stay as they are.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from affirm_assets.lender.intake.feeds import LOOK_BACK_DAYS
from affirm_assets.lender.sample_data.draws import between
from affirm_assets.lender.sample_data.files import AdjustmentRecord, Feed, LoanRecord, TransactionRecord

Fate = Literal["duplicate", "rejected", "suspense"]
"""What becomes of a record: one in suspense is booked, but waits for a loan that never comes."""

# Of so many loans, one carries each of the kinds: about one record in a thousand in the large feeds.
_EVERY: dict[Feed, int] = {"loans": 1000, "transactions": 250, "adjustments": 250}
# The kinds' turns are spread over the loans, so that none has to wait for another's.
_FIRST_HOST, _STRIDE = 3, 7


Record = LoanRecord | TransactionRecord


@dataclass(frozen=True)
class Host:
    """A loan that carries oddities: its record and its first transactions, each with the day on which it landed."""

    loan: LoanRecord
    landed: int
    transactions: tuple[tuple[int, TransactionRecord], ...]

    def records(self, feed: Feed) -> tuple[tuple[int, Record], ...]:
        return ((self.landed, self.loan),) if feed == "loans" else self.transactions

    def extra_loan(self, kind: str) -> LoanRecord:
        return replace(self.loan, loan_id=f"{self.loan.loan_id}-{kind}")

    def extra_payment(self, kind: str) -> TransactionRecord:
        return TransactionRecord(
            transaction_id=f"T{self.loan.loan_id}-{kind}",
            loan_id=self.loan.loan_id,
            merchant_id="",
            kind="payment",
            amount="25.00",
            effective_on=self.loan.originated_on,
            reverses="",
        )

    def extra_waiver(self, kind: str) -> AdjustmentRecord:
        return AdjustmentRecord(
            adjustment_id=f"A{self.loan.loan_id}-{kind}",
            loan_id=self.loan.loan_id,
            kind="waiver",
            amount="5.00",
            effective_on=self.loan.originated_on,
            reason="As agreed on the phone",
            approver="E0007",
        )


Planted = list[tuple[int, bytes]]
Plant = Callable[[Host, Random], Planted]


@dataclass(frozen=True)
class Oddity:
    """A kind of flaw. `plant` gives its records and their days; none if the host cannot carry it."""

    feed: Feed
    kind: str
    fate: Fate
    plant: Plant


def _broken_loan(kind: str, write: Callable[[LoanRecord], bytes]) -> Oddity:
    return Oddity("loans", kind, "rejected", lambda host, _: [(host.landed, write(host.extra_loan(kind)))])


def _broken_transaction(kind: str, write: Callable[[TransactionRecord], bytes]) -> Oddity:
    return Oddity("transactions", kind, "rejected", lambda host, _: [(host.landed, write(host.extra_payment(kind)))])


def _broken_adjustment(kind: str, change: Callable[[AdjustmentRecord], AdjustmentRecord]) -> Oddity:
    return Oddity(
        "adjustments", kind, "rejected", lambda host, _: [(host.landed, change(host.extra_waiver(kind)).line())]
    )


def _bare_principal(loan: LoanRecord, token: bytes) -> bytes:
    """The principal as a JSON token instead of text."""
    return loan.line().replace(f'"principal": "{loan.principal}"'.encode(), b'"principal": ' + token)


def _fields_line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _without(loan: LoanRecord, name: str) -> bytes:
    return _fields_line({key: value for key, value in vars(loan).items() if key != name})


_BROKEN = (
    _broken_loan("truncated_line", lambda loan: loan.line()[:-80] + b"\n"),
    _broken_loan("three_decimals", lambda loan: replace(loan, principal=f"{loan.principal}5").line()),
    _broken_loan("negative_amount", lambda loan: replace(loan, principal=f"-{loan.principal}").line()),
    _broken_loan("zero_amount", lambda loan: replace(loan, principal="0.00").line()),
    _broken_loan("unknown_product", lambda loan: replace(loan, product="layaway").line()),
    _broken_loan("impossible_date", lambda loan: replace(loan, originated_on=_no_such_day(loan.originated_on)).line()),
    _broken_loan("missing_field", lambda loan: _without(loan, "merchant_id")),
    _broken_loan("extra_field", lambda loan: _fields_line({**vars(loan), "channel": "web"})),
    _broken_loan("exponent", lambda loan: _bare_principal(loan, b"1e3")),
    _broken_loan("not_a_number", lambda loan: _bare_principal(loan, b"NaN")),
    _broken_loan("invalid_utf8", lambda loan: loan.line().replace(b'"U', b'"\xff', 1)),
    _broken_transaction("too_few_fields", lambda payment: payment.line().rsplit(b",", 2)[0] + b"\n"),
    _broken_transaction("too_many_fields", lambda payment: payment.line()[:-1] + b",web\n"),
    _broken_transaction("three_decimals", lambda payment: replace(payment, amount="25.005").line()),
    _broken_transaction("negative_amount", lambda payment: replace(payment, amount="-25.00").line()),
    _broken_transaction("zero_amount", lambda payment: replace(payment, amount="0.00").line()),
    _broken_transaction("unknown_kind", lambda payment: replace(payment, kind="chargeback").line()),
    _broken_transaction(
        "impossible_date", lambda payment: replace(payment, effective_on=_no_such_day(payment.effective_on)).line()
    ),
    _broken_transaction("missing_field", lambda payment: replace(payment, amount="").line()),
    _broken_transaction("exponent", lambda payment: replace(payment, amount="1e3").line()),
    _broken_transaction("not_a_number", lambda payment: replace(payment, amount="NaN").line()),
    _broken_transaction("invalid_utf8", lambda payment: payment.line().replace(b",L", b",\xff", 1)),
)


def _stray_payment(host: Host, _: Random) -> Planted:
    return [(host.landed, replace(host.extra_payment("unknown_loan"), loan_id=f"X{host.loan.loan_id}").line())]


_STRAY = Oddity("transactions", "unknown_loan", "suspense", _stray_payment)


def _no_such_day(day: str) -> str:
    return f"{day[:4]}-02-30"


def _sent_again(feed: Feed, first: int, last: int, change: Callable[[Record], Record]) -> Plant:
    """A record once more, as it was or changed, from `first` to `last` days after it."""

    def plant(host: Host, rng: Random) -> Planted:
        sources = host.records(feed)
        if not sources:
            return []
        landed, record = sources[rng.randrange(len(sources))]
        return [(landed + between(rng, first, last), change(record).line())]

    return plant


def _contradictory(feed: Feed) -> Plant:
    """One extra id twice in one folder, with two amounts: nobody knows which is right, so both are refused."""

    def plant(host: Host, _: Random) -> Planted:
        kind = "conflict_same_day"
        record = host.extra_loan(kind) if feed == "loans" else host.extra_payment(kind)
        return [(host.landed, record.line()), (host.landed, _other_amount(record).line())]

    return plant


def _other_amount(record: Record) -> Record:
    if isinstance(record, LoanRecord):
        return replace(record, principal=_other(record.principal))
    return replace(record, amount=_other(record.amount))


def _other(amount: str) -> str:
    """One cent more, or less where that would carry: a valid amount still."""
    return amount[:-1] + ("8" if amount.endswith("9") else str(int(amount[-1]) + 1))


def _as_it_was(record: Record) -> Record:
    return record


def _repeated(feed: Feed) -> tuple[Oddity, ...]:
    beyond = LOOK_BACK_DAYS + 1
    return (
        Oddity(feed, "duplicate_past_look_back", "duplicate", _sent_again(feed, beyond, beyond + 4, _as_it_was)),
        Oddity(feed, "duplicate_later_day", "duplicate", _sent_again(feed, 1, LOOK_BACK_DAYS, _as_it_was)),
        Oddity(feed, "duplicate_same_day", "duplicate", _sent_again(feed, 0, 0, _as_it_was)),
        Oddity(feed, "conflict_later_day", "rejected", _sent_again(feed, 1, LOOK_BACK_DAYS, _other_amount)),
        Oddity(feed, "conflict_same_day", "rejected", _contradictory(feed)),
    )


_ADJUSTMENTS = (
    _broken_adjustment("no_approver", lambda waiver: replace(waiver, approver="")),
    _broken_adjustment("unknown_loan", lambda waiver: replace(waiver, loan_id=f"X{waiver.loan_id}")),
)

# The repeated ones first: they land last. Those of a later feed last: no other gets another host.
ODDITIES = (*_repeated("loans"), *_repeated("transactions"), *_BROKEN, _STRAY, *_ADJUSTMENTS)


@dataclass(frozen=True)
class OddityCount:
    """How many records of a feed carry a flaw, and what the intake makes of each."""

    feed: Feed
    kind: str
    fate: Fate
    records: int


class Oddities:
    """Plants each kind at its rate, at most one in a loan. One that a loan cannot carry waits for the next that can."""

    def __init__(self) -> None:
        self._waiting = [0] * len(ODDITIES)
        self._records = [0] * len(ODDITIES)

    def counts(self) -> tuple[OddityCount, ...]:
        return tuple(
            OddityCount(oddity.feed, oddity.kind, oddity.fate, records)
            for oddity, records in zip(ODDITIES, self._records, strict=True)
        )

    def plant(self, number: int, host: Host, rng: Random, days: range) -> list[tuple[Feed, int, bytes]]:
        """The records to add for a loan, and where: those of these days, which alone are counted."""
        for position, oddity in enumerate(ODDITIES):
            if number % _EVERY[oddity.feed] == _FIRST_HOST + _STRIDE * position:
                self._waiting[position] += 1
        for position, oddity in enumerate(ODDITIES):
            planted = oddity.plant(host, rng) if self._waiting[position] else []
            if planted:
                self._waiting[position] -= 1
                wanted = [(oddity.feed, day, line) for day, line in planted if day in days]
                self._records[position] += len(wanted)
                # No second one: a repeat and a conflict of one record in one folder would spoil each other's fate.
                return wanted
        return []
