"""Every blocking audit passes what the transforms make, and fails when one value of it is changed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets import datasets as project
from affirm_assets.datasets.adjustments.adjustments import Adjustment
from affirm_assets.datasets.ledger.trial_balance import AccountBalance, trial_balance
from affirm_assets.datasets.merchants.merchant_settlements import MerchantSettlement, merchant_settlements
from affirm_assets.datasets.portfolio.vintage_curves import VintageCurve, vintage_curves
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.datasets.servicing.unapplied import Unapplied, unapplied
from affirm_assets.declare.contract import columns, iceberg_schema, money_columns, spark_schema
from affirm_assets.declare.dataset import CONTROL_TOTALS, IN_WINDOW, NOT_NULL, UNIQUE_KEY, Audit, Dataset
from affirm_assets.declare.inputs import WINDOW as THE_WINDOW
from affirm_assets.declare.inputs import Landing, Through, ToProve
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.steps.audit import (
    Outcome,
    Question,
    audit_specs,
    control_totals_spec,
    declared_audits,
    unique_question,
    value_question,
    value_rules,
)
from affirm_assets.steps.control_totals import control_totals_outcome, totals_of_files
from affirm_assets.steps.engine import Staged
from tests.datasets.lender import (
    LOANS,
    MADE_OF,
    MOVED_BY,
    WINDOW,
    balances,
    books,
    changed,
    day,
    decided,
    frame,
    lookup,
    not_ok,
    row,
    with_rules,
)
from tests.storage import Keep

REGISTRY = Registry.walk(project)
DATASETS = [each for each in REGISTRY.in_order() if each.domain in ("ledger", "merchants", "portfolio")]
OTHERS = [each for each in REGISTRY.in_order() if each.domain in ("servicing", "loans", "transactions", "adjustments")]
"""Of these, what follows from the contract is looked at in one row for all of a dataset's rules."""

DAYS = Window(day("01-03"), day("07-10"))
"""What is staged; there are days before and after it."""


@dataclass(frozen=True)
class Case:
    """A change, in Spark SQL, of one row of the staged ones, which an audit is to find."""

    dataset: str
    audit: str
    where: str
    changes: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.dataset}-{self.audit}-{','.join(self.changes)}"


ROWS = {
    "provisions": "product = 'installment' AND as_of = DATE'2025-04-30'",
    "ledger_entries": "posting_id = 'payment/P4' AND entry = 1",
    "trial_balance": "account = 'cash' AND as_of = DATE'2025-03-20'",
    "journal": "account = 'cash' AND posted_on = DATE'2025-03-20'",
    "merchant_settlements": "merchant_id = 'M-installment' AND as_of = DATE'2025-03-20'",
    "cash_daily": "kind = 'payment_reversal' AND posted_on = DATE'2025-03-05'",
    "originations_daily": "booked_on = DATE'2025-01-05'",
    "originations_monthly": "month = DATE'2025-03-01'",
    "portfolio_daily": "product = 'pay_in_4' AND as_of = DATE'2025-02-28'",
    "roll_rates": "month = DATE'2025-03-01' AND product = 'installment' AND from_bucket = '1-29' "
    "AND to_bucket = 'paid'",
    "vintage_curves": "month = DATE'2025-07-01' AND product = 'installment' AND vintage = DATE'2025-01-01'",
    "funding_tape": "loan_id = 'LATE' AND month = DATE'2025-03-01'",
    "loan_balances": "loan_id = 'LATE' AND as_of = DATE'2025-02-28'",
    "payment_applications": "transaction_id = 'P4'",
    "charge_offs": "loan_id = 'NEVER-PAID' AND as_of = DATE'2025-07-05'",
    "unapplied": "transaction_id = 'P13' AND as_of = DATE'2025-04-20'",
    "loans": "loan_id = 'LATE'",
    "borrowers": "user_id = 'U-LATE'",
    "loan_schedules": "loan_id = 'LATE' AND number = 2",
    "rejected_loans": "true",
    "transactions": "transaction_id = 'P4'",
    "rejected_transactions": "true",
    "suspense": "transaction_id = 'W1' AND as_of = DATE'2025-03-02'",
    "adjustments": "adjustment_id = 'A1'",
    "rejected_adjustments": "true",
}
"""A row of each dataset."""

WRONG_VALUES = {
    "ge": "-1",
    "gt": "0",
    "le": "101",
    "is_known": "'nobody knows it'",
    "pattern": "' '",
    "min_length": "''",
    "max_length": f"'{'-' * 300}'",
}
"""By what a rule of a contract asks for, what breaks it."""

SAME_KEY = {
    "provisions": {"product": "'pay_in_4'"},
    "ledger_entries": {"entry": "2"},
    "trial_balance": {"account": "'suspense'"},
    "journal": {"account": "'interest_income'"},
    "merchant_settlements": {"merchant_id": "'M-pay_in_4'"},
    "cash_daily": {"kind": "'payment'"},
    "originations_daily": {"booked_on": "DATE'2025-01-03'"},
    "originations_monthly": {"month": "DATE'2025-01-01'"},
    "portfolio_daily": {"product": "'installment'"},
    "roll_rates": {"to_bucket": "'30-59'"},
    "vintage_curves": {"vintage": "DATE'2025-03-01'"},
    "funding_tape": {"loan_id": "'ON-TIME'"},
}
"""What gives that row the key of another one."""

