"""Errors of the ring package. All of them are the caller's or a peer's fault; none is worth a
retry.
"""

from __future__ import annotations


class RingError(Exception):
    """Base of every error raised by `ring`."""


class PlacementError(RingError):
    """The asked placement is impossible or its input is malformed; the text names the value."""


class MapError(RingError):
    """A cluster map is malformed; the text names the field, the value and what was expected."""
