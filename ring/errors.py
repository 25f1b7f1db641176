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


class ChangeRefused(RingError):
    """A change of the cluster is refused, and nothing was changed; the text is one sentence for the
    operator: why, and what to do.
    """


class AddressError(RingError):
    """A text is no address: the error shows it, what is wrong with it and how to write one."""


class SizeError(RingError):
    """A text is no size: the error shows it and how to write one."""


class SecretError(RingError):
    """A text is no secret: the error says why, and never shows it. It goes on after the words for
    where the text comes from, such as a variable's name.
    """
