"""The cluster's secret as a node keeps it: `cluster.secret` in its data directory.

One line of text, so that an operator can read it and hand it to a command. In the directory of a
new node the file means nothing: `founding/data_dir.py` writes it before the membership, and an
attempt that crashed between the two may have left it. A member of a cluster that was founded
without a secret has no such file.
"""

from __future__ import annotations

from random import Random

from quorumcache.node.errors import SecretDiffers, WrongDataDir
from quorumcache.node.storage.disk import Disk
from quorumcache.ring.errors import SecretError
from quorumcache.ring.secret import SECRET_FILE, SECRET_VARIABLE, Secret


def make_secret(random: Random) -> Secret:
    """A new one of 256 random bits. `random`: one whose numbers cannot be guessed."""
    return Secret(f"{random.getrandbits(256):064x}")


def secret_path(directory: str) -> str:
    """Where the secret is kept."""
    return f"{directory}/{SECRET_FILE}"


def read_secret(disk: Disk, directory: str) -> Secret | None:
    """The secret that a member keeps; None if it has none. Blocks; for start-up.

    `WrongDataDir` if the file holds none.
    """
    path = secret_path(directory)
    if not disk.exists(path):
        return None
    try:
        return Secret.from_bytes(disk.read(path))
    except SecretError as error:
        raise WrongDataDir(
            directory,
            f"has a damaged {SECRET_FILE}: its content {error}. Copy that file from another node "
            "of the cluster",
        ) from None


def keep_secret(disk: Disk, directory: str, secret: Secret) -> None:
    """Store it durably, for the eyes of this user only. Blocks; for start-up."""
    disk.write(secret_path(directory), f"{secret.text}\n".encode())


def settle_secret(disk: Disk, directory: str, given: Secret | None) -> Secret | None:
    """The secret of a member: the kept one; where none is kept, the given one, kept from now on.

    `SecretDiffers` if the two are not the same.
    """
    kept = read_secret(disk, directory)
    if kept is None:
        if given is not None:
            keep_secret(disk, directory, given)
        return given
    if given is not None and given != kept:
        raise SecretDiffers(secret_path(directory), SECRET_VARIABLE)
    return kept


__all__ = [
    "SECRET_FILE",
    "Secret",
    "keep_secret",
    "make_secret",
    "read_secret",
    "secret_path",
    "settle_secret",
]
