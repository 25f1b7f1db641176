"""The table of commands, and the bytes of each command, which logs, peers and snapshots hold."""

from typing import Any

import pytest

from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.items import FORWARD_WRITE
from quorumcache.node.state_machine import ARGS, decode_batch, encode_batch
from quorumcache.node.store import commands
from quorumcache.node.store.commands import (
    BLOCK_OPS,
    COMMANDS,
    FENCED_OPS,
    GROWING_OPS,
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_COUNT,
    OP_DECR,
    OP_DELETE,
    OP_DROP_PIECES,
    OP_EVICT,
    OP_EXPIRE,
    OP_FENCED,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_LOCK_ACQUIRE,
    OP_LOCK_EXPIRE,
    OP_LOCK_RELEASE,
    OP_LOCK_RENEW,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PIECE,
    OP_PREPEND,
    OP_REFUSE,
    OP_REPLACE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TICK,
    OP_TOUCH,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
    block_args,
    grows,
    in_place_of,
    may_be_forwarded,
    own_command,
    unfenced,
    without_growth,
)

TXN = b"0123456789abcdef"
DATA = b" 3 1\r\nx\r\n"
HEAD = "9502cd03e8cd07d0cd0bb891"
"""Version 2, the times 1000 and 2000, the limit 3000, one command."""

SAMPLES: dict[int, tuple[tuple[Any, ...], str]] = {
    command[3]: (command, written)
    for command, written in (
        ((7, 300, 2, OP_SET, b"k", DATA, 60), "9707cd012c0201c4016bc409203320310d0a780d0a3c"),
        ((0, 0, 0, OP_ADD, b"k", DATA, 0), "9700000002c4016bc409203320310d0a780d0a00"),
        ((0, 0, 0, OP_REPLACE, b"k", DATA, -1), "9700000003c4016bc409203320310d0a780d0aff"),
        (
            (1 << 62, 9, 8, OP_CAS, b"k", DATA, 0, 5),
            "98cf4000000000000000090804c4016bc409203320310d0a780d0a0005",
        ),
        ((0, 0, 0, OP_APPEND, b"k", b"ab"), "9600000005c4016bc4026162"),
        ((0, 0, 0, OP_PREPEND, b"k", b"ab"), "9600000006c4016bc4026162"),
        ((0, 0, 0, OP_DELETE, b"k"), "9500000007c4016b"),
        ((0, 0, 0, OP_INCR, b"k", 2**64 - 1), "9600000008c4016bcfffffffffffffffff"),
        ((0, 0, 0, OP_DECR, b"k", 1), "9600000009c4016b01"),
        ((0, 0, 0, OP_TOUCH, b"k", 100), "960000000ac4016b64"),
        ((0, 0, 0, OP_GAT, b"k", 100), "960000000bc4016b64"),
        ((0, 0, 0, OP_FLUSH, b"", 0), "960000000cc40000"),
        ((0, 0, 0, OP_EXPIRE, b"", ((b"k", 5),)), "960000000dc4009192c4016b05"),
        ((0, 0, 0, OP_TICK, b""), "950000000ec400"),
        ((7, 0, 0, OP_SESSION_OPEN, b""), "950700000fc400"),
        ((0, 0, 0, OP_SESSION_EXPIRE, b"", (7, 8), 1000), "9700000010c400920708cd03e8"),
        ((7, 1, 1, OP_REFUSE, b"k"), "9507010111c4016b"),
        ((0, 0, 0, OP_EVICT, b"", ((b"k", 5),)), "9600000012c4009192c4016b05"),
        (
            (7, 1, 1, OP_META_GET, b"k", b"TRv", 60, 0, 30, 0),
            "9a07010113c4016bc4035452763c001e00",
        ),
        (
            (7, 1, 1, OP_META_SET, b"k", b"CE", OP_SET, DATA, 0, 0, 5, 2**64 - 1, 3),
            "9d07010114c4016bc402434501c409203320310d0a780d0a000005cfffffffffffffffff03",
        ),
        (
            (7, 1, 1, OP_META_DELETE, b"k", b"IT", 0, 0, 60, 0),
            "9a07010115c4016bc402495400003c00",
        ),
        (
            (7, 1, 1, OP_META_ARITHMETIC, b"k", b"N-", 1, 9, 60, 0, 0, 0),
            "9c07010116c4016bc4024e2d01093c000000",
        ),
        ((7, 1, 1, OP_PIECE, b"k", 9, 2, 300, b"ab"), "9907010117c4016b0902cd012cc4026162"),
        (
            (7, 2, 1, OP_STORE_PIECES, b"k", 9, (OP_SET, b" 0 2\r\n", 60)),
            "9707020118c4016b099301c40620302032 0d0a3c".replace(" ", ""),
        ),
        ((7, 3, 1, OP_DROP_PIECES, b"k", 9, 1000), "9707030119c4016b09cd03e8"),
        (
            (7, 1, 1, OP_LOCK_ACQUIRE, b"k", b"me", 10000, 0, 0, 1),
            "9a0701011ac4016bc4026d65cd2710000001",
        ),
        ((7, 1, 1, OP_LOCK_RENEW, b"k", b"me", 5, 10000), "980701011bc4016bc4026d6505cd2710"),
        ((7, 1, 1, OP_LOCK_RELEASE, b"k", b"me", 5), "970701011cc4016bc4026d6505"),
        ((0, 0, 0, OP_LOCK_EXPIRE, b"", (b"k",)), "960000001dc40091c4016b"),
        ((7, 1, 1, OP_FENCED, b"k", b"l", 5, (OP_INCR, 1)), "980701011ec4016bc4016c05920801"),
        (
            (7, 1, 1, OP_TXN_PREPARE, b"", TXN, 3, 9000, ((b"k", 5),), ((b"k", OP_DELETE),)),
            "9a0701011fc400c4103031323334353637383961626364656603cd23289192c4016b059192c4016b07",
        ),
        (
            (7, 1, 1, OP_TXN_COMMIT, b"", TXN, 9000, (4,), (), ((b"k", OP_SET, DATA, 0),)),
            "9a07010120c400c41030313233343536373839616263646566cd23289104909194c4016b01c4"
            "09203320310d0a780d0a00",
        ),
        (
            (7, 1, 1, OP_TXN_ABORT, b"", TXN, 9000),
            "9707010121c400c41030313233343536373839616263646566cd2328",
        ),
        (
            (7, 1, 1, OP_TXN_RESOLVE, b"", TXN, 9000, 1),
            "9807010122c400c41030313233343536373839616263646566cd232801",
        ),
        ((7, 1, 1, OP_TXN_FORGET, b"", TXN), "9607010123c400c41030313233343536373839616263646566"),
    )
}


