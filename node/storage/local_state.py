"""What a node keeps of the cluster beside its log: the newest map it knows, and its groups' births.

A group's birth is the configuration that its log starts from here, whole: voters, learners, the
outgoing voters of a joint change, and the decision if there was one. Until the first snapshot it
has to be known again after a restart, whatever the map has become since. A group of which no birth
is stored has never promised anything here. While a replica is being removed from this node, nil
stands in place of its birth: it is not to be started, and the next start goes on with the removal.
After that its birth is the empty configuration, with which a replica neither votes nor stands. The
term and the vote of a replica that was removed are kept: one that comes later goes on from there.

Both files are written whole, by rename, before anything depends on them. Each is msgpack and,
behind it, its checksum (`checksum.py`). Both name their cluster, and the births their node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack

from quorumcache.node.consensus.values import Configuration, HardState, configuration_of
from quorumcache.node.errors import StartupError, WrongDataDir
from quorumcache.node.storage.checksum import checked, with_checksum
from quorumcache.node.storage.disk import Disk
from quorumcache.ring import ClusterMap, MapError

MAP_FILE = "cluster.map"
BIRTHS_FILE = "groups.born"


class LocalState:
    """The two files, in `directory`; `disk` None: a node that keeps nothing."""

    def __init__(self, disk: Disk | None, directory: str, loop: asyncio.AbstractEventLoop) -> None:
        self._disk = disk
        self._directory = directory
        self._map_path = f"{directory}/{MAP_FILE}"
        self._births_path = f"{directory}/{BIRTHS_FILE}"
        self._loop = loop
        self._map_bytes = b""
        """What the map's file holds, without its checksum; empty while that is not known."""
        self.cluster_id = ""
        self.node_id = 0
        """Whose files these are; set before anything is read or written."""
        self.births: dict[int, Configuration] = {}
        self.leaving: set[int] = set()
        """Groups that are being removed from this node. They have no birth, and must not start."""
        self.promised: dict[int, HardState] = {}
        """By group: what the last replica that was removed from this node had promised."""
        self._births_offered: dict[int, Configuration] = {}
        """On their way to the disk: a file that is written behind them holds them, too."""

    def load(self) -> ClusterMap | None:
        """Read both files. `StartupError` names one that is damaged, or not this node's."""
        disk = self._disk
        if disk is None:
            return None
        # A process that died may have renamed a file without syncing the directory: what is
        # believed now must not vanish with the power later.
        disk.sync_dir(self._directory)
        if disk.exists(self._births_path):
            try:
                cluster_id, node_id, births, *rest = msgpack.unpackb(
                    checked(disk.read(self._births_path)), use_list=False, strict_map_key=False
                )
                leaving = {_id(g) for g, born in births.items() if born is None}
                births = {_id(g): configuration_of(b) for g, b in births.items() if b is not None}
                promised = {
                    _id(g): HardState(_id(term), _id(vote))
                    for more in rest
                    for g, (term, vote) in more.items()
                }
            except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
                raise StartupError(
                    f"{self._births_path} is damaged ({error}): restore that file, or leave this "
                    "node stopped and keep its data directory aside. The cluster goes on without "
                    "it while each shard has a majority of its replicas. Never empty the directory "
                    "to let the node join again: it would forget its votes and the "
                    "writes that it acknowledged"
                ) from error
            if (cluster_id, node_id) != (self.cluster_id, self.node_id):
                raise WrongDataDir(
                    self._births_path,
                    f"belongs to node {node_id!r:.60} of cluster {cluster_id!r:.60}, this is node"
                    f" {self.node_id} of cluster {self.cluster_id!r}. Give each node the directory"
                    " that it was created with, whole",
                )
            self.births = births
            self.leaving = leaving
            self.promised = promised
        if not disk.exists(self._map_path):
            return None
        try:
            data = checked(disk.read(self._map_path))
            cluster_map = ClusterMap.from_bytes(data)
        except (ValueError, MapError) as error:
            raise StartupError(
                f"{self._map_path} is damaged ({error}): remove the file, the other nodes have it"
            ) from error
        if self.cluster_id and cluster_map.cluster_id != self.cluster_id:
            raise StartupError(
                f"{self._map_path} is the map of cluster {cluster_map.cluster_id}, this is a node"
                f" of cluster {self.cluster_id}: remove the file, the other nodes have the right"
                " one. If other files were exchanged, too, put them back first"
            )
        self._map_bytes = data
        return cluster_map

    async def add_births(self, births: dict[int, Configuration]) -> None:
        """Remember new groups, durably. Until this returns they are not in `births`: a second try
        writes them, too."""
        self._births_offered.update(births)
        try:
            await self._write_births()
            self.births.update(births)
        finally:
            for group in births:
                self._births_offered.pop(group, None)

    async def begin_leaving(self, group_id: int, promised: HardState) -> None:
        """Remember, durably, that a replica is being removed, and what it has promised. From the
        call on it has no birth, and a second try writes that, too."""
        self.births.pop(group_id, None)
        self.leaving.add(group_id)
        if promised.term:  # One that was removed before it heard of the group knows less.
            self.promised[group_id] = max(promised, self.promised.get(group_id, promised))
        await self._write_births()

    async def end_leaving(self, group_id: int) -> None:
        """Remember, durably, that nothing of the replica is left. Until this returns the group is
        `leaving`; a replica that comes later is born empty, whatever the map says."""
        await self.add_births({group_id: Configuration(())})
        self.leaving.discard(group_id)

    async def _write_births(self) -> None:
        together = {**self.births, **self._births_offered}
        leaving = self.leaving - together.keys()
        data = encode_births(together, self.cluster_id, self.node_id, leaving, self.promised)
        await self._write(self._births_path, data)

    async def save_map(self, cluster_map: ClusterMap) -> None:
        """Remember a map, durably. One that is there already needs no room on a full disk."""
        data = cluster_map.to_bytes()
        if data != self._map_bytes:
            await self._write(self._map_path, with_checksum(data))
            self._map_bytes = data

    async def _write(self, path: str, data: bytes) -> None:
        if self._disk is None:
            return
        written: asyncio.Future[None] = self._loop.create_future()

        def done(error: BaseException | None) -> None:
            if written.done():
                return
            if error is not None:
                written.set_exception(error)
            else:
                written.set_result(None)

        self._disk.write_atomic(path, [data], done)
        await written


def encode_births(
    births: Mapping[int, Configuration],
    cluster_id: str,
    node_id: int,
    leaving: Iterable[int] = (),
    promised: Mapping[int, HardState] | None = None,
) -> bytes:
    """The content of `BIRTHS_FILE`. Where no replica was ever removed it is as before there were
    removals."""
    by_group: dict[int, tuple[Any, ...] | None] = {g: c.form() for g, c in sorted(births.items())}
    by_group.update(dict.fromkeys(sorted(leaving)))
    more = (dict(sorted(promised.items())),) if promised else ()
    packed: bytes = msgpack.packb((cluster_id, node_id, by_group, *more))
    return with_checksum(packed)


def are_empty_births(data: bytes) -> bool:
    """Whether this content of `BIRTHS_FILE` holds no group; False if it is damaged."""
    try:
        _, _, births, *_ = msgpack.unpackb(checked(data), use_list=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return False
    return bool(births == {})


def _id(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{type(number).__name__} where an id belongs")
    return number
