"""The bytes that a new node and the others send each other. Pure.

A new node asks one question on a connection of its own, in the frames of `codec.py`:

    question  ["blank", protocol_version, name, disk_id, peer_address, client_address, http_address,
               zone, weight, [[setting, value], ...]]

and gets one answer, after which the connection ends:

    ["blank", ...]                           the other is new, too: the same about itself
    ["found", protocol_version, record]      the founding record, which names the one who asked
    ["found", protocol_version, record, secret]    likewise, with the secret that was made for the
                                             cluster, if its founders were given none
    ["refuse", protocol_version, sentence, retry_ms]
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from quorumcache.node.errors import FoundingError, HandshakeRefused, PeerFrameError
from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    Refusal,
    decode_hello,
    encode_frame,
    other_protocol,
    unpack_payload,
)
from quorumcache.node.peers.founding_secret import why_other_secret, without_secret
from quorumcache.node.peers.strangers import setting_differences
from quorumcache.node.storage.founding_record import RECORD_BYTES_MAX, FoundingRecord
from quorumcache.ring import MapError, NodeInfo, check_node, is_disk_id
from quorumcache.ring.errors import SecretError
from quorumcache.ring.secret import SECRET_CHARS_MAX, Secret

ANSWER_BYTES_MAX: Final = RECORD_BYTES_MAX + 4 * SECRET_CHARS_MAX + 1024
"""Longest payload of an answer: a record and a secret."""

SETTINGS_MAX: Final = 64
SETTING_CHARS_MAX: Final = 4096

BLANK: Final = "blank"
FOUND: Final = "found"


class Blank(NamedTuple):
    """What a new node says about itself. `info.node_id` means nothing yet.

    `settings`: what must be equal on all founders, (name, value).
    """

    info: NodeInfo
    settings: tuple[tuple[str, str], ...]


class Found(NamedTuple):
    """The record that the answering member has accepted."""

    record: FoundingRecord
    secret: Secret | None = None
    """Made for the cluster; None if the founders were given one, or the cluster has none."""


def encode_blank(blank: Blank) -> bytes:
    """A new node's question, and its answer to one."""
    info = blank.info
    fields = (
        *(BLANK, PROTOCOL_VERSION, info.name, info.disk_id, info.peer_address),
        *(info.client_address, info.http_address, info.zone, float(info.weight), blank.settings),
    )
    return encode_frame(msgpack.packb(fields))


def encode_found(record: FoundingRecord, secret: Secret | None = None) -> bytes:
    """A member's answer to a founder that has not accepted yet. `secret`: one that it needs."""
    fields = (FOUND, PROTOCOL_VERSION, record.to_text())
    return encode_frame(msgpack.packb(fields if secret is None else (*fields, secret.text)))


def decode_question(payload: bytes) -> Blank | None:
    """The question of a new node; None if the frame is something else.

    Raises `HandshakeRefused` for another protocol version, and `PeerFrameError` if it is malformed.
    """
    fields = unpack_payload(payload)
    if not fields or fields[0] != BLANK:
        return None
    _check_version(fields)
    return _blank(fields)


def decode_answer(payload: bytes) -> Blank | Found | Refusal:
    """The answer to a question. Raises as `decode_question`."""
    fields = unpack_payload(payload)
    if fields and fields[0] == BLANK:
        _check_version(fields)
        return _blank(fields)
    if fields and fields[0] == FOUND:
        _check_version(fields)
        if len(fields) not in (3, 4) or any(type(field) is not str for field in fields[2:]):
            raise PeerFrameError("an answer with a founding record is malformed")
        try:
            secret = Secret(fields[3]) if len(fields) == 4 else None
            return Found(FoundingRecord.from_text(fields[2]), secret)
        except FoundingError as error:
            raise PeerFrameError(str(error)) from error
        except SecretError as error:
            raise PeerFrameError(f"the secret of an answer {error}") from None
    refusal = decode_hello(payload)
    if isinstance(refusal, Refusal):
        return refusal
    raise PeerFrameError("the answer is a hello, expected a founding record")


def why_unequal(own: Blank, other: Blank) -> str:
    """How the settings of two founders differ, in words; "" if they are equal."""
    name, other_name = own.info.name, other.info.name
    ours, theirs = without_secret(own.settings), without_secret(other.settings)
    return setting_differences(name, ours, other_name, theirs) or why_other_secret(
        name, own.settings, other_name, other.settings
    )


def _check_version(fields: tuple[Any, ...]) -> None:
    if len(fields) < 2 or fields[1] != PROTOCOL_VERSION:
        raise HandshakeRefused(other_protocol(fields[1] if len(fields) > 1 else None))


def _blank(fields: tuple[Any, ...]) -> Blank:
    if len(fields) != 10:
        raise PeerFrameError(f"a question of a new node has {len(fields)} fields, expected 10")
    name, disk_id, peer, client, http, zone, weight, settings = fields[2:]
    info = new_node(name, disk_id, peer, client, http, zone, weight)
    return Blank(info, settings_of(settings))


def new_node(
    name: Any, disk_id: Any, peer: Any, client: Any, http: Any, zone: Any, weight: Any
) -> NodeInfo:
    """What a new node says of itself, none of which is trusted. Raises `PeerFrameError`."""
    info = NodeInfo(1, name, peer, client, http, zone, weight, disk_id)
    try:
        check_node(info)
    except MapError as error:
        raise PeerFrameError(f"a new node: {error}") from error
    if not is_disk_id(disk_id):
        raise PeerFrameError(f"a new node: disk id is {disk_id!r:.60}")
    return info


def settings_of(settings: Any) -> tuple[tuple[str, str], ...]:
    """(name, value) pairs that a new node told. Raises `PeerFrameError`."""
    if type(settings) is not tuple or len(settings) > SETTINGS_MAX:
        raise PeerFrameError("a new node: settings are not a short array")
    for setting in settings:
        if type(setting) is not tuple or tuple(map(type, setting)) != (str, str):
            raise PeerFrameError(f"a new node: a setting is {setting!r:.60}")
        if not all(len(text) <= SETTING_CHARS_MAX and text.isprintable() for text in setting):
            raise PeerFrameError(f"a new node: a setting is {setting!r:.60}")
    return settings
