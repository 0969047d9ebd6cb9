"""From a plan to signed bytes: instructions, a fresh blockhash, and the keys that the backend holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    BlockhashSource,
    KeypairSigner,
    Keystore,
    MintFacts,
    Rpc,
    SignedTransaction,
    Signer,
    build_and_sign,
    instructions,
)
from deal_sdk.errors import (
    ConfigurationError,
    FeePayerError,
    InvalidInputError,
    SignatureRequiredError,
    TokenError,
)
from deal_sdk.payments.fees import TransactionFees
from deal_sdk.payments.orders import PROGRAM_KINDS, Plan

logger = logging.getLogger(__name__)

MAX_KNOWN_ACCOUNTS: Final = 100_000


def payment_memo(payment_id: UUID) -> str:
    """Return the memo that makes each payment's bytes, and so its signature, its own.

    Two payments of one amount between the same wallets on one blockhash would otherwise be one and the
    same transaction, which lands once.
    """
    return f"deal:{payment_id}"


class ProgramInstructions(Protocol):
    """Builds the instructions of the program deal_allowance."""

    async def movement(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> Instruction:
        """Return the instruction that carries a plan out; for a charge, once it is its turn."""
        ...


class PaymentSigner:
    """Builds and signs plans for one mint; one fee payer pays for all of them."""

    def __init__(
        self,
        *,
        mint: MintFacts,
        rpc: Rpc,
        keystore: Keystore,
        blockhashes: BlockhashSource,
        fees: TransactionFees,
    ) -> None:
        """Wire the parts; nothing is read before the first use."""
        self.program: ProgramInstructions | None = None
        self._mint = mint
        self._rpc = rpc
        self.keystore = keystore
        self.blockhashes = blockhashes
        self.fees = fees
        self._known_accounts: set[Pubkey] = set()

    async def check(self, plan: Plan) -> None:
        """Make sure, before anything is recorded, that the backend can do its part of the signing.

        Raises:
            SignatureRequiredError: when the backend holds no key for the authority or the fee payer.
            FeePayerError: when the fee payer's lamports do not suffice.
        """
        if plan.signed_by == "owner_alone":
            return
        if plan.signed_by == "backend":
            await self.keystore.signer(plan.authority)
        await self.keystore.signer(str(self.fees.payer))
        try:
            await self.fees.require(new_accounts=0 if self._exists(plan) else 1)
        except FeePayerError:
            # Whether the account must be created is worth a look only when the rent is the question.
            created = await self._account_creation(plan, self.fees.payer)
            await self.fees.require(new_accounts=len(created))

    async def can_sign(self, address: str) -> bool:
        """Return whether the backend holds the key of an address.

        Raises:
            KeystoreError: when the key is here and does not open.
        """
        try:
            await self.keystore.signer(address)
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
        built = await self.instructions_for(payment_id, plan, amount_base_units)
        return await self.sign_instructions(built, _authority(plan, built[-1]))

    async def instructions_for(
        self, payment_id: UUID, plan: Plan, amount_base_units: int, *, payer: Pubkey | None = None
    ) -> list[Instruction]:
        """Build what carries a plan out, without a compute budget; the movement itself comes last.

        Args:
            payment_id: goes into the memo.
            plan: what to move.
            amount_base_units: how much.
            payer: pays the rent of the recipient's token account where it is missing; by default the fee
                payer.
        """
        return [
            *await self._account_creation(plan, payer or self.fees.payer),
            instructions.memo(payment_memo(payment_id)),
            await self._program_movement(payment_id, plan, amount_base_units)
            or self._movement(plan, amount_base_units),
        ]

    async def sign_early(
        self, payment_id: UUID, plan: Plan, amount_base_units: int
    ) -> SignedTransaction | None:
        """Sign a plan that is not recorded yet, where that takes nobody else's answer, or return None.

        What is signed here is committed together with its payment, in one transaction instead of two.
        """
        if plan.kind == "charge":
            # Its sequence is taken in turn, and only a recorded payment has a turn.
            return None
        for address in (plan.authority, str(self.fees.payer)):
            if not isinstance(await self.keystore.signer(address), KeypairSigner):
                return None
        try:
            return await self.sign(payment_id, plan, amount_base_units)
        except TokenError as error:
            # The payment may be recorded all the same: its driver signs as soon as that can be done.
            logger.info("payment %s is signed later: %s", payment_id, error.message)
            return None

    async def sign_instructions(
        self,
        built: Sequence[Instruction],
        authority: Pubkey,
        *,
        lookup_tables: Sequence[AddressLookupTableAccount] = (),
    ) -> SignedTransaction:
        """Sign instructions, their compute budget before them, for the fee payer and an authority.

        Args:
            built: without a compute budget.
            authority: who signs beside the fee payer; it may be the same.
            lookup_tables: tables whose addresses need one byte each.

        Raises:
            FeePayerError: when the fee payer cannot pay for it; nothing was signed.
        """
        payer: Signer = await self.keystore.signer(str(self.fees.payer))
        signer = await self.keystore.signer(str(authority))
        priced = await self.fees.price(built, lookup_tables=lookup_tables)
        await self.fees.take(priced)
        blockhash = await self.blockhashes.get()
        return await build_and_sign(
            priced.instructions,
            payer=payer,
            signers=[signer],
            blockhash=blockhash,
            lookup_tables=lookup_tables,
        )

    def _exists(self, plan: Plan) -> bool:
        return plan.destination is None or Pubkey.from_string(plan.destination) in self._known_accounts

    async def _account_creation(self, plan: Plan, payer: Pubkey) -> list[Instruction]:
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
                payer=payer,
                owner=owner,
                mint=self._mint.address,
                program_id=self._mint.program_id,
            )
        ]

    async def _program_movement(
        self, payment_id: UUID, plan: Plan, amount_base_units: int
    ) -> Instruction | None:
        if plan.kind not in PROGRAM_KINDS:
            return None
        if self.program is None:
            raise ConfigurationError("this process does not know the on-chain program")
        return await self.program.movement(payment_id, plan, amount_base_units)

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


def _authority(plan: Plan, movement: Instruction) -> Pubkey:
    """Return who signs a movement; the merchant's authority may be another one since the payment's record."""
    if plan.kind not in PROGRAM_KINDS:
        return Pubkey.from_string(plan.authority)
    return next(meta.pubkey for meta in movement.accounts if meta.is_signer)


def _account(address: str | None) -> Pubkey:
    if address is None:
        raise InvalidInputError("the plan names no token account")
    return Pubkey.from_string(address)
