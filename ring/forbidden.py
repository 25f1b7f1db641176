"""System calls that the system forbids to this process, as the seccomp profile of a container may.

Such a call fails as if rights were missing, or as if the kernel were too old, and names no file.
Like `streams.py` it is left out of `ring/__init__.py`.
"""

from __future__ import annotations

import errno
import traceback

ALLOW = "allow it in the seccomp profile of this container or service"

_FORBIDDEN = frozenset({errno.EPERM, errno.ENOSYS})


def is_forbidden(error: OSError) -> bool:
    """Whether a call failed that no file stands in the way of."""
    return error.errno in _FORBIDDEN and not error.filename


def forbidden(call: str, error: OSError) -> str:
    """What to say of it, in one line."""
    return f"the system forbids {call} ({error.strerror or error}): {ALLOW}"


def where(error: OSError) -> str:
    """The call, as far as it can be told from where the error came from."""
    found = traceback.extract_tb(error.__traceback__)
    if not found:
        return "a call"
    line = f": {found[-1].line}" if found[-1].line else ""
    return f"a call of {found[-1].name}{line}"
