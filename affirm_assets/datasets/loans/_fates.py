"""What becomes of each record of the loans feed: accepted, an exact duplicate, or rejected and why."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Lookup, Window, before, previous, shared, through
from affirm_assets.lender.finance.instalment import contract_problem
from affirm_assets.lender.intake import values
from affirm_assets.lender.intake.duplicates import digest, fates, to_compare
from affirm_assets.lender.intake.feeds import (
    ID_PATTERN,
    LOAN_FIELDS,
    LOOK_BACK_DAYS,
    MOST_APR,
    MOST_DAYS_LATE,
    MOST_DAYS_TO_FIRST_DUE,
    MOST_LOAN_CASH,
    STATES,
)
from affirm_assets.lender.products import PRODUCTS
from affirm_assets.lender.vocabulary import CURRENCIES, FREQUENCIES

COMPARED = tuple(name for name in LOAN_FIELDS if name != "borrower_email")
"""The fields of a loan that are booked, and compared as one; its borrower's address is kept and compared apart."""

TOGETHER = ("loans/loans", "loans/borrowers", "loans/rejected_loans")
"""The tables that divide the records among them. If one would decide otherwise than another did, run all together."""

EMAIL_PATTERN = r"^[^@\s]{1,64}@[^@\s]{1,189}$"  # lengths: RFC 5321, 4.5.3.1


@shared()
def loan_readings(loan_rows: DataFrame) -> DataFrame:
    """Landing rows -> booked_on, file, record_number, text (the raw fields), the typed fields, reasons."""
    booked_on = F.col("business_date")
    # Limits of other fields, where the text that they are made of is good.
    principal, originated_on = values.amount_in("principal"), values.date_in("originated_on")
    first_due_from, first_due_until = F.date_add(originated_on, 1), F.date_add(originated_on, MOST_DAYS_TO_FIRST_DUE)
    readings = {
        "loan_id": values.matching("loan_id", ID_PATTERN, "an id"),
        "user_id": values.matching("user_id", ID_PATTERN, "an id"),
        "merchant_id": values.matching("merchant_id", ID_PATTERN, "an id"),
        "borrower_email": values.matching("borrower_email", EMAIL_PATTERN, "an e-mail address"),
        "borrower_state": values.one_of("borrower_state", STATES),
        "product": values.one_of("product", tuple(PRODUCTS)),
        "principal": values.money("principal", _limit("least_principal"), _limit("most_principal")),
        "merchant_discount": values.money("merchant_discount", F.lit(0), F.when(principal > 0, principal)),
        "apr": values.rate("apr", Decimal(0), MOST_APR),
        "instalments": values.integer("instalments", _limit("least_instalments"), _limit("most_instalments")),
        "frequency": values.one_of("frequency", FREQUENCIES),
        "originated_on": values.day("originated_on", F.date_sub(booked_on, MOST_DAYS_LATE), booked_on),
        "first_due_on": values.day("first_due_on", first_due_from, first_due_until),
        "currency": values.one_of("currency", CURRENCIES),
        "instalment": values.optional(values.money("instalment", Decimal("0.01"), MOST_LOAN_CASH), "instalment"),
        "due_day": values.optional(values.integer("due_day", F.lit(1), F.lit(31)), "due_day"),
    }
    read = values.typed(loan_rows, "booked_on", readings)
    found = values.reasons(F.col("reasons"), _other_due_day(), F.col("other_instalment"))
    return (
        read.join(F.broadcast(_other_instalments(loan_rows, readings)), ["file", "record_number"], "left")
        .withColumn("reasons", F.coalesce("problem", found))
        .drop("other_instalment")
    )


@shared(
    inputs={
        "loan_readings": loan_readings,
        "recent_loans": previous(LOOK_BACK_DAYS, "loans"),
        "all_loans": before("loans", by="loan_id"),
        "all_rows": through("loan_rows", by="loan_id"),
    }
)
def loan_fates(
    loan_readings: DataFrame, recent_loans: DataFrame, all_loans: Lookup, all_rows: Lookup, window: Window
) -> DataFrame:
    """One row for each landing row: its text as `text`, its typed values, `fate` and `reasons`."""
    valid = loan_readings.where("reasons IS NULL").select(
        "*",
        F.col("loan_id").alias("id"),
        F.col("booked_on").alias("day"),
        F.col("originated_on").alias("own_date"),
        digest(*COMPARED).alias("terms"),
        digest("borrower_email").alias("private"),
    )
    booked = _booked(valid, recent_loans, all_loans, all_rows, window)
    return fates(loan_readings, valid, booked, LOOK_BACK_DAYS)


