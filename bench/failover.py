"""Measures how long a client waits when a node dies, and when it comes back.

A synchronous client, as pymemcache is, is connected to a node that survives and writes and reads
without end. Then the node that leads most shards is killed with SIGKILL. Two such clients run side
by side:

    leader pause     longest time without a finished request, on keys of shards that the killed node
                     led: their groups have to elect
    follower pause   the same on keys of the other shards, where the killed node was a follower

Afterwards the node is started again, until it leads its shards again (so it has caught up): the
longest wait of either client meanwhile is the return pause. The clients also check what they read:
a key has one writer, so it must hold the last acknowledged value, or one whose outcome is unknown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from statistics import median

from quorumcache.bench.cluster import LocalCluster, LocalNode, wait_for
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.expected import Expected
from quorumcache.bench.report import Table, spread_text
from quorumcache.bench.text_client import TextClient, Topology
from quorumcache.ring import shard_of

CLIENT_TIMEOUT_SECONDS = 15.0
STEADY_SECONDS = 0.5
SETTLE_SECONDS = 1.0
RECOVER_SECONDS = 30.0
RETURN_SECONDS = 60.0
_RETRY_SECONDS = 0.005
_STOP_SECONDS = 1.0


@dataclass(slots=True)
class Phase:
    """What a client met between two marks. `pause_ms`: longest time between finished requests.

    `answered`: keys with an acknowledged write in this phase.
    """

    pause_ms: float = 0.0
    operations: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    answered: set[bytes] = field(default_factory=set)
    wrong_reads: int = 0

    @property
    def error_count(self) -> int:
        """Requests that were answered with an error or not at all."""
        return sum(self.errors.values())


class SteadyClient:
    """A thread that writes and reads `keys` in turn, one request at a time, through one node.

    Phases are switched by `next_phase`, which returns the ended one. A pause that lasts when the
    phase is switched counts with its part in each.
    """

    def __init__(
        self,
        address: tuple[str, int],
        keys: Sequence[bytes],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock_ns = clock_ns
        self._address = address
        self._keys = list(keys)
        self._lock = threading.Lock()
        self._phase = Phase()
        self._last_ns = self._clock_ns()
        self._stop = threading.Event()
        self._expected = Expected()
        self._client: TextClient | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def keys(self) -> frozenset[bytes]:
        """What it works on."""
        return frozenset(self._keys)

    def start(self) -> None:
        """Begin."""
        self._last_ns = self._clock_ns()
        self._thread.start()

    def stop(self) -> None:
        """End after the request in flight, or without its reply when that takes long."""
        self._stop.set()
        if self._thread.ident is None:
            return
        self._thread.join(_STOP_SECONDS)
        client = self._client
        if client is not None:
            client.interrupt()
        self._thread.join()

    def answered(self) -> frozenset[bytes]:
        """Keys written with success in this phase so far."""
        with self._lock:
            return frozenset(self._phase.answered)

    def next_phase(self) -> Phase:
        """The phase that ends here; a new one begins."""
        with self._lock:
            now = self._clock_ns()
            ended, self._phase = self._phase, Phase()
            ended.pause_ms = max(ended.pause_ms, (now - self._last_ns) / 1e6)
            self._last_ns = now
        return ended

    def _run(self) -> None:
        for number in count():
            if self._stop.is_set():
                break
            try:
                if self._client is None:
                    self._client = TextClient(self._address, CLIENT_TIMEOUT_SECONDS)
                key = self._keys[number // 2 % len(self._keys)]
                if number % 2 == 0:
                    self._write(self._client, key, b"%d" % number)
                else:
                    self._read(self._client, key)
            except TargetError as error:
                self._failed(str(error))
                self._disconnect()
                self._stop.wait(_RETRY_SECONDS)
        self._disconnect()

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _write(self, client: TextClient, key: bytes, value: bytes) -> None:
        self._expected.sending(key, value)
        line = client.set(key, value)  # When this raises, the outcome stays unknown.
        if line == b"STORED":
            self._expected.stored(key, value)
            self._finished(key)
        else:
            if b"not done" in line:
                self._expected.not_done(key, value)
            self._failed(line.decode("utf-8", "replace"))

    def _read(self, client: TextClient, key: bytes) -> None:
        value, error = client.get(key)
        if error:
            self._failed(error.decode("utf-8", "replace"))
            return
        if not self._expected.may_read(key, value):
            with self._lock:
                self._phase.wrong_reads += 1
        self._finished(None)

    def _finished(self, key: bytes | None) -> None:
        with self._lock:
            now = self._clock_ns()
            phase = self._phase
            phase.pause_ms = max(phase.pause_ms, (now - self._last_ns) / 1e6)
            phase.operations += 1
            if key is not None:
                phase.answered.add(key)
            self._last_ns = now

    def _failed(self, text: str) -> None:
        with self._lock:
            self._phase.errors[text[:120]] = self._phase.errors.get(text[:120], 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill. Pauses in milliseconds, `back_seconds` from the restart to leading again."""

    node: str
    led_shards: int
    leader_pause_ms: float
    follower_pause_ms: float
    return_pause_ms: float
    back_seconds: float
    errors: int
    error_kinds: dict[str, int]
    wrong_reads: int


