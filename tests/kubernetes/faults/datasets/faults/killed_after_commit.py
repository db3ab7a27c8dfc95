"""A step in a pod of its own whose process is killed once its rows are published."""

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import Compute, dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, die_after_the_commit, rows


@dataset(
    Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand", compute=Compute("small", own_pod=True)
)
def killed_after_commit(window: Window) -> DataFrame:
    """Killed before it has told Dagster."""
    die_after_the_commit()
    return rows(window)
