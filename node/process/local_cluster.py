"""The plan of a cluster on one machine: names, ports and directories of its nodes.

The plan is made once and remembered in the data directory (`cluster.json`), since the addresses
of the nodes are part of the cluster: the same ports again after a restart. Ports of a new
cluster are laid out from a base so that a person can guess them: with base 11211, memcached on
11211, 11212, ..., HTTP on 11311, ..., peers on 11411, ...

Nodes may come and go later (`add_nodes`, `without_node`); the founders stay as they were named.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from quorumcache.node.errors import ConfigError, StartupError
from quorumcache.node.settings.config import parse_initial_cluster
from quorumcache.ring.address import format_address, parse_address
from quorumcache.ring.hashing import SHARD_COUNT_MAX, default_shard_count, is_shard_count

HOST = "127.0.0.1"
BASE_PORT = 11211
NODES_MAX = 26
# Offset of each listener's ports from the base.
_HTTP_OFFSET = 100
_PEER_OFFSET = 200
# Where the next free range is looked for, and until where: ports above are handed out to
# outgoing connections.
_BASE_STEP = 1000
_BASE_END = 32_000
_PLAN_FILE = "cluster.json"
_PLAN_FORMAT = 1
# Of a cluster whose nodes are not its founders any more; versions before cannot start those.
_CHANGED_FORMAT = 2


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of the plan; all its listeners are on the loopback address. `has_joined`: it came to
    a cluster that there was."""

    name: str
    listen_port: int
    http_port: int
    peer_port: int
    has_joined: bool = False

    @property
    def listen(self) -> str:
        return format_address(HOST, self.listen_port)

    @property
    def http(self) -> str:
        return format_address(HOST, self.http_port)

    @property
    def peer(self) -> str:
        return format_address(HOST, self.peer_port)

    @property
    def ports(self) -> tuple[tuple[str, int], ...]:
        """(what it is for, port) of every listener."""
        return (
            ("memcached", self.listen_port),
            ("http", self.http_port),
            ("peer", self.peer_port),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A local cluster. `shards` is fixed when it is created. `founders`: --initial-cluster as it
    was then, once there are other nodes; "": all nodes are founders."""

    data_dir: str
    shards: int
    nodes: tuple[LocalNode, ...]
    founders: str = ""

    @property
    def initial_cluster(self) -> str:
        """The value of --initial-cluster, the same for every founder."""
        return self.founders or ",".join(f"{node.name}={node.peer}" for node in self.nodes)

    def join_addresses(self, node: LocalNode) -> str:
        """The value of --join of a node that has joined: all others."""
        return ",".join(other.peer for other in self.nodes if other.name != node.name)

    def directory(self, node: LocalNode) -> str:
        """Where a node's log file for people and its data live."""
        return os.path.join(self.data_dir, node.name)


def make_plan(
    data_dir: str, *, nodes: int | None, shards: int | None, base_port: int | None
) -> tuple[Plan, list[str]]:
    """The remembered plan of `data_dir`, or a new one, and what a user should know about it.

    None = not asked for: what is remembered, or 3 nodes, as many shards as suit them, and ports
    from 11211 or the next free range. `base_port` 0 = ports as the system gives them. ConfigError
    when something else was asked for than what the directory holds, StartupError when a port of
    the plan is taken.
    """
    remembered = read_plan(data_dir)
    if remembered is not None:
        _check_same(remembered, nodes=nodes, shards=shards, base_port=base_port)
        for node in remembered.nodes:
            for use, port in node.ports:
                if not is_free(port):
                    raise StartupError(
                        f"port {port} (node {node.name}, {use}) is in use by another process;"
                        f" the cluster in {data_dir} needs it. Stop that process, or start a new"
                        " cluster with another --data-dir"
                    )
        return remembered, []
    if nodes is not None and not 1 <= nodes <= NODES_MAX:
        raise ConfigError("--nodes", f"{nodes} is not in 1..{NODES_MAX}")
    if shards is not None and not is_shard_count(shards):
        raise ConfigError("--shards", f"{shards} is not a power of two in 1..{SHARD_COUNT_MAX}")
    names = [chr(ord("a") + number) for number in range(nodes or 3)]
    chosen, notes = _choose_ports(names, base_port)
    return Plan(data_dir, shards or default_shard_count(len(names)), chosen), notes


def save_plan(plan: Plan) -> None:
    """Remember the plan in its directory, atomically."""
    path = os.path.join(plan.data_dir, _PLAN_FILE)
    document: dict[str, object] = {
        "format": _CHANGED_FORMAT if plan.founders else _PLAN_FORMAT,
        "shards": plan.shards,
        "nodes": [_row(node, plan) for node in plan.nodes],
    }
    if plan.founders:
        document["founders"] = plan.founders
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    directory = os.open(plan.data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # Or the nodes' data may outlive the plan, and get another one.
    finally:
        os.close(directory)


def _row(node: LocalNode, plan: Plan) -> dict[str, object]:
    row = asdict(node)
    if not plan.founders:
        del row["has_joined"]
    return row


def add_nodes(plan: Plan, count: int) -> Plan:
    """The plan with `count` nodes more. Names and ports go on in the order of the letters; a name
    whose directory is still there is passed over. StartupError if there is no room for them."""
    taken = {node.name for node in plan.nodes}
    letters = [chr(ord("a") + number) for number in range(NODES_MAX)]
    names = [
        name
        for name in letters
        if name not in taken and not os.path.exists(os.path.join(plan.data_dir, name))
    ]
    if not 1 <= count <= len(names):
        raise StartupError(
            f"{count} nodes cannot be added: {len(names)} names are left of {NODES_MAX}. The"
            f" directories of nodes that have left are in {plan.data_dir}; remove them to use their"
            " names again"
        )
    first = plan.nodes[0]
    base = first.listen_port - letters.index(first.name) if first.name in letters else 0
    is_laid_out = base > 0 and first.http_port - first.listen_port == _HTTP_OFFSET
    used = {port for node in plan.nodes for _, port in node.ports}
    added = []
    for name in names[:count]:
        node = _layout_one(name, base + letters.index(name))
        ports = [port for _, port in node.ports]
        if not is_laid_out or used & set(ports) or not all(map(is_free, ports)):
            listen, http, peer = _system_ports(3)
            node = LocalNode(name, listen, http, peer)
        node = replace(node, has_joined=True)
        used |= {port for _, port in node.ports}
        added.append(node)
    return replace(plan, nodes=(*plan.nodes, *added), founders=plan.initial_cluster)


def without_node(plan: Plan, name: str) -> Plan:
    """The plan without a node that has left."""
    nodes = tuple(node for node in plan.nodes if node.name != name)
    return replace(plan, nodes=nodes, founders=plan.initial_cluster)


def read_plan(data_dir: str) -> Plan | None:
    """What the directory remembers; None if nothing. StartupError."""
    path = os.path.join(data_dir, _PLAN_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document["format"] not in (_PLAN_FORMAT, _CHANGED_FORMAT):
            raise StartupError(f"{path} was written by another version of quorumcached")
        nodes = tuple(
            LocalNode(
                str(row["name"]),
                int(row["listen_port"]),
                int(row["http_port"]),
                int(row["peer_port"]),
                bool(row.get("has_joined", False)),
            )
            for row in document["nodes"]
        )
        founders = str(document.get("founders", ""))
        return Plan(data_dir, int(document["shards"]), nodes, founders)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StartupError(f"{path} is damaged ({error!r}); use another --data-dir") from None


def _check_same(
    plan: Plan, *, nodes: int | None, shards: int | None, base_port: int | None
) -> None:
    founders = parse_initial_cluster(plan.initial_cluster)
    # The command that created it brings it back, whoever has joined and left since.
    base = plan.nodes[0].listen_port
    ports = {base}
    if plan.founders:
        base = parse_address(next(iter(founders.values())))[1] - _PEER_OFFSET
        ports.add(base)
    for flag, asked, right, have in (
        ("--nodes", nodes, {len(founders), len(plan.nodes)}, len(founders)),
        ("--shards", shards, {plan.shards}, plan.shards),
        ("--base-port", base_port or None, ports, base),
    ):
        if asked is not None and asked not in right:
            raise ConfigError(
                flag,
                f"{asked}, but the cluster in {plan.data_dir} was created with {have}. Leave"
                f" {flag} out, or start a new cluster with another --data-dir",
            )


def _choose_ports(
    names: list[str], base_port: int | None
) -> tuple[tuple[LocalNode, ...], list[str]]:
    if base_port == 0:
        ports = iter(_system_ports(3 * len(names)))
        return tuple(LocalNode(name, next(ports), next(ports), next(ports)) for name in names), []
    if base_port is not None:
        if not 1 <= base_port <= 65_535 - _PEER_OFFSET - len(names):
            raise ConfigError("--base-port", f"{base_port} leaves no room below 65536")
        nodes = _layout(names, base_port)
        busy = _busy(nodes)
        if busy:
            raise StartupError(
                f"port {busy[0]} is in use by another process: stop it, or choose another"
                " --base-port"
            )
        return nodes, []
    for base in _bases():
        nodes = _layout(names, base)
        busy_here = _busy(nodes)
        if base == BASE_PORT:
            busy = busy_here
        if not busy_here:
            notes = []
            if base != BASE_PORT:
                notes.append(f"port {busy[0]} is in use: memcached ports start at {base} instead")
            return nodes, notes
    raise StartupError("no free range of ports found: name one with --base-port, or 0 for any")


def _bases() -> Iterator[int]:
    return iter(range(BASE_PORT, _BASE_END, _BASE_STEP))


def _layout(names: list[str], base: int) -> tuple[LocalNode, ...]:
    return tuple(_layout_one(name, base + number) for number, name in enumerate(names))


def _layout_one(name: str, port: int) -> LocalNode:
    return LocalNode(name, port, port + _HTTP_OFFSET, port + _PEER_OFFSET)


def _busy(nodes: Iterable[LocalNode]) -> list[int]:
    return [port for node in nodes for _, port in node.ports if not is_free(port)]


def is_free(port: int) -> bool:
    """Whether a listener could bind to the port now. Somebody else may still be faster."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _system_ports(count: int) -> list[int]:
    """Distinct free ports from the system; all probes stay bound until all are known."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