def keys_for(topology: Topology, shards: Sequence[int], prefix: str, per_shard: int) -> list[bytes]:
    """`per_shard` keys in each of `shards`, by trying names in order; one round over all shards
    after the other.
    """
    found: dict[int, list[bytes]] = {shard: [] for shard in shards}
    left = per_shard * len(found)
    for number in count():
        if not left:
            break
        key = f"{prefix}:{number}".encode()
        shard = shard_of(key, topology.map.shard_count)
        if shard in found and len(found[shard]) < per_shard:
            found[shard].append(key)
            left -= 1
    return [found[shard][turn] for turn in range(per_shard) for shard in sorted(found)]


def choose_victim(topology: Topology, turn: int) -> int:
    """Node id that leads most shards; among equals they take turns."""
    leads = {node.node_id: len(topology.led_by(node.node_id)) for node in topology.map.nodes}
    most = max(leads.values())
    equals = [node_id for node_id, number in leads.items() if number == most]
    return equals[turn % len(equals)]


def run_failover(
    cluster: LocalCluster, kills: int, say: Callable[[str], None] = lambda text: None
) -> list[Kill]:
    """Kill and restart `kills` times. Every wait is bounded; StartError when the cluster stays
    down.
    """
    if len(cluster.nodes) < 3:
        raise StartError(f"failover needs at least 3 nodes, not {len(cluster.nodes)}")
    found = []
    for turn in range(kills):
        kill = _one_kill(cluster, turn)
        found.append(kill)
        wrong = f"  {kill.wrong_reads} WRONG READS" if kill.wrong_reads else ""
        say(
            f"kill {turn + 1}/{kills}: node {kill.node} (led {kill.led_shards} shards)"
            f"  pause {kill.leader_pause_ms:.0f} ms  as follower {kill.follower_pause_ms:.0f} ms"
            f"  errors {kill.errors}  leads again after {kill.back_seconds:.1f} s,"
            f" pause {kill.return_pause_ms:.0f} ms{wrong}"
        )
    return found


def _one_kill(cluster: LocalCluster, turn: int) -> Kill:
    topology = _topology(cluster)
    victim_id = choose_victim(topology, turn)
    victim = _local_node(cluster, topology, victim_id)
    led = topology.led_by(victim_id)
    others = [shard for shard in range(topology.map.shard_count) if shard not in led]
    survivors = [node for node in cluster.nodes if node is not victim]
    survivor = survivors[turn % len(survivors)]
    clients = [SteadyClient(survivor.address, keys_for(topology, led, f"led{turn}", 1))]
    if others:
        clients.append(SteadyClient(survivor.address, keys_for(topology, others, f"foll{turn}", 1)))
    try:
        for client in clients:
            client.start()
        # Every key once before the kill, so that a lost write of any of them would be seen.
        wait_for("the first writes", lambda: _all_answered(clients), RECOVER_SECONDS)
        time.sleep(STEADY_SECONDS)
        for client in clients:
            client.next_phase()
        victim.kill()
        wait_for("writes to all shards after a kill", lambda: _all_answered(clients))
        time.sleep(SETTLE_SECONDS)
        during = [client.next_phase() for client in clients]
        victim.start(cluster.options.cpus)
        back_seconds = wait_for(
            f"node {victim.name} leading again",
            lambda: _leads_again(cluster, victim, victim_id),
            RETURN_SECONDS,
        )
        time.sleep(SETTLE_SECONDS)
        after = [client.next_phase() for client in clients]
    finally:
        for client in clients:
            client.stop()
    kinds: dict[str, int] = {}
    for phase in (*during, *after):
        for text, times in phase.errors.items():
            kinds[text] = kinds.get(text, 0) + times
    return Kill(
        node=victim.name,
        led_shards=len(led),
        leader_pause_ms=during[0].pause_ms,
        follower_pause_ms=during[1].pause_ms if others else 0.0,
        return_pause_ms=max(phase.pause_ms for phase in after),
        back_seconds=back_seconds,
        errors=sum(kinds.values()),
        error_kinds=kinds,
        wrong_reads=sum(phase.wrong_reads for phase in (*during, *after)),
    )


