"""What the feeds get wrong, each record named by what is wrong with it: none of them loses a good record beside it,
none is booked, and no e-mail address leaves the landing rows and the borrowers.

The records stand in tables at the top, by file; a fixture lands them all and runs the pipeline; the tests read what
became of each record.
"""

import csv
import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affirm_assets.lender.intake.feeds import ADJUSTMENT_FIELDS, LOAN_FIELDS, TRANSACTION_FIELDS
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions
from tests.integration.books import ADJUSTMENTS as ADJUSTMENT_ASSETS
from tests.integration.books import DAILY, GOOD_LOAN, Books, adjustment, loan, transaction

DAY = date(2025, 1, 2)
NEXT_DAY = DAY + timedelta(days=1)
# NEXT_DAY is the last day that the look-back of 35 days reaches, DAY lies beyond it.
MUCH_LATER = NEXT_DAY + timedelta(days=35)

INTAKE = (
    "landing/loan_rows,loans/loans,loans/rejected_loans,"
    "landing/transaction_rows,transactions/transactions,transactions/rejected_transactions,"
    f"{ADJUSTMENT_ASSETS}"
)

ACCEPTED, REJECTED, DUPLICATE = "accepted", "rejected", "duplicate"
EMAIL = "eve@example.com"
ABSENT = object()


@dataclass(frozen=True)
class Case:
    """A record of a file. `row`: what is found of it in the table of its fate, beside its place."""

    name: str
    content: Mapping[str, Any] | bytes
    fate: str
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Placed:
    """A case with its feed and place."""

    case: Case
    feed: str
    day: date
    file: str
    record_number: int

    def __str__(self) -> str:
        return f"{self.file} {self.case.name}"


