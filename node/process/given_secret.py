"""The secret that the operator gives a node: a file, or the environment.

It is never an argument of the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from quorumcache.node.errors import ConfigError
from quorumcache.node.storage.secret import secret_path
from quorumcache.ring.errors import SecretError
from quorumcache.ring.secret import SECRET_CHARS_MAX, SECRET_VARIABLE, Secret

FILE_BYTES_MAX = 4 * SECRET_CHARS_MAX + 2
"""Read of the file: the longest secret, a line break, and one byte more to find out."""


def given_secret(path: str, environ: Mapping[str, str]) -> Secret | None:
    """The secret in the file at `path`, else in the environment; None if neither is there.

    `ConfigError` names the one that holds no secret, and shows nothing of its content.
    """
    if path:
        try:
            with open(path, "rb") as file:
                return Secret.from_bytes(file.read(FILE_BYTES_MAX))
        except OSError as error:
            raise ConfigError("--secret-file", f"cannot read {path}: {error.strerror}") from None
        except SecretError as error:
            raise ConfigError("--secret-file", f"the secret in {path} {error}") from None
    text = environ.get(SECRET_VARIABLE)
    if text is None:
        return None
    try:
        return Secret(text)
    except SecretError as error:
        raise ConfigError(
            SECRET_VARIABLE, f"the secret {error}. Unset the variable if this node needs none"
        ) from None


def kept_secret(data_dir: str | None) -> str:
    """Where an operator on this machine finds the secret that a node keeps, from every directory;
    "" if it keeps nothing.
    """
    return secret_path(os.path.abspath(data_dir)) if data_dir is not None else ""
