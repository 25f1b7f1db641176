"""The plan of a local cluster: ports to guess, the same after a restart, clear refusals."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumcache.node.errors import ConfigError, StartupError
from quorumcache.node.process import local_cluster
from quorumcache.node.process.local_cluster import (
    Plan,
    add_nodes,
    is_free,
    make_plan,
    save_plan,
    without_node,
)
from quorumcache.node.settings.checks import check_config
from quorumcache.node.settings.config import NodeConfig, parse_initial_cluster


def plan_for(
    data_dir: Path,
    *,
    nodes: int | None = None,
    shards: int | None = None,
    base_port: int | None = None,
) -> tuple[Plan, list[str]]:
    return make_plan(str(data_dir), nodes=nodes, shards=shards, base_port=base_port)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Ports that are in use, whatever runs on this machine."""
    ports: set[int] = set()
    monkeypatch.setattr(local_cluster, "is_free", lambda port: port not in ports)
    return ports  # type: ignore[return-value]


def ports(plan: Plan) -> list[int]:
    return [node.listen_port for node in plan.nodes]


def test_defaults(tmp_path: Path, taken: set[int]) -> None:
    plan, notes = plan_for(tmp_path)
    assert ports(plan) == [11211, 11212, 11213]
    assert [node.http_port for node in plan.nodes] == [11311, 11312, 11313]
    assert plan.shards == 16
    assert notes == []
    assert parse_initial_cluster(plan.initial_cluster) == {
        "a": "127.0.0.1:11411",
        "b": "127.0.0.1:11412",
        "c": "127.0.0.1:11413",
    }


@pytest.mark.parametrize("busy", [11211, 11213, 11312, 11413])
def test_the_next_free_range_is_said(tmp_path: Path, taken: set[int], busy: int) -> None:
    taken |= {busy, 12211}
    plan, notes = plan_for(tmp_path)
    assert ports(plan) == [13211, 13212, 13213]
    assert notes == [f"port {busy} is in use: memcached ports start at 13211 instead"]


def test_a_port_that_was_asked_for_is_not_replaced(tmp_path: Path, taken: set[int]) -> None:
    assert ports(plan_for(tmp_path, nodes=1, base_port=20_000)[0]) == [20_000]
    taken.add(20_100)
    with pytest.raises(StartupError, match="port 20100 is in use"):
        plan_for(tmp_path, nodes=1, base_port=20_000)


def test_ports_of_the_system_are_distinct(tmp_path: Path) -> None:
    plan, _ = plan_for(tmp_path, nodes=9, base_port=0)
    numbers = [port for node in plan.nodes for _, port in node.ports]
    assert len(set(numbers)) == 27


def test_a_plan_is_remembered(tmp_path: Path, taken: set[int]) -> None:
    plan, _ = plan_for(tmp_path, nodes=2, shards=8, base_port=20_000)
    save_plan(plan)
    assert plan_for(tmp_path) == (plan, [])
    assert plan_for(tmp_path, nodes=2, shards=8, base_port=20_000) == (plan, [])
    assert plan_for(tmp_path, base_port=0) == (plan, [])
    taken.add(20_201)
    with pytest.raises(StartupError, match=r"port 20201 \(node b, peer\) is in use"):
        plan_for(tmp_path)


@pytest.mark.parametrize("asked", [{"nodes": 3}, {"shards": 16}, {"base_port": 21_000}])
def test_another_shape_is_refused(tmp_path: Path, taken: set[int], asked: dict[str, int]) -> None:
    save_plan(plan_for(tmp_path, nodes=2, shards=8, base_port=20_000)[0])
    with pytest.raises(ConfigError, match="was created with") as caught:
        plan_for(tmp_path, **asked)
    assert caught.value.field.replace("-", "_").removeprefix("__") in asked


@pytest.mark.parametrize("nodes", [0, -1, 27])
def test_number_of_nodes(tmp_path: Path, nodes: int) -> None:
    with pytest.raises(ConfigError, match="--nodes"):
        plan_for(tmp_path, nodes=nodes)


@pytest.mark.parametrize("port", [-1, 65_535, 99_999])
def test_base_port(tmp_path: Path, port: int) -> None:
    with pytest.raises(ConfigError, match="--base-port"):
        plan_for(tmp_path, base_port=port)


