"""The balance cache's promises, on the in-process store and on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deal_sdk.cache import BalanceManager, CachedBalance
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidAmountError, InvalidInputError
from deal_sdk.limits import Store, open_store
from deal_sdk.limits.ids import UserKey
from deal_sdk.metrics import Metrics

ACCOUNT = "7xKXtg2CW87d97TXJSDpbD5jBkheTqA83TZRuJosgAsU"
DEAL = 10**8


class Chain:
    """A chain with one balance, promised amounts, and readings that the test can hold up."""

    def __init__(self) -> None:
        self.amount, self.slot = 5 * DEAL, 100
        self.promised = 0
        self.reads = 0
        self.answered = asyncio.Event()
        self.answered.set()
        self.asked = asyncio.Event()

    async def read_balance(self, token_account: str) -> tuple[int, int]:
        self.reads += 1
        reading = self.amount, self.slot
        self.asked.set()
        await self.answered.wait()
        return reading

    async def resolve(self, user_id: UserKey) -> str:
        return ACCOUNT

    async def reserved(self, token_account: str, slot: int) -> int:
        return self.promised


def manager(store: Store, chain: Chain, clock: ManualClock, metrics: Metrics | None = None) -> BalanceManager:
    return BalanceManager(
        store,
        reader=chain,
        resolver=chain,
        reservations=chain,
        clock=clock,
        metrics=metrics or Metrics(),
    )


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
async def balances(store: Store, chain: Chain, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    balances = manager(store, chain, clock)
    yield balances
    await balances.close()


class TestSlots:
    async def test_an_older_slot_never_replaces_a_newer(self, balances: BalanceManager) -> None:
        await balances.put(ACCOUNT, 7, 200)
        assert await balances.put(ACCOUNT, 9, 199) == CachedBalance(7, 200, 0.0)
        assert await balances.get(ACCOUNT) == CachedBalance(7, 200, 0.0)

    async def test_slots_and_amounts_beyond_53_bits_stay_exact(self, balances: BalanceManager) -> None:
        newest = 2**63 + 1
        await balances.put(ACCOUNT, 2**64 - 1, newest)
        await balances.put(ACCOUNT, 1, newest - 1)
        assert await balances.get(ACCOUNT) == CachedBalance(2**64 - 1, newest, 0.0)

    async def test_slots_of_unequal_length_compare_as_numbers(self, balances: BalanceManager) -> None:
        await balances.put(ACCOUNT, 1, 1_000)
        await balances.put(ACCOUNT, 2, 999)
        cached = await balances.get(ACCOUNT)
        assert cached is not None
        assert cached.amount_base_units == 1

    async def test_an_invalidation_remembers_the_slot(self, balances: BalanceManager) -> None:
        await balances.put(ACCOUNT, 1, 100)
        await balances.invalidate(ACCOUNT, slot=150)
        assert await balances.get(ACCOUNT) is None
        await balances.put(ACCOUNT, 2, 149)
        assert await balances.get(ACCOUNT) is None
        await balances.put(ACCOUNT, 3, 150)
        assert await balances.get(ACCOUNT) == CachedBalance(3, 150, 0.0)

    async def test_out_of_range_is_refused(self, balances: BalanceManager) -> None:
        for amount, slot in ((-1, 1), (1, -1), (2**64, 1), (1, 2**64), (True, 1)):
            with pytest.raises(InvalidInputError):
                await balances.put(ACCOUNT, amount, slot)


class TestLoad:
    async def test_reads_the_chain_once_within_the_lifetime(
        self, balances: BalanceManager, chain: Chain, clock: ManualClock
    ) -> None:
        assert await balances.get_or_load(ACCOUNT) == CachedBalance(5 * DEAL, 100, 0.0)
        await clock.advance(299)
        assert await balances.get_or_load(ACCOUNT) == CachedBalance(5 * DEAL, 100, 299.0)
        assert chain.reads == 1
        await clock.advance(1)
        assert await balances.current(ACCOUNT) == 5 * DEAL
        assert chain.reads == 2

    async def test_many_who_miss_read_once(self, balances: BalanceManager, chain: Chain) -> None:
        await asyncio.gather(*(balances.get_or_load(ACCOUNT) for _ in range(20)))
        assert chain.reads == 1

    async def test_returns_the_newer_slot_that_arrived_meanwhile(
        self, balances: BalanceManager, chain: Chain
    ) -> None:
        chain.answered.clear()
        loading = asyncio.create_task(balances.load(ACCOUNT))
        await chain.asked.wait()
        await balances.put(ACCOUNT, 4 * DEAL, 105)
        chain.answered.set()

        assert (await loading).slot == 105
        assert await balances.get(ACCOUNT) == CachedBalance(4 * DEAL, 105, 0.0)

    async def test_a_reading_from_before_an_invalidation_is_not_cached(
        self, balances: BalanceManager, chain: Chain, store: Store, clock: ManualClock
    ) -> None:
        elsewhere = manager(store, chain, clock)
        chain.answered.clear()
        loading = asyncio.create_task(balances.get_or_load(ACCOUNT))
        await chain.asked.wait()
        await elsewhere.invalidate(ACCOUNT)
        chain.answered.set()

        await loading
        assert await balances.get(ACCOUNT) is None


class TestUsers:
    async def test_an_update_with_a_slot_is_cached(self, balances: BalanceManager) -> None:
        await balances.update_balance_cache("user", "1.5", 300)
        await balances.update_balance_cache("user", Decimal("9"), 299)
        assert await balances.get(ACCOUNT) == CachedBalance(150_000_000, 300, 0.0)
        await balances.update_balance_cache("user", "0", 301)
        assert await balances.get(ACCOUNT) == CachedBalance(0, 301, 0.0)

    async def test_an_update_without_a_slot_only_invalidates(self, balances: BalanceManager) -> None:
        await balances.put(ACCOUNT, 1, 100)
        await balances.update_balance_cache("user", "2")
        assert await balances.get(ACCOUNT) is None

    async def test_an_update_that_is_no_amount_changes_nothing(self, balances: BalanceManager) -> None:
        for balance in ("", ".", "-1", "1e3", "NaN", 1.5, None):
            with pytest.raises(InvalidAmountError):
                await balances.update_balance_cache("user", balance, 300)  # type: ignore[arg-type]
        assert await balances.get(ACCOUNT) is None

    async def test_a_check_counts_what_is_promised(self, balances: BalanceManager, chain: Chain) -> None:
        chain.promised = 2 * DEAL
        enough = await balances.check_balance("user", "3")
        short = await balances.check_balance("user", Decimal("3.5"))

        assert (enough.sufficient, enough.available, enough.deficit) == (True, 3, 0)
        assert (short.sufficient, short.required, short.deficit) == (False, Decimal("3.5"), Decimal("0.5"))

    async def test_nobody_is_refused_for_a_stale_value(self, balances: BalanceManager, chain: Chain) -> None:
        await balances.put(ACCOUNT, 1 * DEAL, 90)

        assert (await balances.check_balance("user", "5")).sufficient
        assert chain.reads == 1
        assert (await balances.check_balance("user", "5")).sufficient
        assert chain.reads == 1

    async def test_a_refresh_reads_the_chain_whatever_is_cached(
        self, balances: BalanceManager, chain: Chain
    ) -> None:
        await balances.get_or_load(ACCOUNT)
        chain.amount, chain.slot = 6 * DEAL, 110
        assert await balances.refresh("user") == CachedBalance(6 * DEAL, 110, 0.0)
        assert await balances.get(ACCOUNT) == CachedBalance(6 * DEAL, 110, 0.0)


async def test_served_ages_and_outcomes_are_measured(store: Store, chain: Chain, clock: ManualClock) -> None:
    metrics = Metrics()
    balances = manager(store, chain, clock, metrics)
    await balances.get_or_load(ACCOUNT)
    await clock.advance(30)
    await balances.get_or_load(ACCOUNT)

    text = metrics.render().decode()
    assert 'cache_requests_total{cache="balances",outcome="miss"} 1.0' in text
    assert 'cache_requests_total{cache="balances",outcome="hit"} 1.0' in text
    assert "cache_staleness_seconds_sum 30.0" in text


SLOTS = st.one_of(st.integers(0, 20), st.integers(2**53 - 2, 2**53 + 2), st.integers(2**64 - 3, 2**64 - 1))
WRITES = st.lists(st.tuples(st.sampled_from(("put", "invalidate")), SLOTS, st.integers(0, 2**64 - 1)))


@given(writes=WRITES)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50)
def test_whatever_the_order_the_newest_slot_wins(writes: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        async with open_store("memory://") as store:
            balances = manager(store, Chain(), ManualClock())
            newest, expected = 0, None
            for verb, slot, amount in writes:
                if verb == "put":
                    await balances.put(ACCOUNT, amount, slot)
                    expected = (amount, slot) if slot >= newest else expected
                else:
                    await balances.invalidate(ACCOUNT, slot=slot)
                    expected = None
                newest = max(newest, slot)
                cached = await balances.get(ACCOUNT)
                assert (cached and (cached.amount_base_units, cached.slot)) == expected

    asyncio.run(play())
