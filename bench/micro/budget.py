"""The budget of a get and of a durable set: nanoseconds and allocated blocks of each step.

    python -m quorumcache.bench.micro.budget [rounds]

One request goes through all steps, one after the other, again and again; the median of a step's
times is told, and how often a cluster of three takes the step for one request. Each step is the
node's own code on real values. What is between the steps is in none of them: the loop, lanes and
slots of replies, the lists of a turn, the disk; what `quorumcache-bench race` tells as CPU us has
all of it. A request is alone in its entry, its frame and its record: the dearest case.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from quorumcache.bench.micro.allocations import counting
from quorumcache.bench.micro.get_budget import AnyGetBudget, GetBudget
from quorumcache.bench.micro.log_budget import LogBudget
from quorumcache.bench.micro.set_budget import SetBudget
from quorumcache.bench.micro.steps import Step, lines, measure
from quorumcache.node.system.senders import sender_of


class Wire:
    """A TCP connection over loopback: what the kernel takes for a reply and for a request. It is
    the transport, too, of which the sender needs a socket that is its own, and no more.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._near = socket.create_connection(server.getsockname())
            self._far, _ = server.accept()
        self._near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._near.setblocking(False)
        transport: Any = self
        self._sender = sender_of(transport)

    def get_extra_info(self, name: str) -> socket.socket | None:
        """For the sender."""
        return self._near if name == "socket" else None

    def is_closing(self) -> bool:
        """It stands."""
        return False

    def steps(self) -> list[Step]:
        """Each byte that is sent is read, too."""
        reply = b"x" * 135
        return [
            Step("send a reply, past the transport", lambda: self._sender.write(reply)),
            Step("read a request", lambda: self._far.recv(65536)),
        ]

    def close(self) -> None:
        """End it."""
        self._near.close()
        self._far.close()


def budget(rounds: int, say: Callable[[str], None]) -> None:
    """Measure and tell."""
    counter = counting()
    with ExitStack() as stack:
        wire = stack.enter_context(closing(Wire()))
        log = stack.enter_context(closing(LogBudget()))
        for title, steps in (
            ("get, to its leader", GetBudget().steps()),
            ("the kernel, at depth 1", wire.steps()),
            ("get, to another node", AnyGetBudget().steps()),
            ("durable set, three nodes", SetBudget().steps()),
            ("its record, three nodes", log.steps()),
        ):
            say("\n".join(lines(title, measure(steps, rounds, counter), counter)))
    if not counter.is_real:
        say("blocks are not counted: there is no cc, or there are no headers of Python")


def main() -> None:
    """Print the budget."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    budget(rounds, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
