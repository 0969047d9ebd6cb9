"""Rewards: payments from the operator's reward wallet, recorded with what they were earned for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from deal_sdk.amounts import Amount, parse_amount
from deal_sdk.chain import MintFacts
from deal_sdk.errors import InvalidInputError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.batches import (
    BatchCost,
    BatchDistributor,
    BatchOptions,
    BatchProgress,
    BatchReport,
    LookupTables,
    RewardLine,
    TableReport,
    check_reward_type,
    read_batch_file,
)
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.parties import PartyReference, PartyResolver
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

REWARD_WALLET: Final = "reward"


class RewardDistributor:
    """Pays rewards out of the reward wallet; users' limits do not bind them."""

    def __init__(
        self,
        *,
        mint: MintFacts,
        admission: Admission,
        parties: PartyResolver,
        batches: BatchDistributor,
        tables: LookupTables,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._mint = mint
        self._admission = admission
        self._parties = parties
        self._batches = batches
        self._tables = tables

    async def distribute_reward(
        self,
        user_id: UUID | PartyReference,
        reward_type: str,
        amount: Amount,
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Pay one reward and record what it was for.

        Args:
            user_id: a user's UUID, or an address.
            reward_type: 1 to 64 characters, such as "referral".
            amount: whole DEAL as `str` or `Decimal`.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            InvalidInputError: for a reward type that is no name.
            InsufficientBalanceError: when the reward wallet holds less.
        """
        check_reward_type(reward_type)
        units = parse_amount(amount, decimals=self._mint.decimals)

        async def draft() -> Draft:
            sender = await self._parties.resolve(REWARD_WALLET)
            recipient = await self._parties.resolve(user_id)
            if sender.token_account == recipient.token_account:
                raise InvalidInputError("the reward wallet cannot reward itself")
            plan = Plan(
                "transfer", sender.address, sender.token_account, recipient.token_account, recipient.address
            )
            return Draft(units, plan, sender, recipient, debits=True, reward_type=reward_type)

        inputs = {"to": user_id, "reward_type": reward_type, "amount": units}
        options = PaymentOptions(reward_type, idempotency_key, wait_for)
        return await self._admission.pay("reward", inputs, options, draft)

    async def distribute_batch(
        self,
        lines: Sequence[RewardLine] | str | Path,
        *,
        batch_key: str,
        reward_type: str | None = None,
        wait_for: WaitFor = "confirmed",
        timeout_seconds: float | None = None,
        on_progress: Callable[[BatchProgress], None] | None = None,
    ) -> BatchReport:
        """Pay thousands of rewards, many in one transaction, each recipient exactly once.

        Nothing is paid before every line is proven. Called again with the same lines and key, it goes on
        where it was, after a crash too, and pays nobody twice. A recipient that cannot be paid (a frozen
        account, say) ends as failed in the report and holds up nobody else.

        Args:
            lines: the rewards, or the path of a CSV, JSON or JSON Lines file; see `read_batch_file`.
            batch_key: names this payout, 1 to 200 characters.
            reward_type: for lines of a file that name none.
            wait_for: "recorded", "confirmed" or "finalized", for all of them.
            timeout_seconds: how long to wait; without it, as long as it takes.
            on_progress: called with every change.

        Returns:
            What became of each line; `unpaid` names those that provably were not paid.

        Raises:
            BatchInvalidError: naming every line that cannot be paid; nothing was recorded.
            IdempotencyConflictError: when the key was used for other lines.
            InsufficientBalanceError, SafetyRailError, FeePayerError, PaymentsPausedError: what is not
                recorded yet is not paid; the same call goes on when the cause is gone.
            BatchPendingError: when the time runs out first; the batch goes on.
        """
        lines = await _read(lines, reward_type)
        options = BatchOptions(wait_for, timeout_seconds, on_progress)
        return await self._batches.distribute(lines, batch_key, REWARD_WALLET, options)

    async def estimate_batch(
        self, lines: Sequence[RewardLine] | str | Path, *, batch_key: str, reward_type: str | None = None
    ) -> BatchCost:
        """Prove every line and count what the batch will take, without recording anything.

        Of a batch that was begun, what is left is counted.

        Args:
            lines: as for `distribute_batch`.
            batch_key: as for `distribute_batch`.
            reward_type: as for `distribute_batch`.

        Raises:
            BatchInvalidError: naming every line that cannot be paid.
            IdempotencyConflictError: when the key was used for other lines.
        """
        lines = await _read(lines, reward_type)
        return await self._batches.estimate(lines, batch_key, REWARD_WALLET)

    async def batch_report(self, batch_key: str) -> BatchReport:
        """Report on a batch from the records alone.

        Raises:
            PaymentNotFoundError: when no batch has the key.
        """
        return await self._batches.report(batch_key)

    async def lookup_tables(self) -> list[TableReport]:
        """List the address lookup tables that batches made, with the rent that each one locks.

        Raises:
            ChainError: when they could not be read.
        """
        return await self._tables.report()

    async def close_lookup_tables(self) -> list[TableReport]:
        """Begin to close every lookup table, and finish those whose cooldown is over; the rent comes back.

        Returns:
            Those that are left; call again when their cooldown of some four minutes is over.

        Raises:
            PaymentsPausedError, FeePayerError, ChainError: what was not done is done by the next call.
        """
        return await self._tables.close()


async def _read(lines: Sequence[RewardLine] | str | Path, reward_type: str | None) -> Sequence[RewardLine]:
    if isinstance(lines, str | Path):
        return await asyncio.to_thread(read_batch_file, lines, reward_type=reward_type)
    return lines
