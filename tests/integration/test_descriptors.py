"""A node that cannot open one more file: the cluster serves on, and the node recovers by itself."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from tests.support.processes import running_cluster, wait_until

FILES = 'segment-size = "256k"\nlog-size = "2m"\nsnapshot-size = "128k"\n'


def test_a_node_without_a_descriptor_left(tmp_path: Path) -> None:
    config = tmp_path / "files.toml"
    config.write_text(FILES)
    keys = [b"key%d" % number for number in range(40)]
    with running_cluster(tmp_path, shards=4, flags=("--config", str(config))) as cluster:
        victim = cluster["a"]
        before = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)
        in_use = len(os.listdir(f"/proc/{victim.pid}/fd"))
        resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (in_use, before[1]))
        victim.wait_log("event=alarm_raised node=a alarm=descriptors_low")
        # Logs are cut into many files meanwhile.
        value = b"v" * 100_000
        with cluster["b"].wire() as wire:
            for key in keys:

                def is_stored(key: bytes = key) -> bool:
                    return wire.set(key, value) == b"STORED\r\n"

                wait_until(f"{key!r} is stored", is_stored)
        assert victim.is_running
        resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, before)
        victim.wait_log("event=alarm_cleared node=a alarm=descriptors_low")
        with victim.wire() as wire:
            for key in keys:
                assert wire.get(key) == value
