"""What a node may count on after a crash, as a host that writes down what it was promised.

`NodeHost` opens everything durable in the order in which a node does: identity, snapshots, log,
map and births. The log's part is checked by `LogHost` against its list model; the other files
against the last value that was certainly durable and those handed in since. A start that raises, or
finds anything else, breaks the contract:

1. what was called durable is there, hard states included, and never an older one;
2. nothing is there that was never handed in;
3. what one start has believed, the next one finds too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from random import Random
from typing import Any

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.founding.data_dir import (
    accept,
    accept_joined,
    as_joined,
    as_member,
    open_data_dir,
)
from quorumcache.node.storage.founding_record import propose
from quorumcache.node.storage.identity import NodeIdentity, lock_data_dir, read_identity
from quorumcache.node.storage.local_state import LocalState
from quorumcache.node.storage.secret import Secret, read_secret
from quorumcache.ring import ClusterMap, NodeInfo
from tests.crash.recorder import RecordedDisk
from tests.support.founding import founder, record_of
from tests.support.log_host import LogHost
from tests.support.manual_loop import ManualLoop

DIRECTORY = "d"

SEED = 5
"""Of the disk id and of the cluster id: equal in every life, or no two states would be equal."""
NEW = NodeIdentity(f"{Random(SEED).getrandbits(128):032x}")
RECORD = propose(Random(SEED), [founder("n1", 1, disk=NEW.disk_id)], dict(record_of("n1").settings))
MEMBER = as_member(NEW, RECORD)

SECRET = Secret("the secret of the cluster")
OLDER = propose(Random(SEED), [founder("n0", 1)], dict(record_of("n0").settings))
"""Of a cluster that takes the same disk in later."""
JOINED_MAP = replace(
    OLDER.first_map().with_node(founder("n1", 2, disk=NEW.disk_id)), form=2, directory=(1,)
)
JOINED = as_joined(NEW, OLDER, 2, JOINED_MAP)

Births = dict[int, Configuration]


class ContractBroken(AssertionError):
    """A start found what it must not find, or failed."""


class TaskLoop(ManualLoop):
    """A `ManualLoop` on which coroutines run too."""

    def __init__(self) -> None:
        super().__init__()
        self._works: list[Coroutine[Any, Any, None]] = []

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> None:
        if context is None:
            self.call_later(0, callback, *args)
        else:
            self.call_later(0, context.run, callback, *args)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` while the loop runs. An error in it is raised out of `run`."""
        self._works.append(work)
        task: asyncio.Task[None] = asyncio.Task(work, loop=self)  # type: ignore[arg-type]
        task.add_done_callback(asyncio.Task.result)

    def end(self) -> None:
        """The process has ended: nothing that waits here goes on."""
        for work in self._works:
            work.close()

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio tells of tasks that will never end: those of a process that has ended."""


class NodeHost:
    """See the module. `start` first; after a crash, `start` of a copy on what is left."""

    def __init__(
        self,
        disk: Any,
        loop: Any,
        *,
        segment_bytes_max: int,
        payload_bytes: int,
        joins: bool = False,
    ) -> None:
        """`joins`: it becomes a member by a join, not as a founder."""
        self.joins = joins
        self.member = JOINED if joins else MEMBER
        self.disk: RecordedDisk = disk
        self.log = LogHost(disk, loop, segment_bytes_max=segment_bytes_max)
        self.log.payload_bytes = payload_bytes
        self.log.cluster_id = self.member.cluster_id
        self.log.node_id = self.member.node_id
        self.log.keeps_note = True
        self.identities: list[NodeIdentity | None] = [None]
        """The one that certainly is durable, then those handed in since. So for the next two."""
        self.maps: list[ClusterMap | None] = [JOINED_MAP if joins else None]
        self.births: list[Births] = [{} if joins else {0: Configuration((1,))}]
        self.local_state: LocalState

    def copy(self, disk: Any) -> NodeHost:
        """A host that remembers the same promises, on another disk; not started."""
        other = NodeHost(
            disk,
            disk.loop,
            segment_bytes_max=self.log.segment_bytes_max,
            payload_bytes=self.log.payload_bytes,
            joins=self.joins,
        )
        other.log = self.log.copy(disk)
        other.log.payload_bytes = self.log.payload_bytes
        other.identities = list(self.identities)
        other.maps = list(self.maps)
        other.births = list(self.births)
        return other

    def starting(self) -> NodeHost:
        """A copy that has begun to start: its identity is handed in."""
        other = self.copy(self.disk)
        other.identities += [i for i in (NEW, self.member) if i not in other.identities]
        return other

    def promises(self) -> str:
        """Two hosts of which this is equal expect the same of a start."""
        log = self.log
        return repr(
            (
                (log.base_models, log.items, log.durable_count, sorted(log.snapshots.items())),
                (self.identities, self.maps, self.births),
            )
        )

    # --- a start, and its check

    def start(self) -> None:
        """Open everything, in the node's order. Raises whatever the product raises, or
        `AssertionError`."""
        disk = self.disk.mount()
        lock_data_dir(disk, DIRECTORY)
        found = read_identity(disk, DIRECTORY)
        assert found in self.identities, (found, self.identities)
        self.identities = [found, *(i for i in (NEW, self.member) if i != found)]
        identity = open_data_dir(disk, DIRECTORY, Random(SEED))
        if not identity.is_member:
            assert identity == NEW
            if self.joins:
                place = (OLDER, JOINED.node_id, JOINED_MAP)
                accept_joined(disk, DIRECTORY, identity, *place, Random(SEED), SECRET)
            else:
                accept(disk, DIRECTORY, identity, RECORD, Random(SEED))
        self.identities = [self.member]
        self.log.start()
        self.local_state = LocalState(disk, DIRECTORY, self.disk.loop)
        self.local_state.cluster_id = self.member.cluster_id
        self.local_state.node_id = self.member.node_id
        found_map = self.local_state.load()
        assert found_map in self.maps, (found_map, self.maps)
        assert read_secret(disk, DIRECTORY) == (SECRET if self.joins else None)
        assert self.local_state.births in self.births, (self.local_state.births, self.births)
        self.maps = [found_map]
        self.births = [dict(self.local_state.births)]

    # --- what a node does

    def save_map(self, epoch: int) -> None:
        """A newer map came."""
        cluster_map = map_of(epoch, self.member.cluster_id)
        self.maps.append(cluster_map)

        async def save() -> None:
            await self.local_state.save_map(cluster_map)
            del self.maps[: self.maps.index(cluster_map)]

        self.disk.loop.start(save())

    def add_birth(self, group: int) -> None:
        """A group was created here."""
        born = {group: Configuration((1, 2, 3))}
        births = {**self.births[-1], **born}
        self.births.append(births)

        async def add() -> None:
            await self.local_state.add_births(born)
            del self.births[: self.births.index(births)]

        self.disk.loop.start(add())

    def go_on(self) -> None:
        """Use everything once more and wait until all of it is durable."""
        log = self.log
        self.disk.loop.run()  # Orphans are deleted first.
        for group in (1, 2):
            log.append(group)
            log.vote(group)
        log.snapshot(1)
        self.save_map(100)
        self.add_birth(100)
        self.disk.loop.run()
        log.append(1, 2)
        self.disk.loop.run()
        assert not log.failed, log.failed
        assert log.durable_count == len(log.items), "something did not become durable"
        assert [len(found) for found in (self.maps, self.births)] == [1, 1]


def map_of(epoch: int, cluster_id: str = RECORD.cluster_id) -> ClusterMap:
    """A small map."""
    node = NodeInfo(1, "n1", "h:1", "h:2", "", "", 1.0)
    return ClusterMap(
        epoch=epoch,
        cluster_id=cluster_id,
        shard_count=1,
        replication=1,
        nodes=(node,),
        replica_sets=((1,),),
    )