def text_of(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def refused(
    name: str,
    fields: Iterable[str],
    good: Mapping[str, Any],
    reasons: str,
    masked: str,
    lost: str,
    over: Mapping[str, Any],
) -> Case:
    """A good record with something else in it. Fields named in `masked` are shown as ***, those in `lost` not at all,
    the others as they came."""
    content = {key: value for key, value in {**good, **over}.items() if value is not ABSENT}
    shown = {key: None if key in lost.split() else text_of(content.get(key)) for key in fields}
    hidden = {key: "***" for key in masked.split() if shown[key]}
    return Case(name, content, REJECTED, {**shown, **hidden, "reasons": reasons})


def bad_loan(name: str, reasons: str, *, masked: str = "", lost: str = "", **over: Any) -> Case:
    return refused(name, LOAN_FIELDS, loan(loan_id=name), reasons, f"borrower_email {masked}", lost, over)


def bad_transaction(name: str, reasons: str, *, masked: str = "", lost: str = "", **over: Any) -> Case:
    return refused(name, TRANSACTION_FIELDS, transaction(transaction_id=name), reasons, masked, lost, over)


def bad_adjustment(name: str, reasons: str, *, masked: str = "", lost: str = "", **over: Any) -> Case:
    good = adjustment(adjustment_id=name)
    return refused(name, ADJUSTMENT_FIELDS, good, reasons, f"reason {masked}", lost, over)


def shown_as(case: Case, **texts: str) -> Case:
    """The same, for a format in which a value has another text than in JSON."""
    return replace(case, row={**case.row, **texts})


def broken(name: str, line: bytes, reasons: str, **row: Any) -> Case:
    """A line as it stands in the file. If not told otherwise, no field of it can be read."""
    return Case(name, line, REJECTED, {"reasons": reasons, **row})


def good_loan(name: str, expected: Mapping[str, Any] | None = None, **over: Any) -> Case:
    content = loan(loan_id=name, **over)
    row = {
        **{key: value for key, value in content.items() if key != "borrower_email"},
        "principal": Decimal("1000.00"),
        "merchant_discount": Decimal("30.00"),
        "apr": Decimal("14.99"),
        "instalments": 12,
        "originated_on": DAY,
        "first_due_on": date(2025, 2, 2),
        "instalment": None,
        "due_day": None,
    }
    return Case(name, content, ACCEPTED, {**row, **(expected or {})})


def good_transaction(name: str, expected: Mapping[str, Any] | None = None, **over: Any) -> Case:
    content = transaction(transaction_id=name, **over)
    row = {**content, "product": "installment", "amount": Decimal("90.00"), "effective_on": DAY}
    return Case(name, content, ACCEPTED, {**row, **(expected or {})})


def good_adjustment(name: str, expected: Mapping[str, Any] | None = None, **over: Any) -> Case:
    content = adjustment(adjustment_id=name, **over)
    row = {**content, "product": "installment", "amount": Decimal("5.00"), "effective_on": DAY}
    return Case(name, content, ACCEPTED, {**row, **(expected or {})})


def duplicate(case: Case) -> Case:
    return Case(case.name, case.content, DUPLICATE)


def money(amount: str) -> Mapping[str, Decimal]:
    return {"principal": Decimal(amount)}


NO_AMOUNT = "not an amount in plain digits with at most two decimal places"
NO_COUNT = "not a whole number of at most nine digits"
NOT_MONEY = f"principal: {NO_AMOUNT}"
TOO_LITTLE, TOO_MUCH = "principal: less than it can be", "principal: more than it can be"
NOT_A_RATE = "apr: not a rate in percent with at most six decimal places"
NOT_A_DATE = "originated_on: not a calendar date YYYY-MM-DD"
OTHER_TODAY = "conflicts with another row of this id in the same folder"
OTHER_EARLIER = "conflicts with a row of this id booked on an earlier day"
FREE: Mapping[str, Any] = {"merchant_discount": "0.00"}
OLD: Mapping[str, Any] = {"originated_on": "2024-12-20", "first_due_on": "2025-01-20"}
OLD_ROW: Mapping[str, Any] = {"originated_on": date(2024, 12, 20), "first_due_on": date(2025, 1, 20)}
OTHER_INSTALMENT = " differs by more than a cent from 90.26, which is computed from the loan's other terms"
STATED: Mapping[str, Any] = {"instalment": "90.25", "due_day": 2}
STATED_ROW: Mapping[str, Any] = {"instalment": Decimal("90.25"), "due_day": 2}
STATES_NOTHING: Mapping[str, Any] = {"instalment": None, "due_day": None}
ON_NEXT_DAY: Mapping[str, Any] = {"originated_on": "2025-01-03"}

CUT_OFF = b'{"loan_id": "L1", "borrower_email": "eve@example.com", "princi'
BAD_ESCAPE = rb'{"loan_id": "\eve@example.com"}'
TWO_OBJECTS = b'{"loan_id": "L1"} {"borrower_email": "eve@example.com"}'
INVALID_UTF8 = b'{"loan_id": "\xff", "borrower_email": "eve@example.com"}'

BAD_LOANS = (
    broken("cut-off", CUT_OFF, f"not JSON: unterminated string starting at character {CUT_OFF.index(b'princi')}"),
    broken("no-json", EMAIL.encode(), "not JSON: expecting value at character 1"),
    broken("bad-escape", BAD_ESCAPE, "not JSON: invalid \\escape at character 14"),
    broken("two-objects", TWO_OBJECTS, "not JSON: extra data at character 19"),
    broken("array", b'["eve@example.com"]', "expected a JSON object, found array"),
    broken("invalid-utf8", INVALID_UTF8, "invalid UTF-8 at byte 14"),
    broken("nul-byte", b'{"loan_id": "L\0", "borrower_email": "eve@example.com"}', "NUL character"),
    bad_loan(
        "empty-object",
        "; ".join(f"{name}: missing" for name in GOOD_LOAN),
        **dict.fromkeys(LOAN_FIELDS, ABSENT),
    ),
    *(bad_loan(f"without-{name}", f"{name}: missing", **{name: ABSENT}) for name in GOOD_LOAN if name != "loan_id"),
    bad_loan("without-id", "loan_id: missing", loan_id=ABSENT),
    bad_loan("null-id", "loan_id: missing", loan_id=None),
    bad_loan("empty-id", "loan_id: missing", loan_id=""),
    bad_loan("null-money", "principal: missing", principal=None),
    bad_loan("extra-field", "unexpected field: nickname", nickname="Eve"),
    bad_loan("extra-object", "unexpected field: notes", notes={"to": EMAIL}),
    bad_loan("extra-field-named-like-an-address", "unexpected field: (unprintable name)", **{EMAIL: "x"}),
    broken(
        "repeated-field",
        json.dumps(loan(loan_id="repeated-field")).replace("{", '{"principal": "1.00", ', 1).encode(),
        "duplicated field: principal",
        loan_id="repeated-field",
        borrower_email="***",
        principal=None,
    ),
    bad_loan("boolean-money", "principal: expected money, found boolean", lost="principal", principal=True),
    bad_loan("object-money", "principal: expected money, found object", lost="principal", principal={"to": EMAIL}),
    bad_loan("number-id", "loan_id: expected text, found number", lost="loan_id", loan_id=7),
    bad_loan("array-currency", "currency: expected text, found array", lost="currency", currency=["USD"]),
    bad_loan("number-date", "originated_on: expected date, found number", lost="originated_on", originated_on=20250102),
    bad_loan("word-count", f"instalments: {NO_COUNT}", instalments="twelve"),
    bad_loan("fraction-count", f"instalments: {NO_COUNT}", instalments=12.5),
    bad_loan("exponent-count", f"instalments: {NO_COUNT}", instalments="1e1"),
    bad_loan("long-count", f"instalments: {NO_COUNT}", instalments="9999999999"),
    bad_loan("no-instalments", "instalments: less than it can be", instalments=0),
    bad_loan("121-instalments", "instalments: more than it can be", instalments=121),
    bad_loan("pay-in-5", "instalments: more than it can be", product="pay_in_4", instalments=5),
    bad_loan("pay-in-3", "instalments: less than it can be", product="pay_in_4", instalments=3),
    bad_loan("three-places", "principal: more than two decimal places", principal="1000.005"),
    bad_loan("three-places-number", "principal: more than two decimal places", principal=1000.005),
    bad_loan("three-places-discount", "merchant_discount: more than two decimal places", merchant_discount="1.001"),
    bad_loan("negative", TOO_LITTLE, principal="-5.00", **FREE),
    bad_loan("zero", TOO_LITTLE, principal="0.00", **FREE),
    bad_loan("negative-zero", TOO_LITTLE, principal="-0.00", **FREE),
    bad_loan("a-cent-too-much", TOO_MUCH, principal="100000.01"),
    bad_loan("pay-in-4-too-much", TOO_MUCH, product="pay_in_4", instalments=4, principal="10000.01"),
    bad_loan("absurd", TOO_MUCH, principal="9999999999999999.99"),
    bad_loan("absurd-digits", NOT_MONEY, principal="1" * 40),
    bad_loan("absurd-number", NOT_MONEY, principal=10**40),
    bad_loan("negative-discount", "merchant_discount: less than it can be", merchant_discount="-0.01"),
    bad_loan("discount-above-principal", "merchant_discount: more than it can be", merchant_discount="1000.01"),
    bad_loan("nan", NOT_MONEY, principal=float("nan")),
    bad_loan("nan-text", NOT_MONEY, principal="NaN"),
    bad_loan("infinity", NOT_MONEY, principal=float("inf")),
    bad_loan("minus-infinity-text", NOT_MONEY, principal="-Infinity"),
    bad_loan("exponent", NOT_MONEY, principal="1e3"),
    bad_loan("exponent-number", NOT_MONEY, principal=1e300),
    bad_loan("plus-sign", NOT_MONEY, principal="+1000.00"),
    bad_loan("thousands-separator", NOT_MONEY, masked="principal", principal="1,000.00"),
    bad_loan("blank-before-money", NOT_MONEY, masked="principal", principal=" 1000.00"),
    bad_loan("line-break-after-money", NOT_MONEY, masked="principal", principal="1000.00\n"),
    bad_loan("no-digit-after-point", NOT_MONEY, principal="1000."),
    bad_loan("wide-digits", NOT_MONEY, masked="principal", principal="１０００", **FREE),
    bad_loan("nan-rate", NOT_A_RATE, apr=float("nan")),
    bad_loan("exponent-rate", NOT_A_RATE, apr="1e1"),
    bad_loan("seven-places-rate", NOT_A_RATE, apr="14.9900001"),
    bad_loan("comma-rate", NOT_A_RATE, masked="apr", apr="14,99"),
    bad_loan("negative-rate", "apr: less than 0", apr="-0.01"),
    bad_loan("rate-above-36", "apr: more than 36", apr="36.000001"),
    bad_loan("unknown-product", "product: unknown; expected one of pay_in_4, installment", product="mortgage"),
    bad_loan("unknown-state", "borrower_state: unknown; expected one of 59 known ones", borrower_state="ZZ"),
    bad_loan("small-state", "borrower_state: unknown; expected one of 59 known ones", borrower_state="ca"),
    bad_loan("unknown-frequency", "frequency: unknown; expected one of biweekly, monthly", frequency="weekly"),
    bad_loan("unknown-currency", "currency: unknown; expected one of USD", currency="EUR"),
    bad_loan("30-february", NOT_A_DATE, originated_on="2025-02-30"),
    bad_loan("no-leap-year", NOT_A_DATE, originated_on="2023-02-29"),
    bad_loan("zero-date", NOT_A_DATE, originated_on="0000-00-00"),
    bad_loan("short-date", NOT_A_DATE, originated_on="2025-1-2"),
    bad_loan("date-with-time", NOT_A_DATE, originated_on="2025-01-02T00:00:00"),
    bad_loan("last-date-that-spark-knows", NOT_A_DATE, originated_on="5881580-07-11"),
    bad_loan("date-with-line-break", NOT_A_DATE, masked="originated_on", originated_on="2025-01-02\n"),
    bad_loan("after-business-date", "originated_on: too late", originated_on="2025-01-03"),
    bad_loan("year-1", "originated_on: too early; first_due_on: too late", originated_on="0001-01-01"),
    bad_loan("year-9999", "originated_on: too late; first_due_on: too early", originated_on="9999-12-31"),
    bad_loan("older-than-ten-years", "originated_on: too early", originated_on="2014-12-25", first_due_on="2015-01-25"),
    bad_loan("due-before-origination", "first_due_on: too early", first_due_on="2025-01-01"),
    bad_loan("due-at-origination", "first_due_on: too early", first_due_on="2025-01-02"),
    bad_loan("due-in-year-1", "first_due_on: too early", first_due_on="0001-01-01"),
    bad_loan("due-in-year-9999", "first_due_on: too late", first_due_on="9999-12-31"),
    bad_loan("id-with-line-break", "loan_id: not an id", masked="loan_id", loan_id="L1\n"),
    bad_loan("id-with-blank", "loan_id: not an id", masked="loan_id", loan_id="L 1"),
    bad_loan("id-of-65-characters", "loan_id: not an id", masked="loan_id", loan_id="L" * 65),
    bad_loan("id-with-nul", "loan_id: NUL character", lost="loan_id", loan_id="L\0"),
    bad_loan("id-with-lone-surrogate", "loan_id: lone surrogate", lost="loan_id", loan_id="L\ud800"),
    bad_loan(
        "state-with-line-break",
        "borrower_state: unknown; expected one of 59 known ones",
        borrower_state="CA\n",
        masked="borrower_state",
    ),
    bad_loan("biweekly-due-day", "due_day: a biweekly loan has none", frequency="biweekly", due_day=2),
    bad_loan("other-due-day", "due_day: 3, but first_due_on is on day 2", due_day=3),
    bad_loan("no-month-end", "due_day: 31, but first_due_on is on day 27", due_day=31, first_due_on="2025-02-27"),
    bad_loan(
        "due-before-origination-and-on-another-day", "first_due_on: too early", first_due_on="2025-01-01", due_day=3
    ),
    bad_loan("two-cents-more", f"instalment: 90.28{OTHER_INSTALMENT}", instalment="90.28"),
    bad_loan("two-cents-less", f"instalment: 90.24{OTHER_INSTALMENT}", instalment=90.24),
    bad_loan(
        "never-repaid",
        "instalment: 12.49 never repays the loan, of which a period's interest is 12.49; computed 90.26",
        instalment="12.49",
    ),
    bad_loan(
        "other-instalment-and-due-day",
        f"due_day: 3, but first_due_on is on day 2; instalment: 99.00{OTHER_INSTALMENT}",
        instalment="99.00",
        due_day=3,
    ),
    bad_loan("instalment-of-unknown-rate", NOT_A_RATE, instalment="99.00", apr="1e1"),
    bad_loan("instalment-and-extra-field", "unexpected field: nickname", instalment="99.00", due_day=3, nickname="Eve"),
    bad_loan("boolean-due-day", "due_day: expected integer, found boolean", lost="due_day", due_day=True),
    bad_loan("fraction-due-day", f"due_day: {NO_COUNT}", due_day=2.5),
    bad_loan("word-due-day", f"due_day: {NO_COUNT}", due_day="2nd"),
    bad_loan("due-day-0", "due_day: less than it can be", due_day=0),
    bad_loan("due-day-32", "due_day: more than it can be", due_day=32),
    bad_loan("no-amount-instalment", f"instalment: {NO_AMOUNT}", instalment="9e1"),
    bad_loan("three-places-instalment", "instalment: more than two decimal places", instalment="90.255"),
    bad_loan("zero-instalment", "instalment: less than it can be", instalment="0.00"),
    bad_loan("absurd-instalment", "instalment: more than it can be", instalment="1000000.01"),
    bad_loan("address-as-instalment", f"instalment: {NO_AMOUNT}", masked="instalment", instalment=EMAIL),
    bad_loan("address-as-due-day", f"due_day: {NO_COUNT}", masked="due_day", due_day=EMAIL),
    bad_loan("no-address", "borrower_email: not an e-mail address", borrower_email="eve"),
    bad_loan("two-addresses", "borrower_email: not an e-mail address", borrower_email=f"{EMAIL},{EMAIL}"),
    bad_loan("address-with-line-break", "borrower_email: not an e-mail address", borrower_email=f"{EMAIL}\n"),
    bad_loan("address-as-id", "loan_id: not an id", masked="loan_id", loan_id=EMAIL),
    bad_loan("address-as-user", "user_id: not an id", masked="user_id", user_id=EMAIL),
    bad_loan("address-as-merchant", "merchant_id: not an id", masked="merchant_id", merchant_id=EMAIL),
    bad_loan("address-as-money", NOT_MONEY, masked="principal", principal=EMAIL),
    bad_loan("address-as-rate", NOT_A_RATE, masked="apr", apr=EMAIL),
    bad_loan("address-as-date", NOT_A_DATE, masked="originated_on", originated_on=EMAIL),
    bad_loan(
        "address-as-product", "product: unknown; expected one of pay_in_4, installment", masked="product", product=EMAIL
    ),
    bad_loan("name-as-merchant", "merchant_id: not an id", masked="merchant_id", merchant_id="Eve Miller"),
    bad_loan(
        "several-reasons",
        f"{TOO_LITTLE}; apr: more than 36; currency: unknown; expected one of USD",
        principal="0",
        apr="99",
        currency="EUR",
        user_id="U-refused",
        **FREE,
    ),
    bad_loan("also-sent-well", NOT_MONEY, principal="a lot", masked="principal"),
)

GOOD_LOANS = (
    good_loan("L1"),
    good_loan("least", money("0.01") | {"merchant_discount": Decimal(0)}, principal="0.01", merchant_discount="0"),
    good_loan("most", money("100000.00"), principal="100000.00"),
    good_loan("number", money("1234.56"), principal=1234.56),
    good_loan("number-that-no-float-holds", money("70000.1"), principal=70000.1),
    good_loan("one-place", money("1000.5"), principal="1000.5"),
    good_loan("whole", money("1001"), principal="1001"),
    good_loan("all-discount", {"merchant_discount": Decimal(1000)}, merchant_discount="1000.00"),
    good_loan("no-interest", {"apr": Decimal(0)}, apr="0"),
    good_loan("36-percent", {"apr": Decimal(36)}, apr="36.000000"),
    good_loan("six-places-rate", {"apr": Decimal("14.990001")}, apr="14.990001"),
    good_loan("counts-as-text", {"instalments": 120}, instalments="120"),
    good_loan(
        "ten-years-late",
        {"originated_on": date(2014, 12, 26), "first_due_on": date(2015, 1, 26)},
        originated_on="2014-12-26",
        first_due_on="2015-01-26",
    ),
    good_loan("stated", STATED_ROW, **STATED),
    good_loan("stated-as-number", STATED_ROW, instalment=90.25, due_day="2"),
    *(good_loan(f"stated-{cents}", {"instalment": Decimal(cents)}, instalment=cents) for cents in ("90.26", "90.27")),
    good_loan(
        "stated-biweekly",
        money("100.00") | {"instalment": Decimal("25.00"), "instalments": 4, "apr": Decimal(0)},
        instalment="25.00",
        product="pay_in_4",
        instalments=4,
        principal="100.00",
        apr="0",
        frequency="biweekly",
    ),
    good_loan(
        "stated-month-end",
        {"first_due_on": date(2025, 2, 28), "due_day": 31},
        first_due_on="2025-02-28",
        due_day=31,
    ),
    good_loan("null-stated", STATES_NOTHING, **STATES_NOTHING),
    good_loan("empty-stated", STATES_NOTHING, instalment="", due_day=""),
    good_loan("stated-later"),
    good_loan("also-sent-well"),
    good_loan("old-and-sent-again", OLD_ROW, **OLD),
    good_loan("old-and-changed", OLD_ROW, **OLD),
    good_loan("old-and-other-address", OLD_ROW, **OLD),
    good_loan("sent-again"),
    good_loan("changed"),
    good_loan("other-address"),
)


def csv_line(record: Mapping[str, Any], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([record.get(column) for column in columns])
    return text.getvalue().encode()


def mixed(good: Sequence[Case], bad: Sequence[Case]) -> tuple[Case, ...]:
    """Good records before, between and after the bad ones."""
    return (*chain.from_iterable(zip(good[:-1], bad, strict=False)), *bad[len(good) - 1 :], good[-1])


MONEY_AS_CENTS: Mapping[str, Any] = {"principal": 100000, "merchant_discount": 3000}
AS_DECIMALS: Mapping[str, Any] = {
    "principal": Decimal("1000.00"),
    "merchant_discount": Decimal("30.00"),
    "apr": Decimal("14.990000"),
    "originated_on": DAY,
    "first_due_on": date(2025, 2, 2),
}
FLOAT_MONEY = "principal: expected decimal, integer cents or text, found double (binary floats cannot hold cents)"
FLOAT_RATE = "apr: expected decimal, integer or text, found double (binary floats are not exact)"


LOANS: Mapping[tuple[date, str], Sequence[Case]] = {
    (DAY, "records.jsonl"): (
        *mixed(GOOD_LOANS, BAD_LOANS),
        # Of equal records the first by file name is booked: that of cents.parquet.
        duplicate(good_loan("same", principal=1000, merchant_discount=30.0)),
        bad_loan("other-terms-today", OTHER_TODAY),
        bad_loan("other-address-today", OTHER_TODAY),
        bad_loan("two-equal-one-other", OTHER_TODAY),
        bad_loan("two-equal-one-other", OTHER_TODAY),
    ),
    (DAY, "more.jsonl.gz"): (
        good_loan("packed"),
        duplicate(good_loan("same")),
        duplicate(good_loan("same")),
        bad_loan("packed-three-places", "principal: more than two decimal places", principal="0.001", **FREE),
    ),
    (DAY, "more.csv.zst"): (good_loan("packed-csv"), bad_loan("packed-csv-nan", NOT_MONEY, principal="NaN")),
    (DAY, "table.csv"): (
        good_loan("csv"),
        duplicate(good_loan("same", principal="1000.0")),
        bad_loan("other-terms-today", OTHER_TODAY, principal="1000.01"),
        bad_loan("other-address-today", OTHER_TODAY, borrower_email=EMAIL),
        bad_loan("two-equal-one-other", OTHER_TODAY, borrower_state="NY"),
        good_loan("csv-stated", STATED_ROW, **STATED),
        broken("csv-too-few", b"L1,U1,eve@example.com", "expected 16 values, found 3"),
        broken(
            "csv-thousands-separator",
            b"L1,U1,M1,eve@example.com,CA,installment,1,000,0,1,1,m,d,d,USD,,",
            "expected 16 values, found 17",
        ),
        broken("csv-open-quote", b'"L1,eve@example.com', "not CSV: unexpected end of data"),
        broken("csv-invalid-utf8", b"L\xff,eve@example.com", "invalid UTF-8 at byte 2"),
        bad_loan("csv-nul", "loan_id: NUL character", lost="loan_id", loan_id="L\0"),
        bad_loan("csv-missing", "principal: missing", principal=None),
        bad_loan("csv-three-places", "principal: more than two decimal places", principal="10.005", **FREE),
        bad_loan("csv-nan", NOT_MONEY, principal="nan"),
        bad_loan("csv-exponent", NOT_MONEY, principal="1E3"),
        bad_loan("csv-quoted-thousands", NOT_MONEY, masked="principal", principal="1,000.00"),
        bad_loan("csv-address-as-merchant", "merchant_id: not an id", masked="merchant_id", merchant_id=EMAIL),
        good_loan("csv-last"),
    ),
    (DAY, "without-stated.csv"): (good_loan("no-stated-columns"),),
    (DAY, "without-stated.parquet"): (good_loan("no-stated-parquet-columns"),),
    (DAY, "without-currency.csv"): (bad_loan("no-column", "currency: missing", currency=None),),
    (DAY, "with-address-as-column.csv"): (bad_loan("extra-column", "unexpected field: (unprintable name)"),),
    (DAY, "repeated-column.csv"): (
        broken("repeated-column", csv_line(loan(), [*LOAN_FIELDS, "principal"])[:-1], "duplicated field: principal"),
    ),
    (DAY, "cents.parquet"): (
        good_loan("same", {"principal": Decimal("1000.00")}, **MONEY_AS_CENTS),
        good_loan("cents", money("1234.56"), **MONEY_AS_CENTS | {"principal": 123456}),
        good_loan("stated-cents", STATED_ROW, **MONEY_AS_CENTS | STATED | {"instalment": 9025}),
        good_loan("least-cents", money("0.01") | {"merchant_discount": Decimal(0)}, principal=1, merchant_discount=0),
        good_loan("most-cents", money("100000.00"), **MONEY_AS_CENTS | {"principal": 10_000_000}),
        shown_as(
            bad_loan("no-cents", TOO_LITTLE, principal=0, merchant_discount=0),
            principal="0.00",
            merchant_discount="0.00",
        ),
        shown_as(
            bad_loan("too-many-cents", TOO_MUCH, **MONEY_AS_CENTS | {"principal": 10_000_001}),
            principal="100000.01",
            merchant_discount="30.00",
        ),
        shown_as(
            bad_loan("null-cents", "principal: missing", principal=None, merchant_discount=0), merchant_discount="0.00"
        ),
    ),
    (DAY, "decimals.parquet"): (
        duplicate(good_loan("same", **AS_DECIMALS)),
        good_loan("decimals", money("1234.56"), **AS_DECIMALS | {"principal": Decimal("1234.56")}),
        good_loan("stated-decimals", STATED_ROW, **AS_DECIMALS | STATED_ROW),
        good_loan("most-decimals", money("100000.00"), **AS_DECIMALS | {"principal": Decimal("100000.00")}),
        bad_loan(
            "negative-decimal",
            TOO_LITTLE,
            **AS_DECIMALS | {"principal": Decimal("-1000.00")},
        ),
    ),
    (DAY, "texts.parquet"): (
        duplicate(good_loan("same", instalments="12")),
        good_loan("texts", money("1234.56"), principal="1234.56", instalments="12"),
        bad_loan(
            "texts-three-places",
            "principal: more than two decimal places",
            principal="10.005",
            instalments="12",
            **FREE,
        ),
        bad_loan("texts-nan", NOT_MONEY, principal="NaN", instalments="12"),
        bad_loan("texts-nul", "merchant_id: NUL character", lost="merchant_id", merchant_id="M\0", instalments="12"),
        bad_loan("texts-line-break", "loan_id: not an id", masked="loan_id", loan_id="L1\n", instalments="12"),
    ),
    (DAY, "float-money.parquet"): (
        bad_loan("float-money", FLOAT_MONEY, lost="principal", principal=1000.5),
        bad_loan("float-nan", FLOAT_MONEY, lost="principal", principal=float("nan")),
    ),
    (DAY, "float-rate.parquet"): (bad_loan("float-rate", FLOAT_RATE, lost="apr", apr=14.99),),
    (DAY, "three-places.parquet"): (
        bad_loan("three-places-decimal", "principal: more than two decimal places", principal=Decimal("1000.005")),
    ),
    (DAY, "times.parquet"): (
        good_loan("midnight-for-date", {"originated_on": DAY}, originated_on=datetime(2025, 1, 2)),
        bad_loan(
            "time-for-date",
            "originated_on: expected date or text, found timestamp",
            lost="originated_on",
            originated_on=datetime(2025, 1, 2, 3),
        ),
    ),
    (DAY, "with-address-as-column.parquet"): (
        bad_loan("extra-parquet-column", "unexpected field: (unprintable name)", **{EMAIL: "x"}),
    ),
    (DAY, "empty.jsonl"): (),
    (DAY, "empty.jsonl.gz"): (),
    (DAY, "empty.csv"): (),
    (DAY, "header-only.csv"): (),
    (DAY, "no-rows.parquet"): (),
    (NEXT_DAY, "records.jsonl"): (
        good_loan("new"),
        duplicate(good_loan("sent-again", principal=1000)),
        bad_loan("changed", OTHER_EARLIER, principal="1000.01"),
        duplicate(good_loan("stated", **STATED)),
        bad_loan("stated-later", OTHER_EARLIER, due_day=2),
        bad_loan("other-address", OTHER_EARLIER, borrower_email=EMAIL),
        duplicate(good_loan("L1")),
        bad_loan("L1", OTHER_EARLIER, instalments=24),
        # Nothing was booked of these ids on the day before.
        good_loan("other-terms-today"),
        good_loan("three-places", principal="1000.00"),
        good_loan("booked-late"),
        *(
            good_loan(name, {"originated_on": NEXT_DAY}, **ON_NEXT_DAY)
            for name in ("recent-and-sent-again", "recent-and-changed", "recent-and-other-address")
        ),
    ),
    (MUCH_LATER, "records.jsonl"): (
        good_loan("much-later"),
        duplicate(good_loan("old-and-sent-again", **OLD)),
        bad_loan("old-and-changed", OTHER_EARLIER, apr="15.00", **OLD),
        bad_loan("old-and-other-address", OTHER_EARLIER, borrower_email=EMAIL, **OLD),
        duplicate(good_loan("recent-and-sent-again", **ON_NEXT_DAY)),
        bad_loan("recent-and-changed", OTHER_EARLIER, apr="15.00", **ON_NEXT_DAY),
        bad_loan("recent-and-other-address", OTHER_EARLIER, borrower_email=EMAIL, **ON_NEXT_DAY),
    ),
}

NOT_AN_AMOUNT = f"amount: {NO_AMOUNT}"
UNKNOWN_KIND = (
    "kind: unknown; expected one of payment, payment_reversal, refund, refund_reversal, recovery, credit_refund, "
    "merchant_payout"
)
PAYOUT: Mapping[str, Any] = {"kind": "merchant_payout", "loan_id": None, "merchant_id": "M1"}

BAD_TRANSACTIONS = (
    broken("cut-off", b'{"transaction_id": "eve@example.com', "not JSON: unterminated string starting at character 20"),
    broken("number", b"1", "expected a JSON object, found number"),
    broken("invalid-utf8", b'{"transaction_id": "\xff"}', "invalid UTF-8 at byte 21"),
    broken("nul-byte", b'{"transaction_id": "T\0"}', "NUL character"),
    bad_transaction(
        "empty-object",
        "transaction_id: missing; kind: missing; amount: missing; effective_on: missing",
        **dict.fromkeys(TRANSACTION_FIELDS, ABSENT),
    ),
    *(
        bad_transaction(f"without-{name}", f"{name}: missing", **{name: ABSENT})
        for name in ("kind", "amount", "effective_on")
    ),
    bad_transaction("without-id", "transaction_id: missing", transaction_id=ABSENT),
    bad_transaction("extra-field", "unexpected field: memo", memo=f"from {EMAIL}"),
    bad_transaction("extra-field-named-like-an-address", "unexpected field: (unprintable name)", **{EMAIL: 1}),
    bad_transaction("array-money", "amount: expected money, found array", lost="amount", amount=["90.00"]),
    bad_transaction("number-loan", "loan_id: expected text, found number", lost="loan_id", loan_id=1),
    bad_transaction("three-places", "amount: more than two decimal places", amount="90.005"),
    bad_transaction("three-places-number", "amount: more than two decimal places", amount=90.005),
    bad_transaction("negative", "amount: less than it can be", amount="-90.00"),
    bad_transaction("zero", "amount: less than it can be", amount="0"),
    bad_transaction("absurd", "amount: more than it can be", amount="1000000.01"),
    bad_transaction("absurd-payout", "amount: more than it can be", amount="1000000000.01", **PAYOUT),
    bad_transaction("absurd-digits", NOT_AN_AMOUNT, amount="9" * 17),
    bad_transaction("nan", NOT_AN_AMOUNT, amount=float("nan")),
    bad_transaction("infinity", NOT_AN_AMOUNT, amount="Infinity"),
    bad_transaction("exponent", NOT_AN_AMOUNT, amount="9e1"),
    bad_transaction("exponent-number", NOT_AN_AMOUNT, amount=1e-7),
    bad_transaction("unknown-kind", UNKNOWN_KIND, kind="chargeback"),
    bad_transaction("kind-in-capitals", UNKNOWN_KIND, kind="PAYMENT"),
    bad_transaction("kind-with-line-break", UNKNOWN_KIND, masked="kind", kind="payment\n"),
    bad_transaction("payment-without-loan", "loan_id: missing", loan_id=None),
    bad_transaction("refund-without-loan", "loan_id: missing", kind="refund", loan_id=ABSENT, merchant_id="M1"),
    bad_transaction("payout-with-loan", "loan_id: a merchant_payout has none", **PAYOUT | {"loan_id": "L1"}),
    bad_transaction("payout-without-merchant", "merchant_id: missing", **PAYOUT | {"merchant_id": None}),
    bad_transaction("reversal-of-nothing", "reverses: missing", kind="payment_reversal"),
    bad_transaction("payment-that-reverses", "reverses: only a reversal has it", reverses="T1"),
    bad_transaction("impossible-date", "effective_on: not a calendar date YYYY-MM-DD", effective_on="2025-13-01"),
    bad_transaction("after-business-date", "effective_on: too late", effective_on="2025-01-03"),
    bad_transaction("year-1", "effective_on: too early", effective_on="0001-01-01"),
    bad_transaction("year-9999", "effective_on: too late", effective_on="9999-12-31"),
    bad_transaction("id-with-line-break", "transaction_id: not an id", masked="transaction_id", transaction_id="T1\n"),
    bad_transaction("loan-with-line-break", "loan_id: not an id", masked="loan_id", loan_id="L1\n"),
    bad_transaction("address-as-id", "transaction_id: not an id", masked="transaction_id", transaction_id=EMAIL),
    bad_transaction("address-as-loan", "loan_id: not an id", masked="loan_id", loan_id=EMAIL),
    bad_transaction("address-as-merchant", "merchant_id: not an id", masked="merchant_id", merchant_id=EMAIL),
    bad_transaction("address-as-kind", UNKNOWN_KIND, masked="kind", kind=EMAIL),
    bad_transaction("address-as-amount", NOT_AN_AMOUNT, masked="amount", amount=EMAIL),
    bad_transaction(
        "address-as-date", "effective_on: not a calendar date YYYY-MM-DD", masked="effective_on", effective_on=EMAIL
    ),
    bad_transaction(
        "address-as-reversed", "reverses: not an id", masked="reverses", kind="payment_reversal", reverses=EMAIL
    ),
)

OLD_PAYMENT: Mapping[str, Any] = {"effective_on": "2024-12-20"}
OLD_PAYMENT_ROW = {"effective_on": date(2024, 12, 20)}
PAYOUT_ROW = {"product": "none"}
WAITING_ROW = {"product": "none"}

GOOD_TRANSACTIONS = (
    good_transaction("T1"),
    good_transaction("least", {"amount": Decimal("0.01")}, amount="0.01"),
    good_transaction("most", {"amount": Decimal("1000000.00")}, amount="1000000.00"),
    good_transaction("number", {"amount": Decimal("1234.56")}, amount=1234.56),
    good_transaction("with-merchant", merchant_id="M1"),
    good_transaction("reversal", kind="payment_reversal", reverses="T1"),
    good_transaction("refund", kind="refund", merchant_id="M1"),
    good_transaction("recovery", kind="recovery"),
    good_transaction("credit-refund", kind="credit_refund"),
    good_transaction("payout", PAYOUT_ROW, **PAYOUT),
    good_transaction("unknown-loan", WAITING_ROW, loan_id="L404"),
    good_transaction("refused-loan", WAITING_ROW, loan_id="zero"),
    good_transaction("loan-in-conflict", WAITING_ROW, loan_id="two-equal-one-other"),
    good_transaction("before-its-loan", WAITING_ROW, loan_id="booked-late"),
    good_transaction(
        "most-payout", {**PAYOUT_ROW, "amount": Decimal("1000000000.00")}, amount="1000000000.00", **PAYOUT
    ),
    good_transaction("sent-again"),
    good_transaction("changed"),
    good_transaction("old-and-sent-again", OLD_PAYMENT_ROW, **OLD_PAYMENT),
    good_transaction("old-and-changed", OLD_PAYMENT_ROW, **OLD_PAYMENT),
    good_transaction("last"),
)

TRANSACTIONS: Mapping[tuple[date, str], Sequence[Case]] = {
    (DAY, "records.jsonl"): (
        *mixed(GOOD_TRANSACTIONS, BAD_TRANSACTIONS),
        duplicate(good_transaction("same", amount=90)),
        duplicate(good_transaction("same")),
        bad_transaction("other-terms-today", OTHER_TODAY),
    ),
    (DAY, "more.jsonl.gz"): (good_transaction("packed"), duplicate(good_transaction("same"))),
    (DAY, "more.csv.zst"): (good_transaction("packed-csv"),),
    (DAY, "table.csv"): (
        good_transaction("csv"),
        good_transaction("csv-payout", PAYOUT_ROW, **PAYOUT),
        duplicate(good_transaction("same", amount="90")),
        bad_transaction("other-terms-today", OTHER_TODAY, kind="refund"),
        broken("csv-too-many", b"T1,L1,,payment,90.00,2025-01-02,,eve@example.com", "expected 7 values, found 8"),
        good_transaction("csv-unknown-loan", WAITING_ROW, loan_id="L404"),
        bad_transaction("csv-address-as-loan", "loan_id: not an id", masked="loan_id", loan_id=EMAIL),
    ),
    (DAY, "cents.parquet"): (
        good_transaction("same", amount=9000),
        good_transaction("cents", {"amount": Decimal("1234.56")}, amount=123456),
        shown_as(bad_transaction("negative-cents", "amount: less than it can be", amount=-1), amount="-0.01"),
    ),
    (DAY, "decimals.parquet"): (
        duplicate(good_transaction("same", amount=Decimal("90.00"))),
        good_transaction("decimals", {"amount": Decimal("1234.56")}, amount=Decimal("1234.56")),
    ),
    (DAY, "float-money.parquet"): (
        bad_transaction("float-money", FLOAT_MONEY.replace("principal", "amount"), lost="amount", amount=90.0),
    ),
    (DAY, "header-only.csv"): (),
    (DAY, "empty.jsonl"): (),
    (NEXT_DAY, "records.jsonl"): (
        good_transaction("new"),
        duplicate(good_transaction("sent-again", amount=90)),
        bad_transaction("changed", OTHER_EARLIER, amount="90.01"),
        good_transaction("other-terms-today"),
        good_transaction("with-its-loan", loan_id="booked-late"),
        duplicate(good_transaction("before-its-loan", loan_id="booked-late")),
        good_transaction("recent-and-sent-again"),
        good_transaction("recent-and-changed"),
    ),
    (MUCH_LATER, "records.jsonl"): (
        good_transaction("much-later"),
        duplicate(good_transaction("old-and-sent-again", **OLD_PAYMENT)),
        bad_transaction("old-and-changed", OTHER_EARLIER, amount="90.01", **OLD_PAYMENT),
        duplicate(good_transaction("recent-and-sent-again")),
        bad_transaction("recent-and-changed", OTHER_EARLIER, kind="refund"),
    ),
}

NO_LOAN = "loan_id: no such loan is booked"
UNKNOWN_ADJUSTMENT = "kind: unknown; expected one of 10 known ones"
NO_AMOUNT: Mapping[str, Any] = {"amount": None}
CLEARS: Mapping[str, Any] = {"kind": "clear_unapplied", "transaction_id": "T1"}

BAD_ADJUSTMENTS = (
    broken("cut-off", b'{"adjustment_id": "eve@example.com', "not JSON: unterminated string starting at character 19"),
    broken("array", b'["eve@example.com"]', "expected a JSON object, found array"),
    bad_adjustment(
        "empty-object",
        "adjustment_id: missing; loan_id: missing; kind: missing; effective_on: missing; reason: missing; "
        "approver: missing",
        **dict.fromkeys(ADJUSTMENT_FIELDS, ABSENT),
    ),
    *(
        bad_adjustment(f"without-{name}", f"{name}: missing", **{name: ABSENT})
        for name in ("loan_id", "kind", "effective_on", "reason", "approver")
    ),
    bad_adjustment("without-id", "adjustment_id: missing", adjustment_id=ABSENT),
    bad_adjustment("null-approver", "approver: missing", approver=None),
    bad_adjustment("empty-reason", "reason: missing", reason=""),
    bad_adjustment("blank-reason", "reason: blank", reason=" \t\r\n"),
    bad_adjustment("reason-of-201", "reason: longer than 200 characters", reason="é" * 201),
    bad_adjustment("number-reason", "reason: expected text, found number", lost="reason", reason=1),
    bad_adjustment("address-as-approver", "approver: not an id", masked="approver", approver=EMAIL),
    bad_adjustment("name-as-approver", "approver: not an id", masked="approver", approver="Eve Miller"),
    bad_adjustment("address-as-loan", "loan_id: not an id", masked="loan_id", loan_id=EMAIL),
    bad_adjustment("address-as-id", "adjustment_id: not an id", masked="adjustment_id", adjustment_id=EMAIL),
    bad_adjustment(
        "address-as-transaction",
        "transaction_id: not an id",
        masked="transaction_id",
        **{**CLEARS, "transaction_id": EMAIL},
    ),
    bad_adjustment("address-as-reason-and-no-approver", "approver: missing", reason=f"asked by {EMAIL}", approver=None),
    bad_adjustment("unknown-kind", UNKNOWN_ADJUSTMENT, kind="gift"),
    bad_adjustment("unknown-kind-without-amount", UNKNOWN_ADJUSTMENT, kind="gift", **NO_AMOUNT),
    bad_adjustment("three-places", "amount: more than two decimal places", amount="5.005"),
    bad_adjustment("negative", "amount: less than it can be", amount="-5.00"),
    bad_adjustment("zero", "amount: less than it can be", amount="0.00"),
    bad_adjustment("absurd", "amount: more than it can be", amount="1000000.01"),
    bad_adjustment("negative-price", "amount: less than it can be", kind="debt_sale", amount="-0.01"),
    *(
        bad_adjustment(f"{kind}-without-amount", "amount: missing", kind=kind, **NO_AMOUNT)
        for kind in ("goodwill_credit", "waiver", "correction", "settlement", "debt_sale")
    ),
    bad_adjustment("clear-without-amount", "amount: missing", **{**CLEARS, **NO_AMOUNT}),
    *(
        bad_adjustment(f"{kind}-with-amount", f"amount: none goes with {kind}", kind=kind)
        for kind in ("undo_charge_off", "bankruptcy", "fraud", "death")
    ),
    bad_adjustment("clear-of-nothing", "transaction_id: missing", kind="clear_unapplied"),
    bad_adjustment("waiver-of-a-transaction", "transaction_id: only a clear_unapplied has it", transaction_id="T1"),
    bad_adjustment("unknown-loan", NO_LOAN, loan_id="L404"),
    bad_adjustment("refused-loan", NO_LOAN, loan_id="zero"),
    bad_adjustment("before-its-loan", NO_LOAN, loan_id="booked-late"),
    bad_adjustment("unknown-loan-and-extra-field", "unexpected field: memo", loan_id="L404", memo=EMAIL),
    bad_adjustment("several-reasons", f"approver: missing; {NO_LOAN}", approver=None, loan_id="L404"),
    bad_adjustment("impossible-date", "effective_on: not a calendar date YYYY-MM-DD", effective_on="2025-02-30"),
    bad_adjustment("after-business-date", "effective_on: too late", effective_on="2025-01-03"),
    bad_adjustment("older-than-ten-years", "effective_on: too early", effective_on="2014-12-25"),
)

OLD_WAIVER: Mapping[str, Any] = {"effective_on": "2024-12-20"}
OLD_WAIVER_ROW = {"effective_on": date(2024, 12, 20)}

GOOD_ADJUSTMENTS = (
    *(good_adjustment(kind, kind=kind) for kind in ("goodwill_credit", "waiver", "correction", "settlement")),
    good_adjustment("clear", **CLEARS),
    *(
        good_adjustment(kind, NO_AMOUNT, kind=kind, **NO_AMOUNT)
        for kind in ("undo_charge_off", "bankruptcy", "fraud", "death")
    ),
    good_adjustment("sold", {"amount": Decimal("123.45")}, kind="debt_sale", amount=123.45),
    good_adjustment("sold-for-nothing", {"amount": Decimal("0.00")}, kind="debt_sale", amount="0.00"),
    good_adjustment("most", {"amount": Decimal("1000000.00")}, amount="1000000.00"),
    good_adjustment("reason-of-200", reason="é" * 200),
    good_adjustment("ten-years-late", {"effective_on": date(2014, 12, 26)}, effective_on="2014-12-26"),
    good_adjustment("empty-transaction", {"transaction_id": None}, transaction_id=""),
    good_adjustment("sent-again"),
    good_adjustment("changed"),
    good_adjustment("old-and-sent-again", OLD_WAIVER_ROW, **OLD_WAIVER),
    good_adjustment("old-and-changed", OLD_WAIVER_ROW, **OLD_WAIVER),
    good_adjustment("last"),
)

ADJUSTMENTS: Mapping[tuple[date, str], Sequence[Case]] = {
    (DAY, "records.jsonl"): (
        *mixed(GOOD_ADJUSTMENTS, BAD_ADJUSTMENTS),
        duplicate(good_adjustment("same", amount=5)),
        bad_adjustment("other-terms-today", OTHER_TODAY),
    ),
    (DAY, "more.jsonl.gz"): (good_adjustment("packed"), duplicate(good_adjustment("same"))),
    (DAY, "more.csv.zst"): (good_adjustment("packed-csv"),),
    (DAY, "table.csv"): (
        good_adjustment("csv"),
        good_adjustment("csv-bankruptcy", NO_AMOUNT, kind="bankruptcy", **NO_AMOUNT),
        good_adjustment("csv-comma-in-reason", reason="Late, and cold"),
        duplicate(good_adjustment("same", amount="5")),
        bad_adjustment("other-terms-today", OTHER_TODAY, reason="Another"),
        bad_adjustment("csv-no-approver", "approver: missing", approver=None),
        broken("csv-too-many", b"A1,L1,waiver,5.00,2025-01-02,Eve, who called,E1,", "expected 8 values, found 9"),
    ),
    (DAY, "cents.parquet"): (
        good_adjustment("same", amount=500),
        good_adjustment("cents", {"amount": Decimal("12.34")}, amount=1234),
        good_adjustment("cents-of-death", NO_AMOUNT, kind="death", **NO_AMOUNT),
        shown_as(
            bad_adjustment("cents-of-fraud", "amount: none goes with fraud", kind="fraud", amount=1), amount="0.01"
        ),
    ),
    (DAY, "header-only.csv"): (),
    (DAY, "empty.jsonl"): (),
    (NEXT_DAY, "records.jsonl"): (
        good_adjustment("new"),
        duplicate(good_adjustment("sent-again", amount=5)),
        bad_adjustment("changed", OTHER_EARLIER, approver="E0008"),
        good_adjustment("other-terms-today"),
        good_adjustment("before-its-loan", loan_id="booked-late"),
    ),
    (MUCH_LATER, "records.jsonl"): (
        good_adjustment("much-later"),
        duplicate(good_adjustment("old-and-sent-again", **OLD_WAIVER)),
        bad_adjustment("old-and-changed", OTHER_EARLIER, amount="5.01", **OLD_WAIVER),
    ),
}

FEEDS: Mapping[str, Mapping[tuple[date, str], Sequence[Case]]] = {
    "loans": LOANS,
    "transactions": TRANSACTIONS,
    "adjustments": ADJUSTMENTS,
}
FIELDS: Mapping[str, Sequence[str]] = {
    "loans": tuple(LOAN_FIELDS),
    "transactions": tuple(TRANSACTION_FIELDS),
    "adjustments": tuple(ADJUSTMENT_FIELDS),
}
IDS = {"loans": "loan_id", "transactions": "transaction_id", "adjustments": "adjustment_id"}
ROWS = {
    "loans": "landing.loan_rows",
    "transactions": "landing.transaction_rows",
    "adjustments": "landing.adjustment_rows",
}
TABLES = {ACCEPTED: "{0}.{0}", REJECTED: "{0}.rejected_{0}"}

COLUMNS: Mapping[str, Sequence[str]] = {
    "without-currency.csv": tuple(name for name in LOAN_FIELDS if name != "currency"),
    "without-stated.csv": tuple(GOOD_LOAN),
    "without-stated.parquet": tuple(GOOD_LOAN),
    "with-address-as-column.csv": (*LOAN_FIELDS, EMAIL),
    "repeated-column.csv": (*LOAN_FIELDS, "principal"),
}
TYPES: Mapping[str, Mapping[str, pa.DataType]] = {
    "cents.parquet": {
        "principal": pa.int64(),
        "merchant_discount": pa.int32(),
        "instalment": pa.int32(),
        "amount": pa.int64(),
    },
    "decimals.parquet": {
        "principal": pa.decimal128(18, 2),
        "merchant_discount": pa.decimal128(5, 2),
        "apr": pa.decimal128(9, 6),
        "instalment": pa.decimal128(18, 2),
        "originated_on": pa.date32(),
        "first_due_on": pa.date32(),
        "amount": pa.decimal256(40, 2),
    },
    "texts.parquet": {"instalments": pa.string()},
    "float-money.parquet": {"principal": pa.float64(), "amount": pa.float64()},
    "float-rate.parquet": {"apr": pa.float64()},
    "three-places.parquet": {"principal": pa.decimal128(18, 3)},
    "times.parquet": {"originated_on": pa.timestamp("us")},
    "with-address-as-column.parquet": {EMAIL: pa.string()},
}


def file_content(feed: str, name: str, cases: Sequence[Case]) -> bytes:
    if name.startswith("empty."):
        return gzip.compress(b"") if name.endswith(".gz") else b""
    columns = COLUMNS.get(name, FIELDS[feed])
    if name.endswith(".parquet"):
        return parquet(columns, TYPES.get(name, {}), [dict(each.content) for each in cases])
    lines = [b"" if ".jsonl" in name else csv_line(dict(zip(columns, columns, strict=True)), columns)]
    for each in cases:
        if isinstance(each.content, bytes):
            lines.append(each.content + b"\n")
        elif ".jsonl" in name:
            lines.append(json.dumps(each.content).encode() + b"\n")
        else:
            lines.append(csv_line(each.content, columns))
    content = b"".join(lines)
    if name.endswith(".zst"):
        return pa.compress(content, "zstd", asbytes=True)
    return gzip.compress(content) if name.endswith(".gz") else content


def parquet(columns: Sequence[str], types: Mapping[str, pa.DataType], records: list[dict[str, Any]]) -> bytes:
    names = [*columns, *(name for name in types if name == EMAIL)]
    usual = {"instalments": pa.int16(), "due_day": pa.int8()}
    schema = pa.schema([(name, types.get(name, usual.get(name, pa.string()))) for name in names])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema), sink)
    return sink.getvalue()


