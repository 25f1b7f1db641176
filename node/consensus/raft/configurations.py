"""Which configuration is in force: the newest in the log, committed or not (Raft thesis 4.1).

Also the form of a configuration in an entry: three lists of decimal ids,
`voters;learners;outgoing`, ids separated by commas, for example `b"1,2,3;4;"`. The decision, if it
is not 0, is a fourth part: `b"1,2,3;4;;17"`.
"""

from __future__ import annotations

from quorumcache.node.consensus.progress import Progress
from quorumcache.node.consensus.raft.state import RaftState
from quorumcache.node.consensus.values import Configuration, Index, ReplicaId


def encode_configuration(configuration: Configuration) -> bytes:
    """The payload of a CONFIG entry."""
    voters, learners, outgoing, decision = configuration
    parts = [",".join(map(str, ids)) for ids in (voters, learners, outgoing)]
    if decision:
        parts.append(str(decision))
    return ";".join(parts).encode()


def decode_configuration(payload: bytes) -> Configuration:
    """Inverse of `encode_configuration`. Raises ValueError or ConfigurationRefused."""
    parts = payload.decode().split(";")
    decision = int(parts[3]) if len(parts) == 4 else 0
    if len(parts) not in (3, 4) or (len(parts) == 4 and decision < 1):
        raise ValueError(f"not a configuration: {payload!r}")
    voters, learners, outgoing = (tuple(int(i) for i in part.split(",") if i) for part in parts[:3])
    configuration = Configuration(voters, learners, outgoing, decision)
    configuration.validate()
    return configuration


def configuration_appended(r: RaftState, index: Index, payload: bytes) -> None:
    """A configuration entry was written to the log: it is in force from now on."""
    configuration = decode_configuration(payload)
    r.configurations.append((index, configuration))
    _use(r, configuration)


def configurations_truncated(r: RaftState, index: Index) -> None:
    """Entries >= `index` were dropped: fall back to the configuration before them."""
    if r.configurations[-1][0] < index:
        return
    while r.configurations[-1][0] >= index:
        r.configurations.pop()
    assert r.configurations, "the compaction point's configuration is never dropped"
    _use(r, r.configurations[-1][1])


def configurations_compacted(r: RaftState, index: Index) -> None:
    """Entries <= `index` were forgotten: keep the newest configuration among them, and all
    later."""
    configurations = r.configurations
    while len(configurations) > 1 and configurations[1][0] <= index:
        del configurations[0]


def configurations_restored(r: RaftState, index: Index, configuration: Configuration) -> None:
    """The log was replaced by a snapshot that ends at `index`."""
    r.configurations = [(index, configuration)]
    _use(r, configuration)


def configuration_at(r: RaftState, index: Index) -> Configuration:
    """The configuration that was in force at `index`, which is not below the compaction point."""
    for config_index, configuration in reversed(r.configurations):
        if config_index <= index:
            return configuration
    raise AssertionError(f"no configuration at or below {index}")


def is_promotable(r: RaftState) -> bool:
    """May this replica stand for election?

    A voter may. So may one whose removal is in its log but perhaps nowhere else: its log can be
    the only one that wins, and it counts only the others' votes (Raft thesis 4.2.2). One whose log
    ends below what it knows to be committed has lost entries, and may not.
    """
    if r.installing is not None or r.log.last_index < r.heard_commit_index:
        return False
    if r.configuration.is_voter(r.replica_id):
        return True
    index = r.configurations[-1][0]
    return (
        index > r.commit_index
        and len(r.configurations) > 1
        and r.configurations[-2][1].is_voter(r.replica_id)
    )


def build_progress(r: RaftState) -> None:
    """A new leader starts its view of the members from nothing."""
    r.members = {}
    _rebuild(r)


def learners_paced(r: RaftState) -> None:
    """A leader has got a budget for its learners."""
    if r.members:
        _rebuild(r)


def drop_progress(r: RaftState) -> None:
    """No longer leader."""
    for p in r.members.values():
        p.leave_window()
    r.members = {}
    r.own = None
    r.peers = r.voters = r.outgoing = ()
    r.followers = ()
    r.misses_followers = False


def _use(r: RaftState, configuration: Configuration) -> None:
    r.configuration = configuration
    if r.term_start_index:  # leader
        _rebuild(r)


def _rebuild(r: RaftState) -> None:
    next_index = r.log.last_index + 1
    configuration = r.configuration
    before = r.members
    members: dict[ReplicaId, Progress] = {}
    for replica in configuration.members():
        p = members[replica] = before.get(replica) or Progress(
            replica, next_index, r.catch_up_windows.of(replica)
        )
        p.is_learner = not configuration.is_voter(replica)
        p.budget = r.learner_budget if p.is_learner else None
        if p.budget is not None:
            p.leave_place()  # It is slow from here on: a voter is not to wait for it.
    for replica, p in before.items():
        if replica not in members:
            p.leave_window()
    r.members = members
    r.own = members.get(r.replica_id)
    r.peers = tuple(p for replica, p in members.items() if replica != r.replica_id)
    r.followers = tuple(p.replica_id for p in r.peers)
    r.misses_followers = False
    r.voters = tuple(members[replica] for replica in configuration.voters)
    r.outgoing = tuple(members[replica] for replica in configuration.voters_outgoing)
