"""The part of `AllowanceProgram` that owners sign: opening, changing and closing an allowance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.amounts import Amount, format_amount
from deal_sdk.chain import Rpc, instructions, load_token_account
from deal_sdk.chain.allowance import AllowanceState, AllowanceTerms
from deal_sdk.errors import AllowanceError, DelegateInUseError, InvalidInputError, WalletNotFoundError
from deal_sdk.payments.allowances.deployment import ProgramDeployment
from deal_sdk.payments.allowances.owners import AllowanceOwners, PreparedAllowance
from deal_sdk.payments.allowances.rules import make_terms
from deal_sdk.payments.mint_amounts import MintAmounts
from deal_sdk.payments.orders import Party
from deal_sdk.payments.own_wallet import transaction_bytes
from deal_sdk.payments.parties import PartyReference, PartyResolver
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import parse_payment_id


@dataclass(frozen=True, slots=True)
class AllowanceRequest:
    """What an owner is asked to allow, in whole DEAL."""

    cap_per_period: Amount
    """The most that all charges of a period may take."""
    period: timedelta
    """At least a minute; periods follow one another from the opening on."""
    max_per_charge: Amount
    total: Amount
    """The most that may ever be charged: what the approval of the token account is for."""
    expires_at: datetime | None = None


class OwnerAllowances(MintAmounts):
    """Opens, changes and closes allowances, each signed by its owner."""

    _rpc: Rpc
    _symbol: str
    _parties: PartyResolver
    _signer: PaymentSigner
    _deployment: ProgramDeployment
    _owners: AllowanceOwners

    async def fetch(self, user_id: PartyReference, *, wallet: str | None = None) -> AllowanceState | None:
        """Read an owner's allowance at confirmed, open or closed; None where none was ever opened.

        Args:
            user_id: a user's UUID, or the owner's address.
            wallet: which of the user's wallets.
        """
        owner = await self._parties.resolve(user_id, wallet=wallet)
        return await self._deployment.allowance(
            await self._deployment.allowance_address(self._address(owner.address))
        )

    async def open(
        self,
        user_id: PartyReference,
        request: AllowanceRequest,
        *,
        wallet: str | None = None,
        replace: bool = False,
    ) -> AllowanceState:
        """Open an allowance for an owner whose key the backend holds, with its approval in one transaction.

        Args:
            user_id: a user's UUID, or an address whose key is here.
            request: what is allowed.
            wallet: which of the user's wallets.
            replace: end another delegate's live approval of the token account.

        Raises:
            SignatureRequiredError: when the key is elsewhere; see `prepare_open`.
            DelegateInUseError: when another delegate is live and `replace` is False.
            WalletNotFoundError: when the owner has no token account yet.
            ChargeRefusedError: when the program refuses; the allowance may be open already.
        """
        owner = await self._parties.resolve(user_id, wallet=wallet)
        steps = await self._opening(owner, request, replace=replace)
        await self._owners.sign("the opening", steps, self._address(owner.address))
        return await self._existing(owner)

    async def prepare_open(
        self,
        user_id: PartyReference,
        request: AllowanceRequest,
        *,
        wallet: str | None = None,
        replace: bool = False,
    ) -> PreparedAllowance:
        """Return the transaction by which an owner's own wallet approves and opens an allowance.

        The backend pays its fee and signs last, in `submit_signed`.

        Args:
            user_id: a user's UUID, or the owner's address.
            request: what is allowed.
            wallet: which of the user's wallets.
            replace: end another delegate's live approval of the token account.

        Raises:
            DelegateInUseError, WalletNotFoundError, InvalidInputError: nothing was prepared.
        """
        owner = await self._parties.resolve(user_id, wallet=wallet)
        steps = await self._opening(owner, request, replace=replace)
        shown = f"Allow {self._described(request)} from {owner.address}."
        return await self._prepare(steps, owner, shown)

    async def change(
        self, user_id: PartyReference, request: AllowanceRequest, *, wallet: str | None = None
    ) -> AllowanceState:
        """Put other terms in place for an owner whose key is here; the approval becomes the new total."""
        owner = await self._parties.resolve(user_id, wallet=wallet)
        await self._owners.sign(
            "the change", await self._changing(owner, request), self._address(owner.address)
        )
        return await self._existing(owner)

    async def prepare_change(
        self, user_id: PartyReference, request: AllowanceRequest, *, wallet: str | None = None
    ) -> PreparedAllowance:
        """Return the transaction by which an owner's own wallet changes an allowance's terms."""
        owner = await self._parties.resolve(user_id, wallet=wallet)
        shown = f"Change the allowance from {owner.address} to {self._described(request)}."
        return await self._prepare(await self._changing(owner, request), owner, shown)

    async def close(self, user_id: PartyReference, *, wallet: str | None = None) -> AllowanceState:
        """Close an allowance for an owner whose key is here, and revoke its approval."""
        owner = await self._parties.resolve(user_id, wallet=wallet)
        await self._owners.sign("the closing", await self._closing(owner), self._address(owner.address))
        return await self._existing(owner)

    async def prepare_close(self, user_id: PartyReference, *, wallet: str | None = None) -> PreparedAllowance:
        """Return the transaction by which an owner's own wallet closes an allowance and its approval."""
        owner = await self._parties.resolve(user_id, wallet=wallet)
        shown = f"Close the allowance from {owner.address}; nothing can be charged any more."
        return await self._prepare(await self._closing(owner), owner, shown)

    async def submit_signed(self, prepared_id: UUID | str, signed_transaction: str | bytes) -> str:
        """Take back what an owner's wallet signed about an allowance, send it, and return its signature.

        It must be what was prepared, byte for byte but for signatures. Submitting it again is harmless.

        Args:
            prepared_id: of the `PreparedAllowance`.
            signed_transaction: the whole signed transaction, in base64 or as bytes.

        Raises:
            PreparedTransactionNotFoundError, PreparedTransactionChangedError, InvalidSignatureError: nothing
                was sent.
            TransactionExpiredError: it came too late; prepare it again.
            ChargeRefusedError: the program refused it; nothing changed.
        """
        identity = parse_payment_id(prepared_id)
        return await self._owners.submit(identity, transaction_bytes(signed_transaction))

    async def _opening(self, owner: Party, request: AllowanceRequest, *, replace: bool) -> list[Instruction]:
        merchant = await self._deployment.merchant()
        address = self._address(owner.address)
        allowance = await self._deployment.allowance_address(address)
        account = await load_token_account(self._rpc, self._address(owner.token_account))
        if account is None:
            raise WalletNotFoundError("the owner has no token account yet", address=owner.address)
        if account.live_delegate not in (None, allowance) and not replace:
            raise DelegateInUseError(
                "the token account has another live delegate; open with replace=True to end it",
                token_account=owner.token_account,
                delegate=str(account.live_delegate),
            )
        client = await self._deployment.client()
        opening = client.open_allowance(
            payer=self._signer.fees.payer,
            owner=address,
            merchant=merchant.address,
            token_account=self._address(owner.token_account),
            terms=self._terms(request),
        )
        return [self._approval(owner, allowance, request), opening]

    async def _changing(self, owner: Party, request: AllowanceRequest) -> list[Instruction]:
        merchant = await self._deployment.merchant()
        allowance = await self._deployment.allowance_address(self._address(owner.address))
        client = await self._deployment.client()
        change = client.change_allowance(
            owner=self._address(owner.address), merchant=merchant.address, terms=self._terms(request)
        )
        return [change, self._approval(owner, allowance, request)]

    async def _closing(self, owner: Party) -> list[Instruction]:
        merchant = await self._deployment.merchant()
        client = await self._deployment.client()
        address = self._address(owner.address)
        revoke = instructions.revoke(
            source=self._address(owner.token_account), owner=address, program_id=self._mint.program_id
        )
        return [client.close_allowance(owner=address, merchant=merchant.address), revoke]

    def _approval(self, owner: Party, allowance: Pubkey, request: AllowanceRequest) -> Instruction:
        return instructions.approve_checked(
            source=self._address(owner.token_account),
            mint=self._mint.address,
            delegate=allowance,
            owner=self._address(owner.address),
            amount_base_units=self._units(request.total),
            decimals=self._mint.decimals,
            program_id=self._mint.program_id,
        )

    def _terms(self, request: AllowanceRequest) -> AllowanceTerms:
        cap, most = self._units(request.cap_per_period), self._units(request.max_per_charge)
        if self._units(request.total) < most:
            raise InvalidInputError("the total does not cover a single charge")
        return make_terms(cap, request.period, most, request.expires_at)

    def _described(self, request: AllowanceRequest) -> str:
        def shown(amount: Amount) -> str:
            return f"{format_amount(self._units(amount), decimals=self._mint.decimals)} {self._symbol}"

        until = "" if request.expires_at is None else f", until {request.expires_at.isoformat()}"
        return (
            f"charges of up to {shown(request.max_per_charge)} each and {shown(request.cap_per_period)} "
            f"per {_shown_period(request.period)}, {shown(request.total)} in all{until}"
        )

    async def _existing(self, owner: Party) -> AllowanceState:
        address = await self._deployment.allowance_address(self._address(owner.address))
        found = await self._deployment.allowance(address)
        if found is None:
            raise AllowanceError("the endpoint does not show the allowance yet", problem="missing")
        return found

    async def _prepare(
        self, steps: Sequence[Instruction], owner: Party, description: str
    ) -> PreparedAllowance:
        return await self._owners.prepare(steps, self._address(owner.address), description)

    @staticmethod
    def _address(text: str) -> Pubkey:
        return Pubkey.from_string(text)


def _shown_period(period: timedelta) -> str:
    if period.seconds:
        return str(period)
    return "day" if period.days == 1 else f"{period.days} days"
