"""What a data directory is, found out at start: new, member, or broken. Blocks; for start-up.

    new      a disk id, and nothing else of substance. What a crash in the middle of accepting a
             founding record, or a place in a cluster, leaves (a log without entries, births, a map
             that comes with empty births) is removed: no node was told of it before the membership
             was stored.
    member   the membership, the births, a log: all there and of one cluster.
    broken   anything else. The node refuses to start and says what is missing.

`accept` makes a founder of a new one, `accept_joined` a node that joins. Both store the membership
last, so that a directory that has it has the rest, too: whatever is missing later was lost, and the
votes and entries in it with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.errors import BrokenDataDir, ConfigError, FoundingError, WrongDataDir
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.storage.checksum import with_checksum
from quorumcache.node.storage.disk import TEMP_SUFFIX, Disk
from quorumcache.node.storage.founding_record import FoundingRecord, random_id
from quorumcache.node.storage.identity import (
    IDENTITY_FILE,
    NodeIdentity,
    encode_identity,
    read_identity,
)
from quorumcache.node.storage.local_state import (
    BIRTHS_FILE,
    MAP_FILE,
    are_empty_births,
    encode_births,
)
from quorumcache.node.storage.secret import Secret, keep_secret, secret_path
from quorumcache.node.storage.start_record import STARTS_FILE, encode_starts
from quorumcache.node.storage.starts import Starts
from quorumcache.node.wal.newest import NEWEST_FILE, NewestSegment, encode_newest, read_newest
from quorumcache.node.wal.segment import scan_segment, sequence_of
from quorumcache.node.wal.wal import Wal
from quorumcache.ring import ClusterMap

LOST_FILE = "data.lost"
"""Why the node must not start on this directory any more; it may be read by people."""

LEFT_FILE = "data.left"
"""How the node left its cluster: the directory is of no use any more."""

WAL_DIR = "wal"
SNAPSHOTS_DIR = "snapshots"


class Membership(NamedTuple):
    """What an accepted record says about this node."""

    identity: NodeIdentity
    record: FoundingRecord


def open_data_dir(disk: Disk, directory: str, random: Random) -> NodeIdentity:
    """The identity of the directory; one that is empty gets a disk id. Under the lock.

    Raises `BrokenDataDir`, or `WrongDataDir` for a damaged identity, another format, or a directory
    that has lost acknowledged data.
    """
    for name in disk.list_dir(directory):
        if name.endswith(TEMP_SUFFIX):
            disk.remove(f"{directory}/{name}")
    identity = read_identity(disk, directory)
    # A crash may have left a file's name without this. What is believed now must not vanish.
    disk.sync_dir(directory)
    if identity is None:
        found = _substance(disk, directory)
        if found or disk.exists(f"{directory}/{BIRTHS_FILE}") or _segments(disk, directory):
            what = found or "a log or births"
            raise BrokenDataDir(directory, f"there is {what}, but {IDENTITY_FILE} is missing")
        identity = NodeIdentity(random_id(random))
        disk.write(f"{directory}/{IDENTITY_FILE}", encode_identity(identity))
    elif identity.is_member:
        lost = f"{directory}/{LOST_FILE}"
        if disk.exists(lost):
            why = disk.read(lost).decode(errors="replace").strip()
            raise WrongDataDir(
                directory,
                f"must not be used any more: an earlier run found that {why}",
            )
        left = f"{directory}/{LEFT_FILE}"
        if disk.exists(left):
            why = disk.read(left).decode(errors="replace").strip()
            raise WrongDataDir(directory, f"must not be used any more: {why}")
        _check_member(disk, directory)
    else:
        found = _substance(disk, directory)
        if found:
            why = f"there is {found}, but {IDENTITY_FILE} says that the node is new"
            raise BrokenDataDir(directory, why)
        _remove_leftovers(disk, directory)
    return identity


def membership(identity: NodeIdentity, directory: str) -> Membership:
    """The record of a member's directory. Raises `BrokenDataDir` if it contradicts itself."""
    try:
        record = FoundingRecord.from_text(identity.record)
    except FoundingError as error:
        raise BrokenDataDir(directory, f"{IDENTITY_FILE} holds no founding record ({error})") from (
            error
        )
    founder = record.founder(identity.node_id)
    if identity.is_joined:
        if founder is not None or record.cluster_id != identity.cluster_id:
            why = f"the founding record in {IDENTITY_FILE} is not that of a cluster that {identity}"
            raise BrokenDataDir(directory, f"{why} joined")
        return Membership(identity, record)
    is_same = founder is not None and (record.cluster_id, founder.name, founder.disk_id) == (
        identity.cluster_id,
        identity.name,
        identity.disk_id,
    )
    if not is_same:
        why = f"the founding record in {IDENTITY_FILE} does not name {identity} with this disk"
        raise BrokenDataDir(directory, why)
    return Membership(identity, record)


