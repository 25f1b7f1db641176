"""Faults of those who run a cluster: settings that change, directories in the wrong place, a name
that two processes have.

A directory that is not what its node left there has to be refused: the node does not start, or the
others do not listen to it. When the time is over the operator brings the right one back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

import msgpack

from quorumcache.node.storage.checksum import checked
from quorumcache.node.storage.identity import (
    IDENTITY_FILE,
    NodeIdentity,
    encode_identity,
    read_identity,
)
from quorumcache.node.storage.start_record import SEEN_FILE, STARTS_FILE
from tests.simulation.checkers import InvariantViolation
from tests.simulation.nemesis_base import Faults
from tests.simulation.settings import draw_new_settings, draw_own_settings

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode

PATHS = {
    "log": "/data/wal/",
    "births": "/data/groups.born",
    "map": "/data/cluster.map",
    "identity": "/data/node.id",
    "snapshots": "/data/snapshots/",
    "note": "/data/log.newest",
    "newest_segment": "",
    "membership": "/data/node.id",
    "starts": f"/data/{STARTS_FILE}",
}
"""Where the parts of a directory are. The newest segment is looked for (`_without`)."""

NOT_MISSED = ("map",)
"""Parts without which a node may start: it gets them from the others."""

Files = dict[str, bytes]


def _told(lost: str) -> str:
    return "is empty" if lost == "all" else f"has lost {lost}"


class SetupFaults(Faults):
    """See the module."""

    # -- settings ----------------------------------------------------------------------------------

    async def _change_own_settings(
        self, draw: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """One node goes on with other settings of its own."""
        node = self._who(who, pick)
        if not node.process.is_running:
            return
        if power:
            self._crash(node, power=True)
        else:
            await self._end(node, gracefully=True)
        self._configure(node, draw)
        await asyncio.sleep(seconds)
        self._restart(node)

    async def _roll_settings(self, nodes: list[str], draw: int, seconds: float) -> None:
        """One after the other goes on with other settings of its own."""
        for number, name in enumerate(nodes):
            node = self._nodes[name]
            if node.process.is_running:
                await self._end(node, gracefully=True)
                self._configure(node, draw + number)
                await asyncio.sleep(seconds)
                self._restart(node)
                await asyncio.sleep(seconds)

    def _configure(self, node: SimulatedNode, draw: int) -> None:
        limited = self.world.memory_is_limited
        settings = draw_own_settings(Random(draw), memory_is_limited=limited)
        self._say(f"{node.name} gets {settings}")
        node.change_settings(**settings)

    async def _change_all_settings(self, draw: int, gracefully: bool, seconds: float) -> None:
        """Stop all, change what has to be equal everywhere, start all."""
        nodes = self.world.nodes
        await asyncio.gather(*(self._end(node, gracefully=gracefully) for node in nodes))
        for node in nodes:
            if node.is_up:  # Another fault has started it meanwhile.
                self._crash(node, power=False)
        limited = self.world.memory_is_limited
        settings = draw_new_settings(Random(draw), memory_is_limited=limited)
        self._say(f"all nodes get {settings}")
        for node in nodes:
            node.change_settings(**settings)
        await asyncio.sleep(seconds)
        for node in nodes:
            self._restart(node)

    # -- directories -------------------------------------------------------------------------------

    async def _wipe_directory(self, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        if node.may_lose_directory() and self._somebody_remembers(node):
            await self._with_files({node: {}}, seconds, "is empty")

    def _somebody_remembers(self, node: SimulatedNode) -> bool:
        """Another node has its own directory, and would be asked. Where all are without one they
        found a new cluster: nobody knows of the one before. So does a node that is told of no other
        founder.
        """
        if not node.config.join and len(node.config.members) == 1:
            return False
        return any(n.has_own_directory for n in self._members() if n is not node)

    def _others_decide(self) -> bool:
        """No node decides anything alone. Where each shard has one replica, the node that holds it
        asks nobody, so nobody can keep it from serving an older copy.
        """
        return self.world.shape.replication_effective > 1

    async def _swap_directories(self, nodes: list[str], seconds: float) -> None:
        pair = [self._nodes[name] for name in nodes]
        if len(pair) == 2 and all(node.may_lose_directory() for node in pair):
            one, other = pair
            files = {one: other.disk.files(), other: one.disk.files()}
            await self._with_files(files, seconds, "is that of another node")

    async def _half_directory(self, lost: str, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        if not node.may_lose_directory():
            return
        files = node.disk.files()
        left = _without(lost, files)
        if left == files:
            return
        if lost not in NOT_MISSED:
            await self._with_files({node: left}, seconds, f"has no {lost}")
            return
        if node.is_up:
            self._crash(node, power=False)
        self._say(f"the directory of {node.name} has no {lost}, for good")
        node.disk.lose(PATHS[lost])
        self._restart(node)

    async def _restored_directory(self, seconds: float, who: str, pick: int = 0) -> None:
        """A copy of the directory is made while the node is down, and brought back after another
        start of it that all others have seen.
        """
        node = self._who(who, pick)
        if not node.may_lose_directory() or not self._others_decide():
            return
        if node.is_up:
            self._crash(node, power=False)
        copy = node.disk.files()
        self._restart(node)
        await asyncio.sleep(seconds)
        # Only then is there a promise that all of them keep it out.
        if node.may_lose_directory() and _is_seen_since(copy, node, self._members()):
            await self._with_files({node: copy}, seconds, "is an older copy")

    async def _set_back_directory(self, lost: str, seconds: float, who: str, pick: int = 0) -> None:
        """A node comes up on a copy from before the founding, or without what freed its log."""
        node = self._who(who, pick)
        if not node.may_lose_directory() or not self._somebody_remembers(node):
            return
        if node.is_up:
            self._crash(node, power=False)
        await self._with_files({node: self._rest_of(node, lost)}, seconds, _told(lost))

    async def _restored_copy_decides(self, nodes: list[str], seconds: float) -> None:
        """All see another start of the second node. The first one misses what the others write
        then. It comes back, and with it only the second one, on a copy from before that start:
        with its vote those who have forgotten would be a majority.
        """
        if not self._others_decide():
            return
        late, restored, *others = (self._nodes[name] for name in nodes)
        if not restored.may_lose_directory():
            return
        if restored.is_up:
            self._crash(restored, power=False)
        copy = restored.disk.files()
        self._restart(restored)
        await asyncio.sleep(seconds / 2)
        if late.is_up:
            self._crash(late, power=False)
        await asyncio.sleep(seconds / 3)
        if not restored.may_lose_directory() or not _is_seen_since(copy, restored, self._members()):
            return
        for node in (late, restored, *others):
            if node.is_up:
                self._crash(node, power=True)
        self._restart(late)
        await self._with_files({restored: copy}, seconds, "is an older copy")
        for node in others:
            self._restart(node)

    async def _lost_disk_decides(self, nodes: list[str], lost: str, seconds: float) -> None:
        """The first node misses what the others write. Then it comes back, and with it only the
        second one, whose disk is lost: with its vote those who know nothing would be a majority.
        """
        if len(nodes) < 2:
            return
        late, forgetful, *others = (self._nodes[name] for name in nodes)
        if not forgetful.may_lose_directory():
            return
        if late.is_up:
            self._crash(late, power=False)
        await asyncio.sleep(seconds / 3)
        for node in (late, forgetful, *others):
            if node.is_up:
                self._crash(node, power=False)
        if not forgetful.may_lose_directory() or not self._somebody_remembers(forgetful):
            return
        self._restart(late)
        await self._with_files({forgetful: self._rest_of(forgetful, lost)}, seconds, _told(lost))
        for node in others:
            self._restart(node)

    def _rest_of(self, node: SimulatedNode, lost: str) -> Files:
        """What is left of a directory of a node that is down. A node must be refused with it."""
        files = node.disk.files()
        if lost == "snapshots":
            # Those that a mark in the log speaks of: without one, the log still holds everything.
            lost = "snapshots" if self.world.promises.has_marks(node) else "all"
        if lost == "all":
            return {}
        if lost == "all but the disk id":
            identity = read_identity(node.disk.mount(), "/data")
            if identity is None:
                return {}
            return {f"/data/{IDENTITY_FILE}": encode_identity(NodeIdentity(identity.disk_id))}
        left = _without(lost, files)
        return left if left != files else {}

    async def _with_files(
        self,
        files: dict[SimulatedNode, Files],
        seconds: float,
        what: str,
    ) -> None:
        """Run the nodes with these directories for a while, then with their own again."""
        for node in files:
            if node.is_up:
                self._crash(node, power=False)
        for node, content in files.items():
            self._say(f"the directory of {node.name} {what}")
            node.exchange_directory(content)
            self._restart(node)
        await asyncio.sleep(seconds)
        for node in files:
            if not node.has_own_directory:
                if node.is_up:
                    self._crash(node, power=False)
                node.bring_directory_back()
                self._say(f"{node.name} has its own directory again")
            self._restart(node)

    # -- names -------------------------------------------------------------------------------------

    async def _stolen_name(self, seconds: float, who: str, pick: int = 0) -> None:
        """While a node is down another process takes its name, from an empty directory, on another
        machine. The real one comes back meanwhile.
        """
        node = self._who(who, pick)
        if not node.may_lose_directory() or not self._somebody_remembers(node):
            return
        if node.is_up:
            self._crash(node, power=False)
        self._say(f"another process has the name {node.name}")
        thief = node.thief()
        thief.start()
        await asyncio.sleep(seconds / 2)
        self._restart(node)
        await asyncio.sleep(seconds / 2)
        committed = [group.group_id for group in thief.groups() if group.commit_index]
        if thief.is_up:
            thief.crash()
        self._say(f"the other process of the name {node.name} is gone")
        if committed:
            raise InvariantViolation(
                f"another process with the name {node.name} and an empty directory was let into "
                f"the groups {committed}",
                rule="a stolen name is believed",
            )


def _is_seen_since(copy: Files, node: SimulatedNode, nodes: Sequence[SimulatedNode]) -> bool:
    """Every other node has on its disk that it saw a later start of `node` than the copy has."""
    path = f"/data/{STARTS_FILE}"
    if path not in copy:
        return False  # It was new.
    disk_id, number, _ = msgpack.unpackb(checked(copy[path]))
    for other in nodes:
        if other is node:
            continue
        seen = other.disk.own_synced_names.get(f"/data/{SEEN_FILE}")
        if seen is None:
            return False
        starts = msgpack.unpackb(checked(bytes(seen.synced)), use_list=False)[1]
        if starts.get(disk_id, (0, b""))[0] <= number:
            return False
    return True


def _without(part: str, files: Files) -> Files:
    """A directory that has lost a part. Of the segments it is the one that the node has noted: one
    that it has begun to write and not noted yet cannot be missed. The membership is lost when the
    identity is that of the time when the directory was new.
    """
    gone = PATHS[part]
    if part == "newest_segment":
        note = files.get(PATHS["note"], b"segment 0")
        gone = f"{PATHS['log']}{int(note.split()[1]):010d}.wal"
    left = {path: data for path, data in files.items() if not path.startswith(gone)}
    if part == "membership" and left != files:
        words = files[gone].split()
        disk_id = words[words.index(b"disk") + 1].decode()
        left[gone] = encode_identity(NodeIdentity(disk_id))
    return left
