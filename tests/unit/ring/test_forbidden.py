"""Which errors are those of calls that the system forbids, and what is said of them."""

from __future__ import annotations

import errno
import os

import pytest

from quorumcache.ring.forbidden import forbidden, is_forbidden, where


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EPERM, "Operation not permitted"), True),
        (OSError(errno.ENOSYS, "Function not implemented"), True),
        (OSError(errno.EPERM, "Operation not permitted", "/a/file"), False),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError("odd"), False),
    ],
)
def test_a_call_is_forbidden_when_no_file_stands_in_its_way(error: OSError, expected: bool) -> None:
    assert is_forbidden(error) is expected


def test_the_line_names_the_call_and_what_to_do() -> None:
    error = OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    assert forbidden("flock", error) == (
        "the system forbids flock (Function not implemented): allow it in the seccomp profile of"
        " this container or service"
    )
    assert where(error) == "a call"


def test_the_call_is_found_where_the_error_came_from() -> None:
    def make_a_socket() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(OSError, match="not permitted") as raised:
        make_a_socket()
    told = where(raised.value)
    assert told.startswith("a call of make_a_socket: raise PermissionError(")
