"""What two feeds get wrong, each record named by what is wrong with it: none of them loses a good record beside it,
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affirm_assets.intake.feeds import LOAN_FIELDS, TRANSACTION_FIELDS
from resources.spark import SparkSessions
from tests.integration.books import DAILY, Books, loan, transaction

DAY = date(2025, 1, 2)
NEXT_DAY = DAY + timedelta(days=1)
# NEXT_DAY is the last day that the look-back of 35 days reaches, DAY lies beyond it.
MUCH_LATER = NEXT_DAY + timedelta(days=35)

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
        return f"{self.day} {self.file.rpartition('/')[2]} {self.case.name}"


def text_of(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def refused(good: Mapping[str, Any], reasons: str, masked: str, lost: str, over: Mapping[str, Any]) -> Case:
    """Fields named in `masked` are shown as ***, those in `lost` not at all, the others as they came."""
    content = {key: value for key, value in {**good, **over}.items() if value is not ABSENT}
    shown = {key: None if key in lost.split() else text_of(content.get(key)) for key in good}
    hidden = {key: "***" for key in masked.split() if shown[key]}
    return Case("", content, REJECTED, {**shown, **hidden, "reasons": reasons})


def bad_loan(name: str, reasons: str, *, masked: str = "", lost: str = "", **over: Any) -> Case:
    case = refused(loan(loan_id=name), reasons, f"borrower_email {masked}", lost, over)
    return replace(case, name=name)


def bad_transaction(name: str, reasons: str, *, masked: str = "", lost: str = "", **over: Any) -> Case:
    return replace(refused(transaction(transaction_id=name), reasons, masked, lost, over), name=name)


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
    }
    return Case(name, content, ACCEPTED, {**row, **(expected or {})})


def good_transaction(name: str, expected: Mapping[str, Any] | None = None, **over: Any) -> Case:
    content = transaction(transaction_id=name, **over)
    row = {**content, "product": "installment", "amount": Decimal("90.00"), "effective_on": DAY}
    return Case(name, content, ACCEPTED, {**row, **(expected or {})})


def duplicate(case: Case) -> Case:
    return Case(case.name, case.content, DUPLICATE)


def money(amount: str) -> Mapping[str, Decimal]:
    return {"principal": Decimal(amount)}


NOT_MONEY = "principal: not an amount"
TOO_LITTLE, TOO_MUCH = "principal: less than it can be", "principal: more than it can be"
NOT_A_RATE = "apr: not a rate in percent with at most six decimal places"
NOT_A_DATE = "originated_on: not a calendar date YYYY-MM-DD"
OTHER_TODAY = "conflicts with another row of this id in the same folder"
OTHER_EARLIER = "conflicts with a row of this id booked on an earlier day"
FREE: Mapping[str, Any] = {"merchant_discount": "0.00"}
OLD: Mapping[str, Any] = {"originated_on": "2024-12-20", "first_due_on": "2025-01-20"}
OLD_ROW: Mapping[str, Any] = {"originated_on": date(2024, 12, 20), "first_due_on": date(2025, 1, 20)}
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
    broken("empty-object", b"{}", "; ".join(f"{name}: missing" for name in LOAN_FIELDS)),
    *(bad_loan(f"without-{name}", f"{name}: missing", **{name: ABSENT}) for name in LOAN_FIELDS if name != "loan_id"),
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
    bad_loan("word-count", "instalments: not a whole number", instalments="twelve"),
    bad_loan("fraction-count", "instalments: not a whole number", instalments=12.5),
    bad_loan("exponent-count", "instalments: not a whole number", instalments="1e1"),
    bad_loan("long-count", "instalments: not a whole number", instalments="9999999999"),
    bad_loan("no-instalments", "instalments: less than it can be", instalments=0),
    bad_loan("121-instalments", "instalments: more than it can be", instalments=121),
    bad_loan("pay-in-5", "instalments: more than it can be", product="pay_in_4", instalments=5),
    bad_loan("pay-in-3", "instalments: less than it can be", product="pay_in_4", instalments=3),
    bad_loan("three-places", "principal: more than two decimal places", principal="1000.005"),
    bad_loan("three-places-number", "principal: more than two decimal places", principal=1000.005),
    bad_loan("three-places-discount", "merchant_discount: more than two decimal places", merchant_discount="1.001"),
    bad_loan("negative", f"{TOO_LITTLE}; merchant_discount: more than it can be", principal="-5.00", **FREE),
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
    bad_loan("date-with-line-break", NOT_A_DATE, masked="originated_on", originated_on="2025-01-02\n"),
    bad_loan("after-business-date", "originated_on: too late", originated_on="2025-01-03"),
    bad_loan("year-1", "originated_on: too early; first_due_on: too late", originated_on="0001-01-01"),
    bad_loan("year-9999", "originated_on: too late; first_due_on: too early", originated_on="9999-12-31"),
    bad_loan(
        "older-than-ten-years", "originated_on: too early", originated_on="2014-12-25", first_due_on="2015-01-25"
    ),
    bad_loan("due-before-origination", "first_due_on: too early", first_due_on="2025-01-01"),
    bad_loan("due-at-origination", "first_due_on: too early", first_due_on="2025-01-02"),
    bad_loan("due-in-year-1", "first_due_on: too early", first_due_on="0001-01-01"),
    bad_loan("due-in-year-9999", "first_due_on: too late", first_due_on="9999-12-31"),
    bad_loan("id-with-line-break", "loan_id: not an id", masked="loan_id", loan_id="L1\n"),
    bad_loan("id-with-blank", "loan_id: not an id", masked="loan_id", loan_id="L 1"),
    bad_loan("id-of-65-characters", "loan_id: not an id", masked="loan_id", loan_id="L" * 65),
    bad_loan("id-with-nul", "loan_id: NUL character", lost="loan_id", loan_id="L\0"),
    bad_loan("id-with-lone-surrogate", "loan_id: lone surrogate", lost="loan_id", loan_id="L\ud800"),
    bad_loan("state-with-line-break", "borrower_state: unknown; expected one of 59 known ones", borrower_state="CA\n", masked="borrower_state"),
    bad_loan("no-address", "borrower_email: not an e-mail address", borrower_email="eve"),
    bad_loan("two-addresses", "borrower_email: not an e-mail address", borrower_email=f"{EMAIL},{EMAIL}"),
    bad_loan("address-with-line-break", "borrower_email: not an e-mail address", borrower_email=f"{EMAIL}\n"),
    bad_loan("address-as-id", "loan_id: not an id", masked="loan_id", loan_id=EMAIL),
    bad_loan("address-as-user", "user_id: not an id", masked="user_id", user_id=EMAIL),
    bad_loan("address-as-merchant", "merchant_id: not an id", masked="merchant_id", merchant_id=EMAIL),
    bad_loan("address-as-money", NOT_MONEY, masked="principal", principal=EMAIL),
    bad_loan("address-as-rate", NOT_A_RATE, masked="apr", apr=EMAIL),
    bad_loan("address-as-date", NOT_A_DATE, masked="originated_on", originated_on=EMAIL),
    bad_loan("address-as-product", "product: unknown; expected one of pay_in_4, installment", masked="product", product=EMAIL),
    bad_loan("name-as-merchant", "merchant_id: not an id", masked="merchant_id", merchant_id="Eve Miller"),
    bad_loan("several-reasons", f"{TOO_LITTLE}; apr: more than 36; currency: unknown; expected one of USD", principal="0", apr="99", currency="EUR", user_id="U-refused", **FREE),
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
    good_loan("also-sent-well"),
    good_loan("old-and-sent-again", OLD_ROW, **OLD),
    good_loan("old-and-changed", OLD_ROW, **OLD),
    good_loan("old-and-other-address", OLD_ROW, **OLD),
    good_loan("sent-again"),
    good_loan("changed"),
    good_loan("other-address"),
)



def conflict(case: Case, **other: Any) -> Case:
    """A well-formed record that is refused since another one of its id is in its way."""
    return case


COLUMNS = tuple(loan())


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
DECIMALS_SHOWN = {"apr": "14.990000", "originated_on": "2025-01-02", "first_due_on": "2025-02-02"}
FLOAT_MONEY = "principal: expected decimal, integer cents or text, found double (binary floats cannot hold cents)"
FLOAT_RATE = "apr: expected decimal, integer or text, found double (binary floats are not exact)"


