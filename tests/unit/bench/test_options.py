"""The command line: wrong arguments are named, right ones mean what they say."""

from __future__ import annotations

import json

import pytest

from quorumcache.bench import __main__ as command
from quorumcache.bench import options
from quorumcache.bench.errors import BenchError
from quorumcache.bench.processes import parse_pinning
from quorumcache.bench.workload import Workload
from tests.support.tiny_memcached import TinyMemcached

COMMANDS = (
    *("list", "run", "race", "failover", "elastic", "move", "idle", "memory", "restart", "client"),
)


def parsed(*words):
    return options.build_parser().parse_args(list(words))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "COMMAND"),
        (["nosuch"], "nosuch"),
        (["run", "--seconds", "soon"], "number of seconds"),
        (["run", "--seconds", "0"], "0..86400"),
        (["run", "--connections", "0"], "number from 1"),
        (["run", "--value-size", "big"], "not a size"),
        (["run", "--value-size", "20-10"], "larger"),
        (["run", "--distribution", "normal"], "not uniform"),
        (["run", "--distribution", "zipf:steep"], "not a number"),
        (["run", "--reads", "2"], "not in 0..1"),
        (["run", "--mode", "psychic"], "psychic"),
        (["failover", "--kills", "-1"], "number from 1"),
        (["idle", "--pids", "me"], "process ids"),
        (["move", "--only", "both"], "invalid choice"),
        (["move", "--moves", "0"], "number from 1"),
        (["elastic", "--rate", "fast"], "number from 1"),
    ],
)
def test_wrong_arguments_end_with_status_2(words, named, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "nosuch"], "no scenario 'nosuch'"),
        (["run", "get", "--cluster", "localhost"], "HOST:PORT"),
        (["run", "get", "--cluster", "127.0.0.1:1", "--no-memcached"], "cannot connect"),
        (["run", "get", "--durability", "memory"], "one node only"),
        (["run", "get", "--pin", "0"], "SERVERS:LOAD"),
        (["run", "get", "--pin", "0:999"], "processor 999"),
        (["run", "get", "--rate", "-5"], "rate -5"),
        (["failover", "--nodes", "1"], "at least 3 nodes"),
        (["elastic", "--nodes", "5"], "elastic begins with 3 nodes, not 5"),
        (["move", "--nodes", "4"], "move begins with 3 nodes, not 4"),
        (["idle", "--nodes", "99"], "1..26"),
        (["idle", "--pids", "999999999", "--seconds", "1"], "does not exist"),
    ],
)
def test_what_cannot_be_done_ends_with_status_1(words, named, capsys):
    assert command.main(words) == 1
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([*words, "--help"])
    assert ended.value.code == 0
    assert "usage: quorumcache-bench" in capsys.readouterr().out


def test_list_shows_all_scenarios(capsys):
    assert command.main(["list"]) == 0
    assert "get-pipelined" in capsys.readouterr().out


def test_flags_change_scenarios():
    arguments = parsed(
        *["run", "get", "--reads", "0.75", "--keys", "7", "--value-size", "10-2k"],
        *["--distribution", "zipf:1.2", "--connections", "3", "--depth", "4"],
        *["--rate", "100", "--arrivals", "constant", "--no-fill"],
    )
    (found,) = options.chosen_workloads(arguments)
    assert found == Workload(
        name="get",
        description=found.description,
        get=0.75,
        set=0.25,
        keys=7,
        distribution="zipf",
        zipf_exponent=1.2,
        value_bytes_min=10,
        value_bytes_max=2048,
        connections=3,
        depth=4,
        rate=100.0,
        arrivals="constant",
        fill=False,
    )


def test_without_flags_a_scenario_is_as_written():
    (found,) = options.chosen_workloads(parsed("run", "counters"))
    assert (found.incr, found.get, found.connections) == (1.0, 0.0, 50)


def test_node_flags_are_handed_on():
    found = options.cluster_options(parsed("run", "--node-flag=--memory=2g", "--nodes", "5"))
    assert (found.node_flags, found.nodes) == (("--memory=2g",), 5)


def test_pinning():
    assert parse_pinning(None) == ((), ())
    with pytest.raises(BenchError, match="range"):
        parse_pinning("0:a")


def test_a_run_against_a_running_server(tmp_path, capsys):
    """Any-node mode on something that is no cluster; status, printed table and files."""
    with TinyMemcached() as server:
        words = ["run", "get", "set", "--cluster", f"127.0.0.1:{server.address[1]}"]
        words += ["--keys", "20", "--connections", "2", "--seconds", "0.3", "--warmup", "0.05"]
        words += ["--no-memcached", "--quiet", "--rounds", "1", "--out", str(tmp_path)]
        assert command.main(words) == 0
    printed = capsys.readouterr().out
    assert "machine" in printed
    assert "p99.9 ms" in printed
    data = json.loads((tmp_path / "report.json").read_text())
    assert [one["workload"]["name"] for one in data["results"]] == ["get", "set"]
    assert data["results"][0]["mode"] == "one node"
    assert "| get |" in (tmp_path / "report.md").read_text()


def test_requests_that_fail_give_status_3(tmp_path, capsys):
    with TinyMemcached(lambda line: b"ERROR\r\n" if line.startswith(b"get") else None) as server:
        words = ["run", "get", "--cluster", f"127.0.0.1:{server.address[1]}", "--keys", "5"]
        words += ["--seconds", "0.3", "--warmup", "0.05", "--no-memcached", "--quiet"]
        assert command.main([*words, "--out", str(tmp_path)]) == 3
    assert "errors, most often: ERROR" in capsys.readouterr().out


def test_routed_mode_needs_a_cluster(capsys):
    with TinyMemcached() as server:
        words = ["run", "get", "--cluster", f"127.0.0.1:{server.address[1]}", "--mode", "routed"]
        assert command.main([*words, "--no-memcached"]) == 1
    assert "no cluster map" in capsys.readouterr().err


def test_a_missing_memcached_is_said_aloud(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "memcached_path", lambda: None)
    with TinyMemcached() as server:
        words = ["run", "get", "--cluster", f"127.0.0.1:{server.address[1]}", "--keys", "5"]
        words += ["--seconds", "0.3", "--warmup", "0.05", "--quiet", "--out", str(tmp_path)]
        assert command.main(words) == 0
    assert "apt-get install memcached" in capsys.readouterr().out
    assert "apt-get install memcached" in (tmp_path / "report.md").read_text()
