"""What verify proves of subscriptions' purchases holds on every database, and names what breaks it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.limits import PurchaseRecords, PurchaseRule
from deal_sdk.monitor import SUBSCRIPTION_INVARIANTS, WatchedBuy
from deal_sdk.monitor.purchase_store import PurchaseStore
from deal_sdk.monitor.subscription_store import SubscriptionStore
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.subscription_tables import subscription_purchases

KOL, MINT = "1" * 32, "So11111111111111111111111111111111111111112"
FIRST = "subscription_purchases_are_counted_first"
AS_BOUGHT = "subscription_purchases_are_counted_as_bought"
WITH_A_REASON = "subscription_purchases_end_with_a_reason"


@pytest.fixture
async def purchase_id(database: Database, manual_clock: ManualClock) -> UUID:
    """A purchase that was counted and made."""
    subscription = await SubscriptionStore(database).add(
        "user", KOL, token_buy_count=2, watch_config={"stop_loss_percentage": 5}
    )
    purchases = PurchaseStore(database)
    (purchase,) = await purchases.receive([WatchedBuy("2" * 88, KOL, MINT, 0)], purchases.held_for(60))
    rule = PurchaseRule("user", MINT, 2, str(subscription.id))
    await PurchaseRecords(database).add_counted(str(purchase.id), rule)
    await purchases.move(purchase, ("received",), state="executed", is_counted=True)
    return purchase.id


async def broken_rules(database: Database) -> dict[str, list[Any]]:
    found = {name: await database.fetch(query) for name, query in SUBSCRIPTION_INVARIANTS.items()}
    return {name: list(rows) for name, rows in found.items() if rows}


async def test_each_rule_names_its_row(database: Database, purchase_id: UUID) -> None:
    assert await broken_rules(database) == {}
    purchase, counted = sa.update(subscription_purchases), sa.update(token_purchases)
    breaches: list[tuple[str, sa.Update, sa.Update]] = [
        (FIRST, purchase.values(is_counted=False), purchase.values(is_counted=True)),
        (WITH_A_REASON, purchase.values(state="unknown"), purchase.values(state="executed")),
        (AS_BOUGHT, counted.values(user_id="x"), counted.values(user_id="user")),
        (AS_BOUGHT, counted.values(token_mint="x"), counted.values(token_mint=MINT)),
        (AS_BOUGHT, counted.values(subscription_id=None), counted.values(subscription_id=None)),
    ]
    for rule, breach, mend in breaches:
        async with database.transaction() as connection:
            await connection.execute(breach)
        found = await broken_rules(database)
        assert {name: rows[0][1] for name, rows in found.items()} == {rule: purchase_id}
        async with database.transaction() as connection:
            await connection.execute(mend)
