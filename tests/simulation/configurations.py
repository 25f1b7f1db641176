"""What may be true of the configurations of groups, read from all replicas' logs and from all
disks; looked at every few milliseconds.

- Of the voters of a committed configuration, never so many that they could decide alone lack what
  was committed. A disk that is gone for good decides nothing, so it does not count as lacking.
- One step adds or takes one voter. New voters come first: a voter is only taken while all that the
  move wants are voters.
- A learner becomes a voter with everything that was committed a moment ago.
- A replica is removed from a node only when the committed configuration does without it.
- A group with no move has exactly the replicas that the map says. (For a moment the newest
  configuration may be one of which nobody alive knows that it is committed.)
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from quorumcache.ring.move import DIRECTORY_GROUP
from tests.simulation.checkers import InvariantViolation

if TYPE_CHECKING:
    from quorumcache.ring import ClusterMap
    from quorumcache.ring.move import Move
    from tests.simulation.elastic_world import ElasticWorld

DIFFERS_NS = 1_000_000_000
"""A difference between the map and the groups that lasts so long is one."""
DISKS_EVERY_LOOKS = 10
CAUGHT_UP_NS = 3_000_000_000
"""Who becomes a voter holds what was committed so long ago: some election timeouts."""


class Configurations:
    """See the module."""

    def __init__(self, world: ElasticWorld) -> None:
        self._world = world
        self._committed: dict[int, tuple[int, Any]] = {}
        """Of each group: the newest configuration that is known to be committed, and its index."""
        self._commit: dict[int, tuple[int, int]] = {}
        """Of each group: index and term of the last entry that is known to be committed."""
        self._seen: dict[tuple[str, int], tuple[Any, int, int, int]] = {}
        """Of each replica: the group, how many configurations it had, the last one, and commit."""
        self._steps: set[tuple[int, int, Any]] = set()
        """Those looked at: group, index, configuration."""
        self._marks: dict[int, deque[tuple[int, int]]] = {}
        """Of each group: when more was known to be committed, and how much; the last moments, and
        the last one before them."""
        self._moves: dict[tuple[int, int], Move] = {}
        """By group and decision."""
        self._removed: dict[str, tuple[Any, int]] = {}
        """By node: its log, and how many removed replicas of it were looked at."""
        self._differs_ns: dict[int, tuple[int, int]] = {}
        """By group: the epoch, and since when map and group differ."""
        self._looks = 0
        self.changes = 0
        """Steps that were seen."""

    # -- looking -----------------------------------------------------------------------------------

    def look(self) -> None:
        """Take in what is new, and check it."""
        self._looks += 1
        for simulated in self._world.nodes:
            if not simulated.has_own_directory:
                continue
            for group in simulated.groups():
                log = group.log
                configurations = log.configurations
                now = (group, len(configurations), configurations[-1][0], group.commit_index)
                key = (simulated.name, group.group_id)
                if self._seen.get(key) != now:
                    self._seen[key] = now
                    self._take(group.group_id, configurations, group.commit_index, log)
        if self._looks % DISKS_EVERY_LOOKS == 0:
            self._check_disks()

    def _take(
        self, group_id: int, configurations: list[tuple[int, Any]], commit: int, log: Any
    ) -> None:
        term = log.log.term_at(commit)
        if term is not None and commit > self._commit.get(group_id, (0, 0))[0]:
            self._commit[group_id] = (commit, term)
            marks = self._marks.setdefault(group_id, deque())
            marks.append((self._world.loop.now_ns, commit))
            self._forget_marks(marks)
        before: Any = None
        for index, configuration in configurations:
            if index <= commit and index >= self._committed.get(group_id, (-1, None))[0]:
                self._committed[group_id] = (index, configuration)
            if before is not None and (group_id, index, configuration) not in self._steps:
                self._steps.add((group_id, index, configuration))
                self.changes += 1
                self._check_step(group_id, index, before, configuration)
            before = configuration

    def _check_step(self, group_id: int, index: int, before: Any, after: Any) -> None:
        if before.voters_outgoing or not before.voters:
            return
        added = [voter for voter in after.voters if voter not in before.voters]
        taken = [voter for voter in before.voters if voter not in after.voters]
        story = f"group {group_id}: {_text(before)} becomes {_text(after)} at {index}"
        if len(added) + len(taken) > 1 and not after.voters_outgoing:
            raise InvariantViolation(story, rule="more than one voter changes at once")
        move = self._moves.get((group_id, after.decision))
        if move is None or not (added or taken):
            return
        if taken and not {*move.target} <= {*after.voters}:
            raise InvariantViolation(
                f"{story}, before all targets of {move} are voters",
                rule="a voter is taken before the new one is there",
            )
        for voter in added:
            self._check_caught_up(group_id, voter, story)

    def _check_caught_up(self, group_id: int, voter: int, story: str) -> None:
        marks = self._marks.get(group_id)
        if self._world.promises.is_gone(voter) or not marks:
            return
        self._forget_marks(marks)
        since_ns, commit = marks[0]
        is_old = self._world.loop.now_ns - since_ns > CAUGHT_UP_NS
        if is_old and not self._world.promises.reaches(voter, group_id, commit):
            raise InvariantViolation(
                f"{story}, but node {voter} lacks entry {commit}, which was committed long ago",
                rule="a voter that has not caught up",
            )

    def _forget_marks(self, marks: deque[tuple[int, int]]) -> None:
        while len(marks) > 1 and self._world.loop.now_ns - marks[1][0] > CAUGHT_UP_NS:
            marks.popleft()

    # -- disks -------------------------------------------------------------------------------------

    def _check_disks(self) -> None:
        for group_id, (_, configuration) in self._committed.items():
            if group_id in self._commit and configuration.voters:
                index, term = self._commit[group_id]
                for voters in (configuration.voters, configuration.voters_outgoing):
                    self._check_holders(group_id, voters, index, term)
        for simulated in self._world.nodes:
            if not simulated.has_own_directory or not simulated.node_id:
                continue
            log = self._world.promises.log_of(simulated)
            known, count = self._removed.get(simulated.name, (log, 0))
            if known is not log:
                count = 0
            self._removed[simulated.name] = (log, len(log.forgotten))
            for group_id in log.forgotten[count:]:
                self._check_removed(simulated.node_id, group_id)

    def _check_holders(self, group_id: int, voters: tuple[int, ...], index: int, term: int) -> None:
        promises = self._world.promises
        lacking = [
            voter
            for voter in voters
            if not promises.is_gone(voter) and not promises.holds(voter, group_id, index, term)
        ]
        if 2 * len(lacking) > len(voters):
            raise InvariantViolation(
                f"group {group_id}: of the voters {list(voters)} of the committed configuration "
                f"{lacking} lack entry {index} of term {term}, which is committed",
                rule="a majority of voters lacks what was committed",
            )

    def _check_removed(self, node_id: int, group_id: int) -> None:
        index, configuration = self._committed.get(group_id, (0, None))
        if configuration is None or not configuration.is_voter(node_id):
            return
        if any(not later.is_voter(node_id) for later in self._later(group_id, index)):
            return
        raise InvariantViolation(
            f"group {group_id}: node {node_id} has removed its replica, and is a voter of the "
            f"committed configuration {_text(configuration)}",
            rule="a voter forgets",
        )

    def _later(self, group_id: int, index: int) -> list[Any]:
        """Newer configurations in any log: they may be committed without our knowing it."""
        return [
            configuration
            for simulated in self._world.nodes
            for group in simulated.groups()
            if group.group_id == group_id
            for at, configuration in group.log.configurations
            if at > index
        ]

    # -- the map -----------------------------------------------------------------------------------

    def judge(self, newest: ClusterMap | None) -> None:
        """Compare the groups with the newest map that anybody knows."""
        if newest is None:
            return
        for move in newest.moves:
            if move.decided:
                self._moves[move.group_id, move.decided] = move
        if newest.form < 2:
            return
        now_ns = self._world.loop.now_ns
        for group_id, (index, configuration) in self._committed.items():
            move_now = newest.move_of(group_id)
            wanted = {*newest.replica_set(group_id)}
            differs = (
                (move_now is None or not move_now.decided)
                and bool(configuration.voters)
                and not _is(configuration, wanted)
                and not any(_is(later, wanted) for later in self._later(group_id, index))
            )
            if not differs:
                self._differs_ns.pop(group_id, None)
                continue
            epoch, since_ns = self._differs_ns.setdefault(group_id, (newest.epoch, now_ns))
            if now_ns - since_ns > DIFFERS_NS:
                raise InvariantViolation(
                    f"group {group_id} has {_text(configuration)} since {index}, and the map of "
                    f"epoch {newest.epoch} says {sorted(wanted)} without a move, since {epoch}",
                    rule="a group is not what the map says",
                )

    def may_lose(self, node_id: int) -> bool:
        """Whether every group decides on without this node, whatever else is lost by now."""
        newest = self._world.maps.newest
        if newest is None or newest.form < 2:
            return False
        for group_id in range(DIRECTORY_GROUP, newest.shard_count + 1):
            _, committed = self._committed.get(group_id, (0, None))
            if committed is None:
                return False
            known = [committed, *self._later(group_id, 0)]
            sets = [each.voters for each in known if each.voters]
            move = newest.move_of(group_id)
            sets += [newest.replica_set(group_id), *([move.target] if move else [])]
            for voters in sets:
                lost = [v for v in voters if v == node_id or self._world.promises.is_gone(v)]
                if node_id in voters and 2 * len(lost) >= len(voters):
                    return False
        return True


def _is(configuration: Any, wanted: set[int]) -> bool:
    return (
        {*configuration.voters} == wanted
        and not configuration.learners
        and not configuration.voters_outgoing
    )


def _text(configuration: Any) -> str:
    text = "+".join(map(str, configuration.voters))
    if configuration.learners:
        text += f" learning {'+'.join(map(str, configuration.learners))}"
    if configuration.voters_outgoing:
        text += f" outgoing {'+'.join(map(str, configuration.voters_outgoing))}"
    return f"{text} by {configuration.decision}"
