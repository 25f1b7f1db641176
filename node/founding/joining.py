"""A new node asks members of a cluster to take it in. Edge: it dials.

The node has a disk id and nothing else. Again and again it asks its seeds, one after the other
(`joining_frames`), until a member of the cluster takes it in. Both sides prove that they know the
cluster's secret. A member that the directory has let decide tells the node its id, the founding
record and the map.

What changes by itself is waited for: a seed that is down, a member that has no leader of the
directory, a cluster that is being founded. What does not change by itself ends the attempt with a
`JoinRefused`: another secret, a name that is taken, settings of another cluster, an address at
which another node answers. An address at which the members reach nothing is in between: it is asked
again for `UNREACHED_SECONDS`, since a port or a name may come up late. A seed that is no member at
all is left aside; the attempt ends when all of them are.

Nothing is stored here. A process that dies asks again with the same disk id, and gets the same
answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from quorumcache.node.errors import HandshakeRefused, JoinRefused, PeerError, PeerFrameError
from quorumcache.node.founding.questions import Asking, Reception
from quorumcache.node.peers.codec import Refusal, encode_refusal
from quorumcache.node.peers.joining_frames import (
    ANSWER_BYTES_MAX,
    JOIN_PROOF,
    JOINED_PROOF,
    NEVER_MS,
    NONCE_BYTES,
    Joined,
    JoinedAnswer,
    MemberNonce,
    Reached,
    ReachQuestion,
    Unreached,
    decode_join_answer,
    decode_newcomer,
    encode_join,
    encode_join_question,
    encode_reached,
    join_body,
)
from quorumcache.ring import NodeInfo
from quorumcache.ring.address import parse_address
from quorumcache.ring.names import Names

if TYPE_CHECKING:
    from quorumcache.node.storage.secret import Secret

ROUND_MS: Final = (200, 400)
"""Pause after all seeds were asked, drawn."""

ASK_SECONDS: Final = 1.0
"""For a seed to say that it is a member, from the dial on."""

JOIN_SECONDS: Final = 15.0
"""For a member to take this node in: it dials this node, and the directory decides."""

RETRY_MS: Final = 200
"""Told to a node that dials one that is still joining: it will have accepted soon."""


UNREACHED_SECONDS: Final = 60.0
"""So long may members say that they do not reach this node: the network of a container, a firewall
or a name that comes up late does so within a minute. After that the address is taken for wrong."""

UNREACHED_MS: Final = (1000, 1500)
"""Pause after a round in which a member said so, drawn: it has dialed several times already."""


class _Wait(NamedTuple):
    """A seed did not take this node in, and may do so later."""

    why: str
    is_unreached: bool = False
    """A member does not reach this node at the address that it gives."""


class _Stranger(NamedTuple):
    """What answers at a seed is no member of any cluster."""

    why: str


class JoiningPhase:
    """The join as the new node sees it; `run` it, with `accept` as its listener's factory."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        entropy: Random,
        own: NodeInfo,
        settings: Mapping[str, str],
        secret: Secret,
        seeds: Sequence[str],
        on_waiting: Callable[[str], None],
    ) -> None:
        """`entropy`: numbers that nobody can guess. `own`: what this node says of itself.
        `settings`: what has to be as in the cluster. `seeds`: peer addresses of members.
        `on_waiting` hears, after every round, a sentence that says what it waits for.
        """
        self._loop = loop
        self._random = random
        self._entropy = entropy
        self._own = own
        self._body = join_body(own, settings)
        self._secret = secret
        self._seeds = tuple(seeds)
        self._on_waiting = on_waiting
        self._reception = Reception(loop, self.answer)
        self._names = Names(loop)
        self._rounds = 0

    # -- listening ------------------------------------------------------------------------

    def accept(self) -> asyncio.Protocol:
        """A connection came in."""
        return self._reception.accept()

    def answer(self, payload: bytes) -> bytes:
        """The frame that answers a first frame. Raises `PeerError`."""
        own = self._own
        try:
            if isinstance(decode_newcomer(payload), ReachQuestion):
                return encode_reached(Reached(own.name, own.disk_id))
        except HandshakeRefused as error:
            return encode_refusal(str(error), RETRY_MS)
        return encode_refusal(
            f"node {own.name} is new and belongs to no cluster yet: it waits to join one", RETRY_MS
        )

    def close(self) -> None:
        """End every connection that was accepted here."""
        self._names.close()
        self._reception.close()

    # -- asking ---------------------------------------------------------------------------

    async def run(self) -> Joined:
        """Ask until a member takes this node in; the answer is not accepted yet. Raises
        `JoinRefused`."""
        unreached_from: float | None = None
        while True:
            waits: list[_Wait] = []
            strangers: list[str] = []
            for seed in self._seeds:
                answer = await self._ask(seed)
                if isinstance(answer, Joined):
                    return answer
                if isinstance(answer, _Stranger):
                    strangers.append(answer.why)
                else:
                    waits.append(answer)
            if not waits:
                raise JoinRefused("; ".join(strangers))
            unreached = [wait.why for wait in waits if wait.is_unreached]
            now = self._loop.time()
            if not unreached:
                unreached_from = None
            elif unreached_from is None:
                unreached_from = now
            elif now - unreached_from >= UNREACHED_SECONDS:
                raise JoinRefused(f"{unreached[0]} (tried for {UNREACHED_SECONDS:.0f} s)")
            whys = [*(wait.why for wait in waits), *strangers]
            self._on_waiting(f"waits to join: {'; '.join(whys)}")
            pause_ms = UNREACHED_MS if unreached else ROUND_MS
            await asyncio.sleep(self._random.uniform(*pause_ms) / 1000)
            self._rounds += 1

    async def _ask(self, seed: str) -> Joined | _Wait | _Stranger:
        """Ask one seed, on a connection of its own."""
        host, port = parse_address(seed)
        asking = Asking(self._loop, ANSWER_BYTES_MAX)
        is_connected = False
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._names.connect(lambda: asking, host, port, self._rounds)
                is_connected = True
                nonce = self._entropy.randbytes(NONCE_BYTES)
                first = decode_join_answer(await asking.ask(encode_join_question(nonce)))
            if isinstance(first, Refusal):
                if seed == self._own.peer_address:
                    return _Stranger(f"{seed} is this node itself: give a member's peer address")
                return _waits(seed, first)
            if not isinstance(first, MemberNonce):
                raise PeerFrameError("an answer to another question came")
            async with asyncio.timeout(JOIN_SECONDS):
                return await self._request(seed, asking, nonce, first)
        except TimeoutError:
            if is_connected and await self._is_memcached(host, port):
                return _Stranger(
                    f"{seed} is an address for memcached clients: give the peer address of a "
                    "member (see `quorumcache status`)"
                )
            return _Wait(f"no answer from {seed}")
        except OSError as error:
            return _Wait(f"cannot connect to {seed}: {error.strerror or error}")
        except HandshakeRefused as error:
            raise JoinRefused(f"{seed}: {error}") from error
        except PeerError:
            return _Stranger(
                f"{seed} is not the peer address of a member: what answers there is no node of "
                "QuorumCache. Give the peer address of a member (see `quorumcache status`)"
            )
        finally:
            asking.close()

    async def _request(
        self, seed: str, asking: Asking, nonce: bytes, member: MemberNonce
    ) -> Joined | _Wait:
        """Ask the member to take this node in."""
        proven = (nonce, member.nonce, member.cluster_id.encode(), self._body)
        proof = self._secret.proof(JOIN_PROOF, *proven)
        answer = decode_join_answer(await asking.ask(encode_join(self._body, proof)))
        if isinstance(answer, Refusal):
            return _waits(seed, answer)
        if isinstance(answer, Unreached):
            return _Wait(f"{seed}: {answer.sentence}", is_unreached=True)
        if not isinstance(answer, JoinedAnswer):
            raise PeerFrameError("an answer to another question came")
        joined = answer.joined
        if not self._secret.is_proof(JOINED_PROOF, answer.proof, nonce, answer.body):
            raise JoinRefused(
                f"{seed}: node {member.name} did not prove the secret of cluster "
                f"{member.cluster_id}. Check who listens at {seed}"
            )
        named = next((n for n in joined.map.nodes if n.node_id == joined.node_id), None)
        if (
            joined.map.cluster_id != member.cluster_id
            or named is None
            or (named.name, named.disk_id) != (self._own.name, self._own.disk_id)
        ):
            raise JoinRefused(
                f"{seed}: the map that node {member.name} sent does not name this node"
            )
        return joined

    async def _is_memcached(self, host: str, port: int) -> bool:
        """Whether what takes the connection but does not answer speaks memcached's protocol."""
        asking = Asking(self._loop, ANSWER_BYTES_MAX)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._names.connect(lambda: asking, host, port, self._rounds)
                await asking.ask(b"version\r\n")
        except PeerError:
            return True  # "VERSION ..." is no frame.
        except (OSError, TimeoutError):
            return False
        finally:
            asking.close()
        return False


def _waits(seed: str, refusal: Refusal) -> _Wait:
    """A refusal that may pass. One that does not raises `JoinRefused`."""
    if refusal.retry_ms == NEVER_MS:
        raise JoinRefused(f"{seed}: {refusal.sentence}")
    return _Wait(f"{seed}: {refusal.sentence}")


async def member_at(
    loop: asyncio.AbstractEventLoop, random: Random, names: Names, seed: str, turn: int = 0
) -> MemberNonce | None:
    """What the member says that answers at `seed`; None if none does within a second. `turn`: see
    `Names.connect`.
    """
    asking = Asking(loop, ANSWER_BYTES_MAX)
    host, port = parse_address(seed)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await names.connect(lambda: asking, host, port, turn)
            question = encode_join_question(random.randbytes(NONCE_BYTES))
            answer = decode_join_answer(await asking.ask(question))
    except (OSError, TimeoutError, PeerError):
        return None
    finally:
        asking.close()
    return answer if isinstance(answer, MemberNonce) else None
