"""Every audit of ledger and portfolio passes what the transforms make, and fails when one value of it is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
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
from affirm_assets.datasets.ledger.trial_balance import AccountBalance, trial_balance
from affirm_assets.declare.contract import columns, iceberg_schema, money_columns, spark_schema
from affirm_assets.declare.dataset import CONTROL_TOTALS, IN_WINDOW, NOT_NULL, UNIQUE_KEY, Dataset
from affirm_assets.declare.inputs import WINDOW as THE_WINDOW
from affirm_assets.declare.inputs import Landing
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.steps.audit import (
    Outcome,
    audit_specs,
    control_totals_spec,
    declared_audits,
    unique_outcome,
    value_outcomes,
    value_rules,
)
from affirm_assets.steps.control_totals import control_totals_outcome, totals_of
from affirm_assets.steps.engine import Staged
from tests.datasets.lender import MADE_OF, WINDOW, books, changed, day, frame, not_ok
from tests.storage import Keep

REGISTRY = Registry.walk(project)
DATASETS = [each for each in REGISTRY.in_order() if each.domain in ("ledger", "portfolio")]

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
    "cash_daily": "kind = 'payment_reversal' AND posted_on = DATE'2025-03-05'",
    "originations_daily": "booked_on = DATE'2025-01-05'",
    "originations_monthly": "month = DATE'2025-03-01'",
    "portfolio_daily": "product = 'pay_in_4' AND as_of = DATE'2025-02-28'",
}
"""A row of each dataset."""

WRONG_VALUES = {"ge": "-1", "gt": "0", "le": "101", "is_known": "'nobody knows it'"}
"""By what a rule of a contract asks for, what breaks it."""

SAME_KEY = {
    "provisions": {"product": "'pay_in_4'"},
    "ledger_entries": {"entry": "2"},
    "trial_balance": {"account": "'suspense'"},
    "cash_daily": {"kind": "'payment'"},
    "originations_daily": {"booked_on": "DATE'2025-01-03'"},
    "originations_monthly": {"month": "DATE'2025-01-01'"},
    "portfolio_daily": {"product": "'installment'"},
}
"""What gives that row the key of another one."""

ON_LAST_DAY = f"as_of = DATE'{DAYS.last}'"
DECLARED = {
    ("provisions", "expected_is_rate_times_principal"): [
        ("", {f"{of}_{name}": f"{of}_{name} + {less}"})
        for of, less in (("principal", "0.01"), ("rate", "0.000001"), ("expected", "0.01"))
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
    ],
    ("trial_balance", "opens_as_closed"): [("", {"opening": "opening + 0.01"})],
    ("trial_balance", "next_day_opens_as_closed"): [
        (f"account = 'cash' AND {ON_LAST_DAY}", {"closing": "closing + 0.01"})
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
    """But control_totals, which compares files and not rows, and is tested below."""
    blocking = {
        (dataset.name, spec.name)
        for dataset in DATASETS
        for spec in audit_specs(dataset)
        if spec.blocking and spec.name != CONTROL_TOTALS
    }
    assert {(case.dataset, case.audit) for case in CASES} == blocking


@pytest.fixture(scope="module")
def tables(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    """The small lender's rows of all days, by dataset."""
    made = books(spark, keep)
    made["ledger_entries"] = keep(REGISTRY["ledger_entries"](*(made[name] for name in MADE_OF)))
    made["trial_balance"] = keep(trial_balance(made["ledger_entries"], frame(spark, AccountBalance, []), WINDOW))
    for name, of in {
        "cash_daily": "transactions",
        "originations_daily": "loans",
        "originations_monthly": "originations_daily",
        "portfolio_daily": "loan_balances",
    }.items():
        made[name] = keep(REGISTRY[name](made[of]))
    return made


def window_of(dataset: Dataset) -> Window:
    assert dataset.partitions is not None
    return dataset.partitions.covering(DAYS)


def of_days(tables: Mapping[str, DataFrame], name: str, days: Window | None) -> DataFrame:
    partitions = REGISTRY[name].partitions
    assert partitions is not None
    assert days is not None
    return tables[name].where(F.col(partitions.column).between(F.lit(days.first), F.lit(days.last)))


def is_passed(name: str, dataset: Dataset, staged: DataFrame, tables: Mapping[str, DataFrame]) -> bool:
    """What the audit of this name says of the staged rows, as in a step."""
    window = window_of(dataset)
    for rule in value_rules(dataset, window):
        if rule.name == name:
            return value_outcomes(dataset, [rule], staged)[0].passed
    if name == UNIQUE_KEY:
        return unique_outcome(dataset, staged, staged.count()).passed
    (audit,) = (each for each in declared_audits(dataset) if each.name == name)
    given: dict[str, Any] = {"staged": staged, THE_WINDOW: window, "last_published": WINDOW.last}
    for parameter, mapped in dataset.leaves.items():
        assert not isinstance(mapped, Landing)
        days = dataset.read_days(mapped, REGISTRY[mapped.dataset].partitions, window)
        given[parameter] = of_days(tables, mapped.dataset, days)
    audited = audit.function(**{each: given[each] for each in signature(audit.function).parameters})
    assert audited.count() > 0
    return not_ok(audited) == 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_audit_finds_a_changed_value(case: Case, tables: Mapping[str, DataFrame]) -> None:
    dataset = REGISTRY[case.dataset]
    staged = of_days(tables, case.dataset, window_of(dataset))
    assert staged.where(case.where).count() == 1
    assert is_passed(case.audit, dataset, staged, tables)
    assert not is_passed(case.audit, dataset, changed(staged, case.where, **case.changes), tables)


@pytest.mark.parametrize("dataset", DATASETS, ids=str)
def test_control_totals_find_an_amount_that_was_written_otherwise(
    dataset: Dataset, tables: Mapping[str, DataFrame], tmp_path: Path
) -> None:
    staged = of_days(tables, dataset.name, window_of(dataset))
    amounts = money_columns(spark_schema(dataset.contract))
    said = Staged((), staged.count(), totals_of([written(dataset, staged, tmp_path)], amounts, PyArrowFileIO()).sums)

    def found(rows: DataFrame) -> Outcome:
        file = written(dataset, rows, tmp_path)
        totals = totals_of([file], amounts, PyArrowFileIO())
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
