"""Scripted Raft clusters: text commands in, a transcript out.

A script is blocks separated by blank lines. A block is commands, a line `----`, and the transcript
they are expected to give. Lines that begin with `#` are the story and belong to no block.

    cluster COUNT [SETTING=N ...]   start replicas 1..COUNT
    join ID                         start an empty replica that knows of no configuration
    campaign ID / stepdown ID       ask a replica to stand, or a leader to give up
    propose ID WORD                 propose at a replica
    read ID CONTEXT                 register a read
    transfer ID TO                  hand leadership over
    change ID LIST [learners=LIST]  change the voters
    unreachable ID OTHER            the transport of ID lost its connection to OTHER
    isolate ID... / heal            cut replicas off from all others; mend everything
    drop ID>ID                      lose what is under way on a link
    slow ID / sync ID               ID's disk confirms nothing until told to / confirms everything
    crash ID / restart ID           a crash keeps what was confirmed
    compact ID                      snapshot and compact the log
    tick COUNT [ID...]              pass time and settle after each tick; heartbeats are not shown
    settle                          deliver until nothing moves
    status                          every replica's view
"""

from __future__ import annotations

from quorumcache.node.consensus.api import Ready
from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.raft.configurations import decode_configuration
from quorumcache.node.consensus.raft.messages import (
    Append,
    Heartbeat,
    HeartbeatReply,
    RaftMessage,
    SnapshotChunk,
)
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Role,
    Snapshot,
)
from tests.support.raft_cluster import Envelope, Member, RaftCluster


class ScriptCluster(RaftCluster):
    """A cluster that tells what happens."""

    def __init__(self, count: int, **settings: int) -> None:
        self.lines: list[str] = []
        self.slow: list[int] = []
        self.show_heartbeats = True
        super().__init__(count, **settings)

    def process(self, replica: int) -> list[Ready]:
        self.auto_sync = replica not in self.slow
        return super().process(replica)

    def _take(self, member: Member) -> Ready:
        ready = super()._take(member)
        say = self.lines.append
        if ready.soft_state is not None:
            role, leader_id, term = ready.soft_state
            name = role.name.lower().replace("_", "-")
            of = f" of {leader_id}" if role is Role.FOLLOWER and leader_id else ""
            say(f"{member.id} is {name}{of} in term {term}")
        if ready.snapshot is not None:
            say(f"{member.id} installs a snapshot at {ready.snapshot.meta.last_index}")
        if ready.committed_entries:
            say(f"{member.id} applies {entries_text(ready.committed_entries)}")
        for context, read_index in ready.read_states:
            say(f"{member.id} may serve read {context} at {read_index}")
        for context in ready.failed_reads:
            say(f"{member.id} fails read {context}")
        return ready

    def deliver(self, envelope: Envelope) -> None:
        sender, to, message = envelope
        quiet = isinstance(message, Heartbeat | HeartbeatReply) and not self.show_heartbeats
        if not quiet:
            self.lines.append(f"  {sender}>{to} {message_text(message)}")
        super().deliver(envelope)


def entries_text(entries: list[Entry] | tuple[Entry, ...]) -> str:
    words = []
    for index, term, kind, payload in entries:
        what = payload.decode()
        if kind == EntryKind.NOOP:
            what = "noop"
        elif kind == EntryKind.CONFIG:
            what = configuration_text(decode_configuration(payload))
        words.append(f"{index}@{term}={what}")
    return " ".join(words) or "nothing"


def configuration_text(configuration: Configuration) -> str:
    text = ",".join(map(str, configuration.voters))
    if configuration.learners:
        text += "+" + ",".join(map(str, configuration.learners))
    if configuration.voters_outgoing:
        text += "&" + ",".join(map(str, configuration.voters_outgoing))
    return f"({text})"


def message_text(message: RaftMessage) -> str:
    name = type(message).__name__
    if isinstance(message, Append):
        term, prev_index, prev_term, commit_index, entries = message
        after = f"after={prev_index}@{prev_term} commit={commit_index}"
        return f"{name} term={term} {after} {entries_text(entries)}"
    if isinstance(message, SnapshotChunk):
        part = f"[{message.offset},{message.offset + len(message.data)})/{message.total_bytes}"
        return f"{name} term={message.term} {message.last_index}@{message.last_term} {part}"
    fields = message._asdict()
    clocks = ("sent_ns", "stamp")
    unset_names = ("hint_index", "hint_term", "reject", "read_context", "force", "fresh_index")
    for unset in (*clocks, *unset_names):
        if not fields.get(unset) or unset in clocks:
            fields.pop(unset, None)
    return " ".join([name, *(f"{key}={int(value)}" for key, value in fields.items())])