@pytest.mark.parametrize("shards", [0, 3, 8192])
def test_number_of_shards(tmp_path: Path, shards: int) -> None:
    with pytest.raises(ConfigError, match="--shards"):
        plan_for(tmp_path, shards=shards)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "shards": 1, "nodes": [{}]}']
)
def test_a_damaged_plan_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(StartupError, match=r"cluster\.json is damaged"):
        plan_for(tmp_path)


def test_a_plan_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(StartupError, match="another version"):
        plan_for(tmp_path)


def test_every_node_of_a_plan_is_a_valid_configuration(tmp_path: Path, taken: set[int]) -> None:
    plan, _ = plan_for(tmp_path, nodes=26)
    for node in plan.nodes:
        config = NodeConfig(
            name=node.name,
            listen=node.listen,
            peer=node.peer,
            http=node.http,
            data_dir=plan.directory(node),
            initial_cluster=parse_initial_cluster(plan.initial_cluster),
            shards=plan.shards,
        )
        check_config(config)


def test_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_a_plan_is_durable_with_its_name(
    tmp_path: Path, taken: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails right after: the nodes' data must not find itself without its plan."""
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def noted_replace(old: str, new: str) -> None:
        order.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    save_plan(plan_for(tmp_path, nodes=2, base_port=20_000)[0])
    assert order == ["file", "replace", "directory"]


# --- nodes that come and go


def saved(plan: Plan) -> Plan:
    """As it is read again."""
    save_plan(plan)
    found = local_cluster.read_plan(plan.data_dir)
    assert found is not None
    return found


def test_nodes_are_added_with_the_next_letters_and_ports(tmp_path: Path, taken: set[int]) -> None:
    plan, _ = plan_for(tmp_path)
    founders = plan.initial_cluster
    more = add_nodes(plan, 2)
    assert [node.name for node in more.nodes] == ["a", "b", "c", "d", "e"]
    assert ports(more) == [11211, 11212, 11213, 11214, 11215]
    assert [node.has_joined for node in more.nodes] == [False] * 3 + [True] * 2
    assert more.initial_cluster == founders
    assert more.join_addresses(more.nodes[3]).count("127.0.0.1:") == 4
    assert saved(more) == more
    fewer = without_node(without_node(more, "a"), "e")
    assert [node.name for node in fewer.nodes] == ["b", "c", "d"]
    assert fewer.initial_cluster == founders
    assert saved(fewer) == fewer
    assert [node.name for node in add_nodes(fewer, 2).nodes[3:]] == ["a", "e"]


def test_the_command_that_created_it_brings_it_back_whoever_came_and_left(
    tmp_path: Path, taken: set[int]
) -> None:
    plan, _ = plan_for(tmp_path, nodes=3, shards=8, base_port=20_000)
    changed = without_node(add_nodes(plan, 2), "a")
    save_plan(changed)
    for nodes, base in ((3, 20_000), (4, 20_000), (None, 20_001)):
        assert plan_for(tmp_path, nodes=nodes, shards=8, base_port=base)[0] == changed
    with pytest.raises(ConfigError, match=r"5, but .* was created with 3"):
        plan_for(tmp_path, nodes=5)
    with pytest.raises(ConfigError, match=r"20002, but .* was created with 20000"):
        plan_for(tmp_path, base_port=20_002)


def test_a_port_that_is_taken_is_passed_over(tmp_path: Path, taken: set[int]) -> None:
    plan, _ = plan_for(tmp_path)
    taken.add(11314)
    added = add_nodes(plan, 1).nodes[-1]
    assert added.listen_port != 11214
    assert len({port for _, port in added.ports}) == 3


def test_a_name_with_a_directory_is_not_given_again(tmp_path: Path, taken: set[int]) -> None:
    plan, _ = plan_for(tmp_path)
    (tmp_path / "d").mkdir()
    assert add_nodes(plan, 1).nodes[-1].name == "e"
    with pytest.raises(StartupError, match="22 names are left of 26"):
        add_nodes(plan, 23)
    with pytest.raises(StartupError, match="0 nodes cannot be added"):
        add_nodes(plan, 0)


def test_a_cluster_of_founders_is_written_as_before(tmp_path: Path, taken: set[int]) -> None:
    plan, _ = plan_for(tmp_path)
    save_plan(plan)
    document = json.loads((tmp_path / "cluster.json").read_text())
    assert document["format"] == 1
    assert set(document) == {"format", "shards", "nodes"}
    assert set(document["nodes"][0]) == {"name", "listen_port", "http_port", "peer_port"}
    save_plan(add_nodes(plan, 1))
    assert json.loads((tmp_path / "cluster.json").read_text())["format"] == 2
