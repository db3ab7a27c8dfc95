"""What a dataset's declaration says: its table, its inputs, and which of their partitions a window reads."""

from datetime import date, time
from pathlib import Path
from typing import Any

import pytest

from affirm_assets.audits.kinds import EXPECTED, PATTERNS
from affirm_assets.declare.calendar import BusinessCalendar, Due
from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.dataset import Audit, Dataset, audit
from affirm_assets.declare.inputs import (
    KINDS,
    Before,
    Landing,
    Later,
    Mapped,
    Previous,
    SameWindow,
    Through,
    ToProve,
    landing,
    previous,
    same,
    shared,
    through,
)
from affirm_assets.declare.partitions import Daily, Monthly, Partitions, Window
from affirm_assets.errors import DeclarationError
from resources.landing import FieldKind

DAILY = Daily("as_of")
MONTHLY = Monthly("as_of")
ALL = None
UNPARTITIONED = None


class Balance(Contract):
    """The balance of a loan on a day."""

    as_of: date = key("Business date")
    loan_id: str = key("Loan")
    note: str | None = column("Note")


def dataset_with(**overrides: Any) -> Dataset:
    """A valid daily dataset `servicing/balances` without inputs, but for these of its fields."""
    return Dataset(
        **{
            "name": "balances",
            "domain": "servicing",
            "contract": Balance,
            "partitions": DAILY,
            "inputs": {},
            "function": lambda: None,
            "owner": "team:servicing",
            "description": "Balances of loans.",
            "source": Path("servicing/balances.py"),
            **overrides,
        }
    )


class TestNames:
    def test_shown_as_domain_and_name(self) -> None:
        assert str(dataset_with()) == "servicing/balances"

    def test_table_is_in_the_namespace_of_its_domain(self) -> None:
        assert dataset_with().table == "servicing.balances"


