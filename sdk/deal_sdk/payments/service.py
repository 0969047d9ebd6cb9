"""TokenService: the DEAL token for callers, every payment through the same admission."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol
from uuid import UUID

from solders.pubkey import Pubkey

from deal_sdk.amounts import Amount
from deal_sdk.chain import MintFacts, Rpc
from deal_sdk.errors import (
    ConfigurationError,
    PaymentPendingError,
    RefundError,
    TransactionExpiredError,
    TransactionFailedError,
)
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.delegated import FeeAllowances, signature_required_without_approval
from deal_sdk.payments.delegation import Delegations
from deal_sdk.payments.micro_fees import MicroFeePayments, MicroFees
from deal_sdk.payments.orders import Plan, PurchaseLimit, transfer_plan
from deal_sdk.payments.own_wallet import OwnWalletPayments, ServicePrices
from deal_sdk.payments.owner_signing import OwnerSigning
from deal_sdk.payments.parties import TREASURY, PartyReference, PartyResolver
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Transaction, parse_payment_id
from deal_sdk.settings import WaitFor


class DisplayBalances(Protocol):
    """Balances for display, at most a few minutes old."""

    async def current(self, token_account: str) -> int:
        """Return base units from the cache, or from the chain where the cache has none."""
        ...


class RecordedPayments(Protocol):
    """The record of payments."""

    async def get(self, payment_id: UUID) -> Transaction:
        """Return a payment.

        Raises:
            PaymentNotFoundError: when there is none.
        """
        ...


class TokenService(MicroFeePayments, OwnWalletPayments):
    """Moves DEAL between users, addresses and operator wallets, and reads what they hold."""

    def __init__(
        self,
        *,
        mint: MintFacts,
        rpc: Rpc,
        admission: Admission,
        parties: PartyResolver,
        delegations: Delegations,
        signer: PaymentSigner,
        owner_signing: OwnerSigning,
        symbol: str,
        prices: ServicePrices,
        micro_fees: MicroFees,
        balances: DisplayBalances,
        payments: RecordedPayments,
        allowances: FeeAllowances,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._mint = mint
        self._rpc = rpc
        self._admission = admission
        self._parties = parties
        self._delegations = delegations
        self._signer = signer
        self._owner_signing = owner_signing
        self._symbol = symbol
        self._prices = prices
        self._micro_fees = micro_fees
        self._balances = balances
        self._payments = payments
        self._allowances = allowances

    async def get_balance(self, user_id: PartyReference, *, wallet: str | None = None) -> Decimal:
        """Return what a user, address or operator wallet holds, in whole DEAL, at most 300 s old.

        It is for display; a payment reads the chain again.

        Raises:
            UserNotFoundError, WalletNotFoundError, InvalidWalletAddressError: for the party.
        """
        party = await self._parties.resolve(user_id, wallet=wallet)
        return self._shown(await self._balances.current(party.token_account))

    async def balance_of(self, party_id: PartyReference, *, wallet: str | None = None) -> Decimal:
        """Read a balance from the chain at the confirmed commitment, past every cache."""
        party = await self._parties.resolve(party_id, wallet=wallet)
        balance = await self._rpc.get_token_balance(Pubkey.from_string(party.token_account))
        return self._shown(balance.amount_base_units)

    async def total_supply(self) -> Decimal:
        """Return the mint's supply in whole tokens."""
        return self._shown((await self._rpc.get_token_supply(self._mint.address)).amount_base_units)

    async def transfer(
        self,
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
        """Transfer DEAL: limits first, then the balance, then a recorded intent, then the chain.

        Args:
            from_id: a user's UUID, an address whose key the backend holds, or an operator wallet's name.
            to_id: a user's UUID, an address, or an operator wallet's name.
            amount: whole DEAL as `str` or `Decimal`, up to 8 decimals.
            reason: up to 1,000 characters, for the record.
            purchase_limit: counts this transfer as a purchase.
            wallet: which of the sending user's wallets pays.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".

        Returns:
            The payment with its status and signature.

        Raises:
            InvalidAmountError, InvalidWalletAddressError, UserNotFoundError, WalletNotFoundError,
                SignatureRequiredError, LimitExceededError, InsufficientBalanceError: nothing happened.
            PaymentPendingError: the wait ran out; the payment goes on.
            TransactionFailedError: it provably did not happen.
        """
        units = self._units(amount)

        async def draft() -> Draft:
            sender, recipient = await self._parties.resolve_both(from_id, to_id, wallet=wallet)
            plan = transfer_plan(sender, recipient, authority=sender.address)
            return Draft(units, plan, sender, recipient, debits=True, purchase_limit=purchase_limit)

        inputs = {
            "from": from_id,
            "to": to_id,
            "amount": units,
            "wallet": wallet,
            "purchase_limit": purchase_limit,
        }
        options = PaymentOptions(reason, idempotency_key, wait_for)
        return await self._admission.pay("transfer", inputs, options, draft)

    async def deduct_service_fee(
        self,
        user_id: UUID | str,
        service_type: str,
        *,
        wallet: str | None = None,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Charge a user what a service costs now, to the treasury.

        A wallet whose key the backend holds signs for itself. From another that opened an allowance, the fee
        is charged within it; otherwise the treasury takes it as the wallet's delegate. The user proved to
        own the wallet, and approved the one or the other once.

        Args:
            user_id: the user's UUID.
            service_type: "search", "goal", "analysis", "notification" or one with a stored price.
            wallet: which of the user's wallets pays.
            idempotency_key: the same key again returns the same payment, also after a change of price.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            UnknownServiceTypeError: for a service without a price.
            InsufficientBalanceError: says what is required, available and missing.
            DelegationError: when less is left of the treasury's approval.
            AllowanceError: when the wallet's allowance does not cover it.
            SignatureRequiredError: when the wallet is not in custody and the treasury is not its delegate;
                see `prepare_service_fee`.
        """

        async def draft() -> Draft:
            fee = await self._prices.get_service_fee(service_type)
            sender, treasury = await self._parties.resolve_both(user_id, TREASURY, wallet=wallet)
            plan = await self._fee_plan(sender, treasury, fee)
            return Draft(fee, plan, sender, treasury, debits=True)

        inputs = {"user": user_id, "service_type": service_type, "wallet": wallet}
        options = PaymentOptions(service_type, idempotency_key, wait_for)
        with signature_required_without_approval():
            return await self._admission.pay("service_fee", inputs, options, draft)

    async def refund(
        self,
        payment_id: UUID | str,
        amount: Amount | None = None,
        reason: str | None = None,
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Give a payment back to who paid it, wholly or in part, never more than was paid.

        Refunds of one payment are counted together, those under way included, also when two are made at
        once. The row of the refund names the payment in `refund_of`.

        Args:
            payment_id: a finalized transfer, service fee, reward or purchase; one that is confirmed is
                waited for, because a fork could still take it back.
            amount: whole DEAL; the whole payment by default.
            reason: up to 1,000 characters.
            idempotency_key: the same key again returns the same refund.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            PaymentNotFoundError: when there is no such payment.
            RefundError: when it was not paid, is not final in time, or less than the amount is left of it.
            SignatureRequiredError: when the backend cannot sign for who received it.
        """
        identity = parse_payment_id(payment_id)
        units = None if amount is None else self._units(amount)

        async def draft() -> Draft:
            original = await self._payments.get(identity)
            if original.from_address is None or original.to_address is None:
                raise RefundError("nobody paid it, so nobody can be paid back", payment_id=str(identity))
            sender, recipient = await self._parties.resolve_both(original.to_address, original.from_address)
            plan = transfer_plan(sender, recipient, authority=sender.address)
            given = original.amount if units is None else units
            await self._wait_until_final(original)
            return Draft(given, plan, sender, recipient, debits=True, refund_of=identity)

        options = PaymentOptions(reason or f"refund of {identity}", idempotency_key, wait_for)
        inputs = {"refund_of": identity, "amount": units}
        return await self._admission.pay("transfer", inputs, options, draft)

    async def _wait_until_final(self, payment: Transaction) -> None:
        """Wait for a confirmed payment; that it ended otherwise is seen when the refund is recorded."""
        if payment.status != "confirmed":
            return
        try:
            await self._admission.wait(payment, "finalized")
        except PaymentPendingError:
            raise RefundError(
                "the payment is not final yet, and a fork could still take it back: try again",
                payment_id=str(payment.id),
            ) from None
        except (TransactionFailedError, TransactionExpiredError):
            raise RefundError("the payment was not paid in the end", payment_id=str(payment.id)) from None

    async def mint(
        self,
        to_id: PartyReference,
        amount: Amount,
        reason: str | None = None,
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Create new DEAL in a wallet; the backend must hold the mint authority.

        Raises:
            ConfigurationError: for a mint whose supply is fixed.
            SignatureRequiredError: when the mint authority's key is elsewhere.
        """
        units = self._units(amount)

        async def draft() -> Draft:
            recipient = await self._parties.resolve(to_id)
            authority = self._mint_authority()
            plan = Plan("mint", authority, None, recipient.token_account, recipient.address)
            return Draft(units, plan, None, recipient, debits=False)

        options = PaymentOptions(reason, idempotency_key, wait_for)
        return await self._admission.pay("mint", {"to": to_id, "amount": units}, options, draft)

    async def burn(
        self,
        from_id: PartyReference,
        amount: Amount,
        reason: str | None = None,
        *,
        wallet: str | None = None,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Destroy DEAL of a wallet whose key the backend holds.

        Raises:
            InsufficientBalanceError: when the wallet holds less.
        """
        units = self._units(amount)

        async def draft() -> Draft:
            sender = await self._parties.resolve(from_id, wallet=wallet)
            plan = Plan("burn", sender.address, sender.token_account, None, None)
            return Draft(units, plan, sender, None, debits=True)

        options = PaymentOptions(reason, idempotency_key, wait_for)
        inputs = {"from": from_id, "amount": units, "wallet": wallet}
        return await self._admission.pay("burn", inputs, options, draft)

    def _mint_authority(self) -> str:
        if self._mint.mint_authority is None:
            raise ConfigurationError("the mint has no mint authority; its supply is fixed")
        return str(self._mint.mint_authority)
