"""What each loan's borrower has agreed to pay, and when."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.declare.contract import spark_schema
from affirm_assets.lender.finance.schedule import Instalment, schedule
from affirm_assets.lender.finance.terms import Terms


class ScheduledInstalment(Contract):
    """An instalment of a loan, as a borrower pays it who pays each on its due date."""

    loan_id: str = key("Loan")
    number: int = key("Instalment, counted from 1", ge=1)
    booked_on: date = column("Business date on which the loan was booked")
    due_on: date = column("Day on which it falls due")
    payment: Money = column("Interest and principal", gt=0)
    interest: Money = column("Interest that the daily accrual has posted by then", ge=0)
    principal: Money = column("Principal that it repays", ge=0)
    balance: Money = column("Principal that is left after it", ge=0)


_TERMS = ("apr", "frequency", "instalments", "originated_on", "first_due_on", "merchant_discount", "principal")


@audit()
def every_loan_is_repaid(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """The instalments of each loan repay its principal, no more and no less, and the last leaves nothing."""
    repaid = staged.groupBy("loan_id", "booked_on").agg(
        F.sum("principal").alias("repaid"), F.min("balance").alias("left"), F.max("number").alias("last")
    )
    joined = loans.select("loan_id", "booked_on", "principal", "instalments").join(
        repaid, ["loan_id", "booked_on"], "full"
    )
    ok = F.expr("repaid = principal AND left = 0 AND last <= instalments")
    return joined.select("loan_id", "booked_on", "principal", "repaid", "left", ok.alias("ok"))


@audit()
def instalments_add_up(staged: DataFrame) -> DataFrame:
    """Each payment is its interest and its principal."""
    return staged.select("loan_id", "number", F.expr("payment = interest + principal").alias("ok"))


@dataset(
    ScheduledInstalment,
    partitions=Daily("booked_on"),
    audits=[every_loan_is_repaid, instalments_add_up],
    owner="team:lending",
    freshness=timedelta(hours=36),
)
def loan_schedules(loans: DataFrame) -> DataFrame:
    """The instalments of the loans booked on each day."""
    return loans.select("loan_id", "booked_on", *_TERMS).mapInArrow(_schedules, spark_schema(ScheduledInstalment))


def _schedules(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(spark_schema(ScheduledInstalment))
    for batch in batches:
        rows = [
            {"loan_id": loan["loan_id"], "booked_on": loan["booked_on"], **_as_row(each)}
            for loan in batch.to_pylist()
            for each in schedule(Terms.agreed(**{name: loan[name] for name in _TERMS}))
        ]
        yield pa.RecordBatch.from_pylist(rows, schema)


def _as_row(each: Instalment) -> dict[str, object]:
    return {name: getattr(each, name) for name in Instalment.__dataclass_fields__}
