"""How memcached reads a number on a command line: in two ways, and clients can tell them apart.

Lengths, levels, delays and the exptime of gat are *strict*: digits with at most a minus sign, at
most 11 characters. Flags, the exptime of storage commands and touch, deltas and CAS uniques are
*loose*, as strtol reads them: white space that is no space before, a sign, and anything after other
white space.
"""

import re
from typing import Final

INT32_MIN: Final = -(1 << 31)
INT32_MAX: Final = (1 << 31) - 1
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
UINT32_MAX: Final = (1 << 32) - 1
UINT64_MAX: Final = (1 << 64) - 1

_STRICT_BYTES_MAX: Final = 11
_DIGITS_MAX: Final = 20
"""No number of 64 bits has more; longer texts are refused before anybody converts them."""

_loose = re.compile(rb"[\t\v\f\r]*([+-]?)0*([0-9]*)(?:[\t\v\f\r]|\Z)").match


def strict_number(word: bytes, low: int, high: int) -> int | None:
    """The number `word` if it is one within [low, high], else None."""
    if len(word) > _STRICT_BYTES_MAX:
        return None
    if not word.isdigit() and not (word[:1] == b"-" and word[1:].isdigit()):
        return None
    number = int(word)
    return number if low <= number <= high else None


def loose_number(word: bytes, low: int, high: int) -> int | None:
    """The number at the start of `word` if it lies within [low, high], else None."""
    if word.isdigit() and len(word) < _DIGITS_MAX:
        number = int(word)
        return number if low <= number <= high else None
    match = _loose(word)
    if match is None:
        return None
    sign, digits = match.groups()
    if len(digits) > _DIGITS_MAX or not (digits or b"0" in match.group()):
        return None
    number = int(digits or b"0")
    if sign == b"-":
        number = -number
    return number if low <= number <= high else None


def cut_to_int32(number: int) -> int:
    """The low 32 bits of `number` as a signed number, as storage commands cut an exptime."""
    return ((number - INT32_MIN) & UINT32_MAX) + INT32_MIN
