"""Payments from wallets whose keys their owners keep: prepared here, signed there, submitted here."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from deal_sdk.amounts import Amount, BaseUnits, format_amount
from deal_sdk.errors import InvalidInputError
from deal_sdk.payments.admission import Draft, PaymentOptions
from deal_sdk.payments.mint_amounts import MintAmounts
from deal_sdk.payments.orders import Party, Plan, PurchaseLimit, SignedBy, transfer_plan
from deal_sdk.payments.owner_signing import OwnerSigning
from deal_sdk.payments.parties import TREASURY, PartyReference, PartyResolver
from deal_sdk.payments.prepared import Prepared
from deal_sdk.records import Transaction, parse_payment_id
from deal_sdk.settings import WaitFor


class ServicePrices(Protocol):
    """Says what a service costs."""

    async def get_service_fee(self, service_type: str) -> BaseUnits:
        """Return the fee in base units."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedTransaction:
    """What an owner's wallet is asked to sign, and until when its signature counts."""

    id: UUID
    """Names it to `submit_signed`."""
    payment: Transaction
    number: int
    """1, and one more each time that the payment is prepared again."""
    status: str
    """open, signed or expired."""
    transaction: str
    """The unsigned v0 transaction in base64, as wallets take it."""
    description: str
    """What it does, in plain words, to be shown beside the wallet's own."""
    signer: str
    """The address whose signature is needed."""
    fee_payer: str
    last_valid_block_height: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data, for a front end."""
        return {
            "prepared_id": str(self.id),
            "payment_id": str(self.payment.id),
            "payment_status": self.payment.status,
            "number": self.number,
            "status": self.status,
            "transaction": self.transaction,
            "description": self.description,
            "signer": self.signer,
            "fee_payer": self.fee_payer,
            "last_valid_block_height": self.last_valid_block_height,
        }


class OwnWalletPayments(MintAmounts):
    """The part of `TokenService` that pays from wallets whose keys their owners keep."""

    _parties: PartyResolver
    _prices: ServicePrices
    _owner_signing: OwnerSigning
    _symbol: str

    async def prepare_transfer(
        self,
        from_id: PartyReference,
        to_id: PartyReference,
        amount: Amount,
        reason: str | None = None,
        *,
        purchase_limit: PurchaseLimit | None = None,
        wallet: str | None = None,
        owner_pays_fee: bool = False,
        idempotency_key: str | None = None,
    ) -> PreparedTransaction:
        """Record a transfer, reserve its balance, and return the transaction that its owner is to sign.

        Nothing can land before `submit_signed`, because the backend signs last, as fee payer. Not so with
        `owner_pays_fee`: that transaction needs no other signature, and a wallet may send it itself; it is
        then found on the chain. What is not submitted in time ends as `expired`, with the proof, and
        everything is released; the same key then prepares the same payment again.

        Args:
            from_id: a user's UUID or an address; its owner signs.
            to_id: a user's UUID, an address, or an operator wallet's name.
            amount: whole DEAL as `str` or `Decimal`, up to 8 decimals.
            reason: up to 1,000 characters, for the record.
            purchase_limit: counts this transfer as a purchase.
            wallet: which of the sending user's wallets pays.
            owner_pays_fee: have the owner pay the fee in SOL, and the rent of a new token account.
            idempotency_key: the same key again returns the same payment, prepared anew when it expired.

        Raises:
            InvalidAmountError, InvalidWalletAddressError, UserNotFoundError, WalletNotFoundError,
                LimitExceededError, InsufficientBalanceError, FeePayerError: nothing happened.
            TransactionFailedError: the key stands for a payment that landed and failed.
        """
        units = self._units(amount)

        async def draft() -> Draft:
            sender, recipient = await self._parties.resolve_both(from_id, to_id, wallet=wallet)
            plan = _owner_plan(sender, recipient, owner_pays_fee=owner_pays_fee)
            return Draft(units, plan, sender, recipient, debits=True, purchase_limit=purchase_limit)

        inputs = {
            "prepared": True,
            "from": from_id,
            "to": to_id,
            "amount": units,
            "wallet": wallet,
            "purchase_limit": purchase_limit,
            "owner_pays_fee": owner_pays_fee,
        }
        options = PaymentOptions(reason, idempotency_key)
        found = await self._owner_signing.prepare(
            "transfer", inputs, options, draft, purchase_limit=purchase_limit
        )
        return self._prepared(*found)

    async def prepare_service_fee(
        self,
        user_id: UUID | str,
        service_type: str,
        *,
        wallet: str | None = None,
        owner_pays_fee: bool = False,
        idempotency_key: str | None = None,
    ) -> PreparedTransaction:
        """Record what a service costs now, and return the transaction by which its user pays it.

        Args:
            user_id: the user's UUID.
            service_type: "search", "goal", "analysis", "notification" or one with a stored price.
            wallet: which of the user's wallets pays.
            owner_pays_fee: as in `prepare_transfer`.
            idempotency_key: the same key again returns the same payment, at the price of the first time.

        Raises:
            UnknownServiceTypeError: for a service without a price.
            InsufficientBalanceError, LimitExceededError, WalletNotFoundError: nothing happened.
        """

        async def draft() -> Draft:
            fee = await self._prices.get_service_fee(service_type)
            sender = await self._parties.resolve(user_id, wallet=wallet)
            treasury = await self._parties.resolve(TREASURY)
            plan = _owner_plan(sender, treasury, owner_pays_fee=owner_pays_fee)
            return Draft(fee, plan, sender, treasury, debits=True)

        inputs = {
            "prepared": True,
            "user": user_id,
            "service_type": service_type,
            "wallet": wallet,
            "owner_pays_fee": owner_pays_fee,
        }
        options = PaymentOptions(service_type, idempotency_key)
        return self._prepared(*await self._owner_signing.prepare("service_fee", inputs, options, draft))

    async def submit_signed(
        self, prepared_id: UUID | str, signed_transaction: str | bytes, *, wait_for: WaitFor = "confirmed"
    ) -> Transaction:
        """Take back a prepared transaction from the wallet that signed it, and pay.

        It must be the one that was prepared, byte for byte but for signatures, and each signature must
        verify; then signature and bytes are committed, and only then sent. Submitting it again changes
        nothing and returns the same payment.

        Args:
            prepared_id: of the `PreparedTransaction`.
            signed_transaction: the whole signed transaction, in base64 or as bytes.
            wait_for: "recorded", "confirmed" or "finalized".

        Returns:
            The payment with its status and signature.

        Raises:
            PreparedTransactionNotFoundError: nothing was prepared under this id.
            PreparedTransactionChangedError: naming what the wallet changed, such as an added priority fee.
            InvalidSignatureError: naming the address whose signature is missing or does not verify.
            TransactionExpiredError: it came too late, and nothing was paid; prepare it again.
            PaymentPendingError: the wait ran out; the payment goes on.
            TransactionFailedError: it provably did not happen.
        """
        identity = parse_payment_id(prepared_id)
        return await self._owner_signing.submit(identity, transaction_bytes(signed_transaction), wait_for)

    def _prepared(self, prepared: Prepared, payment: Transaction) -> PreparedTransaction:
        transaction = prepared.transaction
        plan = Plan.from_json(payment.instruction or {})
        fee_payer = str(transaction.signers[0])
        return PreparedTransaction(
            id=prepared.id,
            payment=payment,
            number=prepared.number,
            status=prepared.status,
            transaction=base64.b64encode(transaction.raw_bytes).decode(),
            description=self._described(payment, plan, fee_payer),
            signer=plan.authority,
            fee_payer=fee_payer,
            last_valid_block_height=transaction.last_valid_block_height,
        )

    def _described(self, payment: Transaction, plan: Plan, fee_payer: str) -> str:
        amount = format_amount(payment.amount, decimals=self._mint.decimals)
        purpose = f" for {payment.reason}" if payment.reason else ""
        network_fee = "you" if fee_payer == plan.authority else fee_payer
        return (
            f"Transfer {amount} {self._symbol} from {payment.from_address} "
            f"to {payment.to_address}{purpose}. The network fee is paid by {network_fee}."
        )


def _owner_plan(sender: Party, recipient: Party, *, owner_pays_fee: bool) -> Plan:
    signed_by: SignedBy = "owner_alone" if owner_pays_fee else "owner"
    return transfer_plan(sender, recipient, authority=sender.address, signed_by=signed_by)


def transaction_bytes(signed_transaction: str | bytes) -> bytes:
    """Return a signed transaction's bytes, from base64 where it came as text.

    Raises:
        InvalidInputError: for text that is no base64.
    """
    if isinstance(signed_transaction, bytes):
        return signed_transaction
    try:
        return base64.b64decode(signed_transaction, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise InvalidInputError("the signed transaction is not base64") from None
