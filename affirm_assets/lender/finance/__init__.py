"""Money maths: pure functions of `Decimal`, each with the source of its formula. No I/O, no Spark, no Dagster."""
