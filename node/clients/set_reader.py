"""Plain sets, from a client's bytes: what most writes are, read without a detour.

A plain set is `set <key> <flags> <exptime> <length>[ noreply]\\r\\n<value>\\r\\n`, all of it there,
with single spaces and numbers of one to nine digits. A reader takes those at the start of the data,
and stops before the first line that is anything else: another command, a line or a value that is
not whole or not in order, or a value that is longer than what surely fits.

What is a set, and what its fields are, is as in `protocol/parser.py`, whose requests those of here
equal. There are two forms, which behave alike.
"""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from mmh3 import mmh3_x64_128_digest

from quorumcache.node.store.item import KEY_BYTES_MAX

FIELDS: Final = 4
"""Of each set: its key; the arguments of its command, `(data, exptime)`, with `data` in the wire
form `b" <flags> <length>\\\\r\\\\n<value>\\\\r\\\\n"`; its group; whether it wants no reply."""

_LINE: Final = re.compile(
    rb"set ([^ \n]{1,%d}) ([0-9]{1,9}) ([0-9]{1,9}) ([0-9]{1,9})( noreply)?\r\n" % KEY_BYTES_MAX
)


class SetReader(Protocol):
    """See the module."""

    def read(self, data: bytes, start: int, value_bytes_max: int) -> tuple[list[Any], int] | None:
        """The fields of all plain sets of `data` from `start` on, `FIELDS` for each of them, and
        the position behind the last one. None: there is not even one.

        `value_bytes_max`: values up to this length are taken.
        """


class PlainSetReader:
    """See `SetReader`."""

    __slots__ = ("_shift",)

    def __init__(self, shards: int) -> None:
        if not 0 < shards <= 4096 or shards & (shards - 1):
            raise ValueError(f"{shards} shards")
        self._shift = 16 - (shards.bit_length() - 1)

    def read(self, data: bytes, start: int, value_bytes_max: int) -> tuple[list[Any], int] | None:
        """See `SetReader.read`."""
        if not 0 <= start <= len(data):
            raise ValueError(f"start {start} in {len(data)} bytes")
        if value_bytes_max < 0:
            raise ValueError(f"values of {value_bytes_max} bytes")
        fields: list[Any] = []
        while (line := _LINE.match(data, start)) is not None:
            key, flags, exptime, length, noreply = line.groups()
            stop = line.end() + int(length) + 2
            if int(length) > value_bytes_max or not data.startswith(b"\r\n", stop - 2):
                break
            block = b" %d %d\r\n" % (int(flags), int(length)) + data[line.end() : stop]
            digest = mmh3_x64_128_digest(key, 0)
            group_id = ((digest[7] << 8 | digest[6]) >> self._shift) + 1
            fields += (key, (block, int(exptime)), group_id, noreply is not None)
            start = stop
        return (fields, start) if fields else None


def new_set_reader(shards: int) -> SetReader:
    """A reader of the form that this process runs, for so many shards."""
    try:
        from quorumcache.node.core.client_sets import SetReader as NativeSetReader
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return PlainSetReader(shards)
    return NativeSetReader(shards)
