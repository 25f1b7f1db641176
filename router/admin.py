"""Changes of the cluster, through any one of its nodes, and what is known of its moves.

A change goes over one connection: a challenge, the proof that the caller has the cluster's secret,
the change itself. The secret never leaves this process. A node that cannot be reached is passed
over; once the change was sent it is not sent again, so its outcome may be unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quorumcache.ring import ClusterMap
from quorumcache.ring.address import is_loopback, parse_address
from quorumcache.ring.secret import CLIENT, Secret
from quorumcache.router.config import unix_path
from quorumcache.router.errors import (
    ClusterUnreachable,
    DeadlineExceeded,
    NodeBusy,
    NotDone,
    RouterError,
)
from quorumcache.router.pool import Pool
from quorumcache.router.requests import (
    Request,
    cluster_auth,
    cluster_change,
    cluster_moves,
    cluster_proof,
)

MOVES_ATTEMPT_MS = 1_000
"""How long one node may take to tell of the moves before the next one is asked."""

SecretOf = Callable[[str], Secret]
"""The cluster's secret, given where the asked node keeps it on its machine ("": unknown)."""


def prove(secret: Secret, nonce: str) -> str:
    """The answer of a client to a challenge, as hexadecimal digits."""
    return secret.proof(CLIENT, bytes.fromhex(nonce)).hex()


def addresses_of(cluster_map: ClusterMap) -> list[str]:
    """Client addresses of all nodes, those that decide changes and hear of moves first."""
    first = set(cluster_map.directory)
    nodes = sorted(cluster_map.nodes, key=lambda node: node.node_id not in first)
    return [node.client_address for node in nodes]


async def change(
    pool: Pool,
    addresses: Sequence[str],
    words: Sequence[str],
    secret_of: SecretOf,
    deadline: float,
) -> dict[str, Any]:
    """Have the cluster changed; what a node answers. Words: docs/protocol.md, `cluster change`.

    Raises `Refused` (nothing was changed, and why), `ClusterUnreachable`, or `OutcomeUnknown`.
    """
    errors = []
    for address in addresses:
        try:
            return await _change_at(pool, address, words, secret_of, deadline)
        except NotDone as error:
            if not _is_elsewhere_better(error):
                raise
            errors.append(str(error))
    raise ClusterUnreachable(f"no node of the cluster answers ({'; '.join(errors)})")


def _is_elsewhere_better(error: NotDone) -> bool:
    """Whether another node may do what this one did not even try."""
    return error.refresh_map or isinstance(error, NodeBusy)


async def _change_at(
    pool: Pool, address: str, words: Sequence[str], secret_of: SecretOf, deadline: float
) -> dict[str, Any]:
    connection = await pool.acquire(address, deadline)

    async def ask(request: Request[Any]) -> Any:
        await connection.room(len(request.data), deadline)
        return await connection.submit(request, deadline)

    try:
        challenge = await ask(cluster_auth())
        # A node on another machine could name the secret of a cluster on this one.
        is_here = bool(unix_path(address)) or is_loopback(parse_address(address)[0])
        secret = secret_of(challenge.secret_path if is_here else "")
        await ask(cluster_proof(prove(secret, challenge.nonce)))
    except RouterError as error:
        if error.outcome_known:
            raise
        # Nothing was asked for so far.
        raise ClusterUnreachable(f"{address}: {error}") from error
    answer: dict[str, Any] = await ask(cluster_change(words))
    return answer


async def moves(
    pool: Pool, addresses: Sequence[str], deadline: float, now: Callable[[], float]
) -> dict[str, Any]:
    """What the first node that answers knows of nodes, settings and moves. `now`: the loop's time.

    Raises what the last one said, or `DeadlineExceeded`.
    """
    last: RouterError | None = None
    for address in addresses:
        if now() >= deadline:
            break
        until = min(deadline, now() + MOVES_ATTEMPT_MS / 1000)
        try:
            connection = await pool.acquire(address, until)
            request = cluster_moves()
            await connection.room(len(request.data), until)
            return await connection.submit(request, until)
        except RouterError as error:
            last = error
    if last is not None:
        raise last
    raise DeadlineExceeded("no node has told of its moves in time")
