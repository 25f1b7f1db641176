"""Requests: every kind that the parser hands out has its handler on a connection."""

from typing import get_args

from quorumcache.node.clients.handlers import HANDLERS, HANDLERS_BEHIND_PREFIX, NOREPLY_KINDS
from quorumcache.node.protocol.requests import Request


def test_every_kind_of_request_has_a_handler() -> None:
    kinds = set(get_args(Request))
    assert kinds == set(HANDLERS) == set(HANDLERS_BEHIND_PREFIX)


def test_what_can_be_silent_is_known_as_such() -> None:
    silent = {kind for kind in get_args(Request) if "noreply" in kind._fields}
    assert silent == set(NOREPLY_KINDS)
