"""Takes long enough in a pod of its own for a test to end it."""

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import Compute, dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, sleep_a_little


@dataset(
    Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand", compute=Compute("small", own_pod=True)
)
def slow(window: Window) -> DataFrame:
    """Sleeps, then has its rows."""
    sleep_a_little()
    return rows(window)
