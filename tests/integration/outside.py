"""Tokens moved as a stranger's wallet would, past the package's records."""

from __future__ import annotations

from typing import Any

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from deal_sdk import Deal
from deal_sdk.chain import Signer, build_and_sign, instructions


async def pay_outside(
    deal: Deal,
    owner: Signer,
    to_address: str,
    amount_base_units: int,
    *,
    reference: str | None = None,
    memo: str | None = None,
) -> None:
    """Transfer tokens, as Solana Pay wallets do with a reference, and wait until that is final."""
    treasury = await deal.keystore.signer_by_name("treasury")
    recipient = Pubkey.from_string(to_address)
    common: dict[str, Any] = {"mint": deal.mint.address, "program_id": deal.mint.program_id}
    transfer = instructions.transfer_checked(
        source=deal.token_account_of(owner.address),
        destination=deal.token_account_of(recipient),
        authority=owner.address,
        amount_base_units=amount_base_units,
        decimals=deal.mint.decimals,
        **common,
    )
    if reference is not None:
        named = AccountMeta(Pubkey.from_string(reference), is_signer=False, is_writable=False)
        transfer = Instruction(transfer.program_id, bytes(transfer.data), [*transfer.accounts, named])
    built = [
        instructions.create_associated_account(payer=treasury.address, owner=recipient, **common),
        *([] if memo is None else [instructions.memo(memo)]),
        transfer,
    ]
    blockhash = await deal.rpc.get_latest_blockhash()
    signed = await build_and_sign(built, payer=treasury, signers=[owner], blockhash=blockhash)
    await deal.rpc.send_transaction(signed.raw_bytes)
    await deal.transaction_monitor.monitor_transaction(signed.signature)
