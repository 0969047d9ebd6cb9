"""What a batch will take, counted before anything is paid."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import uuid4

from deal_sdk.amounts import DEAL_DECIMALS, format_amount
from deal_sdk.chain import MintFacts, Rpc, token_account_size_bytes
from deal_sdk.errors import FeePayerError
from deal_sdk.payments.batches.building import Group, build
from deal_sdk.payments.batches.packing import Frame, pack, used_tables
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.batches.tables import LookupTables
from deal_sdk.payments.fees import TransactionFees

MIN_LEFT_LAMPORTS: Final = 5_000_000
"""What the fee payer keeps: the payments that go on beside a batch need some too."""


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Tokens in base units, fees and rent in lamports, and in how many transactions."""

    recipients: int
    replayed: int
    """Lines whose own keys were used before; nothing is paid for them."""
    tokens_base_units: int
    transactions: int
    fee_lamports: int
    accounts_to_create: int
    rent_lamports: int
    lookup_tables: int
    """That are made for it, because they save more than they take."""
    locked_lamports: int
    """Their rent, which comes back when they are closed."""
    lookup_table_seconds: float
    """By how much they delay the last payment."""

    @property
    def lamports(self) -> int:
        """Return what the fee payer will have spent, without what is only locked."""
        return self.fee_lamports + self.rent_lamports

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the cost as JSON-serialisable data, the tokens as text in whole tokens."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        tokens = format_amount(plain.pop("tokens_base_units"), decimals=decimals)
        return {"tokens": tokens, **plain, "lamports": self.lamports}


class CostEstimator:
    """Counts what shares will take, as they would be packed."""

    def __init__(self, rpc: Rpc, mint: MintFacts, fees: TransactionFees, tables: LookupTables) -> None:
        """Wire the parts; nothing is read yet."""
        self._rpc = rpc
        self._fees = fees
        self._tables = tables
        self._size_bytes = token_account_size_bytes(mint)

    async def estimate(self, frame: Frame, shares: Sequence[Share], *, replayed: int) -> BatchCost:
        """Count the transactions, fees and rent of shares.

        Args:
            frame: what the transactions have in common.
            shares: as the chain's accounts want them paid.
            replayed: lines that are not among the shares because they are paid already.

        Raises:
            ChainError: when the rent could not be read.
        """
        frame, plan = await self._tables.plan(frame, shares)
        groups = await asyncio.to_thread(pack, frame, shares)
        created = {share.account for share in shares if share.creates_account}
        rent = await self._rpc.get_minimum_balance_for_rent_exemption(self._size_bytes) if created else 0
        return BatchCost(
            recipients=len(shares),
            replayed=replayed,
            tokens_base_units=sum(share.amount for share in shares),
            transactions=len(groups) - plan.spared + plan.extensions,
            fee_lamports=len(groups) * await self._fee_lamports(frame, groups, rent) - plan.saved_lamports,
            accounts_to_create=len(created),
            rent_lamports=len(created) * rent,
            lookup_tables=len(plan.tables),
            locked_lamports=plan.locked_lamports,
            lookup_table_seconds=plan.wait_seconds,
        )

    async def _fee_lamports(self, frame: Frame, groups: Sequence[Sequence[Share]], rent: int) -> int:
        """Price the first group, which is as full as any."""
        if not groups:
            return 0
        group = Group(uuid4(), tuple(groups[0]))
        tables = used_tables(frame, group.shares)
        priced = await self._fees.price(build(frame, group), lookup_tables=tables)
        return priced.lamports - rent * sum(share.creates_account for share in group.shares)

    async def check_fee_payer(self, frame: Frame, cost: BatchCost) -> None:
        """Make sure that the fee payer has what a batch will take, before any of it is recorded.

        Raises:
            FeePayerError: saying how much it holds and needs.
            ChainError: when its lamports could not be read.
        """
        held = await self._rpc.get_balance(frame.fee_payer)
        required = cost.lamports + cost.locked_lamports + MIN_LEFT_LAMPORTS
        if held < required:
            raise FeePayerError(
                f"the fee payer {frame.fee_payer} holds {held} lamports; this batch needs {required}",
                address=str(frame.fee_payer),
                lamports=held,
                required_lamports=required,
            )
