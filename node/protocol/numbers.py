"""How memcached 1.6.45 reads a number on a command line: in three ways, and clients can tell them
apart.

- *strict*: digits, with at most a minus sign before them; up to 11 characters. Lengths, delays, the
  exptime of touch, gat and gats.
- *unsigned*: digits only; up to 11 characters for 32 bits, 22 for 64. Deltas, CAS uniques, levels.
- *loose*, as strtol: white space that is no space, a sign, digits, then other white space and
  anything. Flags and exptime of storage commands.

A lone minus sign is a strict 0 in 1.6.45; here it is no number.
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
_UNSIGNED32_BYTES_MAX: Final = 11
_UNSIGNED64_BYTES_MAX: Final = 22
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


def unsigned32(word: bytes) -> int | None:
    """The number `word` if it is digits only, of at most 32 bits, else None."""
    if len(word) > _UNSIGNED32_BYTES_MAX or not word.isdigit():
        return None
    number = int(word)
    return number if number <= UINT32_MAX else None


def unsigned64(word: bytes) -> int | None:
    """The number `word` if it is digits only, of at most 64 bits, else None."""
    if len(word) > _UNSIGNED64_BYTES_MAX or not word.isdigit():
        return None
    number = int(word)
    return number if number <= UINT64_MAX else None


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
