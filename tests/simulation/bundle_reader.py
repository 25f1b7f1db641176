"""Reads the bundles of entries that nodes send each other, and gives back the messages that they
stand for: a reader of its own, which asks nothing of the product.
"""

from __future__ import annotations

import struct
from typing import Any

from tests.simulation.checkers import InvariantViolation

RUN = struct.Struct(">IIQQQQ")
LENGTH_BYTES = 4
APPEND, APPEND_REPLY, BUNDLE, BUNDLE_HELD = 4, 5, 28, 29

Item = tuple[Any, ...]


class BundleReader:
    """What every bundle was about that is or was on its way."""

    def __init__(self) -> None:
        self._sent: dict[tuple[int, int, int, int], list[tuple[int, int, int]]] = {}
        """(group, term, last index) of each run, by sender, receiver, process and number."""

    def messages(self, sender: int, receiver: int, item: Item) -> list[Item]:
        """What an item says: itself, or the messages in the place of which it was sent."""
        if item[0] == BUNDLE:
            return self._bundle(sender, receiver, item)
        if item[0] == BUNDLE_HELD:
            return self._answer(sender, receiver, item)
        return [item]

    def _bundle(self, sender: int, receiver: int, item: Item) -> list[Item]:
        _, life, number, data = item
        held = self._sent[sender, receiver, life, number] = []
        appends: list[Item] = []
        at = 0
        while at < len(data):
            group_id, count, term, prev_index, prev_term, commit_index = RUN.unpack_from(data, at)
            at += RUN.size
            lengths = struct.unpack_from(f">{count}I", data, at)
            at += LENGTH_BYTES * count + sum(lengths)
            held.append((group_id, term, prev_index + count))
            appends.append((APPEND, group_id, (term, prev_index, prev_term, commit_index, ())))
        if at != len(data):
            raise InvariantViolation(f"node {sender} sends half a run", rule="malformed bundle")
        return appends

    def _answer(self, sender: int, receiver: int, item: Item) -> list[Item]:
        _, life, number, but = item
        held = self._sent.pop((receiver, sender, life, number), None)
        if held is None:
            raise InvariantViolation(
                f"node {sender} answers bundle {number} of node {receiver}, which was not sent, or "
                "was answered before",
                rule="an answer to no bundle",
            )
        return [
            (APPEND_REPLY, group_id, (term, index, False, 0, 0))
            for position, (group_id, term, index) in enumerate(held)
            if position not in but
        ]