def ids(text: str) -> tuple[int, ...]:
    return tuple(int(i) for i in text.split(","))


class Script:
    """Runs commands against one cluster."""

    def __init__(self) -> None:
        self.cluster = ScriptCluster(1)
        self.copies: dict[int, tuple[HardState, list[Entry], Snapshot | None]] = {}

    def run(self, commands: list[str]) -> list[str]:
        """The transcript of one block."""
        lines: list[str] = []
        for command in commands:
            name, *words = command.split()
            try:
                getattr(self, f"do_{name}")(*words)
            except ConsensusError as error:
                self.cluster.lines.append(f"refused: {error}")
            lines += self.cluster.lines
            self.cluster.lines = []
        return lines or ["ok"]

    def do_cluster(self, count: str, *settings: str) -> None:
        pairs = (setting.split("=") for setting in settings)
        self.cluster = ScriptCluster(int(count), **{key: int(value) for key, value in pairs})

    def do_join(self, replica: str) -> None:
        self.cluster.add(int(replica), Configuration(()))

    def do_campaign(self, replica: str) -> None:
        self.cluster[int(replica)].campaign()

    def do_stepdown(self, replica: str) -> None:
        self.cluster[int(replica)].step_down()

    def do_propose(self, replica: str, payload: str) -> None:
        self.cluster[int(replica)].propose(payload.encode())

    def do_read(self, replica: str, context: str) -> None:
        member = self.cluster.members[int(replica)]
        member.raft.request_read(int(context), member.now_ns())

    def do_transfer(self, replica: str, to: str) -> None:
        self.cluster[int(replica)].transfer_leadership(int(to))

    def do_change(self, replica: str, voters: str, learners: str = "learners=") -> None:
        listed = learners.removeprefix("learners=")
        new = Configuration(ids(voters), ids(listed) if listed else ())
        self.cluster[int(replica)].change_membership(new)

    def do_unreachable(self, replica: str, other: str) -> None:
        self.cluster[int(replica)].peer_unreachable(int(other))

    def do_isolate(self, *replicas: str) -> None:
        self.cluster.isolate(*map(int, replicas))

    def do_heal(self) -> None:
        self.cluster.heal()

    def do_drop(self, link: str) -> None:
        for replica in self.cluster.members:
            self.cluster.process(replica)
        sender, to = map(int, link.split(">"))
        self.cluster.network = [e for e in self.cluster.network if e[:2] != (sender, to)]

    def do_slow(self, replica: str) -> None:
        self.cluster.slow.append(int(replica))

    def do_sync(self, replica: str) -> None:
        self.cluster.slow.remove(int(replica))
        self.cluster.process(int(replica))

    def do_crash(self, replica: str) -> None:
        self.cluster.crash(int(replica))

    def do_restart(self, replica: str) -> None:
        self.cluster.restart(int(replica))

    def do_copy(self, replica: str) -> None:
        """Keep a copy of what is durable."""
        member = self.cluster.members[int(replica)]
        copy = (member.hard_state, list(member.entries), member.snapshot)
        self.copies[int(replica)] = copy

    def do_roll_back(self, replica: str) -> None:
        """Restart from the copy: the disk has forgotten what came after it."""
        member = self.cluster.members[int(replica)]
        member.crash()
        member.hard_state, entries, member.snapshot = self.copies[int(replica)]
        member.entries = list(entries)
        member.start()

    def do_compact(self, replica: str) -> None:
        self.cluster.members[int(replica)].compact()

    def do_tick(self, count: str, *replicas: str) -> None:
        self.cluster.show_heartbeats = False
        self.cluster.tick(int(count), *map(int, replicas))
        self.cluster.show_heartbeats = True

    def do_settle(self) -> None:
        self.cluster.pump()

    def do_status(self) -> None:
        for replica, member in self.cluster.members.items():
            if not member.up:
                self.cluster.lines.append(f"{replica}: down")
                continue
            raft = member.raft
            lease = " lease" if member.may_lease_read() else ""
            self.cluster.lines.append(
                f"{replica}: {raft.role.name.lower()} term={raft.term} leader={raft.leader_id}"
                f" log=[{raft.first_index},{raft.last_index}] commit={raft.commit_index}"
                f" {configuration_text(raft.configuration)}{lease}"
            )


def rerun(text: str) -> str:
    """The script with the transcripts it gives now."""
    script = Script()
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        story = [line for line in lines if line.startswith("#")]
        commands = [line for line in lines if not line.startswith("#")]
        if "----" in commands:
            commands = commands[: commands.index("----")]
        if commands:
            commands += ["----", *script.run(commands)]
        blocks.append("\n".join(story + commands))
    return "\n\n".join(blocks) + "\n"
