"""The demo's story: the same history of every balance at each run, whatever lands first."""

from __future__ import annotations

from collections.abc import Awaitable

from deal_sdk import Deal
from deal_sdk.cli.demo_story import Story
from deal_sdk.records import Transaction


class Unseen:
    """Shows no step."""

    def step(self, description: str) -> None:
        pass


class Watched(Story):
    """Keeps which payments were under way at once."""

    def __init__(self, deal: Deal) -> None:
        super().__init__(deal, Unseen())
        self.at_once: list[list[Transaction]] = []

    async def _pay(self, *payments: Awaitable[Transaction]) -> None:
        before = len(self.payments)
        await super()._pay(*payments)
        self.at_once.append(self.payments[before:])


async def test_payments_at_once_share_no_user(deal: Deal) -> None:
    story = Watched(deal)
    await story.play()

    for payments in story.at_once:
        users = [user for payment in payments for user in users_of(payment)]
        assert len(users) == len(set(users)), [payment.reason for payment in payments]
    # Those of the burst share theirs, and are all alike instead.
    burst = story.payments[sum(map(len, story.at_once)) :]
    assert len({(payment.from_user_id, payment.to_user_id, payment.amount) for payment in burst}) == 1


def users_of(payment: Transaction) -> list[object]:
    return [user for user in (payment.from_user_id, payment.to_user_id) if user is not None]
