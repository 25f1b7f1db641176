"""What a data directory is: the lock and the identity file.

The identity file `node.id` makes a directory known by a random *disk id*, written before the node
tells it to anybody. The directory is *new* while the file holds nothing else. It is a *member* once
the file also holds the founding record of a cluster and the node that this is in it. A founder is
named by that record; a node that joined later is not, and has its id from the directory. The file
is text, for the eyes of an operator:

    quorumcache data directory
    format 3                        4 in the directory of a node that joined
    disk <disk id>
    cluster <cluster id>            from here on: members only
    node <node id> <name>
    founding <waiting, complete or joined>
    record <the founding record, one line of JSON>
    crc <CRC-32 of the lines above, eight hex digits>

Whether the other files fit is for `founding/data_dir.py` to say.
"""

from __future__ import annotations

import errno
import re
from typing import Final, NamedTuple
from zlib import crc32

from quorumcache.node.errors import StartupError, WrongDataDir
from quorumcache.node.storage.disk import Disk
from quorumcache.node.version import FORMAT_VERSION, other_format
from quorumcache.ring.forbidden import ALLOW

IDENTITY_FILE = "node.id"
LOCK_FILE = "lock"

WAITING: Final = "waiting"
COMPLETE: Final = "complete"
JOINED: Final = "joined"

JOINED_FORMAT: Final = 4
"""Of this file in the directory of a node that joined: versions without joins refuse it."""

_TITLE = "quorumcache data directory"
_FORMAT = re.compile(rf"{_TITLE}\nformat (\d+)\n")
_PATTERN = re.compile(
    rf"{_TITLE}\nformat \d+\ndisk ([0-9a-f]{{32}})\n"
    r"(?:cluster ([0-9a-f]{32})\nnode (\d+) (.*)\n"
    r"founding (waiting|complete|joined)\nrecord (.*)\n)?"
    r"crc ([0-9a-f]{8})\n"
)


class NodeIdentity(NamedTuple):
    """Who a node is. Without a record it is new: the other fields but `disk_id` mean nothing then.

    `record`: the founding record as text, in which `node_id` and `name` stand beside `disk_id`.
    `is_complete`: all founders are known to have accepted the record. `is_joined`: this node is no
    founder, it came later; then the founding is complete.
    """

    disk_id: str
    cluster_id: str = ""
    node_id: int = 0
    name: str = ""
    is_complete: bool = False
    record: str = ""
    is_joined: bool = False

    @property
    def is_member(self) -> bool:
        """Whether this directory has accepted a founding record, for good."""
        return bool(self.record)

    def __str__(self) -> str:
        if not self.is_member:
            return f"a new node, disk {self.disk_id}"
        return f"node {self.node_id} ({self.name}) of cluster {self.cluster_id}"


def _or_seccomp(error: PermissionError) -> str:
    """Rights that are missing are another error."""
    if error.errno != errno.EPERM:
        return ""
    return ". Or the system forbids mkdir, fsync or flock, which this needs: " + ALLOW


def lock_data_dir(disk: Disk, directory: str) -> None:
    """Create the directory if need be, and be the only process in it. Blocks; for start-up.

    The lock is given up by `Disk.close` or with the process. Raises `DataDirLocked`, which names
    the process that holds it.
    """
    try:
        disk.make_dirs(directory)
        disk.lock(f"{directory}/{LOCK_FILE}")
    except PermissionError as error:
        where = error.filename or directory
        raise StartupError(
            f"data directory {directory}: not permitted: {where}. Give the directory and all in it "
            f"to the user that this node runs as, or choose another --data-dir{_or_seccomp(error)}"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise StartupError(
            f"data directory {directory} is no directory, nor a symbolic link to one: mount the "
            "disk that it is on, or choose another --data-dir"
        ) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StartupError(f"data directory {directory}: {error.strerror}{where}") from error


def read_identity(disk: Disk, directory: str) -> NodeIdentity | None:
    """Whose directory this is; None when it has no identity yet. For start-up, under the lock.

    Raises `WrongDataDir` when the file is damaged or of another format version.
    """
    path = f"{directory}/{IDENTITY_FILE}"
    if not disk.exists(path):
        return None
    text = disk.read(path).decode(errors="replace")
    format_line = _FORMAT.match(text)
    if format_line is not None and int(format_line[1]) not in (FORMAT_VERSION, JOINED_FORMAT):
        raise WrongDataDir(directory, other_format(int(format_line[1])))
    match = _PATTERN.fullmatch(text)
    if match is None or int(match[7], 16) != _crc(text):
        raise WrongDataDir(
            directory,
            f"has a damaged {IDENTITY_FILE}: restore that file, or keep the directory aside and"
            " leave this node stopped; the cluster goes on without it",
        )
    disk_id, cluster_id, node_id, name, founding, record, _ = match.groups()
    if record is None:
        return NodeIdentity(disk_id)
    is_joined = founding == JOINED
    is_complete = founding == COMPLETE or is_joined
    return NodeIdentity(
        disk_id, cluster_id, int(node_id), name, is_complete, record, is_joined=is_joined
    )


def encode_identity(identity: NodeIdentity) -> bytes:
    """The identity file's content."""
    version = JOINED_FORMAT if identity.is_joined else FORMAT_VERSION
    text = f"{_TITLE}\nformat {version}\ndisk {identity.disk_id}\n"
    if identity.is_member:
        for field in (identity.cluster_id, identity.name, identity.record):
            assert not set("\r\n") & set(field), "a line break in an identity"
        founding = COMPLETE if identity.is_complete else WAITING
        if identity.is_joined:
            founding = JOINED
        text += (
            f"cluster {identity.cluster_id}\nnode {identity.node_id} {identity.name}\n"
            f"founding {founding}\nrecord {identity.record}\n"
        )
    return f"{text}crc {_crc(text + 'crc '):08x}\n".encode()


def _crc(text: str) -> int:
    """Of everything before the line that holds it."""
    return crc32(text[: text.rindex("crc ")].encode())
