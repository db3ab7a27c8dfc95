"""Identities of the ledger: its postings, its trial balance, and its ties to the loans, the cash and the allowance."""

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.auditor.verify.identity import Day, identity, row_of
from affirm_assets.auditor.verify.of_loans import (
    ADJUSTMENTS,
    APPLICATIONS,
    BALANCES,
    LOANS,
    SUSPENSE,
    TRANSACTIONS,
    signed_amount,
)
from affirm_assets.auditor.verify.rows import NO_DATE, Ints, Rows, columns, rounded, summed, total
from affirm_assets.auditor.verify.tally import CENTS, COUNT, Tally
from affirm_assets.lender.vocabulary import (
    ADJUSTMENT_KINDS,
    FORGIVES,
    LEDGER_ACCOUNTS,
    MERCHANT_KINDS,
    REFUND_KINDS,
)

ENTRIES = "ledger.ledger_entries"
TRIAL_BALANCE = "ledger.trial_balance"
PROVISIONS = "ledger.provisions"
JOURNAL = "ledger.journal"

_ENTRY = ("posting_id", "entry", "account", "debit", "credit")


@identity(
    "every posting balances to zero, and each entry is a debit or a credit",
    source="the ledger's identities",
    reads={ENTRIES: (*_ENTRY, "kind", "loan_id", "transaction_id", "product")},
)
def postings_balance(day: Day, tally: Tally) -> None:
    rows = day[ENTRIES]
    debit, credit = rows.numbers("debit", "credit")
    sides = (debit > 0).astype(np.int64) + (credit > 0) + 2 * ((debit < 0) | (credit < 0))
    tally.rows(row_of(day.day, rows, "sides of the entry", "posting_id", "entry"), np.ones_like(sides), sides, places=0)
    keys = {"posting_id": rows.text("posting_id")}
    debits, credits = (columns(keys, {"sum": each}) for each in (debit, credit))
    tally.tables(day.day, "posting, debits and credits,", debits, credits, ["posting_id"], {"sum": CENTS})
    _are_of_one_posting(day, rows, tally)


