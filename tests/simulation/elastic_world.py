"""A cluster whose nodes come and go while all else that the simulation knows happens, too.

The founders boot; the spares of the seed are machines that join at some moment. At the end all
moves have to end, the factor has to hold, and who was drained or removed has to be gone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from quorumcache.ring.secret import SECRET_FILE, Secret
from tests.simulation.checkers import InvariantViolation
from tests.simulation.cluster import CLIENT_PORT, PEER_PORT, SimulatedNode
from tests.simulation.configurations import Configurations
from tests.simulation.costs import draw_costs
from tests.simulation.dealings_end import end_dealings
from tests.simulation.elastic_end import await_quiet
from tests.simulation.elastic_faults import draw_elastic_faults
from tests.simulation.elastic_node import ElasticNode
from tests.simulation.elastic_shape import (
    draw_elastic_settings,
    draw_elastic_shape,
    draw_spares,
    spare_names,
)
from tests.simulation.faults import CLOCK_DRIFT_PPM, Shape
from tests.simulation.liveness import await_convergence, await_service, read_all
from tests.simulation.map_watch import MapWatch
from tests.simulation.operator import Operator
from tests.simulation.schedule import SPARES, Schedule
from tests.simulation.shape import ClusterShape
from tests.simulation.steadiness import Steadiness
from tests.simulation.world import CONVERGENCE_SECONDS, SERVICE_SECONDS, World, WorldConfig

PAUSES_SECONDS = (0.008, 0.03, 0.1)
"""Between the requests of one client."""
SECRET = Secret("the secret of the simulation")


class ElasticWorld(World):
    """See the module."""

    def __init__(self, config: WorldConfig) -> None:
        if not config.workload:
            # Moves are what matters here, and they take their time.
            pause = Random(f"{config.seed}/pauses").choice(PAUSES_SECONDS)
            config = replace(config, workload={"pause_seconds": pause})
        super().__init__(config)
        self.dead = ()
        self.costs = draw_costs(self.random("costs"), self.node_count + SPARES)
        self.operator = Operator(self)
        self.steadiness = Steadiness(self)
        self.maps = MapWatch(self)
        self.configurations = Configurations(self)
        self.promises.on_promise = self.maps.on_promise
        self.addresses_used = 0
        """By changes of addresses: no port is used twice."""
        self._complaint = ""
        self._is_given_secret = self.random("secret").random() < 0.5
        """Else the founders make one, and those that join are given that one."""
        for node in self.elastic_nodes:
            node.on_left = self.maps.on_left
            node.secret = partial(self._secret_for, node)
        for client in self.clients:
            if hasattr(client, "addresses"):
                client.addresses = [node.address for node in self.nodes if node.is_due]

    @property
    def elastic_nodes(self) -> list[ElasticNode]:
        return [node for node in self.nodes if isinstance(node, ElasticNode)]

    # -- what is drawn -----------------------------------------------------------------------------

    def _draw_shape(self) -> ClusterShape:
        config = self.config
        return draw_elastic_shape(
            self.random("elastic shape"), nodes=config.node_count, shards=config.shards
        )

    def _draw_settings(self, random: Random) -> dict[str, Any]:
        elastic = draw_elastic_settings(self.random("elastic"))
        return {**super()._draw_settings(random), **elastic}

    def _make_nodes(self, random: Random) -> list[SimulatedNode]:
        founders = super()._make_nodes(random)
        like = founders[0]
        own = self.random("spares")
        spares = []
        for spare in draw_spares(own, self.shape):
            config = replace(
                like.config,
                name=spare.name,
                zone=spare.zone,
                weight=spare.weight,
                listen=f"{spare.name}:{CLIENT_PORT}",
                peer=f"{spare.name}:{PEER_PORT}",
                initial_cluster={},
                join="nowhere:7400",
            )
            node = ElasticNode(
                self.loop,
                self.network,
                config,
                self.random(spare.name),
                clock_rate_ppm=own.randint(-CLOCK_DRIFT_PPM, CLOCK_DRIFT_PPM),
                disk_config=like.disk.config,
                consensus_bounds=like.consensus_bounds,
            )
            node.is_due = False
            spares.append(node)
        return [*founders, *spares]

    def _make_node(self, *args: Any, **named: Any) -> SimulatedNode:
        return ElasticNode(*args, **named)

    def _draw_schedule(self) -> Schedule:
        config = self.config
        names = (*self.shape.names, *spare_names(self.shape.nodes))
        faults = draw_elastic_faults(
            self.random("nemesis"),
            Shape(names, tuple(self.client_names)),
            seconds=config.fault_seconds,
        )
        return self._schedule_of(faults)

    # -- what faults use ---------------------------------------------------------------------------

    def secret(self) -> Secret | None:
        """The cluster's: as it was given, or as the directory of any member has it."""
        if self._is_given_secret:
            return SECRET
        path = f"/data/{SECRET_FILE}"
        for node in self.nodes:
            if node.node_id and node.has_own_directory and path in node.disk.files():
                return Secret.from_bytes(node.disk.files()[path])
        return None

    def _secret_for(self, node: ElasticNode) -> Secret | None:
        """What its operator gives it: founders may make one themselves."""
        return self.secret() if self._is_given_secret or node.config.join else None

    def complain(self, text: str) -> None:
        """Something was said that may not be said."""
        self._complaint = self._complaint or text

    def seeds(self) -> list[str]:
        """Peer addresses of all that are members and run."""
        members = [n for n in self.nodes if n.is_up and n.node_id and n.has_own_directory]
        return [str(node.config.peer) for node in members] or ["nowhere:7400"]

    def announce(self, node: SimulatedNode) -> None:
        """Clients hear of an address."""
        for client in self.clients:
            addresses = getattr(client, "addresses", None)
            if addresses is not None and node.address not in addresses:
                addresses.append(node.address)

    def let_join(self, node: ElasticNode) -> None:
        """Start it with an empty disk, if it has not one of its own."""
        if node.node_id:  # It has left, or was lost.
            self._replace_disk(node)
        node.join(self.seeds())
        self.announce(node)

    def lose_disk(self, node: ElasticNode) -> None:
        self._replace_disk(node)
        node.is_lost = node.is_successor = True
        node.is_due = False

    def _replace_disk(self, node: ElasticNode) -> None:
        self.promises.disk_is_replaced(node)
        node.new_disk()
        self.promises.disk_was_replaced(node)

    def may_lose(self, node: ElasticNode) -> bool:
        """Nothing that a majority has acknowledged depends on it alone."""
        return self.configurations.may_lose(node.node_id)

    # -- while it runs -----------------------------------------------------------------------------

    def _look(self, *, digests: bool = True) -> None:
        super()._look(digests=digests)
        self.configurations.look()
        self.steadiness.look()
        self.maps.look()
        self.configurations.judge(self.maps.newest)
        if self._complaint:
            raise InvariantViolation(self._complaint, rule="an answer to the operator")

    def unsteady_nodes(self) -> frozenset[int]:
        """Those that others need not hear now."""
        return self.steadiness.unsteady()

    def own_totals(self) -> dict[str, int]:
        outcomes = Counter(outcome for _, outcome, _ in self.operator.asked)
        assert self.maps.newest is not None
        return {
            "maps": self.maps.newest.epoch,
            "moves_completed": self.maps.completed,
            "configuration_steps": self.configurations.changes,
            "nodes_joined": self.maps.newest.next_node_id - 1 - self.shape.nodes,
            **{f"changes_{outcome}": count for outcome, count in outcomes.items()},
        }

    async def _end_well(self) -> None:
        self.heal()
        await self._bounded(await_quiet(self))
        gone = [node.name for node in self.nodes if not node.is_due]
        await self._bounded(await_service(self, SERVICE_SECONDS, without=gone))
        self.trace.say("every shard serves again")

    async def _agree(self) -> None:
        gone = [node.name for node in self.nodes if not node.is_due]
        await self._bounded(end_dealings(self, without=gone))
        await self._bounded(read_all(self, self.keys, without=gone))
        await self._bounded(await_convergence(self, CONVERGENCE_SECONDS))
