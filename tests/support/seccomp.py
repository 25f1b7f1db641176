"""Forbid system calls to a process, as the seccomp profile of a container does.

`python -m tests.support.seccomp NAME,NAME -- COMMAND...` runs the command with a filter under which
these calls fail with EPERM. The filter is a small program for the kernel (BPF) that compares the
number of each call; the numbers are those of the machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "socket": 41,
        "listen": 50,
        "socketpair": 53,
        "setsockopt": 54,
        "fdatasync": 75,
        "flock": 73,
        "statfs": 137,
        "rt_sigtimedwait": 128,
        "tgkill": 234,
        "epoll_ctl": 233,
        "fallocate": 285,
        "eventfd2": 290,
        "epoll_create1": 291,
        "prlimit64": 302,
        "getrandom": 318,
        "getrusage": 98,
        "sched_getaffinity": 204,
        "sched_setscheduler": 144,
        "madvise": 28,
        "fadvise64": 221,
        "io_uring_setup": 425,
        "pidfd_open": 434,
        "clone3": 435,
    },
    "aarch64": {
        "eventfd2": 19,
        "epoll_create1": 20,
        "epoll_ctl": 21,
        "flock": 32,
        "statfs": 43,
        "fallocate": 47,
        "fdatasync": 83,
        "sched_setscheduler": 119,
        "sched_getaffinity": 123,
        "tgkill": 131,
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "rt_sigtimedwait": 137,
        "getrusage": 165,
        "socket": 198,
        "socketpair": 199,
        "listen": 201,
        "setsockopt": 208,
        "fadvise64": 223,
        "madvise": 233,
        "prlimit64": 261,
        "getrandom": 278,
        "io_uring_setup": 425,
        "pidfd_open": 434,
        "clone3": 435,
    },
}
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF_0000, 0x0005_0000


def forbid(names: Sequence[str]) -> None:
    """For this process and its children, for good. OSError where that cannot be done."""
    numbers = NUMBERS[platform.machine()]
    program = [struct.pack("HBBI", _LOAD, 0, 0, 0)]
    for name in names:
        program.append(struct.pack("HBBI", _JUMP_IF_EQUAL, 0, 1, numbers[name]))
        program.append(struct.pack("HBBI", _RETURN, 0, 0, _FAIL | errno.EPERM))
    program.append(struct.pack("HBBI", _RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _MODE_FILTER, head, 0, 0)):
        if libc.prctl(*words):
            raise OSError(ctypes.get_errno(), "prctl")


def can_forbid() -> bool:
    """Whether the kernel takes such filters here. Tried in a child process."""
    if platform.machine() not in NUMBERS:
        return False
    child = os.fork()
    if not child:
        try:
            forbid(["prlimit64"])
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    split = sys.argv.index("--")
    forbid(sys.argv[1].split(","))
    os.execv(sys.argv[split + 1], sys.argv[split + 1 :])
