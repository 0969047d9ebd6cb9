"""The part of `AllowanceProgram` that the merchant's authority signs for the merchant itself."""

from __future__ import annotations

from collections.abc import Sequence

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.amounts import Amount
from deal_sdk.chain import parse_address
from deal_sdk.errors import AllowanceError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.allowances.terms import OwnerAllowances
from deal_sdk.payments.orders import Party, Plan
from deal_sdk.payments.parties import TREASURY
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor


class MerchantControl(OwnerAllowances):
    """Pauses the merchant, hands it to another key, and takes tokens back out of its vault."""

    _admission: Admission

    async def set_paused(self, paused: bool) -> str:
        """Stop charges, rewards and new allowances on the chain, or let them go on, for all backends.

        Args:
            paused: whether they stop.

        Returns:
            The confirmed signature.
        """
        merchant = await self._deployment.merchant()
        step = (await self._deployment.client()).set_paused(
            merchant=merchant.address, authority=merchant.authority, paused=paused
        )
        return await self._govern("the pause", [step], merchant.authority)

    async def propose_authority(self, new_authority: str | None) -> str:
        """Name who may take the merchant over, in place of an earlier proposal; nothing changes before that.

        Args:
            new_authority: an address, or None to take a proposal back. It may be one that no key owns, such
                as a multisig's, which then accepts from elsewhere.

        Returns:
            The confirmed signature.

        Raises:
            InvalidWalletAddressError: when it is no address.
            SignatureRequiredError: when the key of the authority of now is not here.
        """
        proposed = None if new_authority is None else parse_address(new_authority)
        merchant = await self._deployment.merchant_now()
        step = (await self._deployment.client()).propose_authority(
            merchant=merchant.address, authority=merchant.authority, new_authority=proposed
        )
        return await self._govern("the proposal", [step], merchant.authority)

    async def accept_authority(self) -> str:
        """Take the merchant over with the proposed key, which must be here; it ends the old one's rights.

        What is under way goes on with the new key. What the old key signed and lands later is refused by the
        program, and signed again once that is finalized.

        Returns:
            The confirmed signature.

        Raises:
            AllowanceError: when nobody is proposed; after a lost reply `merchant` tells who has it.
            SignatureRequiredError: when the proposed key is not here.
        """
        merchant = await self._deployment.merchant_now()
        proposed = merchant.pending_authority
        if proposed is None:
            raise AllowanceError("nobody is proposed to take the merchant over", problem="not_proposed")
        step = (await self._deployment.client()).accept_authority(
            merchant=merchant.address, new_authority=proposed
        )
        return await self._govern("the takeover", [step], proposed)

    async def withdraw_vault(
        self,
        amount: Amount,
        reason: str | None = None,
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Move DEAL from the reward vault back to the treasury, as a payment like every other.

        Args:
            amount: whole DEAL.
            reason: up to 1,000 characters.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            InsufficientBalanceError: when the vault holds less than that beside its payments under way.
            SignatureRequiredError: when the key of the merchant's authority is not here.
            ChargeRefusedError: when the program refused it.
        """
        units = self._units(amount)

        async def draft() -> Draft:
            merchant = await self._deployment.merchant()
            vault = await self._vault()
            treasury = await self._parties.resolve(TREASURY)
            plan = Plan(
                "vault_withdrawal", str(merchant.authority), vault.token_account, str(merchant.treasury), None
            )
            return Draft(units, plan, vault, treasury, debits=True)

        inputs = {"withdraw_vault": True, "amount": units}
        return await self._admission.pay(
            "transfer", inputs, PaymentOptions(reason, idempotency_key, wait_for), draft
        )

    async def _govern(self, what: str, steps: Sequence[Instruction], authority: Pubkey) -> str:
        """Have the merchant changed, and know it as it is now."""
        signature = await self._owners.sign(what, steps, authority)
        await self._deployment.find_merchant()
        return signature

    async def _vault(self) -> Party:
        """Return the vault as a party of payments: its owner is the merchant's address, which has no key."""
        address = await self._deployment.merchant_address()
        return Party(str(address), str(await self._deployment.vault_address()), operator_name="reward vault")
