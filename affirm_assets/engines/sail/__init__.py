"""The engine sail: PySpark's functions on Sail, in this process, without a JVM. For steps that read little."""

from affirm_assets.engines.sail.checker import condition_problem
from affirm_assets.engines.sail.engine import SailEngine

__all__ = ["SailEngine", "condition_problem"]
