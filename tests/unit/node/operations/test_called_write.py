"""A write that tells a function."""

from typing import Any

from quorumcache.node.store.results import NOT_STORED, STORED
from tests.support.coordinator_world import HERE, World


def test_its_function_hears_the_outcome_once_and_is_let_go() -> None:
    """The queue of deadlines may refer to the write for seconds: not to what waited for it."""
    world = World()
    world.lead(HERE)
    heard: list[Any] = []
    write = world.coordinator.write(5, 1, b"k", (b" 0 1\r\nx\r\n", 0), 10, heard.append)
    write.finish(STORED)
    write.finish(NOT_STORED)
    assert heard == [STORED]
    assert write._call != heard.append
    assert write.args == ()
