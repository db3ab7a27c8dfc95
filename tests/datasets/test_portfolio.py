"""The portfolio by product and vintage, and the audits that compare it with the loan balances and with the ledger."""

from datetime import date, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.ledger.ledger_entries import ledger_entries
from affirm_assets.datasets.ledger.trial_balance import AccountBalance, trial_balance
from affirm_assets.datasets.portfolio.portfolio_daily import (
    PortfolioDaily,
    parts_add_up,
    portfolio_daily,
    totals_equal_the_balances,
    totals_equal_the_ledger,
)
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.declare.contract import column_differences
from tests.datasets.lender import DAY, MADE_OF, MOVED_BY, WINDOW, Row, books, changed, day, frame, not_ok, row
from tests.storage import Keep


def balance(loan_id: str, bucket: str, **over: Any) -> Row:
    fixed = {"as_of": DAY, "product": "installment", "status": "open", "originated_on": day("01-31"), **over}
    return row(LoanBalance, loan_id=loan_id, bucket=bucket, **fixed)


BALANCES = [
    balance("L1", "current", principal="100.10", interest="1.01", interest_accrued="0.11", principal_lent="100.10"),
    balance("L2", "current", status="repaid", credit="3.33", principal_paid="50.05", interest_paid="-0.50"),
    balance("L3", "1-29", days_past_due=1, principal="200.20", principal_reversed="0.07", interest_reversed="0.02"),
    balance("L4", "30-59", days_past_due=30, principal="300.30", principal_refunded="9.99", interest_refunded="0.03"),
    balance("L5", "60-89", days_past_due=60, principal="400.40", interest_given_back="0.04"),
    balance("L12", "current", status="repaid", principal_waived="0.70", interest_waived="0.02"),
    balance("L6", "90-119", days_past_due=90, principal="500.50", amount_past_due="50.00"),
    balance("L7", "90-119", days_past_due=119, principal="500.51"),
    balance(
        "L8",
        "charged_off",
        status="charged_off",
        recovery_principal="5.00",
        recovery_interest="1.00",
        charged_off_principal="75.00",
        recovered_principal="8.00",
    ),
    balance(
        "L9",
        "charged_off",
        status="charged_off",
        principal_charged_off="25.00",
        interest_charged_off="1.25",
        charged_off_principal="25.00",
    ),
    balance("L10", "current", originated_on=day("02-01"), principal="7.00"),
    balance("L11", "current", product="pay_in_4", principal="8.00"),
]
JANUARY = {
    "loans": 10,
    "open_loans": 6,
    "repaid_loans": 2,
    "charged_off_loans": 2,
    "principal": "2002.01",
    "interest": "1.01",
    "credit": "3.33",
    "principal_lent": "100.10",
    "principal_paid": "49.98",
    "principal_refunded": "9.99",
    "principal_charged_off": "25.00",
    "principal_waived": "0.70",
    "interest_accrued": "0.11",
    "interest_paid": "-0.52",
    "interest_refunded": "0.03",
    "interest_given_back": "0.04",
    "interest_charged_off": "1.25",
    "interest_waived": "0.02",
    "recovery_principal": "5.00",
    "recovery_interest": "1.00",
    "principal_current": "100.10",
    "principal_1_29": "200.20",
    "principal_30_59": "300.30",
    "principal_60_89": "400.40",
    "principal_90_119": "1001.01",
    "loans_1_29": 1,
    "loans_30_59": 1,
    "loans_60_89": 1,
    "loans_90_119": 2,
    "charged_off_principal": "100.00",
    "recovered_principal": "8.00",
    "amount_past_due": "50.00",
}


def test_loans_are_added_up_by_product_and_vintage(spark: SparkSession) -> None:
    made = portfolio_daily(frame(spark, LoanBalance, BALANCES))
    assert column_differences(PortfolioDaily, made.schema) == []
    found = {(each.product, each.vintage): each.asDict() for each in made.collect()}
    assert {group: str(each["principal"]) for group, each in found.items()} == {
        ("installment", date(2025, 1, 1)): "2002.01",
        ("installment", date(2025, 2, 1)): "7.00",
        ("pay_in_4", date(2025, 1, 1)): "8.00",
    }
    january = found["installment", date(2025, 1, 1)]
    assert {name: str(january[name]) for name in JANUARY} == {name: str(value) for name, value in JANUARY.items()}


