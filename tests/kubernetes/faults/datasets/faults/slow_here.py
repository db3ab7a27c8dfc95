"""Takes long enough in the run's own pod for a test to end it."""

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, sleep_a_little


@dataset(Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand")
def slow_here(window: Window) -> DataFrame:
    """Sleeps, then has its rows."""
    sleep_a_little()
    return rows(window)
