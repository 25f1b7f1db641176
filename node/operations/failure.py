"""Operations that could not be brought to a result, and the reasons. Pure."""

from __future__ import annotations

from typing import Final

NO_LEADER: Final = "no leader"
NOT_THE_LEADER: Final = "not the leader"
LEADERSHIP_CHANGED: Final = "leadership changed"
CONNECTION_LOST: Final = "connection to the leader lost"
NO_CONNECTION: Final = "no connection to the leader's node"
HELD_WHY: Final = "the key is held by a transaction"
BEHIND_WAITING: Final = "an earlier write of its shard waits for a transaction"
RELAY_WITHOUT_ANSWER: Final = "the leader did not answer the relaying node"
CROWDED: Final = "too many values are queued for the node that asked"
"""A leader says so of a read. Releases before said it in the same words."""

ROUTINE_REASONS: Final = frozenset(
    (
        "",
        NO_LEADER,
        NOT_THE_LEADER,
        LEADERSHIP_CHANGED,
        CONNECTION_LOST,
        NO_CONNECTION,
        BEHIND_WAITING,
        RELAY_WITHOUT_ANSWER,
    )
)
"""Reasons that add nothing to "the shard did not answer" or "the shard had no leader"."""


def timeout_reason(shard: int, timeout_ms: int, why: str, refusal: str, *, has_leader: bool) -> str:
    """Why an operation could not be done in time, for its client.

    `why` its last attempt ended; "" while one is under way. `refusal`: the last reason that was
    more than routine, of any attempt; "" if there was none. `has_leader`: a way to one is known.
    """
    if why not in ROUTINE_REASONS:
        return f"shard {shard} did not accept the request within {timeout_ms} ms: {why}"
    if has_leader:
        text = f"shard {shard} did not answer within {timeout_ms} ms"
    else:
        text = f"shard {shard} had no leader for {timeout_ms} ms"
    if refusal:
        text += f"; an earlier attempt was refused: {refusal}"
    return text


class Failure:
    """An operation that could not be brought to a result.

    `outcome_known` is True when it was certainly not executed. `why` is for the client to read.
    """

    __slots__ = ("outcome_known", "why")

    def __init__(self, why: str, *, outcome_known: bool) -> None:
        self.why = why
        self.outcome_known = outcome_known


class SessionGone(Failure):
    """A write under its client's own session, which the group does not know (any more)."""

    __slots__ = ()


class StaleSequence(Failure):
    """A write under its client's own session, with a sequence that the group has forgotten."""

    __slots__ = ()
