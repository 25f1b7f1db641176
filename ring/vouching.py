"""How a cluster whose map is of form 1 gets rid of a node that is dead for good. Pure.

The map gets its second form once every node of it has been heard with a version that reads it. A
node that is dead before keeps the map in form 1, in which nothing can be changed. An operator can
vouch for it: a change that gives the node up stands for having heard it. The map gets its second
form in the same step. Nobody can be hurt by that: a process of the node that comes back with the
version before is refused by every other node, since it cannot read the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.draft import REPLACE
from quorumcache.ring.node_info import NodeInfo


def in_second_form(
    present: ClusterMap, directory: Sequence[int], first_settings: Mapping[str, str]
) -> ClusterMap:
    """A map of form 1 in form 2, of the same epoch. `directory`: the founding record's voters of
    group 0. `first_settings`: values of settings that form 1 has not.
    """
    settings = {**first_settings, **dict(present.settings)}
    return replace(
        present, form=2, directory=tuple(directory), settings=tuple(sorted(settings.items()))
    )


def vouched_for(present: ClusterMap, words: Sequence[str]) -> NodeInfo | None:
    """The node that these words of an operator give up for good; None if they are another change.

    Both `remove NAME force` and `replace NAME` do. They are refused later if the node is heard.
    """
    verb, name, *rest = [*words, "", ""][: max(2, len(words))]
    if (verb, rest) in (("remove", ["force"]), (REPLACE, [])):
        return present.node_named(name)
    return None
