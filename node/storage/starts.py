"""How often a data directory was started, and the nonces of its last starts. Pure values.

`start_record.py` says what they are for, and keeps them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NONCE_BYTES: Final = 4
"""Of the random nonce of a start."""

NONCES_MAX: Final = 1024
"""Nonces that a directory keeps, and tells in each hello. A node that has not seen another one for
so many of its starts can no longer tell whether that one has the same directory."""


class Starts(NamedTuple):
    """How often a directory was started as a member, and the nonces of the last starts."""

    number: int = 0
    nonces: bytes = b""
    """`NONCE_BYTES` each, the newest last: of all starts, or of the last `NONCES_MAX`."""

    def next(self, incarnation: int) -> Starts:
        """With one start more. Its nonce is taken from the process's random number."""
        nonce = (incarnation % (1 << 8 * NONCE_BYTES)).to_bytes(NONCE_BYTES, "big")
        return Starts(self.number + 1, (self.nonces + nonce)[-NONCE_BYTES * NONCES_MAX :])

    def nonce_of(self, number: int) -> bytes | None:
        """The nonce of start `number`; None if it is not among those kept."""
        at = len(self.nonces) - (self.number - number + 1) * NONCE_BYTES
        return self.nonces[at : at + NONCE_BYTES] if 0 <= at < len(self.nonces) else None
