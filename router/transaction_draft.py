"""What a transaction has read and what it wants to write, until its commit. Pure.

The commit makes lines of it (`block`): first a check for each key that was read, then the writes. A
check is as weak as what was learned: of a key of which only its presence was asked for, only the
presence has to hold. Of a key that is not there, that it is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from quorumcache.router.errors import NotANumber, TransactionTooLarge
from quorumcache.router.transaction_requests import (
    ABSENT,
    LARGE,
    TXN_BYTES_MAX,
    TXN_KEYS_MAX,
    Read,
    check_line,
    delete_line,
    present_line,
    set_lines,
)

_UINT64_MAX: Final = (1 << 64) - 1
_DIGITS_MAX: Final = 20


class Buffered(NamedTuple):
    """A write that waits for the commit. `value` None: the key is removed."""

    value: bytes | None
    flags: int
    exptime: int
    lines: bytes
    """Its lines in the block."""


class Draft:
    """Keys are valid ones. `seen`: what keys held at one moment, for those that are asked for."""

    def __init__(self, seen: Mapping[bytes, Read] | None = None) -> None:
        self.reads: dict[bytes, Read] = {}
        """What each key held when it was read first."""
        self.writes: dict[bytes, Buffered] = {}
        """The last write of each key, in the order of the first ones."""
        self._seen = seen or {}
        self._has_read = False  # something that is not of that moment
        self._exact: dict[bytes, None] = {}  # keys read of which more than their presence counts
        self._write_bytes = 0

    @property
    def first_key(self) -> bytes:
        """Whose shard decides about the commit: the first write's, else the first check's."""
        return next(iter(self.writes or self.reads))

    @property
    def needs_commit(self) -> bool:
        """One key that was read is a snapshot by itself, and what was seen at one moment is one."""
        return bool(self.writes) or (self._has_read and len(self.reads) > 1)

    def unread(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of `keys` that have to be read before they can be seen. Raises
        `TransactionTooLarge` if they would be too many.
        """
        self._check_count(keys)
        for key in keys:
            if key in self._seen and key not in self.reads and key not in self.writes:
                self.reads[key] = self._seen[key]
        known = (self.reads, self.writes)
        return [key for key in dict.fromkeys(keys) if not any(key in places for places in known)]

    def note(self, found: dict[bytes, Read]) -> None:
        """Take what was read. Two tasks may have read the same key: what came first stays."""
        self._has_read = True
        for key, entry in found.items():
            self.reads.setdefault(key, entry)

    def see(self, key: bytes, exact: bool = True) -> bytes | None:
        """What the transaction sees of a key that it has read or written. `exact`: its value
        counts, not only whether it is there.
        """
        written = self.writes.get(key)
        if written is not None:
            return written.value if written.exptime >= 0 else None
        entry = self.reads[key]
        if exact:
            if entry.version == LARGE:
                raise TransactionTooLarge("a value above 1 MiB can not be read in a transaction")
            self._exact[key] = None
        return entry.value

    def put(self, key: bytes, value: bytes, flags: int, exptime: int) -> None:
        """Store a value at the commit."""
        lines = set_lines(key, value, flags, exptime)
        self._buffer(key, Buffered(value, flags, exptime, lines))

    def remove(self, key: bytes) -> None:
        """Remove a key at the commit."""
        self._buffer(key, Buffered(None, 0, 0, delete_line(key)))

    def count(self, key: bytes, delta: int, exptime: int) -> int | None:
        """Add to the number that a key holds: the new one, or None if there is nothing."""
        old = self.see(key)
        if old is None:
            return None
        number = number_of(old)
        if number is None:
            raise NotANumber("the stored value is not an unsigned 64-bit decimal number")
        number = max(0, number + delta) & _UINT64_MAX
        flags = (self.writes.get(key) or self.reads[key]).flags
        # As a shard does it: a shorter number is padded, as memcached's clients know it.
        self.put(key, (b"%d" % number).ljust(len(old)), flags, exptime)
        return number

    def drop_writes(self) -> None:
        """Keep what was read."""
        self.writes.clear()
        self._write_bytes = 0

    def block(self) -> bytes:
        """The lines of the commit."""
        self._check_bytes(self._write_bytes + sum(map(len, self.reads)))
        lines = []
        for key, entry in self.reads.items():
            if key in self._exact or entry.version == ABSENT:
                lines.append(check_line(key, entry.version))
            else:
                lines.append(present_line(key))
        lines += [write.lines for write in self.writes.values()]
        return b"".join(lines)

    def _buffer(self, key: bytes, write: Buffered) -> None:
        self._check_count((key,))
        old = self.writes.get(key)
        size = self._write_bytes + _size(key, write) - (_size(key, old) if old else 0)
        self._check_bytes(size)
        self.writes[key] = write
        self._write_bytes = size

    def _check_count(self, more: Iterable[bytes]) -> None:
        count = len({*self.reads, *self.writes, *more})
        if count > TXN_KEYS_MAX:
            raise TransactionTooLarge(f"a transaction has {TXN_KEYS_MAX} keys at most, not {count}")

    def _check_bytes(self, size: int) -> None:
        if size > TXN_BYTES_MAX:
            raise TransactionTooLarge(
                f"a transaction has {TXN_BYTES_MAX} bytes of keys and values at most, not {size}"
            )


def _size(key: bytes, write: Buffered) -> int:
    return len(key) + len(write.value or b"")


def number_of(text: bytes) -> int | None:
    """The unsigned 64-bit decimal of a value, or None."""
    digits = text.rstrip(b" ")
    if not digits.isdigit() or len(digits) > _DIGITS_MAX:
        return None
    number = int(digits)
    return number if number <= _UINT64_MAX else None
