"""Snapshot files: one per group, replaced as a whole.

File `<group>.snapshot`, big endian:

     0            8         12        16        20
    +------------+---------+---------+---------+--- ... ---+--- ... ---+----------------+---------+
    | "QCSNAPSH" | version | length  | crc     | meta      | data      | data length    | crc     |
    +------------+---------+---------+---------+--- ... ---+--- ... ---+----------------+---------+
                                               length bytes             8                4
    meta: msgpack [group, last_index, last_term, [voters, learners, voters_outgoing], cluster id].
        A decision, if there was one, is the fourth member of the configuration.
        The first crc covers bytes [0, 16) and meta, the last one data and data length, starting
        from the first.

A snapshot is written to a temporary file, synced, renamed over the old one, and the directory
synced. Before the rename the old one counts, after it the new one, and never half of either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

import msgpack

from quorumcache.node.consensus.values import Snapshot, SnapshotMeta, configuration_of
from quorumcache.node.errors import SnapshotCorrupt, StorageError, WrongDataDir
from quorumcache.node.storage.disk import TEMP_SUFFIX, Disk, Done
from quorumcache.node.version import FORMAT_VERSION, other_format

_MAGIC = b"QCSNAPSH"
_START = struct.Struct(">8sII")
_CRC = struct.Struct(">I")
_END = struct.Struct(">QI")
_SUFFIX = ".snapshot"


class SnapshotStore:
    """The snapshot files in `directory`. Used from the loop only."""

    def __init__(self, disk: Disk, directory: str, cluster_id: str = "") -> None:
        """Every file names the cluster: the groups of all clusters have the same numbers."""
        self._disk = disk
        self._directory = directory
        self._cluster_id = cluster_id
        self._indexes: dict[int, list[int]] = {}
        """Per group the index of the snapshot on disk (0 for none), then of those on their way."""

    def load_all(self) -> dict[int, Snapshot]:
        """Every group's snapshot. Blocks; for start-up, before `Wal.open`.

        Removes what a crash left unfinished, and makes durable what is there: a crashed process
        may have renamed a file without syncing the directory. Raises `SnapshotCorrupt`, and
        `WrongDataDir` for a snapshot of another cluster.
        """
        self._disk.make_dirs(self._directory)
        loaded: dict[int, Snapshot] = {}
        for name in self._disk.list_dir(self._directory):
            path = f"{self._directory}/{name}"
            if name.endswith(TEMP_SUFFIX):
                self._disk.remove(path)
            elif name.endswith(_SUFFIX):
                group, snapshot = decode_snapshot(self._disk.read(path), path, self._cluster_id)
                if name != _file_name(group):
                    raise SnapshotCorrupt(path, f"it says that it is of group {group}")
                loaded[group] = snapshot
                self._indexes[group] = [snapshot.meta.last_index]
        self._disk.sync_dir(self._directory)
        return loaded

    def save(self, group: int, meta: SnapshotMeta, pieces: Iterable[bytes], done: Done) -> None:
        """Replace the group's snapshot; `done(None)` on the loop once it is durable.

        `pieces` of its data are consumed in another thread: nothing may change them meanwhile.

        After `DiskFull` the old one is still there, and the caller may try again later. After any
        other error one of the two is; the caller must not count on the new one. One that is older
        than what is on disk, or on its way there, is refused with `StorageError`: the log may
        already say that entries were dropped for the newer one.
        """
        path = f"{self._directory}/{_file_name(group)}"
        index = meta.last_index
        indexes = self._indexes.setdefault(group, [0])
        if index < max(indexes):
            # Nothing to write; this comes back on the loop behind the newer one.
            why = f"a snapshot at {index} is older than that at {max(indexes)}"
            refusal = StorageError(f"{path}: {why}")
            self._disk.unlink(path + TEMP_SUFFIX, lambda error: done(refusal))
            return
        indexes.append(index)

        def written(error: BaseException | None) -> None:
            del indexes[indexes.index(index, 1)]
            if error is None:
                indexes[0] = index
            done(error)

        encoded = encode_snapshot(group, meta, pieces, self._cluster_id)
        self._disk.write_atomic(path, encoded, written)

    def delete(self, group: int, done: Done) -> None:
        """Remove the group's snapshot, durably; none being there is no error."""
        self._indexes.pop(group, None)
        self._disk.unlink(f"{self._directory}/{_file_name(group)}", done)


def _file_name(group: int) -> str:
    return f"{group:06d}{_SUFFIX}"


def encode_snapshot(
    group: int, meta: SnapshotMeta, chunks: Iterable[bytes], cluster_id: str = ""
) -> Iterator[bytes]:
    """The pieces of a snapshot file."""
    configuration = meta.configuration.form()
    meta_bytes = msgpack.packb((group, meta.last_index, meta.last_term, configuration, cluster_id))
    start = _START.pack(_MAGIC, FORMAT_VERSION, len(meta_bytes))
    crc = crc32(meta_bytes, crc32(start))
    yield start + _CRC.pack(crc) + meta_bytes
    length = 0
    for chunk in chunks:
        length += len(chunk)
        crc = crc32(chunk, crc)
        yield chunk
    length_bytes = _END.pack(length, 0)[:8]
    yield length_bytes + _CRC.pack(crc32(length_bytes, crc))


def decode_snapshot(data: bytes, path: str, cluster_id: str = "") -> tuple[int, Snapshot]:
    """Group and snapshot in the file at `path`, which holds `data`.

    Raises `SnapshotCorrupt` for damage, `WrongDataDir` for another format version or cluster.
    """
    meta_start = _START.size + _CRC.size
    if len(data) < meta_start + _END.size:
        raise SnapshotCorrupt(path, f"it is only {len(data)} bytes long")
    magic, version, meta_length = _START.unpack_from(data)
    (start_crc,) = _CRC.unpack_from(data, _START.size)
    data_start = meta_start + meta_length
    data_end = len(data) - _END.size
    view = memoryview(data)
    crc = crc32(view[meta_start:data_start], crc32(view[: _START.size]))
    if magic != _MAGIC or data_start > data_end or crc != start_crc:
        raise SnapshotCorrupt(path, "the checksum of its header is wrong")
    if version != FORMAT_VERSION:
        raise WrongDataDir(path, other_format(version))
    length, data_crc = _END.unpack_from(data, data_end)
    if length != data_end - data_start:
        raise SnapshotCorrupt(
            path, f"{length} bytes of data expected, {data_end - data_start} there"
        )
    if crc32(view[data_start : data_end + 8], crc) != data_crc:
        raise SnapshotCorrupt(path, "the checksum of its data is wrong")
    try:
        group, last_index, last_term, configuration, cluster = msgpack.unpackb(
            view[meta_start:data_start], use_list=False
        )
        meta = SnapshotMeta(last_index, last_term, configuration_of(configuration))
        _check_meta(group, meta)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise SnapshotCorrupt(path, f"its header holds no snapshot ({error})") from error
    if cluster != cluster_id:
        why = (
            f"belongs to cluster {cluster!r:.60}, this is a node of cluster {cluster_id!r}. Give"
            " each node the directory that it was created with, whole"
        )
        raise WrongDataDir(path, why)
    return group, Snapshot(meta, bytes(view[data_start:data_end]))


def _check_meta(group: Any, meta: SnapshotMeta) -> None:
    """Raise `TypeError` unless all of it has the right type."""
    for number in (group, meta.last_index, meta.last_term):
        if type(number) is not int:
            raise TypeError(f"{type(number).__name__} where a number belongs")
