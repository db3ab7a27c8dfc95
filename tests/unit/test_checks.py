"""Audits as asset checks: which partitions are one stretch, and what an event of one says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import dagster as dg
import pytest

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.orchestration.checks import check_events, stretches
from affirm_assets.steps.audit import Outcome
from tests.conftest import declare
from tests.steps.amounts import Amount

FIRST = date(2025, 1, 1)
FIVE = tuple(FIRST + timedelta(days=number) for number in range(5))
WINDOW = Window(FIVE[0], FIVE[-1])


def amounts() -> None:
    """The transform; it is not called."""


DATASET: Dataset = declare(amounts, Amount, Daily("day"))  # type: ignore[arg-type]
PASSED = Outcome("adds_up", "Adds up.", True, 50, 0)


def failed(*days: int, outcome: Outcome = PASSED) -> Outcome:
    """One row of each of these days of January."""
    found = {str(date(2025, 1, day)): 1 for day in days}
    sample = tuple({"id": "a", "day": day} for day in found)
    return replace(outcome, passed=False, failed=max(len(found), 1), failed_in=found, sample=sample)


def said(
    outcomes: Sequence[Outcome], dataset: Dataset = DATASET, window: Window | None = WINDOW
) -> list[dg.AssetCheckEvaluation]:
    events = check_events(dataset, window, outcomes, {"adds_up": "out", "contract": "rules"})
    return [each for each in events if isinstance(each, dg.AssetCheckEvaluation)]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param([PASSED], {"2025-01-01...2025-01-05": True}, id="all passed"),
        pytest.param(
            [failed(3)],
            {"2025-01-01...2025-01-02": True, "2025-01-04...2025-01-05": True, "2025-01-03": False},
            id="the third failed",
        ),
        pytest.param(
            [failed(1, 2), PASSED, failed(5)],
            {"2025-01-03...2025-01-04": True, "2025-01-01...2025-01-02": False, "2025-01-05": False},
            id="of several audits in one check",
        ),
        pytest.param([failed(1, 2, 3, 4, 5)], {"2025-01-01...2025-01-05": False}, id="all failed"),
        pytest.param([failed()], {"2025-01-01...2025-01-05": False}, id="nobody knows where"),
        pytest.param([failed(3), failed()], {"2025-01-01...2025-01-05": False}, id="of one nobody knows where"),
        pytest.param([failed(3, 6)], {"2025-01-01...2025-01-05": False}, id="also out of the window"),
    ],
)
def test_neighbours_with_one_outcome_are_a_stretch(outcomes: list[Outcome], expected: Mapping[str, bool]) -> None:
    found = stretches(FIVE, outcomes)
    assert [(each.partition, each.passed) for each in found] == list(expected.items())


def test_an_event_says_what_was_found_in_its_partitions() -> None:
    found = {each.partition: each for each in said([failed(2, 3, 5)])}
    assert {key: (each.passed, each.metadata["failed"].value) for key, each in found.items()} == {
        "2025-01-01": (True, 0),
        "2025-01-04": (True, 0),
        "2025-01-02...2025-01-03": (False, 2),
        "2025-01-05": (False, 1),
    }
    assert "sample" not in found["2025-01-01"].metadata
    sample = found["2025-01-02...2025-01-03"].metadata["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    assert [row.data["day"] for row in sample.records] == ["2025-01-02", "2025-01-03"]


def test_constraints_are_one_check_with_a_table() -> None:
    rule = replace(PASSED, name="amount_ge", description="amount >= 0", of_rows=True)
    red, green = said([rule, failed(3, outcome=replace(rule, name="amount_le"))])[::-1][:2]
    assert (red.check_name, red.partition, red.passed) == ("contract", "2025-01-03", False)
    assert green.passed
    table = red.metadata["constraints"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(row.data["constraint"], row.data["checked"], row.data["failed"]) for row in table.records] == [
        ("amount_le", "50", "1"),
        ("amount_ge", "50", "0"),
    ]


def test_each_check_has_its_output_once_before_its_events() -> None:
    events = [*check_events(DATASET, WINDOW, [failed(3)], {"adds_up": "out"})]
    assert [type(each) for each in events] == [dg.Output, *[dg.AssetCheckEvaluation] * 3]


def test_a_warning_is_one_in_the_partitions_where_it_failed() -> None:
    [*_, last] = said([failed(3, outcome=replace(PASSED, blocking=False))])
    assert (last.severity, last.blocking, last.passed) == (dg.AssetCheckSeverity.WARN, False, False)


def test_without_partitions_a_check_is_of_the_whole() -> None:
    [found] = said([failed()], replace(DATASET, partitions=None), None)
    assert (found.partition, found.passed) == (None, False)
