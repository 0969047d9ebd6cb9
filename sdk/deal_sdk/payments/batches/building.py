"""From a group of shares to signed bytes: one transaction that pays all of them or nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from solders.instruction import Instruction

from deal_sdk.chain import SignedTransaction, instructions
from deal_sdk.payments.batches.packing import Frame, used_tables
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.signing import PaymentSigner, payment_memo


@dataclass(frozen=True, slots=True)
class Group:
    """Shares that one transaction carries; the carrier's id is in its memo."""

    carrier_id: UUID
    shares: tuple[Share, ...]


def group_memo(carrier_id: UUID) -> str:
    """Return the memo of a transaction that carries several payments.

    It makes the bytes, and so the signature, its own, and leads from the chain to the record.
    """
    return f"deal:batch:{carrier_id}"


def build(frame: Frame, group: Group) -> list[Instruction]:
    """Return the group's instructions: its memo, then each share's account, memo and transfer."""
    built = [instructions.memo(group_memo(group.carrier_id))]
    mint = frame.mint
    for share in group.shares:
        if share.creates_account:
            built.append(
                instructions.create_associated_account(
                    payer=frame.fee_payer, owner=share.owner, mint=mint.address, program_id=mint.program_id
                )
            )
        if share.wants_memo:
            # The program looks for it right before the transfer.
            built.append(instructions.memo(payment_memo(share.payment_id)))
        built.append(
            instructions.transfer_checked(
                source=frame.source,
                mint=mint.address,
                destination=share.account,
                authority=frame.authority,
                amount_base_units=share.amount,
                decimals=mint.decimals,
                program_id=mint.program_id,
            )
        )
    return built


class GroupSigner:
    """Builds groups in a thread and has them priced and signed like any payment."""

    def __init__(self, signer: PaymentSigner) -> None:
        """Keep who signs; nothing is read before the first use."""
        self._signer = signer

    async def sign(self, frame: Frame, groups: Sequence[Group]) -> list[SignedTransaction]:
        """Build and sign groups, each with a fresh blockhash.

        Args:
            frame: what the transactions have in common.
            groups: each becomes one transaction.

        Raises:
            KeystoreError, SignatureRequiredError: when a key is not there.
            FeePayerError: when the fee payer cannot pay for them.
            ChainError: when no blockhash could be read.
        """
        built = await asyncio.to_thread(lambda: [build(frame, group) for group in groups])
        signed = []
        for group, steps in zip(groups, built, strict=True):
            tables = used_tables(frame, group.shares)
            signed.append(await self._signer.sign_instructions(steps, frame.authority, lookup_tables=tables))
            # Nothing above waits when all is known, and the loop has others to serve.
            await asyncio.sleep(0)
        return signed