@dataclass(frozen=True)
class Tried:
    """What the two runs with records made of it. `found`: the rows of a feed's table by file and record number."""

    books: Books
    runs: tuple[dg.ExecuteInProcessResult, ...]
    files: Mapping[str, bytes]
    found: Mapping[tuple[str, str], Mapping[tuple[str, int], Mapping[str, Any]]]


@pytest.fixture(scope="module")
def tried(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Two days in one run with their reports, a month in which nothing comes, and one day by itself."""
    books = Books(tmp_path_factory.mktemp("bad_input"), spark_if_needed)
    files: dict[str, bytes] = {}
    for feed, landed in FEEDS.items():
        for (day, name), cases in landed.items():
            content = files[f"{feed}/{day}/{name}"] = file_content(feed, name, cases)
            books.land(feed, day, {name: content})
    bad = [(feed, day) for feed in FEEDS for day in (DAY, NEXT_DAY, MUCH_LATER)]
    first = books.materialize(f"{DAILY},{ADJUSTMENT_ASSETS}", DAY, NEXT_DAY, accepts=bad)
    # A day on which nothing came is a complete folder without files, and no day may be left out.
    quiet = [NEXT_DAY + timedelta(days=number) for number in range(1, (MUCH_LATER - NEXT_DAY).days)]
    for feed in FEEDS:
        for day in quiet:
            books.land(feed, day, {})
    books.materialize(INTAKE, quiet[0], quiet[-1])
    runs = (first, books.materialize(INTAKE, MUCH_LATER, accepts=bad))
    found = {
        (feed, fate): {(row["file"], row["record_number"]): row for row in books.rows(table.format(feed))}
        for feed in FEEDS
        for fate, table in TABLES.items()
    }
    return Tried(books, runs, files, found)


def placed(*fates: str) -> list[Any]:
    """The cases with one of these fates as parameters, named by place and case."""
    return [pytest.param(each, id=str(each)) for feed in FEEDS for each in placed_in(feed) if each.case.fate in fates]


def placed_in(feed: str) -> list[Placed]:
    return [
        Placed(case, feed, day, f"{feed}/{day}/{name}", number)
        for (day, name), cases in FEEDS[feed].items()
        for number, case in enumerate(cases, start=2 if ".csv" in name else 1)
    ]


def catalog(books: Books) -> Any:
    settings = books.settings
    return IcebergCatalog(uri=settings.catalog_uri, warehouse=settings.warehouse).load()


def snapshots(books: Books, table: str) -> list[dict[str, str]]:
    """The summaries of a table's snapshots."""
    found = catalog(books).load_table(table).metadata.snapshots
    return [dict(snapshot.summary.additional_properties) for snapshot in found if snapshot.summary]


def reports(books: Books, table: str) -> list[str]:
    """What is kept of each publish beside the table's metadata."""
    paths = [each["affirm.report"] for each in snapshots(books, table)]
    return [Path(path.removeprefix("file://")).read_text() for path in paths]


def day_column(feed: str) -> str:
    return "booked_on" if feed == "loans" else "posted_on"


@pytest.mark.parametrize("record", placed(ACCEPTED))
def test_a_good_record_among_bad_ones_is_booked_to_the_cent(tried: Tried, record: Placed) -> None:
    row = tried.found[record.feed, ACCEPTED].get((record.file, record.record_number))
    assert row is not None, "not booked"
    expected = {**record.case.row, day_column(record.feed): record.day}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("record", placed(REJECTED))
def test_a_bad_record_is_refused_with_its_reason_and_masked_fields(tried: Tried, record: Placed) -> None:
    row = tried.found[record.feed, REJECTED].get((record.file, record.record_number))
    assert row is not None, "not refused"
    unread = isinstance(record.case.content, bytes)
    fields = dict.fromkeys(FIELDS[record.feed]) if unread and len(record.case.row) == 1 else {}
    expected = {**fields, **record.case.row, day_column(record.feed): record.day}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("record", placed(DUPLICATE))
def test_a_record_that_equals_a_booked_one_is_dropped(tried: Tried, record: Placed) -> None:
    place = (record.file, record.record_number)
    assert place not in tried.found[record.feed, ACCEPTED]
    assert place not in tried.found[record.feed, REJECTED]
    booked = [row[IDS[record.feed]] for row in tried.found[record.feed, ACCEPTED].values()]
    assert booked.count(record.case.name) == 1


@pytest.mark.parametrize("fate", TABLES)
@pytest.mark.parametrize("feed", FEEDS)
def test_no_other_record_is_booked_or_refused(tried: Tried, feed: str, fate: str) -> None:
    expected = {(each.file, each.record_number) for each in placed_in(feed) if each.case.fate == fate}
    assert set(tried.found[feed, fate]) == expected


@pytest.mark.parametrize("feed", FEEDS)
def test_files_of_every_kind_in_one_folder_are_booked(tried: Tried, feed: str) -> None:
    names = {file.rpartition("/")[2] for file, _ in tried.found[feed, ACCEPTED] if file.startswith(f"{feed}/{DAY}/")}
    assert {name.partition(".")[2] for name in names} == {"jsonl", "jsonl.gz", "csv", "csv.zst", "parquet"}


@pytest.mark.parametrize("file", [f"{feed}/{day}/{name}" for feed, landed in FEEDS.items() for day, name in landed])
def test_received_is_accepted_plus_rejected_plus_duplicates(tried: Tried, file: str) -> None:
    feed = file.partition("/")[0]
    received = Counter(row["file"] for row in tried.books.rows(ROWS[feed], "file"))
    became = Counter(each.case.fate for each in placed_in(feed) if each.file == file)
    counted = {fate: sum(place[0] == file for place in tried.found[feed, fate]) for fate in TABLES}
    assert counted == {fate: became[fate] for fate in TABLES}
    assert received[file] == sum(counted.values()) + became[DUPLICATE]


def test_the_audit_of_each_feed_adds_up_what_was_received(tried: Tried) -> None:
    for run, days in zip(tried.runs, ((DAY, NEXT_DAY), (MUCH_LATER,)), strict=True):
        evaluations = [x for x in run.get_asset_check_evaluations() if x.check_name == "every_record_is_accounted_for"]
        assert len(evaluations) == 2 * len(FEEDS)
        for each in evaluations:
            feed = each.asset_key.path[0]
            became = Counter(x.case.fate for x in placed_in(feed) if x.day in days)
            assert each.passed
            assert each.metadata["totals"].value == {
                "received": str(sum(became.values())),
                **{fate: str(became[fate]) for fate in (ACCEPTED, REJECTED, DUPLICATE)},
            }


@pytest.mark.parametrize(
    "record",
    [each for each in placed(REJECTED) if isinstance(each.values[0].case.content, bytes)],
)
def test_a_line_that_cannot_be_read_is_kept_in_the_landing_rows_word_for_word(tried: Tried, record: Placed) -> None:
    rows = tried.books.rows(ROWS[record.feed], "file", "record_number", "raw")
    kept = {(row["file"], row["record_number"]): row["raw"] for row in rows}
    line = record.case.content
    assert isinstance(line, bytes)
    assert kept[record.file, record.record_number] == line.decode(errors="backslashreplace").replace("\0", "\\x00")


@pytest.mark.parametrize("feed", FEEDS)
def test_every_file_is_pinned_with_size_and_checksum_also_one_without_records(tried: Tried, feed: str) -> None:
    pinned = {}
    for report in reports(tried.books, ROWS[feed]):
        for each in json.loads(report)["request"]["files"]:
            pinned[each["name"]] = (each["size"], each["sha256"])
    assert pinned == {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in tried.files.items()
        if name.startswith(f"{feed}/")
    }


def test_a_report_holds_the_good_records_and_nothing_else(tried: Tried) -> None:
    for landed_on in (DAY, NEXT_DAY):
        accepted = (each.case for each in placed_in("loans") if each.case.fate == ACCEPTED and each.day == landed_on)
        good = [case.row["principal"] for case in accepted]
        rows = [row for row in tried.books.rows("portfolio.originations_daily") if row["booked_on"] == landed_on]
        assert sum(row["loans"] for row in rows) == len(good)
        assert sum(row["principal"] for row in rows) == sum(good)


def test_borrowers_come_from_booked_loans_only(tried: Tried) -> None:
    assert tried.books.rows("loans.borrowers", "user_id", "booked_on", "borrower_email") == [
        {"user_id": "U1", "booked_on": day, "borrower_email": "jane.doe@example.com"} for day in (DAY, NEXT_DAY)
    ]


ALL_TABLES = [key.replace("/", ".") for key in f"{DAILY},{ADJUSTMENT_ASSETS}".split(",")]
HOLDERS = {"landing.loan_rows", "landing.transaction_rows", "landing.adjustment_rows", "loans.borrowers"}


@pytest.mark.parametrize("table", [name for name in ALL_TABLES if name not in HOLDERS])
def test_no_address_is_in_a_table(tried: Tried, table: str) -> None:
    assert tried.books.rows(table)
    assert not any("example.com" in str(value) for row in tried.books.rows(table) for value in row.values())


@pytest.mark.parametrize("table", ALL_TABLES)
def test_no_address_is_in_a_snapshot_summary(tried: Tried, table: str) -> None:
    summaries = snapshots(tried.books, table)
    assert summaries
    assert "example.com" not in str(summaries)
    assert "example.com" not in str(reports(tried.books, table))
    assert "example.com" not in str(catalog(tried.books).load_table(table).properties)


def test_no_address_is_in_an_event_or_log_of_the_runs(tried: Tried) -> None:
    for run in tried.runs:
        assert run.all_events
        assert not any("example.com" in str(event) for event in run.all_events)
        logged = tried.books.instance.all_logs(run.run_id)
        assert logged
        assert not any("example.com" in str(entry) for entry in logged)


@pytest.mark.parametrize("table", sorted(HOLDERS))
def test_the_addresses_are_where_they_belong(tried: Tried, table: str) -> None:
    assert "example.com" in str(tried.books.rows(table))
