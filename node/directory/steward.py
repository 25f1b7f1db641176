"""What the leader of group 0 does: it decides the next map.

In this order: the first map; what nodes tell of their addresses, and groups that have started; the
changes that somebody asks for; the step that follows from the cluster's state (`ring/moves.py`);
the map's second form, once every node can read it; that each connection has to prove the cluster's
secret, once every node has. The first map has the second form already if all founders were heard to
read it, which is soon after a founding.

Every node with a seat in the directory runs a steward; only the one whose node leads group 0 acts.
It proposes one whole new map at a time, by compare-and-set on the epoch (state.py), so a steward
that has lost its leadership without knowing can do no harm. It reads each map back first: one that
no node can read would stand in the log, and end each of its replicas again and again.

A decision that fails, by a bug or because of what a node tells, rests for a while. It neither keeps
the others from being made nor ends the node: the next leader would fail over the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from quorumcache.node.directory.addresses import follow_addresses
from quorumcache.node.directory.chronicle import steps
from quorumcache.node.directory.question import ELSEWHERE, LOST, OK, REFUSED, UNKNOWN, Question
from quorumcache.node.directory.starts import shards_of
from quorumcache.node.directory.state import OP_SET_MAP, DirectoryState
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import Result
from quorumcache.node.store.results import OK as COMMITTED
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring import ClusterMap, NodeInfo, RingError
from quorumcache.ring.errors import ChangeRefused
from quorumcache.ring.moves import next_map
from quorumcache.ring.refusals import listed
from quorumcache.ring.secret import SECRET_REQUIRED, SECRET_SETTING
from quorumcache.ring.vouching import in_second_form, vouched_for

if TYPE_CHECKING:
    from quorumcache.node.directory.reports import Ledger
    from quorumcache.node.storage.founding_record import FoundingRecord
    from quorumcache.node.telemetry.counters import Counters

log = get_logger("directory")

FIRST_MAP_TICKS: Final = 40
"""How long (in calls of `tick`, 2 s) the first map waits until all founders were heard to read the
second form. Writes wait for it, for longer."""

STARTED_TICKS: Final = 10
"""How long (in calls of `tick`, half a second) it waits for more groups that have started."""

STEP_TICKS: Final = 10
"""Calls of `tick` between two steps of the directory's own: twice a second."""

STEP_TICKS_MIN: Final = 2
"""The same after something has happened (100 ms), for each `SHARDS_PER_STEP` shards: a step goes
over all of them."""

SHARDS_PER_STEP: Final = 1024

BUG_TICKS: Final = 200
"""Calls of `tick` until a decision is tried again after it has failed by a bug."""

QUESTIONS_MAX: Final = 64
"""Questions that wait for their turn; each takes a round of group 0, some milliseconds."""

QUESTION_TICKS: Final = 80
"""Calls of `tick` that a question waits here, 4 s: nobody waits for its answer much longer."""

COUNTED: Final = {
    "node_joined": "nodes_joined",
    "node_left": "nodes_left",
    "node_down": "nodes_down",
    "move_started": "moves_started",
    "move_completed": "moves_completed",
}
"""Counters, by the log event that raises them."""


