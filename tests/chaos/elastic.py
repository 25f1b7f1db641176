"""Carrying out the changes: joins, drains, lost disks and the rest, each step by step.

Every change is a generator that is stepped ten times a second, between the faults; it yields while
it waits for the cluster. What has to come of it is checked on the way: a drained node ends by
itself with status 0, a disk that was given up is refused, a node that is started becomes a member.
Only one change at a time may be asked for by the operator; joins, losses and what happens to moves
come whenever they are drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future

from tests.chaos.changes import COMPLETING, LOSSY, RECEIVER
from tests.chaos.cluster import ChaosCluster, ChaosNode, ClusterError
from tests.chaos.faults import LEFT, REMOVED, Faults, Outcome
from tests.chaos.operator import DONE, REFUSED, Address, Answer, Operator
from tests.chaos.schedule import Fault
from tests.chaos.steps import JOIN_S, Steps, sleep, until, until_ready
from tests.chaos.view import (
    DIRECTORY,
    Document,
    empty,
    group_name,
    is_whole,
    moves_at,
    node_state,
)

STEP_S = 0.1
LOOK_EVERY_S = 0.3
DEAD_AFTER_S = 6.0
"""Longer than a fault lasts, mostly."""
PATIENCE_S = 15.0
"""How long a change is asked for again while it is refused: another is under way, for example."""
ASK_AGAIN_S = 0.4
LOSSY_S = 20.0
"""How long a node that has joined under loss goes on to lose packets while it receives."""
MOVING_S = 20.0
"""How long a move is waited for."""
LEAVE_S = 180.0
"""How long a drain may take under faults."""
NOT_STARTED = 1
NAME_TAKEN = " is taken by the node at "
"""What a node says that ends with this status: its name is another one's."""
SECRET = "the secret of a cluster in chaos"
SETTINGS = f"""drain-timeout-ms = 2000
dead-after-ms = {int(DEAD_AFTER_S * 1000)}
move-rate = "256k"
"""
"""Moves of some seconds, so that faults meet them."""


