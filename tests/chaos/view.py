"""What nodes say of the cluster (`cluster moves`), and what can be seen in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]

STATES = ("waiting", "copying", "voting", "leaving")
"""Of a move, in the order in which it gets on."""
DIRECTORY = "directory"
"""How `stats shards` names group 0."""


def empty() -> Document:
    """Before any node has told anything."""
    return {"epoch": 0, "nodes": [], "moves": [], "change": "", "settings": {}}


def node_state(view: Document, name: str) -> str:
    """What the map says of the node of this name; "" when it names none."""
    states: list[str] = [node["state"] for node in view["nodes"] if node["name"] == name]
    return states[0] if states else ""


def is_whole(view: Document) -> bool:
    """Every group is where it shall be, and all nodes of the map run."""
    return (
        not view["moves"]
        and not view["change"]
        and all(node["state"] == "active" for node in view["nodes"])
    )


def moves_at(views: Iterable[Document], step: str) -> list[Document]:
    """The moves that are at this step, those that began last first.

    Only the nodes of the directory hear how far a move is, all others call it `copying`: of what
    the nodes with the newest map say the furthest step counts.
    """
    found = list(views)
    newest = max((view["epoch"] for view in found), default=0)
    furthest: dict[int, Document] = {}
    for view in found:
        for move in view["moves"] if view["epoch"] == newest else ():
            known = furthest.get(move["group"])
            if known is None or STATES.index(known["state"]) < STATES.index(move["state"]):
                furthest[move["group"]] = move
    moves = [move for move in furthest.values() if move["state"] == step]
    return sorted(moves, key=lambda move: (-move["decided"], move["group"]))


def group_name(move: Document) -> str:
    """How `stats shards` names the group of a move."""
    return DIRECTORY if move["shard"] is None else f"shard:{move['shard']}"
