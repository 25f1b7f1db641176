"""Words of command lines that more than one kind of line has."""

from typing import Final

from quorumcache.node.protocol.requests import Immediate

NOREPLY: Final = b"noreply"

SILENCE: Final = Immediate(b"")
"""A line that is wrong, and hides it by its `noreply`."""


def answer(reply: bytes, noreply: bool) -> Immediate:
    """A finished reply, unless the line's `noreply` hides it."""
    return SILENCE if noreply else Immediate(reply)
