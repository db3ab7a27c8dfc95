"""A step: request -> read -> transform -> stage -> audit -> publish -> result. Spark and Iceberg, no Dagster."""
