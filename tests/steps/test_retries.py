"""Work that was done before, is done twice, or is overtaken: what is published, and how often."""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import previous
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.errors import (
    PublishConflict,
)
from affirm_assets.steps.request import Run
from tests.conftest import declare
from tests.steps.amounts import D1, D2, D3, D4, Amount, amounts_of, frame, one
from tests.storage import NewStorage, Steps, run_in


@dataclass
class CountingCatalog:
    """A catalog that counts how often it reads a table's metadata, which grows with every commit."""

    catalog: Catalog
    loads: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.catalog, name)

    def load_table(self, name: str) -> Table:
        self.loads += 1
        return self.catalog.load_table(name)


def test_a_step_reads_its_table_s_metadata_only_where_it_may_have_changed(
    steps: Steps, new_storage: NewStorage
) -> None:
    """At the pin, and before the commit; the stage and the commit look once more by themselves."""
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    storage = new_storage()
    catalog: Any = CountingCatalog(storage.catalog)
    run_in(replace(storage, catalog=catalog), amounts_of(("b", D1, "1.00")), {}, one(D1), Run("r", "r"))
    assert catalog.loads == 2


def test_the_same_try_again_is_published_once(steps: Steps) -> None:
    """As when a step is killed after its commit and before its report, and is then retried."""
    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1), run="first", root="root")
    again = steps.run(amounts_of(("a", D1, "1.00")), one(D1), run="retry", root="root")
    assert not first.already_published
    assert again.already_published
    assert (again.snapshot, again.rows, again.outcomes) == (first.snapshot, first.rows, first.outcomes)


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"root": "another"}, id="another run"),
        pytest.param({"root": "root", "code_version": "v2"}, id="new code"),
    ],
)
def test_other_work_is_computed_again(steps: Steps, over: dict[str, str]) -> None:
    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    again = steps.run(amounts_of(("a", D1, "1.00")), one(D1), **over)
    assert not again.already_published
    assert again.snapshot != first.snapshot


def test_a_try_that_was_overtaken_is_computed_again(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    steps.run(amounts_of(("b", D1, "2.00")), one(D1), root="other")
    again = steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    assert not again.already_published
    assert [row[0] for row in steps.rows(amounts_of())] == ["a"]


def test_a_retry_is_not_overtaken_by_another_day(steps: Steps) -> None:
    steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root")
    steps.run(amounts_of(("b", D2, "2.00")), one(D2), root="other")
    assert steps.run(amounts_of(("a", D1, "1.00")), one(D1), root="root").already_published


def racing(steps: Steps, day: date, other_day: date, **over: Any) -> Dataset:
    """A dataset whose transform is overtaken: another run publishes `other_day` while it computes `day`."""

    def amounts() -> DataFrame:
        mine = frame(("mine", day, "1.00"))
        steps.run(amounts_of(("theirs", other_day, "2.00")), one(other_day), run="theirs")
        return mine

    return declare(amounts, Amount, Daily("day"), **over)


def test_a_lost_update_is_refused(steps: Steps) -> None:
    with pytest.raises(PublishConflict, match=r"tests\.amounts: nothing was published for 2025-01-01") as caught:
        steps.run(racing(steps, D1, D1), one(D1), run="mine")
    assert "Run the step again" in str(caught.value)
    assert [row[0] for row in steps.rows(amounts_of())] == ["theirs"]


def test_disjoint_windows_are_published_side_by_side(steps: Steps) -> None:
    steps.run(racing(steps, D1, D2), one(D1), run="mine")
    assert [row[0] for row in steps.rows(amounts_of())] == ["mine", "theirs"]


def running_total(steps: Steps, interloper: date | None = None) -> Dataset:
    """Each day's row is the sum of what the dataset has of the two days before, plus one."""

    def amounts(earlier: DataFrame, window: Window) -> DataFrame:
        total = earlier.agg(F.coalesce(F.sum("amount"), F.lit(0)) + 1).first()
        result = frame((f"t{window.first.day}", window.first, str(total[0] if total else 0)))
        if interloper:
            steps.run(amounts_of(("x", interloper, "7.00")), one(interloper), run="interloper")
        return result

    return declare(amounts, Amount, Daily("day"), inputs={"earlier": previous(2, "amounts")}, ranges=False)


def test_a_dataset_reads_its_own_earlier_partitions(steps: Steps) -> None:
    for day in (D1, D2, D3, D4):
        steps.run(running_total(steps), one(day), run=str(day))
    assert [row[2] for row in steps.rows(amounts_of())] == [Decimal(n) for n in (1, 2, 4, 7)]


def test_a_change_of_its_own_earlier_partitions_meanwhile_is_refused(steps: Steps) -> None:
    steps.run(running_total(steps), one(D1))
    with pytest.raises(PublishConflict):
        steps.run(running_total(steps, interloper=D1), one(D2))
    assert steps.run(running_total(steps), one(D2), run="again").rows == {D2: 1}
    assert [row[2] for row in steps.rows(amounts_of())] == [Decimal(8), Decimal(7)]  # ids t2, x


def test_a_retry_of_a_self_dependent_step_after_its_commit_is_published_once(steps: Steps) -> None:
    steps.run(running_total(steps), one(D1))
    first = steps.run(running_total(steps), one(D2), run="first", root="root")
    again = steps.run(running_total(steps), one(D2), run="retry", root="root")
    assert again.already_published
    assert again.snapshot == first.snapshot


def test_an_empty_result_that_was_overtaken_by_an_empty_one_is_refused(steps: Steps) -> None:
    """No file was added or removed in between, so Iceberg alone would let it pass."""

    def amounts() -> DataFrame:
        mine = frame(("mine", D1, "1.00"))
        steps.run(amounts_of(), one(D1), run="theirs")
        return mine

    with pytest.raises(PublishConflict, match="of run theirs"):
        steps.run(declare(amounts, Amount, Daily("day")), one(D1), run="mine")
    assert steps.rows(amounts_of()) == []
