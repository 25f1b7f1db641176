"""Goal: each flag of memcached has its effect, is told to have none, or is refused by a line that
names what to use instead; and none of them is lost between two tables.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.memcached_flags import FLAG, FLAGS, Kind
from quorumcache.node.process.options import Command, parser, read_command
from quorumcache.node.process.setting_table import OPTIONS
from quorumcache.node.settings.config import NodeConfig

ROOT = Path(__file__).resolve().parents[4]
DEFAULT = NodeConfig()


def command(text: str, *words: str) -> Command:
    return read_command(parser().parse_all([*text.split(), *words]))


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("-l 127.0.0.1 -p 22122", "listen", "127.0.0.1:22122"),
        ("-p 22122", "listen", "127.0.0.1:22122"),
        ("-p 22122 -l 127.0.0.1:1,[::1],::2 -l h", "listen",
         "127.0.0.1:1,[::1]:22122,[::2]:22122,h:22122"),
        ("--listen 127.0.0.1 --port=5", "listen", "127.0.0.1:5"),
        ("--listen a:1 --listen b:2,c:3", "listen", "a:1,b:2,c:3"),
        ("-l notls:10.0.0.1:7", "listen", "10.0.0.1:7"),
        ("-l *", "listen", "[::]:11211"),
        ("-l *:5", "listen", "[::]:5"),
        ("-p -1", "listen", "127.0.0.1:0"),
        ("-s /q -p 0", "listen", ""),
        ("-s /q", "listen", ""),
        ("-s /q -p 5", "listen", "127.0.0.1:5"),
        ("-s /q -l 10.0.0.1", "listen", "10.0.0.1:11211"),
        ("-s /q", "unix_path", "/q"),
        ("-s /q -a 0770", "unix_mask", 0o770),
        ("-m 100", "memory_bytes", 100 << 20),
        ("--memory-limit=100", "memory_bytes", 100 << 20),
        ("-M", "evicts", False),
        ("-I 4m", "item_bytes_max", 4 << 20),
        ("-I 2048", "item_bytes_max", 2048),
        ("-c 2048", "connections_max", 2048),
        ("-b 77", "listen_backlog", 77),
        ("-v", "log_level", "info"),
        ("-vv", "log_level", "debug"),
        ("-v -v -v", "log_level", "debug"),
        ("-A", "shutdown_enabled", True),
        ("-F", "flush_enabled", False),
        ("--disable-flush-all", "flush_enabled", False),
        ("-X", "dump_enabled", False),
        ("-W", "watch_enabled", False),
        ("-Y /f", "auth_file", "/f"),
        ("-D /", "prefix_delimiter", "/"),
        ("-o idle_timeout=30", "idle_timeout_ms", 30_000),
        ("-o maxconns_fast,idle_timeout=7 -o idle_timeout=8", "idle_timeout_ms", 8_000),
        ("-U 0 -B ascii", "listen", DEFAULT.listen),
        ("-B auto", "listen", DEFAULT.listen),
    ],
)  # fmt: skip
def test_what_works(text: str, field: str, value: object) -> None:
    given = command(text)
    assert getattr(given.config, field) == value
    assert given.ignored == ()


def test_a_line_as_memcached_is_started_with() -> None:
    given = command("-l 127.0.0.1 -p 11211 -m 1024 -c 2048 -I 4m -t 4 -dP /run/m.pid -u cache -r")
    config = given.config
    assert (config.listen, config.memory_bytes) == ("127.0.0.1:11211", 1 << 30)
    assert (config.connections_max, config.item_bytes_max) == (2048, 4 << 20)
    assert config.is_alone
    assert config.durability == "memory"
    launch = given.launch
    assert (launch.in_background, launch.pid_path, launch.user) == (True, "/run/m.pid", "cache")
    assert launch.dumps_core
    assert not launch.keeps_stderr
    assert [flag for flag, _ in given.ignored] == ["-t"]
    assert command("-dv").launch.keeps_stderr


@pytest.mark.parametrize(
    "text",
    ["-t 4", "--threads 4", "-k", "-C", "-R 20", "-f 1.25", "-n 48", "-L", "-N 4",
     "-o slab_reassign", "-o no_lru_crawler,hashpower=20"],
)  # fmt: skip
def test_what_has_no_effect_is_told(text: str) -> None:
    given = command(text)
    assert given.config == DEFAULT
    [(flag, why)] = given.ignored
    assert text.replace("--threads", "-t").startswith(flag)
    assert len(why) > 15
    if flag == "-o":
        assert all(word.partition("=")[0] in why for word in text[3:].split(","))


def test_words_that_say_what_is_so_are_not_talked_about() -> None:
    assert command("-o maxconns_fast,no_drop_privileges,relaxed_privileges").ignored == ()
    assert [flag for flag, _ in command("-o no_maxconns_fast").ignored] == ["-o"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-S", r"-S: .*binary protocol.* see --auth-file"),
        ("-Z", "-Z: there is no TLS"),
        ("-e /f", "-e: .*give --data-dir"),
        ("-U 11211", "-U: there is no UDP"),
        ("-B binary", "-B: 'binary' is not auto or ascii, and the binary"),
        ("-o ext_path=/f:1G", "-o ext_path: items are in memory alone"),
        ("-o ssl_key=/f", "-o ssl_key: there is no TLS"),
        ("-o proxy_config=/f", "-o proxy_config: there is no proxy"),
        ("-o idle_timout=5", "-o: unknown word 'idle_timout'; did you mean idle_timeout"),
        ("-o idle_timeout", "-o: idle_timeout needs seconds"),
        ("-o idle_timeout=-1", "-o: idle_timeout needs seconds"),
        ("-o idle_timeout=999999", "-o: idle_timeout: 999999 is not in 0..86400, which are sec"),
        ("-m 1g", "-m: '1g' is not a number of megabytes; --memory takes sizes"),
        ("-m 0", "-m: 0 is not in 1..1073741824, which are megabytes"),
        ("-m 1073741825", "-m: 1073741825 is not in 1..1073741824, which are megabytes"),
        ("-m -5", "-m: '-5' is not a number of megabytes"),
        ("-c 0", "-c: 0 is not in 1"),
        ("-c x", "-c: 'x' is not a whole number"),
        ("-I 1", "-I: 1 is not in"),
        ("-a 8", "-a: '8' is not permissions in octal"),
        ("-p 0", "-p: 0 switches TCP off, and clients need -s"),
        ("-p 0 -s /q -l h", "-p: 0 switches TCP off"),
        ("-p 65536", "-p: 65536 is not in 1..65535"),
        ("-p x", "-p: 'x' is not a whole number"),
        ("-l 11211", "-l: '11211' is not HOST:PORT; for a port alone give -p 11211"),
        ("--listen 11211", "--listen: '11211' is not HOST:PORT"),
        ("-l 127.0.0.1:x", "-l: .*port 'x' is not in"),
        ("-l h,", "-l: '' is not"),
        ("-l h -l h", "-l: 'h:11211,h:11211' names an address twice"),
        ("-m 5 --memory 5m", "-m: says the same as --memory: leave one of them out"),
        ("-s /q --unix-path /q", "-s: says the same as --unix-path"),
        ("-s /q --name a --initial-cluster a=h:1", "--?[a-z]+: needed on a node that has peers"),
        ("-d --stop-on-stdin-eof", "-d: not together with"),
        ("-D ab", "-D: 'ab' is not one character of a key"),
        ("-D \u00e9", "-D: '\u00e9' is not one"),
        ("-q", "^unknown argument -q$"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_its_way_out(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        command(text)


def test_flags_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('listen = ["a:1", "b:2"]\nmemory = "5m"\n')
    config = command("-m 7 -s /q --config", str(path)).config
    assert (config.listen, config.memory_bytes) == ("a:1,b:2", 7 << 20)
    assert command("-l c --config", str(path)).config.listen == "c:11211"
    with pytest.raises(ConfigError, match="-p: the configuration file says where to listen"):
        command("-p 5 --config", str(path))
    path.write_text("listen = [1]\n")
    with pytest.raises(ConfigError, match=r"listen: \[1\] is not a string"):
        command("--config", str(path))


def test_each_flag_stands_in_the_table_once_and_in_the_page_for_memcached_users() -> None:
    assert len(FLAG) == len(FLAGS)
    words = [word for flag in FLAGS for word in flag.words]
    assert len(set(words)) == len(words)
    assert not {f"--{option.name}" for option in OPTIONS} & set(words)
    page = (ROOT / "docs" / "memcached-users.md").read_text()
    rows = {row.split("`")[1][:2]: row for row in page.splitlines() if row.startswith("| `-")}
    for flag in FLAGS:
        row = rows[f"-{flag.letter}"]
        assert (flag.kind is Kind.REFUSED) == ("**refused**" in row), row
        assert (flag.kind is Kind.IGNORED) == ("no effect" in row), row
    assert set(rows) == {f"-{flag.letter}" for flag in FLAGS} | {"-h"}


def test_the_help_shows_what_can_be_given_and_none_of_the_words_that_tell_of_more() -> None:
    """memcached's own test suite asks the help of a server what it can do."""
    text = parser().format_help()
    for flag in FLAGS:
        assert (flag.kind is Kind.REFUSED) != (f"\n  -{flag.letter}" in text), flag
    assert not re.search("sasl|TLS|ext_path|proxy", text, re.IGNORECASE)


@pytest.mark.skipif(shutil.which("memcached") is None, reason="needs memcached")
def test_every_flag_that_memcached_itself_names_is_known() -> None:
    text = subprocess.run(
        ["memcached", "-h"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    known = {word for flag in FLAGS for word in flag.words} | {"-h", "-vv", "-vvv"}
    ours = {f"--{option.name}" for option in OPTIONS} | {"--help", "--version"}
    for letter, long in re.findall(r"^(-\w+)[, ]+(--[\w-]+)?", text, re.M):
        assert letter in known, letter
        assert not long or long in known | ours, long
    for word in re.findall(r"^   - ([a-z_]+):", text, re.M):
        if word.startswith(("ext_", "ssl_")):
            with pytest.raises(ConfigError, match=f"-o {word}: "):
                command(f"-o {word}=1")
        else:
            command(f"-o {word}=1")
