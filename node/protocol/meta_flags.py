"""The flags of the meta commands: words of one letter and its token, to numbers and marks.

What is wrong with them is answered as memcached 1.6.45 does. All flags are read in one way,
whatever the command: those of another command are checked and then ignored. A doubled or an unknown
flag ends the reading; of several bad tokens the last one is named.
"""

from binascii import Error, a2b_base64, b2a_base64
from typing import Final, NamedTuple

from quorumcache.node.protocol.numbers import (
    INT64_MAX,
    INT64_MIN,
    UINT32_MAX,
    UINT64_MAX,
    cut_to_int32,
    loose_number,
)
from quorumcache.node.protocol.responses import BAD_FORMAT_LINE
from quorumcache.node.store.item import KEY_BYTES_MAX

META_WORDS_MAX: Final = 20
"""Words of a meta line, command and key among them."""

OPAQUE_BYTES_MAX: Final = 31
"""Of the token; memcached's 32 count the letter."""

BAD_TOKEN_LINE: Final = b"CLIENT_ERROR bad token in command line format\r\n"
BAD_INITIAL_LINE: Final = b"CLIENT_ERROR invalid numeric initial value\r\n"
BAD_DELTA_LINE: Final = b"CLIENT_ERROR invalid numeric delta value\r\n"
BAD_KEY_LINE: Final = b"CLIENT_ERROR error decoding key\r\n"
DUPLICATE_FLAG_LINE: Final = b"CLIENT_ERROR duplicate flag\r\n"
INVALID_FLAG_LINE: Final = b"CLIENT_ERROR invalid flag\r\n"
OPAQUE_TOO_LONG_LINE: Final = b"CLIENT_ERROR opaque token too long\r\n"
TOO_MANY_WORDS_LINE: Final = b"CLIENT_ERROR options flags are too long\r\n"

NO_MODE: Final = 0

_LETTERS: Final = frozenset(b"bcfhklqstuvxCDEFIJLMNOPRT")
_LETTERS_END: Final = 127
"""memcached calls a byte from here on a duplicate, whether it is one or not."""
_SHOWN: Final = frozenset(b"ONRTcfhklst")

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64: Final = bytes(byte for byte in range(256) if byte not in _BASE64)


class MetaFlags(NamedTuple):
    """The flags of one line; what they mean is in `requests.py`. A number not given is None."""

    letters: bytes
    """Those that may shape a reply, of whatever command, in order."""
    opaque: bytes
    is_base64: bool
    is_quiet: bool
    with_value: bool
    no_bump: bool
    invalidates: bool
    empties: bool
    mode: int
    """The letter after `M`; NO_MODE when there is no M; a space when there is no letter."""
    client_flags: int
    exptime: int | None
    vivify: int | None
    recache: int | None
    compare: int | None
    explicit_cas: int | None
    initial: int
    delta: int


def beyond_limits(words: list[bytes]) -> bytes:
    """What is wrong with a line, which has a key, before anybody looks at its flags; or nothing."""
    if len(words[1]) > KEY_BYTES_MAX:
        return BAD_FORMAT_LINE
    if len(words) > META_WORDS_MAX:
        return TOO_MANY_WORDS_LINE
    return b""


def read_flags(flag_words: list[bytes], key: bytes) -> MetaFlags | bytes:
    """The flags of a line within the limits, or the line that says what is wrong with them.

    `key` is the key as it was written.
    """
    letters = bytearray()
    seen = bytearray()
    opaque = b""
    is_base64 = is_quiet = with_value = no_bump = invalidates = empties = False
    mode = NO_MODE
    client_flags = initial = 0
    delta = 1
    exptime: int | None = None
    vivify: int | None = None
    recache: int | None = None
    compare: int | None = None
    explicit_cas: int | None = None
    # memcached goes on after a bad token, and a bad F leaves the line of the one before it.
    is_bad = False
    wrong = BAD_FORMAT_LINE
    for word in flag_words:
        letter = word[0]
        if letter >= _LETTERS_END or letter in seen:
            return DUPLICATE_FLAG_LINE
        if letter not in _LETTERS:
            return INVALID_FLAG_LINE
        seen.append(letter)
        if letter in _SHOWN:
            letters.append(letter)
        if letter == 118:  # v
            with_value = True
        elif letter == 113:  # q
            is_quiet = True
        elif letter == 117:  # u
            no_bump = True
        elif letter == 120:  # x
            empties = True
        elif letter == 98:  # b
            is_base64 = True
            if decoded_key(key) is None:
                is_bad, wrong = True, BAD_KEY_LINE
        elif letter == 73:  # I
            invalidates = True
        elif letter == 77:  # M
            mode = word[1] if len(word) > 1 else 32
        elif letter == 79:  # O
            opaque = word[1:]
        elif letter in (84, 78, 82):  # T, N, R
            time = loose_number(word[1:], INT64_MIN, INT64_MAX)
            if time is None:
                is_bad, wrong = True, BAD_TOKEN_LINE
                continue
            time = cut_to_int32(time)
            if letter == 84:
                exptime = time
            elif letter == 78:
                vivify = time
            else:
                recache = time
        elif letter in (67, 69, 70, 68, 74):  # C, E, F, D, J
            number = loose_number(word[1:], 0, UINT64_MAX)
            if number is None:
                is_bad = True
                if letter == 68:
                    wrong = BAD_DELTA_LINE
                elif letter == 74:
                    wrong = BAD_INITIAL_LINE
                elif letter != 70:
                    wrong = BAD_TOKEN_LINE
            elif letter == 67:
                compare = number
            elif letter == 69:
                explicit_cas = number
            elif letter == 70:
                client_flags = number & UINT32_MAX
            elif letter == 68:
                delta = number
            else:
                initial = number
    if is_bad:
        return wrong
    if len(opaque) > OPAQUE_BYTES_MAX:
        return OPAQUE_TOO_LONG_LINE
    return MetaFlags(
        bytes(letters),
        opaque,
        is_base64,
        is_quiet,
        with_value,
        no_bump,
        invalidates,
        empties,
        mode,
        client_flags,
        exptime,
        vivify,
        recache,
        compare,
        explicit_cas,
        initial,
        delta,
    )


def without_opaque(tail: bytes) -> tuple[bytes, bytes] | None:
    """The end of a line with a bare `O` in the place of its first opaque, and the opaque; None if
    that is too long. So what differs from line to line stays out of the caches of tails.
    """
    start = 0 if tail.startswith(b"O") else tail.find(b" O") + 1
    if start == 0 and not tail.startswith(b"O"):
        return tail, b""
    end = tail.find(b" ", start)
    if end < 0:
        end = len(tail)
    if end - start > OPAQUE_BYTES_MAX + 1:
        return None
    return tail[: start + 1] + tail[end:], tail[start + 1 : end]


def shown(letters: bytes, known: bytes) -> bytes:
    """Those of `letters` that a command knows."""
    return bytes([letter for letter in letters if letter in known])


def decoded_key(word: bytes) -> bytes | None:
    """The key that `word` is in base64; None if it is none.

    As in memcached, bytes outside the alphabet are passed over, and nothing is read behind a
    padded group.
    """
    text = word.translate(None, _NOT_BASE64)
    if not text or len(text) % 4:
        return None
    padding = text.find(b"=")
    if padding >= 0:
        text = text[: padding - padding % 4 + 4]
    try:
        return a2b_base64(text, strict_mode=True)
    except Error:
        return None


def encoded_key(key: bytes) -> bytes:
    """A key in base64, as replies show it."""
    return b2a_base64(key, newline=False)