@pytest.fixture(scope="module")
def given(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    """The small lender's loan balances and trial balance."""
    of = books(spark, keep)
    entries = ledger_entries(*(of[name] for name in MADE_OF))
    ledger = keep(trial_balance(entries, *(of[name] for name in MOVED_BY), frame(spark, AccountBalance, []), WINDOW))
    return {"loan_balances": of["loan_balances"], "trial_balance": ledger}


@pytest.fixture(scope="module")
def staged(given: dict[str, DataFrame], keep: Keep) -> DataFrame:
    return keep(portfolio_daily(given["loan_balances"]))


def differing_days(audited: DataFrame) -> list[str]:
    return sorted({str(each.as_of) for each in audited.where("NOT coalesce(ok, false)").collect()})


def test_audits_pass(staged: DataFrame, given: dict[str, DataFrame]) -> None:
    assert not_ok(parts_add_up.function(staged)) == 0
    assert not_ok(totals_equal_the_balances.function(staged, given["loan_balances"])) == 0
    of_ledger = totals_equal_the_ledger.function(staged, given["trial_balance"])
    # On the first day nothing is lent yet.
    assert of_ledger.count() == 201 == staged.select("as_of").distinct().count() + 1
    assert not_ok(of_ledger) == 0


A_GROUP = "product = 'installment' AND vintage = DATE'2025-01-01' AND as_of = DATE'2025-03-20'"


def test_a_figure_that_is_not_the_balances_is_found(staged: DataFrame, given: dict[str, DataFrame]) -> None:
    """Each figure on a day of its own."""
    wrong, planted = staged, []
    for number, name in enumerate(JANUARY):
        as_of = str(DAY + timedelta(days=number))
        one = "0.01" if staged.schema[name].dataType.simpleString().startswith("decimal") else "1"
        where = A_GROUP.replace("2025-03-20", as_of)
        wrong = changed(wrong, where, **{name: f"{name} + {one}"})
        planted.append(as_of)
    assert differing_days(totals_equal_the_balances.function(wrong, given["loan_balances"])) == planted


@pytest.mark.parametrize(
    "wrong", [{"product": "'pay_in_4'"}, {"vintage": "DATE'2025-02-01'"}], ids=["product", "vintage"]
)
def test_a_group_under_another_key_is_found(
    staged: DataFrame, given: dict[str, DataFrame], wrong: dict[str, str]
) -> None:
    """The day's totals do not tell."""
    planted = changed(staged, A_GROUP, **wrong)
    assert differing_days(totals_equal_the_balances.function(planted, given["loan_balances"])) == ["2025-03-20"]
    assert differing_days(totals_equal_the_ledger.function(planted, given["trial_balance"])) == []


@pytest.mark.parametrize("missing", [A_GROUP, "as_of = DATE'2025-03-20'"], ids=["a group", "a day"])
def test_what_is_missing_is_found(staged: DataFrame, given: dict[str, DataFrame], missing: str) -> None:
    wrong = staged.where(f"NOT ({missing})")
    assert differing_days(totals_equal_the_balances.function(wrong, given["loan_balances"])) == ["2025-03-20"]
    assert differing_days(totals_equal_the_ledger.function(wrong, given["trial_balance"])) == ["2025-03-20"]


@pytest.mark.parametrize("account", ["principal_receivable", "interest_receivable", "credit_balances"])
def test_a_ledger_that_is_a_cent_off_is_found(staged: DataFrame, given: dict[str, DataFrame], account: str) -> None:
    where = f"account = '{account}' AND as_of = DATE'2025-03-20'"
    wrong = changed(given["trial_balance"], where, closing="closing + 0.01")
    assert differing_days(totals_equal_the_ledger.function(staged, wrong)) == ["2025-03-20"]


@pytest.mark.parametrize(
    "name",
    ["principal", "principal_current", "principal_1_29", "principal_30_59", "principal_60_89", "principal_90_119"],
)
def test_buckets_that_do_not_add_up_are_found(staged: DataFrame, name: str) -> None:
    assert not_ok(parts_add_up.function(changed(staged, A_GROUP, **{name: f"{name} + 0.01"}))) == 1


@pytest.mark.parametrize("name", ["loans", "open_loans", "repaid_loans", "charged_off_loans"])
def test_loans_of_another_number_by_status_are_found(staged: DataFrame, name: str) -> None:
    assert not_ok(parts_add_up.function(changed(staged, A_GROUP, **{name: f"{name} + 1"}))) == 1
