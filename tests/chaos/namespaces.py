"""The network: a namespace for each node and one for the clients, joined by a bridge.

        chaos (the harness's own namespace, 10.213.0.254)
          └─ bridge ─┬─ veth ─ a        10.213.0.1
                     ├─ veth ─ b        10.213.0.2
                     ├─ veth ─ c        10.213.0.3
                     └─ veth ─ clients  10.213.0.101

All of it is made inside of namespaces that `unshare` gave the harness: the machine's own network
has no part in it, two runs do not see each other, and the kernel removes everything when the
harness is gone.

A packet is lost where it arrives: rules drop in the input of the receiving namespace, so that its
sender learns nothing, as with a real network. Rules are a function of the cuts and losses in force
(`ruleset`), set in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.commands import run

NETWORK = "10.213.0"
HARNESS = f"{NETWORK}.254"
CLIENTS = "clients"
BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Drop:
    """Of the packets from endpoint `source` to endpoint `target`, `percent` are lost."""

    source: str
    target: str
    percent: int = 100


def address_of(number: int) -> str:
    """Address of the endpoint with this number, 1 to 253."""
    assert 1 <= number <= 253
    return f"{NETWORK}.{number}"


def ruleset(drops: Iterable[Drop], target: str, addresses: dict[str, str]) -> str:
    """The nft script for endpoint `target`: replaces what was there. Pure.

    Packets from one source meet each loss that is in force, so losses add up as real ones do.
    """
    lines = ["table ip chaos", "delete table ip chaos", "table ip chaos {", " chain input {"]
    lines.append("  type filter hook input priority 0; policy accept;")
    for drop in drops:
        if drop.target == target:
            chance = "" if drop.percent >= 100 else f"numgen random mod 100 < {drop.percent} "
            lines.append(f"  ip saddr {addresses[drop.source]} {chance}drop")
    return "\n".join([*lines, " }", "}", ""])


class Network:
    """Endpoints by name. `cut` and `heal` by the number of the fault that wants it."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self.nodes = list(nodes)
        self.addresses = {name: address_of(n) for n, name in enumerate(self.nodes, 1)}
        self.addresses[CLIENTS] = address_of(101)
        self._drops: dict[int, list[Drop]] = {}

    def create(self) -> None:
        """Make namespaces, bridge and links. CannotRun when the kernel or its tools refuse."""
        run("mount", "-t", "tmpfs", "tmpfs", "/run")  # ip keeps its names there; ours only
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{HARNESS}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for name, address in self.addresses.items():
            run("ip", "netns", "add", name)
            link = f"to-{name}"
            run(*f"ip link add {link} type veth peer name eth0 netns {name}".split())
            run("ip", "link", "set", link, "master", BRIDGE, "up")
            inside = ("ip", "-n", name)
            run(*inside, "link", "set", "lo", "up")
            run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
            run(*inside, "link", "set", "eth0", "up")
            self._apply(name)

    def inside(self, name: str) -> list[str]:
        """What to put in front of a command to run it in this endpoint's namespace."""
        return ["nsenter", f"--net=/run/netns/{name}"]

    def drop(self, fault: int, drops: Iterable[Drop]) -> None:
        """From now on, for this fault, these packets are lost, and no others."""
        self._drops[fault] = list(drops)
        for name in self.addresses:
            self._apply(name)

    def heal(self, fault: int) -> None:
        if self._drops.pop(fault, None) is not None:
            for name in self.addresses:
                self._apply(name)

    def slow(self, name: str, kbit: int) -> None:
        """Both directions of this endpoint's link carry at most so much."""
        for where in self._ends(name):
            words = f"root tbf rate {kbit}kbit burst 8kb latency 400ms".split()
            run("tc", *where[:-1], "qdisc", "replace", "dev", where[-1], *words)

    def fast(self, name: str) -> None:
        """The end of `slow`."""
        for where in self._ends(name):
            run("tc", *where[:-1], "qdisc", "delete", "dev", where[-1], "root")

    @staticmethod
    def _ends(name: str) -> tuple[tuple[str, ...], ...]:
        return ("-n", name, "eth0"), (f"to-{name}",)

    def _apply(self, name: str) -> None:
        drops = [drop for drops in self._drops.values() for drop in drops]
        script = ruleset(drops, name, self.addresses)
        run(*self.inside(name), "nft", "-f", "-", stdin=script)
