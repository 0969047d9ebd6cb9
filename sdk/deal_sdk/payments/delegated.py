"""What a delegate may do: approvals on the chain, and payments that draw on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Protocol

from deal_sdk.amounts import Amount, BaseUnits
from deal_sdk.errors import DelegationError, SignatureRequiredError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.approvals import refuse_unproven
from deal_sdk.payments.delegation import Delegations
from deal_sdk.payments.mint_amounts import MintAmounts
from deal_sdk.payments.orders import Party, Plan, PurchaseLimit, transfer_plan
from deal_sdk.payments.parties import PartyReference, PartyResolver
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor


class FeeAllowances(Protocol):
    """The on-chain allowances that fees may be charged by."""

    async def fee_plan(self, sender: Party, treasury: Party, amount: BaseUnits) -> Plan | None:
        """Return how a fee is charged by the sender's allowance, or None where the sender has none."""
        ...

    async def most_per_fee(self, sender: Party) -> int | None:
        """Return the most that one fee may take by the sender's allowance now, or None where it has none."""
        ...


class DelegatedPayments(MintAmounts):
    """The part of `TokenService` that pays with other people's approval instead of their keys."""

    _admission: Admission
    _parties: PartyResolver
    _delegations: Delegations
    _signer: PaymentSigner
    _allowances: FeeAllowances

    async def transfer_from(
        self,
        spender_id: PartyReference,
        from_id: PartyReference,
        to_id: PartyReference,
        amount: Amount,
        reason: str | None = None,
        *,
        purchase_limit: PurchaseLimit | None = None,
        wallet: str | None = None,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Transfer out of a wallet that approved the spender before, without its owner's key.

        It is admitted against the balance and against what is left of the approval, payments under way
        counted in both.

        Args:
            spender_id: who was approved; the backend must hold this key.
            from_id: whose DEAL it is.
            to_id: who receives it.
            amount: whole DEAL, within what is left of the approval.
            reason: up to 1,000 characters.
            purchase_limit: counts this transfer as a purchase of the owner's.
            wallet: which of the owner's wallets pays.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            DelegationError: when the spender is not the delegate, its allowance does not cover it, or the
                user has not proven to own the wallet; nothing happened.
            DelegationFailedError: when the approval was ended or spent elsewhere before it landed.
            InsufficientBalanceError, LimitExceededError, PaymentPendingError: as `transfer`.
        """
        units = self._units(amount)

        async def draft() -> Draft:
            spender = await self._parties.resolve(spender_id)
            sender, recipient = await self._parties.resolve_both(from_id, to_id, wallet=wallet)
            refuse_unproven(sender, spender)
            plan = transfer_plan(sender, recipient, authority=spender.address)
            return Draft(units, plan, sender, recipient, debits=True, purchase_limit=purchase_limit)

        inputs = {
            "spender": spender_id,
            "from": from_id,
            "to": to_id,
            "amount": units,
            "wallet": wallet,
            "purchase_limit": purchase_limit,
        }
        options = PaymentOptions(reason, idempotency_key, wait_for)
        return await self._admission.pay("transfer", inputs, options, draft)

    async def approve(
        self,
        owner_id: PartyReference,
        delegate_id: PartyReference,
        amount: Amount,
        *,
        wallet: str | None = None,
        replace: bool = False,
    ) -> str:
        """Let a delegate move up to an amount out of the owner's token account.

        A token account has one delegate, so approving another one ends the first.

        Args:
            owner_id: whose DEAL it is; the backend must hold the key.
            delegate_id: who may move it.
            amount: whole DEAL; it replaces what was left of an earlier approval.
            wallet: which of the owner's wallets.
            replace: end another delegate's live approval.

        Returns:
            The signature of the confirmed approval.

        Raises:
            DelegateInUseError: when another delegate is live and `replace` is False.
        """
        owner, delegate = await self._parties.resolve_both(owner_id, delegate_id, wallet=wallet)
        return await self._delegations.approve(owner, delegate, self._units(amount), replace=replace)

    async def revoke(self, owner_id: PartyReference, *, wallet: str | None = None) -> str:
        """End whatever approval the owner's token account has and return the confirmed signature."""
        return await self._delegations.revoke(await self._parties.resolve(owner_id, wallet=wallet))

    async def allowance(
        self, owner_id: PartyReference, delegate_id: PartyReference, *, wallet: str | None = None
    ) -> Decimal:
        """Return what a delegate may still move, in whole DEAL; zero for anyone who is not the delegate."""
        owner, delegate = await self._parties.resolve_both(owner_id, delegate_id, wallet=wallet)
        return self._shown(await self._delegations.allowance(owner, delegate))

    async def _fee_plan(self, sender: Party, treasury: Party, fee: BaseUnits) -> Plan:
        """Return how a fee is paid: by the wallet's key, its allowance, or the treasury's approval."""
        if await self._signer.can_sign(sender.address):
            return transfer_plan(sender, treasury, authority=sender.address)
        plan = await self._allowances.fee_plan(sender, treasury, fee)
        if plan is not None:
            return plan
        refuse_unproven(sender, treasury)
        return transfer_plan(sender, treasury, authority=treasury.address)

    async def _fee_cap(self, sender: Party) -> int | None:
        """Return the most that one fee may take now, in base units, where an allowance bounds it."""
        if await self._signer.can_sign(sender.address):
            return None
        return await self._allowances.most_per_fee(sender)


@contextmanager
def signature_required_without_approval() -> Iterator[None]:
    """Ask for the owner's signature where there is no approval to use instead.

    Raises:
        SignatureRequiredError: in place of a `DelegationError` other than an exhausted approval.
    """
    try:
        yield
    except DelegationError as error:
        if error.facts["problem"] == "exhausted":
            raise
        raise SignatureRequiredError(
            f"no key is kept for the wallet, and the treasury is not its delegate: {error.message}",
            **error.facts,
        ) from error
