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
The coordinator decides where an operation goes next. Its parts do the rest: `Serving` carries it
out here, `Leaders` knows the way, `Forwards` has those that are with another node (`GetBundles`:
most gets), `Held` those that wait for a leader, `Relays` those of other nodes; `NodeSessions`
numbers writes, `Deadlines` ends what takes too long, `Turns` keeps a connection's order.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.operations.called_write import CalledWrite
from quorumcache.node.operations.deadlines import Deadlines
from quorumcache.node.operations.failure import BEHIND_WAITING, NO_LEADER, Failure, timeout_reason
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.operations.forwards import Forwards
from quorumcache.node.operations.get_bundles import GetBundles
from quorumcache.node.operations.held import Held
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.meta_read import MetaRead
from quorumcache.node.operations.new_ops import FIRST_NEW_OP, NewOps
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import (
    Operation,
    OperationOwner,
    Proposal,
    Read,
    ReadOutcome,
    Write,
    WriteOutcome,
)
from quorumcache.node.operations.order import Ordered, Turns
from quorumcache.node.operations.piece_reads import PieceReads
from quorumcache.node.operations.relays import Relayed, Relays
from quorumcache.node.operations.replica_reads import ReplicaReads
from quorumcache.node.operations.reply_room import ReplyRoom
from quorumcache.node.operations.serving import Serving
from quorumcache.node.operations.sessions import ClientSessionOpening, NodeSessions
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
)
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import Result
from quorumcache.node.store.results import HELD

if TYPE_CHECKING:
    from quorumcache.node.telemetry.timings import Histogram, Timings

LOOK_NS: Final = 100_000_000
"""Time between two looks for forwards that have to be repeated."""


