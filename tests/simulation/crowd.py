"""All clients of a seed's cluster."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.simulation.admin_program import AdminProgram
from tests.simulation.client import SimulatedClient
from tests.simulation.dealer import Dealer
from tests.simulation.dealings import Dealings
from tests.simulation.library_user import LibraryUser
from tests.simulation.lock_client import LockClient
from tests.simulation.router_client import RouterProgram
from tests.simulation.rude_client import RudeClient
from tests.simulation.settings import REQUEST_TIMEOUTS_MS
from tests.simulation.slow_reader import SlowReader
from tests.simulation.staleness import StaleReaders
from tests.simulation.transaction_client import TransactionClient
from tests.simulation.workload import Workload, WorkloadConfig

if TYPE_CHECKING:
    from tests.simulation.world import World

Client = SimulatedClient | RouterProgram | RudeClient | StaleReaders | AdminProgram | Dealer

DEALINGS_SHARE = 0.5
"""Of the seeds whose items stay, how many have clients with transactions and locks."""


def gather_clients(
    world: World, workload: WorkloadConfig, random: Random
) -> tuple[list[Client], StaleReaders]:
    """Everybody but the slow readers; and of them the one whose reads are judged by their age."""
    config = world.config
    addresses = [node.address for node in world.nodes]
    clients: list[Client] = [
        _make_client(world, f"c{number}", workload, SimulatedClient)
        for number in range(1, config.client_count + 1)
    ]
    clients += [
        _make_client(world, f"r{number}", workload, RouterProgram)
        for number in range(1, config.program_count + 1)
    ]
    if random.random() < 0.3:
        clients.append(RudeClient(world.loop, "x1", addresses, world.random("rude")))
    stale = StaleReaders(world.loop, "s1", addresses, world.random("staleness"))
    clients.append(stale)
    if random.random() < 0.5:
        clients.append(AdminProgram(world.loop, "a1", addresses, world.random("admin")))
    if world.dealings is not None:
        clients += _dealers(world, world.dealings)
    return clients, stale


def draw_dealings(world: World, workload: WorkloadConfig) -> Dealings | None:
    """Not where a flush or an eviction takes items away: the rules would have to know of them."""
    random = world.random("dealings")
    share = 1.0 if world.config.transactions else DEALINGS_SHARE
    is_wanted = random.random() < share
    if not is_wanted or workload.flushes or world.memory_is_limited:
        return None
    return Dealings(random)


def _dealers(world: World, dealings: Dealings) -> list[Dealer]:
    random = world.random("dealers")
    few, many = (2, 4) if world.config.transactions else (1, 1)
    pause_seconds = random.choice((0.001, 0.005, 0.03))
    kinds: list[tuple[str, type[TransactionClient | LockClient | LibraryUser]]] = [
        *((f"t{number}", TransactionClient) for number in range(1, random.randint(few, many) + 1)),
        *((f"k{number}", LockClient) for number in range(1, random.randint(few, many) + 1)),
        *((f"u{number}", LibraryUser) for number in range(1, random.randint(0, many - 1) + 1)),
    ]
    dealers = []
    for name, kind in kinds:
        addresses = [node.address for node in world.nodes]
        dealer = Dealer(world.loop, name, addresses, world.random(name))
        dealer.client = kind(dealer, dealings, pause_seconds=pause_seconds)
        dealers.append(dealer)
    return dealers


def slow_readers(world: World) -> list[SlowReader]:
    """Those that the seed has; no fault cuts them off."""
    if world.slow is None:
        return []
    return [
        SlowReader(
            world.loop,
            f"l{number}",
            [node.address for node in world.nodes],
            world.history,
            world.random(f"l{number}"),
            slow=world.slow,
            window_bytes=world.network.window_bytes,
        )
        for number in range(1, world.slow.count + 1)
    ]


def _make_client(
    world: World, name: str, config: WorkloadConfig, kind: type[SimulatedClient | RouterProgram]
) -> SimulatedClient | RouterProgram:
    client = kind(
        world.loop,
        name,
        [node.address for node in world.nodes],
        Workload(name, config, world.random(f"{name}/workload")),
        world.history,
        world.random(name),
        reply_seconds=world.random(f"{name}/patience").choice((0.5, 2.0, 8.0)),
    )
    if isinstance(client, SimulatedClient):
        # A node's clock may run faster by the drift.
        client.silent_ns = int(REQUEST_TIMEOUTS_MS[0] * 0.98e6)
    return client
