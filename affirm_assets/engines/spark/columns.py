"""A table's columns as a step wants them."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType


def with_columns_of(schema: StructType, frame: DataFrame) -> DataFrame:
    """The schema's columns in its order; one that the frame lacks is null."""
    present = set(frame.columns)
    return frame.select(
        [
            F.col(each.name) if each.name in present else F.lit(None).cast(each.dataType).alias(each.name)
            for each in schema.fields
        ]
    )
