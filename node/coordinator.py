"""Brings every operation of this node's clients to its shard's leader, and back.

Any node takes any key. `route` serves an operation here when this node leads the group, forwards it
to the leader's node otherwise, and holds it while there is no leader, until its deadline. The same
file answers what other nodes forward to us (`on_forward`).

What ends an attempt, and what follows:
 1. a result: the operation is finished;
 2. refused (not the leader, transfer under way, too busy): certainly not executed; held, tried
    again;
 3. lost (leadership or the connection went while it was in flight): a read is tried again; a write
    is repeated under the same session and sequence, so that it is executed once at most;
 4. the deadline: `not done`, or `outcome unknown` when an attempt of the write may have been
    executed.

Held operations are tried again when a leader appears, a peer comes back, or the next sweep is due.
Their number is bounded by what connections may have in flight (`connection.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final

from node.errors import PeerFrameError
from node.group import ReplicaGroup
from node.operations import (
    Failure,
    Identity,
    Operation,
    Read,
    Session,
    SessionGone,
    StaleSequence,
    Write,
    WriteOutcome,
)
from node.peer_items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITE,
    check_forward,
)
from node.serving import PeerSender, Serving, ServingHost
from node.store.commands import (
    OP_SESSION_OPEN,
    Command,
)
from node.store.results import SESSION_GONE, STALE_SEQUENCE, Result
from node.store.sessions import CLIENT_SESSION_MIN

if TYPE_CHECKING:
    from node.clock import Clock
    from node.counters import Counters
    from node.timings import Histogram, Timings

DEADLINES_MIN: Final = 10_000
"""Operations, finished or not, that the queue of deadlines may hold before it is tidied up."""

STALE_FORWARD_NS: Final = 1_000_000_000
"""A forward without an answer for this long, and at most twice as long, is repeated. The leader may
have had no connection to answer on: each node answers on the one that it dialed itself."""

UNREAD_BYTES_MAX: Final = 256 << 20
"""Replies that clients of this node have not taken. Beyond it values from other nodes are dropped
and read again later: a connection bounds how many it asks for, but not yet how large they are."""


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
        unread_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self.node_id = node_id
        self.host = host
        self.peers = peers
        self.clock = clock
        self.random = random
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
        self.preferred_leader = preferred_leader
        """Group id -> node id to try first when this node has no replica of the group."""
        self.replicas = replicas
        """Group id -> nodes that hold a replica of it."""
        self.unread_bytes = unread_bytes
        """Bytes of replies that clients of this node have not taken yet."""
        self._unread_bytes = 0
        """The same, as of the last sweep, and what came since."""
        self._timeout_ns = timeout_ms * 1_000_000
        self._sessions: dict[int, Session] = {}
        self._opening: dict[int, list[Write]] = {}
        """Writes that wait for their group's session."""
        self._held: dict[int, list[Operation]] = {}
        self._forwards: dict[int, Operation] = {}
        self._next_request_id = random.getrandbits(48)
        """Starts anywhere, so that replies to an earlier life of this node match nothing."""
        self._hints: dict[int, int] = {}
        """Leaders by hearsay, for groups without a replica here."""
        self._old_requests_end = self._next_request_id
        """Forwards with a lower id were under way at the last look for stale ones."""
        self._next_look_ns = 0
        self._deadlines: deque[Operation] = deque()
        """Operations in order of deadline (the timeout is the same for all)."""
        self._deadlines_max = DEADLINES_MIN
        """Length of `_deadlines` at which the finished ones are taken out of its middle."""
        self._late: list[Operation] = []
        """Operations that had waited in their connection: in no order of deadline."""
        self._began_with_ns = 0
        """Deadline of what is being begun late; 0 when nothing is."""
        self._followers: deque[Write | Read] = deque()
        """Operations that were waiting for one that has ended, to be routed in this order."""
        self._routes_followers = False

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
            self._deadlines.append(write)
        return write

    def read(
        self,
        group_id: int,
        keys: tuple[bytes, ...],
        done: Callable[[Any], None],
        after: Read | None = None,
        staleness_ns: int = 0,
    ) -> Read:
        """Read keys of one group; `done` hears packed items or a Failure, possibly before this
        returns.

        `after`: an earlier read of the group whose answer must not be newer than this one's.
        `staleness_ns`: how old the answer may be.
        """
        read = Read(self, group_id, self.deadline_ns(), keys, done, staleness_ns)
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
            self._deadlines.append(read)
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
                self._late.append(operation)
            else:
                self._deadlines.append(operation)

    def leader_node(self, group_id: int) -> int:
        """Node that leads the group as far as this node knows; 0 = unknown."""
        group = self.host.groups.get(group_id)
        if group is not None:
            return self.node_id if group.is_leader else group.leader_id
        return self._hints.get(group_id, 0) or self.preferred_leader(group_id)

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
                and not self._give_session(operation)
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
        """Forward it to the node that leads its group, or hold it while none is known."""
        leader = self.leader_node(operation.group_id)
        if leader in (0, self.node_id) or not self._forward(operation, leader):
            self.hold(operation, "no leader")

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
        if not self._forward_read(read, nodes[self._next_request_id % len(nodes)]):
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

    def _forward(self, operation: Operation, node_id: int) -> bool:
        request_id = self._next_request_id
        item: tuple[Any, ...]
        if isinstance(operation, Write):
            command = operation.command()
            item = (
                FORWARD_WRITE,
                request_id,
                operation.group_id,
                operation.size,
                operation.uncertain,
                command,
            )
        elif isinstance(operation, Read):
            return self._forward_read(operation, node_id)
        else:
            assert isinstance(operation, SessionOpen)
            item = (
                FORWARD_WRITE,
                request_id,
                operation.group_id,
                0,
                True,
                operation.command(),
            )
        if not self.peers.send(node_id, item):
            return False
        self._next_request_id += 1
        self._forwards[request_id] = operation
        operation.request_id = request_id
        operation.target = node_id
        if isinstance(operation, Write):
            operation.in_flight = True
        self.counters.forwarded_out += 1
        self.host.flush_soon()
        return True

    def _forward_read(self, read: Read, node_id: int) -> bool:
        request_id = self._next_request_id
        item: tuple[Any, ...] = (FORWARD_READ, request_id, read.group_id, read.keys_left)
        if read.staleness_ns:
            item = (*item, read.staleness_ns)
        if not self.peers.send(node_id, item):
            return False
        self._next_request_id = request_id + 1
        self._forwards[request_id] = read
        read.request_id = request_id
        read.target = node_id
        read.asked_replica = False
        self.counters.forwarded_out += 1
        self.host.flush_soon()
        return True

    # -- sessions ------------------------------------------------------------------------

    def _give_session(self, write: Write) -> bool:
        """Number the write, or queue it until the group's session is open."""
        group_id = write.group_id
        session = self._sessions.get(group_id)
        if session is not None:
            write.session = session
            write.sequence = session.next_sequence
            session.next_sequence += 1
            session.outstanding[write.sequence] = write
            return True
        waiting = self._opening.get(group_id)
        if waiting is not None:
            waiting.append(write)
            return False
        self._opening[group_id] = [write]
        opening = SessionOpen(self, group_id, self.clock.monotonic_ns() + self._timeout_ns)
        self._deadlines.append(opening)
        self.route(opening)
        return False

    def session_opened(self, opening: SessionOpen) -> None:
        """The group knows our session: number the waiting writes in their order."""
        self._sessions[opening.group_id] = Session(opening.session_id)
        for write in self._opening.pop(opening.group_id, []):
            self.route(write)

    def session_not_opened(self, opening: SessionOpen) -> None:
        """The deadline passed. Waiting writes have their own; the next one tries again."""
        waiting = [w for w in self._opening.pop(opening.group_id, []) if not w.finished]
        for write in waiting:
            self.route(write)

    def new_session_id(self) -> int:
        return self.random.getrandbits(62) | 1

    def new_client_session_id(self) -> int:
        return self.random.getrandbits(62) | CLIENT_SESSION_MIN

    def open_client_session(self, group_id: int, done: Callable[[int | Failure], None]) -> None:
        """Open a session for a client of this node; `done` hears its id, or a Failure."""
        opening = ClientSessionOpen(self, group_id, self.deadline_ns())
        opening.done = done
        self.route(opening)
        if not opening.finished:
            self._deadlines.append(opening)

    def write_answered(self, write: Write, result: Result) -> None:
        """A group's answer to a write of ours."""
        if write.identity is not None and result in (SESSION_GONE, STALE_SEQUENCE):
            # It stays the client's: to run it under an identity of ours would execute it twice,
            # if the client's earlier attempts through other nodes were executed.
            known = not write.uncertain
            if result == SESSION_GONE:
                write.finish(SessionGone("session gone", outcome_known=known))
            else:
                write.finish(StaleSequence("stale sequence", outcome_known=known))
        elif result == SESSION_GONE:
            session = write.session
            assert session is not None
            if self._sessions.get(write.group_id) is session:
                del self._sessions[write.group_id]
            if write.uncertain:
                write.finish(
                    Failure("the session expired before the answer came", outcome_known=False)
                )
                return
            session.outstanding.pop(write.sequence, None)
            write.session = None
            self.route(write)
        elif result == STALE_SEQUENCE:
            write.finish(Failure("an answer was given up before", outcome_known=False))
        else:
            write.finish(result)

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
        read = self._forwards.get(request_id)
        if type(read) is not Read or read.target != node_id or read.finished:
            return False
        if len(items) != 1 or len(read.keys) != 1 or self._unread_bytes > UNREAD_BYTES_MAX:
            return False
        found = items[0]
        if found is not None:
            if type(found) is not bytes:
                return False
            self._unread_bytes += len(found)
        del self._forwards[request_id]
        read.finish([found])
        return True

    def _on_reply(self, kind: int, node_id: int, item: tuple[Any, ...]) -> None:
        operation = self._forwards.get(item[1])
        if operation is None or operation.target != node_id:
            return  # Given up, or tried elsewhere meanwhile: that attempt decides.
        if isinstance(operation, Read):
            fits = kind == FORWARD_REFUSED or (
                kind == FORWARD_ITEMS and 0 < len(item[2]) <= len(operation.keys_left)
            )
        else:
            fits = kind != FORWARD_ITEMS
        if not fits:
            raise PeerFrameError(f"an answer of kind {kind} to what is none of its questions")
        del self._forwards[item[1]]
        if operation.finished:
            return
        if kind == FORWARD_ITEMS:
            assert isinstance(operation, Read)
            if self._unread_bytes > UNREAD_BYTES_MAX:
                # Dropped, and read again: by then clients may have taken what they have.
                operation.on_refused("clients of this node do not read their replies")
                return
            self._unread_bytes += sum(len(found) for found in item[2] if found is not None)
            operation.on_items(list(item[2]))
        elif kind == FORWARD_RESULT:
            assert isinstance(operation, Write | SessionOpen)
            operation.on_result(item[2])
        elif kind == FORWARD_LOST:
            assert isinstance(operation, Write | SessionOpen)
            operation.on_lost()
        elif kind == FORWARD_REFUSED:
            leader = item[2]
            if leader and leader != node_id:
                self._hints[operation.group_id] = leader
            elif operation.group_id not in self.host.groups:
                self._hints.pop(operation.group_id, None)
            if isinstance(operation, Read) and operation.asked_replica:
                # A replica that is too far behind, most likely: no reason to wait.
                operation.asked_replica = False
                self._send_to_leader(operation)
                return
            operation.on_refused(str(item[3]))

    # -- holding, trying again, giving up -------------------------------------------------

    def hold(self, operation: Operation, why: str) -> None:
        """Keep it until a leader may take it: `leader_changed`, `peer_up` or the next sweep."""
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
        leader = self.leader_node(group_id)
        if leader:
            self._retry_forwards(lambda o: o.group_id == group_id and o.target != leader)
            self._release(group_id)

    def peer_up(self, node_id: int) -> None:
        for group_id in list(self._held):
            if self.leader_node(group_id) == node_id:
                self._release(group_id)

    def peer_down(self, node_id: int) -> None:
        """Answers of this node may be lost: repeat what was sent there."""
        for group_id in [g for g, n in self._hints.items() if n == node_id]:
            del self._hints[group_id]
        self._retry_forwards(lambda o: o.target == node_id)

    def _retry_forwards(self, concerns: Callable[[Operation], bool]) -> None:
        again = [(r, o) for r, o in self._forwards.items() if concerns(o)]
        for request_id, operation in again:
            del self._forwards[request_id]
            if isinstance(operation, Write | SessionOpen):
                operation.on_lost()
            else:
                operation.on_refused("connection to the leader lost")

    def sweep(self) -> None:
        """Expire what is past its deadline, and try the held again. Called every few ticks."""
        now_ns = self.clock.monotonic_ns()
        self._unread_bytes = self.unread_bytes()
        deadlines = self._deadlines
        while deadlines:
            operation = deadlines[0]
            if not operation.finished:
                if operation.deadline_ns > now_ns:
                    break
                operation.expire()
            if operation.request_id:
                self._forwards.pop(operation.request_id, None)
            deadlines.popleft()
        if self._late:
            late, self._late = self._late, []
            for operation in late:
                if not operation.finished and operation.deadline_ns <= now_ns:
                    operation.expire()
                if not operation.finished:
                    self._late.append(operation)
                elif operation.request_id:
                    self._forwards.pop(operation.request_id, None)
        if len(deadlines) > self._deadlines_max:
            # Behind one operation that waits, thousands may have come and gone.
            self._deadlines = deque(o for o in deadlines if not o.finished)
            self._deadlines_max = max(DEADLINES_MIN, 2 * len(self._deadlines))
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + STALE_FORWARD_NS
            end, self._old_requests_end = self._old_requests_end, self._next_request_id
            self._retry_forwards(lambda o: o.request_id < end)
        for group_id in list(self._held):
            self._release(group_id)

    def took(self, operation: Operation, here: Histogram) -> None:
        """Note how long an operation took, among the forwarded ones or those served `here`."""
        spent_ns = self.clock.monotonic_ns() - operation.deadline_ns + self._timeout_ns
        (self.timings.forward_seconds if operation.target else here).observe(spent_ns / 1e9)

    def timeout_reason(self, group_id: int) -> str:
        """Words for an operation that ran out of time."""
        if self.host.disk_is_full:
            return "the disk of the node is full"
        shard = group_id - 1
        if self.leader_node(group_id):
            return f"shard {shard} did not answer within {self.timeout_ms} ms"
        return f"shard {shard} had no leader for {self.timeout_ms} ms"