QUIET = "loan_id = 'ON-TIME' AND as_of = DATE'2025-01-20'"
LOST = "loan_id = 'NEVER-PAID' AND as_of = DATE'2025-06-30'"
LOST_IN_JUNE = "loan_id = 'NEVER-PAID' AND month = DATE'2025-06-01'"
ON_LAST_DAY = f"as_of = DATE'{DAYS.last}'"
REASSIGNED = "merchant_id = 'no merchant' AND as_of = DATE'2025-03-04'"
_MOVES_MERCHANTS = (
    "purchases",
    "discount",
    "refunds",
    "refunds_reversed",
    "discount_returned",
    "payouts",
    "reassigned",
)
DECLARED = {
    ("provisions", "expected_is_rate_times_cost"): [
        ("", {f"{of}_{name}": f"{of}_{name} + {less}"})
        for of, less in (("cost", "0.01"), ("rate", "0.000001"), ("expected", "0.01"))
        for name in ("current", "1_29", "30_59", "60_89", "90_119")
    ],
    ("provisions", "movements_are_those_of_charge_offs"): [
        ("", {"charged_off": "charged_off + 0.01"}),
        ("", {"recovered": "recovered - 0.01"}),
    ],
    ("provisions", "allowance_is_provided_less_lost"): [
        ("", {"provision": "provision + 0.01"}),
        ("", {"closing": "closing - 0.01"}),
    ],
    ("provisions", "only_the_end_of_a_month_provides"): [
        ("", {"expected": "expected + 0.01"}),
        ("", {"closing": "closing + 0.01"}),
        ("product = 'pay_in_4' AND as_of = DATE'2025-05-30'", {"provision": "0.01"}),
    ],
    ("provisions", "opens_as_closed"): [("", {"opening": "opening + 0.01"})],
    ("provisions", "next_day_opens_as_closed"): [
        (f"product = 'installment' AND {ON_LAST_DAY}", {"closing": "closing + 0.01"})
    ],
    ("ledger_entries", "every_posting_balances"): [("", {"debit": "debit + 0.01"})],
    ("ledger_entries", "every_movement_is_posted"): [
        ("", {"debit": "debit - 0.01"}),
        ("posting_id = 'provision/installment/2025-04-30' AND entry = 2", {"credit": "credit + 0.01"}),
        ("posting_id = 'accrual/LATE/2025-02-01' AND entry = 2", {"credit": "credit + 0.01"}),
        ("posting_id = 'suspense/W1' AND entry = 2", {"credit": "credit + 0.01"}),
    ],
    ("ledger_entries", "every_transaction_is_posted"): [
        ("", {"debit": "debit + 0.01"}),
        ("posting_id = 'refund/P8' AND entry = 1", {"debit": "debit + 0.01"}),
    ],
    ("trial_balance", "sums_to_zero"): [("", {name: f"{name} + 0.01"}) for name in ("opening", "closing")],
    ("trial_balance", "entries_add_up"): [("", {name: f"{name} + 0.01"}) for name in ("debits", "credits", "closing")],
    ("trial_balance", "ties_to_subledgers"): [
        ("", {"closing": "closing + 0.01"}),
        ("account = 'interest_income' AND as_of = DATE'2025-03-20'", {"opening": "opening + 0.01"}),
        ("", {"moved_closing": "moved_closing + 0.01"}),
        ("", {"moved_closing": "NULL"}),
        ("account = 'suspense' AND as_of = DATE'2025-03-20'", {"moved_closing": "0"}),
    ],
    ("trial_balance", "opens_as_closed"): [
        ("", {"opening": "opening + 0.01"}),
        ("", {"moved_opening": "moved_opening + 0.01"}),
    ],
    ("trial_balance", "next_day_opens_as_closed"): [
        (f"account = 'cash' AND {ON_LAST_DAY}", {"closing": "closing + 0.01"})
    ],
    ("journal", "every_journal_balances"): [("", {"debit": "debit + 0.01"}), ("", {"line": "line + 1"})],
    ("journal", "lines_equal_the_trial_balance"): [("", {name: f"{name} + 0.01"}) for name in ("debit", "credit")],
    ("journal", "every_entry_is_counted"): [("", {"entries": "entries + 1"}), ("", {"account": "'allowance'"})],
    ("journal", "the_id_is_that_of_the_lines"): [
        ("", {"journal_id": "'2025-03-20-0123456789abcdef'"}),
        *(("", {name: f"{name} + 100"}) for name in ("line", "debit", "credit", "entries")),
    ],
    ("merchant_settlements", "movements_add_up"): [
        ("", {name: f"{name} + 0.01"}) for name in ("opening", *_MOVES_MERCHANTS, "closing")
    ],
    ("merchant_settlements", "totals_equal_the_ledger"): [
        ("", {name: f"{name} + 0.01"}) for name in ("opening", *_MOVES_MERCHANTS, "closing")
    ],
    ("merchant_settlements", "movements_are_those_of_the_ledger"): [
        *(("", {name: f"{name} + 0.01"}) for name in _MOVES_MERCHANTS),
        (REASSIGNED, {"reassigned": "reassigned - 0.01"}),
        (REASSIGNED, {"merchant_id": "'M-pay_in_4'"}),
    ],
    ("merchant_settlements", "opens_as_closed"): [("", {"opening": "opening + 0.01"})],
    ("merchant_settlements", "next_day_opens_as_closed"): [
        (f"merchant_id = 'M-installment' AND {ON_LAST_DAY}", {"closing": "closing + 0.01"})
    ],
    ("cash_daily", "totals_equal_the_transactions"): [
        ("", {"transactions": "transactions + 1"}),
        ("", {"received": "0.01"}),
        ("", {"paid_out": "paid_out - 0.01"}),
    ],
    ("cash_daily", "totals_equal_the_ledger"): [("", {"received": "0.01"}), ("", {"paid_out": "paid_out - 0.01"})],
    ("originations_daily", "totals_equal_the_loans"): [
        ("", {"loans": "loans + 1"}),
        ("", {"principal": "principal + 0.01"}),
        ("", {"principal_times_apr": "0.00000001"}),
    ],
    ("originations_daily", "apr_is_that_of_the_loans"): [("", {"apr": "apr + 0.000001"})],
    ("originations_monthly", "totals_equal_the_days"): [
        ("", {"loans": "loans + 1"}),
        ("", {"principal": "principal + 0.01"}),
    ],
    ("originations_monthly", "apr_is_that_of_the_days"): [("", {"apr": "apr + 0.000001"})],
    ("portfolio_daily", "parts_add_up"): [
        ("", {"principal": "principal + 0.01"}),
        ("", {"repaid_loans": "repaid_loans + 1"}),
    ],
    ("portfolio_daily", "totals_equal_the_balances"): [("", {"recovered_principal": "recovered_principal + 0.01"})],
    ("portfolio_daily", "totals_equal_the_ledger"): [
        ("", {name: f"{name} + 0.01"}) for name in ("principal", "interest", "credit")
    ],
    ("roll_rates", "rows_add_up_to_the_opening_balances"): [
        ("", {name: f"{name} + 0.01"}) for name in ("principal", "opening_principal")
    ],
    ("roll_rates", "destinations_tie_to_the_portfolio"): [
        ("", {"principal": "principal - 0.01"}),
        ("", {"to_bucket": "'refunded'"}),
    ],
    ("roll_rates", "cells_are_those_of_the_loans"): [
        ("", {"loans": "loans + 1"}),
        ("", {"principal": "principal + 0.01"}),
        ("", {"from_bucket": "'30-59'"}),
        ("", {"to_bucket": "'30-59'"}),
    ],
    ("roll_rates", "rates_are_of_the_opening_balances"): [
        ("", {"rate": "rate + 0.000001"}),
        ("", {"rate": "NULL"}),
    ],
    ("vintage_curves", "originated_is_every_loan"): [
        ("", {"loans": "loans - 1"}),
        ("", {"originated": "originated + 0.01"}),
    ],
    ("vintage_curves", "losses_are_those_of_charge_offs"): [
        ("", {name: f"{name} + 0.01"}) for name in ("charged_off", "recovered", "unearned", "net_loss")
    ],
    ("vintage_curves", "losses_are_those_of_the_portfolio"): [
        ("", {name: f"{name} - 0.01"}) for name in ("charged_off", "recovered")
    ],
    ("vintage_curves", "prepaid_is_what_the_schedules_did_not_ask_for"): [
        ("", {"prepaid": "prepaid + 0.01"}),
        ("month = DATE'2025-03-01' AND vintage = DATE'2025-01-01' AND product = 'installment'", {"prepaid": "0"}),
    ],
    ("vintage_curves", "rates_are_of_what_was_originated"): [
        ("", {name: f"{name} - 0.000001"})
        for name in ("charge_off_rate", "recovery_rate", "net_loss_rate", "prepayment_rate")
    ],
    ("vintage_curves", "months_on_book_are_those_since_the_vintage"): [("", {"months_on_book": "months_on_book + 1"})],
    ("vintage_curves", "opens_as_closed"): [
        ("", {"opening_loans": "opening_loans + 1"}),
        ("", {"opening_originated": "opening_originated + 0.01"}),
        ("", {"opening_prepaid": "opening_prepaid + 0.01"}),
    ],
    ("vintage_curves", "next_day_opens_as_closed"): [("", {"prepaid": "prepaid + 0.01"})],
    ("funding_tape", "movements_add_up"): [
        ("", {name: f"{name} + 0.01"}) for name in ("opening_principal", "interest_paid", "credit_overpaid", "credit")
    ],
    ("funding_tape", "every_loan_is_there"): [("", {"loan_id": "'OTHER'"}), ("", {"month": "DATE'2025-01-02'"})],
    ("funding_tape", "opens_as_the_day_before_closed"): [
        ("", {name: f"{name} + 0.01"}) for name in ("opening_principal", "opening_interest", "opening_credit")
    ],
    ("funding_tape", "ends_as_the_last_day"): [
        ("", {"principal": "principal + 0.01"}),
        ("", {"days_past_due": "days_past_due + 1"}),
        ("", {"next_due_on": "NULL"}),
        ("", {"as_of": "date_sub(as_of, 1)"}),
        ("", {"payoff_amount": "payoff_amount - 0.01"}),
    ],
    ("funding_tape", "charged_off_loans_are_those_listed"): [
        (LOST_IN_JUNE, {"charged_off_on": "date_sub(charged_off_on, 1)"}),
        (LOST_IN_JUNE, {"charged_off_on": "NULL"}),
        (LOST_IN_JUNE, {"charge_off_cause": "'fraud'"}),
        (LOST_IN_JUNE, {"recovered_interest": "0.01"}),
        ("", {"charged_off_on": "as_of"}),
    ],
    ("funding_tape", "totals_equal_the_portfolio"): [
        *(("", {name: f"{name} + 0.01"}) for name in ("interest_waived", "principal_reversed", "amount_past_due")),
        ("", {"bucket": "'60-89'"}),
        ("", {"product": "'pay_in_4'"}),
        ("", {"originated_on": "DATE'2024-12-31'"}),
        ("", {"status": "'repaid'"}),
    ],
    ("funding_tape", "totals_equal_the_ledger"): [
        ("", {name: f"{name} + 0.01"})
        for each in ("principal", "interest", "credit")
        for name in (each, f"opening_{each}")
    ],
    ("funding_tape", "terms_are_those_of_the_loans"): [
        ("", {"apr": "apr + 0.000001"}),
        ("", {"borrower_state": "'NY'"}),
        ("", {"amount_lent": "amount_lent - 0.01"}),
        ("", {"instalment": "instalment + 0.01"}),
        ("", {"booked_on": "date_sub(booked_on, 1)"}),
        ("", {"loan_id": "'OTHER'"}),
    ],
    ("funding_tape", "new_loans_are_the_originations"): [
        ("loan_id = 'LATE' AND month = DATE'2025-01-01'", {"borrower_state": "'NY'"}),
        ("loan_id = 'LATE' AND month = DATE'2025-01-01'", {"amount_lent": "amount_lent + 0.01"}),
    ],
    ("funding_tape", "matures_with_its_last_instalment"): [
        ("", {"matures_on": "date_add(matures_on, 1)"}),
        ("", {"matures_on": "add_months(matures_on, 1)"}),
        ("", {"last_instalment": "last_instalment - 1"}),
        ("", {"matures_on": "NULL"}),
    ],
    ("loan_balances", "movements_add_up"): [
        ("", {name: f"{name} + 0.01"}) for name in ("opening_principal", "interest_accrued", "credit")
    ],
    ("loan_balances", "interest_is_principal_times_rate_times_days"): [
        ("", {"interest_accrued": "interest_accrued + 0.01"}),
        ("", {"accrued": "accrued - 0.01"}),
        ("", {"apr": "2 * apr"}),
        ("loan_id = 'BOOKED-LATE' AND as_of = DATE'2025-03-04'", {"originated_on": "date_sub(originated_on, 1)"}),
    ],
    ("loan_balances", "delinquency_follows_from_the_due_date"): [
        ("", {"days_past_due": "days_past_due + 1"}),
        ("", {"oldest_due_on": "date_sub(oldest_due_on, 1)"}),
        ("", {"highest_days_past_due": "days_past_due - 1"}),
        ("", {"reaged_on": "date_add(oldest_due_on, 1)"}),
        (LOST, {"charged_off_on": "date_sub(charged_off_on, 1)"}),
        (LOST, {"charged_off_on": "date_add(as_of, 1)"}),
    ],
    ("loan_balances", "what_is_paid_meets_instalments"): [
        ("loan_id = 'ON-TIME' AND as_of = DATE'2025-02-02'", {"paid": "2 * paid"}),
        ("loan_id = 'ON-TIME' AND as_of = DATE'2025-02-02'", {"principal_paid": "principal_paid + 0.01"}),
        ("", {"oldest_due_on": "date_add(oldest_due_on, 31)"}),
        ("", {"shortage": "shortage + instalment"}),
    ],
    ("loan_balances", "money_is_where_it_can_be"): [
        ("", {"status": "'repaid'"}),
        ("", {"credit": "0.01"}),
        ("", {"amount_past_due": "principal + interest + 0.01"}),
        ("", {"next_due_amount": "principal + interest - amount_past_due + 0.01"}),
        (LOST, {"interest": "0.01"}),
        (LOST, {"recovered_principal": "charged_off_principal + 0.01"}),
        (LOST, {"recovered_interest": "0.01"}),
        ("loan_id = 'ON-TIME' AND as_of = DATE'2025-03-21'", {"credit_since": "NULL"}),
    ],
    ("loan_balances", "income_waits_as_the_rules_say"): [
        (QUIET, {"deferred_discount": "deferred_discount + 0.00000003"}),
        (QUIET, {"deferred_discount": "deferred_discount - 0.00000003"}),
        (QUIET, {"deferred_discount": "opening_deferred_discount"}),
        (QUIET, {"effective_rate": "apr"}),
        (QUIET, {"deferred_discount": "merchant_discount"}),
        ("", {"cost_recovered": "0.01"}),
        ("", {"nonaccrual_since": "as_of"}),
        ("loan_id = 'ON-TIME' AND as_of = DATE'2025-02-02'", {"deferred_discount": "0"}),
        (LOST, {"deferred_discount": "charged_off_principal - recovered_principal + 0.01"}),
    ],
    ("loan_balances", "every_loan_is_lent_once"): [
        ("loan_id = 'LATE' AND as_of = DATE'2025-01-05'", {"principal_lent": "principal_lent + 0.01"}),
        ("", {"principal_lent": "0.01"}),
    ],
    ("loan_balances", "every_transaction_is_applied"): [
        ("loan_id = 'ON-TIME' AND as_of = DATE'2025-03-20'", {"principal_paid": "principal_paid - 0.01"}),
        ("loan_id = 'LATE' AND as_of = DATE'2025-04-02'", {"adjusted": "adjusted - 0.01"}),
    ],
    ("loan_balances", "opens_as_closed"): [("", {"opening_accrued": "opening_accrued + 0.00000001"})],
    ("loan_balances", "next_day_opens_as_closed"): [
        (f"loan_id = 'REFUNDED' AND {ON_LAST_DAY}", {"principal": "principal + 0.01"})
    ],
    ("payment_applications", "every_transaction_has_one"): [
        ("", {"principal": "principal + 0.01"}),
        ("transaction_id = 'adjustment/A1'", {"interest": "interest + 0.01"}),
        ("transaction_id = 'adjustment/A4'", {"unapplied": "unapplied + 0.01"}),
        ("transaction_id = 'adjustment/A5'", {"credit": "0.01"}),
    ],
    ("payment_applications", "applications_are_the_balances_movements"): [
        *(
            ("", {name: f"{name} + 0.01"})
            for name in (
                "interest",
                "principal",
                "credit",
                "recovery_principal",
                "recovery_interest",
                "unapplied",
                "interest_given_back",
                "discount_returned",
            )
        ),
        # What refunds, and what adjustments come to.
        ("transaction_id = 'P8'", {"kind": "'payment'"}),
        ("transaction_id = 'adjustment/A1'", {"kind": "'payment'"}),
    ],
    ("charge_offs", "net_loss_adds_up"): [("", {"net_loss": "net_loss + 0.01"})],
    ("charge_offs", "opens_as_closed"): [
        ("", {name: f"{name} + 0.01"})
        for name in ("principal", "interest_reversed", "principal_recovered", "interest_recovered", "unearned")
    ],
    ("charge_offs", "next_day_opens_as_closed"): [
        (f"loan_id = 'NEVER-PAID' AND {ON_LAST_DAY}", {"principal": "principal + 0.01"})
    ],
    ("unapplied", "unapplied_adds_up"): [("", {"closing": "closing + 0.01"}), ("", {"opening": "opening - 0.01"})],
    ("unapplied", "what_is_left_is_of_an_age"): [
        ("", {"days": "days + 1"}),
        ("", {"age": "'31-90'"}),
        ("", {"since": "date_add(since, 1)"}),
        ("", {"opening": "0"}),
    ],
    ("unapplied", "opens_as_closed"): [("", {"opening": "opening + 0.01"})],
    ("unapplied", "next_day_opens_as_closed"): [
        (f"transaction_id = 'P13' AND {ON_LAST_DAY}", {"closing": "closing + 0.01"})
    ],
    ("loan_schedules", "every_loan_is_repaid"): [("", {"principal": "principal + 0.01"})],
    ("loan_schedules", "instalments_follow_each_other"): [
        ("", {"payment": "payment + 0.01"}),
        ("", {"balance": "balance - 0.01"}),
        ("", {"due_on": "date_sub(due_on, 31)"}),
    ],
    ("loan_schedules", "interest_is_what_accrues"): [
        ("", {"interest": "interest + 0.01"}),
        ("", {"due_on": "date_add(due_on, 1)"}),
    ],
    ("loan_schedules", "all_but_the_last_are_level"): [("", {"payment": "payment + 0.01"})],
    ("loans", "every_record_is_accounted_for"): [("", {"record_number": "99"})],
    ("loans", "borrowers_are_of_these_loans"): [("", {"user_id": "'U-OTHER'"})],
    ("loans", "none_is_booked_later"): [("", {"loan_id": "'LATER'"})],
    ("borrowers", "every_booked_loan_has_a_borrower"): [("", {"user_id": "'U-OTHER'"})],
    ("rejected_loans", "every_record_is_accounted_for"): [("", {"record_number": "99"})],
    ("transactions", "every_record_is_accounted_for"): [("", {"record_number": "99"})],
    ("transactions", "none_is_booked_later"): [("", {"transaction_id": "'LATER'"})],
    ("rejected_transactions", "every_record_is_accounted_for"): [("", {"record_number": "99"})],
    ("suspense", "waiting_adds_up"): [
        ("", {"closing": "closing + 0.01"}),
        ("", {"opening": "opening - 0.01"}),
        ("", {"closing": "0"}),
    ],
    ("suspense", "none_waits_for_a_booked_loan"): [
        ("transaction_id = 'W1' AND as_of = DATE'2025-03-04'", {"taken_up_on": "NULL"}),
        ("transaction_id = 'W1' AND as_of = DATE'2025-03-04'", {"as_of": "date_add(as_of, 1)"}),
    ],
    ("suspense", "opens_as_closed"): [("", {"opening": "opening + 0.01"})],
    ("suspense", "next_day_opens_as_closed"): [
        (f"transaction_id = 'W4' AND {ON_LAST_DAY}", {"closing": "closing + 0.01"})
    ],
    ("adjustments", "every_record_is_accounted_for"): [("", {"record_number": "99"})],
    ("adjustments", "none_is_booked_later"): [("", {"adjustment_id": "'LATER'"})],
    ("rejected_adjustments", "every_record_is_accounted_for"): [("", {"record_number": "99"})],
}
"""By dataset and audit: where, if not in ROWS, and the change."""