def _all_answered(clients: Sequence[SteadyClient]) -> bool:
    return all(client.answered() >= client.keys for client in clients)


def _topology(cluster: LocalCluster) -> Topology:
    cluster.wait_until_led()
    topology = cluster.topology()
    if topology is None:
        raise StartError("no node answers `cluster map`")
    return topology


def _local_node(cluster: LocalCluster, topology: Topology, node_id: int) -> LocalNode:
    name = topology.map.node(node_id).name
    for node in cluster.nodes:
        if node.name == name:
            return node
    raise StartError(f"the cluster map has a node {name} that was not started here")


def _leads_again(cluster: LocalCluster, victim: LocalNode, victim_id: int) -> bool:
    """As the node itself says: it answers, knows all leaders, and leads what the map prefers."""
    victim.check_alive()
    with TextClient(victim.address, 2.0) as client:
        topology = client.topology()
    if topology is None or not topology.is_led(victim.name):
        return False
    wanted = [s for s in range(topology.map.shard_count) if _prefers(topology, s) == victim_id]
    return len(topology.led_by(victim_id)) >= max(1, len(wanted))


def _prefers(topology: Topology, shard: int) -> int:
    return topology.map.replica_sets[shard][0]


def failover_table(kills: Sequence[Kill]) -> Table:
    """One row per kill, and the spread."""
    columns = (
        "kill",
        "node",
        "shards led",
        "leader pause ms",
        "follower pause ms",
        "return pause ms",
        "leads again s",
        "errors",
    )
    rows = tuple(
        (
            str(number),
            kill.node,
            str(kill.led_shards),
            f"{kill.leader_pause_ms:.0f}",
            f"{kill.follower_pause_ms:.0f}",
            f"{kill.return_pause_ms:.0f}",
            f"{kill.back_seconds:.1f}",
            str(kill.errors),
        )
        for number, kill in enumerate(kills, 1)
    )
    kinds: dict[str, int] = {}
    for kill in kills:
        for text, times in kill.error_kinds.items():
            kinds[text] = kinds.get(text, 0) + times
    data = {
        name: {"min": min(values), "median": median(values), "max": max(values), "all": values}
        for name, values in _spreads(kills).items()
    }
    wrong = sum(kill.wrong_reads for kill in kills)
    notes = [
        f"{name.replace('_', ' ').removesuffix(' ms')}, min / median / max:"
        f" {spread_text(values, 'ms')}"
        for name, values in _spreads(kills).items()
    ]
    notes.append(f"errors: {sum(kinds.values())}; reads that missed an acknowledged write: {wrong}")
    notes += [f"error, {times} times: {text}" for text, times in sorted(kinds.items())]
    return Table(
        title=f"Failover, {len(kills)} kills",
        columns=columns,
        rows=rows,
        notes=tuple(notes),
        data={**data, "errors": kinds, "wrong_reads": wrong},
    )


def _spreads(kills: Sequence[Kill]) -> dict[str, list[float]]:
    return {
        "leader_pause_ms": [kill.leader_pause_ms for kill in kills],
        "follower_pause_ms": [kill.follower_pause_ms for kill in kills],
        "return_pause_ms": [kill.return_pause_ms for kill in kills],
    }
