"""Takes long enough for a test to delete its pod."""

import time

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, say

_SECONDS = 10


@dataset(Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand")
def slow(window: Window) -> DataFrame:
    """Sleeps, then has its rows."""
    say("sleeping")
    time.sleep(_SECONDS)
    say("awake")
    return rows(window)
