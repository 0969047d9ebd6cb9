"""From a plan to signed bytes: instructions, a fresh blockhash, and the keys that the backend holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    BlockhashSource,
    Keystore,
    MintFacts,
    Rpc,
    SignedTransaction,
    Signer,
    build_and_sign,
    instructions,
)
from deal_sdk.clock import Clock
from deal_sdk.errors import FeePayerError, InvalidInputError, SignatureRequiredError
from deal_sdk.payments.orders import Plan

MAX_KNOWN_ACCOUNTS: Final = 100_000
FEE_CHECK_INTERVAL_SECONDS: Final = 10.0
MIN_FEE_PAYER_LAMPORTS: Final = 5_000_000
"""About two token accounts' rent and some hundred fees; below it the next payment may not land."""


def payment_memo(payment_id: UUID) -> str:
    """Return the memo that makes each payment's bytes, and so its signature, its own.

    Two payments of one amount between the same wallets on one blockhash would otherwise be one and the
    same transaction, which lands once.
    """
    return f"deal:{payment_id}"


class PaymentSigner:
    """Builds and signs plans for one mint, with one fee payer."""

    def __init__(
        self,
        *,
        mint: MintFacts,
        rpc: Rpc,
        keystore: Keystore,
        blockhashes: BlockhashSource,
        fee_payer: Pubkey,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing is read before the first use."""
        self._mint = mint
        self._rpc = rpc
        self._keystore = keystore
        self._blockhashes = blockhashes
        self._fee_payer = fee_payer
        self._clock = clock
        self._known_accounts: set[Pubkey] = set()
        self._fees_checked_at_seconds: float | None = None

    async def check(self, plan: Plan) -> None:
        """Make sure, before anything is recorded, that the plan can be signed and its fee be paid.

        Raises:
            SignatureRequiredError: when the backend holds no key for the authority.
            FeePayerError: when the fee payer's lamports run out.
        """
        await self._keystore.signer(plan.authority)
        await self._check_fee_payer()

    async def can_sign(self, address: str) -> bool:
        """Return whether the backend holds the key of an address.

        Raises:
            KeystoreError: when the key is here and does not open.
        """
        try:
            await self._keystore.signer(address)
        except SignatureRequiredError:
            return False
        return True

    async def sign(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> SignedTransaction:
        """Build and sign a plan with a fresh blockhash.

        Args:
            payment_id: goes into the memo.
            plan: what to move.
            amount_base_units: how much.
        """
        built = [
            *await self._account_creation(plan),
            instructions.memo(payment_memo(payment_id)),
            self._movement(plan, amount_base_units),
        ]
        return await self.sign_instructions(built, Pubkey.from_string(plan.authority))

    async def sign_instructions(self, built: Sequence[Instruction], authority: Pubkey) -> SignedTransaction:
        """Sign instructions as one transaction of the fee payer and an authority."""
        payer: Signer = await self._keystore.signer(str(self._fee_payer))
        signer = await self._keystore.signer(str(authority))
        blockhash = await self._blockhashes.get()
        return await build_and_sign(built, payer=payer, signers=[signer], blockhash=blockhash)

    async def _account_creation(self, plan: Plan) -> list[Instruction]:
        """Create the recipient's token account where it is missing; harmless when it appears meanwhile."""
        if plan.destination is None or plan.destination_owner is None:
            return []
        account = Pubkey.from_string(plan.destination)
        if account in self._known_accounts:
            return []
        if (await self._rpc.get_token_balance(account)).exists:
            if len(self._known_accounts) >= MAX_KNOWN_ACCOUNTS:
                self._known_accounts.clear()
            self._known_accounts.add(account)
            return []
        owner = Pubkey.from_string(plan.destination_owner)
        return [
            instructions.create_associated_account(
                payer=self._fee_payer,
                owner=owner,
                mint=self._mint.address,
                program_id=self._mint.program_id,
            )
        ]

    def _movement(self, plan: Plan, amount_base_units: int) -> Instruction:
        mint, program_id, decimals = self._mint.address, self._mint.program_id, self._mint.decimals
        authority = Pubkey.from_string(plan.authority)
        if plan.kind == "transfer":
            return instructions.transfer_checked(
                source=_account(plan.source),
                mint=mint,
                destination=_account(plan.destination),
                authority=authority,
                amount_base_units=amount_base_units,
                decimals=decimals,
                program_id=program_id,
            )
        if plan.kind == "mint":
            return instructions.mint_to_checked(
                mint=mint,
                destination=_account(plan.destination),
                authority=authority,
                amount_base_units=amount_base_units,
                decimals=decimals,
                program_id=program_id,
            )
        return instructions.burn_checked(
            source=_account(plan.source),
            mint=mint,
            authority=authority,
            amount_base_units=amount_base_units,
            decimals=decimals,
            program_id=program_id,
        )

    async def _check_fee_payer(self) -> None:
        now = self._clock.monotonic()
        if (
            self._fees_checked_at_seconds is not None
            and now - self._fees_checked_at_seconds < FEE_CHECK_INTERVAL_SECONDS
        ):
            return
        lamports = await self._rpc.get_balance(self._fee_payer)
        if lamports < MIN_FEE_PAYER_LAMPORTS:
            raise FeePayerError(
                f"the fee payer {self._fee_payer} holds {lamports} lamports; "
                f"send it at least {MIN_FEE_PAYER_LAMPORTS}",
                address=str(self._fee_payer),
                lamports=lamports,
                required_lamports=MIN_FEE_PAYER_LAMPORTS,
            )
        self._fees_checked_at_seconds = now


def _account(address: str | None) -> Pubkey:
    if address is None:
        raise InvalidInputError("the plan names no token account")
    return Pubkey.from_string(address)