def of_contract(dataset: Dataset) -> list[Case]:
    """The audits that follow from the contract and the partitions."""
    assert dataset.partitions is not None
    specs, where = columns(dataset.contract), ROWS[dataset.name]
    values = {
        rule.name: {spec.name: WRONG_VALUES[rule.name.removeprefix(f"{spec.name}_")]}
        for spec in specs
        for rule in spec.rules
    }
    built_in = {
        NOT_NULL: {specs[0].name: "NULL"},
        IN_WINDOW: {dataset.partitions.column: "DATE'2031-01-01'"},
        UNIQUE_KEY: SAME_KEY[dataset.name],
    }
    return [Case(dataset.name, audit, where, changes) for audit, changes in {**values, **built_in}.items()]


CASES = [
    *(case for dataset in DATASETS for case in of_contract(dataset)),
    *(
        Case(dataset, audit, where or ROWS[dataset], changes)
        for (dataset, audit), planted in DECLARED.items()
        for where, changes in planted
    ),
]


def test_every_blocking_audit_has_a_case() -> None:
    """But control_totals, which compares files and not rows, and is tested below; and few_are_refused, which counts
    what is not staged, and is tested with real files in tests/long/test_refused_folders.py."""
    blocking = {
        (dataset.name, spec.name)
        for dataset in (*DATASETS, *OTHERS)
        for spec in audit_specs(dataset)
        if spec.blocking and spec.name not in (CONTROL_TOTALS, "few_are_refused")
    }
    of_contracts = {(each.name, name) for each in OTHERS for name in (UNIQUE_KEY, *(r.name for r in value_rules(each)))}
    assert {(case.dataset, case.audit) for case in CASES} | of_contracts == blocking


