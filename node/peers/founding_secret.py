"""How founders compare the secrets that they were given, without showing them. Pure.

Two more pairs stand among the settings that a new node tells (`Blank.settings`):

    ("form", "2")       it takes a secret with the founding record; the releases before told no form
    ("secret", proof)   64 hex digits, or "none" if it was not given a secret

Founders that were given different secrets wait and say so. If none was given one, the proposer
makes one, and members hand it out with the record.
"""

from __future__ import annotations

from typing import Final

from quorumcache.ring.secret import FOUNDING, Secret

FORM_SETTING: Final = "form"
SECRET_SETTING: Final = "secret"
NO_SECRET: Final = "none"

OWN_FORM: Final = "2"

Settings = tuple[tuple[str, str], ...]


def with_secret(settings: Settings, secret: Secret | None) -> Settings:
    """The settings that a new node tells if it was given `secret`."""
    told = NO_SECRET if secret is None else founding_proof(secret, settings)
    return (*settings, (FORM_SETTING, OWN_FORM), (SECRET_SETTING, told))


def founding_proof(secret: Secret, settings: Settings) -> str:
    """What a founder with these settings tells of its secret: of no use to another cluster."""
    told = dict(settings)
    names = (told.get("cluster_name", ""), told.get("initial_cluster", ""))
    return secret.proof(FOUNDING, *(name.encode() for name in names)).hex()


def secret_told(settings: Settings) -> str:
    """The proof that a new node tells, `NO_SECRET` if it was given none; "" if it is of a release
    that knows of no secrets."""
    return dict(settings).get(SECRET_SETTING, "")


def why_other_secret(name: str, settings: Settings, other_name: str, others: Settings) -> str:
    """Why the secrets of two founders do not fit, in words; "" if they do."""
    own, other = secret_told(settings), secret_told(others)
    if own == other or not own or not other:
        return ""
    return unequal(name, own == NO_SECRET, other_name, other == NO_SECRET)


def unequal(name: str, has_none: bool, other_name: str, other_has_none: bool) -> str:
    """The sentence for two nodes that were given different secrets, or one of them none."""
    if not has_none and not other_has_none:
        what = f"nodes {name} and {other_name} were given different secrets"
    else:
        given, missing = (other_name, name) if has_none else (name, other_name)
        what = f"node {given} was given a secret, node {missing} was not"
    return f"{what}: give the same one to all nodes"


def without_secret(settings: Settings) -> Settings:
    """What remains to be compared in clear."""
    return tuple(setting for setting in settings if setting[0] != SECRET_SETTING)
