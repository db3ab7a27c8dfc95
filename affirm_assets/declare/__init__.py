"""What a dataset's file imports: contracts, columns, datasets, audits, and how their parameters are read."""

from affirm_assets.declare.calendar import US_FEDERAL, BusinessCalendar
from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract, Money, Rate, column, key
from affirm_assets.declare.dataset import Audit, Compute, Dataset, audit, dataset
from affirm_assets.declare.inputs import (
    Feed,
    Input,
    Lookup,
    Tolerance,
    before,
    beside,
    landing,
    later,
    previous,
    same,
    shared,
    through,
    to_prove,
)
from affirm_assets.declare.partitions import Daily, Monthly, Window

__all__ = [
    "US_FEDERAL",
    "Audit",
    "BusinessCalendar",
    "Carry",
    "Compute",
    "Contract",
    "Daily",
    "Dataset",
    "Feed",
    "Input",
    "Lookup",
    "Money",
    "Monthly",
    "Rate",
    "Tolerance",
    "Window",
    "audit",
    "before",
    "beside",
    "column",
    "dataset",
    "key",
    "landing",
    "later",
    "previous",
    "same",
    "shared",
    "through",
    "to_prove",
]
