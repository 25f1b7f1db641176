"""Every error a node raises, in one place.

Errors are for the world (peers, disks, users); our own bugs are assertions. Each class says
what happened, and its message says what to do about it where somebody can do something. Pure:
imports nothing.

Two kinds stand elsewhere. `consensus/errors.py` is the contract of the replicated log, a package
that knows nothing of the node around it. An exception that one file raises and catches itself
stands in that file.

Reading order: `NodeError`, then the families in the order in which a node meets them (start,
log, requests).
"""

from __future__ import annotations


class NodeError(Exception):
    """Base of all errors of this package."""


# --- start


class ConfigError(NodeError):
    """A setting is wrong.

    `field` names it as the configuration does; the message holds the value and the limit.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}" if field else why)
        self.field = field
        self.why = why


class StartupError(NodeError):
    """The node cannot start in this environment (a port in use, a directory not writable)."""


class DataDirLocked(StartupError):
    """Another process works in the data directory. `pid` is 0 when it is not known."""

    def __init__(self, path: str, pid: int = 0) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"data directory {path} is in use by {holder}: stop it, or choose another --data-dir"
        )
        self.path = path
        self.pid = pid


class WrongDataDir(StartupError):
    """The data directory belongs to another node, another cluster, or another format version."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"data directory {path} {why}")
        self.path = path
        self.why = why


class BrokenDataDir(WrongDataDir):
    """Something is missing from the data directory, or contradicts the rest of it."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            path,
            f"is not whole: {what}. If a disk is not mounted, mount it and start again. Otherwise"
            " restore what is missing, or leave this node stopped and keep the directory aside: the"
            " cluster goes on without it while each shard has a majority of its replicas. Never"
            " empty the directory to let the node join again: it would forget its votes and the"
            " writes that it acknowledged",
        )
        self.what = what


class NodeLeft(NodeError):
    """This node is no member of its cluster any more, so it ends. Its directory is marked, and no
    node starts on it again. `was_drained`: it was drained first, and nothing is wrong.
    """

    def __init__(self, name: str, cluster_id: str, epoch: int, *, was_drained: bool) -> None:
        if was_drained:
            why = (
                f"node {name} was drained and has left cluster {cluster_id}. Its data directory is"
                " not needed any more"
            )
        else:
            why = (
                f"node {name} is no member of cluster {cluster_id} any more: map {epoch} does not"
                " name it, so it was removed or replaced. To take part again, start it with an"
                " empty data directory and --join"
            )
        super().__init__(why)
        self.was_drained = was_drained


class SecretDiffers(StartupError):
    """The secret that the node was given is not the one that its data directory keeps."""

    def __init__(self, path: str, variable: str) -> None:
        super().__init__(
            f"the given secret is not the one in {path}, which the cluster uses. Start the node "
            f"without --secret-file and {variable} to keep that one. To change the secret, stop "
            f"all nodes, remove that file from each data directory, and start all nodes with the "
            "new secret"
        )


class FoundingError(StartupError):
    """A founding record is malformed, or does not fit this node; the message says why."""


class JoinRefused(StartupError):
    """A cluster does not take this node in, and would not if it were asked again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"cannot join the cluster: {why}")
        self.why = why


# --- log and disk


class StorageError(NodeError):
    """Base of what the disk and the log can do to us."""


class DiskRefused(StorageError):
    """The system could not do it now. Nothing was kept, and it may be tried again."""


class DiskFull(DiskRefused):
    """No space or quota left."""


class OutOfResources(DiskRefused):
    """No descriptor, kernel memory or thread left for a file. The disk itself is well."""


class DiskFailed(StorageError):
    """A write or sync failed.

    What is on disk is unknown, so the process has to end: never retried.
    """


class DataDirLost(StorageError):
    """The data directory, or a file in it, was removed or replaced under the running node."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was removed or replaced while the node was running. What the node"
            " acknowledged from now on would be lost, so it ends. Bring the data directory back"
            " before you start the node again"
        )
        self.path = path


class AcknowledgedDataLost(StorageError):
    """This node's disk lost entries that the node had acknowledged, or holds an older copy of them.

    What else it promised is not known either, so it must not take part any more: the process ends,
    and the data directory is condemned (`data.lost`): no node starts on it again.
    """

    def __init__(self, group_name: str, why: str) -> None:
        super().__init__(
            f"{group_name}: this node {why}. Its disk has lost data, or its data directory was"
            " restored from an older copy. It must not vote again. Keep the directory aside; the"
            " other nodes go on without this node"
        )


class WalCorrupt(StorageError):
    """The log is damaged in a place that a torn last write cannot explain."""

    def __init__(self, file: str, offset: int, why: str) -> None:
        super().__init__(
            f"log {file} is damaged at offset {offset}: {why}. The node does not start on it; see"
            " 'Damaged log' in docs/operations.md"
        )
        self.file = file
        self.offset = offset
        self.why = why


class SnapshotCorrupt(StorageError):
    """A snapshot file, or a snapshot that a leader sent, does not hold what its checksum says."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"snapshot {file} is damaged: {why}")
        self.file = file
        self.why = why


class SnapshotInvalid(StorageError):
    """Bytes that are no snapshot of a store, or one of another format version."""


class CommandError(StorageError):
    """A batch that is no batch: bytes of another format, or of a newer version with ops this one
    does not know.
    """


class TaskFailed(NodeError):
    """A background task that the node cannot do without has failed, by a bug of ours."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(
            f"internal error: the background task {name} failed: {error!r}; the log holds the"
            " details"
        )


# --- requests and peers


class PeerError(NodeError):
    """A peer sent what this node cannot take; the connection is closed."""


class PeerFrameError(PeerError):
    """A peer frame is too long, its checksum is wrong, or its content is no message."""


class HandshakeRefused(PeerError):
    """The other side is of another cluster, version or settings, or not the node it should be."""
