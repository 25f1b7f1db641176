"""Begin and end of each fault on the running cluster."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.chaos.cluster import ChaosCluster, ChaosNode
from tests.chaos.namespaces import CLIENTS, Drop, Network
from tests.chaos.schedule import Fault

OF_PROCESSES = ("kill", "pause", "restart", "disk")
LEFT, REMOVED = 0, 3
"""Statuses of a node that is no member any more: it was drained; it was told of it by others."""


@dataclass(slots=True)
class Outcome:
    """A fault as it happened. `began_ns` and `ended_ns` as in the history; 0 = it did not."""

    fault: Fault
    nodes: list[str] = field(default_factory=list)
    """Whom it met; empty when it was left out because they had another one."""
    began_ns: int = 0
    ended_ns: int = 0


class Faults:
    """The faults in force. `begin` and `end` with the same fault; `end_all` whatever there is."""

    def __init__(self, cluster: ChaosCluster, network: Network) -> None:
        self.cluster = cluster
        self.network = network
        self._in_force: dict[int, tuple[Fault, list[ChaosNode]]] = {}

    def begin(self, fault: Fault) -> list[str]:
        """The names of the nodes that it meets; none when they have one of this sort already.

        A process that is gone cannot be stopped, and a node that is started on a full disk ends
        again as it should: what is done to processes and disks keeps apart. Whatever is done to the
        network mixes with everything, but there is one rate per link.
        """
        nodes = self._meant(fault)
        busy = self._busy(fault.kind)
        nodes = [node for node in nodes if node not in busy]
        if fault.kind in OF_PROCESSES:
            nodes = [node for node in nodes if not node.is_taken and node.process is not None]
        if nodes:
            self._begin_on(fault, nodes)
        return [node.name for node in nodes]

    def lose(self, fault: Fault, node: ChaosNode) -> None:
        """Packets on the links of this node are lost, `fault.amount` percent, until its `end`."""
        self._begin_on(replace(fault, kind="loss"), [node])

    def _begin_on(self, fault: Fault, nodes: list[ChaosNode]) -> None:
        for node in self.cluster.nodes:
            if node.may_end == (LEFT,):  # it may miss that it was let go, and be told afterwards
                node.may_end = (LEFT, REMOVED)
        self._in_force[fault.number] = (fault, nodes)
        if fault.kind in OF_PROCESSES:
            for node in nodes:
                {
                    "kill": node.kill,
                    "pause": node.pause,
                    "restart": node.terminate,
                    "disk": node.fill_disk,
                }[fault.kind]()
        elif fault.kind == "slow":
            self.network.slow(nodes[0].name, fault.amount)
        else:
            self.network.drop(fault.number, self._drops(fault, nodes))

    def flap(self, fault: Fault, *, cut: bool) -> None:
        """A flapping partition changes sides."""
        if fault.number in self._in_force:
            drops = self._drops(fault, self._in_force[fault.number][1]) if cut else []
            self.network.drop(fault.number, drops)

    def end(self, fault: Fault) -> None:
        """Undo it. Nothing when it was left out."""
        if fault.number not in self._in_force:
            return
        fault, nodes = self._in_force.pop(fault.number)
        if fault.kind in ("kill", "restart"):
            nodes = [node for node in nodes if node.ended is None]
            for node in nodes:
                node.launch()
            for node in nodes:
                node.wait_ready()
        elif fault.kind == "pause":
            for node in nodes:
                if node.process is not None:
                    node.resume()
        elif fault.kind == "disk":
            for node in nodes:
                node.free_disk()
        elif fault.kind == "slow":
            self.network.fast(nodes[0].name)
        else:
            self.network.heal(fault.number)

    def end_all(self) -> None:
        for fault, _ in list(self._in_force.values()):
            self.end(fault)

    def _meant(self, fault: Fault) -> list[ChaosNode]:
        nodes = self.cluster.members
        if fault.variant == "all":
            return nodes
        # Who cuts off or stops anybody but a leader learns little.
        if fault.variant == "leader" or fault.kind in ("partition", "loss", "slow"):
            found = self.cluster.leader()
            if found is not None and (fault.variant == "leader" or fault.number % 3):
                return [found]
        return [nodes[fault.node % len(nodes)]]

    @property
    def are_in_force(self) -> bool:
        """Whether there is any fault now."""
        return bool(self._in_force)

    def is_busy(self, node: ChaosNode) -> bool:
        """A fault of its process or disk is in force."""
        return node in self._busy("kill")

    def _busy(self, kind: str) -> list[ChaosNode]:
        alone: tuple[str, ...] = ()
        if kind in OF_PROCESSES:
            alone = OF_PROCESSES
        elif kind == "slow":
            alone = ("slow",)
        return [
            node
            for fault, nodes in self._in_force.values()
            if fault.kind in alone
            for node in nodes
        ]

    def _drops(self, fault: Fault, nodes: list[ChaosNode]) -> list[Drop]:
        names = self.network.nodes
        if fault.kind == "loss":
            met = [node.name for node in nodes]
            return [
                Drop(source, target, fault.amount)
                for source in [*names, CLIENTS]
                for target in [*names, CLIENTS]
                if source != target and (source in met or target in met)
            ]
        return partition(fault.variant, nodes[0].name, names)


def partition(variant: str, node: str, names: list[str]) -> list[Drop]:
    """Which packets a partition around `node` loses. Pure."""
    others = [name for name in names if name != node]
    towards = [Drop(other, node) for other in others]
    away = [Drop(node, other) for other in others]
    if variant in ("cut-off", "flapping"):
        return towards + away
    if variant == "isolate":
        return towards + away + [Drop(CLIENTS, node), Drop(node, CLIENTS)]
    if variant == "deaf":
        return towards
    if variant == "mute":
        return away
    assert variant == "bridge", variant
    return [Drop(node, others[0]), Drop(others[0], node)]
