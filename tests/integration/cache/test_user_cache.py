"""What a `Deal` wires into its caches: users from the directory, DEAL balances from the chain."""

from __future__ import annotations

from decimal import Decimal

from deal_sdk import Deal
from tests.integration.conftest import FAST_CHAIN, MakePerson


async def test_users_are_answered_as_the_records_and_the_chain_have_them(
    deal: Deal, make_person: MakePerson
) -> None:
    rich, poor = await make_person("12.5"), await make_person()
    ids = [rich.user.id, poor.user.id]

    assert (await deal.user_cache.profile(rich.user.id)).tier == "Business"
    assert await deal.user_cache.credit_balances(ids) == dict.fromkeys(ids, 0)
    assert await deal.user_cache.deal_balances(ids) == {ids[0]: Decimal("12.5"), ids[1]: Decimal(0)}
    assert await deal.user_cache.deal_balance(ids[0]) == await deal.tokens.get_balance(ids[0])


async def test_a_change_of_tier_and_a_payment_are_seen_at_once(deal: Deal, make_person: MakePerson) -> None:
    payer, payee = await make_person("10"), await make_person("0.5")
    assert (await deal.user_cache.profile(payer.user.id)).tier == "Business"
    assert await deal.user_cache.deal_balance(payer.user.id) == 10

    await deal.users.set_tier(payer.user.id, "Professional")
    assert (await deal.user_cache.profile(payer.user.id)).tier == "Professional"
    await deal.tokens.transfer(payer.user.id, payee.user.id, "4")
    assert await deal.user_cache.deal_balances([payer.user.id, payee.user.id]) == {
        payer.user.id: Decimal(6),
        payee.user.id: Decimal("4.5"),
    }


async def test_spent_credits_are_seen_at_once(deal: Deal) -> None:
    user = await deal.users.create()
    await deal.credits.credit(user.id, "purchase", 100)
    assert await deal.user_cache.credit_balance(user.id) == 100
    await deal.credits.charge_for_operation(user.id, "image_generation")
    assert await deal.user_cache.credit_balance(user.id) == 90


async def test_a_tier_that_another_process_changed_is_seen_through_the_shared_store() -> None:
    shared = {**FAST_CHAIN, "redis_url": "memory://two-processes", "cache_local_entries": 100}
    async with Deal.open(**shared) as deal:
        user = await deal.users.create()
        assert (await deal.user_cache.profile(user.id)).tier == "Gift"
        async with Deal.open(**shared) as other:
            await other.user_cache.invalidate(user.id)
            await deal.users.set_tier(user.id, "Business")
        assert (await deal.user_cache.profile(user.id)).tier == "Business"
