"""Python's collector of reference cycles in Spark's workers, which has nothing to find there and much to look through."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def no_cycle_collection() -> Iterator[None]:
    """Without the collector: the engine makes no cycles, and tens of thousands of objects at once that the collector would
    go through again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache
def leave_imports_alone() -> None:
    """Take what exists now out of the collector's sight, once in a process: Spark has it collect after every task, 10 ms for
    the modules alone."""
    gc.collect()
    gc.freeze()
