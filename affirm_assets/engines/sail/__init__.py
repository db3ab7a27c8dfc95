"""The engine sail: PySpark's functions on Sail, in this process and without a JVM. Small steps take fractions of a second."""

from affirm_assets.engines.sail.engine import SailEngine

__all__ = ["SailEngine"]
