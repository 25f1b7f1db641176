"""The memory that the C library holds for this process beside what is in use.

CPython takes objects of more than 512 bytes from malloc: tables, entries of the log, snapshots on
their way, frames. What was freed in between stays with the process until it is asked back.
"""

from __future__ import annotations

import ctypes
from typing import Final

GLIBC: Final = hasattr(ctypes.CDLL(None), "malloc_trim")
"""Whether there is something to ask: musl gives back by itself."""


def give_back_free_memory() -> None:
    """Return whole free pages to the system. Takes some milliseconds: not while there is work."""
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)
