"""Whose data directory this is: the lock and the identity file.

The identity file `node.id` is written once, at the first start, and compared ever after. It keeps
a node from answering with another node's votes, which is what a directory that was mounted in
the wrong place, or copied to make a second node, would lead to. It is text, for the eyes of an
operator:

    quorumcache data directory
    format 1
    cluster <cluster id>
    node <node id> <name>
    crc <CRC-32 of the lines above, eight hex digits>
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

from node.disk import TEMP_SUFFIX, Disk
from node.errors import StartupError, WrongDataDir
from node.wal.format import FORMAT_VERSION

IDENTITY_FILE = "node.id"
LOCK_FILE = "lock"

_TITLE = "quorumcache data directory"
_FORMAT = re.compile(rf"{_TITLE}\nformat (\d+)\n")
_PATTERN = re.compile(
    rf"{_TITLE}\nformat \d+\ncluster (.*)\nnode (\d+) (.*)\ncrc ([0-9a-f]{{8}})\n"
)


class Identity(NamedTuple):
    """Who a node is. `cluster_id` and `name` hold no line break."""

    cluster_id: str
    node_id: int
    name: str

    def __str__(self) -> str:
        return f"node {self.node_id} ({self.name}) of cluster {self.cluster_id}"


def lock_data_dir(disk: Disk, directory: str) -> None:
    """Create the directory if need be, and be the only process in it. Blocks; for start-up.

    The lock is given up by `Disk.close` or with the process. Raises `DataDirLocked`, which names
    the process that holds it.
    """
    try:
        disk.make_dirs(directory)
        disk.lock(f"{directory}/{LOCK_FILE}")
    except OSError as error:
        raise StartupError(f"data directory {directory}: {error.strerror}") from error


def read_identity(disk: Disk, directory: str) -> Identity | None:
    """Whose directory this is; None when it is new. For start-up, under the lock.

    Raises `WrongDataDir` when the file is damaged or of another format version.
    """
    path = f"{directory}/{IDENTITY_FILE}"
    if not disk.exists(path):
        return None
    text = disk.read(path).decode(errors="replace")
    format_line = _FORMAT.match(text)
    if format_line is not None and int(format_line[1]) != FORMAT_VERSION:
        why = f"is in format {format_line[1]}, this version reads format {FORMAT_VERSION}"
        raise WrongDataDir(directory, why)
    match = _PATTERN.fullmatch(text)
    if match is None or int(match[4], 16) != _crc(text):
        raise WrongDataDir(directory, f"has a damaged {IDENTITY_FILE}")
    return Identity(match[1], int(match[2]), match[3])


def claim_data_dir(disk: Disk, directory: str, identity: Identity) -> bool:
    """Check that the directory is `identity`'s, or make it so. True when it was new.

    For start-up, under the lock. Raises `WrongDataDir` with both names. A node may change its
    name, not its id or cluster. Removes what a crash left unfinished in the directory itself.
    """
    for field in (identity.cluster_id, identity.name):
        assert not set("\r\n") & set(field), "a line break in a name"
    path = f"{directory}/{IDENTITY_FILE}"
    for name in disk.list_dir(directory):
        if name.endswith(TEMP_SUFFIX):
            disk.remove(f"{directory}/{name}")
    found = read_identity(disk, directory)
    if found is not None and found[:2] != identity[:2]:
        raise WrongDataDir(directory, f"belongs to {found}, this is {identity}")
    if found == identity:
        disk.sync_dir(directory)  # A crash may have left the file's name without this.
    else:
        disk.write(path, _encode(identity))
    return found is None


def _encode(identity: Identity) -> bytes:
    cluster_id, node_id, name = identity
    text = f"{_TITLE}\nformat {FORMAT_VERSION}\ncluster {cluster_id}\nnode {node_id} {name}\n"
    return f"{text}crc {_crc(text + 'crc '):08x}\n".encode()


def _crc(text: str) -> int:
    """Of everything before the line that holds it."""
    return crc32(text[: text.rindex("crc ")].encode())
