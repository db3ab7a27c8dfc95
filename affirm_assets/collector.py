"""Python's garbage collector, set for this project's processes: imported first by each place where one begins.

No dataset imports it, so that it is no part of their code versions.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS_BETWEEN_SEARCHES = 10_000
"""With Python 3.11's own 700, it looks for garbage a thousand times while modules and definitions are loaded, where
there is hardly any: a fifth of the time that a process takes to start."""

gc.set_threshold(_ALLOCATIONS_BETWEEN_SEARCHES)


@contextmanager
def loading() -> Iterator[None]:
    """While a process loads what it keeps until it ends, such as thousands of definitions.

    Nothing is searched for garbage meanwhile, and what is there at its end is not searched later either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
