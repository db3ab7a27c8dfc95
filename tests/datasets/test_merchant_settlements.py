"""What merchants are owed: the example of docs/money.md, in one range and day by day, and what the audits see.

The example goes over a leap day. Merchants sell and refund, and are paid all that they are owed; refunds come before
their loans are booked, under the merchant's name or none; a refund is reversed in part.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.audits.carry import audits_of
from affirm_assets.datasets.ledger.ledger_entries import ledger_entries
from affirm_assets.datasets.ledger.provisions import Provision
from affirm_assets.datasets.ledger.trial_balance import AccountBalance, trial_balance
from affirm_assets.datasets.loans.loans import Loan
from affirm_assets.datasets.merchants.merchant_settlements import (
    MerchantSettlement,
    merchant_settlements,
    movements_add_up,
    movements_are_those_of_the_ledger,
    totals_equal_the_ledger,
)
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.datasets.servicing.payment_applications import PaymentApplication
from affirm_assets.datasets.transactions.suspense import Suspense
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.declare.contract import column_differences, spark_schema
from affirm_assets.declare.partitions import Window
from tests.datasets.lender import Row, changed, frame, lookup, not_ok, row
from tests.storage import Keep

DOC = Path(__file__).parents[2] / "docs" / "money.md"
FIRST, LAST = date(2024, 2, 27), date(2024, 3, 5)
ALL = Window(FIRST, LAST)
OPENS, NEXT_DAY_OPENS = audits_of(merchant_settlements)
MONEY = tuple(name for name in MerchantSettlement.model_fields if name not in ("merchant_id", "as_of"))


def on(text: str) -> date:
    return date.fromisoformat(f"2024-{text}")


SOLD = (
    # loan, merchant, booked on, price, discount
    ("L1", "hats", on("02-27"), "1000.00", "50.00"),
    ("L2", "shoes", on("02-27"), "200.00", "10.00"),
    ("L9", "shoes", on("03-02"), "300.00", "15.00"),
    ("L5", "gifts", on("03-04"), "50.00", "50.00"),
)
WAITED = (
    # refund, the loan that it waits for, the merchant whom it names, amount, discount returned when it is taken up
    ("F2", "L8", "hats", "20.00", None),
    ("F3", "L9", None, "30.00", "1.50"),
    ("F4", "L9", "shoes", "5.00", "0.25"),
)
CAME, TAKEN_UP = on("02-29"), on("03-02")


def loans() -> list[Row]:
    return [
        row(Loan, loan_id=loan, merchant_id=merchant, booked_on=booked, principal=price, merchant_discount=discount)
        for loan, merchant, booked, price, discount in SOLD
    ]


def balances() -> list[Row]:
    """Of the days of booking."""
    return [
        row(LoanBalance, loan_id=loan, as_of=booked, principal_lent=price, merchant_discount=discount)
        for loan, _, booked, price, discount in SOLD
    ]


def transactions() -> list[Row]:
    payout: Mapping[str, Any] = {"kind": "merchant_payout", "product": "none"}
    refund: Mapping[str, Any] = {"kind": "refund", "product": "none"}
    return [
        row(Transaction, transaction_id="P1", merchant_id="hats", posted_on=on("02-28"), amount="950.00", **payout),
        row(Transaction, transaction_id="P2", merchant_id="shoes", posted_on=on("03-04"), amount="441.75", **payout),
        # Of L1, which hats sold; it names another.
        row(Transaction, transaction_id="F1", loan_id="L1", merchant_id="shoes", posted_on=on("03-01"), amount="100.00",
            kind="refund", product="installment"),
        row(Transaction, transaction_id="R1", loan_id="L1", posted_on=on("03-03"), amount="40.00", reverses="F1",
            kind="refund_reversal", product="installment"),
        *(
            row(Transaction, transaction_id=name, loan_id=loan, merchant_id=merchant, posted_on=CAME, amount=amount,
                **refund)
            for name, loan, merchant, amount, _ in WAITED
        ),
    ]  # fmt: skip


def applications() -> list[Row]:
    of_l1: Mapping[str, Any] = {"loan_id": "L1", "product": "installment"}
    return [
        row(PaymentApplication, transaction_id="F1", posted_on=on("03-01"), kind="refund", amount="100.00",
            principal="100.00", discount_returned="5.00", **of_l1),
        row(PaymentApplication, transaction_id="R1", posted_on=on("03-03"), kind="refund_reversal", amount="40.00",
            principal="-40.00", discount_returned="-2.00", reverses="F1", **of_l1),
        *(
            row(PaymentApplication, transaction_id=name, posted_on=TAKEN_UP, kind="refund", amount=amount,
                principal=amount, discount_returned=returned, loan_id=loan, product="installment",
                is_from_suspense=True)
            for name, loan, _, amount, returned in WAITED
            if returned
        ),
    ]  # fmt: skip


def waiting() -> list[Row]:
    """The days of what waits. F2 waits for a loan that never comes."""
    rows = []
    for name, loan, merchant, amount, returned in WAITED:
        last = TAKEN_UP if returned else LAST
        for number in range((last - CAME).days + 1):
            as_of = CAME + timedelta(days=number)
            taken_up = as_of if returned and as_of == TAKEN_UP else None
            rows.append(
                row(Suspense, transaction_id=name, loan_id=loan, merchant_id=merchant, kind="refund", amount=amount,
                    as_of=as_of, waiting_since=CAME, taken_up_on=taken_up)
            )  # fmt: skip
    return rows


DAY_OF = {"loans": "booked_on", "transactions": "posted_on", "payment_applications": "posted_on", "suspense": "as_of"}
"""In the order of the transform's parameters."""


