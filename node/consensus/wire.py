"""How the messages of a consensus protocol travel from node to node. Values only.

Each protocol says it of its own messages (`raft/wire.py`); `node/peers/consensus_items.py` puts
them into frames without knowing what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from quorumcache.node.consensus.values import Message

COPY_ALWAYS: Final = 1
COPY_ONCE_A_TICK: Final = 2
"""One to each replica in a tick: a later message says all that an earlier one did."""
COPY_IF_FIRST: Final = 3
"""Where `Wire.is_first` says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The messages of one protocol, which are NamedTuples. The types are compared exactly."""

    message_types: tuple[type[Message], ...]
    """By their number on the wire."""
    decoders: tuple[Callable[[Any], Message], ...]
    """By the same number: from the members as msgpack gives them, in order. They raise TypeError,
    ValueError or LookupError if there are too few or too many; the types of most members are left
    to `fits`."""
    encoders: dict[type[Message], Callable[[Message], tuple[Any, ...]]]
    """Of the messages that are not sent as they stand: to what is sent in their place."""
    fits: Callable[[Message], bool]
    """Whether each member of a decoded message has the right type. Too slow to ask of every
    message: for one that could not be handled."""
    beat: type[Message]
    beat_reply: type[Message]
    """What a leader sends to every replica at every heartbeat, and the answer to it: those of many
    groups travel together. Either may come twice, late and in any order."""
    copies: dict[type[Message], int]
    """Messages that also go as a datagram, and when: `COPY_ALWAYS` and so on. They may be lost, or
    come twice, late and in any order."""
    is_first: Callable[[Message], bool]
    """Whether a message of the kind `COPY_IF_FIRST` has nothing before it that it may overtake."""
    acknowledgement: type[Message]
    """Says which entries its sender holds."""
    entries: type[Message]
    """Carries entries of the log, so it makes the log of its receiver longer. Its members: term,
    previous index, its term, commit index, entries (`runs.py`)."""
    vote: type[Message]
    """May make its receiver a leader."""
