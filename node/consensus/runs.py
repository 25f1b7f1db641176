"""Runs of entries as bytes, those of many groups in one string. Pure.

A run is what a leader usually sends: new entries of its own term, which follow one that the other
side has. Its message has five members, whatever the protocol (`Wire.entries`): term, previous
index, its term, commit index, entries. Where all entries are commands of that term, their index,
term and kind need not be said. A run takes, big endian:

     0       4       8      16           24          32             40              40 + 4 * count
    | group | count | term | prev_index | prev_term | commit_index | count lengths | payloads |

The leader makes these bytes once; the strings for all followers at the same place hold the same.

The compiled form does both in C (`core/wire.pyx`), and its twin is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from quorumcache.node.consensus.values import Entry, EntryKind, Message

RUN_BYTES_MAX: Final = 64 << 10
"""Payload bytes of a run. Longer entries gain nothing from travelling together, and would be copied
once more."""

Run = tuple[int, int, int, int, int, list[Entry]]
"""Group, term, previous index and its term, commit index, entries."""

_INDEX_MAX: Final = (1 << 64) - 1
_NORMAL: Final = int(EntryKind.NORMAL)
_HEAD: Final = Struct(">IIQQQQ")
_ONE: Final = Struct(">IIQQQQI")
_HEAD_BYTES: Final = _HEAD.size
_new = tuple.__new__  # see raft/proposals.py


def plain_pack_run(group_id: int, message: Message) -> bytes:
    """See `pack_run`."""
    term, prev_index, prev_term, commit_index, found = message
    entries: Sequence[Any] = found
    count = len(entries)
    if count == 1:  # the usual case
        _, entry_term, kind, payload = entries[0]
        size = len(payload)
        if kind != _NORMAL or entry_term != term or size > RUN_BYTES_MAX:
            return b""
        head = _ONE.pack(group_id, 1, term, prev_index, prev_term, commit_index, size)
        return bytes(head + payload)
    if not count:
        return b""
    lengths: list[bytes] = []
    payloads: list[bytes] = []
    size = 0
    for _, entry_term, kind, payload in entries:
        length = len(payload)
        size += length
        if kind != _NORMAL or entry_term != term or size > RUN_BYTES_MAX:
            return b""
        lengths.append(length.to_bytes(4, "big"))
        payloads.append(payload)
    head = _HEAD.pack(group_id, count, term, prev_index, prev_term, commit_index)
    return b"".join((head, *lengths, *payloads))


def plain_unpack_runs(data: bytes) -> list[Run]:
    """See `unpack_runs`."""
    runs: list[Run] = []
    at, end = 0, len(data)
    while at < end:
        try:
            fields = _HEAD.unpack_from(data, at)
        except StructError as error:
            raise ValueError(f"a run of {end - at} bytes") from error
        group_id, count, term, prev_index, prev_term, commit_index = fields
        length_at = at + _HEAD_BYTES
        at = length_at + 4 * count
        if not count or at > end:
            raise ValueError(f"a run of {count} entries in {end} bytes")
        if prev_index > _INDEX_MAX - count:
            raise ValueError(f"a run of {count} entries behind entry {prev_index}")
        if count == 1:  # the usual case
            start = at
            at += int.from_bytes(data[length_at:start], "big")
            if at > end:
                raise ValueError(f"an entry that ends at {at} in {end} bytes")
            entry = _new(Entry, (prev_index + 1, term, _NORMAL, data[start:at]))
            runs.append((group_id, term, prev_index, prev_term, commit_index, [entry]))
            continue
        entries: list[Entry] = []
        for index in range(prev_index + 1, prev_index + 1 + count):
            start = at
            at += int.from_bytes(data[length_at : length_at + 4], "big")
            length_at += 4
            if at > end:
                raise ValueError(f"an entry that ends at {at} in {end} bytes")
            entries.append(_new(Entry, (index, term, _NORMAL, data[start:at])))
        runs.append((group_id, term, prev_index, prev_term, commit_index, entries))
    return runs


def _forms() -> tuple[Callable[[int, Message], bytes], Callable[[bytes], list[Run]]]:
    try:
        from quorumcache.node.core import wire
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return plain_pack_run, plain_unpack_runs
    return wire.pack_run, wire.unpack_runs


_chosen = _forms()

pack_run: Final[Callable[[int, Message], bytes]] = _chosen[0]
"""The bytes of a message with entries; b"" if it is not such a run."""

unpack_runs: Final[Callable[[bytes], list[Run]]] = _chosen[1]
"""All runs in some bytes. Raises ValueError if these are not whole runs with entries, or
an index has more than 64 bits."""
