"""Starts this node's replica of a group, from what the disk remembers of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from random import Random
from typing import TYPE_CHECKING

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.protocols import PROTOCOL, PROTOCOLS
from quorumcache.node.consensus.values import Configuration, HardState, Snapshot, SnapshotMeta
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import StateMachine

if TYPE_CHECKING:
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.wal.recovery import RecoveredGroup


class ReplicaStarter:
    """See the module."""

    def __init__(
        self,
        config: ConsensusConfig,
        *,
        host: ReplicaHost,
        random: Random,
        life: int,
        recovered: MutableMapping[int, RecoveredGroup],
        snapshots: MutableMapping[int, Snapshot],
        new_store: Callable[[], StateMachine],
        promised: Mapping[int, HardState],
    ) -> None:
        """`recovered` and `snapshots`: what the log and the snapshots hold, by group; taken out
        when the group starts. `life`: a random number of this process. `new_store` makes the empty
        state of a shard. `promised`: by group, the term and the vote of the last replica that was
        removed from this node; a new one must not fall behind them.
        """
        self._config = config
        self._host = host
        self._random = random
        self._life = life
        self._recovered = recovered
        self._snapshots = snapshots
        self._new_store = new_store
        self._promised = promised

    def remembered(self) -> set[int]:
        """Groups that the disk holds and that have not been started."""
        return {*self._recovered, *self._snapshots}

    def forget(self, group_id: int) -> None:
        """The group is being removed: what the disk held of it when the node started is nothing to
        start from any more."""
        self._recovered.pop(group_id, None)
        self._snapshots.pop(group_id, None)

    def start_shard(self, group_id: int, birth: Configuration, stands: bool) -> None:
        """Start the replica of a shard."""
        self.start(group_id, birth, self._new_store(), stands=stands)

    def start(
        self, group_id: int, birth: Configuration, machine: StateMachine, *, stands: bool
    ) -> ReplicaGroup:
        """Start a replica with this empty state. `birth`: the configuration of a group of which
        there is no snapshot. `stands`: it calls an election right away.
        """
        host = self._host
        found = self._snapshots.pop(group_id, None)
        recovered = self._recovered.pop(group_id, None)
        stored = recovered.hard_state if recovered is not None else HardState(0, 0)
        promised = self._promised.get(group_id, stored)
        if found is not None:
            machine.restore(found.data)
            host.time.found(machine.last_now_ms, machine.last_wall_ms)
            meta = found.meta
        else:
            meta = SnapshotMeta(0, 0, birth)
        replica = PROTOCOLS[PROTOCOL].make_replica(
            self._config,
            Random(self._random.getrandbits(64)),
            configuration=meta.configuration,
            hard_state=max(promised, stored),
            entries=recovered.entries if recovered is not None else (),
            snapshot=meta if found is not None else None,
            applied_index=meta.last_index,
            life=self._life,
            is_stored=promised <= stored,
        )
        group = ReplicaGroup(group_id, replica, machine, host, meta)
        host.add_group(group)
        if stands:
            group.log.campaign()
            host.mark_dirty(group)
        return group