class SessionOpen(Operation):
    """Makes a group know this process. Every attempt has a new id: a late duplicate of an earlier
    attempt then opens an orphan that expires, never a session that is in use."""

    __slots__ = ("session_id",)

    def command(self) -> Command:
        self.session_id = self.coordinator.new_session_id()
        return (self.session_id, 0, 0, OP_SESSION_OPEN, b"")

    def on_result(self, result: Result) -> None:
        if not self.finished:
            self.finished = True
            self.coordinator.session_opened(self)

    def on_lost(self) -> None:
        if not self.finished:
            self.coordinator.hold(self, "leadership changed")

    def expire(self) -> None:
        if not self.finished:
            self.finished = True
            self.coordinator.session_not_opened(self)


class ClientSessionOpen(SessionOpen):
    """Opens a session for a client of this node, which is told its id."""

    __slots__ = ("done",)

    done: Callable[[int | Failure], None]

    def command(self) -> Command:
        self.session_id = self.coordinator.new_client_session_id()
        return (self.session_id, 0, 0, OP_SESSION_OPEN, b"")

    def on_result(self, result: Result) -> None:
        if not self.finished:
            self.finished = True
            self.done(self.session_id)

    def expire(self) -> None:
        if not self.finished:
            self.finished = True
            # Whatever was opened is used by nobody, and expires.
            why = self.coordinator.timeout_reason(self.group_id)
            self.done(Failure(why, outcome_known=True))