class TestReadDays:
    """`balances` is the dataset that reads, `loans` another."""

    @pytest.mark.parametrize(
        ("own", "mapped", "upstream", "window", "expected"),
        [
            pytest.param(DAILY, SameWindow("loans"), DAILY, "2025-03-04", "2025-03-04", id="daily, same day"),
            pytest.param(
                DAILY,
                SameWindow("loans"),
                DAILY,
                "2025-03-04...2025-03-06",
                "2025-03-04...2025-03-06",
                id="daily, same range",
            ),
            pytest.param(
                MONTHLY,
                SameWindow("loans"),
                DAILY,
                "2025-02-01",
                "2025-02-01...2025-02-28",
                id="month of days, February of 28",
            ),
            pytest.param(
                MONTHLY,
                SameWindow("loans"),
                DAILY,
                "2024-02-01",
                "2024-02-01...2024-02-29",
                id="month of days, leap February",
            ),
            pytest.param(
                MONTHLY,
                SameWindow("loans"),
                DAILY,
                "2024-12-01...2025-01-01",
                "2024-12-01...2025-01-31",
                id="range of months of days, over new year",
            ),
            pytest.param(DAILY, SameWindow("loans"), MONTHLY, "2025-02-28", "2025-02-01", id="day of a monthly"),
            pytest.param(
                DAILY,
                SameWindow("loans"),
                MONTHLY,
                "2025-02-28...2025-03-01",
                "2025-02-01...2025-03-01",
                id="range of days of a monthly",
            ),
            pytest.param(MONTHLY, SameWindow("loans"), MONTHLY, "2025-02-01", "2025-02-01", id="monthly, same month"),
            pytest.param(DAILY, Previous(1, "loans"), DAILY, "2025-01-01", "2024-12-31", id="previous day of another"),
            pytest.param(
                DAILY,
                Previous(35, "balances"),
                DAILY,
                "2025-03-01",
                "2025-01-25...2025-02-28",
                id="previous days of itself",
            ),
            pytest.param(
                DAILY,
                Previous(2, "balances"),
                DAILY,
                "2025-03-04...2025-03-09",
                "2025-03-02...2025-03-03",
                id="previous days of a range",
            ),
            pytest.param(
                MONTHLY,
                Previous(2, "balances"),
                MONTHLY,
                "2025-01-01",
                "2024-11-01...2024-12-01",
                id="previous months of itself",
            ),
            pytest.param(
                MONTHLY,
                Previous(3, "loans"),
                DAILY,
                "2025-02-01",
                "2025-01-29...2025-01-31",
                id="days before a month",
            ),
            pytest.param(
                DAILY, Previous(1, "loans"), MONTHLY, "2025-01-15", "2024-12-01", id="month before that of a day"
            ),
            pytest.param(
                DAILY,
                Before("balances"),
                DAILY,
                "2025-03-01",
                "0001-01-01...2025-02-28",
                id="all before, of itself",
            ),
            pytest.param(
                DAILY,
                Before("balances"),
                DAILY,
                "2025-03-04...2025-03-09",
                "0001-01-01...2025-03-03",
                id="all before a range of itself",
            ),
            pytest.param(
                DAILY,
                Through("loans"),
                DAILY,
                "2025-03-01",
                "0001-01-01...2025-03-01",
                id="all through",
            ),
            pytest.param(
                DAILY,
                Through("loans"),
                DAILY,
                "2025-03-04...2025-03-09",
                "0001-01-01...2025-03-09",
                id="all through a range",
            ),
            pytest.param(
                DAILY,
                ToProve("loans"),
                DAILY,
                "2025-03-04...2025-03-09",
                "0001-01-01...2025-03-09",
                id="what proves, through a range",
            ),
            pytest.param(
                DAILY,
                ToProve("balances"),
                DAILY,
                "2025-03-04...2025-03-09",
                "0001-01-01...2025-03-03",
                id="what proves, before a range of itself",
            ),
            pytest.param(
                MONTHLY,
                Through("loans"),
                DAILY,
                "2025-02-01",
                "0001-01-01...2025-02-28",
                id="all through the month's days",
            ),
            pytest.param(
                MONTHLY,
                Before("balances"),
                MONTHLY,
                "2025-02-01",
                "0001-01-01...2025-01-31",
                id="all before, of itself, monthly",
            ),
            pytest.param(
                DAILY, Before("loans"), DAILY, "2025-03-04...2025-03-09", "0001-01-01...2025-03-03", id="all before"
            ),
            pytest.param(
                MONTHLY,
                Before("loans"),
                DAILY,
                "2025-02-01",
                "0001-01-01...2025-01-31",
                id="all before the month's days",
            ),
            pytest.param(
                DAILY,
                Before("loans"),
                MONTHLY,
                "2025-02-15",
                "0001-01-01...2025-01-31",
                id="months before that of a day",
            ),
            pytest.param(
                DAILY, Later("loans"), DAILY, "2025-03-04...2025-03-09", "2025-03-10...9999-12-31", id="all later"
            ),
            pytest.param(
                DAILY, Later("loans", 1), DAILY, "2025-02-27...2025-02-28", "2025-03-01...2025-03-01", id="next day"
            ),
            pytest.param(
                MONTHLY, Later("loans", 2), MONTHLY, "2024-11-01", "2024-12-01...2025-01-01", id="next two months"
            ),
        ],
    )
    def test_mapping_says_which_partitions(
        self, own: Partitions, mapped: Mapped, upstream: Partitions, window: str, expected: str
    ) -> None:
        read = dataset_with(partitions=own).read_days(mapped, upstream, Window.parse(window))
        assert read == Window.parse(expected)

    @pytest.mark.parametrize(
        ("own", "window", "expected"),
        [
            pytest.param(DAILY, "2025-03-04...2025-03-06", "2025-03-04...2025-03-06", id="daily"),
            pytest.param(MONTHLY, "2025-02-01", "2025-02-01...2025-02-28", id="monthly"),
        ],
    )
    def test_landing_is_read_for_the_days_of_the_window(self, own: Partitions, window: str, expected: str) -> None:
        read = dataset_with(partitions=own).read_days(landing("loans", {}), None, Window.parse(window))
        assert read == Window.parse(expected)

    def test_same_is_the_input_of_a_parameter_of_that_name(self) -> None:
        assert same("loans") == SameWindow("loans")

    def test_unpartitioned_dataset_reads_all(self) -> None:
        assert dataset_with(partitions=UNPARTITIONED).read_days(SameWindow("loans"), DAILY, None) is ALL

    def test_unpartitioned_input_is_read_whole(self) -> None:
        read = dataset_with().read_days(SameWindow("loans"), UNPARTITIONED, Window.parse("2025-03-04"))
        assert read is ALL


class TestSharedFrames:
    def test_takes_the_name_of_its_function(self) -> None:
        assert outcomes.name == "outcomes"

    def test_its_parameters_are_inputs_and_window_is_none(self) -> None:
        assert outcomes.inputs == {"loan_rows": SameWindow("loan_rows"), "earlier": Previous(35, "balances")}

    def test_dataset_reads_what_its_shared_frame_reads(self) -> None:
        leaves = dataset_with(inputs={"outcomes": outcomes, "rates": SameWindow("rates")}).leaves
        assert dict(leaves) == {
            "loan_rows": SameWindow("loan_rows"),
            "earlier": Previous(35, "balances"),
            "rates": SameWindow("rates"),
        }

    def test_one_parameter_read_in_two_ways_is_refused(self) -> None:
        reading = dataset_with(inputs={"outcomes": outcomes, "loan_rows": through("loan_rows")})
        with pytest.raises(
            DeclarationError,
            match=r"servicing/balances\.py: dataset 'balances': the parameter 'loan_rows' is read in two ways",
        ):
            _ = reading.leaves

    def test_mapping_of_no_parameter_is_refused(self) -> None:
        with pytest.raises(
            DeclarationError, match=r"test_dataset\.py: totals maps loan, which is none of its parameters"
        ):

            @shared(inputs={"loan": through("loans")})
            def totals(loans: Any) -> Any:
                return loans