META_OPS = {OP_META_GET, OP_META_SET, OP_META_DELETE, OP_META_ARITHMETIC}
RESERVED = {op for op in range(18, OP_COUNT) if op not in COMMANDS}
"""Ops that have a number and no row yet."""


def test_every_command_has_its_row_and_its_sample() -> None:
    assert set(range(1, 18)) <= COMMANDS.keys() <= set(range(1, OP_COUNT))
    assert SAMPLES.keys() == COMMANDS.keys()
    assert len({kind.name for kind in COMMANDS.values()}) == len(COMMANDS)
    numbers = {value for name, value in vars(commands).items() if name.startswith("OP_")}
    assert numbers == {*COMMANDS, *RESERVED, OP_COUNT}


@pytest.mark.parametrize("op", COMMANDS)
def test_the_bytes_of_a_command_in_the_log_and_between_nodes(op: int) -> None:
    """Logs and nodes of other versions hold them: who changes them raises `BATCH_VERSION`."""
    command, written = SAMPLES[op]
    payload = encode_batch(1000, [command], 2000, 3000)
    assert payload.hex() == HEAD + written
    assert decode_batch(payload, OP_COUNT) == (1000, (command,), 2000, 3000)
    assert pack_item((FORWARD_WRITE, 1, 5, 10, False, command)).hex() == "962001050ac2" + written


@pytest.mark.parametrize("op", COMMANDS)
def test_a_sample_has_the_form_of_its_row(op: int) -> None:
    command, _ = SAMPLES[op]
    assert tuple(map(type, command[ARGS:])) == tuple(type_ for _, type_ in COMMANDS[op].args)


