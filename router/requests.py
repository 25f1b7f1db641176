"""One constructor per request: its bytes, its effect, and what its reply means. Pure.

A `decode` either returns the result or raises one of the errors of `errors.py`. `BadReply` means
that the stream is out of step with the requests, and ends the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from quorumcache.ring import ClusterMap, MapError
from quorumcache.ring.map_form import FORM_MAX
from quorumcache.router import codec
from quorumcache.router.codec import Document, Line, Listing, MapReply, Reply, Value, Values
from quorumcache.router.error_lines import text_of, unexpected
from quorumcache.router.errors import BadReply, Refused
from quorumcache.router.levels import LINEARIZABLE, Linearizable, ReadLevel
from quorumcache.router.retry import Effect

_READ = Effect.READ
"""Once for all: to look a member of an enum up takes several times as long."""

T_co = TypeVar("T_co", covariant=True)


class Request(Generic[T_co]):
    """Bytes to send, and how to read the reply."""

    __slots__ = ("any_replica", "data", "decode", "effect", "level")

    wait_ms = 0
    """How long the node may keep the answer back."""

    is_alone = False
    """Whether it has a connection to itself while it is under way: nodes answer in order, and what
    is sent behind it would wait for it."""

    is_fenced = False
    """Whether it goes only to a node that knows fences: another would execute it without."""

    def __init__(
        self,
        data: bytes,
        decode: Callable[[Reply], T_co],
        effect: Effect,
        level: bytes = b"",
    ) -> None:
        self.data = data
        self.decode = decode
        self.effect = effect
        self.level = level
        """Words of the read level that has to be in force; empty if none matters."""
        self.any_replica = level not in (b"", Linearizable.words)
        """Whether others than the leader may answer."""


class LeaderLine(NamedTuple):
    """A node's word on who leads a shard; `node_id` 0: it knows none."""

    shard: int
    term: int
    node_id: int


class NodeLine(NamedTuple):
    """A node as another one sees it."""

    node_id: int
    name: str
    is_up: bool


class HealthAnswer(NamedTuple):
    """What a node says is wrong with it: `problems` keep it from doing its part."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


class Challenge(NamedTuple):
    """`nonce`: what a proof of the secret has to be made with, as hexadecimal digits.
    `secret_path`: where the node keeps the secret, on its own machine; "": it does not say."""

    nonce: str
    secret_path: str


class MapAnswer(NamedTuple):
    """`cluster_map` is None when the epoch the caller knows is the current one."""

    epoch: int
    cluster_map: ClusterMap | None


def get(key: bytes, level: ReadLevel = LINEARIZABLE) -> Request[bytes | None]:
    return Request(b"get %b\r\n" % key, partial(_one_value, key), _READ, level.words)


def gets(key: bytes, level: ReadLevel = LINEARIZABLE) -> Request[Value | None]:
    data = codec.encode_get((key,), True)
    return Request(data, partial(_one_hit, key), Effect.READ, level.words)


def get_many(keys: Sequence[bytes], level: ReadLevel = LINEARIZABLE) -> Request[tuple[Value, ...]]:
    return Request(codec.encode_get(keys), partial(hits, keys), Effect.READ, level.words)


def level_taken(reply: Reply) -> None:
    """The reply to `cluster read`. Anything but OK ends the connection: what follows on it would
    be answered at another level than was asked for."""
    if not isinstance(reply, Line) or reply.text != b"OK":
        raise BadReply("a node that does not take a read level")


def store(
    verb: bytes, key: bytes, value: bytes, flags: int, exptime: int, cas_unique: int | None = None
) -> Request[bytes]:
    """Result: the reply's word. Which words may come depends on the verb."""
    data = codec.encode_store(verb, key, value, flags, exptime, cas_unique)
    return Request(data, _STORE_DECODERS[verb], Effect.WRITE)


def delete(key: bytes) -> Request[bool]:
    return Request(codec.encode_delete(key), _deleted, Effect.WRITE)


def touch(key: bytes, exptime: int) -> Request[bool]:
    return Request(codec.encode_touch(key, exptime), _touched, Effect.WRITE)


def arithmetic(verb: bytes, key: bytes, delta: int) -> Request[int | None]:
    return Request(codec.encode_arithmetic(verb, key, delta), _number, Effect.WRITE)


def flush_all(delay: int) -> Request[None]:
    return Request(codec.encode_flush_all(delay), _ok, Effect.WRITE)


def redirect_on() -> Request[None]:
    return Request(codec.encode_cluster("redirect", "on"), _ok, Effect.READ)


def knows_sessions() -> Request[bool]:
    """Whether the node takes numbered writes; one of an older version does not."""
    return Request(codec.encode_cluster("session"), ok_or_refused, Effect.READ)


