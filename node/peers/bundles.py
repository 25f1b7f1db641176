"""Bundles: the entries of all groups that go to one peer in a turn, as one item, and one answer.

    BUNDLE       (kind, life, number, runs)          leader to follower; runs: `consensus/runs.py`
    BUNDLE_HELD  (kind, life, number, but)           follower to leader

The answer says that every run of the bundle is durable, except those whose positions `but` names:
what became of these is said in messages of their own, or not at all. It stands for one
acknowledgement per run, and the leader makes these again from what it remembers of the bundle.

`life` is that of the process that sent the bundle, so an answer never counts for a bundle of an
earlier process with the same number. A bundle that is not answered is forgotten when the peer is
lost, or when too many newer ones have been sent. Then its entries count as never acknowledged, and
the protocol asks again.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.consensus.transport import Held
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.items import BUNDLE, BUNDLE_HELD

BUNDLE_BYTES_GOAL: Final = 256 << 10
"""A bundle that passes this leaves before the turn ends."""

REMEMBERED_MAX: Final = 1 << 16
"""Runs without an answer that are remembered of one peer: some MiB."""


class Bundle:
    """Runs that wait for the end of the turn."""

    __slots__ = ("held", "packed", "size")

    def __init__(self) -> None:
        self.packed: list[bytes] = []
        self.held: list[Held] = []
        """What the answer will mean, by position."""
        self.size = 0

    def add(self, packed: bytes, held: Held) -> None:
        self.packed.append(packed)
        self.held.append(held)
        self.size += len(packed)


class SentBundles:
    """The bundles that one peer has not answered, oldest first."""

    __slots__ = ("bundles", "count")

    def __init__(self) -> None:
        self.bundles: dict[int, list[Held]] = {}
        self.count = 0
        """Runs in all of them."""

    def add(self, number: int, held: list[Held]) -> None:
        self.bundles[number] = held
        self.count += len(held)
        while self.count > REMEMBERED_MAX and len(self.bundles) > 1:
            self.take(next(iter(self.bundles)))

    def take(self, number: int) -> list[Held]:
        held = self.bundles.pop(number, [])
        self.count -= len(held)
        return held


class Bundles:
    """Those of a node, in both directions."""

    def __init__(self, life: int) -> None:
        """`life`: another number after each start of the process."""
        self.life = life
        self.open: dict[int, Bundle] = {}
        """By peer: what goes there at the end of the turn."""
        self.unanswered: dict[int, SentBundles] = {}
        """By peer."""
        self._number = 0

    def close(self, bundle: Bundle) -> tuple[int, bytes]:
        """Its number, and the item that carries it: to each peer that gets just these runs."""
        self._number += 1
        number = self._number
        return number, pack_item((BUNDLE, self.life, number, b"".join(bundle.packed)))

    def sent(self, node_id: int, number: int, bundle: Bundle) -> None:
        """It is on its way: remember what its answer will mean."""
        sent = self.unanswered.get(node_id)
        if sent is None:
            sent = self.unanswered[node_id] = SentBundles()
        sent.add(number, bundle.held)

    def answered(self, node_id: int, item: tuple[Any, ...], *, is_last: bool) -> list[Held]:
        """What the peer holds by this answer; nothing if the bundle is not known any more.

        `is_last`: the answer does not come again, so the bundle can be forgotten. Raises
        `PeerFrameError`.
        """
        life, number, but = fields_of_answer(item)
        sent = self.unanswered.get(node_id)
        if life != self.life or sent is None:
            return []
        held = sent.take(number) if is_last else sent.bundles.get(number, [])
        if not held or not but:
            return held
        if max(but) >= len(held):
            raise PeerFrameError(f"an answer about run {max(but)} of {len(held)}")
        left_out = set(but)
        return [each for position, each in enumerate(held) if position not in left_out]

    def lost(self, node_id: int) -> None:
        """The connection to a peer, or from it, is gone: no answer is waited for."""
        self.unanswered.pop(node_id, None)


def fields_of_bundle(item: tuple[Any, ...]) -> tuple[int, int, bytes]:
    """Life, number and packed runs of a BUNDLE."""
    if len(item) != 4 or type(item[1]) is not int or type(item[2]) is not int:
        raise PeerFrameError("a bundle of an unknown form")
    if type(item[3]) is not bytes or not item[3]:
        raise PeerFrameError("a bundle of an unknown form")
    return item[1], item[2], item[3]


def fields_of_answer(item: tuple[Any, ...]) -> tuple[int, int, tuple[int, ...]]:
    """Life, number and positions of a BUNDLE_HELD."""
    if len(item) != 4 or type(item[1]) is not int or type(item[2]) is not int:
        raise PeerFrameError("an answer to a bundle of an unknown form")
    but = item[3]
    if type(but) is not tuple or any(type(n) is not int or n < 0 for n in but):
        raise PeerFrameError("an answer to a bundle of an unknown form")
    return item[1], item[2], but


def pack_answer(life: int, number: int, but: list[int]) -> bytes:
    """The BUNDLE_HELD of a bundle with this life and number."""
    packed: bytes = pack_item((BUNDLE_HELD, life, number, but))
    return packed
