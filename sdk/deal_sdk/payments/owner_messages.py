"""What an owner's wallet is asked to sign, and the backend's own signature beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.chain import (
    SignedTransaction,
    UnsignedTransaction,
    check_signed,
    join_signatures,
    prepare_transaction,
)
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.signing import PaymentSigner

_REFERENCE_DOMAIN: Final = b"deal_sdk reference 1"


def reference_of(payment_id: UUID, number: int) -> Pubkey:
    """Return the address that one prepared transaction names and nothing else on the chain does.

    By its history a transaction is found that its owner sent without us, whatever its signature is.

    Args:
        payment_id: the payment.
        number: which of its prepared transactions, from 1.
    """
    return Pubkey.from_bytes(
        hashlib.sha256(_REFERENCE_DOMAIN + payment_id.bytes + number.to_bytes(4, "big")).digest()
    )


class OwnerMessages:
    """Composes messages for owners' wallets, and completes what comes back."""

    def __init__(self, signer: PaymentSigner) -> None:
        """Compose as the backend's own transactions are composed; nothing is read yet."""
        self._signer = signer

    async def compose(
        self, payment_id: UUID, plan: Plan, amount_base_units: int, *, number: int
    ) -> UnsignedTransaction:
        """Build what the owner is to sign, on a fresh blockhash.

        Args:
            payment_id: goes into the memo.
            plan: says whether the owner also pays the fee.
            amount_base_units: how much.
            number: which of the payment's prepared transactions, from 1.
        """
        if plan.signed_by == "owner_alone":
            payer = Pubkey.from_string(plan.authority)
            built = await self._signer.instructions_for(payment_id, plan, amount_base_units, payer=payer)
            steps: Sequence[Instruction] = [*built[:-1], _naming(built[-1], reference_of(payment_id, number))]
        else:
            payer = self._signer.fees.payer
            built = await self._signer.instructions_for(payment_id, plan, amount_base_units)
            steps = (await self._signer.fees.price(built)).instructions
        return prepare_transaction(steps, payer=payer, blockhash=await self._signer.blockhashes.get())

    def check(self, transaction: UnsignedTransaction, plan: Plan, returned: bytes) -> list[Signature]:
        """Return the signatures of what a wallet returned, once it is proven to be what was prepared.

        Args:
            transaction: what was prepared.
            plan: says whether the backend's signature may be missing.
            returned: the whole transaction as the wallet gave it.

        Raises:
            PreparedTransactionChangedError, InvalidSignatureError, InvalidInputError: naming what is wrong.
        """
        return check_signed(transaction.message_bytes, returned, may_lack=_backend_in(transaction, plan))

    async def complete(
        self, transaction: UnsignedTransaction, plan: Plan, returned: bytes
    ) -> SignedTransaction:
        """Check what a wallet returned and sign it, last of all, where the backend pays the fee.

        Args:
            transaction: what was prepared.
            plan: says whether the backend signs too.
            returned: the whole transaction as the wallet gave it.

        Raises:
            PreparedTransactionChangedError, InvalidSignatureError, InvalidInputError: nothing was signed.
            KeystoreError: when the fee payer's key cannot be used now.
        """
        message_bytes = transaction.message_bytes
        signatures = self.check(transaction, plan, returned)
        backend = _backend_in(transaction, plan)
        if backend is not None:
            signer = await self._signer.keystore.signer(str(backend))
            signatures[0] = await signer.sign(message_bytes)
        return SignedTransaction(
            signature=str(signatures[0]),
            raw_bytes=join_signatures(signatures, message_bytes),
            last_valid_block_height=transaction.last_valid_block_height,
            context_slot=transaction.context_slot,
        )


def _backend_in(transaction: UnsignedTransaction, plan: Plan) -> Pubkey | None:
    return None if plan.signed_by == "owner_alone" else transaction.signers[0]


def _naming(movement: Instruction, reference: Pubkey) -> Instruction:
    """Return a token instruction that also names an address; the programs look at no further accounts."""
    accounts = [*movement.accounts, AccountMeta(reference, is_signer=False, is_writable=False)]
    return Instruction(movement.program_id, movement.data, accounts)
