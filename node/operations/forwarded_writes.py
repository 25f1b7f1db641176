"""Writes that another node sent together (`write_bundles.py`), at their leaders here.

They are those of many clients, and a client's writes of one group are to take effect in their
order. What is submitted here keeps its order in the log. So of a group nothing is submitted behind
a write that was not: one that was refused, or that waits for a transaction. Its node sends those
again, behind it.
"""

from __future__ import annotations

from typing import Any

from quorumcache.node.operations.failure import BEHIND_WAITING, NOT_THE_LEADER
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.operations.forwarded import Answering, ForwardedWrite
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import FORWARD_RESULT
from quorumcache.node.state_machine import Result
from quorumcache.node.store.results import HELD


class BundledWrite(ForwardedWrite):
    """One of them. Later ones may stand behind it in the log."""

    __slots__ = ("why",)

    def __init__(self, serving: Answering, node_id: int, request_id: int, group_id: int) -> None:
        super().__init__(serving, node_id, request_id, group_id)
        self.why = ""
        """Why it was refused."""

    def on_refused(self, why: str) -> None:
        self.why = why
        super().on_refused(why)

    def on_result(self, result: Result) -> None:
        if result == HELD:
            # It was not executed, and what is behind it may be: its node knows whether it may be
            # tried again (`HoldWaits.met`).
            self.serving.reply(self.node_id, (FORWARD_RESULT, self.request_id, result))
        else:
            super().on_result(result)


def take_writes(serving: Serving, node_id: int, item: tuple[Any, ...]) -> None:
    """Submit what a node's FORWARD_WRITES asks for. `PeerFrameError` if it has another form."""
    check_forward(item)
    serving.counters.forwarded_in += len(item[1])
    stopped: dict[int, str] = {}
    """Why nothing more is submitted, by group."""
    for request_id, group_id, size, retry, command in item[1]:
        group = serving.led_here(group_id)
        if group is None:
            serving.refuse(node_id, request_id, group_id, NOT_THE_LEADER)
        elif group_id in stopped:
            serving.refuse(node_id, request_id, group_id, stopped[group_id])
        else:
            waiter = BundledWrite(serving, node_id, request_id, group_id)
            if not serving.submit(group, command, size, waiter, retry=retry):
                stopped[group_id] = waiter.why or BEHIND_WAITING
