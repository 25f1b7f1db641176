"""Sizes as users write them: `1g`, `512m`, `64k`, or a plain number of bytes. Pure."""

from __future__ import annotations

import re
from typing import Final

from quorumcache.ring.errors import SizeError

_SIZE: Final = re.compile(r"(\d+)\s*([kmgt]?)(i?b)?\Z", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes; units are powers of 1024. `SizeError` shows the text."""
    match = _SIZE.match(text.strip())
    if match is None or len(match[1]) > 20:
        raise SizeError(f"{text!r:.100} is not a size (for example 1g, 512m or 1048576)")
    return int(match[1]) * _UNITS[match[2].lower()]


def format_size(size: int) -> str:
    """The shortest exact form: 1073741824 is `1g`, 1000 is `1000`."""
    for unit in ("t", "g", "m", "k"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
