"""What the hello of a node carries beyond its fields, and how it proves the cluster's secret. Pure.

Among the settings of a hello stand pairs that earlier releases read and ignore:

    ("form", "4")        what the sender understands; 1 without it: the first release
    ("nonce", hex)       32 digits, drawn for this connection
    ("secret", "kept")   the sender has the cluster's secret

A node of form 2 or more that dialed another such node begins with a frame that holds one item:

    (PROOF, proof)       an HMAC under the secret (`ring/secret.py`), over the cluster's id, the
                         sender's and the receiver's node id, and the receiver's nonce; empty if the
                         sender has no secret

A node that the map does not name any more is refused with a farewell: an HMAC over the cluster's
id, its node id, the epoch of that map and its nonce. So only somebody who knows the secret can send
it away for good.

The other side takes nothing else before that. Datagrams beside the connection have a token that
depends on the secret if both sides have one.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import Hello, Items, encode_items, pack_item
from quorumcache.node.peers.items import PROOF
from quorumcache.ring.secret import PEER, Secret

OWN_FORM: Final = 5
"""2: the directory, proofs, and maps of form 2. 3: bundles of entries (`bundles.py`) and of gets.
4: heartbeats of many groups as one item (`beats.py`). 5: writes of many clients as one
(`write_bundles.py`). The next form of the map has to be a later one: a node of form 5 reads maps of
form 2."""

PROOF_FORM: Final = 2
"""Who is of this form begins with a proof, and waits for one."""

FORM_MAX: Final = 1_000_000
NONCE_BITS: Final = 128

_FORM: Final = "form"
_NONCE: Final = "nonce"
_SECRET: Final = "secret"
_KEPT: Final = "kept"
_EXTRAS: Final = (_FORM, _NONCE, _SECRET)
_DATAGRAM: Final = "datagram"
_FAREWELL: Final = "farewell"


def with_extras(hello: Hello, nonce: str, has_secret: bool) -> Hello:
    """The hello as it is sent on a connection. `nonce`: drawn for it."""
    extras = [(_FORM, str(OWN_FORM)), (_NONCE, nonce)]
    if has_secret:
        extras.append((_SECRET, _KEPT))
    return hello._replace(settings=(*hello.settings, *extras))


def without_extras(settings: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The settings that have to be equal on all nodes."""
    return tuple(setting for setting in settings if setting[0] not in _EXTRAS)


def form_of(hello: Hello) -> int:
    """What the sender understands; 1 if it does not say."""
    text = dict(hello.settings).get(_FORM, "")
    is_form = text.isdecimal() and text.isascii() and len(text) < 8
    return min(max(int(text), 1), FORM_MAX) if is_form else 1


def nonce_of(hello: Hello) -> str:
    """The sender's nonce for this connection; "" if it has none."""
    return dict(hello.settings).get(_NONCE, "")


def has_secret(hello: Hello) -> bool:
    """Whether the sender says that it has the cluster's secret."""
    return dict(hello.settings).get(_SECRET) == _KEPT


def make_proof(secret: Secret, sender: Hello, receiver: Hello, nonce: str) -> bytes:
    """The sender's proof, on a connection for which the receiver has drawn this nonce."""
    return secret.proof(PEER, *_parts(sender, receiver, nonce))


def is_proof(secret: Secret, given: bytes, sender: Hello, receiver: Hello, nonce: str) -> bool:
    """Whether `given` is that proof."""
    return secret.is_proof(PEER, given, *_parts(sender, receiver, nonce))


def _parts(sender: Hello, receiver: Hello, nonce: str) -> tuple[bytes, ...]:
    ids = (str(sender.node_id), str(receiver.node_id))
    return (receiver.cluster_id.encode(), *(each.encode() for each in ids), nonce.encode())


def make_farewell(secret: Secret, hello: Hello, epoch: int, nonce: str) -> bytes:
    """Proves to the node of this hello that the map of this epoch does not name it any more."""
    return secret.proof(_FAREWELL, *_farewell_parts(hello, epoch, nonce))


def is_farewell(secret: Secret, given: bytes, hello: Hello, epoch: int, nonce: str) -> bool:
    """Whether `given` is that proof. `nonce`: what this node's own hello had."""
    return secret.is_proof(_FAREWELL, given, *_farewell_parts(hello, epoch, nonce))


def _farewell_parts(hello: Hello, epoch: int, nonce: str) -> tuple[bytes, ...]:
    numbers = (str(hello.node_id), str(epoch))
    return (hello.cluster_id.encode(), *(each.encode() for each in numbers), nonce.encode())


def encode_proof(proof: bytes) -> bytes:
    """The first frame of a node that dialed."""
    return encode_items([pack_item((PROOF, proof))])


def proof_in(items: Items) -> bytes:
    """The proof in the first frame. `PeerFrameError` if it holds anything else."""
    proof: Any = items[0][1] if len(items) == 1 and len(items[0]) == 2 else None
    if type(proof) is not bytes or items[0][0] != PROOF:
        raise PeerFrameError("the first frame behind the hello is no proof")
    return proof


def keyed(token: bytes, secret: Secret | None) -> bytes:
    """A datagram token that only somebody who knows the secret can make."""
    return token if secret is None else secret.proof(_DATAGRAM, token)[: len(token)]
