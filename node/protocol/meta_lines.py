"""The lines of `mg`, `md`, `ma`, `me` and `mn`, to one request each. `ms` has a data block, and
is in `storage_lines`.

A line is answered with an error in the cases, and the words, of memcached 1.6.45; `q` does not hide
it. What differs: an opaque that is too long is refused before anything is done.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from quorumcache.node.protocol.meta_flags import (
    META_WORDS_MAX,
    NO_MODE,
    OPAQUE,
    OPAQUE_TOO_LONG_LINE,
    MetaFlags,
    beyond_limits,
    decoded_key,
    encoded_key,
    read_flags,
    shown,
    without_opaque,
)
from quorumcache.node.protocol.requests import (
    Immediate,
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaNoop,
    MetaReply,
    Request,
)
from quorumcache.node.protocol.responses import BAD_FORMAT_LINE
from quorumcache.node.store.item import KEY_BYTES_MAX

INVALID_OR_DUPLICATE_LINE: Final = b"CLIENT_ERROR invalid or duplicate flag\r\n"
MODE_OF_ARITHMETIC_LINE: Final = b"CLIENT_ERROR invalid mode for ma M token\r\n"

GET_LETTERS: Final = b"ONRTcfhklst"
DELETE_LETTERS: Final = b"Ok"
ARITHMETIC_LETTERS: Final = b"ONTckt"
"""The flags that shape the replies of a command, `MetaReply.letters`."""

TAIL_BYTES_MAX: Final = 40
"""Longer tails do not go through `get_tail`, so that its cache stays within 4096 x 40 bytes."""

_INCREMENT: Final = b"I+"
_DECREMENT: Final = b"D-"

META_GET: Final = b"mg"

_new: Final = tuple.__new__
"""Builds a NamedTuple from a tuple: half the time of calling its class."""

GetTail = tuple[
    bool, bool, int | None, int | None, int | None, int | None, int | None, bytes, bool, bool
]
"""with_value, no_bump, exptime, vivify, recache, compare, explicit_cas of a MetaGet; letters and
is_quiet of its reply; and whether it changes nothing, whatever it finds, but for a stale item."""


@lru_cache(maxsize=4096)
def get_tail(tail: bytes) -> GetTail | None:
    """The flags of an `mg` line, all that follows its key; `tail` is at most TAIL_BYTES_MAX long
    and its opaque was taken out. None if something is wrong with them, or the key is in base64.

    A workload has few distinct tails. The cache saves X of Y microseconds.
    """
    words = [word for word in tail.split(b" ") if word]
    if len(words) + 2 > META_WORDS_MAX:
        return None
    flags = read_flags(words, b"")
    if type(flags) is bytes:
        return None
    assert type(flags) is MetaFlags
    if flags.is_base64:
        return None
    return (
        flags.with_value,
        flags.no_bump,
        flags.exptime,
        flags.vivify,
        flags.recache,
        flags.compare,
        flags.explicit_cas,
        shown(flags.letters, GET_LETTERS),
        flags.is_quiet,
        flags.exptime is None and flags.vivify is None and flags.recache is None,
    )


def plain_meta_get(words: list[bytes]) -> MetaGet | None:
    """The request of an `mg` line that is split at its first two spaces, if its flags are known
    and its key is as it should be. Otherwise the line has to be read in full.
    """
    if not len(words) > 1 or not 0 < len(words[1]) <= KEY_BYTES_MAX:
        return None
    text = words[2] if len(words) > 2 else b""
    opaque = b""
    if OPAQUE in text:
        parts = without_opaque(text)
        if parts is None:
            return None
        text, opaque = parts
    tail = get_tail(text) if len(text) <= TAIL_BYTES_MAX else None
    if tail is None:
        return None
    key = words[1]
    value, no_bump, exptime, vivify, recache, compare, explicit_cas, letters, is_quiet, _ = tail
    reply = _new(MetaReply, (letters, opaque, key, False, is_quiet))
    return _new(
        MetaGet,
        (key, value, no_bump, exptime, vivify, recache, compare, explicit_cas, reply),
    )


def named(word: bytes, flags: MetaFlags, known: bytes) -> tuple[bytes, MetaReply]:
    """The key that a word is, and how the command that names it wants to be answered."""
    key = word
    if flags.is_base64:
        decoded = decoded_key(word)
        assert decoded is not None, word
        key = decoded
        word = encoded_key(key)
    letters = shown(flags.letters, known)
    return key, MetaReply(letters, flags.opaque, word, flags.is_base64, flags.is_quiet)


def flags_of(words: list[bytes], first: int) -> MetaFlags | bytes:
    """The flags of a line, which begin at the word `first`, or the line that says what is wrong."""
    if len(words) < first:
        return BAD_FORMAT_LINE
    return beyond_limits(words) or read_flags(words[first:], words[1])


def _meta_get(words: list[bytes]) -> Request:
    """`mg <key> <flags>*`"""
    flags = flags_of(words, 2)
    if type(flags) is bytes:
        return Immediate(flags)
    assert type(flags) is MetaFlags
    key, reply = named(words[1], flags, GET_LETTERS)
    return MetaGet(
        key,
        flags.with_value,
        flags.no_bump,
        flags.exptime,
        flags.vivify,
        flags.recache,
        flags.compare,
        flags.explicit_cas,
        reply,
    )


def _meta_delete(words: list[bytes]) -> Request:
    """`md <key> <flags>*`"""
    flags = flags_of(words, 2)
    if type(flags) is bytes:
        return Immediate(flags)
    assert type(flags) is MetaFlags
    key, reply = named(words[1], flags, DELETE_LETTERS)
    return MetaDelete(
        key,
        flags.compare,
        flags.explicit_cas,
        flags.invalidates,
        flags.exptime,
        flags.empties,
        flags.client_flags,
        reply,
    )


def _meta_arithmetic(words: list[bytes]) -> Request:
    """`ma <key> <flags>*`"""
    if len(words) < 2:
        return Immediate(BAD_FORMAT_LINE)
    error = beyond_limits(words)
    if error:
        return Immediate(error)
    flags = read_flags(words[2:], words[1])
    if type(flags) is bytes:
        is_named = flags == OPAQUE_TOO_LONG_LINE
        return Immediate(flags if is_named else INVALID_OR_DUPLICATE_LINE)
    assert type(flags) is MetaFlags
    increments = flags.mode == NO_MODE or flags.mode in _INCREMENT
    if not increments and flags.mode not in _DECREMENT:
        return Immediate(MODE_OF_ARITHMETIC_LINE)
    key, reply = named(words[1], flags, ARITHMETIC_LETTERS)
    return MetaArithmetic(
        key,
        increments,
        flags.delta,
        flags.initial,
        flags.vivify,
        flags.exptime,
        flags.compare,
        flags.explicit_cas,
        flags.with_value,
        reply,
    )


def _meta_debug(words: list[bytes]) -> Request:
    """`me <key> [b]`: whatever else follows is not looked at."""
    if len(words) < 2 or len(words[1]) > KEY_BYTES_MAX:
        return Immediate(BAD_FORMAT_LINE)
    key = word = words[1]
    is_base64 = len(words) > 2 and words[2] == b"b"
    if is_base64:
        decoded = decoded_key(word)
        if decoded is None:
            return Immediate(BAD_FORMAT_LINE)
        key = decoded
        word = encoded_key(key)
    return MetaDebug(key, MetaReply(b"", b"", word, is_base64, False))


def _meta_noop(words: list[bytes]) -> Request:
    """`mn`: further words are not looked at."""
    return MetaNoop()


META_PARSERS: Final[dict[bytes, Callable[[list[bytes]], Request]]] = {
    b"mg": _meta_get,
    b"md": _meta_delete,
    b"ma": _meta_arithmetic,
    b"me": _meta_debug,
    b"mn": _meta_noop,
}
"""By the first word of the line."""


def meta_gets(data: bytes) -> tuple[list[bytes], GetTail] | None:
    """See `Parser.plain_meta_gets`."""
    if data[-2:] != b"\r\n":
        return None
    space = data.find(b" ", 3)
    line_end = data.find(b"\r\n", 3)
    tail = data[space:line_end] if 0 <= space < line_end else b""
    if len(tail) > TAIL_BYTES_MAX or OPAQUE in tail:
        return None
    flags = get_tail(tail)
    if flags is None or not flags[9]:
        return None
    separator = tail + b"\r\nmg "
    keys = (data + b"mg ")[3:].split(separator)
    if keys.pop():
        return None
    # A key has no space and no line end if there are no others than in the separators.
    count = len(keys)
    if data.count(b" ") != count * (tail.count(b" ") + 1) or data.count(b"\n") != count:
        return None
    for key in keys:
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return None
    return keys, flags
