"""A question to the leader of group 0: a change that an operator asks for, or a node that wants to
join. What it means for the map is decided in `ring/changes.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.changes import change, join
from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.errors import ChangeRefused

OK: Final = 0
"""Done; the payload says what. JSON of a change; of a join the map that names the node."""

REFUSED: Final = 1
"""Nothing was changed; the payload is a sentence that says why and what to do."""

LOST: Final = 2
"""It may have been done or not; the payload is a sentence."""

ELSEWHERE: Final = 3
"""Between nodes only. Nothing was changed: this node does not lead group 0. The payload is the id
of the node that does, as text, or 0."""

DRY: Final = "dry"
"""As the last word: say what would be done, and do nothing."""

UNKNOWN: Final = b"outcome unknown: look at `quorumcache moves`"

Done = Callable[[int, bytes], None]
"""Hears the code and the payload, once."""


class Answer(NamedTuple):
    """What a question leads to. `map` None: nothing is to be proposed, and `payload` is true now.
    Otherwise it is true once the map is committed."""

    map: ClusterMap | None
    payload: bytes


class Question:
    """See the module. `ticks_left`: calls of `Steward.tick` that it may still wait for."""

    __slots__ = ("asks_to_join", "done", "texts", "ticks_left")

    def __init__(
        self, texts: tuple[str, ...], done: Done, *, asks_to_join: bool = False, ticks_left: int = 0
    ) -> None:
        self.texts = texts
        self.done = done
        self.asks_to_join = asks_to_join
        self.ticks_left = ticks_left

    @property
    def may_repeat(self) -> bool:
        """Whether asking twice changes no more than asking once: a joiner gets the same id again.

        An operator's change that is asked for again would be refused, since it is under way.
        """
        return self.asks_to_join or self.texts[-1] == DRY

    @property
    def words(self) -> tuple[str, ...]:
        """Those of an operator's change; () if a node asks to join."""
        if self.asks_to_join:
            return ()
        return self.texts[:-1] if self.texts[-1] == DRY else self.texts

    def answer(self, present: ClusterMap, view: ClusterView) -> Answer:
        """What to do about it. Raises `ChangeRefused` or `RingError` with a sentence."""
        if self.asks_to_join:
            changed = join(present, info_of_joiner(self.texts), view)
            if changed.map == present:
                return Answer(None, present.to_bytes())
            wanted = replace(changed.map, epoch=present.epoch + 1)
            return Answer(wanted, wanted.to_bytes())
        is_dry = self.texts[-1] == DRY
        changed = change(present, self.words, view)
        is_same = is_dry or changed.map == replace(present, epoch=changed.map.epoch)
        document = {
            "summary": changed.summary,
            "dry": is_dry,
            "epoch": present.epoch + (not is_same),
            "change": changed.map.change,
            "estimate": changed.report,
        }
        payload = json.dumps(document).encode()
        if is_same:
            return Answer(None, payload)
        return Answer(replace(changed.map, epoch=present.epoch + 1), payload)


def joiner_texts(info: NodeInfo) -> tuple[str, ...]:
    """What a joining node tells of itself, as the texts of a question."""
    return (
        *(info.name, info.peer_address, info.client_address, info.http_address, info.zone),
        *(repr(float(info.weight)), info.disk_id),
    )


def info_of_joiner(texts: Sequence[str]) -> NodeInfo:
    """The opposite. Its id is 1, which means nothing: the directory gives it another.

    Raises `ChangeRefused` for what is no joining node.
    """
    if len(texts) != 7:
        raise ChangeRefused(f"a joining node tells 7 things of itself, these are {len(texts)}")
    name, peer, client, http, zone, weight_text, disk_id = texts
    try:
        weight = float(weight_text)
    except ValueError:
        raise ChangeRefused(f"the weight {weight_text!r:.60} is no number") from None
    return NodeInfo(1, name, peer, client, http, zone, weight, disk_id)
