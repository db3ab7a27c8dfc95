"""A consumer lender's books as Dagster assets: declared once, stored in Iceberg, computed by Sail or Spark."""

import gc

_NEW_OBJECTS = 10_000
"""Python's own 700 has it look for garbage a thousand times while modules and definitions are loaded, where there is
none: a fifth of the time that a process takes to start."""

gc.set_threshold(_NEW_OBJECTS)
