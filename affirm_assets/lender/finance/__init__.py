"""Money maths: pure functions of `Decimal`, each with the source of its formula. No I/O, no Spark, no Dagster."""

from affirm_assets.lender.finance.annual_rate import annual_percentage_rate
from affirm_assets.lender.finance.schedule import Instalment, level_schedule

__all__ = ["Instalment", "annual_percentage_rate", "level_schedule"]
