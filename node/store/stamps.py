"""The queues of a shard's items, and the stamp that each item carries in its queue.

A stamp is one int:

    (second of the last access << 3) | (fetched << 2) | hits, 0..3

`fetched`: the item was read since it was stored. The second is one of cluster time.
"""

from typing import Final

SMALL: Final = 0
"""The queue of new items (`eviction_queue.py` tells what the queues are for)."""
MAIN: Final = 1
"""The queue of items that were hit."""
PLANNED: Final = 2
"""Victims that a log entry of this leader names, and that are still there."""

HITS: Final = 3
"""Bits of a stamp: hits that count, three at most."""
HITS_MAX: Final = 3
FETCHED: Final = 4
"""Bit of a stamp, see above."""
SECOND_SHIFT: Final = 3
"""Where the second begins in a stamp."""

NOW_S_MAX: Final = (1 << 29) - 1
"""The last second of a stamp of 32 bits. The seconds begin again after so many, every 17 years;
`EvictionQueue` knows which it means."""