def knows_locks() -> Request[bool]:
    """Whether the node knows locks and fences; one of an older version does not."""
    return Request(codec.encode_cluster("lock"), ok_or_refused, Effect.READ)


def open_session(shard: int) -> Request[int]:
    """The id of a new session. Repeating it is harmless: one that nobody uses expires."""
    data = codec.encode_cluster("session", "open", str(shard))
    return Request(data, partial(_session, shard), Effect.READ)


def reads_form(form: int = FORM_MAX) -> Request[bool]:
    """The newest form of a map that this client reads. A node of form 1 does not know the word; its
    maps are of form 1 anyway.
    """
    return Request(codec.encode_cluster("form", str(form)), ok_or_refused, Effect.READ)


def cluster_map(known_epoch: int = 0) -> Request[MapAnswer]:
    """The map, or only the word that `known_epoch` is still current (0: none is known)."""
    words = ("map", str(known_epoch)) if known_epoch else ("map",)
    return Request(codec.encode_cluster(*words), _map, Effect.READ)


def cluster_leaders() -> Request[tuple[LeaderLine, ...]]:
    return Request(codec.encode_cluster("leaders"), _leaders, Effect.READ)


def cluster_nodes() -> Request[tuple[NodeLine, ...]]:
    return Request(codec.encode_cluster("nodes"), _nodes, Effect.READ)


def cluster_health() -> Request[HealthAnswer]:
    return Request(codec.encode_cluster("health"), _health, Effect.READ)


def cluster_auth() -> Request[Challenge]:
    """Ask for a challenge: whoever changes the cluster proves on the same connection that he has
    its secret."""
    return Request(codec.encode_cluster("auth"), _challenge, Effect.READ)


def cluster_proof(proof: str) -> Request[None]:
    """The answer to a challenge, as hexadecimal digits. `Refused`: it is another secret."""
    return Request(codec.encode_cluster("auth", proof), _proven, Effect.READ)


def cluster_change(words: Sequence[str]) -> Request[dict[str, Any]]:
    """A change of the cluster. `Refused` has the cluster's sentence: nothing was changed."""
    return Request(
        codec.encode_cluster("change", *words), partial(_document, b"CHANGE"), Effect.WRITE
    )


def cluster_moves() -> Request[dict[str, Any]]:
    """The nodes, the settings, and the moves that are under way."""
    return Request(codec.encode_cluster("moves"), partial(_document, b"MOVES"), Effect.READ)


def node_stats(section: str) -> Request[tuple[tuple[str, str], ...]]:
    """Numbers of one node: pairs of name and value."""
    return Request(b"stats %b\r\n" % section.encode(), _stats, Effect.READ)


def hits(keys: Sequence[bytes], reply: Reply) -> tuple[Value, ...]:
    """Hits come in the order of the request; anything else belongs to somebody else."""
    if not isinstance(reply, Values):
        unexpected(reply)
    asked = iter(keys)
    for item in reply.items:
        for key in asked:
            if key == item.key:
                break
        else:
            raise BadReply(f"a value for {item.key[:40]!r}, which was not asked for here")
    return reply.items


def _one_hit(key: bytes, reply: Reply) -> Value | None:
    items = hits((key,), reply)
    return items[0] if items else None


def _one_value(key: bytes, reply: Reply) -> bytes | None:
    if reply.__class__ is Values:
        items = reply[0]
        if not items:
            return None
        if len(items) == 1 and items[0][0] == key:
            value: bytes = items[0][2]
            return value
    hit = _one_hit(key, reply)
    return hit.value if hit else None


def _word(accepted: tuple[bytes, ...], reply: Reply) -> bytes:
    if isinstance(reply, Line) and reply.text in accepted:
        return reply.text
    unexpected(reply)


def _deleted(reply: Reply) -> bool:
    return _word((b"DELETED", b"NOT_FOUND"), reply) == b"DELETED"


def _touched(reply: Reply) -> bool:
    return _word((b"TOUCHED", b"NOT_FOUND"), reply) == b"TOUCHED"


def _ok(reply: Reply) -> None:
    _word((b"OK",), reply)


def ok_or_refused(reply: Reply) -> bool:
    try:
        _ok(reply)
    except Refused:
        return False
    return True


def _session(shard: int, reply: Reply) -> int:
    if isinstance(reply, Line) and reply.text.startswith(b"SESSION "):
        words = reply.text.split(b" ")
        if len(words) == 3 and words[1] == b"%d" % shard and words[2].isdigit():
            return int(words[2])
        raise BadReply(f"bad session line {text_of(reply.text)[:60]!r}")
    unexpected(reply)


