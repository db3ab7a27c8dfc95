"""What holds of the books for any loan and any history."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import CENT, ZERO, to_cents
from affirm_assets.lender.finance.days import DAYS_KEPT_SETTLED, Day, applications, days
from affirm_assets.lender.finance.movements import Application, Movement, in_order
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.schedule import schedule
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import REVERSALS, LoanKind
from tests.unit.books import cents, due_on
from tests.unit.integer_books import Books, of_life, of_row

STATE = tuple(each.name for each in fields(Account) if each.name not in ("terms", "day", "booked_on", "events"))
# What the books know of as of a day. All else is as if everything had come in time, and what is reversed never been.
AS_OF = ("settled_on", "credit_since", "unapplied")
BY_NOW = tuple(name for name in STATE if name not in AS_OF)
OUT = ("payment_reversal", "refund_reversal", "credit_refund")
A_DAY = timedelta(days=1)

# The same examples each time: a change that breaks a property is not found by the luck of one run.
thorough = settings(max_examples=200, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Loan:
    """A loan, when the books learned of it, what moved it, and the last day to look at."""

    terms: Terms
    booked_on: date
    movements: tuple[Movement, ...]
    last: date

    def days(self, movements: Iterable[Movement] | None = None) -> list[Day]:
        return self._replay(movements) if movements is not None else self._days

    @cached_property
    def _days(self) -> list[Day]:
        return self._replay(self.movements)

    def _replay(self, movements: Iterable[Movement]) -> list[Day]:
        return list(days(self.opened(), self.last, movements, is_new=True))

    def opened(self) -> Account:
        return Account.opened(self.terms, self.booked_on)

    @cached_property
    def applied(self) -> list[tuple[Movement, Application]]:
        return list(applications(self.opened(), self.last, self.movements, is_new=True))

    def replayed(self, until: date) -> Account:
        """The account with its events, as the movements up to a day have left it."""
        account = self.opened()
        earlier = [each for each in self.movements if each.posted_on <= until]
        for _ in applications(account, until, earlier, is_new=True):
            pass
        account.go_to(until)
        return account


RULES = (
    Rules(),
    Rules(),
    Rules(instalment_rounding="nearest", returned_payment="waived"),
    Rules(shortages_carried=ZERO, waived_below=ZERO),
    Rules(instalment_met_at=Decimal(90), interest_after_full_refund="owed"),
    Rules(instalment_met_at=Decimal("97.5"), shortages_carried=Decimal("25.00"), waived_below=CENT),
    Rules(shortages_carried=CENT, waived_below=Decimal("25.00"), returned_payment="waived"),
)
"""Products' choices: each of them, and together."""