@pytest.fixture(scope="module")
def tables(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    """The small lender's rows of all days, by dataset."""
    made = books(spark, keep)
    made["ledger_entries"] = keep(REGISTRY["ledger_entries"](*(made[name] for name in MADE_OF)))
    moved_by = (made[name] for name in MOVED_BY)
    made["trial_balance"] = keep(
        trial_balance(made["ledger_entries"], *moved_by, frame(spark, AccountBalance, []), WINDOW)
    )
    of_merchants = (made[name] for name in ("loans", "transactions", "payment_applications", "suspense"))
    made["merchant_settlements"] = keep(
        merchant_settlements(
            *of_merchants, lookup(made["loans"], "loan_id"), frame(spark, MerchantSettlement, []), WINDOW
        )
    )
    for name, of in {
        "journal": "ledger_entries",
        "cash_daily": "transactions",
        "originations_daily": "loans",
        "originations_monthly": "originations_daily",
        "portfolio_daily": "loan_balances",
    }.items():
        made[name] = keep(REGISTRY[name](made[of]))
    nothing = frame(spark, Unapplied, [])
    made["unapplied"] = keep(unapplied(nothing, made["payment_applications"], WINDOW))
    made["loan_schedules"] = keep(REGISTRY["loan_schedules"](made["loans"]))
    made["roll_rates"] = keep(REGISTRY["roll_rates"](made["loan_balances"], frame(spark, LoanBalance, [])))
    of_vintages = (made[name] for name in ("loans", "loan_balances", "loan_schedules"))
    months = Window(day("01-01"), day("08-01"))
    made["vintage_curves"] = keep(vintage_curves(*of_vintages, frame(spark, VintageCurve, []), months))
    made["funding_tape"] = keep(REGISTRY["funding_tape"](made["loan_balances"], made["loans"], made["loan_schedules"]))
    made["adjustments"] = keep(frame(spark, Adjustment, decided()))
    made["borrowers"] = keep(made["loans"].selectExpr("user_id", "booked_on", "'a@b.test' AS borrower_email"))
    for feed, name in (("loan", "loan_id"), ("transaction", "transaction_id"), ("adjustment", "adjustment_id")):
        made |= {each: keep(rows) for each, rows in received(spark, feed, made[f"{feed}s"]).items()}
        made[f"later_{feed}s"] = spark.createDataFrame([("LATER",)], f"{name} string")
    return made


def received(spark: SparkSession, feed: str, accepted: DataFrame) -> dict[str, DataFrame]:
    """What arrived in a feed and what became of it: what was accepted, and one more that was, one that was refused."""
    partitions = REGISTRY[f"{feed}s"].partitions
    assert partitions is not None
    others = spark.createDataFrame(
        [("-", 50, "duplicate"), ("-", 51, "rejected")], "file string, record_number bigint, fate string"
    )
    came_on = F.lit(day("02-01"))
    arrived = accepted.select("file", "record_number", F.col(partitions.column).alias("business_date"))
    rejected = REGISTRY[f"rejected_{feed}s"]
    assert rejected.partitions is not None
    refused = row(rejected.contract, file="-", record_number=51, **{rejected.partitions.column: day("02-01")})
    return {
        f"{feed}_rows": arrived.unionByName(others.select("file", "record_number", came_on.alias("business_date"))),
        f"{feed}_fates": others.withColumn(partitions.column, came_on),
        f"rejected_{feed}s": frame(spark, rejected.contract, [refused]),
    }


def window_of(dataset: Dataset) -> Window:
    assert dataset.partitions is not None
    return dataset.partitions.covering(DAYS)


def of_days(tables: Mapping[str, DataFrame], name: str, days: Window | None) -> DataFrame:
    partitions = REGISTRY[name].partitions
    assert partitions is not None
    assert days is not None
    return tables[name].where(F.col(partitions.column).between(F.lit(days.first), F.lit(days.last)))


def is_answered_well(question: Question) -> bool:
    (outcome,) = question.outcomes(question.query.collect()[0])
    return outcome.passed


def is_passed(name: str, dataset: Dataset, staged: DataFrame, tables: Mapping[str, DataFrame]) -> bool:
    """What the audit of this name says of the staged rows, as in a step."""
    window = window_of(dataset)
    for rule in value_rules(dataset, window):
        if rule.name == name:
            return is_answered_well(value_question(dataset, [rule], staged))
    if name == UNIQUE_KEY:
        return is_answered_well(unique_question(dataset, staged, staged.count()))
    (audit,) = (each for each in declared_audits(dataset) if each.name == name)
    given: dict[str, Any] = {"staged": staged, THE_WINDOW: window, "last_published": WINDOW.last}
    given["published"] = defaultdict(lambda: [DAYS])
    parameters = signature(audit.function).parameters
    if "proves" not in parameters:
        return is_ok(audit, given, dataset, tables)
    # It finds the same, whether it adds up the whole history or goes on from the day before.
    goes_on, proves = (is_ok(audit, {**given, "proves": why}, dataset, tables) for why in (None, "a month ends"))
    assert goes_on == proves
    return proves


def is_ok(audit: Audit, given: dict[str, Any], dataset: Dataset, tables: Mapping[str, DataFrame]) -> bool:
    parameters = signature(audit.function).parameters
    for parameter in parameters:
        if parameter in given:
            continue
        mapped = dataset.leaves.get(parameter)
        assert not isinstance(mapped, Landing)
        if mapped is None or parameter in tables:
            given[parameter] = tables[parameter]
        if mapped is not None and mapped.dataset in tables:
            days = dataset.read_days(mapped, REGISTRY[mapped.dataset].partitions, given[THE_WINDOW])
            given[parameter] = of_days(tables, mapped.dataset, days)
            if isinstance(mapped, ToProve) and given["proves"] is None:
                given[parameter] = given[parameter].where("false")
            if isinstance(mapped, Through) and mapped.by:
                given[parameter] = lookup(given[parameter], mapped.by)
        if parameter.startswith("later_") and parameter in tables:
            given[parameter] = tables[parameter]
    audited = audit.function(**{each: given[each] for each in parameters})
    assert audited.count() > 0
    return not_ok(audited) == 0


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    with_rules(monkeypatch)


@pytest.fixture(scope="module")
def passing() -> set[tuple[str, str]]:
    """The audits that have passed what was not changed."""
    return set()


@pytest.mark.parametrize("dataset", OTHERS, ids=str)
def test_the_rules_of_a_contract_find_wrong_values(dataset: Dataset, tables: Mapping[str, DataFrame]) -> None:
    assert dataset.partitions is not None
    staged = of_days(tables, dataset.name, window_of(dataset)).where(ROWS[dataset.name])
    rules = value_rules(dataset, window_of(dataset))
    wrong: dict[str, dict[str, str]] = defaultdict(dict)
    for spec in columns(dataset.contract):
        for rule in spec.rules:
            wrong[rule.name.removeprefix(f"{spec.name}_")][spec.name] = WRONG_VALUES[
                rule.name.removeprefix(f"{spec.name}_")
            ]
    first = next(s.name for s in columns(dataset.contract) if s.required and s.name != dataset.partitions.column)
    changes = [*wrong.values(), {first: "NULL"}, {dataset.partitions.column: "DATE'2031-01-01'"}]
    rows = staged
    for each in changes:
        rows = rows.unionByName(changed(staged, "true", **each))
    said = rows.selectExpr(*(f"coalesce({rule.violation}, false) AS `{rule.name}`" for rule in rules)).collect()
    (right,) = [each for each in said if not any(each)]
    assert len(said) == len(changes) + 1
    assert {name for each in said for name, is_wrong in each.asDict().items() if is_wrong} == set(right.asDict())
    assert is_answered_well(unique_question(dataset, staged, 1))
    assert not is_answered_well(unique_question(dataset, staged.unionByName(staged), 2))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_audit_finds_a_changed_value(
    case: Case, tables: Mapping[str, DataFrame], passing: set[tuple[str, str]]
) -> None:
    dataset = REGISTRY[case.dataset]
    staged = of_days(tables, case.dataset, window_of(dataset))
    assert staged.where(case.where).count() == 1
    if (case.dataset, case.audit) not in passing:
        assert is_passed(case.audit, dataset, staged, tables)
        passing.add((case.dataset, case.audit))
    assert not is_passed(case.audit, dataset, changed(staged, case.where, **case.changes), tables)


def test_balances_at_twice_the_rate_are_found(
    spark: SparkSession, tables: Mapping[str, DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they have computed agrees with itself, but not with the contract's rate."""
    twice = {each: replace(of, terms=replace(of.terms, apr=2 * of.terms.apr)) for each, of in LOANS.items()}
    monkeypatch.setattr("tests.datasets.lender.LOANS", twice)
    rows = [{**each, "apr": LOANS[each["loan_id"]].terms.apr} for each in balances() if each["loan_id"] == "LATE"]
    staged = frame(spark, LoanBalance, rows).where(f"as_of <= DATE'{DAYS.last}'")
    dataset = REGISTRY["loan_balances"]
    assert is_passed("movements_add_up", dataset, staged, tables)
    assert not is_passed("interest_is_principal_times_rate_times_days", dataset, staged, tables)


@pytest.mark.parametrize(
    ("transaction_id", "part"),
    [
        *(("P4", part) for part in ("interest", "principal", "credit")),
        ("P10", "recovery_principal"),
        ("P13", "unapplied"),
        ("adjustment/A4", "credit"),
        ("adjustment/A1", "interest"),
        ("adjustment/A2", "interest"),
    ],
)
def test_a_posting_whose_application_lacks_a_part_does_not_balance(
    tables: Mapping[str, DataFrame], transaction_id: str, part: str
) -> None:
    """An entry of the transaction's own amount is on one side, what was applied of it on the other."""
    made_of = {name: tables[name].where("false") for name in MADE_OF}
    one = tables["payment_applications"].where(f"transaction_id = '{transaction_id}'")
    assert one.where(f"{part} <> 0").count() == 1
    ledger_entries = REGISTRY["ledger_entries"]

    def balances_with(applied: DataFrame) -> bool:
        entries = ledger_entries(*({**made_of, "payment_applications": applied}[name] for name in MADE_OF))
        return is_passed("every_posting_balances", ledger_entries, entries, tables)

    assert balances_with(one)
    assert not balances_with(changed(one, "true", **{part: "0"}))


@pytest.mark.parametrize("dataset", DATASETS, ids=str)
def test_control_totals_find_an_amount_that_was_written_otherwise(
    dataset: Dataset, tables: Mapping[str, DataFrame], tmp_path: Path
) -> None:
    staged = of_days(tables, dataset.name, window_of(dataset))
    amounts = money_columns(spark_schema(dataset.contract))
    said = Staged(
        (), staged.count(), totals_of_files([written(dataset, staged, tmp_path)], amounts, PyArrowFileIO())[0].sums
    )

    def found(rows: DataFrame) -> Outcome:
        file = written(dataset, rows, tmp_path)
        [totals] = totals_of_files([file], amounts, PyArrowFileIO())
        return control_totals_outcome(control_totals_spec(dataset), said, file.record_count, totals)

    assert found(staged).passed
    where = ROWS[dataset.name]
    for name in amounts:
        wrong = found(changed(staged, where, **{name: f"{name} + 0.01"}))
        assert [each["total"] for each in wrong.sample] == [name]
    assert found(staged.where(f"NOT ({where})")).sample[0]["total"] == "rows"


def written(dataset: Dataset, rows: DataFrame, folder: Path) -> DataFile:
    """The rows as a file of the dataset's table."""
    schema = schema_to_pyarrow(iceberg_schema(dataset.contract), include_field_ids=False)
    table = pa.Table.from_pylist([each.asDict() for each in rows.select(schema.names).collect()], schema)
    pq.write_table(table, folder / "rows.parquet")
    return DataFile.from_args(file_path=str(folder / "rows.parquet"), record_count=table.num_rows)
