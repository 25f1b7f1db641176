"""Who listens on a port of this machine, in words, for a node that cannot. Edge.

Linux tells which sockets listen (`/proc/net/tcp`), and which process has which sockets open, as far
as this user may see it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

SOMEBODY: Final = "another process"
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING: Final = "0A"
"""Source: `TCP_LISTEN` in include/net/tcp_states.h of Linux."""


def port_holder(port: int) -> str:
    """`process 4711 (memcached)`, or `another process` where nobody can tell."""
    links = {f"socket:[{inode}]" for inode in _listening(port)}
    if not links:
        return SOMEBODY
    for pid in _processes():
        if links.intersection(_open_files(pid)):
            return f"process {pid}{process_name(pid)}"
    return SOMEBODY


def process_name(pid: int) -> str:
    """` (name)` of a process; "" if that cannot be told."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return f" ({file.read().strip()})"
    except (OSError, UnicodeDecodeError):
        return ""


def _listening(port: int) -> Iterator[str]:
    for table in _TABLES:
        try:
            with open(table) as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]


def _processes() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def _open_files(pid: int) -> Iterator[str]:
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:  # It has ended, or belongs to another user.
        return
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}")
        except OSError:
            continue
