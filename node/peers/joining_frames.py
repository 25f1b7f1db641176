"""The bytes of a join: a new node asks a member of a cluster to take it in. Pure.

Both sides talk on a connection of its own, in the frames of `codec.py`, in four steps:

    new node  ["join?", protocol_version, nonce]
    member    ["nonce", protocol_version, nonce, cluster_id, name of the member]
    new node  ["join", protocol_version, body, proof]       body: msgpack of what it says of itself
    member    ["joined", protocol_version, body, proof]     body: msgpack of what it has to accept

Each proof shows that its side knows the secret of the cluster. It is made over the nonces and the
body, so nothing that was recorded can be sent again. A member that does not take the node in sends
a refusal in place of any of its answers. One with the pause `NEVER_MS` is final.

Before a member takes a node in, it asks what answers at that node's own address:

    member    ["reach", protocol_version]
    new node  ["reached", protocol_version, name, disk_id]

If nothing does, it answers the request with

    member    ["unreached", protocol_version, sentence]

and the new node asks again for a while: the address may come up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgpack

from quorumcache.node.errors import FoundingError, HandshakeRefused, PeerFrameError
from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    SENTENCE_CHARS_MAX,
    Refusal,
    decode_hello,
    encode_frame,
    other_protocol,
    unpack_payload,
)
from quorumcache.node.peers.founding_frames import new_node, settings_of
from quorumcache.node.storage.founding_record import RECORD_BYTES_MAX, FoundingRecord
from quorumcache.ring import ClusterMap, MapError, NodeInfo, is_disk_id
from quorumcache.ring.map_form import MAP_BYTES_MAX

NONCE_BYTES: Final = 16
PROOF_BYTES_MAX: Final = 64

ANSWER_BYTES_MAX: Final = RECORD_BYTES_MAX + MAP_BYTES_MAX + 1024
"""Longest payload of an answer: a record and a map."""

NEVER_MS: Final = 0
"""The pause in a refusal that the same question will get again."""

JOIN_PROOF: Final = "join"
JOINED_PROOF: Final = "joined"

_ASK, _NONCE, _JOIN, _JOINED = "join?", "nonce", "join", "joined"
_REACH, _REACHED, _UNREACHED = "reach", "reached", "unreached"


class JoinQuestion(NamedTuple):
    """A new node wants to join. `nonce`: the answer at the end must prove the secret with it."""

    nonce: bytes


class MemberNonce(NamedTuple):
    """A member's answer: with this nonce the new node has to prove the secret."""

    nonce: bytes
    cluster_id: str
    name: str


class JoinRequest(NamedTuple):
    """What a new node says of itself, and its proof over `body`.

    `info.node_id` means nothing yet. `settings`: (name, value) of those that have to be equal on
    all nodes, and of the cluster's that its user has given.
    """

    info: NodeInfo
    settings: tuple[tuple[str, str], ...]
    body: bytes
    proof: bytes


class ReachQuestion(NamedTuple):
    """A member asks what listens here."""


class Joined(NamedTuple):
    """The node belongs to the cluster as soon as it has accepted this."""

    record: FoundingRecord
    node_id: int
    map: ClusterMap


class JoinedAnswer(NamedTuple):
    """A `Joined`, and the member's proof over `body`."""

    joined: Joined
    body: bytes
    proof: bytes


class Reached(NamedTuple):
    """Which data directory answers at an address."""

    name: str
    disk_id: str


class Unreached(NamedTuple):
    """A member does not reach the new node at the address that it gives. `sentence` says why."""

    sentence: str


def encode_join_question(nonce: bytes) -> bytes:
    """A new node's first frame."""
    return _frame(_ASK, nonce)


def encode_nonce(answer: MemberNonce) -> bytes:
    """A member's answer to the first frame."""
    return _frame(_NONCE, *answer)


def join_body(info: NodeInfo, settings: Mapping[str, str]) -> bytes:
    """What a new node says of itself: what its proof is made over."""
    body: bytes = msgpack.packb(
        (
            *(info.name, info.disk_id, info.peer_address, info.client_address),
            *(info.http_address, info.zone, float(info.weight)),
            sorted(settings.items()),
        )
    )
    return body


def encode_join(body: bytes, proof: bytes) -> bytes:
    """A new node's request."""
    return _frame(_JOIN, body, proof)


def joined_body(joined: Joined) -> bytes:
    """What a new node has to accept: what the member's proof is made over."""
    body: bytes = msgpack.packb((joined.record.to_text(), joined.node_id, joined.map.to_bytes()))
    return body


