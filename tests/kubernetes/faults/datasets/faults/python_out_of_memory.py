"""The step's own process takes more memory than its container may."""

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, say


@dataset(Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand")
def python_out_of_memory(window: Window) -> DataFrame:
    """Never comes to its rows."""
    say("python takes all memory")
    taken = []
    while True:
        taken.append(b"x" * (64 << 20))
        if len(taken) > 1000:
            return rows(window)
