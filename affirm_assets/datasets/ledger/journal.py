"""The journal of each day, as the company's general ledger takes it over."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.lender.unions import with_nulls
from affirm_assets.lender.vocabulary import LEDGER_ACCOUNTS, LedgerAccount


class JournalLine(Contract):
    """A line of a day's journal: all that was debited and all that was credited to one account on the day.

    The lines of a day are one journal: they have one id, and their debits equal their credits. A day without entries
    has no journal, and an account without entries no line.
    """

    journal_id: str = column(
        "Journal: its date, and the first 16 digits of the SHA-256 of its lines. The same lines have the same id, and "
        "other lines another"
    )
    posted_on: date = key("Business date")
    line: int = column("Its number in the journal, counted from 1, in the order of the accounts' names", ge=1)
    account: LedgerAccount = key("Account")
    debit: Money = column("Sum of the day's debits", ge=0)
    credit: Money = column("Sum of the day's credits", ge=0)
    entries: int = column("Entries of the ledger that it adds up", ge=1)


_BY = ("posted_on", "account")
_DIGESTED = ("account", "debit", "credit", "entries")


@audit()
def every_journal_balances(staged: DataFrame) -> DataFrame:
    """The debits of each day equal its credits, to the cent, and its lines are counted from 1."""
    days = staged.groupBy("posted_on").agg(
        F.sum("debit").alias("debits"),
        F.sum("credit").alias("credits"),
        F.count(F.lit(1)).alias("lines"),
        F.max("line").alias("last_line"),
        F.sum("line").alias("sum_of_numbers"),
    )
    ok = "debits = credits AND last_line = lines AND 2 * sum_of_numbers = lines * (lines + 1)"
    return days.withColumn("ok", F.expr(ok))


@audit()
def lines_equal_the_trial_balance(staged: DataFrame, trial_balance: DataFrame) -> DataFrame:
    """By account and day, debit and credit are the debits and credits of the trial balance, to the cent."""
    lines = staged.select(*_BY, "debit", "credit")
    balances = trial_balance.select(F.col("as_of").alias("posted_on"), "account", "debits", "credits")
    amounts = ("debit", "credit", "debits", "credits")
    # Added up side by side and not joined: a line that only one side has is compared with 0.
    return (
        with_nulls(lines, balances)
        .groupBy(*_BY)
        .agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in amounts))
        .withColumn("ok", F.expr("debit = debits AND credit = credits"))
    )


@audit()
def every_entry_is_counted(staged: DataFrame, ledger_entries: DataFrame) -> DataFrame:
    """By account and day, the entries are the debits and the credits of the ledger, each counted by its amount."""
    sides = ledger_entries.groupBy(*_BY).agg(
        F.count_if(F.col("debit") > 0).alias("debited"), F.count_if(F.col("credit") > 0).alias("credited")
    )
    counted = staged.select(*_BY, "entries").join(sides, [*_BY], "full")
    return counted.withColumn("ok", F.expr("entries <=> debited + credited"))


@audit()
def the_id_is_that_of_the_lines(staged: DataFrame) -> DataFrame:
    """A day has one id: its date and the digest of its lines, one after another by their numbers."""
    amounts = (F.col(name).cast("string") for name in ("debit", "credit", "entries"))
    text = F.concat_ws(" ", "account", *amounts)
    days = staged.groupBy("posted_on").agg(
        F.min("journal_id").alias("journal_id"),
        F.max("journal_id").alias("last_journal_id"),
        F.array_sort(F.collect_list(F.struct("line", text.alias("text")))).alias("lines"),
    )
    joined = F.aggregate("lines", F.lit(""), lambda made, each: F.concat(made, each["text"], F.lit("\n")))
    expected = F.concat(F.col("posted_on").cast("string"), F.lit("-"), F.substring(F.sha2(joined, 256), 1, 16))
    is_one = F.col("journal_id") == F.col("last_journal_id")
    return days.select(
        "posted_on", "journal_id", expected.alias("expected"), (is_one & (F.col("journal_id") == expected)).alias("ok")
    )


@dataset(
    JournalLine,
    partitions=Daily("posted_on"),
    audits=[
        every_journal_balances,
        lines_equal_the_trial_balance,
        every_entry_is_counted,
        the_id_is_that_of_the_lines,
    ],
    owner="team:finance",
    freshness="06:30 next business day",
)
def journal(ledger_entries: DataFrame) -> DataFrame:
    """One balanced journal a day: debits, credits and entries by account, under an id that is made of them."""
    lines = ledger_entries.groupBy(*_BY).agg(
        F.sum("debit").cast("decimal(18,2)").alias("debit"),
        F.sum("credit").cast("decimal(18,2)").alias("credit"),
        F.count(F.lit(1)).alias("entries"),
    )
    number = F.row_number().over(Over.partitionBy("posted_on").orderBy("account"))
    return (
        lines.join(_ids(lines), "posted_on")
        .withColumn("line", number.cast("long"))
        .select(list(JournalLine.model_fields))
    )


def _ids(lines: DataFrame) -> DataFrame:
    """By day, the journal's id. Each line is digested as `account debit credit entries`, and a line break."""
    text = F.concat(F.concat_ws(" ", *(F.col(name).cast("string") for name in _DIGESTED)), F.lit("\n"))
    of_day = lines.groupBy("posted_on").agg(
        *(F.max(F.when(F.col("account") == name, text)).alias(name) for name in sorted(LEDGER_ACCOUNTS))
    )
    digest = F.sha2(F.concat_ws("", *sorted(LEDGER_ACCOUNTS)), 256)
    journal_id = F.concat_ws("-", F.col("posted_on").cast("string"), F.substring(digest, 1, 16))
    return of_day.select("posted_on", journal_id.alias("journal_id"))