class Changes:
    """The changes under way. `view`: the newest that any node has told of the cluster."""

    def __init__(
        self,
        cluster: ChaosCluster,
        faults: Faults,
        operator: Operator,
        *,
        now_ns: Callable[[], int],
        say: Callable[[Outcome, str], None],
    ) -> None:
        self.cluster = cluster
        self.faults = faults
        self.operator = operator
        self.view: Document = empty()
        self.told: dict[Address, Document] = {}
        """What each node said last, of those that answered."""
        self.has_cancelled = False
        """Shards may be where they were before a change, and not where they should be."""
        self.refused: list[str] = []
        self._now_ns = now_ns
        self._say = say
        self._under_way: list[tuple[Outcome, Steps]] = []
        self._turn: Outcome | None = None
        """Whose change the operator has asked for, until it is carried out."""
        self._is_one_lost = False
        self._looking: Future[dict[Address, Document]] | None = None
        self._look_at = 0.0
        self._is_ending = False

    def begin(self, outcome: Outcome) -> None:
        """It starts as soon as it may; an outcome without nodes was left out."""
        steps: dict[str, Callable[[Outcome], Steps]] = {
            "join": self._join,
            "drain": self._drain,
            "lose": self._lose,
            "replication": self._replication,
            "moves": self._moves,
            "directory": self._directory,
            "moving": self._moving,
        }
        self._under_way.append((outcome, steps[outcome.fault.kind](outcome)))

    def step(self) -> None:
        """To be called every `STEP_S`. ClusterError for what must not happen."""
        self._look()
        for entry in list(self._under_way):
            outcome, steps = entry
            try:
                next(steps)
            except ChangeGivenUp as error:
                raise ClusterError(f"{outcome.fault.name} is refused for good: {error}") from None
            except StopIteration:
                self._under_way.remove(entry)
                if self._turn is outcome:
                    self._turn = None
                if outcome.began_ns:
                    outcome.ended_ns = self._now_ns()
                    self._say(outcome, "ends")

    def finish(self) -> None:
        """No change begins any more; those under way go on. What was cancelled is spread evenly."""
        self._is_ending = True
        last = Outcome(Fault(0, "rebalance", "at the end", 0.0, 0.0, 0))
        self._under_way.append((last, self._rebalance()))

    @property
    def under_way(self) -> list[str]:
        """Names of the changes that have begun and not ended."""
        return [outcome.fault.name for outcome, _ in self._under_way]

    def ask(self, words: str, is_so: Callable[[Document], bool], patience_s: float) -> Steps:
        """Ask for it until it is done, or refused for so long; then `ChangeGivenUp`.

        `is_so`: whether a view shows it done, for an answer that was lost.
        """
        deadline = time.monotonic() + patience_s
        why = ""
        while not is_so(self.view):
            answer: Future[Answer] = self.operator.ask(words)
            while not answer.done():
                yield
            outcome, why, epoch = answer.result()
            if outcome == DONE:
                # Only what is known of the map since then counts for what follows.
                yield from until(lambda at=epoch: self.view["epoch"] >= at)
                return
            if outcome == REFUSED and time.monotonic() > deadline:
                raise ChangeGivenUp(why)
            yield from sleep(ASK_AGAIN_S)

    # -- the changes -------------------------------------------------------------------------------

    def _join(self, outcome: Outcome) -> Steps:
        spares = [
            node
            for node in self.cluster.nodes
            if not node.is_in and not self._state(node) and not self.faults.is_busy(node)
        ]
        if not spares:
            return
        node = spares[outcome.fault.node % len(spares)]
        self._begins(outcome, node)
        variant, half_s = outcome.fault.variant, outcome.fault.seconds / 2
        kill_at: Steps | None = None
        if variant == "killed":
            kill_at = sleep(half_s)
        elif variant == "named":
            kill_at = until(lambda: bool(self._state(node)) or node.ended is not None)
        elif variant == LOSSY:
            self.faults.lose(outcome.fault, node)
        node.wipe()
        yield from self._let_join(node, kill_at)
        deadline = time.monotonic() + LOSSY_S
        while any(node.name in move["add"] for move in self.view["moves"]):
            if time.monotonic() > deadline:
                self.faults.end(outcome.fault)
            yield
        self.faults.end(outcome.fault)

    def _let_join(
        self, node: ChaosNode, kill_at: Steps | None = None, *, may_be_taken: bool = False
    ) -> Steps:
        """Start it with an empty disk; it is a member afterwards. `kill_at`: when that is over
        it is killed and started again. `may_be_taken`: its name may still be another one's,
        which is `ChangeGivenUp`.
        """
        node.is_in = node.is_taken = True
        node.may_end = (NOT_STARTED,)
        self.cluster.set_to_join(node)
        deadline = time.monotonic() + JOIN_S
        node.launch()
        if kill_at is not None:
            yield from kill_at
            yield from self._kill_and_start(node, 0.3)
        else:
            yield from until_ready(node)
        if node.ended is not None:
            why = node.last_words()
            if may_be_taken and NAME_TAKEN in why:
                raise ChangeGivenUp(why)
            # It waits for longer than any fault lasts.
            raise ClusterError(f"node {node.name} does not join: {why}")
        node.may_end = ()
        node.is_taken = False
        while self._state(node) not in ("active", "draining"):
            if time.monotonic() > deadline:
                raise ClusterError(f"node {node.name} does not become a member in {JOIN_S:g} s")
            yield

    def _drain(self, outcome: Outcome) -> Steps:
        yield from self._take_turn(outcome)
        if self._is_ending:
            return
        node = self._member(outcome)
        if node is None:
            return
        self._begins(outcome, node)
        variant, seconds = outcome.fault.variant, outcome.fault.seconds
        # It may have left before we are told that it will, and not know it when it was cut off.
        node.may_end = (LEFT, REMOVED) if self.faults.are_in_force else (LEFT,)
        launched = len(node.log())
        try:
            is_so = lambda view: node_state(view, node.name) in ("draining", "drained", "")  # noqa: E731
            yield from self.ask(f"drain {node.name}", is_so, PATIENCE_S)
        except ChangeGivenUp as error:
            node.may_end = ()
            self._refuse(outcome, error)
            return
        yield from sleep(seconds / 2)
        if variant == "killed" and node.process is not None and not self.faults.is_busy(node):
            yield from self._kill_and_start(node, 0.5)
        if variant == "cancelled":
            yield from self._cancel()
        deadline = time.monotonic() + LEAVE_S
        while node.ended is None:
            node.check_runs()
            if self._state(node) == "active":  # somebody has cancelled
                node.may_end = ()
                if " event=drained " in node.log()[launched:]:
                    yield from self._restart(node)
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"node {node.name} was drained {LEAVE_S:g} s ago and still runs")
            yield
        self._say(outcome, f"status {node.ended}")
        node.is_in = False
        yield from until(lambda: not self._state(node))

    def _lose(self, outcome: Outcome) -> Steps:
        """One disk at a time, or acknowledged writes are lost as they have to be."""
        fault = outcome.fault
        yield from self._take_turn(outcome)
        yield from until(lambda: self._is_ending or not self._is_one_lost)
        node = self._member(outcome)
        if self._is_ending or node is None or self.faults.is_busy(node):
            return
        self._begins(outcome, node)
        self._is_one_lost = node.is_taken = True
        node.kill()
        if fault.variant == "away":
            self._turn = None
            yield from sleep(DEAD_AFTER_S + fault.seconds)
            node.launch()
            yield from until_ready(node)
        elif fault.variant == "replaced" or not (yield from self._remove(outcome, node)):
            node.wipe()
            yield from self._replace(node)
        node.is_taken = False
        yield from until(lambda: is_whole(self.view))
        self._is_one_lost = False

    def _remove(self, outcome: Outcome, node: ChaosNode) -> Generator[None, None, bool]:
        """By force; False when it is refused since too few would be left."""
        yield from sleep(outcome.fault.seconds / 2)
        is_so = lambda view: node_state(view, node.name) in ("lost", "")  # noqa: E731
        try:
            yield from self.ask(f"remove {node.name} force", is_so, PATIENCE_S)
        except ChangeGivenUp as error:
            self._refuse(outcome, error)
            return False
        yield from until(lambda: not self._state(node))
        node.may_end = (REMOVED,)
        node.launch()
        deadline = time.monotonic() + LEAVE_S
        while node.ended is None:
            node.check_runs()
            if time.monotonic() > deadline:
                raise ClusterError(f"node {node.name} was removed, and runs on its old disk")
            yield
        self._say(outcome, f"its old disk ends with status {node.ended}")
        node.is_in = False
        return True

    def _replace(self, node: ChaosNode) -> Steps:
        """An empty disk takes the place of the lost one, whatever is cancelled meanwhile."""
        while True:
            is_so = lambda view: node_state(view, node.name) in ("lost", "")  # noqa: E731
            yield from self.ask(f"replace {node.name}", is_so, LEAVE_S)
            yield from until(lambda: self._state(node) != "lost")
            try:
                yield from self._let_join(node, may_be_taken=True)
            except ChangeGivenUp:
                continue  # a cancel came in between: the name is that of the lost disk again
            return

    def _replication(self, outcome: Outcome) -> Steps:
        yield from self._take_turn(outcome)
        if self._is_ending:
            return
        outcome.nodes = ["five"]
        self._begins(outcome)
        for factor in ("5", "3"):
            is_so = lambda view, wanted=factor: view["settings"].get("replication") == wanted  # noqa: E731
            try:
                patience_s = PATIENCE_S if factor == "5" else LEAVE_S
                yield from self.ask(f"settings replication={factor}", is_so, patience_s)
            except ChangeGivenUp as error:
                self._refuse(outcome, error)
                return
            yield from sleep(outcome.fault.seconds)

    def _moves(self, outcome: Outcome) -> Steps:
        outcome.nodes = [f"{len(self.view['moves'])} under way"]
        self._begins(outcome)
        if outcome.fault.variant == "cancelled":
            yield from self._cancel()
            return
        yield from self.ask("pause", lambda view: view["paused"], LEAVE_S)
        yield from sleep(outcome.fault.seconds)
        yield from self.ask("resume", lambda view: not view["paused"], LEAVE_S)

    def _directory(self, outcome: Outcome) -> Steps:
        node = self.cluster.leader_of(DIRECTORY)
        if node is None or not self._can_be_killed(node):
            return
        self._begins(outcome, node)
        yield from self._kill_and_start(node, outcome.fault.seconds)

    def _moving(self, outcome: Outcome) -> Steps:
        """Left out when no move comes to this step meanwhile."""
        deadline = time.monotonic() + MOVING_S
        who, step = outcome.fault.variant.split("-")
        while time.monotonic() < deadline and not self._is_ending:
            for move in moves_at(self.told.values(), step)[:1]:  # to ask takes its time
                node = self._at_work(who, move)
                if node is not None and self._can_be_killed(node):
                    self._begins(outcome, node)
                    yield from self._kill_and_start(node, outcome.fault.seconds)
                    return
            yield

    def _at_work(self, who: str, move: Document) -> ChaosNode | None:
        """The node that has this part in a move; None when there is none now."""
        if who == RECEIVER:
            return next((n for n in self.cluster.members if n.name in move["add"]), None)
        return self.cluster.leader_of(DIRECTORY if who == COMPLETING else group_name(move))

    def _can_be_killed(self, node: ChaosNode) -> bool:
        """No other change and no fault sees to its process."""
        return node.process is not None and not node.is_taken and not self.faults.is_busy(node)

    def _rebalance(self) -> Steps:
        yield from until(lambda: len(self._under_way) == 1 and is_whole(self.view))
        if self.has_cancelled:
            yield from self.ask("rebalance", lambda view: False, LEAVE_S)

    # -- steps of several --------------------------------------------------------------------------

    def _take_turn(self, outcome: Outcome) -> Steps:
        yield from until(lambda: self._is_ending or self._turn is None)
        if not self._is_ending:
            self._turn = outcome

    def _cancel(self) -> Steps:
        answer = self.operator.ask("cancel")
        yield from until(answer.done)
        if answer.result().outcome != REFUSED:  # done, or unknown
            self.has_cancelled = True
            yield from until(lambda: self.view["epoch"] >= answer.result().epoch)

    def _kill_and_start(self, node: ChaosNode, seconds: float) -> Steps:
        node.is_taken = True
        if node.may_end == (LEFT,):  # it may miss that it was let go, and be told afterwards
            node.may_end = (LEFT, REMOVED)
        node.kill()
        yield from sleep(seconds)
        if node.ended is None:
            node.launch()
            yield from until_ready(node)
        node.is_taken = False

    def _restart(self, node: ChaosNode) -> Steps:
        yield from until(lambda: node.process is not None and not self.faults.is_busy(node))
        node.is_taken = True
        node.terminate()
        node.launch()
        yield from until_ready(node)
        node.is_taken = False

    # -- what is known -----------------------------------------------------------------------------

    def _look(self) -> None:
        if self._looking is not None and self._looking.done():
            self.told = self._looking.result()
            self._looking = None
            newest = max(self.told.values(), key=lambda told: told["epoch"], default=self.view)
            if newest["epoch"] >= self.view["epoch"]:
                self.view = newest
        if self._looking is None and time.monotonic() >= self._look_at:
            waits = any(o.fault.kind == "moving" and not o.began_ns for o, _ in self._under_way)
            self._look_at = time.monotonic() + (STEP_S if waits else LOOK_EVERY_S)
            self._looking = self.operator.look()

    def _begins(self, outcome: Outcome, *nodes: ChaosNode) -> None:
        outcome.nodes += [node.name for node in nodes]
        outcome.began_ns = self._now_ns()
        self._say(outcome, "begins")

    def _refuse(self, outcome: Outcome, why: ChangeGivenUp) -> None:
        self.refused.append(f"{outcome.fault.name}: {why}")
        self._say(outcome, f"refused ({why})")

    def _member(self, outcome: Outcome) -> ChaosNode | None:
        """The one that is meant, of those that are members and in no other change's hands."""
        fit = [
            node
            for node in self.cluster.members
            if not node.is_taken and not node.may_end and self._state(node) == "active"
        ]
        return fit[outcome.fault.node % len(fit)] if fit else None

    def _state(self, node: ChaosNode) -> str:
        return node_state(self.view, node.name)


class ChangeGivenUp(Exception):
    """The cluster goes on refusing it. The text is its reason."""
