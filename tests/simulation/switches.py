"""What the simulation can ask, and does not yet: the product is being mended.

Each switch says what it waits for. It is turned on with the change that it waits for, and goes away
with the next one: nothing is left off for good.
"""

from __future__ import annotations

MORE_NODES_THAN_DIRECTORY_VOTERS = False
"""Clusters of more than five nodes. The sixth and later ones never learn the cluster map."""

SERVICE_WITHOUT_THE_DEAD = True
"""With a node down for good, nodes that hold no replica of a shard serve it as well. It is on since
they ask for the leader; off, only the nodes that hold a replica are asked."""

FOREIGN_DIRECTORIES = False
"""A node that finds its data directory wiped, swapped, rolled back or half missing is refused. It
waits for the identity of data directories."""
