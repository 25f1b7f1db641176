"""Measures moves: one large shard beside a load without pauses, and the join of a node.

One shard: three nodes hold a single shard. For each move a node joins, and then one that does not
lead the shard is drained, so that the shard moves to the new one. Clients that ask the leader as
fast as they can, half of it writes, go on meanwhile: their throughput before, during and after is
compared. A move lasts from the request for it until the map gives the shard to the new node and not
to the drained one any more.

Join: three nodes hold many items in many shards, and serve a steady load of plain clients and of
our routing ones. A fourth joins; the join lasts from its start until no move is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from quorumcache.bench import stages
from quorumcache.bench.changes import (
    ANSWER_SECONDS,
    ITEM_BYTES,
    MOVE_SECONDS,
    change,
    fill,
    take_out,
    wait_until_joined,
)
from quorumcache.bench.cluster import LocalCluster, LocalNode, wait_for
from quorumcache.bench.driver import LoadPlan, Measured, run_load
from quorumcache.bench.errors import StartError
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.measure import Progress, find_routes
from quorumcache.bench.mixed_load import MixedLoad
from quorumcache.bench.report import OTHER_CPU_LIMIT, Table, percent_text
from quorumcache.bench.stages import MOVE, Player, Staged
from quorumcache.bench.text_client import TextClient, Topology
from quorumcache.bench.timeline import rate_between
from quorumcache.bench.workload import Workload

SHARD_SECONDS_MAX = 5.0
"""Goal: the move of a shard of 100,000 items of 100 bytes."""
THROUGHPUT_RATIO_MIN = 2 / 3
"""Goal: the load beside it is not slowed by more than a third."""
JOIN_SECONDS_MAX = 60.0
"""Goal: the join of a fourth node to three with 1,000,000 items of 100 bytes."""
CONNECTIONS = 50
OUR_CLIENTS = 4
PLAIN_PER_NODE = 2
SHARD_GROUP = 1
"""Group of the first shard; group 0 is the directory."""
STEP_SECONDS = 0.1
WINDOW_SECONDS = 15.0
"""How long the load goes on after a move was asked for: three times the goal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMove:
    """One move. `before`, `during`, `after`: requests per second of the load."""

    leaves: str
    joins: str
    seconds: float
    before: float
    during: float
    after: float
    load: Measured

    @property
    def ratio(self) -> float:
        """Throughput during the move, by that before it."""
        return self.during / self.before if self.before else 0.0

    @property
    def failures(self) -> int:
        """Errors, misses of keys that had been written, and requests without an answer."""
        return self.load.errors + self.load.misses + self.load.unanswered


