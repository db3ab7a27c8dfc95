"""Long enough on two executors, with native operators, for a test to kill one of them."""

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
    compute=Compute("small", min_executors=2, max_executors=2, native=True),
)
def on_executors(window: Window) -> DataFrame:
    """Ten tasks of ten seconds each."""
    say("on executors")
    return slow_rows(window, 1, tasks=10)