def _other_due_day() -> Column:
    """The reason where the contract's due day is not the one on which the first instalment falls due, or null.

    Of typed columns: in one expression with what they are read from, Spark takes minutes to tell a column's lineage.
    """
    due_day, found = F.col("due_day"), F.day("first_due_on")
    differs = F.concat(
        F.lit("due_day: "), due_day.cast("string"), F.lit(", but first_due_on is on day "), found.cast("string")
    )
    return F.when(
        due_day.isNotNull() & (F.col("frequency") == "biweekly"), F.lit("due_day: a biweekly loan has none")
    ).when(due_day.isNotNull() & (found != F.least(due_day, F.day(F.last_day("first_due_on")))), differs)


_INSTALMENT_AND_TERMS = ("instalment", "principal", "apr", "instalments", "frequency", "product")


def _other_instalments(loan_rows: DataFrame, readings: Mapping[str, values.Reading]) -> DataFrame:
    """file, record_number, other_instalment: the reason, of each record whose instalment its other terms do not give.

    A frame of its own, joined by the record's place: what Python has handed through says of no column where it is from.
    """
    typed = (readings[name].value.alias(name) for name in _INSTALMENT_AND_TERMS)
    read = loan_rows.select("file", "record_number", *typed)
    return read.where(" AND ".join(f"{name} IS NOT NULL" for name in _INSTALMENT_AND_TERMS)).mapInArrow(
        _checked_instalments, "file string, record_number bigint, other_instalment string"
    )


def _checked_instalments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = pa.schema({"file": pa.string(), "record_number": pa.int64(), "other_instalment": pa.string()})
    for batch in batches:
        rows = [
            {"file": loan["file"], "record_number": loan["record_number"], "other_instalment": f"instalment: {problem}"}
            for loan in batch.to_pylist()
            if (problem := _instalment_problem(loan))
        ]
        yield pa.RecordBatch.from_pylist(rows, schema)


def _instalment_problem(loan: Mapping[str, Any]) -> str | None:
    rounding = PRODUCTS[loan["product"]].rules.instalment_rounding
    terms = {name: loan[name] for name in _INSTALMENT_AND_TERMS if name != "product"}
    return contract_problem(**terms, rounding=rounding)


def _limit(name: str) -> Column:
    """The product's limit of that name; null, and so no limit, where the product is unknown (a reason of its own)."""
    chosen = F.lit(None)
    for product, limits in PRODUCTS.items():
        chosen = F.when(F.col("product") == product, F.lit(getattr(limits, name))).otherwise(chosen)
    return chosen


def _booked(
    valid: DataFrame, recent_loans: DataFrame, all_loans: Lookup, all_rows: Lookup, window: Window
) -> DataFrame:
    """The loans booked before the window that a valid row must be compared with: id, day, terms, private.

    The address is looked up in the landing row that a loan was booked from: only landing rows and borrowers hold it.
    """
    booked = to_compare(
        valid,
        recent_loans,
        all_loans,
        name="loan_id",
        booked_on="booked_on",
        first=window.first,
        look_back_days=LOOK_BACK_DAYS,
    )
    # With the loan's id: where a day's files were landed again in another order, the address is not known any more.
    origin = ["booked_on", "file", "record_number", "loan_id"]
    emails = all_rows(booked.select("loan_id")).select(
        F.col("business_date").alias("booked_on"), "file", "record_number", "loan_id", "borrower_email"
    )
    return booked.join(emails, origin, "left").select(
        F.col("loan_id").alias("id"),
        F.col("booked_on").alias("day"),
        digest(*COMPARED).alias("terms"),
        F.when(F.col("borrower_email").isNotNull(), digest("borrower_email")).alias("private"),
    )
