"""A step in a pod of its own takes more memory than the container may."""

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import Compute, dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, take_all_memory


@dataset(
    Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand", compute=Compute("small", own_pod=True)
)
def python_out_of_memory(window: Window) -> DataFrame:
    """Never comes to its rows."""
    take_all_memory()
    return rows(window)
