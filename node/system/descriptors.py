"""Descriptors of the process: how many it may open, how they are shared out, and a few in reserve.

A process that has run out of descriptors cannot open its next log segment, answer `/health` or take
a peer in, and its listeners close clients without a word. So client connections, which are what
there can be many of, are bounded by what is left when everything else has its share (`share_out`).

Reading order: `share_out`, `raise_limit`, `SpareDescriptors`.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Final, NamedTuple

from quorumcache.node.errors import StartupError

OWN_DESCRIPTORS: Final = 48
"""For the process itself, with room to spare: standard streams, the loop, listeners, log segments,
files being written, the disk's reserve, libraries. 27 are open in a node that is busy."""

HTTP_DESCRIPTORS: Final = 32
"""For `/health`, `/metrics` and `/status`: as many as `admin.CONNECTIONS_MAX`."""

PER_PEER_DESCRIPTORS: Final = 6
"""One connection each way with a socket for datagrams beside it, and one each that is being
replaced."""

STRANGERS_DESCRIPTORS: Final = 64
"""For connections on the peer port that have not introduced themselves yet: as many as
`open_links.UNKNOWN_LINKS_MAX`."""

CONNECTIONS_MIN: Final = 16
"""With room for fewer clients a node does not start."""

LIMITS_FILE: Final = "/proc/self/limits"
LIMIT_UNKNOWN: Final = 1024
"""What Linux gives a process that asks for nothing else."""

REFUSING_SHARE: Final = 8
"""One in so many connections may be one that is being told that there are too many."""


class Share(NamedTuple):
    """What a node does with the descriptors it may open."""

    limit: int
    """What the soft limit has to be."""
    connections_max: int
    """How many clients may be connected: what was asked for, or what there is room for."""


def share_out(connections_max: int, peers_count: int, hard_limit: int) -> Share:
    """Find room for so many clients below the hard limit. Raises `StartupError`. Pure."""
    others = (
        OWN_DESCRIPTORS
        + HTTP_DESCRIPTORS
        + (STRANGERS_DESCRIPTORS + PER_PEER_DESCRIPTORS * peers_count if peers_count else 0)
    )
    needed = others + connections_max + connections_max // REFUSING_SHARE + 1
    if needed <= hard_limit:
        return Share(needed, connections_max)
    room = (hard_limit - others) * REFUSING_SHARE // (REFUSING_SHARE + 1)
    if room < CONNECTIONS_MIN:
        least = others + CONNECTIONS_MIN * (REFUSING_SHARE + 1) // REFUSING_SHARE
        raise StartupError(
            f"the limit of open files is {hard_limit}, and this node needs at least {least}: raise"
            " it (ulimit -n, or LimitNOFILE in systemd)"
        )
    return Share(hard_limit, min(room, connections_max))


def open_files_limits() -> tuple[int, int]:
    """The soft and the hard one. Where the system forbids the call, it tells them in a file."""
    try:
        return resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:
        return _limits_told()


def _limits_told() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError), open(LIMITS_FILE, encoding="ascii") as file:
        for line in file:
            if line.startswith("Max open files"):
                soft, hard = (
                    resource.RLIM_INFINITY if word == "unlimited" else int(word)
                    for word in line.split()[3:5]
                )
                return soft, hard
    return LIMIT_UNKNOWN, LIMIT_UNKNOWN


def raise_limit(connections_max: int, peers_count: int) -> Share:
    """Let this process open what its settings need, as far as its hard limit allows.

    Raises `StartupError` when that is too little for any use.
    """
    soft, hard = open_files_limits()
    unlimited = resource.RLIM_INFINITY
    share = share_out(connections_max, peers_count, 1 << 30 if hard == unlimited else hard)
    if soft != unlimited and soft < share.limit:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (share.limit, hard))
        except (OSError, ValueError):  # Some systems have a lower bound of their own.
            share = share_out(connections_max, peers_count, soft)
    return share


class SpareDescriptors:
    """Descriptors that are held open for nothing, so that they can be had when there are no others.

    Used from several threads: single operations on the list are atomic.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []

    def fill(self, count: int) -> int:
        """Hold `count` of them if they can be had. How many more the process may open."""
        limit = open_files_limits()[0]
        try:
            while len(self._fds) < count:
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            if not count:
                return limit
            # The kernel gives the lowest number that is free: it tells how many are not.
            fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0
        os.close(fd)
        return max(0, limit - fd)

    def give_one(self) -> bool:
        """Close one, for somebody to open what is needed. False: there is none."""
        try:
            os.close(self._fds.pop())
        except IndexError:
            return False
        return True

    def empty(self) -> None:
        while self.give_one():
            pass


DESCRIPTORS: Final = SpareDescriptors()
"""Of this process."""
