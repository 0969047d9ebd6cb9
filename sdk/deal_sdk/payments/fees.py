"""What a payment's transaction costs in SOL: its compute budget, its priority fee, and who pays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    ComputeUnits,
    MintFacts,
    PriorityFees,
    SignedTransaction,
    Verdict,
    exceeded_compute,
    instructions,
    priority_fee_lamports,
    token_account_size_bytes,
)
from deal_sdk.payments.fee_payer import LAMPORTS_PER_SIGNATURE, FeePayer

MAX_BUDGET_BYTES: Final = 52
"""What the two compute budget instructions add to a transaction, their program's address included."""


@dataclass(frozen=True, slots=True)
class PricedInstructions:
    """Instructions with their compute budget before them, and what they cost at most."""

    instructions: tuple[Instruction, ...]
    lamports: int
    """Signatures, priority fee, and the rent of the token accounts that are created."""


class TransactionFees:
    """Prices transactions and makes sure that the fee payer can pay for them."""

    def __init__(
        self,
        *,
        payer: FeePayer,
        units: ComputeUnits,
        priority: PriorityFees,
        mint: MintFacts,
        shared_accounts: frozenset[Pubkey],
    ) -> None:
        """Wire the parts; nothing is read yet.

        Args:
            payer: who pays.
            units: measures compute.
            priority: knows what others pay.
            mint: tells how large token accounts are.
            shared_accounts: those that many transactions write to, by which the priority fee goes.
        """
        self._payer = payer
        self._units = units
        self._priority = priority
        self._token_account_bytes = token_account_size_bytes(mint)
        self._shared_accounts = shared_accounts | {payer.address, mint.address}
        self._last_fee_lamports = 2 * LAMPORTS_PER_SIGNATURE

    @property
    def payer(self) -> Pubkey:
        """Return the fee payer's address."""
        return self._payer.address

    async def require(self, *, new_accounts: int = 0) -> None:
        """Refuse, before anything is recorded, what the fee payer could not pay for.

        Args:
            new_accounts: token accounts that must be created.

        Raises:
            FeePayerError: when its lamports do not suffice.
            ChainError: when nothing is known of them.
        """
        await self._payer.require(self._last_fee_lamports + await self._rents(new_accounts))

    async def price(
        self,
        built: Sequence[Instruction],
        *,
        lookup_tables: Sequence[AddressLookupTableAccount] = (),
    ) -> PricedInstructions:
        """Put the compute budget before instructions that are about to be signed.

        Args:
            built: without a compute budget; leave `MAX_BUDGET_BYTES` of the transaction for it.
            lookup_tables: those that it will be compiled with.

        Raises:
            ChainError: when the rent of a new token account cannot be read.
        """
        limit = await self._units.limit(built, self.payer, lookup_tables=lookup_tables)
        price = await self._priority.micro_lamports(self._contended(built), limit)
        budget = [instructions.compute_unit_limit(limit)]
        if price:
            budget.append(instructions.compute_unit_price(price))
        signers = {meta.pubkey for step in built for meta in step.accounts if meta.is_signer}
        signature_lamports = len(signers | {self.payer}) * LAMPORTS_PER_SIGNATURE
        self._last_fee_lamports = signature_lamports + priority_fee_lamports(limit, price)
        rents = await self._rents(sum(map(instructions.creates_associated_account, built)))
        return PricedInstructions((*budget, *built), self._last_fee_lamports + rents)

    async def take(self, priced: PricedInstructions) -> None:
        """Refuse to sign what the fee payer cannot pay, else count it as spent.

        Raises:
            FeePayerError: when its lamports do not suffice; nothing is signed.
        """
        await self._payer.require(priced.lamports)
        self._payer.spend(priced.lamports)

    def learn(self, transaction: SignedTransaction, verdict: Verdict) -> None:
        """Measure a transaction's shape anew when it ran out of compute units."""
        if not verdict.succeeded and exceeded_compute(verdict.error):
            self._units.exceeded(transaction.raw_bytes)

    async def close(self) -> None:
        """Cancel what is being measured and read."""
        await self._units.close()
        await self._priority.close()
        await self._payer.close()

    async def _rents(self, new_accounts: int) -> int:
        if new_accounts == 0:
            return 0
        return new_accounts * await self._payer.rent_lamports(self._token_account_bytes)

    def _contended(self, built: Sequence[Instruction]) -> set[Pubkey]:
        written = {meta.pubkey for step in built for meta in step.accounts if meta.is_writable}
        return {self.payer} | (written & self._shared_accounts)
