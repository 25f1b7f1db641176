"""Ctrl-C for our commands, also in the background of a shell.

A shell without job control starts `command &` with SIGINT ignored, and Python then leaves it so:
KeyboardInterrupt never comes, and whoever sends the signal waits for ever.
"""

from __future__ import annotations

import signal


def hear_interrupts() -> None:
    """Have SIGINT raise KeyboardInterrupt, whatever was inherited. For the first line of a command
    that ends by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_interrupts() -> None:
    """What a shell does before it starts a command in the background: for `preexec_fn`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
