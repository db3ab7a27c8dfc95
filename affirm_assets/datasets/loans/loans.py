"""The loans that the lender booked."""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.audits import reconcile
from affirm_assets.datasets.loans._fates import COMPARED, TOGETHER, loan_fates
from affirm_assets.declare import Contract, Daily, Feed, Money, Rate, Window, audit, beside, column, dataset, key, later
from affirm_assets.lender.intake import refusals
from affirm_assets.lender.intake.accounting import accepted_accounts_for
from affirm_assets.lender.intake.duplicates import ACCEPTED, not_booked_later, with_fate
from affirm_assets.lender.intake.feeds import ID_PATTERN
from affirm_assets.lender.vocabulary import Currency, Frequency, Product


class Loan(Contract):
    """A loan as it was booked: typed, once, without anything that identifies its borrower directly."""

    loan_id: str = key("Loan", pattern=ID_PATTERN)
    booked_on: date = column("Business date on which the books count it")
    user_id: str = column("Borrower's account", pattern=ID_PATTERN)
    merchant_id: str = column("Merchant", pattern=ID_PATTERN)
    borrower_state: str = column("Borrower's state, USPS code", pattern="^[A-Z]{2}$")
    product: Product = column("Product")
    principal: Money = column("Amount lent", gt=0)
    merchant_discount: Money = column("What the merchant pays for the loan", ge=0)
    apr: Rate = column("Annual percentage rate in percent", ge=0, le=36)
    instalments: int = column("Number of instalments", ge=1)
    frequency: Frequency = column("How often an instalment is due")
    originated_on: date = column("Day of the purchase")
    first_due_on: date = column("Day on which the first instalment is due")
    currency: Currency = column("Currency of the amounts")
    instalment: Money | None = column("Level instalment that the contract states; null where it states none", gt=0)
    due_day: int | None = column(
        "Day of the month on which the contract has instalments fall due; null where it states none", ge=1, le=31
    )
    file: str = column("Landing file that it came from")
    record_number: int = column("Its record in that file", ge=1)


@audit()
def every_record_is_accounted_for(
    staged: DataFrame,
    loan_rows: DataFrame,
    loan_fates: DataFrame,
    published_rejections: DataFrame,
    published: Mapping[str, Sequence[Window]],
) -> DataFrame:
    """Each record received is accepted, rejected or an exact duplicate, for each file; accepted is what was staged.

    Rejected is what rejected_loans has published, where it has and the same run computes no other.
    """
    days = published["published_rejections"]
    return accepted_accounts_for(
        staged, loan_rows, loan_fates, published_rejections, days, day="booked_on", together=TOGETHER
    )


@audit()
def borrowers_are_of_these_loans(
    staged: DataFrame, published_borrowers: DataFrame, published: Mapping[str, Sequence[Window]]
) -> DataFrame:
    """The users of each day's loans are its borrowers, where these are published and the run computes no others."""
    days = published["published_borrowers"]
    users = staged.where(reconcile.lies_in("booked_on", days))
    compared = reconcile.same_keys(users, published_borrowers, ["booked_on", "user_id"], ("loans", "borrowers"))
    return compared.withColumn("run_instead", reconcile.run_together(*TOGETHER)) if days else compared


@audit()
def few_are_refused(staged: DataFrame, loan_fates: DataFrame, feed: Feed) -> DataFrame:
    """No more of a folder is refused than may be, and no whole file: one that nobody can read is not a quiet day."""
    return refusals.few_are_refused(staged, loan_fates, feed, day="booked_on")


@audit()
def none_is_booked_later(staged: DataFrame, later_loans: DataFrame) -> DataFrame:
    """No loan is booked again on a later day, which did not know of it: run days in order, or as a range."""
    return not_booked_later(staged, later_loans, "loan_id", "booked_on")


@dataset(
    Loan,
    partitions=Daily("booked_on"),
    inputs={
        "loan_fates": loan_fates,
        "later_loans": later("loans"),
        "published_rejections": beside("rejected_loans"),
        "published_borrowers": beside("borrowers"),
    },
    audits=[every_record_is_accounted_for, few_are_refused, borrowers_are_of_these_loans, none_is_booked_later],
    owner="team:lending",
    freshness="05:45 next business day",
)
def loans(loan_fates: DataFrame) -> DataFrame:
    """Accepted loans by the day on which they were booked."""
    return with_fate(loan_fates, ACCEPTED).select(*COMPARED, "booked_on", "file", "record_number")
