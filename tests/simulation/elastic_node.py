"""A simulated node that may join a cluster, leave it, and get a new disk under its old name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from quorumcache.node.errors import NodeError, NodeLeft, WrongDataDir
from quorumcache.ring.secret import Secret
from tests.simulation.cluster import SimulatedNode
from tests.simulation.disk import SimulatedDisk

PORTS = (11211, 7400)
"""Of clients and of peers; a change of addresses counts on from these."""


class ElasticNode(SimulatedNode):
    """`has_left`: the cluster does without it, and it has ended itself for that reason. `is_lost`:
    its disk is gone, and nobody has given it another one.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if not self.config.initial_cluster:
            self._node_id = 0  # It joins.
        self.has_left = False
        self.is_lost = False
        self.is_successor = False
        """It has got a new disk, and the cluster may have to be told so."""
        self.is_busy = False
        """Something is being done with its disk that nothing else may come between."""
        self.joins_refused: list[str] = []
        self.secret: Callable[[], Secret | None] = lambda: None
        """What the operator gives it as the cluster's secret."""
        self.on_left: Callable[[int], None] = lambda node_id: None
        """Hears that the node of this id ends because the cluster does without it."""

    @property
    def is_joining(self) -> bool:
        """It runs, or is to run, and is no member yet."""
        return self.is_due and not self.node_id

    def may_lose_directory(self) -> bool:
        return (
            super().may_lose_directory() and self.is_due and not self.is_busy and self.node_id > 0
        )

    def join(self, seeds: Sequence[str]) -> None:
        """Be there from now on, with an empty directory; `seeds`: peer addresses of members."""
        self.is_due = True
        self.has_left = self.is_lost = False
        self.change_settings(join=",".join(seeds), initial_cluster={})
        if not self.is_up:
            self.start()

    def new_disk(self) -> None:
        """The old one is gone for good."""
        assert not self.is_up
        self.disk = SimulatedDisk(self.loop, Random(self.random.getrandbits(64)), self.disk.config)
        self._node_id = 0
        self.has_left = False

    def move_address(self, number: int, *, clients: bool) -> None:
        """Other ports, from the next start on."""
        client, peer = PORTS
        changed: dict[str, Any] = {"peer": f"{self.name}:{peer + number}"}
        if self.config.initial_cluster:
            members = {**self.config.initial_cluster, self.name: changed["peer"]}
            changed["initial_cluster"] = members
        if clients:
            changed["listen"] = f"{self.name}:{client + number}"
        self.change_settings(**changed)

    def _more_arguments(self) -> dict[str, Any]:
        return {"given_secret": self.secret()}

    def _may_end(self, error: BaseException) -> bool:
        if not isinstance(error, NodeError):
            return False
        if not self.node_id:
            self.joins_refused.append(str(error))
            return True
        # A directory that was left says so at each start.
        is_marked = isinstance(error, WrongDataDir) and "has left cluster" in str(error)
        if isinstance(error, NodeLeft) or is_marked:
            self.on_left(self.node_id)
            self.has_left = True
            self.is_due = False
            return True
        return False

    def recover(self) -> None:
        if self.is_due:
            super().recover()
            return
        self.disarm()
        self._mend_host()
