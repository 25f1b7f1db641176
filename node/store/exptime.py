"""What the exptime of a memcached line means at a given time.

Source: protocol.txt, "Expiration times", and the behaviour of memcached where the text is silent.
"""

from typing import Final

RELATIVE_SECONDS_MAX: Final = 60 * 60 * 24 * 30
"""Up to 30 days, inclusive, a number is a span from now; above, it is a Unix time."""

ALREADY_EXPIRED: Final = -1


def resolve_exptime(exptime: int, now_ms: int, wall_ms: int) -> int:
    """Cluster time at which an item ends that is stored at the cluster time `now_ms`, when wall
    clocks show `wall_ms`; 0 = never; ALREADY_EXPIRED = it is gone at once.

    `exptime` is the number of the line, in seconds. An item is gone when `now_ms >= expires_at_ms`.
    As in memcached, a Unix time becomes a span when the item is stored.
    """
    if exptime == 0:
        return 0
    if exptime < 0:
        return ALREADY_EXPIRED
    if exptime <= RELATIVE_SECONDS_MAX:
        return now_ms + exptime * 1000
    left_ms = exptime * 1000 - wall_ms
    return now_ms + left_ms if left_ms > 0 else ALREADY_EXPIRED


def seconds_left(ends_ms: int, now_ms: int) -> int:
    """Whole seconds until `ends_ms`, a part counts as one, as in memcached, whose clock shows no
    parts: an item stored for 30 seconds has 30 left until one has passed. Not below 0.
    """
    return max(0, (ends_ms - now_ms + 999) // 1000)


def is_below(ends_ms: int, bound: int, now_ms: int, wall_ms: int) -> bool:
    """Whether an item that ends at `ends_ms` (0 = never) has less time left than the exptime
    `bound`, the R of an `mg`. Neither is true of an item that never ends, nor of a bound of 0 or
    below.
    """
    if not ends_ms or bound <= 0:
        return False
    bound_ms = resolve_exptime(bound, now_ms, wall_ms)
    return bound_ms > 0 and seconds_left(ends_ms, now_ms) < seconds_left(bound_ms, now_ms)


def resolve_flush(delay: int, now_ms: int, wall_ms: int) -> int:
    """Cluster time at which a `flush_all delay` given at that moment takes effect.

    At most `now_ms` when it takes effect at once: without delay or with a negative one exactly
    `now_ms`, with a Unix time in the past less.
    """
    if delay <= 0:
        return now_ms
    if delay <= RELATIVE_SECONDS_MAX:
        return now_ms + delay * 1000
    return now_ms + delay * 1000 - wall_ms
