"""The forms of what makes and reads the bytes between nodes and of the log. What all promise is
tested with each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgpack import Packer

from quorumcache.node.consensus.runs import plain_pack_run, plain_unpack_runs
from quorumcache.node.peers.codec import plain_frame_of_items, plain_intact_frames
from quorumcache.node.wal.format import plain_log_frame
from quorumcache.node.wal.groups import plain_take_following
from tests.support.native_core import native


class Form(NamedTuple):
    """One of them."""

    name: str
    pack_run: Callable[..., bytes]
    unpack_runs: Callable[..., Any]
    pack: Callable[[Any], bytes]
    frame_of_items: Callable[..., bytes | None]
    intact_frames: Callable[..., int]
    log_frame: Callable[..., bytes | None]
    take_following: Callable[..., int]


PLAIN = Form(
    "plain",
    plain_pack_run,
    plain_unpack_runs,
    Packer().pack,
    plain_frame_of_items,
    plain_intact_frames,
    plain_log_frame,
    plain_take_following,
)

FORMS = [PLAIN]

packer, wire = native("packer"), native("wire")
"""The native ones; None where only the sources run."""

if packer is not None and wire is not None:
    FORMS.append(
        Form(
            "native_wire",
            wire.pack_run,
            wire.unpack_runs,
            packer.pack,
            wire.frame_of_items,
            wire.intact_frames,
            wire.log_frame,
            wire.take_following,
        )
    )
