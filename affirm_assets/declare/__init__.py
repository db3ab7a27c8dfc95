"""What a dataset's file imports: contracts, columns, datasets, audits, and how their parameters are read."""

from affirm_assets.declare.contract import Contract, Money, Rate, column, key
from affirm_assets.declare.dataset import Audit, Compute, Dataset, audit, dataset
from affirm_assets.declare.inputs import Input, SameWindow, beside, history, landing, later, previous, shared
from affirm_assets.declare.partitions import Daily, Monthly, Window

__all__ = [
    "Audit",
    "Compute",
    "Contract",
    "Daily",
    "Dataset",
    "Input",
    "Money",
    "Monthly",
    "Rate",
    "SameWindow",
    "Window",
    "audit",
    "beside",
    "column",
    "dataset",
    "history",
    "key",
    "landing",
    "later",
    "previous",
    "shared",
]
