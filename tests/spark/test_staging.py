"""What is staged is in a snapshot that is on no branch, or it is told."""

import pytest
from pyspark.sql import DataFrame

from affirm_assets.declare.partitions import Daily
from affirm_assets.errors import TableNotStageable
from affirm_assets.steps.tables import WAP_ENABLED
from tests.conftest import declare
from tests.steps.amounts import D1, Amount, amounts_of, one
from tests.storage import NewStorage, Steps


def test_a_table_of_which_somebody_turns_staging_off_meanwhile_is_told(steps: Steps, new_storage: NewStorage) -> None:
    """Iceberg then commits to main: readers see the rows before their audits, and are to be told at once."""
    steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    catalog = new_storage().catalog
    published = catalog.load_table("tests.amounts").metadata.current_snapshot_id

    def turned(on: bool) -> None:
        with catalog.load_table("tests.amounts").transaction() as change:
            change.set_properties({WAP_ENABLED: str(on).lower()})

    def amounts() -> DataFrame:
        turned(False)
        return amounts_of(("b", D1, "-2.00")).function()

    with pytest.raises(TableNotStageable, match=rf"readers see .*main back to snapshot {published} \(") as caught:
        steps.run(declare(amounts, Amount, Daily("day")), one(D1), run="second")
    main = catalog.load_table("tests.amounts").metadata.current_snapshot_id
    assert f"found it in main's history ({main})" in str(caught.value)

    turned(True)
    assert published is not None
    catalog.load_table("tests.amounts").manage_snapshots().set_current_snapshot(published).commit()
    steps.run(amounts_of(("c", D1, "3.00")), one(D1), run="third")
    assert [row[0] for row in steps.rows(amounts_of())] == ["c"]
