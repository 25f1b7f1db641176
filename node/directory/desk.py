"""Where a node takes questions about the cluster: changes that operators ask for, and nodes that
want to join. The leader of group 0 decides; at other nodes the desk passes them on.

A question is sent to one node at a time. A node that does not lead group 0 says so, and who does,
so the next one is asked. Once a question is on its way and its answer does not come, nobody knows
whether it was decided. A question that may be repeated is asked again then; any other is answered
with `LOST`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.directory.question import (
    ELSEWHERE,
    LOST,
    OK,
    REFUSED,
    UNKNOWN,
    Done,
    Question,
    joiner_texts,
)
from quorumcache.node.peers.items import (
    CHANGE_REPLY,
    CHANGE_REQUEST,
    WORD_CHARS_MAX,
    WORDS_MAX,
)
from quorumcache.ring import NodeInfo

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock

WAITING_MAX: Final = 64
"""Questions of this node that wait for an answer. People ask them, and nodes that join."""

DEADLINE_MS: Final = 5000
"""Longest time to an answer: a few elections of group 0."""

RETRY_MS: Final = 100
"""Pause before a question is sent again, after a node has said that it does not lead."""

SILENCE_MS: Final = 1500
"""A question that may be repeated is sent to another node after so long without an answer."""

NO_LEADER: Final = (
    b"the directory has no leader that this node reaches, nothing was changed: see that a majority"
    b" of the directory's nodes is up, then try again"
)
OLD_LEADER: Final = (
    b"the node that leads the directory runs an earlier version, which changes nothing; nothing was"
    b" changed: upgrade every node, then try again"
)
TOO_MANY: Final = b"too many changes wait at this node, nothing was changed: try again later"
TOO_LONG: Final = b"too many words, or a word that is too long"


class DeskPeers(Protocol):
    """The peer network, as far as the desk needs it."""

    def is_up(self, node_id: int) -> bool: ...
    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def form_of(self, node_id: int) -> int: ...


class _Waiting:
    """A question of this node."""

    __slots__ = ("asked", "asked_ns", "deadline_ns", "next_ns", "question")

    def __init__(self, question: Question, deadline_ns: int) -> None:
        self.question = question
        self.deadline_ns = deadline_ns
        self.next_ns = 0
        """It is not sent before this."""
        self.asked = 0
        """Node that has it; 0 = it is nowhere."""
        self.asked_ns = 0


class ChangeDesk:
    """See the module. `sweep` is called every few ticks."""

    def __init__(
        self,
        own_id: int,
        *,
        clock: Clock,
        first_id: int,
        peers: DeskPeers,
        directory: Callable[[], Sequence[int]],
        leader: Callable[[], int],
        decide: Callable[[Question], bool],
        flush: Callable[[], None],
        moves_json: Callable[[], bytes],
    ) -> None:
        """`first_id`: of the first question; random, so that no answer to an earlier process of
        this node fits. `directory`: nodes with a replica of group 0. `leader`: the one that leads
        it as far as this node knows; 0 = unknown. `decide` takes a question if this node may lead
        group 0; else it is False. `flush` sends what waits. `moves_json`: see `moves_view.py`.
        """
        self._own_id = own_id
        self._clock = clock
        self._next_id = first_id
        self._peers = peers
        self._directory = directory
        self._leader = leader
        self._decide = decide
        self._flush = flush
        self.moves_json = moves_json
        """The nodes, and the moves with their progress, as JSON."""
        self._waiting: dict[int, _Waiting] = {}
        self._turn = 0
        """Counts nodes that were asked at random, so that all are asked in turn."""
        self._hint = 0
        """Who leads group 0, as a node said that does not; 0 = nobody said so."""

    # -- asking ------------------------------------------------------------------------------

    def ask(self, words: Sequence[str], done: Done) -> None:
        """Have the cluster changed as these words say (`ring/changes.py`); `dry` as the last one
        only asks what would be done. `done` hears once, now or later: `OK` and JSON, `REFUSED` and
        a sentence, or `LOST` and a sentence.
        """
        self._take(Question(tuple(words), done))

    def join(self, info: NodeInfo, done: Done) -> None:
        """Have a node taken in. `done` hears `OK` and the map that names it, `REFUSED` and a
        sentence, or `LOST` and a sentence: it is to ask again then, and gets the same id if it was
        taken in already."""
        self._take(Question(joiner_texts(info), done, asks_to_join=True))

    def _take(self, question: Question) -> None:
        texts = question.texts
        if not 0 < len(texts) <= WORDS_MAX or max(map(len, texts)) > WORD_CHARS_MAX:
            question.done(REFUSED, TOO_LONG)
            return
        if len(self._waiting) >= WAITING_MAX:
            question.done(LOST if question.asks_to_join else REFUSED, TOO_MANY)
            return
        now_ns = self._clock.monotonic_ns()
        number = self._next_id
        self._next_id += 1
        self._waiting[number] = _Waiting(question, now_ns + DEADLINE_MS * 1_000_000)
        self._send(number, now_ns)

    def sweep(self) -> None:
        """Send what has to be sent again, and answer what has waited for too long."""
        if not self._waiting:
            return
        now_ns = self._clock.monotonic_ns()
        for number, waiting in list(self._waiting.items()):
            if now_ns >= waiting.deadline_ns:
                self._end(number, LOST if waiting.asked else REFUSED)
            elif not waiting.asked:
                self._send(number, now_ns)
            elif (
                waiting.question.may_repeat
                and waiting.asked != self._own_id
                and now_ns - waiting.asked_ns >= SILENCE_MS * 1_000_000
            ):
                self._hint = 0
                waiting.asked = 0
                self._send(number, now_ns)

    def peer_down(self, node_id: int) -> None:
        """The connection to a node, or from it, is gone, and with it what was on its way."""
        for number, waiting in list(self._waiting.items()):
            if waiting.asked != node_id:
                continue
            if waiting.question.may_repeat:
                waiting.asked = 0
            else:
                self._end(number, LOST)

    def _send(self, number: int, now_ns: int) -> None:
        waiting = self._waiting[number]
        if now_ns < waiting.next_ns:
            return
        waiting.next_ns = now_ns + RETRY_MS * 1_000_000
        question = waiting.question
        target = self._target()
        if target == self._own_id:
            waiting.asked, waiting.asked_ns = target, now_ns
            own = Question(
                question.texts,
                lambda code, payload: self._answered(target, number, code, payload),
                asks_to_join=question.asks_to_join,
            )
            if not self._decide(own):
                waiting.asked = 0
        elif target:
            item = (CHANGE_REQUEST, number, question.asks_to_join, question.texts)
            if self._peers.send(target, item):
                waiting.asked, waiting.asked_ns = target, now_ns
                self._flush()

    def _target(self) -> int:
        """The node to ask: the leader, if it is known and up, or the next one of the directory's;
        0 = none is up."""
        hint, self._hint = self._hint, 0
        for node_id in (self._leader(), hint):
            if node_id and self._is_askable(node_id):
                return node_id
        directory = self._directory()
        for _ in directory:
            self._turn += 1
            node_id = directory[self._turn % len(directory)]
            if self._is_askable(node_id):
                return node_id
        return 0

    def _is_askable(self, node_id: int) -> bool:
        if node_id == self._own_id:
            return True
        return self._peers.is_up(node_id) and self._peers.form_of(node_id) >= 2

    # -- answers -----------------------------------------------------------------------------

    def on_reply(self, node_id: int, number: int, code: int, payload: bytes) -> None:
        """A node has answered; the members of a `CHANGE_REPLY`."""
        self._answered(node_id, number, code, payload)

    def _answered(self, node_id: int, number: int, code: int, payload: bytes) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.asked != node_id:
            return
        if code == ELSEWHERE:
            waiting.asked = 0
            self._hint = int(payload) if payload.isdigit() and len(payload) < 11 else 0
            return
        del self._waiting[number]
        waiting.question.done(code if code in (OK, REFUSED) else LOST, payload)

    def _end(self, number: int, code: int) -> None:
        question = self._waiting.pop(number).question
        payload = UNKNOWN if code == LOST else self._why_nowhere()
        question.done(LOST if question.asks_to_join else code, payload)

    def _why_nowhere(self) -> bytes:
        """Why a question could be sent to nobody."""
        leader = self._leader()
        is_old = leader and not self._is_askable(leader) and self._peers.is_up(leader)
        return OLD_LEADER if is_old else NO_LEADER

    def on_request(
        self, node_id: int, number: int, asks_to_join: bool, texts: tuple[str, ...]
    ) -> None:
        """A node asks; the members of a `CHANGE_REQUEST`."""

        def reply(code: int, payload: bytes) -> None:
            self._peers.send(node_id, (CHANGE_REPLY, number, code, payload))
            self._flush()

        if not self._decide(Question(texts, reply, asks_to_join=asks_to_join)):
            leader = self._leader()
            reply(ELSEWHERE, b"%d" % (leader if leader != self._own_id else 0))
