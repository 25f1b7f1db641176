"""The little language of `quorumcache txn`: one command a line, words quoted as in a shell. Pure.

    get KEY...                                 print the values
    set KEY VALUE [ttl=SECONDS] [flags=N]
    add KEY VALUE [ttl=SECONDS] [flags=N]      the key must not be there
    replace KEY VALUE [ttl=SECONDS] [flags=N]  it must be there
    delete KEY                                 whether it is there or not
    incr KEY [N]      decr KEY [N]             it must be there; print the new number
    check KEY VALUE                            it must hold exactly this
    present KEY       absent KEY               it must be there, or not

What must be and is not ends the whole transaction: nothing of it is done. A line whose first word
begins with # is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from quorumcache.router.arguments import exptime_of, flags_of, unsigned_of
from quorumcache.router.codec import key_bytes
from quorumcache.router.errors import InvalidArgument, InvalidRequest

_NUMBER_DIGITS_MAX: Final = 20

_FORMS: Final = {
    "get": "get KEY...",
    "set": "set KEY VALUE [ttl=SECONDS] [flags=N]",
    "add": "add KEY VALUE [ttl=SECONDS] [flags=N]",
    "replace": "replace KEY VALUE [ttl=SECONDS] [flags=N]",
    "delete": "delete KEY",
    "incr": "incr KEY [N]",
    "decr": "decr KEY [N]",
    "check": "check KEY VALUE",
    "present": "present KEY",
    "absent": "absent KEY",
}

STORES: Final = ("set", "add", "replace")

_PIECE: Final = re.compile(
    r"""(?P<blank>[ \t\r\n]+)|(?P<bare>[^ \t\r\n'"\\]+)|'(?P<plain>[^']*)'"""
    r"""|"(?P<quoted>(?:[^"\\]+|\\.)*)"|\\(?P<escaped>.)""",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"""\\(["\\])""")


class Step(NamedTuple):
    """One command. What its verb has no use for is as it stands here."""

    line: int
    verb: str
    keys: tuple[bytes, ...]
    value: bytes = b""
    ttl: int = 0
    flags: int = 0
    delta: int = 1


def parse_script(data: bytes) -> tuple[Step, ...]:
    """The commands of a file. Raises `InvalidArgument` that names the line."""
    steps = []
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.decode("utf-8", "surrogateescape").strip()
        if not text or text.startswith("#"):
            continue
        try:
            steps.append(_step(number, text))
        except InvalidRequest as error:
            raise InvalidArgument(f"line {number}: {error}") from error
    if not steps:
        raise InvalidArgument("there is no command in it")
    return tuple(steps)


def split_words(text: str) -> list[str]:
    """The words of a line, quoted as in a shell. Raises ValueError. As `shlex.split`, which takes
    half a minute for a word of 1 MB.
    """
    words: list[str] = []
    pieces: list[str] | None = None  # of the word that has begun
    position = 0
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            raise ValueError("a quotation is not closed, or nothing follows a backslash")
        position = match.end()
        kind, piece = match.lastgroup, match[match.lastgroup or 0]
        if kind == "blank":
            if pieces is not None:
                words.append("".join(pieces))
            pieces = None
            continue
        if pieces is None:
            pieces = []
        pieces.append(_ESCAPE.sub(r"\1", piece) if kind == "quoted" else piece)
    if pieces is not None:
        words.append("".join(pieces))
    return words


def _step(number: int, text: str) -> Step:
    try:
        verb, *words = split_words(text)
    except ValueError:
        raise InvalidArgument("a quotation is not closed, or nothing follows a \\") from None
    form = _FORMS.get(verb)
    if form is None:
        raise InvalidArgument(f"{verb!r} is none of {', '.join(_FORMS)}")
    usage = InvalidArgument(f"it must be: {form}")
    if not words:
        raise usage
    if verb == "get":
        return Step(number, verb, tuple(key_bytes(_bytes(word)) for word in words))
    key, *rest = words
    keys = (key_bytes(_bytes(key)),)
    if verb in STORES or verb == "check":
        if not rest or (verb == "check" and len(rest) > 1):
            raise usage
        ttl, flags = _settings(rest[1:], usage)
        return Step(number, verb, keys, _bytes(rest[0]), ttl, flags)
    if verb in ("incr", "decr") and len(rest) == 1:
        return Step(number, verb, keys, delta=unsigned_of("N", _number(rest[0], usage)))
    if rest:
        raise usage
    return Step(number, verb, keys)


def _settings(words: Sequence[str], usage: InvalidArgument) -> tuple[int, int]:
    """ttl and flags behind a value."""
    found = {"ttl": 0, "flags": 0}
    for word in words:
        name, sign, number = word.partition("=")
        if not sign or name not in found:
            raise usage
        found[name] = _number(number, usage)
    return exptime_of(found["ttl"], "ttl"), flags_of(found["flags"])


def _number(text: str, usage: InvalidArgument) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _NUMBER_DIGITS_MAX:
        raise usage
    return int(text)


def _bytes(word: str) -> bytes:
    """As it stands in the file, in whatever encoding."""
    return word.encode("utf-8", "surrogateescape")
