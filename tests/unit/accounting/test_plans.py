"""What tiers and operations were promised to grant and to cost, number by number."""

from __future__ import annotations

from deal_sdk.accounting import DEFAULT_COSTS, OperationType, SubscriptionTier, TierPlans
from deal_sdk.records.tables import users


def test_tiers_grant_and_cost_what_was_promised() -> None:
    assert [(plan.tier, plan.credits, plan.price_rub, plan.needs_channel) for plan in TierPlans()] == [
        ("Gift", 100, 0, True),
        ("Professional", 2_000, 1_990, False),
        ("Business", 10_000, 3_490, False),
    ]
    assert [tier.value for tier in SubscriptionTier] == ["Gift", "Professional", "Business"]


def test_operations_cost_what_was_promised() -> None:
    assert dict(DEFAULT_COSTS) == {
        "image_generation": 10,
        "sora_image": 10,
        "chatgpt_message": 5,
        "refund": 0,
        "purchase": 0,
        "monthly_reset": 0,
    }
    assert {operation.value for operation in OperationType} == set(DEFAULT_COSTS)


def test_a_user_has_the_columns_that_were_promised() -> None:
    promised = {
        *("id", "external_id", "username", "tier", "subscription_expires_at"),
        *("tokens_balance", "tokens_spent", "channel_subscribed_at", "last_gift_claim_at"),
        *("created_at", "updated_at"),
    }
    assert promised <= set(users.columns.keys())
    assert users.c.external_id.unique