def check_settings(member: Membership, name: str, settings: dict[str, str], directory: str) -> None:
    """Raise `WrongDataDir` for another node's directory, and `ConfigError` unless this node's
    settings are those that its cluster was created with.

    `settings`: of those that are fixed for the life of a cluster, what was given, by name.
    """
    if name != member.identity.name:
        raise WrongDataDir(
            directory,
            f"belongs to {member.identity}, this is node {name}. Give each node the directory that"
            " it was created with",
        )
    first = dict(member.record.settings)
    # Replication can be changed in the map: the flag was only its first value.
    differences = member.record.differences(
        {**first, **settings, "replication": first.get("replication", "")}
    )
    if differences:
        raise ConfigError(
            "", f"{differences[0]}. This setting is fixed for the life of the cluster: set it back"
        )


def accept(
    disk: Disk,
    directory: str,
    identity: NodeIdentity,
    record: FoundingRecord,
    random: Random,
    secret: Secret | None = None,
) -> Membership:
    """Make the directory a member: an empty log, the note of its newest segment, the count of its
    starts, the births, the secret, then the membership, each one durable before the next. Under the
    lock, on a directory that is new.

    `secret`: the cluster's; None if it has none.
    """
    founder = next(f for f in record.founders if f.disk_id == identity.disk_id)
    member = as_member(identity, record)
    _prepare(disk, directory, member, births_of(record, founder.node_id), random, secret)
    disk.write(f"{directory}/{IDENTITY_FILE}", encode_identity(member))
    return Membership(member, record)


def accept_joined(
    disk: Disk,
    directory: str,
    identity: NodeIdentity,
    record: FoundingRecord,
    node_id: int,
    cluster_map: ClusterMap,
    random: Random,
    secret: Secret,
) -> Membership:
    """Make the directory a member that joins under this id: as `accept`, without any birth, and
    with the map that names the node before the membership.
    """
    member = as_joined(identity, record, node_id, cluster_map)
    _prepare(disk, directory, member, {}, random, secret)
    disk.write(f"{directory}/{MAP_FILE}", with_checksum(cluster_map.to_bytes()))
    disk.write(f"{directory}/{IDENTITY_FILE}", encode_identity(member))
    return Membership(member, record)


def _prepare(
    disk: Disk,
    directory: str,
    member: NodeIdentity,
    births: dict[int, Configuration],
    random: Random,
    secret: Secret | None,
) -> None:
    """All that a member's directory has to hold before the membership."""
    Wal.open(
        disk,
        f"{directory}/{WAL_DIR}",
        cluster_id=member.cluster_id,
        node_id=member.node_id,
        random=random,
    )
    disk.write(f"{directory}/{NEWEST_FILE}", encode_newest(NewestSegment()))
    disk.write(f"{directory}/{STARTS_FILE}", encode_starts(member.disk_id, Starts()))
    disk.write(
        f"{directory}/{BIRTHS_FILE}", encode_births(births, member.cluster_id, member.node_id)
    )
    if secret is not None:
        keep_secret(disk, directory, secret)
    else:
        disk.remove(secret_path(directory))  # An attempt that crashed may have left another one.


def condemn(disk: Disk, directory: str, why: str) -> None:
    """The node no longer knows what it promised: it may not start on this directory again.
    Blocks."""
    disk.write(f"{directory}/{LOST_FILE}", f"{why}\n".encode())


def mark_left(disk: Disk, directory: str, why: str) -> None:
    """The node has left its cluster: it may not start on this directory again. Blocks."""
    disk.write(f"{directory}/{LEFT_FILE}", f"{why}\n".encode())


