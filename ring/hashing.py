"""From a key to a token and a shard.

The token of a key is the first 64-bit word of MurmurHash3_x64_128 with seed 0, as an unsigned
number. The ring is the circle of all 2**64 tokens, cut into `shard_count` equal arcs, so the shard
of a key is the top bits of its token:

    token  | shard bits (0..12) |            rest            |
           63                                                0

Test vectors for clients in other languages are published in docs/hashing-vectors.json.
"""

from __future__ import annotations

from mmh3 import mmh3_x64_128_utupledigest

SHARD_COUNT_MAX = 4096  # a map of more shards would no longer fit in a few hundred kilobytes
SHARDS_PER_FOUNDER = 5  # then no founder leads over a fifth of its part too many
SHARD_COUNT_LEAST = 16  # so that one node can grow to a dozen that all lead some


def key_token(key: bytes) -> int:
    """Position of `key` on the ring, in [0, 2**64).

    Source: MurmurHash3_x64_128, seed 0, first output word (little-endian reading of the digest's
    first 8 bytes).
    """
    return mmh3_x64_128_utupledigest(key, 0)[0]


def shard_of(key: bytes, shard_count: int) -> int:
    """Shard of `key`, in [0, shard_count).

    `shard_count` is a power of two in [1, 4096] (see `is_shard_count`); it is not checked here,
    because every request of a node passes this line.
    """
    # A power of two 2**b has bit_length b + 1, so this is token >> (64 - b).
    return mmh3_x64_128_utupledigest(key, 0)[0] >> (65 - shard_count.bit_length())


def shard_start(shard: int, shard_count: int) -> int:
    """First token of the arc of `shard`; the arc is [start, start + 2**64 / shard_count)."""
    return shard << (65 - shard_count.bit_length())


def is_shard_count(value: int) -> bool:
    """True if a cluster may be cut into `value` shards: a power of two in [1, 4096]."""
    return 1 <= value <= SHARD_COUNT_MAX and value & (value - 1) == 0


def default_shard_count(founders: int) -> int:
    """Into how many shards a cluster that so many nodes found is cut when nobody says.

    As few as spread well, because the writes of a turn in one shard are agreed on together: the
    power of two that gives each founder SHARDS_PER_FOUNDER, and at least SHARD_COUNT_LEAST.
    """
    wanted = max(SHARD_COUNT_LEAST, SHARDS_PER_FOUNDER * founders)
    return min(SHARD_COUNT_MAX, 1 << (wanted - 1).bit_length())
