"""How many blocks a piece of code allocates, counted where Python asks for them.

`sys.getallocatedblocks` and `tracemalloc` tell what is left, and most of what a request allocates
is gone when it is answered. So a few lines of C (`allocations.c`) stand before Python's allocators.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("allocations.c")


class Counter:
    """`with counting() as counter:` `counter.now()` grows with each block that is allocated."""

    def __init__(self, library: ctypes.PyDLL | None) -> None:
        self._library = library
        self._count = (
            None if library is None else ctypes.c_ulonglong.in_dll(library, "allocation_count")
        )

    @property
    def is_real(self) -> bool:
        """False where nothing can be counted: all numbers are 0 then."""
        return self._count is not None

    def now(self) -> int:
        """Blocks so far."""
        return 0 if self._count is None else self._count.value

    def __enter__(self) -> Counter:
        if self._library is not None:
            self._library.install()
        return self

    def __exit__(self, *_: object) -> None:
        if self._library is not None:
            self._library.uninstall()


def counting() -> Counter:
    """A counter; one that counts nothing without a C compiler or without Python's headers."""
    compiler = shutil.which("cc")
    include = sysconfig.get_path("include")
    if compiler is None or not Path(include, "Python.h").exists():
        return Counter(None)
    with tempfile.TemporaryDirectory(prefix="quorumcache-bench-micro-") as place:
        library = Path(place, "allocations.so")
        command = [compiler, "-O2", "-shared", "-fPIC", f"-I{include}", "-o", str(library)]
        subprocess.run([*command, str(_SOURCE)], check=True, capture_output=True)
        return Counter(ctypes.PyDLL(str(library)))
