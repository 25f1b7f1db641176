"""How fast a node of a filled cluster is back: from its start until it serves, by the items it
loads; and the longest stall of its loop, as a client sees it that asks every two milliseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

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
_TIMES: Final = ("empty s", "start s", "items/s", "quiet ms", "snapshots ms", "started ms")
_COLUMNS: Final = ("items", "", *_TIMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Of one node. `empty_seconds`: its start without items. The stalls, in milliseconds: of a
    quiet node, of one that takes snapshots, of one that was just started.
    """

    items: int
    empty_seconds: float
    seconds: float
    quiet_ms: float
    snapshots_ms: float
    started_ms: float

    @property
    def per_second(self) -> float:
        """Items that it loads in a second, its start without items taken off."""
        return self.items / max(self.seconds - self.empty_seconds, 1e-3)


class Pings:
    """`with Pings(address) as pings:` asks for the version again and again, on a thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
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
                    began = time.perf_counter()
                    client.version()
                    self.longest_ms = max(self.longest_ms, 1e3 * (time.perf_counter() - began))
                    self.count += 1
        except TargetError as error:
            self._error = error


def listen(address: Address, seconds: float = LISTEN_SECONDS) -> float:
    """The longest wait for an answer within `seconds`, in milliseconds."""
    with Pings(address) as pings:
        time.sleep(seconds)
    return pings.longest_ms


def start_again(node: LocalNode, cpus: tuple[int, ...]) -> float:
    """Stop it in order and start it; the seconds from its start until it says that it serves."""
    node.stop()
    before = node.log_bytes()
    began = time.perf_counter()
    node.start(cpus)

    def serves() -> bool:
        node.check_alive()
        return READY in node.log_bytes()[len(before) :]

    wait_for(f"the start of node {node.name}", serves, every_seconds=_POLL_SECONDS)
    return time.perf_counter() - began


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
    quiet_ms = listen(node.address)
    say(f"{items:,} items are stored")
    routes = find_routes(cluster.addresses, "auto")
    owners = directory / "owners"
    owners.write_text(owners_text(routes, items))
    lap = generator.run(
        [port for _, port in routes.addresses],
        Load(connections=_CONNECTIONS, gets=0, keys=items),
        seconds=0,
        fill=True,
        owners=owners,
    )
    if lap.faults or lap.filled < items:
        raise TargetError(f"{lap.filled:,} of {items:,} items were stored: {lap.told()}")
    say("snapshots are awaited")
    with Pings(node.address) as pings:
        rss_at_rest(cluster.pids)
    say(f"node {node.name} is stopped, and started again")
    seconds = start_again(node, cpus)
    return Restart(
        items=items,
        empty_seconds=empty_seconds,
        seconds=seconds,
        quiet_ms=quiet_ms,
        snapshots_ms=pings.longest_ms,
        started_ms=listen(node.address),
    )


def goals(found: Restart) -> list[Goal]:
    """What it is held to."""
    stalls = max(found.snapshots_ms, found.started_ms)
    return [
        Goal("items loaded at a start", found.per_second, PER_SECOND_LEAST, "/s", is_least=True),
        Goal("longest stall by snapshots and a start", stalls, STALL_MS_MOST, "ms"),
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
                f"{found.quiet_ms:.1f}",
                f"{found.snapshots_ms:.1f}",
                f"{found.started_ms:.1f}",
            ),
        ),
        notes=(
            "start s: from the start of the process until it serves; empty s: without items, and"
            " taken off for items/s.",
            "ms: the longest wait of a client that asks for the version every"
            f" {1000 * PING_SECONDS:g} ms: of a quiet node, while snapshots are taken, and in"
            f" {LISTEN_SECONDS:g} s after the start. What is waited for a processor is part of it.",
            *goal_notes(goals(found)),
        ),
        data={"restart": {"items": found.items, "per_second": found.per_second}},
    )