class Mover:
    """Asks for the drain of a node in the middle of the load, in a thread of its own."""

    def __init__(
        self, cluster: LocalCluster, asked: LocalNode, leaves: str, quiet_seconds: float
    ) -> None:
        """`asked`: the node that gets the request and tells of the map; neither the one that
        leaves, nor the busy leader.
        """
        self._cluster, self._asked, self._leaves = cluster, asked, leaves
        self._quiet_seconds = quiet_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.began_ns = self.ended_ns = 0

    def start(self, load_began_ns: int) -> None:
        """Move once the load has run for the quiet time."""
        due_ns = load_began_ns + round(self._quiet_seconds * 1e9)
        self._thread = threading.Thread(target=self._run, args=(due_ns,), name="mover", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the shard has moved. Raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Do not wait for the move any longer."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, due_ns: int) -> None:
        try:
            if self._stop.wait(max(0.0, (due_ns - time.monotonic_ns()) / 1e9)):
                return
            self.began_ns = time.monotonic_ns()
            change(self._asked, self._cluster.secret_path, "drain", self._leaves)
            wait_for("the move of the shard", self._has_moved, MOVE_SECONDS)
            self.ended_ns = time.monotonic_ns()
        except BaseException as error:
            self._failure = error

    def _has_moved(self) -> bool:
        if self._stop.is_set():
            raise StartError("the measurement was stopped")
        with TextClient(self._asked.address) as client:
            cluster_map = client.cluster_map()
        if cluster_map is None or cluster_map.move_of(SHARD_GROUP) is not None:
            return False
        leaves = cluster_map.node_named(self._leaves)
        return leaves is None or leaves.node_id not in cluster_map.replica_set(SHARD_GROUP)


def run_shard_moves(
    cluster: LocalCluster,
    *,
    items: int,
    moves: int,
    quiet_seconds: float,
    window_seconds: float,
    cpus: tuple[int, ...],
    progress: Progress,
    say: Callable[[str], None] = lambda text: None,
) -> list[ShardMove]:
    """`moves` moves of the only shard of a cluster of three. `window_seconds`: how long the load
    goes on after each was asked for. `cpus`: of the load.
    """
    workload = Workload(
        name="one shard",
        get=0.5,
        set=0.5,
        keys=items,
        value_bytes_min=ITEM_BYTES,
        value_bytes_max=ITEM_BYTES,
        connections=CONNECTIONS,
    ).validate()
    found = []
    for turn in range(moves):
        joins = f"new{turn + 1}"
        cluster.add_node(joins)
        wait_until_joined(cluster, [joins])
        routes = find_routes(cluster.addresses, "routed")
        leader, leaves, asked = choose_nodes(cluster.topology())
        plan = LoadPlan(
            workload=workload.with_changes(fill=turn == 0),
            routes=routes,
            seconds=quiet_seconds + window_seconds,
            step_seconds=STEP_SECONDS,
            cpus=cpus,
        )
        progress.begin(f"move {turn + 1} of {moves}")
        mover = Mover(cluster, cluster.node(asked), leaves, quiet_seconds)
        try:
            load = run_load(plan, cluster.pids, progress, when_begun=mover.start)
            mover.wait()
        finally:
            mover.stop()
            progress.end()
        found.append(shard_move(load, mover.began_ns, mover.ended_ns, leaves=leaves, joins=joins))
        say(
            f"move {turn + 1} of {moves}: {leaves} to {joins}, led by {leader}:"
            f" {found[-1].seconds:.1f} s, throughput {found[-1].ratio:.0%} of before"
        )
        take_out(cluster, leaves)
    return found


def choose_nodes(topology: Topology | None) -> tuple[str, str, str]:
    """Names of the leader of shard 0, of the replica to be moved, and of the node that is asked to
    move it: another than both.
    """
    if topology is None:
        raise StartError("no node answers `cluster map`")
    cluster_map, leader = topology.map, topology.leaders[0]
    leaves = [node_id for node_id in cluster_map.replica_sets[0] if node_id != leader][-1]
    others = [node for node in cluster_map.nodes if node.node_id not in (leader, leaves)]
    return cluster_map.node(leader).name, cluster_map.node(leaves).name, others[0].name


def shard_move(
    load: Measured, began_ns: int, ended_ns: int, *, leaves: str, joins: str
) -> ShardMove:
    """What the load's timeline says of a move between these moments."""

    def rate(from_ns: int, to_ns: int) -> float:
        return rate_between(load.timeline, load.began_ns, STEP_SECONDS, from_ns, to_ns)

    load_ended_ns = load.began_ns + round(load.seconds * 1e9)
    return ShardMove(
        leaves=leaves,
        joins=joins,
        seconds=(ended_ns - began_ns) / 1e9,
        before=rate(load.began_ns, began_ns),
        during=rate(began_ns, ended_ns),
        after=rate(ended_ns, load_ended_ns),
        load=load,
    )


def shard_goals(moves: Sequence[ShardMove]) -> list[Goal]:
    """Every move counts, not their median."""
    found = []
    for number, move in enumerate(moves, 1):
        found.append(Goal(f"move {number}: took", move.seconds, SHARD_SECONDS_MAX, "s"))
        found.append(
            Goal(
                f"move {number}: throughput by that before it,",
                move.ratio,
                THROUGHPUT_RATIO_MIN,
                is_least=True,
            )
        )
    return [*found, Goal("errors and misses:", sum(move.failures for move in moves), 0)]


def shard_table(moves: Sequence[ShardMove], items: int) -> Table:
    """One row per move."""
    columns = (
        *("move", "replica", "seconds", "ops/s before", "during", "ratio", "after"),
        *("errors", "misses", "server CPU", "load CPU", "others' CPU"),
    )
    rows = tuple(
        (
            *(str(number), f"{move.leaves} to {move.joins}", f"{move.seconds:.2f}"),
            *(f"{move.before:,.0f}", f"{move.during:,.0f}", f"{move.ratio:.2f}"),
            *(f"{move.after:,.0f}", str(move.load.errors), str(move.load.misses)),
            *(percent_text(move.load.server_cpu), percent_text(move.load.load_cpu)),
            percent_text(move.load.other_cpu),
        )
        for number, move in enumerate(moves, 1)
    )
    notes = [
        f"a shard of {items} items of {ITEM_BYTES} bytes; {CONNECTIONS} connections to its leader, "
        "each with one request in flight, half of them writes"
    ]
    if any(move.load.other_cpu >= OTHER_CPU_LIMIT for move in moves):
        notes.append(
            f"WARNING: other processes used {OTHER_CPU_LIMIT:.0f} % of a processor or more "
            "meanwhile"
        )
    kinds: dict[str, int] = {}
    for move in moves:
        for text, times in move.load.error_kinds.items():
            kinds[text] = kinds.get(text, 0) + times
    notes += [f"error, {times} times: {text}" for text, times in sorted(kinds.items())]
    goals = shard_goals(moves)
    return Table(
        title="Move of one shard beside a load that takes all it can get",
        columns=columns,
        rows=rows,
        notes=(*notes, *goal_notes(goals)),
        data={
            "items": items,
            "moves": [_move_data(move) for move in moves],
            "errors": kinds,
            "goals": [goal._asdict() for goal in goals],
        },
    )


def _move_data(move: ShardMove) -> dict[str, Any]:
    names = ("leaves", "joins", "seconds", "before", "during", "after", "ratio", "failures")
    return {
        **{name: getattr(move, name) for name in names},
        "step_seconds": STEP_SECONDS,
        "timeline": move.load.timeline,
    }


# --- the join of a node


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """`items`: stored before. `held_items`, `held_bytes`: what the new node holds after it, as its
    `stats` say; bytes are those of memory that count against `memory`.
    """

    run: Staged
    items: int
    held_items: int
    held_bytes: int

    @property
    def seconds(self) -> float:
        """From the start of the node until no move is left."""
        return next(stage.span.seconds for stage in self.run.stages if stage.kind == MOVE)


def run_join(
    cluster: LocalCluster,
    *,
    items: int,
    rate: float,
    quiet_seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> Join:
    """A fourth node joins. `rate`: requests per second of each client."""
    say(f"storing {items} items of {ITEM_BYTES} bytes")
    fill(cluster.nodes[0].address, items)
    load = MixedLoad(rate)
    player = Player(load, lambda: cluster.pids, say)

    def join() -> None:
        player.run.mark("start d")
        cluster.add_node("d")
        wait_until_joined(cluster, ["d"])

    load.start()
    try:
        for node in cluster.nodes:
            for _ in range(PLAIN_PER_NODE):
                load.add_plain(node.address)
        for _ in range(OUR_CLIENTS):
            load.add_ours(cluster.addresses)
        player.quiet("3 nodes", 3, quiet_seconds)
        player.play(MOVE, "3 to 4", 4, join)
        player.quiet("4 nodes", 4, quiet_seconds)
    finally:
        load.stop()
    held_items, held_bytes = held_by(cluster.node("d"))
    stages.check_all(player.run, cluster.nodes[0].address, items)
    return Join(run=player.run, items=items, held_items=held_items, held_bytes=held_bytes)


def held_by(node: LocalNode) -> tuple[int, int]:
    """Items that a node holds, and their bytes of memory."""
    with TextClient(node.address, ANSWER_SECONDS) as client:
        words = [line.split() for line in client.lines(b"stats")]
    found = {name: value for _, name, value in (one[:3] for one in words if len(one) > 2)}
    return int(found[b"curr_items"]), int(found[b"bytes"])


def join_goals(join: Join) -> list[Goal]:
    """Time, and what clients noticed."""
    return [Goal("the join took", join.seconds, JOIN_SECONDS_MAX, "s"), *stages.goals(join.run)]


def join_table(join: Join) -> Table:
    """One row per stage."""
    rows, data = stages.rows(join.run)
    goals = join_goals(join)
    megabytes = join.held_bytes / 1e6
    return Table(
        title="Join of a fourth node beside a steady load",
        columns=stages.COLUMNS,
        rows=tuple(rows),
        notes=(
            f"{join.items} items of {ITEM_BYTES} bytes; the new node holds {join.held_items} items "
            f"({megabytes:.1f} MB of memory) after {join.seconds:.1f} s: "
            f"{join.held_items / join.seconds:,.0f} items and {megabytes / join.seconds:.1f} MB a "
            "second",
            *stages.notes(join.run),
            *goal_notes(goals),
        ),
        data={
            "items": join.items,
            "seconds": join.seconds,
            "stages": data,
            "held_items": join.held_items,
            "held_bytes": join.held_bytes,
            "lost_writes": join.run.lost_writes,
            "lost_items": join.run.lost_items,
            "errors": stages.error_kinds(join.run),
            "goals": [goal._asdict() for goal in goals],
        },
    )