def _are_of_one_posting(day: Day, rows: Rows, tally: Tally) -> None:
    """The entries of a posting are counted from 1, and of one loan, transaction and product; its kind is in its id."""
    if not len(rows):
        return
    ids = rows.text("posting_id")
    kinds = pc.list_element(pc.split_pattern(ids, "/", max_splits=1), 0)
    is_named = pc.equal(kinds, rows.text("kind")).to_numpy(zero_copy_only=False).astype(np.int64)
    named = row_of(day.day, rows, "is named by its kind", "posting_id", "entry")
    tally.rows(named, np.ones_like(is_named), is_named, places=COUNT)
    of_one = ("kind", "loan_id", "transaction_id", "product")
    distinct = [(name, "count_distinct", pc.CountOptions(mode="all")) for name in of_one]
    found = pa.table({"posting_id": ids, "entry": rows.number("entry"), **{name: rows.text(name) for name in of_one}})
    grouped = found.group_by(["posting_id"], use_threads=False).aggregate(
        [("entry", "sum"), ("entry", "count"), *distinct]
    )
    postings, count = Rows(grouped), grouped["entry_count"].to_numpy()
    total_of_entries = grouped["entry_sum"].to_numpy()
    named = row_of(day.day, postings, "sum of the numbers of its entries", "posting_id")
    tally.rows(named, count * (count + 1) // 2, total_of_entries, places=COUNT)
    for name in of_one:
        each = grouped[f"{name}_count_distinct"].to_numpy()
        tally.rows(row_of(day.day, postings, f"different {name}", "posting_id"), np.ones_like(each), each, places=COUNT)


_OF_LOAN = {"principal_receivable": 1, "interest_receivable": 1, "credit_balances": -1}


@identity(
    "what the ledger posts to a loan's receivables is what moved its balance, each loan and day",
    source="the ledger's identities",
    reads={
        ENTRIES: (*_ENTRY, "loan_id"),
        BALANCES: (
            "loan_id",
            "principal",
            "opening_principal",
            "interest",
            "opening_interest",
            "credit",
            "opening_credit",
        ),
    },
)
def loans_are_posted(day: Day, tally: Tally) -> None:
    rows, balances = day[ENTRIES], day[BALANCES]
    rows = rows.where(rows.is_one_of("account", _OF_LOAN))
    net = rows.number("debit") - rows.number("credit")
    posted = {account: np.where(rows.is_("account", account), net * sign, 0) for account, sign in _OF_LOAN.items()}
    moved = {
        account: balances.number(name) - balances.number(f"opening_{name}")
        for account, name in zip(_OF_LOAN, ("principal", "interest", "credit"), strict=True)
    }
    expected = columns({"loan_id": balances.text("loan_id")}, moved)
    found = columns({"loan_id": rows.text("loan_id").fill_null("none")}, posted)
    tally.tables(day.day, "loan", expected, found, ["loan_id"], dict.fromkeys(_OF_LOAN, CENTS))


@identity(
    "every accepted transaction moves its amount of cash, or of what merchants are owed; nothing else moves cash",
    source="the ledger's identities: every accepted row has a posting",
    reads={
        ENTRIES: (*_ENTRY, "transaction_id"),
        TRANSACTIONS: ("transaction_id", "kind", "amount"),
    },
)
def transactions_are_posted(day: Day, tally: Tally) -> None:
    entries, rows = day[ENTRIES], day[TRANSACTIONS]
    kept = entries.is_("account", "cash") | (
        entries.is_one_of("account", ("merchant_payable", "merchant_discount_income"))
        & ~entries.is_null("transaction_id")
    )
    entries = entries.where(kept)
    net, is_cash = entries.number("debit") - entries.number("credit"), entries.is_("account", "cash")
    found = columns(
        {"transaction_id": entries.text("transaction_id").fill_null("none")},
        {"cash": np.where(is_cash, net, 0), "merchants": np.where(is_cash, 0, net)},
    )
    expected = columns(
        {"transaction_id": rows.text("transaction_id")}, {"cash": _cash(rows), "merchants": _owed_less(rows)}
    )
    tally.tables(day.day, "transaction", expected, found, ["transaction_id"], {"cash": CENTS, "merchants": CENTS})


@identity(
    "every loan that is booked and every adjustment has its posting, or the reason why it has none",
    source="the ledger's identities: every accepted row has a posting",
    reads={
        ENTRIES: (*_ENTRY, "kind", "transaction_id", "loan_id"),
        LOANS: ("loan_id", "principal"),
        APPLICATIONS: ("transaction_id", "kind", "amount", "exception", "unapplied"),
        ADJUSTMENTS: ("adjustment_id",),
    },
)
def sources_are_posted(day: Day, tally: Tally) -> None:
    entries, loans, applied = day[ENTRIES], day[LOANS], day[APPLICATIONS]
    lent = entries.where(entries.is_("kind", "origination") & entries.is_("account", "principal_receivable"))
    tally.tables(
        day.day,
        "loan",
        columns({"loan_id": loans.text("loan_id")}, {"lent": loans.number("principal")}),
        columns(
            {"loan_id": lent.text("loan_id").fill_null("none")}, {"lent": lent.number("debit") - lent.number("credit")}
        ),
        ["loan_id"],
        {"lent": CENTS},
    )
    # An adjustment that forgives is paid for by an expense; any other, or an exception, is its reason for no posting.
    forgives = applied.where(applied.is_one_of("kind", FORGIVES) & applied.is_null("exception"))
    expenses = entries.where(
        entries.is_one_of("kind", FORGIVES)
        & entries.is_one_of("account", ("waiver_expense", "goodwill_expense", "correction_expense"))
    )
    tally.tables(
        day.day,
        "adjustment",
        columns({"id": forgives.text("transaction_id")}, {"paid_for": forgives.number("amount")}),
        columns(
            {"id": expenses.text("transaction_id").fill_null("none")},
            {"paid_for": expenses.number("debit") - expenses.number("credit")},
        ),
        ["id"],
        {"paid_for": CENTS},
    )


_BALANCE = ("account", "opening", "debits", "credits", "closing", "moved_opening", "moved_closing")


@identity(
    "the trial balance: opening + debits - credits = closing, each account opens as it closed, all add up to zero",
    source="the ledger's identities",
    reads={TRIAL_BALANCE: _BALANCE, ENTRIES: _ENTRY},
    carries=(TRIAL_BALANCE,),
)
def trial_balance(day: Day, tally: Tally) -> None:
    rows, entries, before = day[TRIAL_BALANCE], day[ENTRIES], day.before.get(TRIAL_BALANCE)
    opening, debits, credits, closing = rows.numbers("opening", "debits", "credits", "closing")
    tally.rows(row_of(day.day, rows, "closing", "account"), opening + debits - credits, closing)
    named = row_of(day.day, rows, "moved_closing", "account")
    # Of the discount, what is deferred is told apart: below, the account is all discounts less that.
    is_moved = ~rows.is_null("moved_closing") & ~rows.is_("account", "merchant_discount_income")
    tally.rows(named, closing, rows.number("moved_closing"), only=is_moved)
    tally.amount(f"{day.day} sum of all openings", 0, total(opening))
    tally.amount(f"{day.day} sum of all closings", 0, total(closing))
    by_account = {"account": rows.text("account")}
    posted = columns(
        {"account": entries.text("account")}, {"debits": entries.number("debit"), "credits": entries.number("credit")}
    )
    sums = columns(by_account, {"debits": debits, "credits": credits})
    tally.tables(day.day, "account", posted, sums, ["account"], {"debits": CENTS, "credits": CENTS})
    every = columns({"account": pa.array(LEDGER_ACCOUNTS)}, {"rows": np.ones(len(LEDGER_ACCOUNTS), dtype=np.int64)})
    tally.tables(
        day.day, "account", every, columns(by_account, {"rows": np.ones_like(opening)}), ["account"], {"rows": COUNT}
    )
    opened = columns(by_account, {"opening": opening, "moved_opening": rows.number("moved_opening")})
    closed = opened.slice(0, 0)
    if before is not None:
        left = {"opening": before.number("closing"), "moved_opening": before.number("moved_closing")}
        closed = columns({"account": before.text("account")}, left)
    tally.tables(day.day, "account", closed, opened, ["account"], {"opening": CENTS, "moved_opening": CENTS})


@identity(
    "the receivable accounts are the sum of the loans' balances; credit, deferred and unrecognized income too",
    source="the ledger's identities",
    reads={
        TRIAL_BALANCE: _BALANCE,
        BALANCES: (
            "loan_id",
            "principal",
            "interest",
            "credit",
            "deferred_discount",
            "charged_off_on",
            "nonaccrual_since",
            "cost_recovered",
        ),
    },
)
def receivables_are_the_loans(day: Day, tally: Tally) -> None:
    rows, closing = day[BALANCES], _closing(day[TRIAL_BALANCE])
    is_open = rows.number("charged_off_on") == NO_DATE
    unpaid = np.where(rows.number("nonaccrual_since") == NO_DATE, 0, rows.number("interest"))
    sums = {
        "principal_receivable": total(rows.number("principal")),
        "interest_receivable": total(rows.number("interest")),
        "credit_balances": -total(rows.number("credit")),
        "deferred_merchant_discount": -total(np.where(is_open, rounded(rows.number("deferred_discount"), 6), 0)),
        "unrecognized_interest": -total(np.where(is_open, rows.number("cost_recovered") + unpaid, 0)),
    }
    for account, expected in sums.items():
        tally.amount(f"{day.day} {account}", expected, closing[account])


@identity(
    "cash, suspense, unapplied, merchants, allowance, expenses: the account is all that moved it since the first day",
    source="the ledger's identities",
    reads={
        TRIAL_BALANCE: _BALANCE,
        TRANSACTIONS: ("transaction_id", "kind", "amount"),
        SUSPENSE: ("transaction_id", "closing"),
        LOANS: ("loan_id", "principal", "merchant_discount"),
        APPLICATIONS: (
            "transaction_id",
            "kind",
            "discount_returned",
            "unapplied",
            "interest",
            "principal",
            "credit",
            "recovery_principal",
            "recovery_interest",
        ),
        PROVISIONS: ("product", "closing", "provision"),
        BALANCES: ("loan_id", "principal_waived", "deferred_discount"),
    },
)
def accounts_are_what_moved_them(day: Day, tally: Tally) -> None:
    closing, moved = _closing(day[TRIAL_BALANCE]), _moved(day)
    for account, amount in moved.items():
        tally.totals[account] = tally.totals.get(account, 0) + amount
    deferred = total(rounded(day[BALANCES].number("deferred_discount"), 6))
    discounts = total(day[APPLICATIONS].number("discount_returned")) - total(day[LOANS].number("merchant_discount"))
    tally.totals["discounts"] = tally.totals.get("discounts", 0) + discounts
    balances = {
        "merchant_discount_income": tally.totals["discounts"] + deferred,
        "suspense": -total(day[SUSPENSE].number("closing")),
        "allowance": -total(day[PROVISIONS].number("closing")),
    }
    for account, expected in {**{name: tally.totals[name] for name in moved}, **balances}.items():
        tally.amount(f"{day.day} {account}", expected, closing[account])


def _moved(day: Day) -> Mapping[str, int]:
    """By what a day moves these accounts, by the rows of what is no ledger; a debit is positive."""
    transactions, loans, applied = day[TRANSACTIONS], day[LOANS], day[APPLICATIONS]
    parts = sum(
        (
            applied.number(name)
            for name in ("interest", "principal", "credit", "recovery_principal", "recovery_interest", "unapplied")
        ),
        np.zeros(len(applied), dtype=np.int64),
    )
    of_kind = {kind: total(np.where(applied.is_("kind", kind), parts, 0)) for kind in ADJUSTMENT_KINDS}
    return {
        "cash": total(_cash(transactions)),
        "merchant_payable": total(loans.number("merchant_discount"))
        - total(loans.number("principal"))
        + total(_owed_less(transactions))
        - total(applied.number("discount_returned")),
        "unapplied": -total(applied.number("unapplied")),
        "provision_expense": total(day[PROVISIONS].number("provision")),
        "waiver_expense": total(day[BALANCES].number("principal_waived")) + of_kind["waiver"],
        "goodwill_expense": of_kind["goodwill_credit"],
        "correction_expense": of_kind["correction"] + of_kind["clear_unapplied"],
    }


_LINE = ("account", "debit", "credit", "entries")


@identity(
    "the journal of a day balances, is the ledger's entries by account, and has the id of its lines",
    source="the ledger's identities; docs/money.md, journal",
    reads={JOURNAL: ("journal_id", "line", *_LINE), ENTRIES: _ENTRY},
)
def journal(day: Day, tally: Tally) -> None:
    rows, entries = day[JOURNAL], day[ENTRIES]
    debit, credit, number = rows.numbers("debit", "credit", "line")
    tally.amount(f"{day.day} journal, debits and credits", total(debit), total(credit))
    amounts = {"debit": CENTS, "credit": CENTS, "entries": COUNT}
    debited, credited = entries.numbers("debit", "credit")
    posted = {"debit": debited, "credit": credited, "entries": np.ones_like(debited)}
    lines = columns({"account": rows.text("account")}, {name: rows.number(name) for name in amounts})
    tally.tables(day.day, "line of", columns({"account": entries.text("account")}, posted), lines, ["account"], amounts)
    in_order = rows.table.select(_LINE).sort_by("account").to_pylist()
    text = "".join(" ".join(str(each[name]) for name in _LINE) + "\n" for each in in_order)
    expected = f"{day.day}-{sha256(text.encode()).hexdigest()[:16]}"
    for found in rows.text("journal_id").unique().to_pylist():
        tally.same(f"{day.day} journal_id", expected, found)
    place = {each["account"]: index for index, each in enumerate(in_order, 1)}
    places = np.array([place[each] for each in rows.text("account").to_pylist()], dtype=np.int64)
    tally.rows(row_of(day.day, rows, "line", "account"), places, number, places=COUNT)


_MOVES_ALLOWANCE = ("opening", "charged_off", "unearned", "recovered", "provision", "closing")
_COSTS = ("current", "1_29", "30_59", "60_89", "90_119")


@identity(
    "the allowance: opening - charged off + unearned + recovered + provision = closing, by the loans' charge-offs",
    source="ASC 326-20-35-1, 326-20-35-8",
    reads={
        PROVISIONS: (
            "product",
            *_MOVES_ALLOWANCE,
            *(f"{what}_{each}" for each in _COSTS for what in ("cost", "rate", "expected")),
            "expected",
        ),
        BALANCES: (
            "loan_id",
            "product",
            "bucket",
            "principal",
            "principal_charged_off",
            "recovery_principal",
            "deferred_discount",
            "opening_deferred_discount",
            "cost_recovered",
            "opening_cost_recovered",
            "charged_off_on",
            "opening_charged_off_on",
        ),
    },
    carries=(PROVISIONS,),
)
def allowance(day: Day, tally: Tally) -> None:
    rows, balances, before = day[PROVISIONS], day[BALANCES], day.before.get(PROVISIONS)
    opening, charged_off, unearned, recovered, provision, closing = rows.numbers(*_MOVES_ALLOWANCE)
    expected = opening - charged_off + unearned + recovered + provision
    tally.rows(row_of(day.day, rows, "closing", "product"), expected, closing)
    closed = columns({"product": (before or rows).text("product")}, {"opening": (before or rows).number("closing")})
    opened = columns({"product": rows.text("product")}, {"opening": opening})
    tally.tables(day.day, "product", closed if before else closed.slice(0, 0), opened, ["product"], {"opening": CENTS})
    is_lost, was_lost = (balances.number(f"{when}charged_off_on") != NO_DATE for when in ("", "opening_"))
    never_income = {
        when: rounded(balances.number(f"{when}deferred_discount"), 6) + balances.number(f"{when}cost_recovered")
        for when in ("", "opening_")
    }
    cost = balances.number("principal") - np.where(is_lost, 0, never_income[""])
    buckets = {f"cost_{each}": np.where(balances.is_("bucket", each.replace("_", "-")), cost, 0) for each in _COSTS}
    moved = {
        "charged_off": balances.number("principal_charged_off"),
        "unearned": np.where(is_lost, never_income[""], 0) - np.where(was_lost, never_income["opening_"], 0),
        "recovered": balances.number("recovery_principal"),
        **buckets,
    }
    of_rows = {
        "charged_off": charged_off,
        "unearned": unearned,
        "recovered": recovered,
        **{name: rows.number(name) for name in buckets},
    }
    of_loans = columns({"product": balances.text("product")}, moved)
    tally.tables(
        day.day,
        "product",
        of_loans,
        columns({"product": rows.text("product")}, of_rows),
        ["product"],
        dict.fromkeys(moved, CENTS),
    )
    _expected_losses(day, rows, tally)


def _expected_losses(day: Day, rows: Rows, tally: Tally) -> None:
    """Cost x rate, half up, in each bucket; the last day of a month closes with their sum."""
    parts: Counter[str] = Counter()
    expected = np.zeros(len(rows), dtype=np.int64)
    for each in _COSTS:
        cost, rate, loss = rows.numbers(f"cost_{each}", f"rate_{each}", f"expected_{each}")
        parts[each] += len(rows)
        tally.rows(row_of(day.day, rows, f"expected_{each}", "product"), rounded(cost * rate, 8), loss)
        expected += loss
    tally.rows(row_of(day.day, rows, "expected", "product"), expected, rows.number("expected"))
    is_last = np.full(len(rows), _is_last_of_month(day))
    tally.rows(
        row_of(day.day, rows, "closing at the month's end", "product"), expected, rows.number("closing"), only=is_last
    )
    tally.rows(
        row_of(day.day, rows, "provision", "product"), np.zeros_like(expected), rows.number("provision"), only=~is_last
    )


def _is_last_of_month(day: Day) -> bool:
    return (np.datetime64(day.day) + np.timedelta64(1, "D")).item().day == 1


def _closing(rows: Rows) -> Counter[str]:
    closing = columns({"account": rows.text("account")}, {"closing": rows.number("closing")})
    by_account = summed(closing, ["account"], ["closing"])
    return Counter(dict(zip(by_account["account"].to_pylist(), by_account["closing"].to_pylist(), strict=True)))


def _cash(rows: Rows) -> Ints:
    return np.where(rows.is_one_of("kind", REFUND_KINDS), 0, signed_amount(rows))


def _owed_less(rows: Rows) -> Ints:
    """How much less merchants are owed after a transaction."""
    paid_out = np.where(rows.is_one_of("kind", MERCHANT_KINDS), rows.number("amount"), 0)
    return np.where(rows.is_one_of("kind", REFUND_KINDS), signed_amount(rows), paid_out)
