"""How fast a node of a filled cluster is back: from its start until it serves, by the items it
loads; after it was killed, by its log; and the longest stall of its loop, as a client sees it that
asks every two milliseconds. What the node's loop, or the client, waited for a processor meanwhile
is no stall of ours, and taken off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from quorumcache.bench import procfs
from quorumcache.bench.addresses import Address
from quorumcache.bench.cluster import START_SECONDS, LocalCluster, LocalNode, wait_for
from quorumcache.bench.errors import TargetError
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.measure import find_routes
from quorumcache.bench.memory import rss_at_rest
from quorumcache.bench.race import owners_text
from quorumcache.bench.race_load import Generator, Load
from quorumcache.bench.report import Table
from quorumcache.bench.text_client import TextClient

PER_SECOND_LEAST: Final = 500_000
STALL_MS_MOST: Final = 5.0
PING_SECONDS: Final = 0.002
LISTEN_SECONDS: Final = 5.0
"""How long a node is asked before it is stopped, and after it serves again."""
READY: Final = b" ready: memcached "
_POLL_SECONDS: Final = 0.005
_CONNECTIONS: Final = 48
_TIMES: Final = ("empty s", "start s", "items/s")
_BY_LOG: Final = ("by log s", "by log ms", "others ms")
_STALLS: Final = ("quiet ms", "snapshots ms", "started ms", "sent ms", "received ms")
_COLUMNS: Final = ("items", "", *_TIMES, *_BY_LOG, *_STALLS)


class ByLog(NamedTuple):
    """How a node comes back that was killed before its log was in snapshots. `seconds`: from its
    start until it serves all its shards. The longest stalls: its own, and of the others."""

    seconds: float
    own_ms: float
    others_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Of one node. `empty_seconds`: its start without items. The stalls, in milliseconds: of a
    quiet node, of one that takes snapshots, of one that was just started; of one that sends
    snapshots of all its shards to another one, and of that.
    """

    items: int
    empty_seconds: float
    seconds: float
    by_log: ByLog
    quiet_ms: float
    snapshots_ms: float
    started_ms: float
    sent_ms: float
    received_ms: float

    @property
    def per_second(self) -> float:
        """Items that it loads in a second, its start without items taken off."""
        return self.items / max(self.seconds - self.empty_seconds, 1e-3)


class Pings:
    """`with Pings(node) as pings:` asks for the version again and again, on a thread."""

    def __init__(self, node: LocalNode) -> None:
        self._address: Address = node.address
        self._pid = node.pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.longest_ms = 0.0
        self.count = 0
        self._error: TargetError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _ask(self) -> None:
        try:
            with TextClient(self._address, START_SECONDS) as client:
                while not self._ended.wait(PING_SECONDS):
                    queued = self._queued_ms()
                    began = time.perf_counter()
                    client.version()
                    waited = 1e3 * (time.perf_counter() - began)
                    stalled = waited - (self._queued_ms() - queued)
                    self.longest_ms = max(self.longest_ms, stalled)
                    self.count += 1
        except TargetError as error:
            self._error = error

    def _queued_ms(self) -> float:
        return procfs.queued_ms(self._pid) + procfs.queued_ms("thread-self")


def listen(node: LocalNode, seconds: float = LISTEN_SECONDS) -> float:
    """The longest wait for an answer within `seconds`, in milliseconds."""
    with Pings(node) as pings:
        time.sleep(seconds)
    return pings.longest_ms


def start_again(node: LocalNode, cpus: tuple[int, ...]) -> float:
    """Stop it in order and start it; the seconds from its start until it says that it serves, what
    it waited for a processor taken off.
    """
    node.stop()
    return start(node, cpus)


def start(node: LocalNode, cpus: tuple[int, ...]) -> float:
    """The same of one that does not run."""
    before = node.log_bytes()
    began = time.perf_counter()
    node.start(cpus)

    def serves() -> bool:
        node.check_alive()
        return READY in node.log_bytes()[len(before) :]

    wait_for(f"the start of node {node.name}", serves, every_seconds=_POLL_SECONDS)
    return time.perf_counter() - began - procfs.queued_ms(node.pid) / 1e3


def come_back(cluster: LocalCluster, cpus: tuple[int, ...]) -> ByLog:
    """Kill the last node and start it."""
    *others, node = cluster.nodes

    def serves() -> bool:
        node.check_alive()
        with TextClient(node.address, START_SECONDS) as client:
            topology = client.topology()
        return topology is not None and topology.is_led(node.name)

    with ExitStack() as stack:
        asked = [stack.enter_context(Pings(other)) for other in others]
        node.kill()
        seconds = start(node, cpus)
        with Pings(node) as own:
            before_ms = procfs.queued_ms(node.pid)
            seconds += wait_for(f"the shards of node {node.name}", serves)
            seconds -= (procfs.queued_ms(node.pid) - before_ms) / 1e3
            time.sleep(LISTEN_SECONDS)
    return ByLog(seconds, own.longest_ms, max(pings.longest_ms for pings in asked))