@pytest.mark.parametrize(
    ("op", "name", "place"),
    [
        (OP_SET, "data", commands.STORE_DATA),
        (OP_REPLACE, "exptime", commands.STORE_EXPTIME),
        (OP_CAS, "exptime", commands.STORE_EXPTIME),
        (OP_CAS, "unique", commands.CAS_UNIQUE),
        (OP_PREPEND, "value", commands.EXTEND_VALUE),
        (OP_DECR, "delta", commands.COUNT_DELTA),
        (OP_GAT, "exptime", commands.TOUCH_EXPTIME),
        (OP_FLUSH, "delay", commands.FLUSH_DELAY),
        (OP_EXPIRE, "pairs", commands.EXPIRE_PAIRS),
        (OP_EVICT, "pairs", commands.EVICT_PAIRS),
        (OP_SESSION_EXPIRE, "sessions", commands.EXPIRE_SESSIONS),
        (OP_SESSION_EXPIRE, "idle_ms", commands.EXPIRE_IDLE_MS),
        *((op, "flags", commands.META_FLAGS) for op in META_OPS),
        (OP_META_GET, "exptime", commands.META_GET_EXPTIME),
        (OP_META_GET, "vivify", commands.META_GET_VIVIFY),
        (OP_META_GET, "recache", commands.META_GET_RECACHE),
        (OP_META_GET, "unique", commands.META_GET_UNIQUE),
        (OP_META_SET, "mode", commands.META_SET_MODE),
        (OP_META_SET, "data", commands.META_SET_DATA),
        (OP_META_SET, "exptime", commands.META_SET_EXPTIME),
        (OP_META_SET, "vivify", commands.META_SET_VIVIFY),
        (OP_META_SET, "compare", commands.META_SET_COMPARE),
        (OP_META_SET, "unique", commands.META_SET_UNIQUE),
        (OP_META_SET, "client_flags", commands.META_SET_CLIENT_FLAGS),
        (OP_META_DELETE, "compare", commands.META_DELETE_COMPARE),
        (OP_META_DELETE, "unique", commands.META_DELETE_UNIQUE),
        (OP_META_DELETE, "exptime", commands.META_DELETE_EXPTIME),
        (OP_META_DELETE, "client_flags", commands.META_DELETE_CLIENT_FLAGS),
        (OP_META_ARITHMETIC, "delta", commands.META_COUNT_DELTA),
        (OP_META_ARITHMETIC, "initial", commands.META_COUNT_INITIAL),
        (OP_META_ARITHMETIC, "vivify", commands.META_COUNT_VIVIFY),
        (OP_META_ARITHMETIC, "exptime", commands.META_COUNT_EXPTIME),
        (OP_META_ARITHMETIC, "compare", commands.META_COUNT_COMPARE),
        (OP_META_ARITHMETIC, "unique", commands.META_COUNT_UNIQUE),
        (OP_PIECE, "upload", commands.PIECE_UPLOAD),
        (OP_PIECE, "position", commands.PIECE_POSITION),
        (OP_PIECE, "total_bytes", commands.PIECE_TOTAL),
        (OP_PIECE, "piece", commands.PIECE_DATA),
        (OP_STORE_PIECES, "upload", commands.PIECES_UPLOAD),
        (OP_STORE_PIECES, "inner", commands.PIECES_INNER),
        (OP_DROP_PIECES, "upload", commands.DROP_UPLOAD),
        (OP_DROP_PIECES, "idle_ms", commands.DROP_IDLE_MS),
        (OP_LOCK_ACQUIRE, "owner", commands.LOCK_OWNER),
        (OP_LOCK_ACQUIRE, "ttl_ms", commands.ACQUIRE_TTL_MS),
        (OP_LOCK_ACQUIRE, "kind", commands.ACQUIRE_KIND),
        (OP_LOCK_ACQUIRE, "limit", commands.ACQUIRE_LIMIT),
        (OP_LOCK_ACQUIRE, "queues", commands.ACQUIRE_QUEUES),
        (OP_LOCK_RENEW, "owner", commands.LOCK_OWNER),
        (OP_LOCK_RENEW, "token", commands.LOCK_TOKEN),
        (OP_LOCK_RENEW, "ttl_ms", commands.RENEW_TTL_MS),
        (OP_LOCK_RELEASE, "owner", commands.LOCK_OWNER),
        (OP_LOCK_RELEASE, "token", commands.LOCK_TOKEN),
        (OP_LOCK_EXPIRE, "names", commands.EXPIRE_LOCKS),
        (OP_FENCED, "lock", commands.FENCE_LOCK),
        (OP_FENCED, "token", commands.FENCE_TOKEN),
        (OP_FENCED, "inner", commands.FENCED_INNER),
        (OP_TXN_PREPARE, "txn", commands.TXN_ID),
        (OP_TXN_PREPARE, "record_group", commands.PREPARE_RECORD_GROUP),
        (OP_TXN_PREPARE, "deadline_ms", commands.PREPARE_DEADLINE_MS),
        (OP_TXN_PREPARE, "checks", commands.PREPARE_CHECKS),
        (OP_TXN_PREPARE, "writes", commands.PREPARE_WRITES),
        (OP_TXN_COMMIT, "deadline_ms", commands.COMMIT_DEADLINE_MS),
        (OP_TXN_COMMIT, "participants", commands.COMMIT_PARTICIPANTS),
        (OP_TXN_COMMIT, "checks", commands.COMMIT_CHECKS),
        (OP_TXN_COMMIT, "writes", commands.COMMIT_WRITES),
        (OP_TXN_ABORT, "deadline_ms", commands.ABORT_DEADLINE_MS),
        (OP_TXN_RESOLVE, "deadline_ms", commands.RESOLVE_DEADLINE_MS),
        (OP_TXN_RESOLVE, "committed", commands.RESOLVE_COMMITTED),
    ],
)
def test_the_places_of_arguments_are_those_of_the_table(op: int, name: str, place: int) -> None:
    assert [name for name, _ in COMMANDS[op].args][place - ARGS] == name


