"""What clients may change of the process."""

import logging
from collections.abc import Iterator

import pytest

from quorumcache.node.admin.controls import NodeControls
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.telemetry.logs import ROOT_LOGGER

QUIET = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 99: logging.DEBUG}


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger(ROOT_LOGGER)
    level = logger.level
    yield logger
    logger.setLevel(level)


def test_verbosity_is_the_log_level(logger: logging.Logger) -> None:
    controls = NodeControls(NodeConfig(log_level="warning"), lambda size: None)
    for level, expected in [*QUIET.items(), (0, logging.WARNING)]:
        controls.set_verbosity(level)
        assert logger.level == expected
        assert controls.verbosity == min(level, 2)


def test_a_node_that_logs_all_goes_on_to_do_so(logger: logging.Logger) -> None:
    controls = NodeControls(NodeConfig(log_level="debug"), lambda size: None)
    for level in (1, 0):
        controls.set_verbosity(level)
        assert logger.level == logging.DEBUG


def test_memory_is_handed_on() -> None:
    used: list[int] = []
    controls = NodeControls(NodeConfig(memory_bytes=1 << 30), used.append)
    assert controls.memory_bytes == 1 << 30
    assert controls.limit_memory(64 << 20)
    assert (controls.memory_bytes, used) == (64 << 20, [64 << 20])


def test_a_shutdown_is_asked_of_what_runs_the_node() -> None:
    controls = NodeControls(NodeConfig(), lambda size: None)
    controls.shut_down()  # Nothing runs it: as in a simulation.
    reasons: list[str] = []
    controls.ask_stop = reasons.append
    controls.shut_down()
    assert reasons == ["shutdown_command"]
