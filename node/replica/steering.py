"""How a group gets from one replica set to another: one step at a time, and which is next. Pure.

The leader of a group asks this again and again with the newest configuration of its log. Nothing is
remembered between two steps, so any leader goes on where another one has stopped. Each step is one
membership change, which is committed before the next one is asked for:

 1. Targets that are no members become learners; learners that are no targets go.
 2. A learner that is caught up becomes a voter (Raft thesis 4.2.1).
 3. When all targets are voters, one voter that is none goes. The leader goes last.
 4. When voters and learners are as wanted and the configuration carries an older decision, the same
    configuration is written with the new one.

Every step carries the decision that asked for it. So the first one is a fence: no leader that knows
only an older decision changes the group any more. Step 4 is for a group that needs no other step.

No step takes away data or the majority that is there: a voter that answers goes only if as many as
are wanted, of those that hold the data, stay; and whoever goes, those that answer are a majority of
the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from quorumcache.node.consensus.values import Configuration, ReplicaId


def next_step(
    configuration: Configuration,
    target: Sequence[ReplicaId],
    decided: int,
    ready: Collection[ReplicaId],
    leader: ReplicaId = 0,
) -> Configuration | None:
    """The configuration that should follow `configuration` on the way to `target`.

    None: there is nothing to do, or it cannot be done yet, or a later decision than `decided` has
    been acted on. `ready`: members that answer and are caught up, the leader itself among them, and
    nodes that are no members and may become learners. `leader`: of the voters that have to go, the
    last.
    """
    if configuration.voters_outgoing or decided < configuration.decision:
        return None
    voters, learners = configuration.voters, configuration.learners
    decided_now = configuration._replace(decision=decided)
    missing = [replica for replica in target if replica not in voters]
    wanted = tuple(replica for replica in missing if replica in learners or replica in ready)
    if set(wanted) != set(learners):
        return decided_now._replace(learners=wanted)
    for learner in wanted:
        if learner in ready:
            rest = tuple(replica for replica in learners if replica != learner)
            return decided_now._replace(voters=(*voters, learner), learners=rest)
    if missing:
        return None  # None of them is caught up yet.
    surplus = [replica for replica in voters if replica not in target]
    # Those that do not answer first: nothing is lost with them.
    for voter in sorted(surplus, key=lambda v: (v == leader, v in ready, v)):
        rest = tuple(replica for replica in voters if replica != voter)
        if _may_go(voter, rest, len(target), ready):
            return decided_now._replace(voters=rest)
    if not surplus and decided > configuration.decision:
        return decided_now
    return None


def _may_go(
    voter: ReplicaId, rest: tuple[ReplicaId, ...], wanted: int, ready: Collection[ReplicaId]
) -> bool:
    """May `voter` be taken out, so that `rest` are the voters?"""
    holders = sum(replica in ready for replica in rest)
    if 2 * holders <= len(rest):
        return False  # The change itself could not be committed.
    return voter not in ready or holders >= wanted


def is_reached(configuration: Configuration, target: Sequence[ReplicaId], decided: int) -> bool:
    """Whether a committed configuration is where the decision wants it."""
    return (
        not configuration.voters_outgoing
        and not configuration.learners
        and set(configuration.voters) == set(target)
        and configuration.decision == decided
    )
