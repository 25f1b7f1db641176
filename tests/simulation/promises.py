"""No promise leaves a node before what it promises is durable; looked at on every write to a
connection, and compared with the bytes that its disk has synced.

What is read here is the wire (frames between nodes, `bundle_reader.py`) and the disk
(`log_reader.py`), both by readers of their own. The product's own idea of what is durable is not
asked.

- A vote, and a candidate's request for votes, leave after the vote is on disk.
- A leader's entries leave after its term is.
- An acknowledgement of entries or of a snapshot leaves after the term and all of them are.
- Before a node writes anything after it applied an entry, a client's reply above all, the entry is
  on the disks of a majority of its group's voters: by the configuration that the entry was written
  under, or by a later one that a leader has begun to count by.
- A start recovers whatever was durable before, but for replicas that were removed.

A disk that is replaced stays here as it was: what it had acknowledged counts for what was decided
with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack

from tests.simulation.bundle_reader import BundleReader
from tests.simulation.checkers import InvariantViolation
from tests.simulation.log_reader import DurableGroup, DurableLog

if TYPE_CHECKING:
    from quorumcache.node.node import Node
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.transport import VirtualTransport

FRAME_HEADER = struct.Struct(">II")
VOTE, VOTE_REPLY, APPEND, APPEND_REPLY, SNAPSHOT_REPLY = 2, 3, 4, 5, 9
PROMISES = frozenset({VOTE, VOTE_REPLY, APPEND, APPEND_REPLY, SNAPSHOT_REPLY})


def _ignore(node: SimulatedNode, receiver: SimulatedNode, item: tuple[Any, ...]) -> None:
    """Nobody wants to know."""


class _Kept:
    """One disk of a node and what is durable on it."""

    def __init__(self, node: SimulatedNode) -> None:
        self._disk = node.disk
        self._log = DurableLog(node.disk)

    def refresh(self) -> DurableLog:
        """Take in what was synced, while the files are the node's own."""
        if self._disk.is_own:
            self._log.refresh()
        return self._log

    def promised(self, group_id: int) -> DurableGroup:
        """What is durable of a group, with the term and the vote of a replica that was removed
        here, which bind the one that came after it (docs/storage.md).
        """
        durable = self._log.group(group_id)
        if group_id not in self._log.forgotten:
            return durable
        term, vote = self._removed().get(group_id, (0, 0))
        if term <= durable.term:
            return durable
        bound = durable.copy()
        bound.term, bound.voted_for = term, vote
        if vote:
            bound.votes[term] = vote
        return bound

    def leaving(self) -> set[int]:
        """Groups whose removal has durably begun: no start starts them (docs/storage.md)."""
        births = self._births()
        return {group_id for group_id, birth in births[2].items() if birth is None}

    def _removed(self) -> dict[int, tuple[int, int]]:
        births = self._births()
        return dict(births[3]) if len(births) > 3 else {}

    def _births(self) -> tuple[Any, ...]:
        """The fields of `groups.born`."""
        inode = self._disk.own_synced_names.get("/data/groups.born")
        if inode is None:
            return ("", 0, {})
        data = bytes(inode.synced)[:-4]
        fields: tuple[Any, ...] = msgpack.unpackb(data, use_list=False, strict_map_key=False)
        return fields

    def snapshot_index(self, group_id: int) -> int:
        """Last index of the group's snapshot file: after a crash the log may lag behind it. One in
        which a bit has turned is there: its node does not start before it has it back.
        """
        data = self._disk.as_synced(f"/data/snapshots/{group_id:06d}.snapshot")
        if data is None:
            return 0
        length = int.from_bytes(data[12:16], "big")
        meta = msgpack.unpackb(data[20 : 20 + length], use_list=False)
        return int(meta[1])

    def last_index(self, group_id: int) -> int:
        return max(self.refresh().group(group_id).last_index, self.snapshot_index(group_id))

    def holds(self, group_id: int, index: int, term: int) -> bool:
        covered = self.refresh().group(group_id).covers(index, term)
        return covered or index <= self.snapshot_index(group_id)


