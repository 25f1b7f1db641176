"""What a process does to its files, as a file system sees it.

Data operations belong to an inode, name operations to a directory. Until they are synced (`Sync` of
the inode, `SyncDir` of the directory) a power loss may leave any part of them; see `states.py`.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Write(NamedTuple):
    """`data` at `offset` of an inode; the file grows when it is shorter."""

    inode: int
    offset: int
    data: bytes

    def __str__(self) -> str:
        return f"write inode {self.inode} [{self.offset}, {self.offset + len(self.data)})"


class Truncate(NamedTuple):
    """The inode is cut, or filled with zeros, to `size` bytes."""

    inode: int
    size: int

    def __str__(self) -> str:
        return f"truncate inode {self.inode} to {self.size}"


class Sync(NamedTuple):
    """fsync or fdatasync of an inode: all data operations on it are durable."""

    inode: int

    def __str__(self) -> str:
        return f"sync inode {self.inode}"


class Create(NamedTuple):
    """A new, empty inode gets the name `path`."""

    path: str
    inode: int

    def __str__(self) -> str:
        return f"create {self.path} as inode {self.inode}"


class MakeDir(NamedTuple):
    """A new directory."""

    path: str

    def __str__(self) -> str:
        return f"make directory {self.path}"


class Rename(NamedTuple):
    """`path` becomes `new_path`, in the same directory, replacing what had that name."""

    path: str
    new_path: str
    inode: int

    def __str__(self) -> str:
        return f"rename {self.path} to {self.new_path}"


class Unlink(NamedTuple):
    """The name goes away."""

    path: str

    def __str__(self) -> str:
        return f"unlink {self.path}"


class SyncDir(NamedTuple):
    """fsync of a directory: all changes of names in it are durable."""

    path: str

    def __str__(self) -> str:
        return f"sync directory {self.path}"


DataChange = Write | Truncate
NameChange = Create | MakeDir | Rename | Unlink
Operation = DataChange | NameChange | Sync | SyncDir

DIRECTORY = -1
"""Stands for an inode where a name is one of a directory."""


def parent(path: str) -> str:
    """The directory that a name is in."""
    return os.path.dirname(path)


def apply_name(names: dict[str, int], change: NameChange) -> None:
    """Make one change of names."""
    if isinstance(change, Create):
        names[change.path] = change.inode
    elif isinstance(change, MakeDir):
        names[change.path] = DIRECTORY
    elif isinstance(change, Rename):
        names.pop(change.path, None)
        names[change.new_path] = change.inode
    else:
        names.pop(change.path, None)


def apply_data(content: bytearray, change: DataChange) -> None:
    """Make one change of a file's content."""
    if isinstance(change, Truncate):
        if change.size <= len(content):
            del content[change.size :]
        else:
            content.extend(bytes(change.size - len(content)))
    else:
        put(content, change.offset, change.data)


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Write `data`; a hole before it reads as zeros."""
    if data and len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
