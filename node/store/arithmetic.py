"""Numbers as incr and decr read and write them in a value.

memcached reads a value with strtoull: leading white space, a plus sign, digits, and then the end or
white space, after which anything may follow (`b"5 x"` is 5). It writes a result that is not longer
than the old text in place and pads it with spaces, which clients can see and rely on.
"""

import re
from typing import Final

UINT64_MAX: Final = (1 << 64) - 1

_number = re.compile(rb"[ \t\n\v\f\r]*\+?0*([0-9]*)(?:[ \t\n\v\f\r]|\Z)").match
_DIGITS_MAX: Final = 20


def parse_number(text: bytes) -> int | None:
    """The unsigned 64-bit number at the start of `text`, or None when memcached would not take it
    for one.
    """
    if text.isdigit() and len(text) <= _DIGITS_MAX:
        number = int(text)
        return number if number <= UINT64_MAX else None
    match = _number(text)
    if match is None:
        return None
    digits = match.group(1)
    if not digits:
        # Only zeros, or no digit at all.
        return 0 if b"0" in text[: match.end()] else None
    if len(digits) > _DIGITS_MAX:
        return None
    number = int(digits)
    return number if number <= UINT64_MAX else None


def add_delta(number: int, delta: int, *, increment: bool) -> int:
    """`number` plus `delta` modulo 2^64, or minus `delta` but not below 0."""
    if increment:
        return (number + delta) & UINT64_MAX
    return number - delta if number > delta else 0


def padded(number: int, length: int) -> bytes:
    """The text of `number`, padded on the right with spaces to `length` (never cut)."""
    return (b"%d" % number).ljust(length)