class Steward:
    """See the module docstring."""

    def __init__(
        self,
        *,
        own_id: int,
        record: FoundingRecord,
        group: ReplicaGroup,
        state: DirectoryState,
        known: Mapping[int, NodeInfo],
        ledger: Ledger,
        form_of: Callable[[int], int],
        proven: Callable[[], Set[int]],
        first_settings: Mapping[str, str],
        counters: Counters,
        on_bug: Callable[[str, Exception], None],
    ) -> None:
        """`known`: what nodes told of themselves when they connected. `form_of`: the newest form of
        the map that another node reads, as it says; 1 if it is not known. `proven`: the nodes that
        have proven to this one that they know the cluster's secret. `first_settings`: of the
        settings in the map that can be changed, from this node's own. `on_bug` hears what failed
        here by a bug of ours.
        """
        self._own_id = own_id
        self._record = record
        self._group = group
        self._state = state
        self._known = known
        self._ledger = ledger
        self._form_of = form_of
        self._proven = proven
        self._first_settings = first_settings
        self._counters = counters
        self._on_bug = on_bug
        self._pending = False
        self._asked: tuple[Question, bytes] | None = None
        """The question whose map is proposed now, and its answer."""
        self._questions: deque[Question] = deque()
        self._decisions: tuple[tuple[str, Callable[[ClusterMap], ClusterMap | None]], ...] = (
            ("answer to what nodes tell", self._with_news),
            ("answer to a question", self._with_question),
            ("next step", self._with_step),
            ("second form of the map", self._in_second_form),
            ("demand for proofs", self._with_proofs),
        )
        """In order; the first that leads to a map counts."""
        self._resting: dict[str, int] = {}
        """Decisions that failed: calls of `tick` until each is tried again."""
        self._complained = ""
        self._first_map_ticks = 0
        """Calls of `tick` for which the first map has waited."""
        self._started = 0
        """Shards whose groups have started, as their leaders told; a bit each."""
        self._ticks_waited = 0
        """Since one of them was first missed in the map."""
        self._step_ticks = STEP_TICKS
        """Since the directory's own last step."""
        self._stepped_epoch = 0
        """Of the map that it looked at."""
        self._told: ClusterMap | None = None
        """The map up to which the log and the counters tell what happened."""

    def started(self, bits: int) -> None:
        """A leader tells that the groups of these shards have started."""
        self._started |= bits

    @property
    def leads(self) -> bool:
        """Whether this node leads group 0 and knows all that was decided before."""
        group = self._group
        return group.is_leader and group.applied_index >= group.log.term_start_index

    def ask(self, question: Question) -> None:
        """Decide on a question as soon as it is its turn. At a node that does not lead group 0 the
        answer is `ELSEWHERE`."""
        if not self._group.is_leader:
            self._elsewhere(question)
        elif len(self._questions) >= QUESTIONS_MAX:
            code = LOST if question.asks_to_join else REFUSED
            question.done(code, b"too many changes are asked for at once: try again later")
        else:
            question.ticks_left = QUESTION_TICKS
            self._questions.append(question)

    def close(self) -> None:
        """This node has no replica of group 0 any more."""
        self._give_up()
        asked = self._take_asked()
        if asked is not None:
            asked[0].done(LOST, UNKNOWN)

    def tick(self) -> None:
        """See whether there is something to decide. Called every few ticks."""
        present = self._state.cluster_map
        if not self._group.is_leader:
            self._give_up()
            self._ledger.look(present, leads=False)
            self._told = present
            return
        if not self.leads:
            return  # What earlier leaders decided may not be known here yet.
        self._ledger.look(present, leads=True)
        self._chronicle(present)
        if self._pending:
            return
        if present is None:
            first = self._first_map()
            if first is not None:
                self._propose(first.to_bytes())
            return
        for name, decide in self._decisions:
            data = self._decided(name, decide, present)
            if data:
                self._propose(data)
                return

    def _decided(
        self, name: str, decide: Callable[[ClusterMap], ClusterMap | None], present: ClusterMap
    ) -> bytes:
        """The map that a decision leads to; b"" if it leads to none now."""
        rest = self._resting.get(name, 0)
        if rest:
            self._resting[name] = rest - 1
            return b""
        why = "internal error, nothing was changed: the log says more"
        try:
            wanted = decide(present)
            return _readable(wanted) if wanted is not None else b""
        except RingError as error:
            self._complain(str(error))
            why, rest = str(error), STEP_TICKS
        except Exception as error:
            self._on_bug(f"the directory's {name} failed", error)
            rest = BUG_TICKS
        asked = self._take_asked()
        if asked is not None:
            asked[0].done(REFUSED, why.encode())
        else:
            self._resting[name] = rest
        return b""

    def _propose(self, data: bytes) -> None:
        self._pending = True
        command = (0, 0, 0, OP_SET_MAP, b"", self._state.epoch, data)
        self._group.submit(command, len(data), self)

    # -- what nodes tell ---------------------------------------------------------------------

    def _with_news(self, present: ClusterMap) -> ClusterMap | None:
        changed = follow_addresses(present, self._known, self._complain)
        started = self._started & ~present.started & ((1 << present.shard_count) - 1)
        self._ticks_waited = self._ticks_waited + 1 if started else 0
        if self._ticks_waited > STARTED_TICKS:
            self._ticks_waited = 0
            marked = present.with_started(shards_of(started))
            return replace(marked.with_nodes(changed), epoch=marked.epoch)
        if changed:
            return present.with_nodes(changed)
        return None

    def _first_map(self) -> ClusterMap | None:
        first = self._record.first_map()
        if not self._unread_by(first):
            first = self._raised(first)
        elif self._first_map_ticks < FIRST_MAP_TICKS:
            self._first_map_ticks += 1
            return None
        event(
            log,
            "info",
            "cluster_created",
            cluster=first.cluster_id,
            nodes=len(first.nodes),
            shards=first.shard_count,
            replication=first.replication,
        )
        return first

    # -- what somebody asks for ------------------------------------------------------------------

    def _with_question(self, present: ClusterMap) -> ClusterMap | None:
        """The map that the next question leads to. Questions that lead to none are answered."""
        for question in self._questions:
            question.ticks_left -= 1
        while self._questions:
            question = self._questions.popleft()
            if question.ticks_left <= 0:
                self._elsewhere(question)
                continue
            wanted, payload = self._answer(question, present)
            if wanted is not None:
                self._asked = (question, payload)
                return wanted
        return None

    def _answer(self, question: Question, present: ClusterMap) -> tuple[ClusterMap | None, bytes]:
        """The map to propose and what to say once it is committed; (None, b"") if all is said."""
        if present.form < 2:
            given_up = vouched_for(present, question.words)
            unread = self._unread_by(present)
            if given_up is None or unread not in ([], [given_up.name]):
                code = LOST if question.asks_to_join else REFUSED  # A joiner is to ask again.
                question.done(code, _why_first_form(unread, given_up).encode())
                return None, b""
            present = self._raised(present)
        try:
            wanted, payload = question.answer(present, self._ledger.view())
        except (ChangeRefused, RingError) as error:
            question.done(REFUSED, str(error).encode())
            return None, b""
        except Exception as error:
            self._on_bug(f"the change {' '.join(question.texts)} failed", error)
            question.done(REFUSED, b"internal error, nothing was changed: the log says more")
            return None, b""
        if wanted is None:
            question.done(OK, payload)
        return wanted, payload

    def _give_up(self) -> None:
        """Another node leads: questions that were not proposed are for that one."""
        while self._questions:
            self._elsewhere(self._questions.popleft())

    def _elsewhere(self, question: Question) -> None:
        leader = self._group.leader_id
        question.done(ELSEWHERE, b"%d" % (leader if leader != self._own_id else 0))

    # -- what follows from the state of the cluster ----------------------------------------------

    def _with_step(self, present: ClusterMap) -> ClusterMap | None:
        self._step_ticks += 1
        ticks = STEP_TICKS
        if self._ledger.has_news or present.epoch != self._stepped_epoch:
            ticks = min(ticks, STEP_TICKS_MIN * -(-present.shard_count // SHARDS_PER_STEP))
        if present.form < 2 or self._step_ticks < ticks:
            return None
        self._step_ticks = 0
        self._stepped_epoch = present.epoch
        self._ledger.has_news = False
        wanted = next_map(present, self._ledger.view())
        return replace(wanted, epoch=present.epoch + 1) if wanted is not None else None

    def _in_second_form(self, present: ClusterMap) -> ClusterMap | None:
        if present.form > 1 or self._unread_by(present):
            return None
        return replace(self._raised(present), epoch=present.epoch + 1)

    def _raised(self, present: ClusterMap) -> ClusterMap:
        """The map in its second form, of the same epoch."""
        return in_second_form(present, self._record.directory_voters, self._first_settings)

    def _with_proofs(self, present: ClusterMap) -> ClusterMap | None:
        """From now on each connection has to prove the secret: all other nodes have, here."""
        others = {node.node_id for node in present.nodes} - {self._own_id}
        if (
            present.form < 2
            or not others
            or present.setting(SECRET_SETTING) == SECRET_REQUIRED
            or not others <= self._proven()
        ):
            return None
        settings = {**dict(present.settings), SECRET_SETTING: SECRET_REQUIRED}
        return replace(present, epoch=present.epoch + 1, settings=tuple(sorted(settings.items())))

    def _unread_by(self, present: ClusterMap) -> list[str]:
        """Names of the nodes that are not known to read the second form."""
        return [
            node.name
            for node in present.nodes
            if node.node_id != self._own_id and self._form_of(node.node_id) < 2
        ]

    # -- what is told ------------------------------------------------------------------------------

    def _chronicle(self, present: ClusterMap | None) -> None:
        told, self._told = self._told, present
        if present is told or present is None or told is None:
            return
        try:
            for step in steps(told, present):
                event(log, step.level, step.name, **step.fields)
                counter = COUNTED.get(step.name)
                if counter is not None:
                    setattr(self._counters, counter, getattr(self._counters, counter) + 1)
        except Exception as error:  # What is told must not keep anything from being decided.
            self._on_bug("the directory's account of a map failed", error)

    def _complain(self, why: str, action: str = "fix the settings of the nodes") -> None:
        if why != self._complained:
            self._complained = why
            event(log, "error", "map_impossible", why=why, action=action)

    # As the waiter of its own proposal: whatever became of it, look again at the next tick.

    def on_result(self, result: Result) -> None:
        asked = self._take_asked()
        if asked is None:
            return
        question, payload = asked
        if result == COMMITTED:
            question.done(OK, payload)
        else:
            self._questions.appendleft(question)  # The map has changed: decide again.

    def on_refused(self, why: str) -> None:
        asked = self._take_asked()
        if asked is not None:
            self._questions.appendleft(asked[0])

    def on_lost(self) -> None:
        asked = self._take_asked()
        if asked is not None:
            asked[0].done(LOST, UNKNOWN)

    def _take_asked(self) -> tuple[Question, bytes] | None:
        """The proposal has ended: what was asked for with it."""
        self._pending = False
        asked, self._asked = self._asked, None
        return asked


def _why_first_form(unread: list[str], given_up: NodeInfo | None) -> str:
    """Why a map of form 1 is not changed. `unread`: nodes that are not known to read form 2."""
    names = [name for name in unread if given_up is None or name != given_up.name]
    why = "the cluster cannot be changed before each of its nodes runs this version and was heard"
    if not names:
        return f"{why}: all have been a moment ago, try again"
    cure = f"start node {listed(names)} with this version, then try again"
    if len(unread) == 1:
        cure += f"; if it is lost for good, use `quorumcache node remove {names[0]} --force`"
    return f"{why}: {cure}"


def _readable(wanted: ClusterMap) -> bytes:
    """The bytes of a map, which every replica of group 0 and every node has to read."""
    data = wanted.to_bytes()
    if ClusterMap.from_bytes(data) != wanted:
        raise AssertionError("a map is not read back as it was written")
    return data
