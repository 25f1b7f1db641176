"""What a meta request becomes: the arguments of its command in the log, and what its read asks.

The flags of a command are letters (`store/meta_effects.py`); a number that was not given is 0.
"""

from __future__ import annotations

from quorumcache.node.operations.meta_read import ASKS_HINT, NO_BUMP
from quorumcache.node.protocol.requests import (
    MetaArithmetic,
    MetaDelete,
    MetaGet,
    MetaReply,
    MetaSet,
)
from quorumcache.node.store.commands import OP_APPEND, OP_PREPEND


def meta_get_asks(request: MetaGet) -> int:
    """What a read asks for an `mg`, see `MetaRead`."""
    letters = request.reply.letters
    asks = ASKS_HINT if b"h" in letters or b"l" in letters else 0
    return asks | NO_BUMP if request.no_bump else asks


def meta_get_args(request: MetaGet) -> tuple[object, ...]:
    """The arguments of OP_META_GET."""
    flags = bytes([letter for letter in request.reply.letters if letter in b"TNR"])
    if request.explicit_cas is not None:
        flags += b"E"
    if request.with_value:
        flags += b"v"
    if request.no_bump:
        flags += b"u"
    numbers = (request.exptime, request.vivify, request.recache, request.explicit_cas)
    return (flags, *[number or 0 for number in numbers])


def meta_set_args(request: MetaSet) -> tuple[object, ...]:
    """The arguments of OP_META_SET."""
    flags = _uniques(request.compare, request.explicit_cas)
    if request.invalidates:
        flags += b"I"
    extends = request.mode in (OP_APPEND, OP_PREPEND)
    if extends and request.vivify is not None:
        flags += b"N"
    if _shows(request.reply, b"cs" if extends else b"c"):
        flags += b"c"
    return (
        flags,
        request.mode,
        request.data,
        request.exptime or 0,
        request.vivify or 0,
        request.compare or 0,
        request.explicit_cas or 0,
        request.flags,
    )


def meta_delete_args(request: MetaDelete) -> tuple[object, ...]:
    """The arguments of OP_META_DELETE."""
    flags = _uniques(request.compare, request.explicit_cas)
    if request.invalidates:
        flags += b"I"
    if request.exptime is not None:
        flags += b"T"
    if request.empties:
        flags += b"x"
    numbers = (request.compare, request.explicit_cas, request.exptime)
    return (flags, *[number or 0 for number in numbers], request.flags)


def meta_arithmetic_args(request: MetaArithmetic) -> tuple[object, ...]:
    """The arguments of OP_META_ARITHMETIC."""
    flags = bytes([letter for letter in request.reply.letters if letter in b"TN"])
    flags += _uniques(request.compare, request.explicit_cas)
    if not request.increments:
        flags += b"-"
    if _shows(request.reply, b"ct"):
        flags += b"c"
    return (
        flags,
        request.delta,
        request.initial,
        request.vivify or 0,
        request.exptime or 0,
        request.compare or 0,
        request.explicit_cas or 0,
    )


def _uniques(compare: int | None, explicit_cas: int | None) -> bytes:
    """Which CAS uniques are given: one to compare with, one to set."""
    if compare is None:
        return b"" if explicit_cas is None else b"E"
    return b"C" if explicit_cas is None else b"CE"


def _shows(reply: MetaReply, letters: bytes) -> bool:
    return any(letter in reply.letters for letter in letters)