def encode_joined(body: bytes, proof: bytes) -> bytes:
    """A member's last answer."""
    return _frame(_JOINED, body, proof)


def encode_reach() -> bytes:
    """The question of a member at the address of a new node."""
    return _frame(_REACH)


def encode_reached(reached: Reached) -> bytes:
    """The answer of whoever listens at that address."""
    return _frame(_REACHED, *reached)


def encode_unreached(unreached: Unreached) -> bytes:
    """The answer to a request of a node that cannot be reached."""
    return _frame(_UNREACHED, *unreached)


def decode_newcomer(payload: bytes) -> JoinQuestion | JoinRequest | ReachQuestion | None:
    """A question of a join, as the side that was dialed gets it; None if the frame is something
    else.

    Raises `HandshakeRefused` for another protocol version, and `PeerFrameError` if it is malformed.
    """
    fields = unpack_payload(payload)
    word = fields[0] if fields else None
    if word == _ASK:
        return JoinQuestion(_bytes(_rest(fields, 1)[0], NONCE_BYTES))
    if word == _REACH:
        _rest(fields, 0)
        return ReachQuestion()
    if word != _JOIN:
        return None
    body, proof = _rest(fields, 2)
    proof = _proof(proof)
    said = unpack_payload(_bytes(body))
    if len(said) != 8:
        raise PeerFrameError(f"a request to join has {len(said)} fields, expected 8")
    return JoinRequest(new_node(*said[:7]), settings_of(said[7]), body, proof)


def decode_join_answer(payload: bytes) -> JoinAnswer:
    """An answer, as the side that dialed gets it. Raises as `decode_newcomer`."""
    fields = unpack_payload(payload)
    word = fields[0] if fields else None
    if word == _NONCE:
        nonce, cluster_id, name = _rest(fields, 3)
        if not is_disk_id(cluster_id) or type(name) is not str or len(name) > 255:
            raise PeerFrameError("the answer to a join names no cluster")
        return MemberNonce(_bytes(nonce, NONCE_BYTES), cluster_id, name)
    if word == _REACHED:
        name, disk_id = _rest(fields, 2)
        if not is_disk_id(disk_id) or type(name) is not str or not name.isprintable():
            raise PeerFrameError("the answer of a node names no data directory")
        return Reached(name[:255], disk_id)
    if word == _UNREACHED:
        [sentence] = _rest(fields, 1)
        if type(sentence) is not str or not sentence.isprintable():
            raise PeerFrameError("the answer of a member says nothing of why")
        return Unreached(sentence[:SENTENCE_CHARS_MAX])
    if word == _JOINED:
        body, proof = _rest(fields, 2)
        return JoinedAnswer(_joined(unpack_payload(_bytes(body))), body, _proof(proof))
    refusal = decode_hello(payload)
    if isinstance(refusal, Refusal):
        return refusal
    raise PeerFrameError("the answer to a question about a join is a hello")


JoinAnswer = MemberNonce | JoinedAnswer | Reached | Unreached | Refusal


def _frame(word: str, *fields: Any) -> bytes:
    return encode_frame(msgpack.packb((word, PROTOCOL_VERSION, *fields)))


def _rest(fields: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The fields behind the word and the version."""
    if len(fields) < 2 or fields[1] != PROTOCOL_VERSION:
        raise HandshakeRefused(other_protocol(fields[1] if len(fields) > 1 else None))
    if len(fields) != 2 + count:
        raise PeerFrameError(f"{fields[0]!r:.20} has {len(fields)} fields, expected {2 + count}")
    return fields[2:]


def _joined(fields: tuple[Any, ...]) -> Joined:
    if tuple(map(type, fields)) != (str, int, bytes):
        raise PeerFrameError("the answer to a join is malformed")
    text, node_id, data = fields
    try:
        joined = Joined(FoundingRecord.from_text(text), node_id, ClusterMap.from_bytes(data))
    except (FoundingError, MapError) as error:
        raise PeerFrameError(f"the answer to a join: {error}") from error
    if joined.map.cluster_id != joined.record.cluster_id:
        raise PeerFrameError("the answer to a join has the record of another cluster than its map")
    return joined


def _bytes(value: object, length: int = 0) -> bytes:
    if type(value) is not bytes or (length and len(value) != length):
        raise PeerFrameError(f"a frame of a join holds {value!r:.60}, expected bytes")
    return value


def _proof(value: object) -> bytes:
    proof = _bytes(value)
    if len(proof) > PROOF_BYTES_MAX:
        raise PeerFrameError(f"a proof of {len(proof)} bytes, at most {PROOF_BYTES_MAX}")
    return proof