def as_member(identity: NodeIdentity, record: FoundingRecord) -> NodeIdentity:
    """The identity of the same disk as a member of the record's cluster."""
    founder = next(f for f in record.founders if f.disk_id == identity.disk_id)
    # A founder that is alone has no other node to wait for.
    is_complete = len(record.founders) == 1
    return NodeIdentity(
        identity.disk_id,
        record.cluster_id,
        founder.node_id,
        founder.name,
        is_complete,
        record.to_text(),
    )


def as_joined(
    identity: NodeIdentity, record: FoundingRecord, node_id: int, cluster_map: ClusterMap
) -> NodeIdentity:
    """The identity of the same disk as a member that joined the record's cluster under this id."""
    name = cluster_map.node(node_id).name
    return NodeIdentity(
        *(identity.disk_id, record.cluster_id, node_id, name, True),
        record.to_text(),
        is_joined=True,
    )


def births_of(record: FoundingRecord, node_id: int) -> dict[int, Configuration]:
    """The groups that a founder is born with: the directory, if it votes in it."""
    voters = record.directory_voters
    return {DIRECTORY_GROUP_ID: Configuration(voters)} if node_id in voters else {}


def check_births(groups: Iterable[int], births: Iterable[int], directory: str) -> None:
    """Raise `BrokenDataDir` if the log knows groups whose births are gone."""
    known = {*births}
    unknown = [group_id for group_id in groups if group_id not in known]
    if unknown:
        what = f"the log holds group {unknown[0]}, but {BIRTHS_FILE} does not"
        raise BrokenDataDir(directory, what)


def _check_member(disk: Disk, directory: str) -> None:
    if not _segments(disk, directory):
        raise BrokenDataDir(directory, f"all segments of the log in {WAL_DIR}/ are missing")
    if not disk.exists(f"{directory}/{BIRTHS_FILE}"):
        raise BrokenDataDir(directory, f"{BIRTHS_FILE} is missing")
    if not disk.exists(f"{directory}/{NEWEST_FILE}"):
        raise BrokenDataDir(directory, f"{NEWEST_FILE} is missing")
    if not disk.exists(f"{directory}/{STARTS_FILE}"):
        raise BrokenDataDir(directory, f"{STARTS_FILE} is missing")


def _substance(disk: Disk, directory: str) -> str:
    """What is there that only a member can have, in words; "" if there is nothing."""
    if disk.exists(f"{directory}/{MAP_FILE}") and not _has_empty_births(disk, directory):
        return f"a {MAP_FILE}"
    if disk.exists(f"{directory}/{NEWEST_FILE}") and read_newest(disk, directory).sequence:
        return f"a {NEWEST_FILE} that tells of a log"
    snapshots = f"{directory}/{SNAPSHOTS_DIR}"
    if disk.exists(snapshots) and any(
        not name.endswith(TEMP_SUFFIX) for name in disk.list_dir(snapshots)
    ):
        return f"a snapshot in {SNAPSHOTS_DIR}/"
    for name in _segments(disk, directory):
        path = f"{directory}/{WAL_DIR}/{name}"
        scan = scan_segment(disk.read(path), path)
        if scan.frames or scan.has_tail:
            return f"a log that is not empty in {WAL_DIR}/"
    return ""


def _has_empty_births(disk: Disk, directory: str) -> bool:
    """Whether no group was ever born here: so it is between the map and the membership of a node
    that joins. A member on which a map has placed a shard has its birth, and that came first.
    """
    path = f"{directory}/{BIRTHS_FILE}"
    return disk.exists(path) and are_empty_births(disk.read(path))


def _segments(disk: Disk, directory: str) -> list[str]:
    wal = f"{directory}/{WAL_DIR}"
    return [name for name in disk.list_dir(wal) if sequence_of(name)] if disk.exists(wal) else []


def _remove_leftovers(disk: Disk, directory: str) -> None:
    """What a node that crashed while it became a member has left. Idempotent.

    The map goes first, since it needs the births to be told from a member's. Then the births: as
    long as they are there, so is the log.
    """
    for name in (MAP_FILE, BIRTHS_FILE, STARTS_FILE, NEWEST_FILE):
        if disk.exists(f"{directory}/{name}"):
            disk.remove(f"{directory}/{name}")
            disk.sync_dir(directory)
    wal = f"{directory}/{WAL_DIR}"
    if disk.exists(wal) and disk.list_dir(wal):
        for name in disk.list_dir(wal):
            disk.remove(f"{wal}/{name}")
        disk.sync_dir(wal)
