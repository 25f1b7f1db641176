"""Where a command finds the cluster's secret: in a file, in the environment, or beside a node."""

from __future__ import annotations

import os

from quorumcache.router.admin import SecretOf
from quorumcache.router.commands.basics import MISS, USAGE, Failure

SECRET_VARIABLE = "QUORUMCACHE_SECRET"
SECRET_NAME = "cluster.secret"
"""Of the file in a node's data directory. A node that names another file is not believed."""
SECRET_BYTES_MAX = 4096
HINT = f"give it with --secret-file FILE or in ${SECRET_VARIABLE}"


def secret_source(secret_file: str | None) -> SecretOf:
    """What finds the secret. A file that was named is read now: what is wrong with it is said
    before anybody is asked for anything."""
    if secret_file is not None:
        named = _read(secret_file, USAGE)
        return lambda _: named
    if os.environ.get(SECRET_VARIABLE):
        # As bytes of the environment; a trailing line end is that of `$(cat FILE)` gone wrong.
        given = os.fsencode(os.environ[SECRET_VARIABLE]).strip()
        return lambda _: given
    return _beside_the_node


def _beside_the_node(path: str) -> bytes:
    """The secret of a node on this machine, in the file that the node has named."""
    is_there = os.path.basename(path) == SECRET_NAME and os.path.isabs(path)
    if not is_there or not os.path.exists(path):
        raise Failure(
            MISS,
            f"this needs the cluster's secret: {HINT}. Each node keeps it as {SECRET_NAME} in its"
            " data directory",
        )
    return _read(path, MISS)


def _read(path: str, code: int) -> bytes:
    try:
        with open(path, "rb") as file:
            secret = file.read(SECRET_BYTES_MAX).strip()
    except OSError as error:
        raise Failure(
            code, f"cannot read the cluster's secret in {path}: {error.strerror}; {HINT}"
        ) from None
    if not secret:
        raise Failure(code, f"the cluster's secret in {path} is empty; {HINT}")
    return secret
