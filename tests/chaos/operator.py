"""The operator: asks any node for changes over the client port, and proves that he knows the
cluster's secret (docs/protocol.md). He asks from a thread of his own, since an answer may wait for
an election while faults go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from quorumcache.bench.errors import TargetError
from quorumcache.bench.text_client import ConnectionBroken, TextClient
from quorumcache.ring.secret import CLIENT, Secret
from tests.chaos.cluster import ClusterError

Address = tuple[str, int]

ANSWER_S = 7.0
"""Above the nodes' own bound, so that their verdict comes before we give up."""
LOOK_S = 1.0

DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"


class Answer(NamedTuple):
    """`epoch`: of the map that the change led to; 0 if it is not known."""

    outcome: str
    text: str
    epoch: int = 0


class Operator:
    """`ask` and `look` return at once; their results come later. `close` waits for them."""

    def __init__(self, secret: str, addresses: Callable[[], Sequence[Address]]) -> None:
        """`addresses`: client addresses of the nodes that can be asked now."""
        self._secret = Secret(secret)
        self._addresses = addresses
        self._asked = 0
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="operator")

    def ask(self, words: str) -> Future[Answer]:
        """One attempt at one node, each time at another one."""
        self._asked += 1
        addresses = list(self._addresses())
        return self._threads.submit(self._ask, words, addresses, self._asked)

    def look(self) -> Future[dict[Address, dict[str, Any]]]:
        """What each node that answers says to `cluster moves`."""
        return self._threads.submit(_look, list(self._addresses()))

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _ask(self, words: str, addresses: list[Address], turn: int) -> Answer:
        if not addresses:
            return Answer(UNKNOWN, "no node runs")
        address = addresses[turn % len(addresses)]
        try:
            with TextClient(address, ANSWER_S) as client:
                why = self._prove(client)
                if why:
                    return Answer(UNKNOWN, why)
                return _change(client, words)
        except TargetError as error:
            return Answer(UNKNOWN, f"{address[0]}: {error}")

    def _prove(self, client: TextClient) -> str:
        """Why the proof is not taken now; "" when it is."""
        line = client.line(b"cluster auth").decode()
        if not line.startswith("AUTH "):
            return line
        proof = self._secret.proof(CLIENT, bytes.fromhex(line.split()[1]))
        line = client.line(b"cluster auth " + proof.hex().encode()).decode()
        if line.startswith("CLIENT_ERROR"):
            raise ClusterError(f"the cluster's secret is not taken: {line}")
        return "" if line == "OK" else line


def _change(client: TextClient, words: str) -> Answer:
    command = f"cluster change {words}".encode()
    try:
        document = json.loads(client.block(command))
    except ConnectionBroken:
        raise
    except TargetError as error:
        return read_refusal(str(error).removeprefix(f"{command.decode()}: "))
    return Answer(DONE, document["summary"], document["epoch"])


def read_refusal(line: str) -> Answer:
    """What a line means that answers a change in place of a block; ClusterError for one that the
    protocol does not have. Pure.
    """
    if line.startswith("CLIENT_ERROR refused: "):
        return Answer(REFUSED, line.removeprefix("CLIENT_ERROR refused: "))
    if line.startswith("SERVER_ERROR "):
        return Answer(UNKNOWN, line)
    raise ClusterError(f"not an answer to a change: {line}")


def _look(addresses: list[Address]) -> dict[Address, dict[str, Any]]:
    found = {}
    for address in addresses:
        try:
            with TextClient(address, LOOK_S) as client:
                found[address] = json.loads(client.block(b"cluster moves"))
        except TargetError:
            continue  # it is down or cut off: others tell
    return found
