"""What a node keeps of the cluster beside its log: the newest map it knows, and its groups' births.

A group's birth is the configuration it was created with. Until its first snapshot the log starts
from there, so it has to be known again after a restart, whatever the map has become since. Both
files are written whole, by rename, before anything depends on them. Each is msgpack and, behind it,
the CRC-32 of that (4 bytes, big endian).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from zlib import crc32

import msgpack

from node.consensus.api import Configuration
from node.disk import Disk
from node.errors import StartupError
from ring import ClusterMap, MapError

MAP_FILE = "cluster.map"
BIRTHS_FILE = "groups.born"

_CRC_BYTES: Final = 4


class LocalState:
    """The two files, in `directory`; `disk` None: a node that keeps nothing."""

    def __init__(self, disk: Disk | None, directory: str, loop: asyncio.AbstractEventLoop) -> None:
        self._disk = disk
        self._directory = directory
        self._map_path = f"{directory}/{MAP_FILE}"
        self._births_path = f"{directory}/{BIRTHS_FILE}"
        self._loop = loop
        self._map_bytes = b""
        """What the map's file holds; empty while that is not known."""
        self.births: dict[int, Configuration] = {}

    def load(self) -> ClusterMap | None:
        """Read both files. `StartupError` names one that is damaged."""
        disk = self._disk
        if disk is None:
            return None
        # A process that died may have renamed a file without syncing the directory: what is
        # believed now must not vanish with the power later.
        disk.sync_dir(self._directory)
        if disk.exists(self._births_path):
            try:
                births = msgpack.unpackb(
                    _checked(disk.read(self._births_path)), use_list=False, strict_map_key=False
                )
                self.births = {_id(g): _born(voters) for g, voters in births.items()}
            except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
                raise StartupError(
                    f"{self._births_path} is damaged ({error}): restore this node from a backup, "
                    "or empty its data directory and let it join anew"
                ) from error
        if not disk.exists(self._map_path):
            return None
        try:
            data = _checked(disk.read(self._map_path))
            cluster_map = ClusterMap.from_bytes(data)
        except (ValueError, MapError) as error:
            raise StartupError(
                f"{self._map_path} is damaged ({error}): remove the file, the other nodes have it"
            ) from error
        self._map_bytes = data
        return cluster_map

    async def add_births(self, births: dict[int, Configuration]) -> None:
        """Remember new groups, durably. Not known before: a second try writes them, too."""
        together = {**self.births, **births}
        data = msgpack.packb({g: c.voters for g, c in sorted(together.items())})
        await self._write(self._births_path, data)
        self.births = together

    async def save_map(self, cluster_map: ClusterMap) -> None:
        """Remember a map, durably. One that is there already needs no room on a full disk."""
        data = cluster_map.to_bytes()
        if data != self._map_bytes:
            await self._write(self._map_path, data)
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

        self._disk.write_atomic(path, [data, crc32(data).to_bytes(_CRC_BYTES, "big")], done)
        await written


def _checked(data: bytes) -> bytes:
    """What is in a file, without its checksum. ValueError when that is wrong."""
    content = data[:-_CRC_BYTES]
    if len(data) < _CRC_BYTES or crc32(content) != int.from_bytes(data[-_CRC_BYTES:], "big"):
        raise ValueError("the checksum is wrong")
    return content


def _born(voters: Any) -> Configuration:
    return Configuration(tuple(map(_id, voters)))


def _id(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{type(number).__name__} where an id belongs")
    return number
