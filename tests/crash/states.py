"""Every state that a power loss may leave, after each of a list of operations.

What is synced is there. Of the rest, independently of each other:

- **a write**: nothing, all, or a prefix up to any byte; any set of its 512-byte sectors; the new
  length with zeros for data (a file system that commits the size first);
- **a truncation**: done or not;
- **changes of names**: with `Names.JOURNAL` a prefix of their sequence, as a journal keeps them;
  with `Names.INDEPENDENT` any set of them. The sync of a directory commits those in it, and only
  those. A rename is atomic.

The states at one point are the product of these choices. `Limits` says when it is taken whole and
how it is thinned out otherwise:

- a write of more than `every_byte_bytes_max` bytes is cut at the borders of its sectors, one byte
  before and behind each, and within 20 bytes of its ends, instead of everywhere;
- of a write of more than `every_subset_sectors_max` sectors, each sector alone is lost, and each
  one alone is there, instead of every subset;
- where there are more than `combinations_max` combinations, each operation goes through all of its
  choices with the others all undone and all done, and beside that every *pair* of operations goes
  through the coarse choices of both (undone, done, zeros, half, last sector lost), the others again
  all undone and all done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, product
from math import prod

from tests.crash.operations import (
    DIRECTORY,
    DataChange,
    NameChange,
    Operation,
    Sync,
    SyncDir,
    Truncate,
    Write,
    apply_name,
    parent,
    put,
)
from tests.crash.recorder import Image

SECTOR_BYTES = 512


class Names(Enum):
    """How unsynced changes of names survive."""

    JOURNAL = "journal"
    INDEPENDENT = "independent"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """See the module."""

    names: Names = Names.INDEPENDENT
    every_byte_bytes_max: int = 4096
    every_subset_sectors_max: int = 4
    combinations_max: int = 4096


FULL = Limits()
COARSE = Limits(every_byte_bytes_max=0, every_subset_sectors_max=2, combinations_max=256)
"""For the share that CI explores."""

NESTED = Limits(every_byte_bytes_max=0, every_subset_sectors_max=1, combinations_max=64)
"""For crashes during a recovery."""

Pieces = tuple[tuple[int, bytes], ...]
"""What survives of a write."""

Survivor = Pieces | bool
"""What survives of one change of data: pieces of a write, or whether a truncation was made."""


def survivors(change: DataChange, limits: Limits) -> list[Survivor]:
    """All that may survive of one change, nothing first, everything last."""
    if isinstance(change, Truncate):
        return [False, True]
    offset, data = change.offset, change.data
    found: dict[Survivor, None] = {(): None, _zeros(offset, data): None}
    for end in cut_offsets(offset, len(data), limits.every_byte_bytes_max):
        found[((offset, data[:end]),)] = None
    parts = sectors(offset, data)
    if 1 < len(parts) <= limits.every_subset_sectors_max:
        for count in range(1, len(parts)):
            for chosen in combinations(parts, count):
                found[tuple(chosen)] = None
    elif len(parts) > 1:
        for lost in range(len(parts)):
            found[tuple(parts[:lost] + parts[lost + 1 :])] = None
            found[(parts[lost],)] = None
    found.pop(((offset, data),), None)
    return [*found, ((offset, data),)]


def coarse_survivors(change: DataChange) -> list[Survivor]:
    """A handful of `survivors`, for pairs of operations."""
    if isinstance(change, Truncate):
        return [False, True]
    offset, data = change.offset, change.data
    whole: Survivor = ((offset, data),)
    half: Survivor = ((offset, data[: len(data) // 2]),)
    found: dict[Survivor, None] = {(): None, _zeros(offset, data): None, half: None}
    found[tuple(sectors(offset, data)[:-1])] = None
    found.pop(whole, None)
    return [*found, whole]


def _zeros(offset: int, data: bytes) -> Survivor:
    """The file has grown, its data has not arrived. Over old bytes this writes nothing."""
    return ((offset + len(data), b""),)


def cut_offsets(offset: int, length: int, every_byte_bytes_max: int) -> list[int]:
    """Where a write of `length` bytes may be cut, as numbers of bytes that arrive."""
    if length <= every_byte_bytes_max:
        return list(range(1, length))
    ends = {1, 4, 8, 12, 15, 16, 17, 20, length - 20, length - 4, length - 1}
    for border in range(SECTOR_BYTES - offset % SECTOR_BYTES, length, SECTOR_BYTES):
        ends.update((border - 1, border, border + 1))
    return sorted(end for end in ends if 0 < end < length)


def sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """A write cut where the sectors of the disk meet."""
    parts = []
    while data:
        count = SECTOR_BYTES - offset % SECTOR_BYTES
        parts.append((offset, data[:count]))
        offset, data = offset + count, data[count:]
    return parts


class Tracker:
    """What is durable and what is not, while operations go by."""

    def __init__(self, image: Image, inodes: dict[str, int]) -> None:
        """`inodes` gives the files of the image their numbers in the operations."""
        self._synced_names = dict(inodes)
        self._synced = {
            inode: bytes(image[path] or b"") for path, inode in inodes.items() if inode != DIRECTORY
        }
        self._names: list[NameChange] = []
        self._data: dict[int, list[DataChange]] = {}

    def take(self, operation: Operation) -> None:
        """One more operation has been made."""
        if isinstance(operation, Write | Truncate):
            self._data.setdefault(operation.inode, []).append(operation)
        elif isinstance(operation, Sync):
            pending = self._data.pop(operation.inode, [])
            all_of_it = [survivors(change, NESTED)[-1] for change in pending]
            self._synced[operation.inode] = self._content(operation.inode, pending, all_of_it)
        else:
            self._take_name(operation)

    def _take_name(self, operation: NameChange | SyncDir) -> None:
        if not isinstance(operation, SyncDir):
            self._names.append(operation)
            return
        rest = []
        for change in self._names:
            if parent(change.path) == operation.path:
                apply_name(self._synced_names, change)
            else:
                rest.append(change)
        self._names = rest

    def states(self, limits: Limits) -> Iterator[Image]:
        """Every image that a power loss may leave now; the same one may come more than once."""
        name_tables = self._name_tables(limits.names)
        reachable = {inode for table in name_tables for inode in table.values()}
        changes = [
            (inode, change)
            for inode, pending in sorted(self._data.items())
            if inode in reachable
            for change in pending
        ]
        fine = [survivors(change, limits) for _, change in changes]
        total = len(name_tables) * prod(map(len, fine))
        if total <= limits.combinations_max:
            choices: Iterator[tuple[int, ...]] = product(
                range(len(name_tables)), *(range(len(options)) for options in fine)
            )
            for names, *chosen in choices:
                yield self._image(name_tables[names], changes, fine, chosen)
            return
        coarse = [coarse_survivors(change) for _, change in changes]
        for table in name_tables:
            for chosen in thinned_out([len(options) for options in fine], pairs=False):
                yield self._image(table, changes, fine, chosen)
            sizes = [len(options) for options in coarse]
            for chosen in thinned_out(sizes, pairs=True):
                yield self._image(table, changes, coarse, chosen)

    def worst(self) -> Image:
        """The state in which everything unsynced is lost."""
        return self._image(self._synced_names, [], [], [])

    def _name_tables(self, mode: Names) -> list[dict[str, int]]:
        """The names that a power loss may leave: all tables that differ."""
        count = len(self._names)
        if mode is Names.JOURNAL:
            sets: list[tuple[int, ...]] = [tuple(range(end)) for end in range(count + 1)]
        elif count <= 8:
            sets = [
                chosen for size in range(count + 1) for chosen in combinations(range(count), size)
            ]
        else:
            sets = [tuple(range(end)) for end in range(count + 1)]
            sets += [tuple(set(range(count)) - {lost}) for lost in range(count)]
            sets += [(one,) for one in range(count)]
        tables: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}
        for chosen in sets:
            table = dict(self._synced_names)
            for number in sorted(chosen):
                apply_name(table, self._names[number])
            # A name in a directory that is not there cannot be reached.
            table = {
                path: inode
                for path, inode in table.items()
                if not parent(path) or table.get(parent(path)) == DIRECTORY
            }
            tables.setdefault(tuple(sorted(table.items())), table)
        return list(tables.values())

    def _image(
        self,
        table: dict[str, int],
        changes: list[tuple[int, DataChange]],
        options: list[list[Survivor]],
        chosen: list[int] | tuple[int, ...],
    ) -> Image:
        pending: dict[int, tuple[list[DataChange], list[Survivor]]] = {}
        for (inode, change), choices, number in zip(changes, options, chosen, strict=True):
            made, survived = pending.setdefault(inode, ([], []))
            made.append(change)
            survived.append(choices[number])
        image: Image = {}
        for path, inode in table.items():
            if inode == DIRECTORY:
                image[path] = None
            elif inode in pending:
                image[path] = self._content(inode, *pending[inode])
            else:
                image[path] = self._synced.get(inode, b"")
        return image

    def _content(self, inode: int, made: list[DataChange], survived: list[Survivor]) -> bytes:
        content = bytearray(self._synced.get(inode, b""))
        for change, what in zip(made, survived, strict=True):
            if isinstance(change, Truncate):
                if what and change.size < len(content):
                    del content[change.size :]
                elif what:
                    content.extend(bytes(change.size - len(content)))
            elif isinstance(what, tuple):
                for offset, data in what:
                    if data:
                        put(content, offset, data)
                    elif len(content) < offset:
                        content.extend(bytes(offset - len(content)))
        return bytes(content)


def thinned_out(sizes: list[int], *, pairs: bool) -> Iterator[list[int]]:
    """Choices of one of `sizes[i]` options each: every option of every operation, or of every pair
    of them, with the others all at their first and all at their last option."""
    bases = [[0] * len(sizes), [size - 1 for size in sizes]]
    for base in bases:
        yield list(base)
        for varied in combinations(range(len(sizes)), 2 if pairs else 1):
            for options in product(*(range(sizes[number]) for number in varied)):
                chosen = list(base)
                for number, option in zip(varied, options, strict=True):
                    chosen[number] = option
                yield chosen
