"""Identities of what is made from the loans and transactions: reports, lists and schedules tie to what they sum up."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.auditor.verify.identity import Day, identity, row_of
from affirm_assets.auditor.verify.of_loans import APPLICATIONS, BALANCES, LOANS, SUSPENSE, TRANSACTIONS, signed_amount
from affirm_assets.auditor.verify.rows import NO_DATE, Ints, Rows, columns, rounded
from affirm_assets.auditor.verify.tally import CENTS, COUNT, DAY, EXACT, Tally
from affirm_assets.lender.vocabulary import CASH_KINDS, NO_PRODUCT, TAKES_OUT

SCHEDULES = "loans.loan_schedules"
BORROWERS = "loans.borrowers"
CHARGE_OFFS = "servicing.charge_offs"
UNAPPLIED = "servicing.unapplied"
PORTFOLIO = "portfolio.portfolio_daily"
ORIGINATIONS = "portfolio.originations_daily"
CASH = "portfolio.cash_daily"

_INSTALMENT = ("payment", "interest", "principal", "balance")


@identity(
    "each loan has a schedule that repays its principal, payment by payment, and leaves nothing",
    source="CFPB form H-25(B): payment = interest + principal",
    reads={SCHEDULES: ("loan_id", "number", "due_on", *_INSTALMENT), LOANS: ("loan_id", "principal", "first_due_on")},
)
def schedules_repay(day: Day, tally: Tally) -> None:
    rows, loans = day[SCHEDULES], day[LOANS]
    payment, interest, principal, balance = rows.numbers(*_INSTALMENT)
    tally.rows(row_of(day.day, rows, "payment", "loan_id", "number"), interest + principal, payment)
    key, number = rows.text("loan_id"), rows.number("number")
    is_first = number == 1
    lent, ones = loans.number("principal"), np.ones(len(loans), dtype=np.int64)
    first = {"first": ones, "principal": lent, "first_due_on": loans.number("first_due_on"), "left": lent}
    expected = columns({"loan_id": loans.text("loan_id")}, first)
    # Each leaves what the one before it left, less its principal: so balances + principals telescope to the loan's.
    before = np.where(is_first, balance + principal, 0)
    found = {
        "first": is_first.astype(np.int64),
        "principal": principal,
        "first_due_on": np.where(is_first, rows.number("due_on"), 0),
        "left": before,
    }
    tally.tables(
        day.day,
        "schedule of loan",
        expected,
        columns({"loan_id": key}, found),
        ["loan_id"],
        {"first": COUNT, "principal": CENTS, "first_due_on": DAY, "left": CENTS},
    )
    _balances_follow(day, rows, tally)


def _balances_follow(day: Day, rows: Rows, tally: Tally) -> None:
    order = pc.sort_indices(rows.table, sort_keys=[("loan_id", "ascending"), ("number", "ascending")])
    ordered = Rows(rows.table.take(order))
    number, principal, balance = ordered.numbers("number", "principal", "balance")
    if len(number) > 1:
        follows = number[1:] > 1
        left = balance[:-1] - principal[1:]
        named = row_of(day.day, Rows(ordered.table.slice(1)), "balance", "loan_id", "number")
        tally.rows(named, left, balance[1:], only=follows)
        tally.rows(
            row_of(day.day, Rows(ordered.table.slice(1)), "number", "loan_id", "number"),
            np.where(follows, number[:-1] + 1, 1),
            number[1:],
            places=COUNT,
        )
    # The last of each loan leaves nothing.
    is_last = np.append(number[1:] == 1, True)[: len(number)]
    tally.rows(
        row_of(day.day, ordered, "balance after the last", "loan_id", "number"),
        np.zeros_like(balance),
        balance,
        only=is_last,
    )


@identity(
    "the borrowers of a day are the users of its loans",
    source="every accepted row is accounted for",
    reads={LOANS: ("loan_id", "user_id"), BORROWERS: ("user_id",)},
)
def borrowers_are_of_loans(day: Day, tally: Tally) -> None:
    users, found = pc.unique(day[LOANS].text("user_id")), day[BORROWERS].text("user_id")
    expected, borrowers = (
        columns({"user_id": each}, {"rows": np.ones(len(each), dtype=np.int64)}) for each in (users, found)
    )
    tally.tables(day.day, "user", expected, borrowers, ["user_id"], {"rows": COUNT})


_LOSS = {
    "principal": "charged_off_principal",
    "interest_reversed": "charged_off_interest",
    "principal_recovered": "recovered_principal",
    "interest_recovered": "recovered_interest",
}


@identity(
    "the charged-off loans are those of the balances, and principal - recovered - unearned = net loss",
    source="ASC 326-20-35-8; FFIEC, 65 FR 36903",
    reads={
        CHARGE_OFFS: ("loan_id", "charged_off_on", *_LOSS, "unearned", "net_loss"),
        BALANCES: ("loan_id", "charged_off_on", *_LOSS.values(), "deferred_discount", "cost_recovered"),
    },
)
def charge_offs_are_the_loans(day: Day, tally: Tally) -> None:
    rows, balances = day[CHARGE_OFFS], day[BALANCES]
    principal, recovered, unearned, loss = rows.numbers("principal", "principal_recovered", "unearned", "net_loss")
    tally.rows(row_of(day.day, rows, "net_loss", "loan_id"), principal - recovered - unearned, loss)
    lost = balances.where(balances.number("charged_off_on") != NO_DATE)
    names = {"rows": COUNT, "charged_off_on": DAY, **dict.fromkeys(_LOSS, CENTS), "unearned": CENTS}
    expected = {
        "rows": np.ones(len(lost), dtype=np.int64),
        "charged_off_on": lost.number("charged_off_on"),
        **{name: lost.number(of) for name, of in _LOSS.items()},
        "unearned": rounded(lost.number("deferred_discount"), 6) + lost.number("cost_recovered"),
    }
    found = {
        "rows": np.ones(len(rows), dtype=np.int64),
        **{name: rows.number(name) for name in names if name != "rows"},
    }
    sides = columns({"loan_id": lost.text("loan_id")}, expected), columns({"loan_id": rows.text("loan_id")}, found)
    tally.tables(day.day, "loan", *sides, ["loan_id"], names)


@identity(
    "unapplied money: opening + what could not be applied = closing, each opens as it closed",
    source="the ledger's identities",
    reads={
        UNAPPLIED: ("transaction_id", "loan_id", "opening", "moved", "closing"),
        APPLICATIONS: ("transaction_id", "loan_id", "unapplied"),
    },
    carries=(UNAPPLIED,),
)
def unapplied_adds_up(day: Day, tally: Tally) -> None:
    rows, applied = day[UNAPPLIED], day[APPLICATIONS]
    opening, moved, closing = rows.numbers("opening", "moved", "closing")
    tally.rows(row_of(day.day, rows, "closing", "transaction_id"), opening + moved, closing)
    of_loans = columns({"loan_id": applied.text("loan_id")}, {"moved": applied.number("unapplied")})
    tally.tables(
        day.day,
        "loan",
        of_loans,
        columns({"loan_id": rows.text("loan_id")}, {"moved": moved}),
        ["loan_id"],
        {"moved": CENTS},
    )
    _opens(day, UNAPPLIED, tally)


@identity(
    "cash in suspense: what waits for its loan, each opens as it closed, and is taken up when the loan is booked",
    source="the ledger's identities",
    reads={
        SUSPENSE: ("transaction_id", "loan_id", "kind", "amount", "waiting_since", "taken_up_on", "opening", "closing"),
        TRANSACTIONS: ("transaction_id", "loan_id", "kind", "amount", "product"),
        LOANS: ("loan_id",),
    },
    carries=(SUSPENSE,),
)
def suspense_adds_up(day: Day, tally: Tally) -> None:
    rows, transactions = day[SUSPENSE], day[TRANSACTIONS]
    opening, closing = rows.numbers("opening", "closing")
    signed = signed_amount(rows)
    is_new = opening == 0
    is_taken = ~rows.is_null("taken_up_on")
    tally.rows(row_of(day.day, rows, "closing", "transaction_id"), np.where(is_taken, 0, signed), closing)
    waits = transactions.where(transactions.is_("product", NO_PRODUCT) & ~transactions.is_null("loan_id"))
    came = columns({"id": waits.text("transaction_id")}, {"came": signed_amount(waits)})
    new = rows.where(is_new)
    tally.tables(
        day.day,
        "transaction",
        came,
        columns({"id": new.text("transaction_id")}, {"came": signed_amount(new)}),
        ["id"],
        {"came": CENTS},
    )
    booked = pc.is_in(rows.text("loan_id"), value_set=day[LOANS].text("loan_id")).to_numpy(zero_copy_only=False)
    tally.rows(
        row_of(day.day, rows, "is taken up", "transaction_id"),
        booked.astype(np.int64),
        is_taken.astype(np.int64),
        places=COUNT,
    )
    _opens(day, SUSPENSE, tally)


def _opens(day: Day, table: str, tally: Tally) -> None:
    rows, before = day[table], day.before.get(table)
    opened = columns({"id": rows.text("transaction_id")}, {"opening": rows.number("opening")})
    closed = opened.slice(0, 0)
    if before is not None:
        closed = columns({"id": before.text("transaction_id")}, {"opening": before.number("closing")})
    tally.tables(day.day, "transaction", closed, opened, ["id"], {"opening": CENTS})


@identity(
    "originations of a day are its loans: count, principal, principal x rate",
    source="reports tie to what they sum up",
    reads={
        ORIGINATIONS: ("product", "borrower_state", "loans", "principal", "principal_times_apr", "apr"),
        LOANS: ("loan_id", "product", "borrower_state", "principal", "apr"),
    },
)
def originations_are_the_loans(day: Day, tally: Tally) -> None:
    rows, loans = day[ORIGINATIONS], day[LOANS]
    by = ("product", "borrower_state")
    principal = loans.number("principal")
    # Cents x percent with 6 places: 8 places of dollars x percent.
    expected = {
        "loans": np.ones_like(principal),
        "principal": principal,
        "principal_times_apr": principal * loans.number("apr"),
    }
    found = {name: rows.number(name) for name in expected}
    sides = (
        columns({name: loans.text(name) for name in by}, expected),
        columns({name: rows.text(name) for name in by}, found),
    )
    tally.tables(
        day.day, "originations of", *sides, list(by), {"loans": COUNT, "principal": CENTS, "principal_times_apr": EXACT}
    )
    weighted = np.array(
        [_weighted(int(a), int(b)) for a, b in zip(found["principal_times_apr"], found["principal"], strict=True)],
        dtype=np.int64,
    )
    tally.rows(row_of(day.day, rows, "apr", *by), weighted, rows.number("apr"), places=6)


def _weighted(principal_times_apr: int, principal: int) -> int:
    return (2 * principal_times_apr + principal) // (2 * principal) if principal > 0 else 0


@identity(
    "cash of a day is its transactions: count, received, paid out",
    source="reports tie to what they sum up",
    reads={
        CASH: ("product", "kind", "transactions", "received", "paid_out"),
        TRANSACTIONS: ("transaction_id", "product", "kind", "amount"),
    },
)
def cash_is_the_transactions(day: Day, tally: Tally) -> None:
    rows, transactions = day[CASH], day[TRANSACTIONS]
    moved = transactions.where(transactions.is_one_of("kind", CASH_KINDS))
    amount, goes_out = moved.number("amount"), moved.is_one_of("kind", TAKES_OUT)
    expected = {
        "transactions": np.ones_like(amount),
        "received": np.where(goes_out, 0, amount),
        "paid_out": np.where(goes_out, amount, 0),
    }
    found = {name: rows.number(name) for name in expected}
    by = ("product", "kind")
    of_moved, of_rows = (
        columns({name: side.text(name) for name in by}, made) for side, made in ((moved, expected), (rows, found))
    )
    tally.tables(
        day.day, "cash of", of_moved, of_rows, list(by), {"transactions": COUNT, "received": CENTS, "paid_out": CENTS}
    )


_SAME = (
    "principal",
    "interest",
    "credit",
    "principal_lent",
    "principal_refunded",
    "principal_charged_off",
    "principal_waived",
    "interest_accrued",
    "interest_refunded",
    "interest_given_back",
    "interest_charged_off",
    "interest_waived",
    "recovery_principal",
    "recovery_interest",
    "charged_off_principal",
    "recovered_principal",
    "amount_past_due",
)
_LATE = ("1-29", "30-59", "60-89", "90-119")
_PORTFOLIO = {
    **dict.fromkeys(("loans", "open_loans", "repaid_loans", "charged_off_loans"), COUNT),
    **{f"loans_{each.replace('-', '_')}": COUNT for each in _LATE},
    **dict.fromkeys(_SAME, CENTS),
    **dict.fromkeys(("principal_paid", "interest_paid"), CENTS),
    **{f"principal_{each.replace('-', '_')}": CENTS for each in ("current", *_LATE)},
}


@identity(
    "the portfolio of a day, product and month of origination is its loans: each of its figures",
    source="the ledger's identities: every product; Affirm's filings for the buckets",
    reads={
        PORTFOLIO: ("product", "vintage", *_PORTFOLIO),
        BALANCES: (
            "loan_id",
            "product",
            "originated_on",
            "status",
            "bucket",
            *_SAME,
            "principal_paid",
            "principal_reversed",
            "interest_paid",
            "interest_reversed",
        ),
    },
)
def portfolio_is_the_loans(day: Day, tally: Tally) -> None:
    rows, balances = day[PORTFOLIO], day[BALANCES]
    principal = balances.number("principal")
    expected: dict[str, Ints] = {"loans": np.ones_like(principal), **{name: balances.number(name) for name in _SAME}}
    for name in ("principal", "interest"):
        expected[f"{name}_paid"] = balances.number(f"{name}_paid") - balances.number(f"{name}_reversed")
    for status in ("open", "repaid", "charged_off"):
        expected[f"{status}_loans"] = balances.is_("status", status).astype(np.int64)
    for bucket in ("current", *_LATE):
        is_in, name = balances.is_("bucket", bucket), bucket.replace("-", "_")
        expected[f"principal_{name}"] = np.where(is_in, principal, 0)
        if bucket in _LATE:
            expected[f"loans_{name}"] = is_in.astype(np.int64)
    months = pc.strftime(
        pc.floor_temporal(balances.table["originated_on"].cast(pa.timestamp("s")), unit="month"), "%Y-%m-%d"
    )
    keys = {"product": balances.text("product"), "vintage": months.combine_chunks()}
    found = {name: rows.number(name) for name in _PORTFOLIO}
    of_rows = columns({name: rows.text(name) for name in ("product", "vintage")}, found)
    tally.tables(day.day, "portfolio of", columns(keys, expected), of_rows, ["product", "vintage"], _PORTFOLIO)
