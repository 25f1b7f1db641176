"""What accidents do to the data directory of a node that is down."""

from __future__ import annotations

from tests.simulation.cluster import SimulatedNode

Files = dict[str, bytes]
"""Path to content."""


def copy_of(node: SimulatedNode) -> Files:
    """The directory as a backup tool would take it."""
    return {path: node.disk.read(path) for path in node.disk.paths()}


def lose(node: SimulatedNode, *parts: str) -> None:
    """Remove every file whose path holds one of `parts`; all of them if none is named."""
    for path in list(node.disk.paths()):
        if not parts or any(part in path for part in parts):
            node.disk.remove(path)
            node.disk.sync_dir(path.rpartition("/")[0])


def restore(node: SimulatedNode, files: Files) -> None:
    """The directory is what `files` says, and nothing else."""
    lose(node)
    for path, data in files.items():
        node.disk.make_dirs(path.rpartition("/")[0])
        node.disk.put(path, data)


def swap(one: SimulatedNode, other: SimulatedNode) -> None:
    """Each gets the other's directory, as mounts that were mixed up."""
    files, others = copy_of(one), copy_of(other)
    restore(one, others)
    restore(other, files)
