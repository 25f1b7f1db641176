"""Elections: timeouts, pre-vote, votes (Raft thesis 3.4, 3.6.1, 4.2.3, 9.6)."""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.quorum import VoteResult, joint_vote_result
from quorumcache.node.consensus.raft.configurations import encode_configuration, is_promotable
from quorumcache.node.consensus.raft.heartbeats import broadcast_heartbeats
from quorumcache.node.consensus.raft.messages import (
    PreVote,
    PreVoteReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.raft.proposals import append_own
from quorumcache.node.consensus.raft.replication import broadcast_appends
from quorumcache.node.consensus.raft.roles import (
    become_candidate,
    become_follower,
    become_leader,
    become_pre_candidate,
)
from quorumcache.node.consensus.raft.state import (
    RaftState,
    in_promise,
    restart_election_timer,
    send_durable,
)
from quorumcache.node.consensus.values import EntryKind, Index, ReplicaId, Role, Term

RESEND_GAP_TICKS: Final = 1
"""First repetition of an unanswered vote request; each further one waits twice as long."""


# -- when to stand -------------------------------------------------------------------------


def election_deadline(r: RaftState) -> None:
    """A tick of a follower or candidate at which something may be due."""
    if r.role is not Role.FOLLOWER:
        if r.ticks >= r.timer_tick + r.timeout_ticks:
            start_pre_vote(r)
        else:
            _repeat_requests(r)
        return
    due = max(r.timer_tick, r.heard_tick) + r.timeout_ticks
    if r.ticks < due:
        # A leader was heard from since the deadline was set. Draw again for the coming interval.
        election_ticks = r.config.election_ticks
        r.timeout_ticks = r.random.randrange(election_ticks, 2 * election_ticks)
        due = max(r.timer_tick, r.heard_tick) + r.timeout_ticks
        r.deadline_tick = max(due, r.ticks + 1)
    elif in_promise(r):
        r.deadline_tick = r.ticks + 1  # our own vote is promised away as well
    elif is_promotable(r):
        start_pre_vote(r)
    else:
        restart_election_timer(r)


def campaign(r: RaftState) -> None:
    """See `ReplicatedLog.campaign`."""
    if r.role is not Role.FOLLOWER or not is_promotable(r):
        return
    if in_promise(r):
        _stand_after(r, r.config.election_ticks)
    else:
        start_pre_vote(r)


def leader_unreachable(r: RaftState) -> None:
    """The transport says that our leader is gone: wait no longer than our promise to it.

    Voters stand one after the other in the order of the configuration, so that they do not split
    the vote; without the hint the timeout is random to the same end.
    """
    others = [v for v in r.configuration.voters if v != r.leader_id]
    rank = others.index(r.replica_id) if r.replica_id in others else len(others)
    _stand_after(r, r.config.election_ticks + rank * r.config.stagger_ticks)


def _stand_after(r: RaftState, timeout_ticks: int) -> None:
    """Time out exactly this long after a leader was last heard, unless one is heard from again."""
    r.timer_tick = r.heard_tick
    r.timeout_ticks = timeout_ticks
    r.deadline_tick = max(r.heard_tick + timeout_ticks, r.ticks + 1)


# -- standing ------------------------------------------------------------------------------


def start_pre_vote(r: RaftState) -> None:
    if not is_promotable(r):
        become_follower(r, r.term, 0)  # removed while standing
        return
    become_pre_candidate(r)
    _first_requests(r)


def start_election(r: RaftState, force: bool) -> None:
    become_candidate(r)
    r.forced = force
    _first_requests(r)


def begin_new_term(r: RaftState) -> None:
    """Leader: lead on in the next term, where there may be a lease again (see transfer.py).

    Forced, because the voters still keep what they promised us. That is as safe as the TimeoutNow
    was: this term has no lease any more, and in the next one each voter votes once.
    """
    if is_promotable(r):
        become_follower(r, r.term, 0)
        start_election(r, force=True)


def _first_requests(r: RaftState) -> None:
    r.resend_gap = RESEND_GAP_TICKS
    r.resend_tick = r.ticks + r.resend_gap
    r.deadline_tick = min(r.resend_tick, r.timer_tick + r.timeout_ticks)
    _send_requests(r)
    _count_votes(r)


def _repeat_requests(r: RaftState) -> None:
    r.resend_gap *= 2
    r.resend_tick = r.ticks + r.resend_gap
    r.deadline_tick = min(r.resend_tick, r.timer_tick + r.timeout_ticks)
    _send_requests(r)


def _send_requests(r: RaftState) -> None:
    configuration = r.configuration
    log = r.log
    request: PreVote | Vote
    if r.role is Role.PRE_CANDIDATE:
        request = PreVote(r.term + 1, log.last_index, log.last_term)
    else:
        request = Vote(r.term, log.last_index, log.last_term, r.forced)
    for voter in dict.fromkeys(configuration.voters + configuration.voters_outgoing):
        if voter != r.replica_id and voter not in r.votes:
            send_durable(r, voter, request)


def _count_votes(r: RaftState) -> None:
    configuration = r.configuration
    result = joint_vote_result(r.votes, configuration.voters, configuration.voters_outgoing)
    if result is VoteResult.LOST:
        become_follower(r, r.term, 0)
    elif result is VoteResult.WON:
        if r.role is Role.PRE_CANDIDATE:
            start_election(r, force=False)
        else:
            _take_over(r)


def _take_over(r: RaftState) -> None:
    born = r.log.last_index == 0
    become_leader(r)
    # An entry of our own term, to learn what is committed (Raft thesis 6.4). The very first one of
    # a group is its configuration, so that a replica that is born empty finds it in the log.
    if born:
        append_own(r, EntryKind.CONFIG, encode_configuration(r.configuration))
    else:
        append_own(r, EntryKind.NOOP, b"")
    broadcast_appends(r)
    broadcast_heartbeats(r)  # the lease starts with the first answers
    r.heartbeat_tick = r.ticks + r.config.heartbeat_ticks
    r.deadline_tick = min(r.heartbeat_tick, r.quorum_check_tick)


# -- being asked ---------------------------------------------------------------------------


def _may_follow(r: RaftState, last_index: Index, last_term: Term) -> bool:
    """May a candidate whose log ends so be elected, as far as we can tell?

    At least as up to date as ours (Raft thesis 3.6.1), and not without an entry that we know to be
    committed. In a group whose disks keep what they were given, the second follows from the first:
    it is for a replica whose own log has lost entries. One without a configuration has no vote.
    """
    if not r.configuration.voters:
        return False
    return last_index >= r.heard_commit_index and r.log.is_up_to_date(last_index, last_term)


def may_vote(r: RaftState, force: bool) -> bool:
    """Leader stickiness (Raft thesis 4.2.3): with a live leader, requests are not even looked
    at."""
    return force or (r.role is not Role.LEADER and not in_promise(r))


def handle_pre_vote(r: RaftState, sender: ReplicaId, m: PreVote) -> None:
    """Whatever its term: a pre-vote changes nothing here."""
    if not may_vote(r, False):
        return  # the candidate times out, or asks again
    if m.term > r.term and _may_follow(r, m.last_index, m.last_term):
        send_durable(r, sender, PreVoteReply(m.term, True))
        if r.role is Role.PRE_CANDIDATE and _precedes(r, sender):
            # Both timed out at once. The later one in order gives way, or they would split the
            # vote.
            become_follower(r, r.term, 0)
    else:
        send_durable(r, sender, PreVoteReply(r.term, False))


def _precedes(r: RaftState, other: ReplicaId) -> bool:
    """Does `other` stand before us in the order of the configuration?"""
    voters = r.configuration.voters
    if other not in voters:
        return False
    return r.replica_id not in voters or voters.index(other) < voters.index(r.replica_id)


def handle_vote(r: RaftState, sender: ReplicaId, m: Vote) -> None:
    """A request in our own term; `step` has brought us there if need was."""
    if not may_vote(r, m.force):
        return
    if r.voted_for == sender:
        granted = True  # it asks again: the answer was lost
    else:
        granted = (
            r.voted_for == 0 and r.leader_id == 0 and _may_follow(r, m.last_index, m.last_term)
        )
        if granted:
            r.voted_for = sender
            r.hard_changed = True
            r.timer_tick = r.ticks
            if r.role is Role.PRE_CANDIDATE:
                become_follower(r, r.term, 0)  # stand back for the one we voted for
    send_durable(r, sender, VoteReply(r.term, granted))


def handle_pre_vote_reply(r: RaftState, sender: ReplicaId, m: PreVoteReply) -> None:
    if r.role is not Role.PRE_CANDIDATE:
        return  # too late
    if m.granted and m.term != r.term + 1:
        return  # to an earlier question
    _note_vote(r, sender, m.granted)


def handle_vote_reply(r: RaftState, sender: ReplicaId, m: VoteReply) -> None:
    if r.role is not Role.CANDIDATE:
        return  # already decided
    _note_vote(r, sender, m.granted)


def _note_vote(r: RaftState, sender: ReplicaId, granted: bool) -> None:
    # A yes is kept: a duplicated no from before it says nothing new.
    if not r.votes.get(sender, False):
        r.votes[sender] = granted
        _count_votes(r)


def handle_timeout_now(r: RaftState, sender: ReplicaId, m: TimeoutNow) -> None:
    if r.role is not Role.FOLLOWER or not is_promotable(r):
        return  # standing already, or no voter any more
    if r.leader_id not in (0, sender):
        return  # cannot be: a term has one leader
    start_election(r, force=True)
