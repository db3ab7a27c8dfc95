"""Sail: Spark's Connect protocol without a JVM, for what is proven to give what Spark gives."""
