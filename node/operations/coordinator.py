"""Brings every operation of this node's clients to its shard's leader, and back.

Any node takes any key. `route` serves an operation here when this node leads the group, forwards it
to the leader's node otherwise (`leaders.py` knows the way), and holds it while none is known, until
its deadline. The same file answers what other nodes forward to us (`on_forward`).

What ends an attempt, and what follows:
 1. a result: the operation is finished;
 2. refused (not the leader, transfer under way, too busy): certainly not executed; held with the
    reason, tried again;
 3. lost (leadership or the connection went while it was in flight, or there was no answer for too
    long): a read is tried again; a write is repeated under the same session and sequence, so that
    it is executed once at most;
 4. the deadline: `not done`, or `outcome unknown` when an attempt of the write may have been
    executed, with the last reason.

Held operations are tried again when a leader appears, a peer comes back, or the next sweep is due.
Their number is bounded by what connections may have in flight (`clients/connection.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.deadlines import Deadlines
from quorumcache.node.operations.forwards import REPEAT_NS, TOO_MANY_BYTES, Forwards
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.operation import (
    ROUTINE_REASONS,
    Failure,
    Identity,
    Operation,
    Read,
    ReplyRoom,
    Write,
    WriteOutcome,
)
from quorumcache.node.operations.relays import Relayed, relay
from quorumcache.node.operations.serving import PeerSender, Serving, ServingHost
from quorumcache.node.operations.sessions import ClientSessionOpen, SessionOpen, Sessions
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_RESULT,
    FORWARD_WRITE,
    LEADERS_REPLY,
    LEADERS_REQUEST,
    check_forward,
)
from quorumcache.node.replica.group import ReplicaGroup

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.telemetry.timings import Histogram, Timings

LOOK_NS: Final = 100_000_000
"""Time between two looks for forwards that have to be repeated."""


class Coordinator:
    """Routing of operations, of this node's clients and of other nodes'."""

    def __init__(
        self,
        *,
        node_id: int,
        host: ServingHost,
        peers: PeerSender,
        clock: Clock,
        random: Random,
        counters: Counters,
        timings: Timings,
        memory_bytes: int,
        timeout_ms: int,
        preferred_leader: Callable[[int], int],
        replicas: Callable[[int], Sequence[int]] = lambda group_id: (),
    ) -> None:
        """`preferred_leader`: group id -> node to try first when this node has no replica of the
        group. `replicas`: group id -> nodes that hold a replica of it.
        """
        self.node_id = node_id
        self.host = host
        self.peers = peers
        self.clock = clock
        self.counters = counters
        self.timings = timings
        self.serving = Serving(
            node_id=node_id,
            host=host,
            peers=peers,
            clock=clock,
            counters=counters,
            memory_bytes=memory_bytes,
        )
        self.timeout_ms = timeout_ms
        self.replicas = replicas
        self.leaders = Leaders(node_id, host.groups, peers, preferred_leader, replicas)
        self._timeout_ns = timeout_ms * 1_000_000
        self._held: dict[int, list[Operation]] = {}
        self.forwards = Forwards(random.getrandbits(48), self._timeout_ns)
        self.deadlines = Deadlines(self.forwards.forget)
        self.sessions = Sessions(self, random)
        self.relays = 0
        """Operations of other nodes that this one has passed on, see `relays.py`."""
        self._next_look_ns = 0
        self._began_with_ns = 0
        """Deadline of what is being begun late; 0 when nothing is."""
        self._followers: deque[Write | Read] = deque()
        """Operations that were waiting for one that has ended, to be routed in this order."""
        self._routes_followers = False

    def use_node_id(self, node_id: int) -> None:
        """This node has become a member, under this id."""
        self.node_id = self.serving.node_id = self.leaders.node_id = node_id

    def use_peers(self, peers: PeerSender) -> None:
        """From now on this is the way to other nodes."""
        self.peers = self.serving.peers = self.leaders.peers = peers

    # -- operations of this node's clients ----------------------------------------------

    def write(
        self,
        group_id: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        done: Callable[[WriteOutcome], None],
        after: Write | None = None,
        identity: Identity | None = None,
    ) -> Write:
        """Run one command; `done` hears its outcome, possibly before this returns.

        `identity`: the client's own (session, sequence, floor), in place of one of this node.
        """
        write = Write(self, group_id, self.deadline_ns(), op, key, args, size, done, identity)
        write.after = after
        if self._began_with_ns:
            self._begin(write)
            return write
        self.route(write)
        if not write.finished:
            self.deadlines.queue.append(write)
        return write

    def read(
        self,
        group_id: int,
        keys: tuple[bytes, ...],
        done: Callable[[Any], None],
        after: Read | None = None,
        staleness_ns: int = 0,
        room: ReplyRoom | None = None,
    ) -> Read:
        """Read keys of one group; `done` hears packed items or a Failure, possibly before this
        returns.

        `after`: an earlier read of the group whose answer must not be newer than this one's.
        `staleness_ns`: how old the answer may be. `room`: who says whether there is any for it.
        """
        read = Read(self, group_id, self.deadline_ns(), keys, done, staleness_ns)
        read.room = room
        read.after = after
        group = self.host.groups.get(group_id)
        if (
            staleness_ns
            or group is None
            or group.is_leader
            or not group.leader_id
            or self._began_with_ns
        ):
            self._begin(read)
        else:  # The common case, without the detours of the general one.
            if not self._forward_read(read, group.leader_id):
                self.hold(read, "no leader")
            self.deadlines.queue.append(read)
        return read

    def deadline_ns(self) -> int:
        """Until when an operation that begins now is tried."""
        return self._began_with_ns or self.clock.monotonic_ns() + self._timeout_ns

    def begin_late(self, deadline_ns: int, start: Callable[[], None]) -> None:
        """Begin what has waited in its connection: its time runs since it came."""
        before_ns, self._began_with_ns = self._began_with_ns, deadline_ns
        try:
            start()
        finally:
            self._began_with_ns = before_ns

    def _begin(self, operation: Write | Read) -> None:
        if self._began_with_ns and self.clock.monotonic_ns() >= operation.deadline_ns:
            operation.expire()
            return
        self.route(operation)
        if not operation.finished:
            if self._began_with_ns:
                self.deadlines.add_late(operation)
            else:
                self.deadlines.queue.append(operation)

    def leader_node(self, group_id: int) -> int:
        """Node that leads the group as far as this node knows; 0 = unknown."""
        return self.leaders.node_of(group_id)

    def route(self, operation: Operation) -> None:
        """Make one attempt, or hold the operation until one can be made."""
        if operation.finished:
            return
        group = self.host.groups.get(operation.group_id)
        is_local = group is not None and group.is_leader
        if isinstance(operation, Read) and operation.staleness_ns:
            if self._read_replica(operation, group):
                return
        elif isinstance(operation, Write):
            if (
                operation.session is None
                and operation.identity is None
                and not self.sessions.give(operation)
            ):
                return
            before = operation.after
            if before is not None:
                if before.finished:
                    operation.after = None
                elif not (is_local and before.in_flight and before.target == 0):
                    if before.then is None:
                        before.then = []
                    before.then.append(operation)
                    return
        if is_local:
            assert group is not None
            operation.target = 0
            self._run_here(operation, group)
        else:
            self._send_to_leader(operation)

    def _send_to_leader(self, operation: Operation) -> None:
        """Forward it to the node that leads its group, or hold it while no way to it is known."""
        node_id, relayed = self.leaders.way_to(operation.group_id)
        why = self._forward(operation, node_id, relayed) if node_id else "no leader"
        if why:
            self.hold(operation, why)

    def _read_replica(self, read: Read, group: ReplicaGroup | None) -> bool:
        """Answer a read that puts up with some staleness from a replica, here or elsewhere. False:
        the leader has to answer it.
        """
        if group is not None:
            items = self.serving.lookup_stale(group, read.keys_left, read.staleness_ns)
            if items is None:
                return False
            read.target = 0
            read.on_items(items)
            return True
        nodes = [n for n in self.replicas(read.group_id) if self.peers.is_up(n)]
        if not nodes:
            return False
        if not self._forward_read(read, nodes[self.forwards.next_id % len(nodes)]):
            return False
        read.asked_replica = True
        return True

    def route_followers(self, followers: Sequence[Write | Read]) -> None:
        """Route operations whose predecessor has ended: by turns, however long the chain."""
        waiting = self._followers
        waiting.extend(followers)
        if self._routes_followers:
            return  # Routing one of them ended it, and that brought us here: see the loop below.
        self._routes_followers = True
        try:
            while waiting:
                follower = waiting.popleft()
                follower.after = None
                self.route(follower)
        finally:
            self._routes_followers = False

    def _run_here(self, operation: Operation, group: ReplicaGroup) -> None:
        operation.why = ""
        if isinstance(operation, Write):
            operation.in_flight = True
            self.serving.submit(
                group, operation.command(), operation.size, operation, retry=operation.uncertain
            )
        elif isinstance(operation, Read):
            if group.has_lease():
                self.counters.lease_reads += 1
                self.serve_read(operation)
            else:
                self.counters.index_reads += 1
                group.when_readable(operation)
        else:
            assert isinstance(operation, SessionOpen)
            group.submit(operation.command(), 0, operation)

    def _forward(self, operation: Operation, node_id: int, relayed: bool) -> str:
        """Send it to a node, which is asked to relay it if need be. Why it was not sent, or ""."""
        request_id = self.forwards.next_id
        item: tuple[Any, ...]
        if isinstance(operation, Write):
            if not self.forwards.has_room(node_id):
                return TOO_MANY_BYTES
            item = (
                FORWARD_WRITE,
                request_id,
                operation.group_id,
                operation.size,
                operation.uncertain,
                operation.command(),
            )
        elif isinstance(operation, Read):
            item = (FORWARD_READ, request_id, operation.group_id, operation.keys_left)
            if operation.staleness_ns:
                item = (*item, operation.staleness_ns)
        else:
            assert isinstance(operation, SessionOpen)
            item = (FORWARD_WRITE, request_id, operation.group_id, 0, True, operation.command())
        if relayed:
            item = (FORWARD_RELAY, request_id, item)
        if not self.peers.send(node_id, item):
            return "no connection to the leader's node"
        self.sent(operation, node_id)
        if isinstance(operation, Write):
            operation.in_flight = True
        elif isinstance(operation, Read):
            operation.asked_replica = False
        return ""

    def sent(self, operation: Operation, node_id: int) -> None:
        """It is on its way to a node, for the first time or again."""
        operation.why = ""
        repeat_ns = self.clock.monotonic_ns() + (REPEAT_NS << operation.repeats)
        operation.repeat_ns = repeat_ns
        self.forwards.add(operation, node_id)
        self.counters.forwarded_out += 1
        self.host.flush_soon()

    def _forward_read(self, read: Read, node_id: int) -> bool:
        """What most reads are: the first attempt, without the detours of `_forward`."""
        forwards = self.forwards
        request_id = forwards.next_id
        item: tuple[Any, ...] = (FORWARD_READ, request_id, read.group_id, read.keys_left)
        if read.staleness_ns:
            item = (*item, read.staleness_ns)
        if not self.peers.send(node_id, item):
            return False
        forwards.next_id = request_id + 1
        forwards.under_way[request_id] = read
        read.request_id = request_id
        read.target = node_id
        read.asked_replica = False
        self.counters.forwarded_out += 1
        self.host.flush_soon()
        return True

    # -- sessions ------------------------------------------------------------------------

    def begin_opening(self, opening: SessionOpen) -> None:
        """Open a session. It has all the time there is: those that wait have their own."""
        opening.deadline_ns = self.clock.monotonic_ns() + self._timeout_ns
        self.deadlines.queue.append(opening)
        self.route(opening)

    def open_client_session(self, group_id: int, done: Callable[[int | Failure], None]) -> None:
        """Open a session for a client of this node; `done` hears its id, or a Failure."""
        opening = ClientSessionOpen(self, group_id, self.deadline_ns())
        opening.done = done
        self.route(opening)
        if not opening.finished:
            self.deadlines.queue.append(opening)

    # -- serving here --------------------------------------------------------------------

    def serve_read(self, read: Read) -> None:
        """Read under the lease or a confirmed read index."""
        items = self.serving.lookup(self.host.groups[read.group_id], read.keys_left, read)
        if items is not None:
            read.on_items(items)

    # -- what comes from other nodes -----------------------------------------------------

    def on_forward(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A forwarded operation, or the answer to one of ours. `PeerFrameError` if it is neither.

        The form is checked in full before anything happens: a command that `apply` cannot run
        would end every replica of the group, now and at each start.
        """
        kind = item[0]
        if kind == FORWARD_READ and self.serving.read_at_once(node_id, item):
            return
        if kind == FORWARD_ITEMS and self._item_at_once(node_id, item):
            return
        check_forward(item)
        if kind == FORWARD_READ:
            self.serving.forwarded_read(node_id, item)
        elif kind == FORWARD_WRITE:
            self.serving.forwarded_write(node_id, item)
        elif kind == FORWARD_RELAY:
            relay(self, node_id, item[2])
        elif kind == LEADERS_REQUEST:
            self.serving.reply(node_id, (LEADERS_REPLY, self.leaders.answer(item[1])))
        elif kind == LEADERS_REPLY:
            for group_id in self.leaders.told(node_id, item[1]):
                self._way_changed(group_id)
        else:
            self._on_reply(kind, node_id, item)

    def _item_at_once(self, node_id: int, item: tuple[Any, ...]) -> bool:
        """What most answers are:

        the one item of a read of one key. False, and nothing has happened, if it is anything
        else.
        """
        if len(item) != 3 or type(item[1]) is not int or type(item[2]) is not tuple:
            return False
        _, request_id, items = item
        read = self.forwards.under_way.get(request_id)
        if type(read) is not Read or read.target != node_id or read.finished:
            return False
        if len(items) != 1 or len(read.keys) != 1:
            return False
        found = items[0]
        if found is not None and type(found) is not bytes:
            return False
        del self.forwards.under_way[request_id]
        read.on_item(found)
        return True

    def _on_reply(self, kind: int, node_id: int, item: tuple[Any, ...]) -> None:
        if self.leaders.avoided:
            self.leaders.heard(node_id)
        operation = self.forwards.under_way.get(item[1])
        if operation is None or operation.target != node_id:
            return  # Given up, or tried elsewhere meanwhile: that attempt decides.
        if isinstance(operation, Relayed):
            self.forwards.forget(item[1])
            operation.on_answer(item)
            return
        if isinstance(operation, Read):
            fits = kind == FORWARD_REFUSED or (
                kind == FORWARD_ITEMS and 0 < len(item[2]) <= len(operation.keys_left)
            )
        else:
            fits = kind != FORWARD_ITEMS
        if not fits:
            raise PeerFrameError(f"an answer of kind {kind} to no question of this node")
        self.forwards.forget(item[1])
        if operation.finished:
            return
        if kind == FORWARD_ITEMS:
            assert isinstance(operation, Read)
            operation.on_items(list(item[2]))
        elif kind == FORWARD_RESULT:
            assert isinstance(operation, Write | SessionOpen)
            operation.on_result(item[2])
        elif kind == FORWARD_LOST:
            assert isinstance(operation, Write | SessionOpen)
            operation.on_lost()
        elif kind == FORWARD_REFUSED:
            if item[2] != node_id:  # The leader itself may be too busy.
                self.leaders.refused(operation.group_id, node_id, item[2])
            if isinstance(operation, Read) and operation.asked_replica:
                # A replica that is too far behind, most likely: no reason to wait.
                operation.asked_replica = False
                self._send_to_leader(operation)
                return
            operation.on_refused(str(item[3]))

    # -- holding, trying again, giving up -------------------------------------------------

    def hold(self, operation: Operation, why: str) -> None:
        """Keep it until a leader may take it: `leader_changed`, `peer_up` or the next sweep."""
        operation.why = why
        held = self._held.get(operation.group_id)
        if held is None:
            self._held[operation.group_id] = [operation]
        else:
            held.append(operation)

    def _release(self, group_id: int) -> None:
        held = self._held.pop(group_id, None)
        if held is None:
            return
        # Writes of one session go in the order of their sequences.
        held.sort(key=lambda o: o.sequence if isinstance(o, Write) else 0)
        for operation in held:
            self.route(operation)

    def leader_changed(self, group_id: int) -> None:
        """The group's leader as this replica knows it is another one, or none."""
        group = self.host.groups.get(group_id)
        if group is not None and (group.is_leader or group.leader_id):
            self._way_changed(group_id)

    def _way_changed(self, group_id: int) -> None:
        """Try again what waits for the group, and what was sent to another node."""
        group = self.host.groups.get(group_id)
        if group is not None and group.is_leader:
            node_id = self.node_id
        else:
            node_id, _ = self.leaders.way_to(group_id)
            if not node_id:
                return
        self._retry_forwards(lambda o: o.group_id == group_id and o.target != node_id)
        self._release(group_id)

    def peer_up(self, node_id: int) -> None:
        for group_id in list(self._held):
            if self.leaders.way_to(group_id)[0] == node_id:
                self._release(group_id)

    def peer_down(self, node_id: int) -> None:
        """Answers of this node may be lost: repeat what was sent there."""
        self.leaders.peer_down(node_id)
        self._retry_forwards(lambda o: o.target == node_id)

    def _retry_forwards(self, concerns: Callable[[Operation], bool]) -> None:
        for operation in self.forwards.take(concerns):
            self._lost(operation)

    def _lost(self, operation: Operation) -> None:
        if isinstance(operation, Write | SessionOpen):
            operation.on_lost()
        else:
            operation.on_refused("connection to the leader lost")

    def sweep(self) -> None:
        """Expire what is past its deadline, and try the held again. Called every few ticks."""
        now_ns = self.clock.monotonic_ns()
        self.deadlines.expire(now_ns)
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + LOOK_NS
            for operation in self.forwards.due(now_ns):
                operation.repeats += 1
                self.leaders.avoided[operation.target] = None
                self._lost(operation)
        for group_id in list(self._held):
            self._release(group_id)
        self._ask(now_ns)

    def _ask(self, now_ns: int) -> None:
        """Ask live replicas who leads the groups that do not answer, or have no leader known."""
        wanted = self.forwards.silent_groups(now_ns)
        wanted.update(dict.fromkeys(self._held))
        for node_id, asked in self.leaders.questions(wanted, now_ns).items():
            self.peers.send(node_id, (LEADERS_REQUEST, tuple(asked)))
            self.host.flush_soon()

    def took(self, operation: Operation, here: Histogram) -> None:
        """Note how long an operation took, among the forwarded ones or those served `here`."""
        spent_ns = self.clock.monotonic_ns() - operation.deadline_ns + self._timeout_ns
        (self.timings.forward_seconds if operation.target else here).observe(spent_ns / 1e9)

    def timeout_reason(self, operation: Operation) -> str:
        """Words for an operation that ran out of time."""
        if self.host.disk_trouble:
            return self.host.disk_trouble
        shard = operation.group_id - 1
        why = operation.why
        if why and why not in ROUTINE_REASONS:
            return f"shard {shard} did not accept the request within {self.timeout_ms} ms: {why}"
        group = self.host.groups.get(operation.group_id)
        is_local = group is not None and group.is_leader
        if is_local or self.leaders.way_to(operation.group_id)[0]:
            return f"shard {shard} did not answer within {self.timeout_ms} ms"
        return f"shard {shard} had no leader for {self.timeout_ms} ms"
