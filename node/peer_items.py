"""The kinds of item that peers put into each other's frames.

An item is a tuple whose first member is its kind. Kinds below `CONSENSUS_KINDS` are the message types of
`consensus/messages.py`, as (kind, group_id, message); the others are listed here with their members.
"""

from __future__ import annotations

CONSENSUS_KINDS = 32
"""Kinds in [0, CONSENSUS_KINDS) are consensus message types."""

FORWARD_WRITE = 32
"""(kind, request_id, group_id, size, retry, command): run this command as the group's leader. `retry`:
an earlier attempt may have been executed, so nothing but the session table may refuse it."""

FORWARD_READ = 33
"""(kind, request_id, group_id, keys): read these keys linearizably as the group's leader."""

FORWARD_RESULT = 34
"""(kind, request_id, result): the write's result."""

FORWARD_ITEMS = 35
"""(kind, request_id, items): the read's packed items, None for a miss."""

FORWARD_REFUSED = 36
"""(kind, request_id, leader_node_id, why): certainly not executed; 0 = leader unknown here."""

FORWARD_LOST = 37
"""(kind, request_id): leadership went while the write was in the log; it may be executed."""

MAP_REQUEST = 40
"""(kind, known_epoch): send the cluster map if it is newer."""

MAP_REPLY = 41
"""(kind, map_bytes)."""
