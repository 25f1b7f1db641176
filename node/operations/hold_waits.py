"""Operations at a leader that meet a key which a transaction holds: they wait until it is resolved.

A key is *held* from the moment its transaction is prepared here until the decision has come: until
then nobody can tell which value is the right one. Nothing of it is visible half done:

 - A read of a key that is held for writing waits, and is looked up again once the key is free.
 - A write of a held key, and a flush of a shard that holds any, is not given to the log. One of a
   client of this node waits as the operation that it is: it is not submitted, so later writes of
   its connection wait behind it (`order.py`). One of another node waits by its item.
 - While a prepare is on its way through the log here, its keys count as held for new writes.
   Otherwise those would stand behind it in the log, and `apply` would not execute them (HELD).
 - A write that waits goes before new transactions, and a read that has waited for a while: a
   prepare of its key is refused with a conflict. So a stream of transactions starves nobody.
 - Nor does it starve a snapshot (`transaction_snapshots.py`), which is refused where a key is held
   for writing, and asks again: it leaves a *bar* there. Until it has come, or has not asked for
   `BAR_NS`, prepares that want to write its keys are refused.

What waits is bounded in number, and by its own deadline: an operation of this node's by the
coordinator's (`deadlines.py`), one of another node's by `PARK_NS`, after which it is refused as
certainly not executed, and that node asks again. When this node leads the group no longer, all that
wait for it go back to where they came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.operations.failure import HELD_WHY, LEADERSHIP_CHANGED, Failure
from quorumcache.node.operations.forwarded import Answering
from quorumcache.node.operations.operation import Operation, Write
from quorumcache.node.state_machine import KEY, OP, Command, ReadWaiter, Result, Waiter
from quorumcache.node.store.commands import (
    HELD_OPS,
    OP_FLUSH,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
    PREPARE_CHECKS,
    PREPARE_WRITES,
    TXN_ID,
)
from quorumcache.node.store.results import TXN_CONFLICT, TXN_PREPARED
from quorumcache.node.store.store import HELD_KEY, shard_store
from quorumcache.node.store.transaction_effects import flush_overdue
from quorumcache.node.store.transactions import ANY

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.telemetry.counters import Counters

PARKED_MAX: Final = 16_384
"""Operations of all groups that wait at a node. Beyond it they are refused, and tried again."""

PARK_NS: Final = 800_000_000
"""How long an operation of another node waits: less than after what that node repeats it."""

READ_NS: Final = 100_000_000
"""A read that has waited for so long goes before new transactions, as a write always does. Others
do not, or each read of a key that many transactions change would make one of them fail."""

BAR_NS: Final = 200_000_000
"""How long a bar stands: some times the pause after which a refused snapshot asks again."""

BARS_MAX: Final = 16_384
"""Keys of all groups that are barred at a node. Beyond it a snapshot waits its luck."""

TOO_MANY_WAIT: Final = "too many operations wait for transactions; retry more slowly"

WHOLE_SHARD: Final = b""
"""In place of a key: of a flush."""


class _Parked:
    """One operation that waits."""

    __slots__ = ("command", "retry", "since_ns", "size", "waiter")

    def __init__(
        self, since_ns: int, waiter: Any, command: Command | None, size: int, retry: bool
    ) -> None:
        """`command`: None = a read."""
        self.since_ns = since_ns
        self.waiter = waiter
        self.command = command
        self.size = size
        self.retry = retry

    @property
    def is_over(self) -> bool:
        """Its client has its answer."""
        waiter = self.waiter
        return isinstance(waiter, Operation) and waiter.finished


class HoldWaits:
    """See the module docstring."""

    __slots__ = ("_bars", "_clock", "_counters", "_parked", "_pending", "_serving", "count")

    def __init__(self, serving: Answering, clock: Clock, counters: Counters) -> None:
        self._serving = serving
        self._clock = clock
        self._counters = counters
        self._parked: dict[ReplicaGroup, dict[bytes, list[_Parked]]] = {}
        """By group and key, in the order in which they came."""
        self._pending: dict[ReplicaGroup, dict[bytes, int]] = {}
        """Keys of prepares that are on their way through the log, and of how many each."""
        self._bars: dict[tuple[int, bytes], int] = {}
        """By group and key, until when nobody may begin to write it. In the order of their ends."""
        self.count = 0
        """How many wait."""

    # -- what a leader is asked --------------------------------------------------------------

    def concern(self, group: ReplicaGroup, op: int) -> bool:
        """Whether a command of this op has to be shown to `take`."""
        return (
            bool(shard_store(group.machine).holds)
            or bool(self._pending)
            or op in (OP_TXN_PREPARE, OP_TXN_RESOLVE)
        )

    def take(
        self, group: ReplicaGroup, command: Command, size: int, waiter: Any, retry: bool
    ) -> Any:
        """A command comes to this leader: who waits for it in the log. None: it is not submitted
        now, and was taken care of.
        """
        op = command[OP]
        if op == OP_TXN_PREPARE:
            return self._take_prepare(group, command, waiter, retry)
        if op == OP_TXN_RESOLVE:
            keys = shard_store(group.machine).transactions.keys_of(command[TXN_ID])
            return _Resolving(self, group, keys, waiter)
        if op in HELD_OPS:
            key = command[KEY]
            if not self._is_held(group, key):
                if not self._flush_waits(group):
                    return waiter
                key = WHOLE_SHARD
        elif op == OP_FLUSH and self._is_held(group, WHOLE_SHARD):
            key = WHOLE_SHARD
        else:
            return waiter
        self._park(group, key, _Parked(self._clock.monotonic_ns(), waiter, command, size, retry))
        return None

    def _take_prepare(self, group: ReplicaGroup, command: Command, waiter: Any, retry: bool) -> Any:
        keys = prepared_keys(command)
        seen = tuple([key for key, version in command[PREPARE_CHECKS] if version == ANY])
        waiting = self._parked.get(group)
        # An attempt that may have been executed before gets its answer from the log, and so does a
        # transaction that is prepared already.
        if (
            (waiting or self._bars)
            and not retry
            and command[TXN_ID] not in shard_store(group.machine).transactions.prepared
        ):
            barred = self._barred(waiting, keys) if waiting else None
            if barred is None:
                barred = self._barred_by_snapshot(group, command)
            if barred is not None:
                self.bar(group, seen)
                waiter.on_result((TXN_CONFLICT, barred))
                return None
        pending = self._pending.setdefault(group, {})
        for key in keys:
            pending[key] = pending.get(key, 0) + 1
        return _Preparing(self, group, keys, seen, waiter)

    def _barred(self, waiting: dict[bytes, list[_Parked]], keys: tuple[bytes, ...]) -> bytes | None:
        """The first key that no other transaction may hold now, since somebody waits for it."""
        if WHOLE_SHARD in waiting:
            return keys[0]
        long_ago_ns = self._clock.monotonic_ns() - READ_NS
        for key in keys:
            for parked in waiting.get(key, ()):
                if parked.command is not None or parked.since_ns <= long_ago_ns:
                    return key
        return None

    def _barred_by_snapshot(self, group: ReplicaGroup, command: Command) -> bytes | None:
        """The first key that must not be held for writing now, since a snapshot waits for it."""
        now_ns = self._clock.monotonic_ns()
        for write in command[PREPARE_WRITES]:
            key: bytes = write[0]
            if self._bars.get((group.group_id, key), 0) > now_ns:
                return key
        return None

    def bar(self, group: ReplicaGroup, keys: tuple[bytes, ...]) -> None:
        """A snapshot of these keys was refused here, and comes again."""
        if not keys:
            return
        now_ns = self._clock.monotonic_ns()
        bars = self._bars
        while bars:
            first = next(iter(bars))
            if bars[first] > now_ns:
                break
            del bars[first]
        for key in keys:
            bars.pop((group.group_id, key), None)
            if len(bars) < BARS_MAX:
                bars[group.group_id, key] = now_ns + BAR_NS

    def unbar(self, group: ReplicaGroup, keys: tuple[bytes, ...]) -> None:
        """A snapshot holds these keys, or needs them no more."""
        for key in keys:
            self._bars.pop((group.group_id, key), None)

    def park_read(self, group: ReplicaGroup, key: bytes, waiter: ReadWaiter) -> None:
        """A look-up has met a hold. `waiter` is told once it may be made again."""
        self._park(group, key, _Parked(self._clock.monotonic_ns(), waiter, None, 0, False))

    def met(self, write: Write) -> None:
        """`apply` has met a hold, and has not executed this write of the node's own.

        A later write of its connection may stand behind it in the log, and may be executed: then
        this one must not be any more.
        """
        if write.is_followed:
            write.finish(Failure(HELD_WHY, outcome_known=not write.uncertain))
        else:
            write.give_number_back()
            write.owner.hold(write, HELD_WHY)

    # -- those that wait ---------------------------------------------------------------------

    def _is_held(self, group: ReplicaGroup, key: bytes) -> bool:
        """May a write of this key, or a flush, not be submitted now?"""
        holds = shard_store(group.machine).holds
        pending = self._pending.get(group)
        if key == WHOLE_SHARD:
            return bool(holds) or bool(pending)
        return key in holds or (pending is not None and key in pending)

    @staticmethod
    def _flush_waits(group: ReplicaGroup) -> bool:
        """Is a delayed flush due that holds keep from being carried out? What was written now would
        go with it.
        """
        store = shard_store(group.machine)
        return bool(store.holds) and flush_overdue(store, group.now_ms())

    def _park(self, group: ReplicaGroup, key: bytes, parked: _Parked) -> None:
        waiter = parked.waiter
        if self.count >= PARKED_MAX:
            waiter.on_refused(TOO_MANY_WAIT)
            return
        if isinstance(waiter, Operation):
            waiter.note(HELD_WHY)
            if isinstance(waiter, Write):
                waiter.in_flight = False
                waiter.give_number_back()
        self.count += 1
        self._counters.hold_waits += 1
        self._parked.setdefault(group, {}).setdefault(key, []).append(parked)

    def wake(self, group: ReplicaGroup, keys: tuple[bytes, ...]) -> None:
        """These keys may be free: what waits for them goes on, in its order."""
        by_key = self._parked.get(group)
        if by_key is None:
            return
        for key in (*keys, WHOLE_SHARD):
            if key in by_key:
                self._wake_key(group, by_key, key)
        if not by_key and self._parked.get(group) is by_key:
            del self._parked[group]

    def _wake_key(
        self, group: ReplicaGroup, by_key: dict[bytes, list[_Parked]], key: bytes
    ) -> None:
        store = shard_store(group.machine)
        is_held = self._is_held(group, key)
        # Reads do not wait for what is on its way through the log, nor for those who only check.
        is_in_doubt = is_held and store.lookup(key, group.now_ms()) is HELD_KEY
        going: list[_Parked] = []
        staying: list[_Parked] = []
        for parked in by_key[key]:
            stays = is_in_doubt if parked.command is None else is_held
            (staying if stays else going).append(parked)
        if staying:
            by_key[key] = staying
        else:
            del by_key[key]
        self.count -= len(going)
        for parked in going:
            self._go_on(group, parked)

    def _go_on(self, group: ReplicaGroup, parked: _Parked) -> None:
        if parked.is_over:
            return
        command, waiter = parked.command, parked.waiter
        if command is None:
            waiter.on_readable()
        elif isinstance(waiter, Write):
            waiter.go_on()
        else:
            self._serving.submit(group, command, parked.size, waiter, retry=parked.retry)

    def prepare_ended(self, group: ReplicaGroup, keys: tuple[bytes, ...]) -> None:
        """A prepare has gone through the log, or will not."""
        pending = self._pending[group]
        for key in keys:
            left = pending[key] - 1
            if left:
                pending[key] = left
            else:
                del pending[key]
        if not pending:
            del self._pending[group]

    # -- the end of waiting ------------------------------------------------------------------

    def leader_changed(self, group_id: int) -> None:
        """A group here has another leader: what waits for it as led here goes back."""
        for group in [group for group in self._parked if group.group_id == group_id]:
            if group.is_leader:
                continue
            by_key = self._parked.pop(group)
            for waiting in by_key.values():
                self.count -= len(waiting)
                for parked in waiting:
                    if not parked.is_over:
                        parked.waiter.on_refused(LEADERSHIP_CHANGED)

    def sweep(self, now_ns: int) -> None:
        """Forget those whose time is over, refuse those of other nodes that have waited for long,
        and wake those whose key has become free in another way than by its resolution here."""
        for group in list(self._parked):
            by_key = self._parked.get(group, {})
            for key in list(by_key):
                if key in by_key:
                    self._sweep_key(by_key, key, now_ns)
            self.wake(group, tuple(by_key))

    def _sweep_key(self, by_key: dict[bytes, list[_Parked]], key: bytes, now_ns: int) -> None:
        waiting = by_key[key]
        late: list[_Parked] = []
        staying: list[_Parked] = []
        for parked in waiting:
            if parked.is_over:
                continue
            is_own = isinstance(parked.waiter, Operation)
            if not is_own and now_ns - parked.since_ns >= PARK_NS:
                late.append(parked)
            else:
                staying.append(parked)
        if len(staying) == len(waiting):
            return
        self.count -= len(waiting) - len(staying)
        if staying:
            by_key[key] = staying
        else:
            del by_key[key]
        for parked in late:
            parked.waiter.on_refused(HELD_WHY)


class _Preparing:
    """Waits for a prepare in the log of this leader."""

    __slots__ = ("_group", "_keys", "_seen", "_waiter", "_waits")

    def __init__(
        self,
        waits: HoldWaits,
        group: ReplicaGroup,
        keys: tuple[bytes, ...],
        seen: tuple[bytes, ...],
        waiter: Waiter,
    ) -> None:
        """`seen`: those of the keys of which it takes a snapshot."""
        self._waits = waits
        self._group = group
        self._keys = keys
        self._seen = seen
        self._waiter = waiter

    def on_result(self, result: Result) -> None:
        self._waits.prepare_ended(self._group, self._keys)
        if type(result) is tuple:
            self._waits.bar(self._group, self._seen)
        else:
            self._waits.unbar(self._group, self._seen)
        self._waiter.on_result(result)
        if result != TXN_PREPARED:
            self._waits.wake(self._group, self._keys)

    def on_refused(self, why: str) -> None:
        self._waits.prepare_ended(self._group, self._keys)
        self._waiter.on_refused(why)
        self._waits.wake(self._group, self._keys)

    def on_lost(self) -> None:
        self._waits.prepare_ended(self._group, self._keys)
        self._waiter.on_lost()


class _Resolving:
    """Waits for the resolution of a transaction in the log of this leader."""

    __slots__ = ("_group", "_keys", "_waiter", "_waits")

    def __init__(
        self, waits: HoldWaits, group: ReplicaGroup, keys: tuple[bytes, ...], waiter: Waiter
    ) -> None:
        self._waits = waits
        self._group = group
        self._keys = keys
        self._waiter = waiter

    def on_result(self, result: Result) -> None:
        self._waits.wake(self._group, self._keys)
        self._waiter.on_result(result)

    def on_refused(self, why: str) -> None:
        self._waiter.on_refused(why)

    def on_lost(self) -> None:
        self._waiter.on_lost()


def prepared_keys(command: Command) -> tuple[bytes, ...]:
    """The keys that an OP_TXN_PREPARE is going to hold."""
    named = [step[0] for step in (*command[PREPARE_WRITES], *command[PREPARE_CHECKS])]
    return tuple(dict.fromkeys(named))