@pytest.fixture(scope="module")
def given(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    made = {
        "loans": keep(frame(spark, Loan, loans())),
        "transactions": keep(frame(spark, Transaction, transactions())),
        "payment_applications": keep(frame(spark, PaymentApplication, applications())),
        "suspense": keep(frame(spark, Suspense, waiting())),
    }
    provisions = frame(spark, Provision, [])
    entries = ledger_entries(
        frame(spark, LoanBalance, balances()), made["payment_applications"], made["transactions"], provisions
    )
    made["ledger_entries"] = keep(entries)
    moved_by = (made[name] for name in ("loans", "transactions", "payment_applications"))
    made["trial_balance"] = keep(
        trial_balance(made["ledger_entries"], *moved_by, provisions, frame(spark, AccountBalance, []), ALL)
    )
    return made


@pytest.fixture(scope="module")
def nothing(spark: SparkSession) -> DataFrame:
    return frame(spark, MerchantSettlement, [])


def made(given: Mapping[str, DataFrame], carried: DataFrame, window: Window = ALL, **over: DataFrame) -> DataFrame:
    """The settlements of the window, of sources of all days. over: other sources; booked: other loans to look up."""
    booked = over.pop("booked", given["loans"])
    of_window = (
        {**given, **over}[name].where(F.col(day).between(F.lit(window.first), F.lit(window.last)))
        for name, day in DAY_OF.items()
    )
    return merchant_settlements(*of_window, lookup(booked, "loan_id"), carried, window)


@pytest.fixture(scope="module")
def staged(given: dict[str, DataFrame], nothing: DataFrame, keep: Keep) -> DataFrame:
    return keep(made(given, nothing))


Settled = dict[tuple[str, str], tuple[str, ...]]


def found(rows: DataFrame) -> Settled:
    return {
        (each.merchant_id, str(each.as_of)): tuple(f"{each[name]:,.2f}" for name in MONEY) for each in rows.collect()
    }


def example() -> Settled:
    """The table of docs/money.md; what is left out is 0.00."""
    section = DOC.read_text().split("### Merchant settlements\n")[1].split("\n### ")[0]
    rows = (line.strip("|").split("|") for line in section.splitlines() if "| 2024-" in line)
    cells = [[cell.strip() for cell in each] for each in rows]
    return {(merchant, day): tuple(each or "0.00" for each in amounts) for merchant, day, *amounts in cells}


def test_each_merchant_has_the_days_on_which_it_has_something(staged: DataFrame) -> None:
    assert column_differences(MerchantSettlement, staged.schema) == []
    assert found(staged) == example()
    assert len(example()) == 19


def test_a_range_is_its_days_one_by_one(
    spark: SparkSession, given: dict[str, DataFrame], nothing: DataFrame, staged: DataFrame, keep: Keep
) -> None:
    by_day: Settled = {}
    carried = nothing
    for number in range((LAST - FIRST).days + 1):
        each = FIRST + timedelta(days=number)
        of_day = made(given, carried, Window(each, each)).select(list(MerchantSettlement.model_fields)).collect()
        carried = spark.createDataFrame([tuple(settled) for settled in of_day], spark_schema(MerchantSettlement))
        by_day |= found(carried)
    assert by_day == found(staged)


def test_a_window_on_a_day_on_which_nothing_happens_loses_no_balance(
    given: dict[str, DataFrame], staged: DataFrame
) -> None:
    carried = staged.where("as_of = DATE'2024-03-04'")
    assert found(made(given, carried, Window(LAST, LAST))) == {("hats", "2024-03-05"): example()["hats", "2024-03-05"]}


def test_a_payout_that_names_no_merchant_is_not_lost(
    given: dict[str, DataFrame], nothing: DataFrame, keep: Keep
) -> None:
    """The feed refuses one; the column may be null all the same."""
    payouts = changed(given["transactions"], "transaction_id = 'P1'", merchant_id="NULL")
    settled = keep(made(given, nothing, transactions=payouts))
    assert found(settled)["no merchant", "2024-02-28"][MONEY.index("payouts")] == "950.00"
    assert not_ok(totals_equal_the_ledger.function(settled, given["trial_balance"])) == 0
    assert not_ok(of_ledger(settled, {**given, "transactions": payouts})) == 0


def test_an_id_that_comes_again_long_after_is_another_transaction(
    given: dict[str, DataFrame], nothing: DataFrame, keep: Keep
) -> None:
    """Intake takes one again that is older than its look-back."""
    transactions = changed(given["transactions"], "transaction_id = 'P2'", transaction_id="'P1'")
    entries = changed(given["ledger_entries"], "transaction_id = 'P2'", transaction_id="'P1'")
    settled = keep(made(given, nothing, transactions=transactions))
    assert not_ok(of_ledger(settled, {**given, "transactions": transactions, "ledger_entries": entries})) == 0


def of_ledger(staged: DataFrame, given: Mapping[str, DataFrame]) -> DataFrame:
    transactions = given["transactions"]
    return movements_are_those_of_the_ledger.function(
        staged,
        given["ledger_entries"],
        given["loans"],
        transactions,
        lookup(given["loans"], "loan_id"),
        lookup(transactions, "transaction_id"),
    )


def test_audits_pass(given: dict[str, DataFrame], staged: DataFrame, nothing: DataFrame) -> None:
    assert not_ok(movements_add_up.function(staged)) == 0
    assert not_ok(totals_equal_the_ledger.function(staged, given["trial_balance"])) == 0
    assert not_ok(of_ledger(staged, given)) == 0
    assert not_ok(OPENS.function(staged, nothing, ALL)) == 0
    assert not_ok(NEXT_DAY_OPENS.function(staged, nothing, ALL, None)) == 0


def test_the_ledger_says_each_movement(given: dict[str, DataFrame], staged: DataFrame) -> None:
    """An audit that compared nothing with nothing would pass, too."""
    posted = of_ledger(staged, given)
    for name in MONEY[1:-1]:
        assert posted.where(f"posted_{name} <> 0").count() > 0


def test_one_merchants_movement_on_anothers_name_is_found(
    given: dict[str, DataFrame], nothing: DataFrame, keep: Keep
) -> None:
    """The totals agree."""
    payouts = changed(given["transactions"], "transaction_id = 'P1'", merchant_id="'shoes'")
    wrong = keep(made(given, nothing, transactions=payouts))
    assert not_ok(totals_equal_the_ledger.function(wrong, given["trial_balance"])) == 0
    failed = of_ledger(wrong, given).where("NOT ok").collect()
    assert sorted((each.merchant_id, str(each.as_of)) for each in failed) == [
        ("hats", "2024-02-28"),
        ("shoes", "2024-02-28"),
    ]


def test_a_refund_of_the_merchant_whom_it_names_and_not_of_its_loans_is_found(
    given: dict[str, DataFrame], nothing: DataFrame, keep: Keep
) -> None:
    wrong = keep(made(given, nothing, booked=changed(given["loans"], "loan_id = 'L1'", merchant_id="'shoes'")))
    assert not_ok(totals_equal_the_ledger.function(wrong, given["trial_balance"])) == 0
    failed = of_ledger(wrong, given).where("NOT ok").collect()
    assert sorted((each.merchant_id, str(each.as_of)) for each in failed) == [
        (merchant, day) for merchant in ("hats", "shoes") for day in ("2024-03-01", "2024-03-03")
    ]


def test_a_refund_that_stays_where_it_waited_is_found(
    given: dict[str, DataFrame], nothing: DataFrame, keep: Keep
) -> None:
    """It would be charged twice: to whom it names, and to its loan's merchant."""
    wrong = keep(made(given, nothing, suspense=given["suspense"].where("false")))
    assert not_ok(totals_equal_the_ledger.function(wrong, given["trial_balance"])) == 4
    assert not_ok(of_ledger(wrong, given)) == 2


@pytest.mark.parametrize("merchant", ["hats", "shoes", "no merchant"])
def test_a_merchant_that_is_lost_is_found(given: dict[str, DataFrame], staged: DataFrame, merchant: str) -> None:
    left = staged.where(F.col("merchant_id") != merchant)
    assert not_ok(totals_equal_the_ledger.function(left, given["trial_balance"])) > 0
    assert not_ok(of_ledger(left, given)) > 0


def test_a_balance_that_is_gone_the_day_after_is_found(staged: DataFrame, nothing: DataFrame) -> None:
    """A merchant may end only where nothing is left."""
    left = staged.where("NOT (merchant_id = 'hats' AND as_of = DATE'2024-03-05')")
    failed = OPENS.function(left, nothing, ALL).where("NOT ok").collect()
    says = "closing closed as -77.00, opens as 0.00"
    assert [(each.merchant_id, each.differs) for each in failed] == [("hats", says)]


def test_a_row_that_says_nothing_is_found(spark: SparkSession) -> None:
    empty = frame(spark, MerchantSettlement, [row(MerchantSettlement, merchant_id="hats", as_of=LAST)])
    assert not_ok(movements_add_up.function(empty)) == 1
