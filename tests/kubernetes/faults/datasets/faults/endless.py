"""Lives until it is ended from outside, with an executor that works."""

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import Compute, dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, say, slow_rows


@dataset(
    Numbered,
    partitions=Daily("day"),
    owner="team:tests",
    starts="by_hand",
    engine="spark",
    compute=Compute("small", min_executors=1, max_executors=1),
)
def endless(window: Window) -> DataFrame:
    """A thousand seconds for each row."""
    say("endless")
    return slow_rows(window, 1000, tasks=2)
