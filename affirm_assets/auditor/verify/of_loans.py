"""Identities of loans: what each owes, day by day, and what moved it."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.auditor.verify.identity import Day, identity, row_of
from affirm_assets.auditor.verify.rows import NO_DATE, Bools, Ints, Rows, columns, days_of, half_up, rounded, together
from affirm_assets.auditor.verify.tally import CENTS, COUNT, DAY, EXACT, Tally
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, FORGIVES, NO_PRODUCT, TAKES_OUT, ChargeOffCause

BALANCES = "servicing.loan_balances"
APPLICATIONS = "servicing.payment_applications"
LOANS = "loans.loans"
TRANSACTIONS = "transactions.transactions"
SUSPENSE = "transactions.suspense"
ADJUSTMENTS = "adjustments.adjustments"

_DAYS_KEPT_SETTLED = 180  # docs/money.md, "rows"
_CAUSES: tuple[str, ...] = ChargeOffCause.__args__  # type: ignore[attr-defined]

_ADDS_UP = {
    "principal": (
        ("opening_principal", "principal_lent", "principal_reversed"),
        ("principal_paid", "principal_refunded", "principal_charged_off", "principal_waived"),
    ),
    "interest": (
        ("opening_interest", "interest_accrued", "interest_reversed"),
        (
            "interest_given_back",
            "interest_paid",
            "interest_refunded",
            "interest_charged_off",
            "interest_waived",
        ),
    ),
    "credit": (
        ("opening_credit", "credit_overpaid", "credit_refunded"),
        ("credit_reversed", "credit_paid_out"),
    ),
}


def _adds_up(day: Day, tally: Tally, amount: str) -> None:
    rows = day[BALANCES]
    plus, minus = _ADDS_UP[amount]
    expected = sum((rows.number(each) for each in plus), _zeros(rows)) - sum(
        (rows.number(each) for each in minus), _zeros(rows)
    )
    tally.rows(row_of(day.day, rows, amount, "loan_id"), expected, rows.number(amount))


@identity(
    "opening + originations - paid + reversed - refunds - charge-offs - waived = closing principal, each loan and day",
    source="the ledger's identities; docs/money.md",
    reads={BALANCES: ("loan_id", "principal", *_ADDS_UP["principal"][0], *_ADDS_UP["principal"][1])},
)
def principal_adds_up(day: Day, tally: Tally) -> None:
    _adds_up(day, tally, "principal")


@identity(
    "opening + accrued - given back - paid + reversed - refunded - charged off - waived = closing interest",
    source="docs/money.md, accrual and payment",
    reads={BALANCES: ("loan_id", "interest", *_ADDS_UP["interest"][0], *_ADDS_UP["interest"][1])},
)
def interest_adds_up(day: Day, tally: Tally) -> None:
    _adds_up(day, tally, "interest")


@identity(
    "opening + overpaid + refunded - reversed - paid out = closing credit balance",
    source="12 CFR 1026.21",
    reads={BALANCES: ("loan_id", "credit", *_ADDS_UP["credit"][0], *_ADDS_UP["credit"][1])},
)
def credit_adds_up(day: Day, tally: Tally) -> None:
    _adds_up(day, tally, "credit")


_CARRIED: Mapping[str, int] = {
    "principal": CENTS,
    "interest": CENTS,
    "credit": CENTS,
    "accrued": EXACT,
    "paid": CENTS,
    "shortage": CENTS,
    "refunded": CENTS,
    "discount_returned": CENTS,
    "last_instalment": COUNT,
    "highest_days_past_due": COUNT,
    "charge_off_by": DAY,
    "reaged_on": DAY,
    "charged_off_on": DAY,
    "nonaccrual_since": DAY,
    "cost_recovered": CENTS,
    "deferred_discount": EXACT,
    "settled_on": DAY,
    "credit_since": DAY,
    "unapplied": CENTS,
}
_BY_MOVEMENT = {
    "charged_off_principal": "principal_charged_off",
    "charged_off_interest": "interest_charged_off",
    "recovered_principal": "recovery_principal",
    "recovered_interest": "recovery_interest",
    "waived_principal": "principal_waived",
    "waived_interest": "interest_waived",
}


@identity(
    "each loan opens as the day before closed, and none is lost or comes from nowhere",
    source="the ledger's identities",
    reads={
        BALANCES: (
            "loan_id",
            "booked_on",
            "opening_last_instalment",
            "charge_off_cause",
            "opening_charge_off_cause",
            *_CARRIED,
            *(f"opening_{name}" for name in _CARRIED),
            *_BY_MOVEMENT,
            *_BY_MOVEMENT.values(),
        )
    },
    carries=(BALANCES,),
)
def opens_as_closed(day: Day, tally: Tally) -> None:
    today, before = day[BALANCES], day.before.get(BALANCES)
    is_new = today.number("booked_on") == days_of(day.day)
    is_resumed = ~is_new & (today.number("opening_last_instalment") == 0)
    nothing = is_new | is_resumed
    for name, places in _CARRIED.items():
        opening = today.number(f"opening_{name}")
        none = np.full_like(opening, NO_DATE if places == DAY else 0)
        tally.rows(row_of(day.day, today, f"opening_{name}", "loan_id"), none, opening, places=places, only=nothing)
    for name, movement in _BY_MOVEMENT.items():
        named = row_of(day.day, today, name, "loan_id")
        tally.rows(named, today.number(movement), today.number(name), only=is_new)
    opened = _state(today.where(~nothing), "opening_")
    closed = _state(before.where(_goes_on(before, day.day)), "") if before is not None else opened.slice(0, 0)
    tally.tables(day.day, "loan", closed, opened, ["loan_id"], {"rows": COUNT, **_SHOWN})


_SHOWN = {**_CARRIED, **dict.fromkeys(_BY_MOVEMENT, CENTS), "charge_off_cause": COUNT}


def _goes_on(rows: Rows, day: date) -> Bools:
    """Of the day before: which have a row today."""
    settled, charged_off = rows.numbers("settled_on", "charged_off_on")
    goes_on: Bools = (charged_off != NO_DATE) | (settled == NO_DATE) | (days_of(day) - 1 < settled + _DAYS_KEPT_SETTLED)
    return goes_on


def _state(rows: Rows, prefix: str) -> pa.Table:
    moved = {
        name: rows.number(name) - (rows.number(movement) if prefix else 0) for name, movement in _BY_MOVEMENT.items()
    }
    cause = pc.index_in(rows.text(f"{prefix}charge_off_cause"), value_set=pa.array(_CAUSES)).fill_null(-1)
    numbers = {
        "rows": np.ones(len(rows), dtype=np.int64),
        **{name: rows.number(f"{prefix}{name}") for name in _CARRIED},
        **moved,
        "charge_off_cause": cause.cast(pa.int64()).to_numpy(),
    }
    return columns({"loan_id": rows.text("loan_id")}, numbers)


_STAYS: Mapping[str, int] = {
    "paid": CENTS,
    "shortage": CENTS,
    "refunded": CENTS,
    "discount_returned": CENTS,
    "last_instalment": COUNT,
    "charge_off_by": DAY,
    "reaged_on": DAY,
    "cost_recovered": CENTS,
    "unapplied": CENTS,
}


@identity(
    "a day on which nothing came for a loan changes what accrues, and nothing of what was paid, refunded or decided",
    source="docs/money.md, accrual",
    reads={
        BALANCES: (
            "loan_id",
            "apr",
            "opening_last_instalment",
            "principal_waived",
            "interest_waived",
            "opening_principal",
            "opening_accrued",
            "accrued",
            "opening_highest_days_past_due",
            "highest_days_past_due",
            "days_past_due",
            "charged_off_on",
            "opening_charged_off_on",
            "booked_on",
            *_STAYS,
            *(f"opening_{name}" for name in _STAYS),
        ),
        APPLICATIONS: ("loan_id",),
    },
)
def quiet_days_change_nothing(day: Day, tally: Tally) -> None:
    rows = day[BALANCES]
    came = pc.is_in(rows.text("loan_id"), value_set=day[APPLICATIONS].text("loan_id")).to_numpy(zero_copy_only=False)
    waived = rows.number("principal_waived") + rows.number("interest_waived")
    is_quiet = (
        ~came
        & (rows.number("opening_last_instalment") > 0)
        & (waived == 0)
        & (rows.number("charged_off_on") == rows.number("opening_charged_off_on"))
    )
    for name, places in _STAYS.items():
        named = row_of(day.day, rows, name, "loan_id")
        tally.rows(named, rows.number(f"opening_{name}"), rows.number(name), places=places, only=is_quiet)
    accrued = rows.number("opening_accrued") + half_up(rows.number("opening_principal") * rows.number("apr"), 36_500)
    named = row_of(day.day, rows, "accrued", "loan_id")
    tally.rows(named, accrued, rows.number("accrued"), places=EXACT, only=is_quiet)
    highest = np.maximum(rows.number("opening_highest_days_past_due"), rows.number("days_past_due"))
    named = row_of(day.day, rows, "highest_days_past_due", "loan_id")
    tally.rows(named, highest, rows.number("highest_days_past_due"), places=COUNT, only=is_quiet)


_TERMS = {
    "principal": CENTS,
    "merchant_discount": CENTS,
    "instalments": COUNT,
    "apr": 6,
    "originated_on": DAY,
    "first_due_on": DAY,
}


@identity(
    "each loan that is booked is lent once, for its principal and by its terms",
    source="the ledger's identities",
    reads={
        LOANS: ("loan_id", *_TERMS),
        BALANCES: ("loan_id", "booked_on", "principal_lent", "amount_lent", *(set(_TERMS) - {"principal"})),
    },
)
def lent_once(day: Day, tally: Tally) -> None:
    loans, balances = day[LOANS], day[BALANCES]
    new = balances.where(balances.number("booked_on") == days_of(day.day))
    lent = {"rows": COUNT, **_TERMS}
    booked = columns({"loan_id": loans.text("loan_id")}, {"rows": _ones(loans), **_numbers(loans, _TERMS)})
    found = {"rows": _ones(new), **_numbers(new, set(_TERMS) - {"principal"}), "principal": new.number("amount_lent")}
    tally.tables(day.day, "loan", booked, columns({"loan_id": new.text("loan_id")}, found), ["loan_id"], lent)
    expected = np.where(
        balances.number("booked_on") == days_of(day.day), balances.number("amount_lent"), _zeros(balances)
    )
    tally.rows(row_of(day.day, balances, "principal_lent", "loan_id"), expected, balances.number("principal_lent"))


@identity(
    "a day accrues opening principal x rate / 365, half up, and what was posted is the rounded total",
    source="12 CFR 1026, Supplement I, 17(c)(2)(i)-3; CFPB form H-25(B) rounds half a cent up",
    reads={
        BALANCES: (
            "loan_id",
            "as_of",
            "originated_on",
            "opening_last_instalment",
            "principal_lent",
            "opening_principal",
            "apr",
            "opening_accrued",
            "accrued",
            "interest_accrued",
            "interest_given_back",
        )
    },
)
def accrues(day: Day, tally: Tally) -> None:
    rows = day[BALANCES]
    principal, lent, apr = rows.numbers("opening_principal", "principal_lent", "apr")  # cents; percent with 6 places
    # cents x percent x 1e6 / 100 / 1e6 / 36500 dollars, in 8 places.
    a_day, a_day_before = half_up(principal * apr, 36_500), half_up(lent * apr, 36_500)
    opening = rows.number("opening_accrued")
    since = opening + a_day + a_day_before * (days_of(day.day) - rows.number("originated_on"))
    is_carried = (rows.number("opening_last_instalment") > 0) | (lent > 0)
    interest = rows.number("interest_accrued")
    named = row_of(day.day, rows, "interest_accrued", "loan_id")
    tally.rows(named, rounded(since, 6) - rounded(opening, 6), interest, only=is_carried)
    total = rounded(opening, 6) + interest - rows.number("interest_given_back")
    tally.rows(row_of(day.day, rows, "accrued", "loan_id"), total, rounded(rows.number("accrued"), 6), only=is_carried)


_BUCKETS = (("current", 0, 0), ("1-29", 1, 29), ("30-59", 30, 59), ("60-89", 60, 89), ("90-119", 90, 119))


@identity(
    "days past due run from the oldest unmet due date, say the bucket, and charge off at 120",
    source="FFIEC, Uniform Retail Credit Classification, 65 FR 36903",
    reads={
        BALANCES: (
            "loan_id",
            "status",
            "bucket",
            "oldest_due_on",
            "reaged_on",
            "days_past_due",
            "charged_off_on",
            "principal",
            "interest",
            "payoff_amount",
            "charged_off_principal",
            "charged_off_interest",
            "recovered_principal",
            "recovered_interest",
        )
    },
)
def is_as_late_as_its_due_date(day: Day, tally: Tally) -> None:
    rows = day[BALANCES]
    oldest, reaged, late, charged_off = rows.numbers("oldest_due_on", "reaged_on", "days_past_due", "charged_off_on")
    since = np.maximum(oldest, np.where(reaged == NO_DATE, oldest, reaged))
    is_open = rows.is_("status", "open")
    expected = np.where(is_open, np.maximum(days_of(day.day) - since, 0), 0)
    tally.rows(row_of(day.day, rows, "days_past_due", "loan_id"), expected, late, places=COUNT)
    tally.rows(row_of(day.day, rows, "days_past_due, at most", "loan_id"), np.minimum(late, 119), late, places=COUNT)
    bucket = np.full(len(rows), 5, dtype=np.int64)
    found = np.full(len(rows), -1, dtype=np.int64)
    for number, (name, first, last) in enumerate(_BUCKETS):
        bucket[(charged_off == NO_DATE) & (late >= first) & (late <= last)] = number
        found[rows.is_("bucket", name)] = number
    found[rows.is_("bucket", "charged_off")] = 5
    tally.rows(row_of(day.day, rows, "bucket, counted from 0,", "loan_id"), bucket, found, places=COUNT)
    owed = rows.number("principal") + rows.number("interest")
    status = np.where(charged_off != NO_DATE, 2, np.where(owed > 0, 0, 1))
    said = np.full(len(rows), -1, dtype=np.int64)
    for number, name in enumerate(("open", "repaid", "charged_off")):
        said[rows.is_("status", name)] = number
    tally.rows(row_of(day.day, rows, "status (0 open, 1 repaid, 2 charged off)", "loan_id"), status, said, places=COUNT)
    lost = (
        rows.number("charged_off_principal")
        + rows.number("charged_off_interest")
        - rows.number("recovered_principal")
        - rows.number("recovered_interest")
    )
    payoff = np.where(charged_off != NO_DATE, lost, owed)
    tally.rows(row_of(day.day, rows, "payoff_amount", "loan_id"), payoff, rows.number("payoff_amount"))


_PARTS = ("interest", "principal", "credit", "recovery_principal", "recovery_interest", "unapplied")


@identity(
    "the money of each transaction and adjustment goes somewhere: its parts add up to its amount",
    source="docs/money.md, payment",
    reads={APPLICATIONS: ("transaction_id", "kind", "amount", "exception", *_PARTS)},
)
def money_goes_somewhere(day: Day, tally: Tally) -> None:
    rows = day[APPLICATIONS]
    signed = signed_amount(rows)
    parts = sum((rows.number(name) for name in _PARTS), _zeros(rows))
    is_adjustment = rows.is_one_of("kind", ADJUSTMENT_KINDS)
    pays = rows.is_one_of("kind", FORGIVES) & rows.is_null("exception")
    expected = np.where(is_adjustment & ~pays, 0, signed)
    # What clears money that went out writes its amount off.
    writes_off = rows.is_("kind", "clear_unapplied") & (parts == signed)
    named = row_of(day.day, rows, "parts", "transaction_id")
    tally.rows(named, np.where(writes_off, parts, expected), parts)


@identity(
    "every accepted transaction on a loan and every adjustment is applied, once, for its amount",
    source="the ledger's identities: a posting, or a reason why it has none",
    reads={
        TRANSACTIONS: ("transaction_id", "product", "amount", "kind", "loan_id"),
        SUSPENSE: ("transaction_id", "amount", "taken_up_on", "kind", "loan_id"),
        ADJUSTMENTS: ("adjustment_id", "amount", "kind", "loan_id"),
        APPLICATIONS: ("transaction_id", "amount", "is_from_suspense", "kind", "loan_id"),
    },
)
def is_applied(day: Day, tally: Tally) -> None:
    transactions, suspense, adjustments = day[TRANSACTIONS], day[SUSPENSE], day[ADJUSTMENTS]
    direct = transactions.where(~transactions.is_("product", NO_PRODUCT))
    taken_up = suspense.where(~suspense.is_null("taken_up_on"))
    ids = pc.binary_join_element_wise("adjustment/", adjustments.text("adjustment_id"), "")
    came = together(
        [
            _came(direct.text("transaction_id"), direct, 0),
            _came(taken_up.text("transaction_id"), taken_up, 1),
            _came(ids, adjustments, 0),
        ]
    )
    found = day[APPLICATIONS]
    applied = columns(
        {name: found.text(name) for name in _APPLIED},
        {
            "rows": _ones(found),
            "amount": found.number("amount"),
            "is_from_suspense": found.number("is_from_suspense"),
        },
    )
    shown = {"rows": COUNT, "amount": CENTS, "is_from_suspense": COUNT}
    tally.tables(day.day, "transaction", came, applied, _APPLIED, shown)


_APPLIED = ("transaction_id", "kind", "loan_id")


def _came(ids: pa.Array, rows: Rows, is_from_suspense: int) -> pa.Table:
    keys = {"transaction_id": ids, "kind": rows.text("kind"), "loan_id": rows.text("loan_id")}
    numbers = {"rows": _ones(rows), "amount": rows.number("amount"), "is_from_suspense": _ones(rows) * is_from_suspense}
    return columns(keys, numbers)


_MOVED = {
    "interest": (("interest_paid", "interest_refunded"), ("interest_reversed",)),
    "principal": (("principal_paid", "principal_refunded"), ("principal_reversed",)),
    "credit": (("credit_overpaid", "credit_refunded"), ("credit_reversed", "credit_paid_out")),
    "recovery_principal": (("recovery_principal",), ()),
    "recovery_interest": (("recovery_interest",), ()),
    "unapplied": (("unapplied_moved",), ()),
    "interest_given_back": (("interest_given_back",), ()),
}


@identity(
    "the movements of each loan's balance are what its transactions and adjustments did",
    source="the ledger's identities",
    reads={
        BALANCES: ("loan_id", *(name for plus, minus in _MOVED.values() for name in (*plus, *minus))),
        APPLICATIONS: ("loan_id", *_MOVED),
    },
)
def movements_are_applied(day: Day, tally: Tally) -> None:
    balances, applications = day[BALANCES], day[APPLICATIONS]
    applied = columns({"loan_id": applications.text("loan_id")}, _numbers(applications, _MOVED))
    moved = {
        name: sum((balances.number(each) for each in plus), _zeros(balances))
        - sum((balances.number(each) for each in minus), _zeros(balances))
        for name, (plus, minus) in _MOVED.items()
    }
    of_balances = columns({"loan_id": balances.text("loan_id")}, moved)
    tally.tables(day.day, "loan", applied, of_balances, ["loan_id"], dict.fromkeys(_MOVED, CENTS))


def signed_amount(rows: Rows) -> Ints:
    """Negative where the lender pays it out or gives it back."""
    amount = rows.number("amount")
    return np.where(rows.is_one_of("kind", TAKES_OUT), -amount, amount)


def _numbers(rows: Rows, names: Mapping[str, object] | set[str]) -> dict[str, Ints]:
    return {name: rows.number(name) for name in names}


def _zeros(rows: Rows) -> Ints:
    return np.zeros(len(rows), dtype=np.int64)


def _ones(rows: Rows) -> Ints:
    return np.ones(len(rows), dtype=np.int64)
