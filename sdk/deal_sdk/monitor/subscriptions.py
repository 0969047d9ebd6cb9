"""Subscriptions to wallets: every buy of a watched wallet, checked, counted and handed to an executor.

Owns what callers see of it. A buy may be told any number of times, by a webhook and by the monitor: what it
means for a subscription is one row, committed before anything is done about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from deal_sdk.limits.ids import UserKey
from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.monitor.helius import DEFAULT_PAYING_MINTS, parse_buys
from deal_sdk.monitor.purchase_runs import HOLD_SECONDS, Executor, PurchaseRuns
from deal_sdk.monitor.purchase_store import DEFAULT_KEPT_SECONDS, PurchaseStore
from deal_sdk.monitor.subscription_store import SubscriptionStore
from deal_sdk.monitor.subscription_values import TRADE, Subscription, SubscriptionPurchase
from deal_sdk.monitor.webhook_intake import WebhookIntake

MAX_TAKEN_OVER: Final = 256


class SubscriptionRouter:
    """Adds subscriptions, takes in buys, and leads each to its end."""

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        purchases: PurchaseStore,
        runs: PurchaseRuns,
        *,
        paying_mints: Collection[str] = DEFAULT_PAYING_MINTS,
        webhook_authorization: SecretStr | None = None,
    ) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            subscriptions: their rows.
            purchases: the rows of what buys lead to.
            runs: carries purchases to their ends.
            paying_mints: what is paid with; to get one of them is no buy.
            webhook_authorization: what a webhook's requests must show; see `webhook`.
        """
        self._subscriptions = subscriptions
        self._purchases = purchases
        self._runs = runs
        self._paying_mints = frozenset(paying_mints)
        self._webhook_authorization = webhook_authorization

    async def add(
        self,
        user_id: UserKey,
        kol_wallet: str,
        *,
        type: str = TRADE,
        token_buy_count: int | None = None,
        watch_config: Mapping[str, Any] | None = None,
    ) -> Subscription:
        """Follow a wallet's buys for a user from now on; see `SubscriptionStore.add`."""
        return await self._subscriptions.add(
            user_id, kol_wallet, type=type, token_buy_count=token_buy_count, watch_config=watch_config
        )

    async def list(
        self, *, user_id: UserKey | None = None, kol_wallet: str | None = None
    ) -> tuple[Subscription, ...]:
        """Return active subscriptions; see `SubscriptionStore.list`."""
        return await self._subscriptions.list(user_id=user_id, kol_wallet=kol_wallet)

    async def remove(self, subscription_id: UUID | str) -> None:
        """Stop following; see `SubscriptionStore.remove`."""
        await self._subscriptions.remove(subscription_id)

    async def purchases(
        self, *, subscription_id: UUID | str | None = None, limit: int = 100
    ) -> tuple[SubscriptionPurchase, ...]:
        """Return what buys led to, the newest first; see `PurchaseStore.purchases`."""
        return await self._purchases.purchases(subscription_id=subscription_id, limit=limit)

    async def cleanup(self, kept_seconds: int = DEFAULT_KEPT_SECONDS) -> int:
        """Delete purchases that ended long ago; see `PurchaseStore.delete_ended`."""
        return await self._purchases.delete_ended(kept_seconds)

    async def start(self, executor: Executor) -> int:
        """Hand purchases to an executor from now on, and carry on what an earlier process left.

        Without it, buys are taken in and wait in the database for a process that has one.

        Args:
            executor: buys; see `Executor`.

        Returns:
            How many purchases were carried on.

        Raises:
            DatabaseError: when what was left could not be read; the executor is in use all the same.
        """
        self._runs.use(executor)
        return await self.recover()

    def webhook(self) -> WebhookIntake:
        """Return what answers a webhook's requests, in Starlette or any other framework.

        Raises:
            ConfigurationError: when the setting buy_webhook_authorization is missing or too short.
        """
        return WebhookIntake(self, self._webhook_authorization)

    async def handle_payload(self, body: bytes) -> tuple[SubscriptionPurchase, ...]:
        """Take in the buys of a Helius webhook's body, which someone else has authenticated.

        Args:
            body: as it arrived.

        Raises:
            PayloadMalformedError: when it is no list of enhanced transactions; nothing was taken then.
            DatabaseError: when it could not be recorded; the sender must send it again.
        """
        return await self.handle_buys(parse_buys(body, paying_mints=self._paying_mints))

    async def handle_buys(self, buys: Sequence[WatchedBuy]) -> tuple[SubscriptionPurchase, ...]:
        """Take in buys from any source.

        Args:
            buys: a buy that was told before changes nothing.

        Returns:
            One purchase for each buy and subscription to its wallet: recorded and under way, or as it
            was found (`is_duplicate`).

        Raises:
            DatabaseError: when they could not be recorded; nothing was done then.
        """
        held_until = self._purchases.held_for(HOLD_SECONDS if self._runs.is_ready else 0)
        taken = await self._purchases.receive(buys, held_until)
        self._runs.carry(purchase for purchase in taken if not purchase.is_duplicate)
        return taken

    async def recover(self) -> int:
        """Carry on what nobody holds any more, and return how many that were.

        Raises:
            DatabaseError: when they could not be read.
        """
        return await self._runs.take_over(limit=MAX_TAKEN_OVER)

    async def settled(self) -> None:
        """Wait until all that was begun here has ended, or was left for a later try."""
        await self._runs.settled()

    async def close(self) -> None:
        """Let executors end, or cancel them after a while."""
        await self._runs.close()


class SubscriptionJob:
    """Looks for purchases that nobody carries on."""

    def __init__(self, router: SubscriptionRouter, *, interval_seconds: float) -> None:
        """Look at intervals."""
        self._router = router
        self._interval_seconds = interval_seconds

    @property
    def name(self) -> str:
        """Return the job's name."""
        return "subscriptions"

    @property
    def interval_seconds(self) -> float:
        """Return how long to wait between two looks."""
        return self._interval_seconds

    async def run_once(self) -> None:
        """Carry on what is free now."""
        await self._router.recover()
