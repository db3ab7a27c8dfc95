"""Spark, in this process's own JVM or with executors on a cluster: the reference, and what large steps run on."""

from affirm_assets.engines.spark.engine import SparkEngine

__all__ = ["SparkEngine"]