@st.composite
def all_terms(draw: st.DrawFn) -> Terms:
    principal = draw(st.one_of(st.integers(1, 2_000), st.integers(2_000, 2_000_000)))
    originated_on = draw(st.one_of(st.dates(date(2023, 1, 1), date(2024, 12, 31)), st.just(date(2024, 1, 31))))
    terms = Terms.agreed(
        principal=Decimal(principal).scaleb(-2),
        apr=draw(st.one_of(st.just(ZERO), st.integers(1, 3_600).map(lambda rate: Decimal(rate).scaleb(-2)))),
        instalments=draw(st.one_of(st.integers(1, 8), st.integers(1, 8), st.sampled_from([24, 48]))),
        frequency=draw(st.sampled_from(["monthly", "biweekly"])),
        originated_on=originated_on,
        first_due_on=originated_on + timedelta(days=draw(st.integers(1, 45))),
        merchant_discount=Decimal(draw(st.integers(0, principal // 5))).scaleb(-2),
        due_day=draw(st.sampled_from([None, None, 1, 31])),
        rules=draw(st.sampled_from(RULES)),
    )
    off_by = draw(st.sampled_from([ZERO, ZERO, CENT, -CENT]))
    return replace(terms, instalment=max(terms.instalment + off_by, CENT))


@st.composite
def loans(draw: st.DrawFn, kinds: Sequence[str] = (), *, never_made: bool = False) -> Loan:
    """Payments in time, late, in part and in excess, and all else that befalls a loan, several a day among it.

    All of it within days, or over months, or so far apart that the loan is charged off in between. never_made: a
    payment that is returned counts so, whatever else the rules are.
    """
    terms = draw(all_terms())
    if never_made:
        terms = replace(terms, rules=replace(terms.rules, returned_payment="never_made"))
    booked_on = terms.originated_on + timedelta(days=draw(st.sampled_from([0, 0, 0, 1, 3, 20, 200])))
    day, movements = booked_on, list[Movement]()
    gaps = draw(st.sampled_from([(0, 0, 1, 2, 5), (0, 1, 3, 14, 31), (0, 0, 5, 60, 130)]))
    mix = kinds or draw(st.sampled_from([_KINDS, _KINDS, _PAID_OUT]))
    for number in range(draw(st.integers(0, 9))):
        day += timedelta(days=draw(st.sampled_from(gaps)))
        kind = draw(st.sampled_from(mix))
        movements.append(
            _movement(draw, terms, f"t{draw(st.integers(0, 9))}-{number}", kind, day, movements, booked_on)
        )
    last = day + timedelta(days=draw(st.sampled_from([0, 5, 40, 130, 200])))
    return Loan(terms, booked_on, tuple(draw(st.permutations(movements))), last)


_PAID_OUT = ("payment", "payment", "recovery", "credit_refund", "credit_refund", "payment_reversal", "payment_reversal")
_NOTHING_PAID_OUT = ("payment",) * 4 + ("payment_reversal",) * 2 + ("refund", "refund", "refund_reversal", "recovery")
_KINDS = (
    ("payment",) * 5 + ("payment_reversal",) * 3 + ("refund", "refund", "refund_reversal", "credit_refund", "recovery")
)


def _movement(
    draw: st.DrawFn, terms: Terms, name: str, kind: Any, day: date, earlier: list[Movement], booked_on: date
) -> Movement:
    days_late = draw(st.sampled_from([0, 0, 0, 1, 5, 30, 60, 150]))
    effective_on = day - timedelta(days=days_late)
    if kind in REVERSALS:
        reversible = [each for each in earlier if each.kind not in REVERSALS]
        fitting = [each for each in reversible if each.kind in OF[kind]]
        if not reversible:
            return Movement(name, kind, CENT, day, effective_on, "unknown")
        original = draw(st.sampled_from(fitting or reversible))
        amount = draw(st.sampled_from([original.amount] * 6 + [original.amount + CENT, half(original.amount), CENT]))
        if draw(st.integers(0, 7)) == 0:
            # It came before its payment.
            day = max(original.posted_on - timedelta(days=draw(st.sampled_from([1, 2, 40]))), booked_on)
            effective_on = day - timedelta(days=days_late)
        return Movement(name, kind, amount, day, effective_on, original.transaction_id)
    if kind == "credit_refund" and draw(st.integers(0, 3)):
        account = Loan(terms, booked_on, tuple(earlier), day).replayed(day)
        return Movement(name, kind, account.credit or CENT, day, effective_on)
    return Movement(name, kind, draw(_amounts(terms)), day, effective_on)


OF: dict[str, tuple[LoanKind, ...]] = {"payment_reversal": ("payment", "recovery"), "refund_reversal": ("refund",)}


def half(amount: Decimal) -> Decimal:
    return max(to_cents(amount / 2), CENT)


def _amounts(terms: Terms) -> st.SearchStrategy[Decimal]:
    level, all_of_it = terms.instalment, terms.principal
    nearly = [level - CENT, level - 1, level * Decimal("0.9")]
    likely = [level, level, level, *nearly, 2 * level, level / 2, all_of_it / 2, all_of_it, *[all_of_it * 2] * 2, CENT]
    return st.one_of(
        st.sampled_from([max(to_cents(amount), CENT) for amount in likely]),
        st.integers(1, cents(all_of_it) + 100).map(lambda amount: Decimal(amount).scaleb(-2)),
    )


def _signed(movement: Movement) -> Decimal:
    return -movement.amount if movement.kind in OUT else movement.amount


def _state(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in STATE}


def each_day_opens_as_the_day_before_closed_and_adds_up(loan: Loan) -> None:
    before = None
    for day in loan.days():
        if before is None:
            assert (day.as_of, day.principal_lent) == (loan.booked_on, loan.terms.principal)
        elif day.as_of == before.as_of + A_DAY:
            for name in _OPENED:
                assert getattr(day, f"opening_{name}") == getattr(before, name), name
            assert day.unapplied == before.unapplied + day.unapplied_moved
            assert day.principal_lent == 0
        else:
            assert before.settled_on is not None
            assert before.as_of >= before.settled_on + timedelta(days=DAYS_KEPT_SETTLED)
        assert day.principal == (
            day.opening_principal
            + day.principal_lent
            - day.principal_paid
            + day.principal_reversed
            - day.principal_refunded
            - day.principal_charged_off
            - day.principal_waived
        )
        assert day.interest == (
            day.opening_interest
            + day.interest_accrued
            - day.interest_given_back
            - day.interest_paid
            + day.interest_reversed
            - day.interest_refunded
            - day.interest_charged_off
            - day.interest_waived
        )
        assert day.credit == (
            day.opening_credit + day.credit_overpaid - day.credit_reversed + day.credit_refunded - day.credit_paid_out
        )
        before = day


_OPENED = tuple(name.removeprefix("opening_") for name in Day._fields if name.startswith("opening_"))


def no_cent_appears_or_vanishes(loan: Loan) -> None:
    posted = defaultdict[date, Decimal](Decimal)
    for movement in loan.movements:
        posted[movement.posted_on] += _signed(movement)
    for day in loan.days():
        assert posted.pop(day.as_of, ZERO) == (
            day.principal_paid
            - day.principal_reversed
            + day.principal_refunded
            + day.interest_paid
            - day.interest_reversed
            + day.interest_refunded
            + day.credit_overpaid
            - day.credit_reversed
            + day.credit_refunded
            - day.credit_paid_out
            + day.recovery_principal
            + day.recovery_interest
            + day.unapplied_moved
        )
    assert not posted, "a day on which money moved has no row"


def posted_interest_is_the_rounded_accrual(loan: Loan) -> None:
    posted = ZERO
    for day in loan.days():
        posted += day.interest_accrued - day.interest_given_back
        assert posted == to_cents(day.accrued)


def nothing_is_negative(loan: Loan) -> None:
    for day in loan.days():
        for name in _NEVER_NEGATIVE:
            assert getattr(day, name) >= 0, name


_NEVER_NEGATIVE = (
    "principal",
    "interest",
    "credit",
    "accrued",
    "paid",
    "shortage",
    "refunded",
    "discount_returned",
    "last_instalment",
    "recovered_principal",
    "recovered_interest",
    "charged_off_principal",
    "charged_off_interest",
    "waived_principal",
    "waived_interest",
    "principal_paid",
    "principal_reversed",
    "principal_refunded",
    "interest_accrued",
    "credit_overpaid",
    "credit_reversed",
    "credit_refunded",
    "credit_paid_out",
    "days_past_due",
    "amount_past_due",
    "next_due_amount",
)


def nobody_owes_and_is_owed_at_once(loan: Loan) -> None:
    for day in loan.days():
        assert day.recovered_principal <= day.charged_off_principal
        assert day.recovered_interest <= day.charged_off_interest
        lost = day.charged_off_principal + day.charged_off_interest - day.recovered_principal - day.recovered_interest
        assert day.credit == 0 or day.principal == day.interest == lost == 0


def principal_is_recovered_before_interest(loan: Loan) -> None:
    for day in loan.days():
        # A credit that was there when it was paid out, and is not by what is known now, is charged off after all.
        if day.credit_paid_out:
            return
        assert day.recovered_interest == 0 or day.recovered_principal == day.charged_off_principal


def no_more_principal_is_owed_or_given_up_than_went_out(loan: Loan) -> None:
    went_out = loan.terms.principal
    for day in loan.days():
        went_out += day.credit_paid_out
        assert day.principal + day.charged_off_principal + day.waived_principal <= went_out


def what_is_120_days_past_due_is_charged_off_that_day(loan: Loan) -> None:
    due = {None, *(due_on(loan.terms, number) for number in range(1, loan.terms.instalments + 1))}
    takes_off = any(each.kind == "refund" for each in loan.movements)
    for day in loan.days():
        assert day.oldest_due_on in due
        assert day.days_past_due < 120
        if day.status == "charged_off":
            assert (day.principal, day.interest, day.settled_on) == (0, 0, None)
            assert day.charged_off_on is not None
            assert day.oldest_due_on is not None
            is_120_days = max(day.oldest_due_on + timedelta(days=120), loan.booked_on)
            assert is_120_days <= day.charged_off_on <= day.as_of
            # A refund that takes instalments off the end makes the oldest one older than it was on the day.
            assert takes_off or is_120_days == day.charged_off_on
        else:
            assert day.charged_off_on is None
            assert day.charged_off_principal == day.charged_off_interest == 0
            assert (day.oldest_due_on is None) == (day.principal == day.interest == 0)
            assert (day.settled_on is None) == (day.principal + day.interest + day.credit > 0)
        assert (day.credit_since is None) == (day.credit == 0)
        assert day.days_past_due <= day.highest_days_past_due


def little_is_waived_after_the_last_due_date_and_no_more(loan: Loan) -> None:
    limit = loan.terms.rules.waived_below
    has_paid_out = False
    for day in loan.days():
        waived = day.waived_principal + day.waived_interest
        has_paid_out |= day.credit_paid_out > 0
        assert waived < limit or waived == 0 or has_paid_out
        is_late = day.highest_days_past_due >= 119
        assert waived == 0 or is_late or day.as_of > loan.terms.due_on(day.last_instalment)
        is_small = 0 < day.principal + day.interest < limit
        assert not is_small or day.as_of <= max(loan.terms.due_on(day.last_instalment), loan.booked_on - A_DAY)


def what_is_past_due_falls_due_and_comes_to_what_is_owed(loan: Loan) -> None:
    for day in loan.days():
        owed, level = day.principal + day.interest, loan.terms.instalment
        due = sum(due_on(loan.terms, number) < day.as_of for number in range(1, day.last_instalment + 1))
        assert (day.amount_past_due > 0) == (day.days_past_due > 0)
        assert day.amount_past_due + day.next_due_amount <= owed
        assert day.amount_past_due in (owed, max(level * due - day.paid - day.shortage, ZERO))
        assert (day.next_due_on is None) == (day.next_due_amount == 0)
        assert day.next_due_on is None or day.next_due_on >= day.as_of
        if day.next_due_on == due_on(loan.terms, day.last_instalment) or (owed and day.next_due_on is None):
            assert day.status == "charged_off" or day.amount_past_due + day.next_due_amount == owed


def day_by_day_is_the_same_as_in_one_go(loan: Loan) -> None:
    one_by_one: list[Day] = []
    day = loan.booked_on
    while day <= loan.last:
        today = [each for each in loan.movements if each.posted_on == day]
        is_new = day == loan.booked_on
        one_by_one += days(_opening(loan, day, one_by_one, today), day, today, is_new=is_new)
        day += A_DAY
    assert one_by_one == loan.days()


def _opening(loan: Loan, day: date, before: Sequence[Day], today: Sequence[Movement]) -> Account:
    """The account on the morning of a day, as a step knows it: yesterday's row, and events where one is asked for."""
    if day == loan.booked_on:
        return loan.opened()
    yesterday = day - A_DAY
    if before[-1].as_of < yesterday:
        return loan.replayed(yesterday)
    state = {name: getattr(before[-1], name) for name in STATE}
    account = Account(loan.terms, yesterday, loan.booked_on, **state)
    reversed_by_now = {each.reverses for each in loan.movements if each.posted_on < day}
    if any(account.needs_events(each) or each.transaction_id in reversed_by_now for each in today):
        replayed = loan.replayed(yesterday)
        replayed.close()
        assert _state(replayed) == _state(account)
        account.events = replayed.events
    return account


def applications_are_the_movements_of_the_days(loan: Loan) -> None:
    applied = defaultdict[date, list[tuple[Movement, Application]]](list)
    for movement, application in loan.applied:
        assert application.money == _signed(movement)
        # What reverses money that was not applied takes it out again.
        assert (application.unapplied != 0) == (application.exception is not None) or movement.kind in REVERSALS
        assert 0 <= application.unapplied * (-1 if movement.kind in OUT else 1) <= movement.amount
        applied[movement.posted_on].append((movement, application))

    paid_or_undone: tuple[LoanKind, ...] = ("payment", "recovery", "payment_reversal", "refund_reversal")
    for day in loan.days():
        today = applied[day.as_of]

        def total(part: str, *kinds: LoanKind, sign: int = 0, today: Any = today) -> Decimal:
            parts = (getattr(a, part) for m, a in today if not kinds or m.kind in kinds)
            return sum((each for each in parts if each * sign >= 0), ZERO)

        assert [m for m, _ in today] == in_order(m for m in loan.movements if m.posted_on == day.as_of)
        # What goes the other way than its kind counts as the opposite.
        for part, into, again in (
            ("principal", day.principal_paid, day.principal_reversed),
            ("credit", day.credit_overpaid, day.credit_reversed),
        ):
            assert into == total(part, *paid_or_undone, sign=1)
            assert again == -total(part, *paid_or_undone, "refund", sign=-1)
        assert day.principal_refunded == total("principal", "refund", sign=1)
        assert day.interest_paid == total("interest", "payment", "recovery")
        assert day.interest_reversed == -total("interest", *REVERSALS)
        assert day.interest_refunded == total("interest", "refund")
        assert day.interest_given_back == total("interest_given_back")
        assert day.credit_refunded == total("credit", "refund", sign=1)
        assert day.credit_paid_out == -total("credit", "credit_refund")
        assert day.recovery_principal == total("recovery_principal")
        assert day.recovery_interest == total("recovery_interest")
        assert day.unapplied_moved == total("unapplied")


def the_order_of_the_input_does_not_matter(loan: Loan, random: Any) -> None:
    shuffled = list(loan.movements)
    random.shuffle(shuffled)
    assert loan.days(shuffled) == loan.days()


def the_second_books_say_the_same(loan: Loan) -> None:
    end = loan.days()[-1]
    # Of a loan that was settled long ago, the last row is not the last day's, but nothing has moved since.
    *_, life = Books(loan.terms, loan.booked_on).run(loan.last, loan.movements)
    assert of_row(end) | {"unapplied": 0} == of_life(life, 0)


@given(loans(_NOTHING_PAID_OUT, never_made=True), st.data())
@thorough
def test_the_end_is_the_same_in_whatever_order_things_come(loan: Loan, data: st.DataObject) -> None:
    assume(_has_no_exceptions(loan))
    came = dict[str, date]()
    again = list[Movement]()
    for each in sorted(loan.movements, key=lambda each: each.kind in REVERSALS):
        earliest = came[each.reverses] if each.reverses else max(_counts_on(loan.terms, each), loan.booked_on)
        day = earliest + timedelta(days=data.draw(st.integers(0, (loan.last - earliest).days)))
        came[each.transaction_id] = day
        effective_on = min(each.effective_on, day)
        again.append(replace(each, posted_on=day, effective_on=effective_on))
    other = replace(loan, movements=tuple(again))
    assume(_has_no_exceptions(other))

    assert _end(other) == _end(loan)

    if loan.booked_on == loan.terms.originated_on:
        in_time = _in_time(loan)
        assert not _has_no_exceptions(in_time) or _end(in_time) == _end(loan)


def _has_no_exceptions(loan: Loan) -> bool:
    return not any(application.exception for _, application in loan.applied)


def _end(loan: Loan) -> dict[str, Any]:
    """All that the books say of the end but what they learned when."""
    account = loan.replayed(loan.last)
    account.close()
    return {name: getattr(account, name) for name in BY_NOW}


def what_is_owed_or_lost_is_what_went_out_and_accrued_less_what_came_in(loan: Loan) -> None:
    end = loan.days()[-1]
    lost = end.charged_off_principal - end.recovered_principal + end.charged_off_interest - end.recovered_interest
    waived = end.waived_principal + end.waived_interest
    came_in = sum((application.money - application.unapplied for _, application in loan.applied), ZERO)
    owed = end.principal + end.interest - end.credit
    assert owed + lost + waived == loan.terms.principal + to_cents(end.accrued) - came_in
    assert loan.terms.apr or end.accrued == 0


@given(loans(_NOTHING_PAID_OUT, never_made=True), st.data())
@thorough
def test_what_is_reversed_is_as_if_it_had_never_been(loan: Loan, data: st.DataObject) -> None:
    """A payment, a recovery or a refund: reversed at once or in parts, later, on its day or before it came."""
    kind, back = data.draw(st.sampled_from([("payment", "payment_reversal"), ("recovery", "payment_reversal")]))
    if not any(each.kind == "refund" for each in loan.movements):
        kind, back = data.draw(st.sampled_from([(kind, back), ("refund", "refund_reversal")]))
    came_on = data.draw(st.dates(loan.booked_on, loan.last))
    amount = data.draw(_amounts(loan.terms))
    amount = min(amount, loan.terms.principal) if kind == "refund" else amount
    late = timedelta(days=data.draw(st.sampled_from([0, 0, 3, 40, 150])))
    movement = Movement("x", kind, amount, came_on, came_on - late)  # type: ignore[arg-type]
    parts = [amount] if data.draw(st.booleans()) or amount == CENT else [CENT, amount - CENT]
    first = max(came_on - timedelta(days=35), loan.booked_on)
    backs = [
        Movement(f"x{number}", back, part, day, day, "x")  # type: ignore[arg-type]
        for number, part in enumerate(parts)
        for day in [data.draw(st.dates(came_on if data.draw(st.integers(0, 3)) else first, loan.last))]
    ]
    with_it = replace(loan, movements=(*loan.movements, movement, *backs))
    since = max(each.posted_on for each in (movement, *backs))

    rows = {day.as_of: day for day in with_it.days()}
    for without in loan.days():
        if without.as_of >= since and without.as_of in rows:
            for name in (*BY_NOW, "unapplied", *_SHOWN):
                assert getattr(rows[without.as_of], name) == getattr(without, name), name
    assert _end(with_it) == _end(loan)


_SHOWN = ("oldest_due_on", "days_past_due", "status", "amount_past_due", "next_due_on", "next_due_amount")


def an_account_is_what_its_movements_make_of_it_in_order_of_time(loan: Loan) -> None:
    account = loan.replayed(loan.last)
    replayed = account._replayed(account.events or [], account.day)
    for each in (account, replayed):
        each.close()
    for name in BY_NOW:
        assert getattr(account, name) == getattr(replayed, name), name


OF_ANY_HISTORY = (
    each_day_opens_as_the_day_before_closed_and_adds_up,
    no_cent_appears_or_vanishes,
    posted_interest_is_the_rounded_accrual,
    nothing_is_negative,
    nobody_owes_and_is_owed_at_once,
    principal_is_recovered_before_interest,
    no_more_principal_is_owed_or_given_up_than_went_out,
    what_is_120_days_past_due_is_charged_off_that_day,
    little_is_waived_after_the_last_due_date_and_no_more,
    what_is_past_due_falls_due_and_comes_to_what_is_owed,
    day_by_day_is_the_same_as_in_one_go,
    applications_are_the_movements_of_the_days,
    what_is_owed_or_lost_is_what_went_out_and_accrued_less_what_came_in,
    an_account_is_what_its_movements_make_of_it_in_order_of_time,
    the_second_books_say_the_same,
)


@given(loans(), st.randoms(use_true_random=False))
@thorough
def test_what_holds_of_any_history(loan: Loan, random: Any) -> None:
    """All of it of each history, which is drawn and replayed once for all."""
    for holds in OF_ANY_HISTORY:
        holds(loan)
    the_order_of_the_input_does_not_matter(loan, random)


def _in_time(loan: Loan) -> Loan:
    """The same loan, had the books learned of what came in on its day."""
    movements = (replace(each, posted_on=_counts_on(loan.terms, each)) for each in loan.movements)
    return replace(loan, movements=tuple(movements))


def _counts_on(terms: Terms, movement: Movement) -> date:
    if movement.kind in ("payment", "recovery", "refund"):
        return max(movement.effective_on, terms.originated_on)
    return movement.posted_on


@given(all_terms())
@thorough
def test_who_pays_the_schedule_follows_it_to_the_cent(terms: Terms) -> None:
    agreed = list(schedule(terms))
    payments = [Movement(f"p{each.number}", "payment", each.payment, each.due_on, each.due_on) for each in agreed]
    loan = Loan(terms, terms.originated_on, tuple(payments), agreed[-1].due_on)
    rows = loan.days()

    by_day = {day.as_of: day for day in rows}
    for each in agreed:
        day = by_day[each.due_on]
        assert (day.interest_paid, day.principal_paid, day.principal) == (each.interest, each.principal, each.balance)
    assert all(day.days_past_due == 0 for day in rows)
    assert all(each.payment == terms.instalment for each in agreed[:-1])
    assert rows[-1].status == "repaid"
    assert [each.number for each in agreed] == list(range(1, len(agreed) + 1))
    assert sum(each.principal for each in agreed) == terms.principal


@given(all_terms(), st.data())
@thorough
def test_who_pays_on_time_is_never_late_whatever_the_merchant_refunds(terms: Terms, data: st.DataObject) -> None:
    last = terms.due_on(terms.instalments)
    dates = st.dates(terms.originated_on, last)
    refunds = [
        Movement(f"f{number}", "refund", min(data.draw(_amounts(terms)), half(terms.principal)), day, day)
        for number, day in enumerate(data.draw(st.lists(dates, min_size=1, max_size=3)))
    ]
    due = [terms.due_on(number) for number in range(1, terms.instalments + 1)]
    level = [Movement(f"p{number}", "payment", terms.instalment, day, day) for number, day in enumerate(due)]
    rows = Loan(terms, terms.originated_on, (*level, *refunds), last + A_DAY).days()

    # Of the last one, which is whatever is left, a few cents may be more than the level instalment.
    assert all(day.days_past_due == 0 for day in rows if day.as_of <= last)
    left = rows[-1].last_instalment
    settled = [day.as_of for day in rows if day.principal == day.interest == 0]
    # What is left of it may be waived on the day after.
    assert not settled or settled[0] <= max(terms.due_on(left) + A_DAY, *(each.posted_on for each in refunds))


@given(loans(never_made=True), st.data())
@thorough
def test_a_reversal_on_the_same_day_leaves_no_trace(loan: Loan, data: st.DataObject) -> None:
    account = loan.replayed(loan.last)
    account.close()
    day = loan.last + A_DAY
    account.go_to(day)
    before = _state(account)
    effective_on = day - timedelta(days=data.draw(st.sampled_from([0, 0, 3, 40, 150]), "days late"))
    payment = Movement("new", "payment", data.draw(_amounts(loan.terms), "amount"), day, effective_on)
    account.apply(payment)
    reversal = account.apply(Movement("undo", "payment_reversal", payment.amount, day, day, "new"))

    assert reversal.exception is None
    assert _state(account) == before
