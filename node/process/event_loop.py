"""The event loop of a node's process, also where the system forbids some of its calls."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from quorumcache.node.errors import StartupError
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.forbidden import forbidden, is_forbidden, where

_log = get_logger("process")


def make_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, or asyncio's, which is slower and not different. Raises `StartupError`."""
    return _made(_new_loop)


def plain_loop() -> asyncio.AbstractEventLoop:
    """asyncio's. Raises `StartupError`."""
    return _made(asyncio.new_event_loop)


def _made(make: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # A loop that was made in part complains as it goes.
    try:
        try:
            return make()
        except OSError as error:
            why = explain_call(error)
    finally:
        sys.unraisablehook = hook
    raise StartupError(why)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # a platform without it
        return asyncio.new_event_loop()
    words = logging.getLogger("asyncio")
    words.disabled = True  # It would say of a loop which never was one that it is open.
    try:
        loop = uvloop.new_event_loop()
        nothing = loop.create_future()
        nothing.set_result(None)
        loop.run_until_complete(nothing)  # Some of its calls are made only then.
        return loop
    except OSError as error:  # It makes calls that the system may forbid, such as eventfd.
        event(_log, "warning", "uvloop_forbidden", why=error)
        return asyncio.new_event_loop()
    finally:
        words.disabled = False


def explain_call(error: OSError) -> str:
    """Of a call that failed and names no file."""
    return forbidden(where(error), error) if is_forbidden(error) else error.strerror or str(error)
