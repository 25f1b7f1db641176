"""Counts per prefix of keys, for `stats detail`, while somebody has switched them on.

A prefix is what stands before the first `:` of a key, or before another `delimiter`; keys without
one are not counted. Counted are keys of get, gets, gat and gats, and the commands set, add,
replace, append, prepend, cas and delete, as in memcached. Pure.
"""

from __future__ import annotations

from typing import Final

PREFIXES_MAX: Final = 10_000
"""Prefixes that are counted; those that come later are not. memcached has no such bound: a client
whose keys begin in ever new ways takes all of its memory."""

_GET: Final = 0
_HIT: Final = 1
_SET: Final = 2
_DELETE: Final = 3


class PrefixCounts:
    """See the module docstring."""

    __slots__ = ("_counts", "delimiter")

    def __init__(self) -> None:
        self.delimiter = b":"
        self._counts: dict[bytes, list[int]] = {}
        """Prefix -> gets, hits, sets, deletes."""

    def note_get(self, key: bytes, is_hit: bool) -> None:
        """A key was read."""
        counts = self._of(key)
        if counts is not None:
            counts[_GET] += 1
            counts[_HIT] += is_hit

    def note_set(self, key: bytes) -> None:
        """A key was to be stored, whatever came of it."""
        counts = self._of(key)
        if counts is not None:
            counts[_SET] += 1

    def note_delete(self, key: bytes) -> None:
        """A key was to be deleted, whatever came of it."""
        counts = self._of(key)
        if counts is not None:
            counts[_DELETE] += 1

    def _of(self, key: bytes) -> list[int] | None:
        prefix, separator, _ = key.partition(self.delimiter)
        if not separator:
            return None
        counts = self._counts.get(prefix)
        if counts is None and len(self._counts) < PREFIXES_MAX:
            counts = self._counts[prefix] = [0, 0, 0, 0]
        return counts

    def clear(self) -> None:
        """Begin anew."""
        self._counts.clear()

    def lines(self) -> bytes:
        """`PREFIX p get n hit n set n del n` lines, in order of prefix."""
        return b"".join(
            b"PREFIX %b get %d hit %d set %d del %d\r\n" % (prefix, gets, hits, sets, deletes)
            for prefix, (gets, hits, sets, deletes) in sorted(self._counts.items())
        )
