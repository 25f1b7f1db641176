"""The memory that the C library holds for this process beside what is in use.

CPython takes objects of more than 512 bytes from malloc: tables, entries of the log, snapshots on
their way, frames. What was freed in between stays with the process until it is asked back.

Smaller objects lie in arenas of a megabyte, which go back by themselves once they are empty. One
that holds a tuple which CPython keeps for the next is not: after a million sets the few hundred
tuples of its free lists held 138 of 189 arenas. A full collection empties these lists.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

GLIBC: Final = hasattr(ctypes.CDLL(None), "malloc_trim")
"""Whether there is something to ask: musl gives back by itself."""


def give_back_free_memory() -> None:
    """Return whole free pages to the system. Takes some milliseconds: not while there is work."""
    gc.collect()  # Of what is not frozen (`process/run.py`): below a millisecond.
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)
