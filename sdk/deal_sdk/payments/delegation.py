"""Approvals: letting a delegate move tokens out of a token account, and knowing whether it still may.

An approval moves nothing, so it is no payment and leaves no row; what it says is on the chain.
"""

from __future__ import annotations

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.amounts import BaseUnits
from deal_sdk.chain import (
    MintFacts,
    Rpc,
    TokenAccountState,
    instructions,
    load_token_account,
)
from deal_sdk.errors import DelegateInUseError, WalletNotFoundError
from deal_sdk.payments.confirmations import Confirmations, unique_memo
from deal_sdk.payments.orders import Party
from deal_sdk.payments.signing import PaymentSigner


class Delegations:
    """Reads and changes the one delegate that a token account has."""

    def __init__(
        self,
        *,
        mint: MintFacts,
        rpc: Rpc,
        signer: PaymentSigner,
        confirmations: Confirmations,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._mint = mint
        self._rpc = rpc
        self._signer = signer
        self._confirmations = confirmations

    async def approve(
        self, owner: Party, delegate: Party, amount_base_units: BaseUnits, *, replace: bool
    ) -> str:
        """Approve a delegate, replacing another live one only when told to.

        Raises:
            DelegateInUseError: when another delegate is live and `replace` is False.
            WalletNotFoundError: when the owner has no token account yet.
        """
        state = await self._state(owner)
        if state is None:
            raise WalletNotFoundError(
                "the owner has no token account for this mint yet", address=owner.address
            )
        live = state.live_delegate
        if live is not None and str(live) != delegate.address and not replace:
            raise DelegateInUseError(
                "the token account has another live delegate; approve with replace=True to end it",
                token_account=owner.token_account,
                delegate=str(live),
            )
        owner_address = Pubkey.from_string(owner.address)
        instruction = instructions.approve_checked(
            source=state.address,
            mint=self._mint.address,
            delegate=Pubkey.from_string(delegate.address),
            owner=owner_address,
            amount_base_units=amount_base_units,
            decimals=self._mint.decimals,
            program_id=self._mint.program_id,
        )
        return await self._confirm(instruction, owner_address)

    async def revoke(self, owner: Party) -> str:
        """End the token account's approval, whoever has it."""
        owner_address = Pubkey.from_string(owner.address)
        instruction = instructions.revoke(
            source=Pubkey.from_string(owner.token_account),
            owner=owner_address,
            program_id=self._mint.program_id,
        )
        return await self._confirm(instruction, owner_address)

    async def allowance(self, owner: Party, delegate: Party) -> int:
        """Return what the delegate may still move, in base units."""
        state = await self._state(owner)
        if state is None or state.live_delegate is None or str(state.live_delegate) != delegate.address:
            return 0
        return state.delegated_base_units

    async def _state(self, owner: Party) -> TokenAccountState | None:
        return await load_token_account(self._rpc, Pubkey.from_string(owner.token_account))

    async def _confirm(self, instruction: Instruction, owner_address: Pubkey) -> str:
        signed = await self._signer.sign_instructions([unique_memo(), instruction], owner_address)
        return await self._confirmations.confirm("the approval", signed)
