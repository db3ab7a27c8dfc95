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
from affirm_assets.lender.finance.schedule import schedule
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import LoanKind
from tests.unit.books import PlainBooks, cents

STATE = tuple(each.name for each in fields(Account) if each.name not in ("terms", "day", "events"))
OUT = ("payment_reversal", "credit_refund")
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
        return list(days(Account.opened(self.terms), self.last, movements, self.booked_on))

    def replayed(self, until: date) -> Account:
        """The account with its events, as the movements up to a day have left it."""
        account = Account.opened(self.terms)
        earlier = [each for each in self.movements if each.posted_on <= until]
        for _ in applications(account, until, earlier, self.booked_on):
            pass
        account.begin(until)
        return account


@st.composite
def all_terms(draw: st.DrawFn) -> Terms:
    principal = draw(st.one_of(st.integers(1, 2_000), st.integers(2_000, 2_000_000)))
    originated_on = draw(st.one_of(st.dates(date(2023, 1, 1), date(2024, 12, 31)), st.just(date(2024, 1, 31))))
    return Terms.agreed(
        principal=Decimal(principal).scaleb(-2),
        apr=draw(st.one_of(st.just(ZERO), st.integers(1, 3_600).map(lambda rate: Decimal(rate).scaleb(-2)))),
        instalments=draw(st.one_of(st.integers(1, 8), st.integers(1, 8), st.sampled_from([24, 48]))),
        frequency=draw(st.sampled_from(["monthly", "biweekly"])),
        originated_on=originated_on,
        first_due_on=originated_on + timedelta(days=draw(st.integers(1, 45))),
        merchant_discount=Decimal(draw(st.integers(0, principal // 5))).scaleb(-2),
    )


@st.composite
def loans(draw: st.DrawFn, kinds: Sequence[str] = ()) -> Loan:
    """Payments in time, late, in part and in excess, and all else that befalls a loan, several a day among it.

    All of it within days, or over months, or so far apart that the loan is charged off in between.
    """
    terms = draw(all_terms())
    booked_on = terms.originated_on + timedelta(days=draw(st.sampled_from([0, 0, 0, 1, 3, 20, 200])))
    day, movements = booked_on, list[Movement]()
    gaps = draw(st.sampled_from([(0, 0, 1, 2, 5), (0, 1, 3, 14, 31), (0, 0, 5, 60, 130)]))
    for number in range(draw(st.integers(0, 9))):
        day += timedelta(days=draw(st.sampled_from(gaps)))
        kind = draw(st.sampled_from(kinds or _KINDS))
        movements.append(
            _movement(draw, terms, f"t{draw(st.integers(0, 9))}-{number}", kind, day, movements, booked_on)
        )
    last = day + timedelta(days=draw(st.sampled_from([0, 5, 40, 130, 200])))
    return Loan(terms, booked_on, tuple(draw(st.permutations(movements))), last)


_REVERSED = ("payment", "payment", "payment_reversal")
_KINDS = ("payment",) * 5 + ("payment_reversal",) * 3 + ("refund", "refund", "credit_refund", "recovery")


def _movement(
    draw: st.DrawFn, terms: Terms, name: str, kind: Any, day: date, earlier: list[Movement], booked_on: date
) -> Movement:
    days_late = draw(st.sampled_from([0, 0, 0, 1, 5, 30, 60]))
    effective_on = day - timedelta(days=days_late)
    if kind == "payment_reversal":
        reversible = [each for each in earlier if each.kind != "payment_reversal"]
        if not reversible:
            return Movement(name, kind, CENT, day, effective_on, "unknown")
        original = draw(st.sampled_from(reversible))
        amount = original.amount + draw(st.sampled_from([ZERO] * 9 + [CENT]))
        if draw(st.integers(0, 7)) == 0:
            # It came before its payment.
            day = max(original.posted_on - timedelta(days=draw(st.sampled_from([1, 2, 40]))), booked_on)
            effective_on = day - timedelta(days=days_late)
        return Movement(name, kind, amount, day, effective_on, original.transaction_id)
    if kind == "credit_refund" and draw(st.integers(0, 3)):
        account = Loan(terms, booked_on, tuple(earlier), day).replayed(day)
        return Movement(name, kind, account.credit or CENT, day, effective_on)
    return Movement(name, kind, draw(_amounts(terms)), day, effective_on)


def _amounts(terms: Terms) -> st.SearchStrategy[Decimal]:
    level, all_of_it = terms.instalment, terms.principal
    likely = [level, level, level, 2 * level, level / 2, all_of_it / 2, all_of_it, all_of_it * 2, CENT]
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
        )
        assert day.interest == (
            day.opening_interest
            + day.interest_accrued
            - day.interest_given_back
            - day.interest_paid
            + day.interest_reversed
            - day.interest_refunded
            - day.interest_charged_off
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
            + day.recovery
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
    "refunded",
    "discount_returned",
    "last_instalment",
    "recovered",
    "charged_off_principal",
    "charged_off_interest",
    "principal_paid",
    "principal_reversed",
    "principal_refunded",
    "principal_charged_off",
    "interest_accrued",
    "interest_charged_off",
    "credit_overpaid",
    "credit_reversed",
    "credit_refunded",
    "credit_paid_out",
    "days_past_due",
)


def nobody_owes_and_is_owed_at_once(loan: Loan) -> None:
    for day in loan.days():
        given_up = day.charged_off_principal + day.charged_off_interest
        assert 0 <= day.recovered <= given_up
        assert day.credit == 0 or (day.principal == day.interest == 0 and day.recovered == given_up)


def no_more_principal_is_owed_or_given_up_than_went_out(loan: Loan) -> None:
    went_out = loan.terms.principal
    for day in loan.days():
        went_out += day.credit_paid_out
        assert day.principal + day.charged_off_principal <= went_out


def what_is_120_days_past_due_is_charged_off_that_day(loan: Loan) -> None:
    due = {None, *(each.due_on for each in schedule(loan.terms))}
    for day in loan.days():
        assert day.oldest_due_on in due
        assert day.days_past_due < 120
        if day.status == "charged_off":
            assert (day.principal, day.interest, day.oldest_due_on, day.settled_on) == (0, 0, None, None)
            assert day.charged_off_on is not None
            assert day.charged_off_on <= day.as_of
        else:
            assert (day.oldest_due_on is None) == (day.principal == day.interest == 0)
            assert (day.settled_on is None) == (day.principal + day.interest + day.credit > 0)


def day_by_day_is_the_same_as_in_one_go(loan: Loan) -> None:
    one_by_one: list[Day] = []
    day = loan.booked_on
    while day <= loan.last:
        today = [each for each in loan.movements if each.posted_on == day]
        booked_on = loan.booked_on if day == loan.booked_on else None
        one_by_one += days(_opening(loan, day, one_by_one, today), day, today, booked_on)
        day += A_DAY
    assert one_by_one == loan.days()


def _opening(loan: Loan, day: date, before: Sequence[Day], today: Sequence[Movement]) -> Account:
    """The account on the morning of a day, as a step knows it: yesterday's row, and events where one is asked for."""
    if day == loan.booked_on:
        return Account.opened(loan.terms)
    yesterday = day - A_DAY
    if before[-1].as_of < yesterday:
        return loan.replayed(yesterday)
    account = Account(loan.terms, yesterday, **{name: getattr(before[-1], name) for name in STATE})
    reversed_by_now = {each.reverses for each in loan.movements if each.posted_on < day}
    if any(account.needs_events(each) or each.transaction_id in reversed_by_now for each in today):
        replayed = loan.replayed(yesterday)
        assert _state(replayed) == _state(account)
        account.events = replayed.events
    return account


def applications_are_the_movements_of_the_days(loan: Loan) -> None:
    applied = defaultdict[date, list[tuple[Movement, Application]]](list)
    account = Account.opened(loan.terms)
    for movement, application in applications(account, loan.last, loan.movements, loan.booked_on):
        assert application.money == _signed(movement)
        assert (application.unapplied == 0) or application.money == application.unapplied
        applied[movement.posted_on].append((movement, application))

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
            assert into == total(part, "payment", "payment_reversal", "recovery", sign=1)
            assert again == -total(part, "payment", "payment_reversal", "refund", sign=-1)
        assert day.principal_refunded == total("principal", "refund", sign=1)
        assert day.interest_paid == total("interest", "payment")
        assert day.interest_reversed == -total("interest", "payment_reversal")
        assert day.interest_refunded == total("interest", "refund")
        assert day.interest_given_back == total("interest_given_back")
        assert day.credit_refunded == total("credit", "refund", sign=1)
        assert day.credit_paid_out == -total("credit", "credit_refund")
        assert (day.recovery, day.unapplied_moved) == (total("recovery"), total("unapplied"))
    assert _state(account) == {name: getattr(loan.days()[-1], name) for name in STATE} | {
        # The account goes on to its last event only.
        name: getattr(account, name)
        for name in ("interest", "accrued")
    }


def the_order_of_the_input_does_not_matter(loan: Loan, random: Any) -> None:
    shuffled = list(loan.movements)
    random.shuffle(shuffled)
    assert loan.days(shuffled) == loan.days()


@given(loans(("payment", "payment", "refund")))
@thorough
def test_what_came_late_ends_as_if_it_had_come_in_time(loan: Loan) -> None:
    late, in_time = loan.days()[-1], _in_time(loan).days()[-1]
    assume(late.charged_off_on is None and in_time.charged_off_on is None)

    books = PlainBooks.of(loan.terms, loan.movements, loan.last)
    for end in (late, in_time):
        assert cents(end.principal) == books.principal
        assert cents(end.interest) == books.interest
        assert cents(end.credit) == books.credit
        assert cents(end.paid) == books.paid
        assert end.accrued.scaleb(8) == books.accrued
        assert end.oldest_due_on == in_time.oldest_due_on
        assert end.discount_returned == in_time.discount_returned
        assert end.last_instalment == in_time.last_instalment


@given(loans(("payment", "payment", "payment", "refund", "payment_reversal")))
@thorough
def test_what_came_late_does_so_too_where_others_are_reversed(loan: Loan) -> None:
    came_late = {each.transaction_id for each in loan.movements if each.posted_on != _counts_on(loan.terms, each)}
    loan = replace(loan, movements=tuple(each for each in loan.movements if each.reverses not in came_late))
    late, in_time = loan.days()[-1], _in_time(loan).days()[-1]
    assume(late.charged_off_on is None and in_time.charged_off_on is None)

    ends = ("principal", "interest", "credit", "paid", "accrued", "discount_returned", "last_instalment")
    for name in (*ends, "oldest_due_on"):
        assert getattr(late, name) == getattr(in_time, name), name


@given(loans(_REVERSED))
@thorough
def test_what_was_paid_and_not_reversed_met_instalments_or_is_a_credit(loan: Loan) -> None:
    end = loan.days()[-1]
    assume(end.charged_off_on is None)
    assert end.paid + end.credit == _net(loan, "payment", "payment_reversal")
    assert end.principal + end.interest == loan.terms.principal + to_cents(end.accrued) - end.paid


def at_0_percent_a_loan_owes_what_went_out_less_what_came_in(loan: Loan) -> None:
    loan = replace(loan, terms=replace(loan.terms, apr=ZERO))
    end = loan.days()[-1]
    lost = end.charged_off_principal - end.recovered
    assert end.interest == end.charged_off_interest == 0
    assert end.principal + lost - end.credit == loan.terms.principal - _net(loan)


def _net(loan: Loan, *kinds: LoanKind) -> Decimal:
    """What came in of the movements that were applied, less what went out."""
    applied = applications(Account.opened(loan.terms), loan.last, loan.movements, loan.booked_on)
    return sum((a.money - a.unapplied for m, a in applied if not kinds or m.kind in kinds), ZERO)


@given(loans(), st.data())
@thorough
def test_a_payment_reversed_on_its_day_or_before_is_as_if_it_had_never_been(loan: Loan, data: st.DataObject) -> None:
    # On days of their own: what is paid between a payment and its reversal is not replayed.
    busy = {day for each in loan.movements for day in (each.posted_on, _counts_on(loan.terms, each))}
    and_reversed = list[Movement]()
    free = [
        day for day in (loan.booked_on + timedelta(days=n) for n in range(150)) if day not in busy and day <= loan.last
    ]
    for name, day in zip("xyz", data.draw(st.lists(st.sampled_from(free), unique=True)) if free else (), strict=False):
        payment = _movement(data.draw, loan.terms, name, "payment", day, [], loan.booked_on)
        back_on = max(day - timedelta(days=data.draw(st.sampled_from([0, 0, 1, 35]))), loan.booked_on)
        made_on = back_on - timedelta(days=data.draw(st.sampled_from([0, 0, 40])))
        and_reversed += [payment, Movement(f"{name}R", "payment_reversal", payment.amount, back_on, made_on, name)]
    rows = {day.as_of: day for day in replace(loan, movements=(*loan.movements, *and_reversed)).days()}
    for without in loan.days():
        # The money of either is unapplied until the other comes.
        for name in {*STATE, "oldest_due_on", "days_past_due"} - {"unapplied"}:
            assert getattr(rows[without.as_of], name) == getattr(without, name), name


def an_account_is_what_its_movements_make_of_it_in_order_of_time(loan: Loan) -> None:
    account = loan.replayed(loan.last)
    events = account.events or []
    replayed = account._replayed(events)

    if account.charged_off_on is None:
        for name in ("principal", "interest", "credit", "paid", "accrued"):
            assert getattr(account, name) == getattr(replayed, name), name
    else:
        # What was charged off is owed by that replay; so much of it as came back is not.
        after = [event.application for event in events if account._is_after_charge_off(event.movement)]
        came_back = sum(done.money - done.unapplied for done in after)
        given_up = account.charged_off_principal + account.charged_off_interest
        assert account.principal == account.interest == 0
        assert given_up - account.recovered - account.credit == replayed.principal + replayed.interest - came_back


OF_ANY_HISTORY = (
    each_day_opens_as_the_day_before_closed_and_adds_up,
    no_cent_appears_or_vanishes,
    posted_interest_is_the_rounded_accrual,
    nothing_is_negative,
    nobody_owes_and_is_owed_at_once,
    no_more_principal_is_owed_or_given_up_than_went_out,
    what_is_120_days_past_due_is_charged_off_that_day,
    day_by_day_is_the_same_as_in_one_go,
    applications_are_the_movements_of_the_days,
    at_0_percent_a_loan_owes_what_went_out_less_what_came_in,
    an_account_is_what_its_movements_make_of_it_in_order_of_time,
)


@given(loans(), st.randoms(use_true_random=False))
@thorough
def test_what_holds_of_any_history(loan: Loan, random: Any) -> None:
    """All of it of each history, which is drawn and replayed once for all."""
    for holds in OF_ANY_HISTORY:
        holds(loan)
    the_order_of_the_input_does_not_matter(loan, random)


def _in_time(loan: Loan) -> Loan:
    """The same loan, had the books learned of it and of its payments and refunds on their days."""
    movements = (replace(each, posted_on=_counts_on(loan.terms, each)) for each in loan.movements)
    return replace(loan, booked_on=loan.terms.originated_on, movements=tuple(movements))


def _counts_on(terms: Terms, movement: Movement) -> date:
    if movement.kind in ("payment", "refund"):
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
        Movement(f"f{number}", "refund", data.draw(_amounts(terms)), day, day)
        for number, day in enumerate(data.draw(st.lists(dates, min_size=1, max_size=3)))
    ]
    due = [terms.due_on(number) for number in range(1, terms.instalments + 1)]
    level = [Movement(f"p{number}", "payment", terms.instalment, day, day) for number, day in enumerate(due)]
    rows = Loan(terms, terms.originated_on, (*level, *refunds), last + A_DAY).days()

    # Of the last one, which is whatever is left, a few cents may be more than the level instalment.
    assert all(day.days_past_due == 0 for day in rows if day.as_of <= last)
    left = rows[-1].last_instalment
    settled = [day.as_of for day in rows if day.principal == day.interest == 0]
    assert not settled or settled[0] <= max(terms.due_on(left), *(each.posted_on for each in refunds))


@given(loans(), st.data())
@thorough
def test_a_reversal_on_the_same_day_leaves_no_trace(loan: Loan, data: st.DataObject) -> None:
    account = loan.replayed(loan.last)
    account.close()
    day = loan.last + A_DAY
    account.begin(day)
    before = _state(account)
    effective_on = day - timedelta(days=data.draw(st.sampled_from([0, 0, 3, 40]), "days late"))
    payment = Movement("new", "payment", data.draw(_amounts(loan.terms), "amount"), day, effective_on)
    account.apply(payment)
    reversal = account.apply(Movement("undo", "payment_reversal", payment.amount, day, day, "new"))

    assert reversal.exception is None
    assert _state(account) == before


@given(loans(), st.data())
@thorough
def test_a_later_reversal_restores_the_debt_and_its_delinquency(loan: Loan, data: st.DataObject) -> None:
    account = loan.replayed(loan.last)
    account.close()
    account.begin(loan.last + A_DAY)
    before, oldest_due_on = _state(account), account.oldest_due_on
    effective_on = account.day - timedelta(days=data.draw(st.sampled_from([0, 0, 3, 40]), "days late"))
    payment = Movement("new", "payment", data.draw(_amounts(loan.terms), "amount"), account.day, effective_on)
    account.apply(payment)
    left = account.accrued
    account.close()
    assume(account.charged_off_on == before["charged_off_on"])
    later = account.day + timedelta(days=data.draw(st.integers(1, 60), "days until the reversal"))
    account.begin(later)
    accrued_since = account.accrued - left
    account.apply(Movement("undo", "payment_reversal", payment.amount, later, later, "new"))

    after = _state(account)
    assert after["accrued"] == before["accrued"] + accrued_since
    posted_since = to_cents(after.pop("accrued")) - to_cents(before.pop("accrued"))
    assert after.pop("interest") == before.pop("interest") + posted_since
    after.pop("settled_on"), before.pop("settled_on")
    assert after == before
    assert account.oldest_due_on == oldest_due_on
