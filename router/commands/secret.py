"""Where a command finds the cluster's secret: in a file, in the environment, or beside a node."""

from __future__ import annotations

import os

from quorumcache.ring.errors import SecretError
from quorumcache.ring.secret import SECRET_CHARS_MAX, SECRET_FILE, SECRET_VARIABLE, Secret
from quorumcache.router.admin import SecretOf
from quorumcache.router.commands.basics import MISS, USAGE, Failure

HINT = f"give it with --secret-file FILE or in ${SECRET_VARIABLE}"
_FILE_BYTES_MAX = 4 * SECRET_CHARS_MAX + 2


def secret_source(secret_file: str | None) -> SecretOf:
    """What finds the secret. One that was given is looked at now: what is wrong with it is said
    before anybody is asked for anything."""
    if secret_file is not None:
        named = _read(secret_file, USAGE)
        return lambda _: named
    text = os.environ.get(SECRET_VARIABLE)
    if text:
        try:
            given = Secret(text)
        except SecretError as error:
            raise Failure(USAGE, f"the secret in ${SECRET_VARIABLE} {error}") from None
        return lambda _: given
    return _beside_the_node


def _beside_the_node(path: str) -> Secret:
    """The secret of a node on this machine, in the file that the node has named. Another file is
    not read: a proof made with it would be given to whoever has named it."""
    is_there = os.path.basename(path) == SECRET_FILE and os.path.isabs(path)
    if not is_there or not os.path.exists(path):
        raise Failure(
            MISS,
            f"this needs the cluster's secret: {HINT}. Each node keeps it as {SECRET_FILE} in its"
            " data directory",
        )
    return _read(path, MISS)


def _read(path: str, code: int) -> Secret:
    try:
        with open(path, "rb") as file:
            return Secret.from_bytes(file.read(_FILE_BYTES_MAX))
    except OSError as error:
        raise Failure(
            code, f"cannot read the cluster's secret in {path}: {error.strerror}; {HINT}"
        ) from None
    except SecretError as error:
        raise Failure(code, f"the secret in {path} {error}; {HINT}") from None