def test_what_nodes_forward_to_each_other() -> None:
    forwarded = {op for op, (command, _) in SAMPLES.items() if may_be_forwarded(command)}
    own = {OP_EXPIRE, OP_TICK, OP_SESSION_EXPIRE, OP_REFUSE, OP_EVICT, OP_LOCK_EXPIRE}
    assert forwarded == set(COMMANDS) - own


@pytest.mark.parametrize("op", [op for op, kind in COMMANDS.items() if not kind.by_leader])
def test_a_command_of_another_form_is_not_forwarded(op: int) -> None:
    command, _ = SAMPLES[op]
    for place in range(len(command)):
        wrong = (*command[:place], "x", *command[place + 1 :])
        assert not may_be_forwarded(wrong), wrong
        assert not may_be_forwarded(command[:place])
    assert not may_be_forwarded((*command, 0))
    assert not may_be_forwarded((*command[:3], True, *command[4:]))
    assert not may_be_forwarded((*command[:3], OP_COUNT, *command[4:]))


@pytest.mark.parametrize(
    "inner",
    [
        (),
        (OP_DELETE,),
        (OP_STORE_PIECES, 9, (OP_SET, b"", 0)),
        (OP_PIECE, 9, 0, 1, b"x"),
        ("x", b"", 0),
        (OP_SET, b""),
        (OP_SET, b"", 0, 0),
        (OP_SET, {}, 0),
        (OP_CAS, b"", 0, b"1"),
        (OP_META_SET, b"", OP_SET, b"", 0, 0, 0, 0),
        (OP_APPEND, 1),
        (True, b"", 0),
    ],
)
def test_an_inner_command_that_no_store_could_run_is_not_forwarded(inner: Any) -> None:
    assert not may_be_forwarded((7, 2, 1, OP_STORE_PIECES, b"k", 9, inner))


@pytest.mark.parametrize("op", sorted({*BLOCK_OPS, OP_META_SET}))
def test_every_command_with_a_block_may_be_an_inner_one(op: int) -> None:
    command, _ = SAMPLES[op]
    inner = (op, *command[ARGS:])
    assert may_be_forwarded((7, 2, 1, OP_STORE_PIECES, b"k", 9, inner))


def test_commands_with_a_block_are_those_that_make_a_store_grow() -> None:
    growing = {OP_SET, OP_ADD, OP_REPLACE, OP_CAS, OP_APPEND, OP_PREPEND}
    assert growing == BLOCK_OPS


def test_meta_commands_that_may_make_a_store_grow() -> None:
    others = {OP_PIECE, OP_FENCED, OP_TXN_PREPARE, OP_TXN_COMMIT}
    assert BLOCK_OPS | META_OPS - {OP_META_DELETE} | others == GROWING_OPS
    assert all(grows(SAMPLES[op][0]) for op in GROWING_OPS - {OP_META_GET, OP_FENCED})
    assert not grows(SAMPLES[OP_META_GET][0]), "it makes no item"
    command, _ = SAMPLES[OP_META_ARITHMETIC]
    assert not grows(without_growth(command))
    assert without_growth(command) == (*command[:5], b"n-", *command[6:])


@pytest.mark.parametrize("op", sorted(FENCED_OPS))
def test_a_fenced_command_grows_and_is_forwarded_as_what_it_runs(op: int) -> None:
    command, _ = SAMPLES[op]
    fenced = (*command[:3], OP_FENCED, command[4], b"l", 5, (op, *command[ARGS:]))
    assert unfenced(fenced) == command
    assert may_be_forwarded(fenced)
    assert grows(fenced) == (op in GROWING_OPS and grows(command))
    for inner in ((), (OP_FENCED, b"l", 5, (OP_DELETE,)), (op, *command[ARGS:], 0), (OP_TICK,)):
        assert not may_be_forwarded((*fenced[:7], inner))


def test_commands_made_of_others() -> None:
    assert own_command(OP_TICK) == (0, 0, 0, OP_TICK, b"")
    assert own_command(OP_SESSION_EXPIRE, (7,), 5) == (0, 0, 0, OP_SESSION_EXPIRE, b"", (7,), 5)
    command, _ = SAMPLES[OP_SET]
    assert in_place_of(command, OP_DELETE) == (7, 300, 2, OP_DELETE, b"k")


@pytest.mark.parametrize("op", sorted(BLOCK_OPS))
def test_the_arguments_of_a_command_with_a_block(op: int) -> None:
    args = block_args(op, DATA, 60, 5)
    assert may_be_forwarded((0, 0, 0, op, b"k", *args))
    assert (
        dict(zip(("data", "exptime", "unique"), args, strict=False)).items()
        <= {
            "data": DATA,
            "exptime": 60,
            "unique": 5,
        }.items()
    )
