"""Goal: clients of transactions and locks, and what judges them, find a store that breaks a rule,
and nothing at one that keeps them.

Method: a store of one process on virtual time, from which the rules can be taken one by one. That a
broken product is found, whole nodes test in `test_detection_transactions.py`.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.simulation.dealer import Dealer
from tests.simulation.dealings import Dealings
from tests.simulation.lock_client import LockClient
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.test_lock_watch import TrueTime
from tests.simulation.transaction_client import TransactionClient
from tests.support.tiny_dealer import RULES, TinyDealer

ADDRESS = ("store", 11211)
SECONDS = 12.0


def fault(seed: int, broken: str) -> tuple[str, Dealings]:
    """What is found in a run of some clients; "" if nothing is."""
    loop = VirtualLoop()
    network = Network(loop, Random(f"{seed}/network"))
    store = Process(loop, "store", host="store")
    network.host_up("store")
    tiny = TinyDealer(Random(seed), lambda: loop.now_ns // 1_000_000, broken)
    dealings = Dealings(Random(f"{seed}/dealings"))
    dealers = []
    for number in range(6):
        dealer = Dealer(loop, f"d{number}", [ADDRESS], Random(f"{seed}/{number}"))
        kind = TransactionClient if number < 4 else LockClient
        dealer.client = kind(dealer, dealings, pause_seconds=0.01)
        dealers.append(dealer)

    async def play() -> None:
        await store.spawn(asyncio.start_server(tiny.serve, *ADDRESS))
        for dealer in dealers:
            dealer.start()
        await asyncio.sleep(SECONDS)
        for dealer in dealers:
            await dealer.stop()

    loop.run_until_complete(play())
    loop.close()
    for dealer in dealers:
        for line in dealer.unexpected:
            return line, dealings
    try:
        assert dealings.judge(TrueTime()), "it could not be decided"
    except AssertionError as error:
        return str(error), dealings
    return "", dealings


@pytest.mark.parametrize("seed", range(3))
def test_a_store_that_keeps_its_rules_is_found_well(seed: int) -> None:
    found, dealings = fault(seed, "")
    assert not found
    totals = dealings.totals()
    for word in ("transfer_done", "transfer_unknown", "snapshot_done", "mix_done", "section_done"):
        assert totals[word], (word, totals)
    assert totals["snapshots_of_the_bank"]


FOUND = {
    "check": ("the accounts hold", "no order explains"),
    "all or nothing": ("the accounts hold", "no order explains", "which nobody wrote"),
    "once": ("which disagree", "no order explains"),
    "abort": ("of one that changed nothing", "the accounts hold"),
    "fence": ("an old holder", "no order explains"),
    "token": ("a token does not grow", "to the token"),
    "one holder": ("two hold a lock",),
}
"""Of each rule what is said without it."""


@pytest.mark.parametrize("rule", RULES)
def test_a_store_that_breaks_a_rule_is_found_out(rule: str) -> None:
    for seed in range(10):
        found, _ = fault(seed, rule)
        if found:
            print(f"found by seed {seed}: {found}")
            assert any(words in found for words in FOUND[rule])
            return
    raise AssertionError("no seed finds it")
