"""What owners sign about their allowances: opening, changing and closing them.

None of it moves tokens, so none of it is a payment. What an owner's wallet is asked to sign is kept byte
for byte, because the backend signs as fee payer, and would sign whatever it was handed otherwise.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    SignedTransaction,
    check_signed,
    join_signatures,
    prepare_transaction,
)
from deal_sdk.payments.allowances.prepared_rows import PreparedAllowanceStore
from deal_sdk.payments.confirmations import Confirmations, unique_memo
from deal_sdk.payments.signing import PaymentSigner


@dataclass(frozen=True, slots=True)
class PreparedAllowance:
    """What an owner's wallet is asked to sign about an allowance, and until when its signature counts."""

    id: UUID
    """Names it to `submit_signed`."""
    transaction: str
    """The unsigned v0 transaction in base64, as wallets take it."""
    description: str
    """What it does, in plain words."""
    signer: str
    fee_payer: str
    last_valid_block_height: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data, for a front end."""
        return {
            "prepared_id": str(self.id),
            "transaction": self.transaction,
            "description": self.description,
            "signer": self.signer,
            "fee_payer": self.fee_payer,
            "last_valid_block_height": self.last_valid_block_height,
        }


class AllowanceOwners:
    """Has transactions signed by owners, with a key that is here or in their own wallets."""

    def __init__(
        self, *, prepared: PreparedAllowanceStore, signer: PaymentSigner, confirmations: Confirmations
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._prepared = prepared
        self._signer = signer
        self._confirmations = confirmations

    async def sign(self, what: str, steps: Sequence[Instruction], owner: Pubkey) -> str:
        """Sign for an owner whose key is here, send, and return the confirmed signature.

        Args:
            what: names it in errors, such as "the opening".
            steps: without a compute budget.
            owner: signs beside the fee payer.

        Raises:
            SignatureRequiredError: when the key is not here.
            TransactionFailedError, TransactionExpiredError, RpcTimeoutError: see each.
        """
        signed = await self._signer.sign_instructions([unique_memo(), *steps], owner)
        return await self._confirmations.confirm(what, signed)

    async def prepare(
        self, steps: Sequence[Instruction], owner: Pubkey, description: str
    ) -> PreparedAllowance:
        """Keep what an owner's wallet is to sign, and return it."""
        priced = await self._signer.fees.price([unique_memo(), *steps])
        blockhash = await self._signer.blockhashes.get()
        payer = self._signer.fees.payer
        unsigned = prepare_transaction(priced.instructions, payer=payer, blockhash=blockhash)
        identity = await self._prepared.add(owner, unsigned)
        return PreparedAllowance(
            id=identity,
            transaction=base64.b64encode(unsigned.raw_bytes).decode(),
            description=description,
            signer=str(owner),
            fee_payer=str(payer),
            last_valid_block_height=unsigned.last_valid_block_height,
        )

    async def submit(self, prepared_id: UUID, returned: bytes) -> str:
        """Check what came back from the wallet, sign as fee payer, send, and wait until it is confirmed.

        Submitting it again follows the same transaction.

        Raises:
            PreparedTransactionNotFoundError: for another id, or one of over a week ago.
            PreparedTransactionChangedError, InvalidSignatureError, InvalidInputError: nothing was sent.
            TransactionFailedError, TransactionExpiredError, RpcTimeoutError: see each.
        """
        unsigned = await self._prepared.get(prepared_id)
        payer = unsigned.signers[0]
        signatures = check_signed(unsigned.message_bytes, returned, may_lack=payer)
        signer = await self._signer.keystore.signer(str(payer))
        signatures[0] = await signer.sign(unsigned.message_bytes)
        signed = SignedTransaction(
            signature=str(signatures[0]),
            raw_bytes=join_signatures(signatures, unsigned.message_bytes),
            last_valid_block_height=unsigned.last_valid_block_height,
            context_slot=unsigned.context_slot,
        )
        await self._prepared.sign(prepared_id, signed)
        return await self._confirmations.confirm("what the owner signed", signed)
