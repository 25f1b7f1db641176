"""What a node that is new does until it is a member.

Three ways: it was told to join, so it asks members of a cluster to take it in; it is alone, so it
founds a cluster at once; it is one of several founders, so it looks for the others. The last two
end with a founding record, the first with what a member has told. The node becomes a member of
that, and joins it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from quorumcache.node.errors import ConfigError
from quorumcache.node.founding.joining import JoiningPhase
from quorumcache.node.founding.phase import FoundingPhase
from quorumcache.node.peers.founding_frames import Blank
from quorumcache.node.peers.founding_secret import with_secret
from quorumcache.node.settings.checks import GATEWAY_FOUNDS
from quorumcache.node.storage.founding_record import propose
from quorumcache.node.storage.secret import Secret, make_secret

if TYPE_CHECKING:
    from quorumcache.node.founding.durable_state import DurableState
    from quorumcache.node.peers.listener import PeerListener
    from quorumcache.node.settings.config import NodeConfig
    from quorumcache.node.system.tasks import Tasks
    from quorumcache.ring import NodeInfo


class NewMember(Protocol):
    """What the node becomes."""

    async def join(self, own: NodeInfo, /) -> None:
        """Join the cluster as a node that says this of itself."""
        ...


class Beginning:
    """See the module. `start` it once; `stop` it when the node stops, `close` when all closes."""

    def __init__(
        self,
        config: NodeConfig,
        durable: DurableState,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        entropy: Random,
        given_secret: Secret | None,
        listener: PeerListener,
        tasks: Tasks,
        on_waiting: Callable[[str], None],
        on_failed: Callable[[BaseException], None],
        own_info: Callable[[], NodeInfo],
        become_member: Callable[[], NewMember],
        serve: Callable[[], Awaitable[None]],
    ) -> None:
        """`entropy`: numbers that nobody can guess. `given_secret`: what the operator gave the node
        as the cluster's. `on_waiting` hears a sentence that says what is waited for, `on_failed`
        what the node cannot go on with. `own_info`: what the node says of itself, once it listens.
        `become_member` builds the member of what `durable` has accepted. `serve` takes clients in,
        for a node that joins: it does not know the shards before.
        """
        self._config = config
        self._durable = durable
        self._loop = loop
        self._random = random
        self._entropy = entropy
        self._given_secret = given_secret
        self._listener = listener
        self._tasks = tasks
        self._on_waiting = on_waiting
        self._on_failed = on_failed
        self._own_info = own_info
        self._become_member = become_member
        self._serve = serve
        self._phase: FoundingPhase | JoiningPhase | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Found the cluster of a node that is alone. In other cases the founding, or the join, goes
        on in the background. Raises NodeError or OSError with what is wrong.
        """
        config = self._config
        if config.join:
            joining = self._phase = self._new_joining_phase()
            self._listener.accept = joining.accept
            self._task = self._tasks.end("join", lambda: self._join(joining))
        elif config.is_alone:
            if config.weight == 0:
                raise ConfigError("--weight", GATEWAY_FOUNDS)
            record = propose(self._random, [self._own_info()], config.fixed_settings)
            self._durable.accept(record, self._given_secret or self._new_secret())
            await self._become_member().join(self._own_info())
        else:
            await self._listener.start(config.peer)
            founding = self._phase = self._new_founding_phase()
            self._listener.accept = founding.accept
            self._task = self._tasks.end("founding", lambda: self._found(founding))

    async def wait(self, failed: asyncio.Future[BaseException]) -> None:
        """Wait until this is over, or the node has `failed`."""
        if self._task is not None:
            awaited: list[asyncio.Future[Any]] = [failed, self._task]
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """End the connections of other new nodes."""
        if self._phase is not None:
            self._phase.close()

    def _new_joining_phase(self) -> JoiningPhase:
        secret = self._durable.secret
        if secret is None:
            raise ConfigError(
                "--join",
                "needs the secret of the cluster: give --secret-file FILE (a copy of cluster.secret"
                " in the data directory of a member), or set QUORUMCACHE_SECRET",
            )
        own = self._own_info()
        return JoiningPhase(
            loop=self._loop,
            random=self._new_random(),
            entropy=self._entropy,
            own=own,
            settings=self._config.joining_settings,
            secret=secret,
            seeds=self._config.seeds,
            on_waiting=self._on_waiting,
        )

    async def _join(self, phase: JoiningPhase) -> None:
        """Become a member as soon as a member takes this node in."""
        try:
            self._durable.accept_joined(await phase.run())
            member = self._become_member()
            phase.close()
            await member.join(self._own_info())
            await self._serve()
        except Exception as error:
            self._on_failed(error)

    def _new_founding_phase(self) -> FoundingPhase:
        config, given = self._config, self._given_secret
        return FoundingPhase(
            loop=self._loop,
            random=self._new_random(),
            own=Blank(self._own_info(), with_secret(config.founding_settings, given)),
            fixed_settings=config.fixed_settings,
            members=config.members,
            on_waiting=self._on_waiting,
            given_secret=given,
            new_secret=self._new_secret,
        )

    async def _found(self, phase: FoundingPhase) -> None:
        """Become a member as soon as there is a founding record."""
        try:
            found = await phase.run()
            self._durable.accept(found.record, found.secret)
            member = self._become_member()
            phase.close()
            await member.join(self._own_info())
        except Exception as error:
            self._on_failed(error)

    def _new_secret(self) -> Secret | None:
        """For a cluster that was given none; None where nothing keeps it."""
        return make_secret(self._entropy) if self._durable.disk is not None else None

    def _new_random(self) -> Random:
        return Random(self._random.getrandbits(64))