def _number(reply: Reply) -> int | None:
    if isinstance(reply, Line):
        if reply.text.isdigit():
            return int(reply.text)
        if reply.text == b"NOT_FOUND":
            return None
    unexpected(reply)


def _map(reply: Reply) -> MapAnswer:
    if not isinstance(reply, MapReply):
        unexpected(reply)
    if reply.data is None:
        return MapAnswer(reply.epoch, None)
    try:
        return MapAnswer(reply.epoch, ClusterMap.from_bytes(reply.data))
    except MapError as error:
        raise BadReply(f"a cluster map that cannot be read: {error}") from error


def _listing(reply: Reply, word: bytes) -> list[list[bytes]]:
    if isinstance(reply, Values) and not reply.items:
        return []
    if not isinstance(reply, Listing):
        unexpected(reply)
    lines = [line.split(b" ") for line in reply.lines]
    if any(words[0] != word for words in lines):
        raise BadReply(f"a listing with lines that do not begin with {text_of(word)}")
    return lines


def _leaders(reply: Reply) -> tuple[LeaderLine, ...]:
    found = []
    for words in _listing(reply, b"LEADER"):
        if len(words) < 4 or not all(word.isdigit() for word in words[1:4]):
            raise BadReply(f"bad leader line {text_of(b' '.join(words))[:60]!r}")
        found.append(LeaderLine(*(int(word) for word in words[1:4])))
    return tuple(found)


def _nodes(reply: Reply) -> tuple[NodeLine, ...]:
    found = []
    for words in _listing(reply, b"NODE"):
        if len(words) < 9 or not words[1].isdigit():
            raise BadReply(f"bad node line {text_of(b' '.join(words))[:60]!r}")
        found.append(NodeLine(int(words[1]), text_of(words[2]), words[8] == b"up"))
    return tuple(found)


def _health(reply: Reply) -> HealthAnswer:
    if not isinstance(reply, Listing):
        unexpected(reply)
    found: dict[bytes, list[str]] = {b"HEALTH": [], b"PROBLEM": [], b"WARNING": []}
    for line in reply.lines:
        word, _, sentence = line.partition(b" ")
        if word not in found:
            raise BadReply(f"bad health line {text_of(line)[:60]!r}")
        found[word].append(text_of(sentence))
    return HealthAnswer(tuple(found[b"PROBLEM"]), tuple(found[b"WARNING"]))


def _challenge(reply: Reply) -> Challenge:
    _refused(reply)
    if not isinstance(reply, Line) or not reply.text.startswith(b"AUTH "):
        unexpected(reply)
    words = text_of(reply.text).split(" ", 2)
    if len(words) != 3 or not _is_hex(words[1]):
        raise BadReply(f"bad challenge {text_of(reply.text)[:60]!r}")
    return Challenge(words[1], "" if words[2] == "-" else words[2])


def _is_hex(text: str) -> bool:
    return bool(text) and len(text) % 2 == 0 and not text.strip("0123456789abcdef")


def _proven(reply: Reply) -> None:
    _refused(reply)
    _ok(reply)


def _document(word: bytes, reply: Reply) -> dict[str, Any]:
    _refused(reply)
    if not isinstance(reply, Document):
        unexpected(reply)
    try:
        document = json.loads(reply.data)
    except ValueError:
        document = None
    if reply.word != word or not isinstance(document, dict):
        raise BadReply(f"a {text_of(reply.word)} that is not the document asked for")
    return document


def _refused(reply: Reply) -> None:
    """Raise with the sentence alone what a node says to somebody who changes the cluster."""
    if isinstance(reply, Line) and reply.text.startswith(b"CLIENT_ERROR "):
        sentence = reply.text.removeprefix(b"CLIENT_ERROR ").removeprefix(b"refused: ")
        if sentence.startswith(b"usage: cluster map"):
            raise Refused("this node is of an older version, which cannot change the cluster")
        raise Refused(text_of(sentence))


def _stats(reply: Reply) -> tuple[tuple[str, str], ...]:
    pairs = [text_of(b" ".join(words[1:])).partition(" ") for words in _listing(reply, b"STAT")]
    return tuple((name, value) for name, _, value in pairs)


_STORED_OR_NOT = partial(_word, (b"STORED", b"NOT_STORED"))
_STORE_DECODERS: dict[bytes, Callable[[Reply], bytes]] = {
    b"set": partial(_word, (b"STORED",)),
    b"add": _STORED_OR_NOT,
    b"replace": _STORED_OR_NOT,
    b"append": _STORED_OR_NOT,
    b"prepend": _STORED_OR_NOT,
    b"cas": partial(_word, (b"STORED", b"EXISTS", b"NOT_FOUND")),
}
