"""A consumer lender's books as Dagster assets: declared once, stored in Iceberg, computed by Sail or Spark."""
