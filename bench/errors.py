"""Errors of the bench, all shown to the user as one line."""

from __future__ import annotations


class BenchError(Exception):
    """Base: the message says what is wrong and, where there is one, the way out."""


class WorkloadError(BenchError):
    """A workload or scenario that cannot be run as written."""


class StartError(BenchError):
    """A process (node, memcached, load process) did not come up in time."""


class TargetError(BenchError):
    """The measured cluster refused, went away or answered nonsense."""


class Interrupted(BenchError):
    """SIGINT or SIGTERM arrived. Everything that was started is being stopped."""
