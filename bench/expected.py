"""What a key may hold, as its only writer knows: the last acknowledged value, or one whose write
has an unknown outcome. Pure.
"""

from __future__ import annotations


class Expected:
    """See the module."""

    def __init__(self) -> None:
        self._current: dict[bytes, bytes] = {}
        """By key, the value last acknowledged or read. Absent before the first."""
        self._unresolved: dict[bytes, list[bytes]] = {}
        """By key, values whose write has an unknown outcome. Such a write may still take effect at
        any later time, even after a later one that was acknowledged, but once only."""

    @property
    def acknowledged(self) -> tuple[bytes, ...]:
        """Keys with a value that was acknowledged or read."""
        return tuple(self._current)

    def sending(self, key: bytes, value: bytes) -> None:
        """A write begins. Until more is known its outcome is unknown."""
        self._unresolved.setdefault(key, []).append(value)

    def stored(self, key: bytes, value: bytes) -> None:
        """It was acknowledged."""
        self._unresolved[key].remove(value)
        self._current[key] = value

    def not_done(self, key: bytes, value: bytes) -> None:
        """It was refused, and certainly not executed."""
        self._unresolved[key].remove(value)

    def may_read(self, key: bytes, value: bytes | None) -> bool:
        """Whether the key may hold this; None: nothing."""
        unresolved = self._unresolved.get(key, [])
        if value is not None and value in unresolved:
            # What was read once has happened: an older value must not come back.
            unresolved.remove(value)
            self._current[key] = value
            return True
        return key not in self._current or value == self._current[key]
