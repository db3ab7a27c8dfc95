"""The registry as Dagster sees it: assets, checks, partitions. The only package that knows both Dagster and steps."""