@shared(inputs={"earlier": previous(35, "balances")})
def outcomes(loan_rows: Any, earlier: Any, window: Window) -> Any:
    return loan_rows


class TestDependencies:
    def test_feeds_are_its_landing_inputs(self) -> None:
        records = landing("loans", {"loan_id": "text"})
        assert dataset_with(inputs={"records": records, "rates": SameWindow("rates")}).feeds == (records,)

    def test_landing_keeps_its_own_copy_of_the_fields(self) -> None:
        fields = {"loan_id": "text"}
        records = landing("loans", fields)
        fields["principal"] = "money"
        assert records == Landing("loans", {"loan_id": "text"})

    @pytest.mark.parametrize("delimiter", [";", "\t", "|", " "], ids=ascii)
    def test_a_feed_may_have_another_delimiter(self, delimiter: str) -> None:
        assert landing("loans", {}, delimiter=delimiter) == Landing("loans", {}, delimiter)
        assert landing("loans", {}).delimiter == ","

    @pytest.mark.parametrize(("feed", "better"), [("card-disputes", "card_disputes"), ("a/b", "a_b"), ("", "disputes")])
    def test_a_feed_s_name_is_one_that_its_sensor_may_have(self, feed: str, better: str) -> None:
        with pytest.raises(DeclarationError, match="expected a feed's name of letters, digits and _") as refused:
            landing(feed, {})
        assert f"Name it '{better}', and its folder of the landing zone, too." in str(refused.value)

    @pytest.mark.parametrize("delimiter", ["", ";;", '"', "'", "\n", "\r", "a", "É", "7"], ids=ascii)
    def test_a_delimiter_that_could_not_be_told_from_values_is_refused(self, delimiter: str) -> None:
        with pytest.raises(DeclarationError) as refused:
            landing("loans", {}, delimiter=delimiter)
        assert str(refused.value) == (
            "landing('loans'): expected a delimiter of one character that is no quote, line break, letter or digit; "
            f"found {delimiter!r}. Declare the character that stands between two values in the feed's CSV files."
        )

    def test_kinds_of_fields_are_those_that_files_are_read_by(self) -> None:
        assert set(KINDS) == set(FieldKind)
        assert set(KINDS) - {"text"} == set(PATTERNS) == set(EXPECTED)


class TestDeadlines:
    def test_a_feed_has_one_if_it_declares_it(self) -> None:
        assert landing("loans", {}).deadline is None
        declared = landing("loans", {}, due="05:00 next business day", calendar=BusinessCalendar("CA"))
        assert declared.deadline == Due(time(5), 1, BusinessCalendar("CA"))


class TestAudit:
    def test_docstring_is_the_description(self) -> None:
        @audit()
        def totals_agree(staged: Any) -> Any:
            """Totals equal those of the loans."""
            return staged

        assert totals_agree == Audit("totals_agree", "Totals equal those of the loans.", True, totals_agree.function)

    def test_blocks_unless_declared_otherwise(self) -> None:
        @audit(blocking=False)
        def looks_usual(staged: Any) -> Any:
            """About as many rows as yesterday."""
            return staged

        assert not looks_usual.blocking

    def test_without_docstring_is_refused(self) -> None:
        def totals_agree(staged: Any) -> Any:
            return staged

        with pytest.raises(
            DeclarationError,
            match=r"test_dataset\.py: audit 'totals_agree': expected a docstring that says what it proves",
        ):
            audit()(totals_agree)

    def test_without_staged_is_refused(self) -> None:
        def totals_agree(loans: Any) -> Any:
            """Totals agree."""
            return loans

        with pytest.raises(
            DeclarationError,
            match=r"test_dataset\.py: audit 'totals_agree': expected its first parameter to be 'staged'",
        ):
            audit()(totals_agree)

    def test_without_any_parameter_is_refused(self) -> None:
        def totals_agree() -> Any:
            """Totals agree."""

        with pytest.raises(
            DeclarationError,
            match=r"test_dataset\.py: audit 'totals_agree': expected its first parameter to be 'staged'",
        ):
            audit()(totals_agree)
