"""A housekeeper over scripted groups."""

from types import SimpleNamespace
from typing import Any

from quorumcache.node.alarms import Alarms
from quorumcache.node.clock import Clock
from quorumcache.node.housekeeping.fitness import Fitness
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.memory_room import MemoryRoom
from tests.support.scripted_log import HostWorld

DATA = b" 0 1\r\nx\r\n"
HERE, THERE = 1, 2


def fitness(clock: Clock) -> Fitness:
    """Of a node that is well, and hears nothing else of the others."""
    return Fitness(
        clock=clock,
        election_ms=300,
        tick_ms=10,
        alarms=Alarms(),
        peers=FakePeers({}),
        flush_soon=lambda: None,
    )


class OpenGroup(ReplicaGroup):
    """A group is made with slots: here `submit` can be replaced."""


class FakePeers:
    """The other nodes, each of a form; up unless they are `down`. `sent` is what they were told."""

    def __init__(self, forms: dict[int, int]) -> None:
        self.forms = forms
        self.down: set[int] = set()
        self.sent: list[tuple[int, tuple[Any, ...]]] = []

    @property
    def node_ids(self) -> tuple[int, ...]:
        return tuple(self.forms)

    def is_up(self, node_id: int) -> bool:
        return node_id in self.forms and node_id not in self.down

    def form_of(self, node_id: int) -> int:
        return self.forms.get(node_id, 1)

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        self.sent.append((node_id, item))
        return True


class HousekeepingWorld(HostWorld):
    """A housekeeper over groups that lead under a lease; `submitted` replaces their logs."""

    def __init__(self, *group_ids: int) -> None:
        super().__init__(*group_ids)
        self.submitted: list[tuple[Any, ...]] = []
        self.waiters: list[Any] = []
        self.up = True
        self.down: set[int] = set()
        self.preferred, self.stand_in = THERE, 3
        config: Any = SimpleNamespace(
            node_id=HERE,
            session_idle_ms=60_000,
            snapshot_bytes_min=1000,
            log_memory_bytes=0,
            election_ms=300,
        )
        for group_id, group in self.groups.items():
            self.logs[group_id].lead()
            group.lease_until_ns = 1
            group.submit = self._submit  # type: ignore[method-assign]
        self.peers = FakePeers({THERE: 2, 3: 2, 4: 2, 5: 2})
        self.fitness = Fitness(
            clock=self.clock,
            election_ms=config.election_ms,
            tick_ms=10,
            alarms=Alarms(),
            peers=self.peers,
            flush_soon=lambda: None,
        )
        self.memory = MemoryRoom(1 << 30)
        self.keeper = Housekeeper(
            node_id=HERE,
            config=config,
            host=self.host,
            wal=self.wal,
            snapshots=self.snapshots,
            counters=self.counters,
            preferred_leader=lambda group_id: self.preferred,
            stand_in=lambda group_id: self.stand_in,
            is_up=lambda node_id: self.up and node_id not in self.down,
            fitness=self.fitness,
            memory=self.memory,
        )

    def _submit(self, command: Any, size: int, waiter: Any) -> None:
        self.submitted.append(command)
        self.waiters.append(waiter)

    def store(self, group_id: int = 1) -> Any:
        return self.groups[group_id].machine

    def sweep(self) -> list[tuple[Any, ...]]:
        self.keeper.expiry.sweep()
        submitted, self.submitted = self.submitted, []
        return submitted
