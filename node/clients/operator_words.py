"""The words of `cluster` for operators: how the moves go, what the settings are, and changes.

Whoever changes the cluster proves first that he knows its secret: `cluster auth` answers with a
nonce that is good for one proof on this connection, and `cluster auth <proof>` gives it. After
`PROOFS_WRONG_MAX` wrong ones the connection is closed. See docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

from quorumcache.node.clients.context import ClientSettings
from quorumcache.node.directory.desk import NO_LEADER, TOO_MANY
from quorumcache.node.directory.question import LOST, OK
from quorumcache.node.protocol.responses import OK_LINE, not_done, outcome_unknown
from quorumcache.ring import ClusterMap
from quorumcache.ring.address import is_loopback, is_unix
from quorumcache.ring.secret import CLIENT, PROOF_BYTES, SECRET_VARIABLE, Secret

OPERATOR_WORDS: Final = frozenset((b"auth", b"change", b"moves", b"settings"))
"""First words behind `cluster` that are answered here."""

PROOFS_WRONG_MAX: Final = 3
"""On a connection. A secret cannot be guessed in any number of tries; this is for scripts that
repeat what is wrong."""

NONCE_BITS: Final = 128

USAGE: Final = (
    b"CLIENT_ERROR usage: cluster auth [<proof>] | cluster change <words> | cluster moves | "
    b"cluster settings\r\n"
)
NO_CHALLENGE: Final = (
    b"CLIENT_ERROR a proof needs a nonce of this connection, and each is good for one proof: send "
    b"'cluster auth' first\r\n"
)
WRONG_PROOF: Final = (
    b"CLIENT_ERROR this proof is not of the cluster's secret: is yours another?\r\n"
)
NOT_PROVEN: Final = (
    b"CLIENT_ERROR this needs the cluster's secret: prove that you know it with 'cluster auth', on "
    b"this connection\r\n"
)
NO_SECRET: Final = (
    "CLIENT_ERROR this needs the cluster's secret, and this node has none: give the same one to "
    f"all nodes with --secret-file or {SECRET_VARIABLE}, and start them again\r\n"
).encode()
NO_MEMBER: Final = not_done("this node belongs to no cluster yet")
NO_MAP: Final = not_done("no cluster map yet")


class Desk(Protocol):
    """Where changes are asked for (`directory/desk.py`)."""

    @property
    def moves_json(self) -> Callable[[], bytes]: ...
    def ask(self, words: Sequence[str], done: Callable[[int, bytes], None]) -> None: ...


class OperatorWords:
    """See the module. One for all clients of a node."""

    def __init__(
        self,
        *,
        entropy: Random,
        secret: Callable[[], Secret | None],
        secret_path: str,
        desk: Callable[[], Desk | None],
        cluster_map: Callable[[], ClusterMap | None],
    ) -> None:
        """`entropy`: for nonces. `secret`: the cluster's; None if this node has none.
        `secret_path`: where an operator on this machine finds it; "" if nowhere. `desk`: None while
        this node is no member.
        """
        self._entropy = entropy
        self._secret = secret
        self._secret_path = secret_path if secret_path.isprintable() else ""
        self._desk = desk
        self._map = cluster_map

    def begin(
        self,
        settings: ClientSettings,
        client_address: str,
        args: tuple[bytes, ...],
        done: Callable[[bytes], None],
    ) -> None:
        """Answer `cluster <args>`, whose first word is one of `OPERATOR_WORDS`: `done` hears the
        whole reply, now or later. `client_address`: HOST:PORT of the client,
        or unix:/path.
        """
        match args:
            case (b"auth",):
                done(self._challenge(settings, client_address))
            case (b"auth", proof):
                done(self._check(settings, proof))
            case (b"change", first, *others):
                self._change(settings, (first, *others), done)
            case (b"moves",):
                desk = self._desk()
                done(NO_MEMBER if desk is None else _document(b"MOVES", desk.moves_json()))
            case (b"settings",):
                done(self._settings())
            case _:
                done(USAGE)

    # -- the proof ---------------------------------------------------------------------------

    def _challenge(self, settings: ClientSettings, client_address: str) -> bytes:
        if self._secret() is None:
            return NO_SECRET
        settings.nonce = f"{self._entropy.getrandbits(NONCE_BITS):032x}"
        is_here = is_unix(client_address) or is_loopback(client_address.rpartition(":")[0])
        path = self._secret_path if is_here else ""
        return f"AUTH {settings.nonce} {path or '-'}\r\n".encode()

    def _check(self, settings: ClientSettings, proof: bytes) -> bytes:
        secret = self._secret()
        if secret is None:
            return NO_SECRET
        nonce, settings.nonce = settings.nonce, ""
        if not nonce:
            return NO_CHALLENGE
        if not secret.is_proof(CLIENT, _from_hex(proof), bytes.fromhex(nonce)):
            settings.wrong_proofs += 1
            return WRONG_PROOF
        settings.has_proven = True
        return OK_LINE

    # -- what it is for ----------------------------------------------------------------------

    def _change(
        self, settings: ClientSettings, words: tuple[bytes, ...], done: Callable[[bytes], None]
    ) -> None:
        if not settings.has_proven:
            done(NO_SECRET if self._secret() is None else NOT_PROVEN)
            return
        desk = self._desk()
        if desk is None:
            done(NO_MEMBER)
            return
        try:
            texts = [word.decode() for word in words]
        except UnicodeDecodeError:
            done(refused("the words are not UTF-8"))
            return
        desk.ask(texts, lambda code, payload: done(answer(code, payload)))

    def _settings(self) -> bytes:
        cluster_map = self._map()
        if cluster_map is None:
            return NO_MAP
        values = {**dict(cluster_map.settings), "replication": str(cluster_map.replication)}
        lines = [f"SETTING {name} {value}\r\n" for name, value in sorted(values.items())]
        return "".join([*lines, "END\r\n"]).encode()


def answer(code: int, payload: bytes) -> bytes:
    """The reply to `cluster change`, by what the desk answers."""
    if code == OK:
        return _document(b"CHANGE", payload)
    sentence = " ".join(payload.decode(errors="replace").split())
    if code == LOST:
        return outcome_unknown(sentence.removeprefix("outcome unknown: "))
    if payload in (NO_LEADER, TOO_MANY):
        return not_done(sentence)
    return refused(sentence)


def refused(sentence: str) -> bytes:
    """The reply to a change that is not done, whoever is asked."""
    return f"CLIENT_ERROR refused: {sentence}\r\n".encode()


def _from_hex(text: bytes) -> bytes:
    """The bytes that hexadecimal digits mean; b"", which is no proof, for anything else."""
    if len(text) != 2 * PROOF_BYTES:
        return b""
    try:
        return bytes.fromhex(text.decode())
    except ValueError:
        return b""


def _document(word: bytes, data: bytes) -> bytes:
    return b"%b %d\r\n%b\r\n" % (word, len(data), data)
