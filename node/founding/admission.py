"""A member takes a new node into the cluster, or says why not. Edge: it dials the new node.

It answers the questions of `joining_frames`. The new node has to prove the cluster's secret; its
settings have to be the cluster's; its peer address has to reach it from here: while nothing answers
there, the new node is told so, and asks again for a while. Then the directory
decides (`join`), and this node passes its decision on once it has the map that holds it. Every step
may be done twice: a new node that asks again with the same disk id gets the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from quorumcache.node.errors import HandshakeRefused, PeerError
from quorumcache.node.founding.questions import Asking
from quorumcache.node.peers.codec import Refusal, encode_refusal
from quorumcache.node.peers.joining_frames import (
    ANSWER_BYTES_MAX,
    JOIN_PROOF,
    JOINED_PROOF,
    NEVER_MS,
    NONCE_BYTES,
    Joined,
    JoinQuestion,
    JoinRequest,
    MemberNonce,
    Reached,
    ReachQuestion,
    Unreached,
    decode_join_answer,
    decode_newcomer,
    encode_joined,
    encode_nonce,
    encode_reach,
    encode_reached,
    encode_unreached,
    joined_body,
)
from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring import ClusterMap, MapError
from quorumcache.ring.address import parse_address
from quorumcache.ring.names import Names

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.peers.peer import Asker
    from quorumcache.node.storage.founding_record import FoundingRecord
    from quorumcache.node.storage.secret import Secret
    from quorumcache.node.system.tasks import Tasks
    from quorumcache.ring import NodeInfo

log = get_logger("node")

JOINS_MAX: Final = 16
"""New nodes whose request is under way here. A further one is told to ask again."""

WAIT_MS: Final = 500
"""Pause before a new node asks again for what is not so far yet."""

REACH_TRIES: Final = 3
REACH_SECONDS: Final = 1.0
"""A new node is dialed so often, with so long for an answer, before it is told that it is out of
reach."""

FORM_MIN: Final = 2
"""Of a map that can name a node that joins."""

WILDCARDS: Final = ("0.0.0.0", "::")

OK: Final = ""


class Verdict(NamedTuple):
    """What the directory says about a new node. `why` "": it belongs to the cluster, and `map` is
    the map that names it. Otherwise `is_final` tells whether it would say so again."""

    map: bytes
    why: str = ""
    is_final: bool = False


Decide = Callable[["NodeInfo", Callable[[Verdict], None]], None]
"""`decide(info, done)` asks the directory."""


class Admission:
    """See the module."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        entropy: Random,
        tasks: Tasks,
        record: FoundingRecord,
        settings: Mapping[str, str],
        own: Callable[[], NodeInfo],
        current_map: Callable[[], ClusterMap | None],
        secret: Callable[[], Secret | None],
        decide: Decide,
    ) -> None:
        """`entropy`: numbers that nobody can guess. `settings`: of this cluster. `own`: what this
        node says of itself.
        """
        self._loop = loop
        self._entropy = entropy
        self._tasks = tasks
        self._record = record
        self._settings = settings
        self._own = own
        self._current_map = current_map
        self._secret = secret
        self._decide = decide
        self._under_way = 0
        self._names = Names(loop)
        self._lines = LineLog(clock, log)

    def question(self, asker: Asker, payload: bytes) -> bool:
        """The first frames of a connection that came in; False if this one is nothing of a join.

        Raises `HandshakeRefused` for another protocol version, `PeerFrameError` for a malformed
        question.
        """
        asked = decode_newcomer(payload)
        if asked is None:
            return False
        own = self._own()
        if isinstance(asked, ReachQuestion):
            asker.answer(encode_reached(Reached(own.name, own.disk_id)))
        elif isinstance(asked, JoinQuestion):
            nonce = self._entropy.randbytes(NONCE_BYTES)
            asker.nonces = (asked.nonce, nonce)
            frame = encode_nonce(MemberNonce(nonce, self._record.cluster_id, own.name))
            asker.answer(frame, is_last=False)
        else:
            self._request(asker, asked)
        return True

    def _request(self, asker: Asker, request: JoinRequest) -> None:
        """A new node asks to be taken in."""
        nonces, asker.nonces = asker.nonces, None
        why, is_final = self._why_not(request, nonces)
        if why:
            self._refuse(asker, request.info, why, is_final=is_final)
            return
        assert nonces is not None
        nonce = nonces[0]
        asker.wait_longer()
        self._under_way += 1

        async def work() -> None:
            try:
                await self._admit(asker, request.info, nonce)
            finally:
                self._under_way -= 1

        self._tasks.once(
            f"join of node {request.info.name}",
            work,
            lambda: asker.answer(encode_refusal("internal error: see the log", WAIT_MS)),
        )

    def _why_not(
        self, request: JoinRequest, nonces: tuple[bytes, bytes] | None
    ) -> tuple[str, bool]:
        """Why the node cannot join, and whether that is final; "" if nothing here speaks against
        it.
        """
        own, info = self._own(), request.info
        cluster = f"cluster {self._record.cluster_id}"
        cluster_map, secret = self._current_map(), self._secret()
        if nonces is None:
            return f"node {info.name} asked out of turn", False
        if secret is None:
            return f"node {own.name} does not know the secret of {cluster} yet", False
        proven = (*nonces, self._record.cluster_id.encode(), request.body)
        if not secret.is_proof(JOIN_PROOF, request.proof, *proven):
            return (
                f"node {info.name} does not know the secret of {cluster}: give it the cluster's, "
                "with --secret-file FILE (a copy of cluster.secret in the data directory of a "
                "member) or in QUORUMCACHE_SECRET"
            ), True
        if self._settings.get("durability") == "memory":
            return (
                f"node {own.name} keeps nothing on disk (durability memory), so no node can join "
                "it. Start it with --data-dir"
            ), True
        unequal = [
            f"{name} is {value} at node {info.name}, but {self._settings[name]} in {cluster}"
            for name, value in request.settings
            if name in self._settings and self._settings[name] != value
        ]
        if unequal:
            return f"{'; '.join(unequal)}. Leave the setting out, or give it that value", True
        host = parse_address(own.peer_address)[0]
        if host in WILDCARDS:
            return (
                f"node {own.name} listens for other nodes at {own.peer_address}, which tells no "
                f"node where it is: start it with --advertise-peer HOST:PORT"
            ), True
        if cluster_map is None:
            return f"{cluster} has no map yet", False
        if cluster_map.form < FORM_MIN:
            return (
                f"not all nodes of {cluster} are known to run a version that can take nodes in"
            ), False
        if self._under_way >= JOINS_MAX:
            return f"{JOINS_MAX} other nodes are joining at node {own.name}", False
        return OK, False

    async def _admit(self, asker: Asker, info: NodeInfo, nonce: bytes) -> None:
        why, is_final = await self._why_unreachable(info)
        if why and not is_final:
            self._lines.event("warning", "joiner_unreachable", peer=info.name, why=why)
            asker.answer(encode_unreached(Unreached(why)))
            return
        if why:
            self._refuse(asker, info, why, is_final=True)
            return
        decided: asyncio.Future[Verdict] = self._loop.create_future()

        def done(verdict: Verdict) -> None:
            if not decided.done():
                decided.set_result(verdict)

        self._decide(info, done)
        verdict = await decided
        if verdict.why:
            self._refuse(asker, info, verdict.why, is_final=verdict.is_final)
            return
        joined = self._joined(info, verdict.map)
        secret = self._secret()
        if joined is None or secret is None:
            self._refuse(asker, info, "the directory's map does not name it", is_final=False)
            return
        body = joined_body(joined)
        asker.answer(encode_joined(body, secret.proof(JOINED_PROOF, nonce, body)))
        event(log, "info", "node_joins", peer=info.name, node_id=joined.node_id)

    def _joined(self, info: NodeInfo, data: bytes) -> Joined | None:
        """The new node's place in this map; None if it has none."""
        try:
            cluster_map = ClusterMap.from_bytes(data)
        except MapError:
            return None
        for node in cluster_map.nodes:
            if node.disk_id == info.disk_id:
                return Joined(self._record, node.node_id, cluster_map)
        return None

    async def _why_unreachable(self, info: NodeInfo) -> tuple[str, bool]:
        """Why the peer address that a new node gives does not lead to it, "" if it does; and
        whether that is final: another node answers there.
        """
        own, why, is_final = self._own(), "", False
        for turn in range(REACH_TRIES):
            why, is_final = await self._reach(info, turn)
            if not why:
                return "", False
            if is_final:
                break
        return (
            f"node {info.name} is not reachable at {info.peer_address} from node {own.name}: {why}."
            " Give it a --peer, or an --advertise-peer, that the other nodes can connect to"
        ), is_final

    async def _reach(self, info: NodeInfo, turn: int) -> tuple[str, bool]:
        host, port = parse_address(info.peer_address)
        asking = Asking(self._loop, ANSWER_BYTES_MAX)
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await self._names.connect(lambda: asking, host, port, turn)
                answer = decode_join_answer(await asking.ask(encode_reach()))
        except TimeoutError:
            return "no answer", False
        except OSError as error:
            return str(error.strerror or error), False
        except HandshakeRefused as error:
            return str(error), True
        except PeerError:
            return "what answers there is no node of QuorumCache", False  # A proxy, perhaps.
        finally:
            asking.close()
        if isinstance(answer, Refusal):
            return answer.sentence, False
        if not isinstance(answer, Reached):
            return "an answer to another question came", False
        if answer.disk_id != info.disk_id:
            return f"node {answer.name}, another one, answers there", True
        return "", False

    def _refuse(self, asker: Asker, info: NodeInfo, why: str, *, is_final: bool) -> None:
        level = "warning" if is_final else "info"
        self._lines.event(level, "join_refused", peer=info.name, why=why)
        asker.answer(encode_refusal(why, NEVER_MS if is_final else WAIT_MS))