class Promises:
    """See the module. `checked` counts the promises that were looked at."""

    def __init__(self, nodes: list[SimulatedNode]) -> None:
        self.checked = 0
        self.acknowledged = 0
        """Applied entries that were found on a majority's disks."""
        self.on_promise: Callable[[SimulatedNode, SimulatedNode, tuple[Any, ...]], None] = _ignore
        """Hears of each one: who gives it to whom."""
        self._nodes = {node.name: node for node in nodes}
        self._disks = {node.name: _Kept(node) for node in nodes}
        self._former: dict[int, _Kept] = {}
        """Disks that are gone for good, by the node id that they spoke for."""
        self._configurations: dict[int, dict[int, Any]] = {}
        """By group: every configuration that a leader was seen to count by, by its index."""
        self._streams: dict[VirtualTransport, bytearray] = {}
        self._bundles = BundleReader()
        self._seen: dict[int, tuple[int, int]] = {}
        """By node: its incarnation and how much it had applied when all was looked at."""
        self._on_majority: dict[int, int] = {}  # group: index up to which that was seen

    def on_write(self, transport: VirtualTransport, data: bytes) -> None:
        """A node hands bytes to one of its connections. Raises `InvariantViolation`."""
        node = self._nodes.get(transport.local_host)
        if node is None or transport.process is not node.process:
            return
        self._check_applied(node)
        receiver = self._nodes.get(transport.remote_host)
        if receiver is not None and receiver is not node and receiver.node_id:
            for payload in self._payloads(transport, data):
                self._check_payload(node, receiver, payload)

    def refresh(self, node: SimulatedNode) -> None:
        """Take in what its disk has synced."""
        self._disks[node.name].refresh()

    def log_of(self, node: SimulatedNode) -> DurableLog:
        """What its disk has synced of the log, up to now."""
        return self._disks[node.name].refresh()

    def disk_is_replaced(self, node: SimulatedNode) -> None:
        """Call it before the node gets another disk, and `disk_was_replaced` after that."""
        kept = self._disks[node.name]
        kept.refresh()
        if node.node_id:
            self._former[node.node_id] = kept

    def disk_was_replaced(self, node: SimulatedNode) -> None:
        """The node has an empty disk, and no id."""
        self._disks[node.name] = _Kept(node)
        self._seen.pop(node.node_id, None)

    def is_gone(self, node_id: int) -> bool:
        """Its disk is gone for good: it never decides anything again."""
        return node_id in self._former

    def has_marks(self, node: SimulatedNode) -> bool:
        """Does its log say, durably, that a snapshot stands for entries that are gone?"""
        return any(group.base_index for group in self.log_of(node).groups.values())

    # -- frames between nodes ----------------------------------------------------------------------

    def _payloads(self, transport: VirtualTransport, data: bytes) -> list[bytes]:
        """The payloads of the frames that `data` completes."""
        rest = self._streams.pop(transport, None)
        if rest is not None:
            data = bytes(rest) + data
        payloads = []
        at, end = 0, len(data)
        while end - at >= FRAME_HEADER.size:
            length, _ = FRAME_HEADER.unpack_from(data, at)
            if end - at - FRAME_HEADER.size < length:
                break
            at += FRAME_HEADER.size
            payloads.append(data[at : at + length])
            at += length
        if at < end and not transport.is_gone():
            self._streams[transport] = bytearray(data[at:])
        return payloads

    def _check_payload(self, node: SimulatedNode, receiver: SimulatedNode, payload: bytes) -> None:
        items = msgpack.unpackb(payload, use_list=False, strict_map_key=False)
        if not items or not isinstance(items[0], tuple):
            return  # A keepalive, a hello or a refusal.
        durable: DurableLog | None = None
        read = self._bundles.messages
        sent = (each for item in items for each in read(node.node_id, receiver.node_id, item))
        for item in sent:
            if item[0] not in PROMISES:
                continue
            if durable is None:
                durable = self.log_of(node)  # Taken in once for all.
            promised = self._disks[node.name].promised(item[1])
            self._check_promise(node, receiver.node_id, promised, item)
            self.on_promise(node, receiver, item)

    def _check_promise(
        self, node: SimulatedNode, receiver: int, durable: DurableGroup, item: tuple[Any, ...]
    ) -> None:
        kind, group_id, message = item
        term = message[0]
        self.checked += 1
        if node.directory_is_refused:
            self._check_silence(node, item)
            return
        if kind == VOTE:
            if not self._has_voted(durable, term, node.node_id):
                self._broken(node, group_id, f"asks for votes in term {term}", durable)
        elif kind == VOTE_REPLY:
            if message[1] and not self._has_voted(durable, term, receiver):
                self._broken(node, group_id, f"votes for {receiver} in term {term}", durable)
        elif kind == APPEND:
            if durable.term < term:
                self._broken(node, group_id, f"leads term {term}", durable)
        elif kind == APPEND_REPLY:
            index, reject = message[1:3]
            if not reject:
                what = f"acknowledges entries up to {index} in term {term}"
                self._check_acknowledgement(node, group_id, durable, term, index, what)
        elif message[3]:
            what = f"acknowledges a snapshot at {message[1]} in term {term}"
            self._check_acknowledgement(node, group_id, durable, term, message[1], what)

    @staticmethod
    def _check_silence(node: SimulatedNode, item: tuple[Any, ...]) -> None:
        """A node without its own directory promises nothing: it has forgotten, or never knew."""
        kind, group_id, message = item
        refuses = (kind == VOTE_REPLY and not message[1]) or (kind == APPEND_REPLY and message[2])
        if kind in (VOTE_REPLY, APPEND_REPLY, SNAPSHOT_REPLY, APPEND) and not refuses:
            raise InvariantViolation(
                f"group {group_id}: node {node.node_id} promises {item}, and its directory is not "
                "its own",
                rule="a directory that is not its own is believed",
            )

    @staticmethod
    def _has_voted(durable: DurableGroup, term: int, candidate: int) -> bool:
        """Can it never vote for anybody else in `term`?

        A vote and the next term may have come to the disk as one: then the term is enough.
        """
        return durable.votes.get(term, candidate if durable.term > term else 0) == candidate

    def _check_acknowledgement(
        self,
        node: SimulatedNode,
        group_id: int,
        durable: DurableGroup,
        term: int,
        index: int,
        what: str,
    ) -> None:
        if durable.term < term:
            self._broken(node, group_id, what, durable)
        if durable.term > term:
            return  # Nobody acts on it any more, and the entries may be others by now.
        if index > durable.last_index and index > self._disks[node.name].snapshot_index(group_id):
            self._broken(node, group_id, what, durable)
        entry_term = durable.terms.get(index)
        if entry_term is None:
            return
        for leader in self._nodes.values():
            for group in leader.groups():
                if group.group_id == group_id and group.is_leader and group.term == term:
                    expected = group.log.log.term_at(index)
                    if expected is not None and expected != entry_term:
                        self._broken(node, group_id, f"{what}; the leader's is {expected}", durable)

    @staticmethod
    def _broken(node: SimulatedNode, group_id: int, what: str, durable: DurableGroup) -> None:
        raise InvariantViolation(
            f"group {group_id}: node {node.node_id} {what}; on its disk are term {durable.term}, "
            f"voted_for {durable.voted_for}, last_index {durable.last_index}, a snapshot at "
            f"{durable.base_index}, and term {durable.terms.get(durable.last_index)} of the last "
            "entry",
            rule="promise before durable",
        )

    # -- what was applied --------------------------------------------------------------------------

    def _check_applied(self, node: SimulatedNode) -> None:
        running = node.node
        if running is None:
            return
        seen = (node.incarnation, running.counters.entries_applied)
        if self._seen.get(node.node_id) == seen:
            return
        self._seen[node.node_id] = seen
        on_majority = self._on_majority
        for group_id, group in running.host.groups.items():
            index = group.applied_index
            if group.is_leader:
                known = self._configurations.setdefault(group_id, {})
                known[group.log.configurations[-1][0]] = group.log.configuration  # type: ignore[attr-defined]
            if index > on_majority.get(group_id, 0):
                self._check_majority(node, group_id, group, index)

    def _check_majority(self, node: SimulatedNode, group_id: int, group: Any, index: int) -> None:
        term = group.log.log.term_at(index)
        if term is None:
            return  # Compacted: its snapshot was installed, and the leader's write was looked at.
        found = ""
        for configuration in self._counted_by(group_id, group.log.configurations, index):
            lacks = ""
            for voters in (configuration.voters, configuration.voters_outgoing):
                holders = [voter for voter in voters if self.holds(voter, group_id, index, term)]
                if 2 * len(holders) <= len(voters) and voters:
                    lacks = f"only nodes {holders} of {list(voters)}"
            if not lacks:
                self.acknowledged += 1
                self._on_majority[group_id] = index
                return
            found = found or lacks
        raise InvariantViolation(
            f"group {group_id}: node {node.node_id} answers after applying entry {index} "
            f"of term {term}, which {found} have on disk",
            rule="applied without a majority",
        )

    def _counted_by(self, group_id: int, own: list[tuple[int, Any]], index: int) -> list[Any]:
        """The configurations by which an entry may have been committed, the likeliest first."""
        before = max((at for at, _ in own if at <= index), default=0)
        known = {at: each for at, each in own if at >= before}
        seen = self._configurations.get(group_id, {})
        known |= {at: each for at, each in seen.items() if at > index and at not in known}
        return [known[at] for at in sorted(known)]

    def holds(self, node_id: int, group_id: int, index: int, term: int) -> bool:
        """Whether the entry is on the node's disk, in the log or under its snapshot."""
        kept = self._former.get(node_id) or self._kept_by(node_id)
        return kept is not None and kept.holds(group_id, index, term)

    def reaches(self, node_id: int, group_id: int, index: int) -> bool:
        """Whether the node's disk holds entries up to there, or a snapshot of them."""
        kept = self._former.get(node_id) or self._kept_by(node_id)
        return kept is not None and kept.last_index(group_id) >= index

    def _kept_by(self, node_id: int) -> _Kept | None:
        for node in self._nodes.values():
            if node.node_id == node_id:
                return self._disks[node.name]
        return None

    # -- starts ------------------------------------------------------------------------------------

    def check_recovered(self, node: SimulatedNode, started: Node) -> None:
        """A node has read its disk, and done nothing else yet: nothing durable may be missing."""
        if not node.has_own_directory:
            return
        leaving = self._disks[node.name].leaving()
        for group_id, durable in self.log_of(node).groups.items():
            if group_id in leaving:
                continue  # The log may have forgotten it, and not know so for certain.
            found = started.durable.recovered.get(group_id)
            snapshot = started.durable.snapshots_found.get(group_id)
            base_index = snapshot.meta.last_index if snapshot is not None else 0
            hard_state = tuple(found.hard_state) if found is not None else (0, 0)
            if hard_state[0] < durable.term or (
                hard_state[0] == durable.term and hard_state[1] != durable.voted_for
            ):
                self._forgotten(node, group_id, f"hard state {hard_state}", durable)
            terms = {entry.index: entry.term for entry in found.entries} if found else {}
            if base_index > durable.base_index:
                continue  # A snapshot whose mark is not durable yet; it may replace the log.
            missing = [
                index
                for index, term in durable.terms.items()
                if index > base_index and terms.get(index) != term
            ]
            if base_index < durable.base_index or missing:
                what = f"a snapshot at {base_index}, without entries {sorted(missing)[:5]}"
                self._forgotten(node, group_id, what, durable)

    @staticmethod
    def _forgotten(node: SimulatedNode, group_id: int, what: str, durable: DurableGroup) -> None:
        raise InvariantViolation(
            f"group {group_id}: node {node.node_id} started with {what}; durable were term "
            f"{durable.term}, voted_for {durable.voted_for}, a snapshot at {durable.base_index}, "
            f"entries up to {durable.last_index}",
            rule="durable state forgotten",
        )
