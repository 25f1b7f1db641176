"""How a node divides its memory among its replicas: pure, one decision a second.

Every node *grants* each of its replicas a share, and tells the group's leader, who keeps the group
below the least that any node of its replica set grants. Rules:

1. All grants together are at most the memory less the *reserve*, a sixteenth of it.
2. Nobody is granted less than the *floor*, half of an equal part, however little it holds: a shard
   that was empty gets that far at once.
3. While there is room, everybody is granted what it holds and an equal part of half of what is
   free. The rest is lent to whoever needs it first.
4. When there is none, what is left above the floors goes to those that evict, in proportion to the
   bytes that they evicted lately. So all shards drop items of about the same age, as one cache for
   all of them would. A shard that evicts nothing gets no more than what it holds, and a little. It
   gives up nothing of that while an eighth of the memory is free; the less is free, the more.
5. A grant falls below what its replica holds by a sixteenth of that in a second at most, so that a
   moment's need does not empty others. It falls at once where the memory itself was lowered.
6. What a replica holds beyond its grant (a snapshot that came, a table that grew), or will hold (an
   upload under way), is not there for the others: what they might still take is cut by it once the
   reserve is used up.
7. A leader that has to refuse an item says how much it *wants*, and that is granted before rule 4,
   as far as the floors of the others allow. Several wants together get half of that at most: the
   rest is lent to whoever comes.

What nobody was granted, the reserve and more while there is room, is what large items of small
shards may take at once (`replica/memory_room.py`): as the grants follow, all shards give it back
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

RESERVE_PARTS: Final = 16
"""The reserve is one part of so many of the memory."""

FALL_PARTS: Final = 16
FALL_BYTES_MIN: Final = 64 << 10
"""By so much may a grant fall in a second below what is held: rule 5."""

ROOM_PARTS: Final = 8
"""What a replica that evicts nothing is granted beyond what it holds, while others evict: one part
of so many of that, or of an equal part of the memory."""

EVICTED_FACTOR: Final = 8
"""A replica that evicts is granted so many times what it evicted lately beyond that, if there is
room."""

FREE_PARTS: Final = 2
"""Of what is free after all that, one part of so many is granted equally: rule 3."""

KEPT_PARTS: Final = 8
"""While one part of so many of the memory is free, everybody keeps what it holds: rule 4."""

MEMORY_PARTS_KEPT: Final = 8
"""Of the bytes evicted lately one part of so many is forgotten in a second."""


class Need(NamedTuple):
    """What a replica holds and asks for. All in bytes."""

    held: int
    """What it takes in this process, tables included."""
    evicted: int = 0
    """What was evicted from it lately, see `lately`."""
    wanted: int = 0
    """What its leader wants it to be able to hold; 0 = nothing in particular."""
    over: int = 0
    """What it holds beyond its grant."""
    promised: int = 0
    """What uploads under way will bring yet."""


def reserve_bytes(memory_bytes: int) -> int:
    """The part of a node's memory that is granted to nobody."""
    return memory_bytes // RESERVE_PARTS


def floor_bytes(memory_bytes: int, count: int) -> int:
    """What each of `count` replicas is granted in any case."""
    return (memory_bytes - reserve_bytes(memory_bytes)) // max(1, count) // 2


def most_bytes(memory_bytes: int, count: int) -> int:
    """The most that one of `count` replicas can ever be granted."""
    others = max(0, count - 1) * floor_bytes(memory_bytes, count)
    return memory_bytes - reserve_bytes(memory_bytes) - others


def lately(before: int, evicted: int) -> int:
    """Bytes evicted lately: what was so a second ago, and what was evicted since."""
    return before - -(-before // MEMORY_PARTS_KEPT) + evicted


def divide(
    memory_bytes: int, needs: Mapping[int, Need], before: Mapping[int, int]
) -> dict[int, int]:
    """What to grant each replica, by group. `before`: what was granted a second ago."""
    if not needs:
        return {}
    targets = _targets(memory_bytes, needs)
    floor = floor_bytes(memory_bytes, len(needs))
    grants = _slowed(targets, needs, before, floor)
    return _cut(grants, needs, memory_bytes)


def _targets(memory_bytes: int, needs: Mapping[int, Need]) -> dict[int, int]:
    """Rules 1 to 4 and 7: what the grants should be in the end."""
    count = len(needs)
    total = memory_bytes - reserve_bytes(memory_bytes)
    floor = floor_bytes(memory_bytes, count)
    left = total - count * floor
    targets: dict[int, int] = {}
    half = left // 2
    for group_id, need in needs.items():
        more = min(max(0, need.wanted - floor), left)
        if left < total - count * floor and more > left - half:
            more = 0  # Not the first one, and beyond the half.
        targets[group_id] = floor + more
        left -= more
    unheld = total - sum(max(need.held, floor) for need in needs.values())
    kept_part = max(0, min(total, unheld * KEPT_PARTS))
    for group_id, need in needs.items():
        kept = min(max(0, need.held - targets[group_id]) * kept_part // total, left) if total else 0
        targets[group_id] += kept
        left -= kept
    room_min = total // count // ROOM_PARTS
    open_: list[tuple[float, int, int, int]] = []
    weights = 0
    for group_id, need in needs.items():
        room = max(need.held // ROOM_PARTS, room_min)
        ceiling = need.held + room + EVICTED_FACTOR * need.evicted
        gap = ceiling - targets[group_id]
        if gap > 0:
            # Who holds much has the right of way over nobody: it only decides where nobody evicts.
            weight = 1 + need.held // 1024 + need.evicted + need.over
            open_.append((gap / weight, group_id, gap, weight))
            weights += weight
    # Water: whoever needs least for its weight is full first, and leaves more to the others.
    for _, group_id, gap, weight in sorted(open_):
        given = min(gap, left * weight // weights)
        targets[group_id] += given
        left -= given
        weights -= weight
    part = left // FREE_PARTS // count
    return {group_id: target + part for group_id, target in targets.items()}


def _slowed(
    targets: Mapping[int, int], needs: Mapping[int, Need], before: Mapping[int, int], floor: int
) -> dict[int, int]:
    """Rule 5. What those that fall keep for now is held back from those that rise."""
    kept: dict[int, int] = {}
    raised: dict[int, int] = {}
    for group_id, target in targets.items():
        held = needs[group_id].held
        was = max(before.get(group_id, 0), floor)
        if was >= target:
            lowest = min(was, held) - max(held // FALL_PARTS, FALL_BYTES_MIN)
            if lowest > target:
                kept[group_id] = lowest - target
        else:
            raised[group_id] = target - was
    wants, has = sum(kept.values()), sum(raised.values())
    grants = dict(targets)
    if not wants:
        return grants
    taken = min(wants, has)
    for group_id, more in kept.items():
        grants[group_id] += more * taken // wants
    for group_id, more in raised.items():
        grants[group_id] -= -(-more * taken // has)
    return grants


def _cut(grants: dict[int, int], needs: Mapping[int, Need], memory_bytes: int) -> dict[int, int]:
    """Rule 6. Nothing is evicted for it: what a replica holds stays granted."""
    held = {group_id: need.held + need.promised for group_id, need in needs.items()}
    over = sum(max(held[g], grant) for g, grant in grants.items()) - memory_bytes
    free = sum(max(0, grant - held[g]) for g, grant in grants.items())
    if over <= 0 or not free:
        return grants
    cut = min(over, free)
    for group_id, grant in grants.items():
        spare = grant - held[group_id]
        if spare > 0:
            grants[group_id] = grant - -(-spare * cut // free)
    return grants
