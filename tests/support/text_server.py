"""A memcached server in one object: parser, one shard and responses wired directly, no I/O, no
cluster.

It does what a node does around the same parts, as plainly as possible, so that a transcript tests
them and nothing else. Every command takes the way through the log's encoding.
"""

from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import (
    Arithmetic,
    BinaryClient,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    Quit,
    RefusedStore,
    Request,
    Shutdown,
    Store,
    Touch,
    Verbosity,
    Version,
)
from quorumcache.node.protocol.responses import (
    END_LINE,
    ERROR_LINE,
    OK_LINE,
    SHUTDOWN_LINE,
    render,
    value_line,
    value_of,
    version_line,
)
from quorumcache.node.state_machine import Result, decode_batch, encode_batch
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_FLUSH,
    OP_GAT,
    OP_SET,
    OP_TOUCH,
    block_args,
)
from quorumcache.node.store.store import EXPIRED, ShardStore
from tests.support.text_meta import meta_answer

START_MS = 1_700_000_000_000


class TextServer:
    """One shard; any number of `TextConnection`s."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.store = ShardStore()
        self.now_ms = now_ms
        self.index = 0

    def apply(self, *command: object) -> Result:
        self.index += 1
        self.store.tick(self.now_ms)
        batch = decode_batch(encode_batch(self.now_ms, [(0, 0, 0, *command)]))
        return self.store.apply(self.index, *batch)[0]

    def lookup(self, key: bytes) -> bytes | None:
        item = self.store.lookup(key, self.now_ms)
        if item is EXPIRED:
            _, _, _, *removal = self.store.removal_of([key], self.now_ms)
            self.apply(*removal)
            assert self.store.lookup(key, self.now_ms) is None
            return None
        return item


class TextConnection:
    """One client: bytes in, reply bytes out."""

    def __init__(self, server: TextServer) -> None:
        self.server = server
        self.parser = Parser()
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        return b"".join([self._answer(request) for request in self.parser.feed(data)])

    def _answer(self, request: Request) -> bytes:
        server = self.server
        match request:
            case Get(keys, with_cas):
                lines = [
                    value_line(key, item, with_cas)
                    for key in keys
                    if (item := server.lookup(key)) is not None
                ]
                for key in keys:
                    server.store.note_hit(key)
                return b"".join(lines) + END_LINE
            case GetAndTouch(exptime, keys, with_cas):
                hits = [value_of(key, server.apply(OP_GAT, key, exptime), with_cas) for key in keys]
                return b"".join(hits) + END_LINE
            case Store(op, key, data, exptime, unique, noreply):
                args = block_args(op, data, exptime, unique)
                return self._reply(server.apply(op, key, *args), noreply)
            case RefusedStore(op, key, reply, noreply):
                if op == OP_SET:
                    server.apply(OP_DELETE, key)
                return b"" if noreply else reply
            case Delete(key, noreply):
                return self._reply(server.apply(OP_DELETE, key), noreply)
            case Arithmetic(op, key, delta, noreply):
                return self._reply(server.apply(op, key, delta), noreply)
            case Touch(key, exptime, noreply):
                return self._reply(server.apply(OP_TOUCH, key, exptime), noreply)
            case FlushAll(delay, noreply):
                return self._reply(server.apply(OP_FLUSH, b"", delay), noreply)
            case Version():
                return version_line("1.6.45")
            case Shutdown(_, noreply):
                return b"" if noreply else SHUTDOWN_LINE
            case Verbosity(_, noreply):
                return b"" if noreply else OK_LINE
            case Shutdown(_, noreply):
                return b"" if noreply else SHUTDOWN_LINE
            case Immediate(reply) | BinaryClient(reply):
                return reply
            case Quit():
                self.closed = True
                return b""
        reply = meta_answer(server, request)
        return ERROR_LINE if reply is None else reply

    @staticmethod
    def _reply(result: Result, noreply: bool) -> bytes:
        return b"" if noreply else render(result)
