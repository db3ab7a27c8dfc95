"""Lives in the run's own pod until it is ended from outside."""

import time

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, say


@dataset(Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand")
def endless_here(window: Window) -> DataFrame:
    """A thousand seconds."""
    say("endless")
    time.sleep(1000)
    return rows(window)