class Coordinator(OperationOwner):
    """Routing of operations, of this node's clients and of other nodes'."""

    def __init__(
        self,
        serving: Serving,
        leaders: Leaders,
        *,
        random: Random,
        timings: Timings,
        timeout_ms: int,
    ) -> None:
        """`timeout_ms`: how long an operation of a client is tried."""
        self._timeout_ns = timeout_ns = timeout_ms * 1_000_000
        self.serving = serving
        self.leaders = leaders
        self.host, self._groups = serving.host, serving.host.groups
        self.clock, self.counters = serving.clock, serving.counters
        self._monotonic_ns = serving.clock.monotonic_ns
        self.timings, self.timeout_ms = timings, timeout_ms
        first_id = random.getrandbits(48)
        self.forwards = Forwards(
            peers=serving.peers,
            clock=serving.clock,
            counters=serving.counters,
            flush_soon=serving.host.flush_soon,
            first_id=first_id,
            timeout_ns=timeout_ns,
        )
        self.bundles = GetBundles(serving, leaders, timings, first_id, timeout_ns)
        self.deadlines = Deadlines(serving.clock, timeout_ns, self.forwards.forget)
        self.sessions = NodeSessions(random)
        self.pieces = PieceReads(serving, self.forwards, self.deadlines)
        self.replica_reads = ReplicaReads(serving, leaders, self.forwards, self.pieces)
        self.relays = Relays(serving, leaders, self.forwards, self.deadlines)
        self.turns = Turns()
        self.new_ops = NewOps(serving.host, leaders)
        self._held = Held()
        self._next_look_ns = 0

    def use_node_id(self, node_id: int) -> None:
        """This node has become a member, under this id."""
        self.serving.node_id = self.leaders.node_id = node_id

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
        identity: WriteId | None = None,
        deadline_ns: int = 0,
    ) -> Write:
        """Run one command; `done` hears its outcome, possibly before this returns.

        `after`: the newest unfinished write of the same connection to the group, see `order.py`.
        `identity`: the client's own (session, sequence, floor), in place of one of this node.
        `deadline_ns`: of a request that had to wait in its connection; 0 = it begins now.
        """
        until_ns = deadline_ns or self.deadline_ns()
        write = CalledWrite(self, group_id, until_ns, op, key, args, size, done, identity)
        write.after = after
        self.begin(write, deadline_ns != 0)
        return write

    def read(
        self,
        group_id: int,
        keys: tuple[bytes, ...],
        done: Callable[[ReadOutcome], None],
        after: Read | None = None,
        staleness_ns: int = 0,
        room: ReplyRoom | None = None,
        deadline_ns: int = 0,
    ) -> Read:
        """Read keys of one group; `done` hears packed items or a Failure, possibly before this
        returns.

        `after`: the newest unfinished read of the same connection from the group, see `order.py`.
        `staleness_ns`: how old the answer may be. `room`: asked whether there is any for it.
        `deadline_ns`: of a request that had to wait in its connection; 0 = it begins now.
        """
        read = Read(self, group_id, deadline_ns or self.deadline_ns(), keys, done, staleness_ns)
        read.room = room
        read.after = after
        if deadline_ns:
            self._begin_late(read)
            return read
        group = self._groups.get(group_id)
        if (
            staleness_ns
            or group is None
            or group.is_leader
            or not group.leader_id
            or group_id in self.leaders.leaving
        ):
            self.route(read)
        # The common case, without the detours of the general one.
        elif not self.forwards.send_first_read(read, group.leader_id):
            self.hold(read, NO_LEADER)
        if not read.finished:
            self.deadlines.watch(read)
        return read

    def open_client_session(self, group_id: int, done: Callable[[int | Failure], None]) -> None:
        """Open a session for a client of this node; `done` hears its id, or a Failure."""
        opening = ClientSessionOpening(self.sessions, self, group_id, self.deadline_ns(), done)
        self.route(opening)
        if not opening.finished:
            self.deadlines.watch(opening)

    def deadline_ns(self) -> int:
        return self._monotonic_ns() + self._timeout_ns

    def begin(self, operation: Operation, is_late: bool) -> None:
        """Make the first attempt. `is_late`: its request had to wait in its connection."""
        if is_late:
            self._begin_late(operation)
        else:
            self.route(operation)
            if not operation.finished:
                self.deadlines.watch(operation)

    def _begin_late(self, operation: Operation) -> None:
        """Its time has run since its request came."""
        if self.clock.monotonic_ns() >= operation.deadline_ns:
            operation.expire()  # It may be given more time.
        self.route(operation)
        if not operation.finished:
            self.deadlines.watch_late(operation)

    # -- where it goes -------------------------------------------------------------------

    def route(self, operation: Operation) -> None:
        if operation.finished:
            return
        group = self._groups.get(operation.group_id)
        is_local = group is not None and group.is_leader
        if isinstance(operation, Write):
            if operation.op >= FIRST_NEW_OP and self.new_ops.stops(operation):
                return
            if operation.after is not None:
                before = operation.after = operation.unfinished_before()
                if before is not None and operation.must_wait(
                    before, self._stays_ahead(before, is_local)
                ):
                    return
            if operation.identity is None and not self.sessions.number(operation):
                self._wait_for_session(operation)
                return
        elif (
            isinstance(operation, Read)
            and operation.staleness_ns
            and self.replica_reads.attempt(operation, group)
        ):
            return
        if is_local:
            assert group is not None
            operation.target = 0
            self._run_here(operation, group)
        else:
            self._send_to_leader(operation)
        if operation.then is not None and isinstance(operation, Write):
            self.turns.follow(operation)

    def _stays_ahead(self, before: Ordered, is_local: bool) -> bool:
        """Is an unfinished write so far that it takes effect before what is sent now?"""
        if is_local:
            return before.is_submitted_here()
        # By another way it would not leave together with it.
        return (
            isinstance(before, Write)
            and self.forwards.is_gathered(before)
            and self.leaders.way_to(before.group_id) == (before.target, False)
        )

    def before_flush(self) -> None:
        """The turn ends: let go what was gathered for other nodes."""
        self.bundles.send()
        self.forwards.send_writes()

    def _wait_for_session(self, write: Write) -> None:
        """The write comes back once this node has a session in its group."""
        # The opening has all the time there is: those that wait have their own deadlines.
        opening = self.sessions.wait(write, self, self.deadline_ns())
        if opening is not None:
            self.deadlines.watch(opening)
            self.route(opening)

    def _run_here(self, operation: Operation, group: ReplicaGroup) -> None:
        operation.why = ""
        if isinstance(operation, Proposal):
            operation.in_flight = True
            self.serving.submit(
                group, operation.command(), operation.size, operation, retry=operation.uncertain
            )
        else:
            assert isinstance(operation, Read)
            if group.has_lease():
                self.counters.lease_reads += 1
                self.serve_read(operation)
            else:
                self.counters.index_reads += 1
                group.when_readable(operation)

    def _send_to_leader(self, operation: Operation) -> None:
        """Forward it to the node that leads its group, or hold it while no way to it is known."""
        node_id, relayed = self.leaders.way_to(operation.group_id)
        why = self.forwards.send(operation, node_id, relayed) if node_id else NO_LEADER
        if why:
            self.hold(operation, why)

    # -- what operations ask -------------------------------------------------------------

    def serve_read(self, read: Read) -> None:
        """Read under the lease or a confirmed read index."""
        items = self.serving.read(self._groups[read.group_id], read)
        if items is not None:
            read.on_items(items)

    def answered(self, write: Write, result: Result) -> None:
        if result == HELD:
            self.serving.hold_waits.met(write)
        elif not self.sessions.settle(write, result):
            self.route(write)

    def took(self, operation: Operation, here: Histogram) -> None:
        spent_ns = self._monotonic_ns() - operation.deadline_ns + self._timeout_ns
        (self.timings.forward_seconds if operation.target else here).observe(spent_ns / 1e9)

    def timeout_reason(self, operation: Operation) -> str:
        if self.host.disk_trouble:
            return self.host.disk_trouble
        group = self._groups.get(operation.group_id)
        is_local = group is not None and group.is_leader
        return timeout_reason(
            operation.group_id - 1,
            self.timeout_ms,
            operation.why,
            operation.refusal,
            has_leader=is_local or self.leaders.way_to(operation.group_id)[0] != 0,
        )

    # -- what comes from other nodes -----------------------------------------------------

    def on_forward(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A forwarded operation, or the answer to one of ours. `PeerFrameError` if it is neither.

        The form is checked in full before anything happens: a command that `apply` cannot run
        would end every replica of the group, now and at each start.
        """
        kind = item[0]
        if kind == FORWARD_READ and self.serving.read_at_once(node_id, item):
            return
        if kind == FORWARD_ITEMS and self.forwards.answer_at_once(node_id, item):
            return
        check_forward(item)
        if kind == FORWARD_READ:
            self.serving.forwarded_read(node_id, item)
        elif kind == FORWARD_WRITE:
            self.serving.forwarded_write(node_id, item)
        elif kind == FORWARD_RELAY:
            self.relays.take(node_id, item[2])
        elif kind == LEADERS_REQUEST:
            self.serving.reply(node_id, (LEADERS_REPLY, self.leaders.answer(item[1])))
        elif kind == LEADERS_REPLY:
            for group_id in self.leaders.told(node_id, item[1]):
                self._way_changed(group_id)
        else:
            self._on_reply(kind, node_id, item)

    def _on_reply(self, kind: int, node_id: int, item: tuple[Any, ...]) -> None:
        if self.leaders.avoided:
            self.leaders.heard(node_id)
        operation = self.forwards.answered(node_id, item)
        if operation is None:
            return
        if isinstance(operation, Relayed):
            operation.on_answer(item)
        elif kind == FORWARD_ITEMS:
            assert isinstance(operation, Read)
            if isinstance(operation, MetaRead):
                operation.hint = item[3] if len(item) > 3 else None
            operation.on_items(list(item[2]))
        elif kind == FORWARD_RESULT:
            assert isinstance(operation, Proposal)
            operation.on_result(item[2])
        elif kind == FORWARD_LOST:
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

    # -- holding, trying again -----------------------------------------------------------

    def hold(self, operation: Operation, why: str) -> None:
        """Keep it until a leader may take it: `leader_changed`, `peer_up` or the next sweep."""
        if why == BEHIND_WAITING:
            # What its leader has not refused may go before it now. It goes by itself, see `send`.
            operation.note(why)
            self.route(operation)
            if operation.why == BEHIND_WAITING:
                operation.why = ""  # It waits for an earlier one, and may leave with others then.
        else:
            self._held.add(operation, why)

    def _release(self, group_id: int) -> None:
        for operation in self._held.take(group_id):
            self.route(operation)

    def leader_changed(self, group_id: int) -> None:
        """The group's leader as this replica knows it is another one, or none."""
        self.serving.hold_waits.leader_changed(group_id)
        group = self._groups.get(group_id)
        if group is not None and (group.is_leader or group.leader_id):
            self._way_changed(group_id)

    def _way_changed(self, group_id: int) -> None:
        """Try again what waits for the group, and what was sent to another node."""
        self.bundles.changed(group_id)
        group = self._groups.get(group_id)
        if group is not None and group.is_leader:
            node_id = self.serving.node_id
        else:
            node_id, _ = self.leaders.way_to(group_id)
            if not node_id:
                return
        self.forwards.give_up(lambda o: o.group_id == group_id and o.target != node_id)
        self._release(group_id)

    def peer_up(self, node_id: int) -> None:
        """There is a connection to the node."""
        for group_id in self._held.groups():
            if self.leaders.way_to(group_id)[0] == node_id:
                self._release(group_id)

    def peer_down(self, node_id: int) -> None:
        """Answers of this node may be lost: repeat what was sent there."""
        self.leaders.peer_down(node_id)
        self.bundles.peer_down(node_id)
        self.forwards.give_up(lambda o: o.target == node_id)

    def sweep(self) -> None:
        """Expire what is past its deadline, and try the held again. Called every few ticks."""
        now_ns = self.clock.monotonic_ns()
        self.deadlines.expire(now_ns)
        self.serving.sweep(now_ns)
        silent = self.bundles.look(now_ns)
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + LOOK_NS
            for operation in self.forwards.due(now_ns):
                operation.repeats += 1
                self.leaders.avoided[operation.target] = None
                operation.on_lost()
        for operation in self._held.take_due():
            self.route(operation)
        # Ask live replicas for the leaders of groups without an answer or a known leader.
        wanted = self.forwards.silent_groups(now_ns) | dict.fromkeys(self._held.groups()) | silent
        for node_id, asked in self.leaders.questions(wanted, now_ns).items():
            self.serving.reply(node_id, (LEADERS_REQUEST, tuple(asked)))
