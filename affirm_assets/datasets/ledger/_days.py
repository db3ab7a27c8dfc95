"""The days of a window as a frame, for what has a row each day."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Window


def days_of(window: Window, frame: DataFrame) -> DataFrame:
    """Each day of the window as `as_of`, to be joined with the frame."""
    days = F.sequence(F.lit(window.first), F.lit(window.last), F.expr("INTERVAL 1 DAY"))
    return frame.sparkSession.range(1).select(F.explode(days).alias("as_of"))
