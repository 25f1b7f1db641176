"""Where the answer to a read goes: a client's connection, as its reads see it. Pure."""

from __future__ import annotations

from typing import Any


class ReplyRoom:
    """A client's connection, which may be full of other answers.

    A class and no `Protocol`: each read asks it, and mypyc calls the methods of a class directly.
    """

    __slots__ = ()

    def has_room(self) -> bool:
        """May an answer be kept?"""
        raise NotImplementedError

    def is_waiting(self) -> bool:
        """Are answers dropped until the client has taken others?"""
        raise NotImplementedError

    def park(self, read: Any) -> None:
        """`read.unpark`, of a `Read`, is called once there is room."""
        raise NotImplementedError
