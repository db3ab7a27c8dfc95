"""Spark, in this process's own JVM or with executors on a cluster: the reference, and what large steps run on."""
