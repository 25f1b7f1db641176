"""The file of users that the operator gives a node (`--auth-file`)."""

from __future__ import annotations

from quorumcache.node.errors import ConfigError
from quorumcache.node.settings.users import FILE_BYTES_MAX, Users, parse_users


def given_users(path: str) -> Users | None:
    """The users in the file at `path`; None where memcached clients need no password.

    `ConfigError` says what is wrong with the file, and shows nothing of its content.
    """
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError("--auth-file", f"cannot read {path}: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError("--auth-file", f"{path} is longer than {FILE_BYTES_MAX} bytes")
    try:
        return parse_users(data, path)
    except ConfigError as error:
        raise ConfigError("--auth-file", error.why) from None
