"""DataFusion Comet in a Spark: operators and expressions in Rust, over columns, where they give Spark's rows.

What Comet does not do, or not as Spark does, stays with Spark, plan node by plan node. Off the heap it needs memory of
its own: compute.py says how much.
"""

from collections.abc import Mapping
from types import MappingProxyType

PREFIX = "spark.comet."

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        f"{PREFIX}enabled": "true",
        f"{PREFIX}exec.enabled": "true",
        # Where the library cannot be loaded, an error: not another engine than the one that was asked for.
        f"{PREFIX}nativeLoadRequired": "true",
        # Iceberg's own reader reads, and its columns are handed on. Comet's reader leaves out nulls where a condition
        # that is pushed into it says `NOT (n <=> 2)` (tests/native), and knows S3 by other settings than Iceberg does.
        f"{PREFIX}scan.icebergNative.enabled": "false",
        f"{PREFIX}sparkToColumnar.enabled": "true",
        f"{PREFIX}sparkToColumnar.supportedOperatorList": "BatchScan",
        # Each of these gives another value somewhere (tests/same_rows/test_expressions.py tries each): a double of many
        # digits as text or decimal; decimals of 35 digits and more; a rest whose quotient is too long.
        **{f"{PREFIX}expression.{name}.enabled": "false" for name in ("Cast", "Abs", "UnaryMinus", "Remainder")},
        # What compares floating-point numbers otherwise than Spark stays with Spark.
        f"{PREFIX}exec.strictFloatingPoint": "true",
    }
)
"""Of a session. All others have Comet's defaults, whatever a user's spark-defaults.conf says of them: no expression is
computed that Comet itself calls incompatible, and files are written by Iceberg's own writer."""


def comet_conf(mib: int) -> dict[str, str]:
    """For a Spark whose native operators may hold so much memory, in MiB, in each of its processes."""
    return {
        "spark.plugins": "org.apache.spark.CometPlugin",
        # Hands on columns as they are; a shuffle of Spark's own rows is left to Spark's.
        "spark.shuffle.manager": "org.apache.spark.sql.comet.execution.shuffle.CometShuffleManager",
        "spark.memory.offHeap.enabled": "true",
        "spark.memory.offHeap.size": f"{mib}m",
        **_SETTINGS,
    }