def measure_restart(
    cluster: LocalCluster,
    generator: Generator,
    items: int,
    directory: Path,
    say: Callable[[str], None],
) -> Restart:
    """Of the last node of the started `cluster`, which is filled with `items` items."""
    node = cluster.nodes[-1]
    cpus = cluster.options.cpus_of(len(cluster.nodes) - 1)
    empty_seconds = start_again(node, cpus)
    cluster.wait_until_led()
    quiet_ms = listen(node)
    say(f"{items:,} items are stored")
    _fill(cluster, generator, items, directory)
    say("snapshots are awaited")
    with Pings(node) as pings:
        rss_at_rest(cluster.pids)
    say(f"node {node.name} is stopped, and started again")
    seconds = start_again(node, cpus)
    started_ms = listen(node)
    say(f"{items:,} items are stored while node {node.name} is stopped")
    node.stop()
    _fill(cluster, generator, items, directory)
    rss_at_rest(cluster.pids)
    say(f"node {node.name} is started, and sent snapshots")
    with Pings(cluster.nodes[0]) as sender:
        start_again(node, cpus)
        with Pings(node) as receiver:
            rss_at_rest(cluster.pids)
    say(f"{items:,} items are stored, and node {node.name} is killed, and started with its log")
    _fill(cluster, generator, items, directory)
    by_log = come_back(cluster, cpus)
    return Restart(
        items=items,
        empty_seconds=empty_seconds,
        seconds=seconds,
        by_log=by_log,
        quiet_ms=quiet_ms,
        snapshots_ms=pings.longest_ms,
        started_ms=started_ms,
        sent_ms=sender.longest_ms,
        received_ms=receiver.longest_ms,
    )


def _fill(cluster: LocalCluster, generator: Generator, items: int, directory: Path) -> None:
    """Through the leaders; the nodes that run are the first of all."""
    routes = find_routes(cluster.addresses, "auto")
    owners = directory / "owners"
    owners.write_text(owners_text(routes, items))
    lap = generator.run(
        [port for _, port in routes.addresses[: len(cluster.pids)]],
        Load(connections=_CONNECTIONS, gets=0, keys=items),
        seconds=0,
        fill=True,
        owners=owners,
    )
    if lap.faults or lap.filled < items:
        raise TargetError(f"{lap.filled:,} of {items:,} items were stored: {lap.told()}")


def goals(found: Restart) -> list[Goal]:
    """What it is held to."""
    stalls = max(found.snapshots_ms, found.started_ms, found.sent_ms, found.received_ms)
    by_log = max(found.by_log.own_ms, found.by_log.others_ms)
    return [
        Goal("items loaded at a start", found.per_second, PER_SECOND_LEAST, "/s", is_least=True),
        Goal("longest stall by snapshots and a start", stalls, STALL_MS_MOST, "ms"),
        Goal("longest stall by a node that comes back by its log", by_log, STALL_MS_MOST, "ms"),
    ]


def restart_table(found: Restart) -> Table:
    """One row."""
    return Table(
        title=f"Restart of a node with {found.items:,} items",
        columns=_COLUMNS,
        rows=(
            (
                f"{found.items:,}",
                "",
                f"{found.empty_seconds:.2f}",
                f"{found.seconds:.2f}",
                f"{found.per_second:,.0f}",
                f"{found.by_log.seconds:.2f}",
                f"{found.by_log.own_ms:.1f}",
                f"{found.by_log.others_ms:.1f}",
                f"{found.quiet_ms:.1f}",
                f"{found.snapshots_ms:.1f}",
                f"{found.started_ms:.1f}",
                f"{found.sent_ms:.1f}",
                f"{found.received_ms:.1f}",
            ),
        ),
        notes=(
            "start s: from the start of the process until it serves, but for what it waited for a"
            " processor; empty s: without items, and taken off for items/s. by log s: the same of a"
            " node that was killed right after the items were stored, until it knows the leaders of"
            " all its shards.",
            "ms: the longest wait of a client that asks for the version every"
            f" {1000 * PING_SECONDS:g} ms: of the node that was killed and is back, of the others"
            " from its end on, of a quiet node, while snapshots are taken, in"
            f" {LISTEN_SECONDS:g} s after the start, of a node that sends snapshots to one that was"
            " away, and of that. What they waited for a processor is taken off.",
            *goal_notes(goals(found)),
        ),
        data={
            "restart": {
                "items": found.items,
                "per_second": found.per_second,
                "by_log": found.by_log._asdict(),
            }
        },
    )
