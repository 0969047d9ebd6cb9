"""What watching wallets costs in HTTP requests and RPC calls, as a proxy between counts them.

Every watched wallet gets a burst of transfers, each a transaction of its own, from a `Deal` that goes past
the proxy. Then one poll must count all of them, and record the balance history of all wallets.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from solders.keypair import Keypair

from deal_sdk import Deal
from scripts.bench.chains import EMBEDDED_SLOT_SECONDS, EmbeddedChain
from scripts.bench.counting_proxy import CountingProxy
from scripts.bench.deals import PASSPHRASE
from scripts.bench.measure import Goal, Ratio, Report, Table, say

BURST: Final = 5
LISTING: Final = "getSignaturesForAddress"
REQUESTS_GOAL: Final = Goal("<=", 0.05)
CALLS_GOAL: Final = Goal("<=", 1.05)
_PAID_SECONDS: Final = 120.0
_LOOKS: Final = 600
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class PollingForm:
    """How much is measured."""

    wallets: int
    polls: int


WHOLE: Final = PollingForm(wallets=100, polls=3)
SHORT: Final = PollingForm(wallets=20, polls=1)


async def measure_polling(form: PollingForm) -> Report:
    """Count what goes over the wire for each new transaction."""
    chain = EmbeddedChain()
    await asyncio.to_thread(chain.start)
    try:
        with tempfile.TemporaryDirectory(prefix="deal-bench-monitor-") as directory:
            return await _measure(chain, Path(directory), form)
    finally:
        chain.remove()


async def _measure(chain: EmbeddedChain, directory: Path, form: PollingForm) -> Report:
    shared: dict[str, Any] = {"keystore_passphrase": PASSPHRASE, "background_jobs": False}
    payer = Deal.open(
        create_mint=True,
        rpc_url=chain.endpoint.rpc_url,
        database_url=f"sqlite:///{directory / 'payer.db'}",
        **shared,
    )
    proxy = CountingProxy(chain.endpoint, sweep_seconds=EMBEDDED_SLOT_SECONDS)
    async with payer as paying, proxy:
        watcher = Deal.open(
            rpc_url=proxy.rpc_url,
            database_url=f"sqlite:///{directory / 'watcher.db'}",
            mint=str(paying.mint.address),
            max_watched_wallets=form.wallets,
            watch_poll_interval_seconds=0.001,
            watch_transactions_per_poll=BURST,
            **shared,
        )
        async with watcher as watching:
            return await _polls(paying, watching, proxy, form)


async def _polls(paying: Deal, watching: Deal, proxy: CountingProxy, form: PollingForm) -> Report:
    wallets = [str(Keypair().pubkey()) for _ in range(form.wallets)]
    for wallet in wallets:
        await watching.monitor.add(wallet)
    await watching.monitor.poll()
    transactions = requests = calls = listings = 0
    for number in range(1, form.polls + 1):
        say(f"polling: burst {number} of {form.polls}, {form.wallets} wallets")
        await asyncio.gather(*(_pay(paying, wallet) for wallet in wallets for _ in range(BURST)))
        assert await paying.settled(timeout_seconds=_PAID_SECONDS)
        proxy.reset()
        await watching.monitor.poll()
        await _history_recorded(watching, wallets, number * BURST)
        transactions += form.wallets * BURST
        requests += proxy.requests
        listings += proxy.calls[LISTING]
        calls += sum(proxy.calls.values()) - proxy.calls[LISTING]
    counted = sum(wallet.transaction_count for wallet in await watching.monitor.list())
    assert counted == transactions, f"{counted} of {transactions} were counted"
    return _report(transactions, requests, calls, listings)


async def _pay(paying: Deal, wallet: str) -> None:
    await paying.tokens.transfer("treasury", wallet, "1", wait_for="finalized")


async def _history_recorded(watching: Deal, wallets: list[str], rows: int) -> None:
    """Wait for what a poll brings about beside itself: the history of every wallet that it found moved."""
    for wallet in wallets:
        for _ in range(_LOOKS):
            if len((await watching.history.query(wallet=wallet)).items) >= rows:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            raise RuntimeError(f"the history of {wallet} was not recorded in time")


def _report(transactions: int, requests: int, calls: int, listings: int) -> Report:
    report = Report()
    report.figures = {
        "polling_transactions": transactions,
        "polling_http_requests": requests,
        "polling_listings": listings,
        "polling_other_calls": calls,
    }
    report.ratios = {
        "polling_http_requests_per_transaction": Ratio(requests / transactions, REQUESTS_GOAL),
        "polling_calls_above_listings_per_transaction": Ratio(calls / transactions, CALLS_GOAL),
    }
    rows = tuple((name.replace("_", " "), f"{value:g}") for name, value in report.figures.items())
    report.tables = [Table("Polling", ("count", "value"), rows)]
    return report
