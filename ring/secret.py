"""The secret of a cluster, and proofs that somebody knows it. Pure.

Nodes prove it to each other on each connection, and a client before it changes the cluster. The
secret itself never goes over a wire for that: a proof is an HMAC-SHA256 under it, over what it is
for (`context`) and over values that make it good for one use only, such as the other side's nonce.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from quorumcache.ring.errors import SecretError

SECRET_FILE: Final = "cluster.secret"
"""Name of the file in a data directory that holds the secret, and a line break."""

SECRET_VARIABLE: Final = "QUORUMCACHE_SECRET"
"""The environment variable that nodes and commands take the secret from."""

SECRET_CHARS_MIN: Final = 16
"""A shorter one could be guessed from a proof that was overheard."""

SECRET_CHARS_MAX: Final = 4096
"""Longer is a mistake: another file."""

SECRET_SETTING: Final = "secret"
SECRET_REQUIRED: Final = "required"
"""Setting of the cluster map, and its value once all nodes have proven that they know the secret:
no connection without a proof is accepted any more."""

PROOF_BYTES: Final = 32

CLIENT: Final = "client"
"""Context of a client's proof: its part is the nonce of `cluster auth`."""

PEER: Final = "peer"
"""Context of a node's proof: cluster id, its own id, the receiver's id, the receiver's nonce."""

FOUNDING: Final = "founding"
"""Context by which founders compare the secrets that they were given."""


class Secret:
    """See the module. It shows itself nowhere: `text` is for the file that keeps it."""

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        """`SecretError` says what is wrong with `text`, without showing it. Line breaks at its end
        do not count: files have them.
        """
        text = text.rstrip("\r\n")
        if not text:
            raise SecretError("is empty")
        if len(text) < SECRET_CHARS_MIN:
            raise SecretError(
                f"has {len(text)} characters: {SECRET_CHARS_MIN} or more are needed, since a "
                "shorter one can be guessed"
            )
        if len(text) > SECRET_CHARS_MAX:
            raise SecretError(f"has {len(text)} characters, at most {SECRET_CHARS_MAX} may be used")
        if not text.isprintable():
            raise SecretError("is not one line of printable text")
        self.text = text
        self._key = text.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Secret:
        """What a file holds."""
        try:
            return cls(data.decode())
        except UnicodeDecodeError:
            raise SecretError("is not one line of printable text") from None

    def proof(self, context: str, *parts: bytes) -> bytes:
        """`PROOF_BYTES` that only somebody who knows the secret can make. The length of each part
        counts, so no two lists of parts have the same proof.
        """
        message = b"".join(
            len(part).to_bytes(4, "big") + part for part in (context.encode(), *parts)
        )
        return hmac.digest(self._key, message, sha256)

    def is_proof(self, context: str, given: bytes, *parts: bytes) -> bool:
        """Whether `given` is that proof. The time that it takes tells nothing of it."""
        return hmac.compare_digest(self.proof(context, *parts), given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return 0  # Nothing of it may show; there is one in a process.

    def __repr__(self) -> str:
        return "Secret(...)"
