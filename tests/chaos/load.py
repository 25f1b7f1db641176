"""The load, as a process of its own inside of the clients' namespace.

    python -m tests.chaos.load '{"addresses": [["10.213.0.1", 11211], ...], "shards": 8, ...}'

One process, so that the order of its events is the order of the history. It says how it goes in a
JSON line per second on stdout. The line `finish [["10.213.0.1", 11211], ...]` on stdin stops the
clients; then every node named in it has to take a write to every hot key and to give the value of
every key that was used. The end of stdin ends it at once: whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.bank import Bank
from tests.chaos.clients import (
    LOST,
    Program,
    Reader,
    Session,
    TextClient,
    UnexpectedReply,
    Wire,
)
from tests.chaos.history_file import Recorder
from tests.chaos.workload import Request, Workload, encode, is_counter
from tests.simulation.history import OK
from tests.support.interrupts import hear_interrupts

FINISH = "finish"
SAY_EVERY_S = 1.0
STOP_S = 30.0
"""How long clients may take to finish what they have under way; they give up after 8 s."""


@dataclass(slots=True, kw_only=True)
class LoadConfig:
    """`began_ns`: the monotonic time that the run counts from. `final_seconds`: without an answer
    to the last writes and reads, after which the service is not back.
    """

    addresses: list[tuple[str, int]]
    shards: int
    seed: int
    history: str
    began_ns: int
    text_clients: int = 6
    programs: int = 2
    final_seconds: float = 60.0
    bank: bool = False

    def as_json(self) -> str:
        return json.dumps(asdict(self))


async def main(config: LoadConfig) -> int:
    """Run until told to finish. The exit status: 0, or 1 when nobody wants the result."""
    addresses = [(host, port) for host, port in config.addresses]
    random = Random(config.seed)
    stdin = await _stdin()
    with open(config.history, "w", 1, encoding="utf-8") as file:  # noqa: ASYNC230
        session = Session(Recorder(file), config.shards, config.began_ns)
        clients: list[TextClient | Reader | Program] = []
        for number in range(config.text_clients):
            clients.append(TextClient(session, f"t{number}", addresses, Random(random.random())))
        for number, address in enumerate(addresses):
            clients.append(Reader(session, f"r{number}", [address], Random(random.random())))
        for number in range(config.programs):
            clients.append(Program(session, f"p{number}", addresses, Random(random.random())))
        bank = Bank(session, addresses, random) if config.bank else None
        tellers = bank.clients if bank is not None else []
        tasks = [asyncio.create_task(client.run()) for client in (*clients, *tellers)]
        said = asyncio.create_task(_say_how_it_goes(session))
        asked = asyncio.create_task(stdin.readline())
        done, _ = await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {asked}:
            task.result()
            raise RuntimeError("a client ended by itself")
        word, _, last = asked.result().partition(b" ")
        if word != FINISH.encode():
            return 1
        session.stopping.set()
        async with asyncio.timeout(STOP_S):
            await asyncio.gather(*tasks)
        last_asked = [(host, port) for host, port in json.loads(last)]
        problem = await _finally(session, last_asked, config.final_seconds)
        said.cancel()
        told: dict[str, int] = {}
        if bank is not None:
            problem = problem or await bank.read_all(last_asked, config.final_seconds)
            problem = problem or bank.judge(Path(config.history).with_name("transactions.txt"))
            told = bank.totals()
        _say(session, done=True, unexpected=session.unexpected, problem=problem, bank=told)
    return 0


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(session: Session, **more: Any) -> None:
    print(json.dumps({"outcomes": session.history.counts()} | more), flush=True)


async def _say_how_it_goes(session: Session) -> None:
    while True:
        _say(session)
        await asyncio.sleep(SAY_EVERY_S)


async def _finally(session: Session, addresses: list[tuple[str, int]], seconds: float) -> str:
    """The last writes and reads through every node. What went wrong, or "".

    A node may take long for all of them, if the machine is busy; `seconds` is how long it may take
    none.
    """
    for number, (host, port) in enumerate(addresses):
        name = f"f{number}"
        workload = Workload(name, Random(number))
        requests = []
        for shard, key in enumerate(session.hot_keys()):
            value = b"%d" % number if is_counter(shard) else workload.value(short=True)
            requests.append(Request("set", key, value))
        requests += [Request("get", key, None) for key in session.keys.used]
        why = "no answer"
        left, deadline = len(requests), time.monotonic() + seconds
        while requests and time.monotonic() < deadline:
            try:
                await _ask_all(session, name, host, port, requests)
            except LOST as error:
                why = repr(error)
                await asyncio.sleep(0.2)
            except UnexpectedReply as error:
                return f"{host}: {error}"
            if len(requests) < left:
                left, deadline = len(requests), time.monotonic() + seconds
        if requests:
            asked = requests[0]
            return (
                f"{host} does not serve {seconds:g} s after the last fault:"
                f" {asked.kind} {asked.key.decode()}: {why}"
            )
    return ""


async def _ask_all(
    session: Session, name: str, host: str, port: int, requests: list[Request]
) -> None:
    """One after the other, taking those from the list that were answered."""
    async with asyncio.timeout(1.0):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        wire = Wire(session, reader, lambda key, unique: None)
        while requests:
            operation = session.invoke(name, requests[0])
            writer.write(encode(requests[0]))
            async with asyncio.timeout(10.0):
                await wire.reply(operation)
            if operation.outcome != OK:
                raise ConnectionError(str(operation.result or "outcome unknown"))
            requests.pop(0)
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    hear_interrupts()
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main(LoadConfig(**json.loads(sys.argv[1])))))
