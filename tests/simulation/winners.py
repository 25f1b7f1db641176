"""Who was told W, counted: of an item at most one client, over all failovers.

An item is one store of a value, or one mark as stale: each has a unique of its own. The model finds
two winners as well, but this says so in a line, and counts the wins that a run has seen.
"""

from __future__ import annotations

from tests.simulation.history import OK, History, Operation, show_key
from tests.simulation.meta_model import META_GETS

Wins = dict[tuple[bytes, int], list[Operation]]


def wins_of(history: History) -> Wins:
    """The operations that were told W, by key and unique of the item."""
    chosen = {(o.key, o.unique) for o in history.operations if o.kind == "msE"}
    wins: Wins = {}
    for operation in history.operations:
        result = operation.result
        if operation.kind not in META_GETS or operation.outcome != OK or result[0] != "hit":
            continue
        item = (operation.key, result[2])
        if "W" in result[4] and item not in chosen:
            wins.setdefault(item, []).append(operation)
    return wins


def check_winners(history: History) -> int:
    """How many were told that they had won. Raises AssertionError when two of one item were."""
    wins = wins_of(history)
    for (key, unique), winners in wins.items():
        if len(winners) > 1:
            told = "\n".join(winner.describe() for winner in winners)
            raise AssertionError(f"{len(winners)} winners of {show_key(key)}, {unique}:\n{told}")
    return sum(len(winners) for winners in wins.values())
