"""Free TCP ports of loopback for servers that are started a moment later, and started again.

Between the choice of a port and its use, and while a server is down, anybody may take the port. So
ports are chosen outside the range that the kernel gives to outgoing connections, and claimed: other
processes that choose their ports here do not choose the same ones until this process has ended.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import threading

from quorumcache.bench.errors import StartError

HOST = "127.0.0.1"
FIRST_PORT = 12_000
END_PORT = 32_000
"""Linux gives 32768 and more to outgoing connections."""

_STEP = 101
"""Ports between the first ones of two processes of which one was started after the other."""

_claims = -1
"""Descriptor of the file of claims, open until the process ends: its locks end when it is closed.
A claimed port is a locked byte of this file, at the place that is the port's number."""
_claimed: set[int] = set()
"""Ports of this process, for which its own locks are no obstacle."""
_choosing = threading.Lock()
"""Held while ports are chosen: the locks of the file keep other processes off, and no threads."""


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on, claimed. StartError when there are none."""
    with _choosing:
        return _choose(count)


def _choose(count: int) -> list[int]:
    found: list[int] = []
    places = END_PORT - FIRST_PORT
    start = os.getpid() * _STEP  # Elsewhere than other processes, which is quicker.
    for place in range(start, start + places):
        if len(found) == count:
            return found
        port = FIRST_PORT + place % places
        if port not in _claimed and _claim(port) and _is_free(port):
            found.append(port)
    if len(found) == count:
        return found
    raise StartError(f"fewer than {count} ports are free in {FIRST_PORT}..{END_PORT - 1}")


def _claim(port: int) -> bool:
    """False when another process holds it."""
    global _claims
    if _claims < 0:
        path = os.path.join(tempfile.gettempdir(), f"quorumcache-ports-{os.geteuid()}")
        try:
            _claims = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StartError(f"cannot open the file of claimed ports: {error}") from None
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    _claimed.add(port)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
