"""What becomes of clients in a child process.

A fork copies sockets, sessions and the event loop. If both processes used them, replies would reach
the wrong one, and two writes would go out under one number, of which the cluster executes one. So
every client is told in the child, before any other code runs there, and starts anew.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that must not go on in a child process as if nothing had happened."""

    def forked(self) -> None:
        """Called in the child; runs outside of any event loop and must not wait."""


_living: WeakSet[Forkable] = WeakSet()


def watch(client: Forkable) -> None:
    """Tell `client` of every fork for as long as it lives."""
    _living.add(client)


def _in_child() -> None:
    for client in list(_living):
        client.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
