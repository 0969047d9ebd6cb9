"""AllowanceProgram: `deal.allowances`, the on-chain program for callers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

from solders.pubkey import Pubkey

from deal_sdk.amounts import Amount, BaseUnits
from deal_sdk.chain import MintFacts, Rpc, instructions
from deal_sdk.chain.allowance import AllowanceEvent, AllowanceState, MerchantState, RewardBatchState
from deal_sdk.clock import Clock
from deal_sdk.errors import PaymentNotFoundError, TokenError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.allowances.control import MerchantControl
from deal_sdk.payments.allowances.deployment import MERCHANT_META, ProgramDeployment
from deal_sdk.payments.allowances.owners import AllowanceOwners
from deal_sdk.payments.allowances.publishing import ProgramPublisher
from deal_sdk.payments.allowances.rules import check_charge
from deal_sdk.payments.allowances.sharing import SharedCharges
from deal_sdk.payments.approvals import refuse_unproven
from deal_sdk.payments.batches import check_reward_type
from deal_sdk.payments.orders import Party, Plan, transfer_plan
from deal_sdk.payments.parties import TREASURY, PartyReference, PartyResolver
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Database, Transaction, put_meta
from deal_sdk.settings import WaitFor


@dataclass(frozen=True, slots=True)
class AllowanceParts:
    """What `AllowanceProgram` stands on."""

    mint: MintFacts
    symbol: str
    rpc: Rpc
    database: Database
    clock: Clock
    parties: PartyResolver
    admission: Admission
    signer: PaymentSigner
    deployment: ProgramDeployment
    owners: AllowanceOwners
    publisher: ProgramPublisher
    sharing: SharedCharges


@dataclass(frozen=True, slots=True)
class Charge:
    """One of several charges that are made together."""

    user_id: PartyReference
    amount: Amount
    reason: str | None = None
    wallet: str | None = None
    idempotency_key: str | None = None


class AllowanceProgram(MerchantControl):
    """Charges owners' wallets within what they allowed, and pays rewards out of the program's vault."""

    def __init__(self, parts: AllowanceParts) -> None:
        """Wire the parts; nothing runs yet."""
        self._mint = parts.mint
        self._symbol = parts.symbol
        self._rpc = parts.rpc
        self._database = parts.database
        self._clock = parts.clock
        self._parties = parts.parties
        self._admission = parts.admission
        self._signer = parts.signer
        self._deployment = parts.deployment
        self._owners = parts.owners
        self._sharing = parts.sharing
        self.publisher: Final = parts.publisher
        """Deploys, shows and upgrades the program itself."""

    async def initialize(self) -> MerchantState:
        """Make this backend's merchant on the chain, or find that it is there; call it once.

        The merchant's authority is the treasury's key, and charges go to the treasury's token account.

        Raises:
            ConfigurationError: when the program is not deployed.
            ChargeRefusedError: when the program refuses the mint or the treasury.
        """
        merchant = await self._deployment.find_merchant()
        if merchant is None:
            await self._initialize()
            merchant = await self._deployment.merchant()
        await put_meta(self._database, MERCHANT_META, str(merchant.address))
        return merchant

    async def merchant(self) -> MerchantState:
        """Return the merchant as it is on the chain.

        Raises:
            AllowanceError: before `initialize`.
        """
        return await self._deployment.merchant()

    async def charge(
        self,
        user_id: PartyReference,
        amount: Amount,
        reason: str | None = None,
        *,
        wallet: str | None = None,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Charge an owner's wallet within its allowance, without the owner's key.

        It is a payment like every other: recorded and reserved first, its bytes committed before they are
        sent. One charge of an allowance is under way at a time; others wait for their turn.

        Args:
            user_id: a user's UUID, or the owner's address.
            amount: whole DEAL.
            reason: up to 1,000 characters.
            wallet: which of the user's wallets pays.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            AllowanceError: when there is no open allowance that covers it; nothing was recorded.
            DelegationError: when less is left of the approval, or the user has not proven to own the wallet.
            InsufficientBalanceError, LimitExceededError: nothing was recorded.
            ChargeRefusedError: the program refused it when it landed; `facts["refusal"]` names why.
            PaymentPendingError: the wait ran out; the payment goes on.
        """
        charge = Charge(user_id, amount, reason, wallet, idempotency_key)
        return await self._charge(charge, wait_for)

    async def charge_many(
        self, charges: Sequence[Charge], *, wait_for: WaitFor = "confirmed"
    ) -> list[Transaction | TokenError]:
        """Charge several owners at once, many in one transaction, each by a payment of its own.

        A refusal before anything is sent holds up nobody else. Where a shared transaction fails, none of
        its charges happened, and each is made again alone. Of several charges of one owner the first one
        shares; the others follow it.

        Args:
            charges: whom and how much.
            wait_for: for all of them.

        Returns:
            The payment of each, or in its place the error, in the order of the charges.
        """

        if not charges:
            return []
        company = self._sharing.gather(len(charges))

        async def record(charge: Charge) -> Transaction | TokenError:
            payment = None
            try:
                payment = await self._charge(charge, "recorded", company.id)
                return payment
            except TokenError as error:
                return error
            finally:
                company.expect(payment)

        async def wait(recorded: Transaction | TokenError) -> Transaction | TokenError:
            if isinstance(recorded, TokenError):
                return recorded
            try:
                return await self._admission.wait(recorded, wait_for)
            except TokenError as error:
                return error

        recorded = await asyncio.gather(*map(record, charges))
        return list(await asyncio.gather(*map(wait, recorded)))

    async def fee_plan(self, sender: Party, treasury: Party, amount: BaseUnits) -> Plan | None:
        """Return how a fee is charged by the sender's allowance, or None where the sender has none.

        Raises:
            AllowanceError: when the approval is the allowance's and it does not cover the fee.
        """
        if await self._approved_allowance(sender) is None:
            return None
        return await self._charge_plan(sender, treasury, amount)

    async def most_per_fee(self, sender: Party) -> int | None:
        """Return the most that one fee may take by the sender's allowance now, or None where it has none.

        In base units; 0 once the period's cap is used up.
        """
        address = await self._approved_allowance(sender)
        state = None if address is None else await self._deployment.allowance(address)
        if state is None:
            return None
        return min(state.terms.max_per_charge_base_units, state.left_in_period(self._clock.now()))

    async def fund_vault(
        self,
        amount: Amount,
        *,
        from_id: PartyReference = TREASURY,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Move DEAL into the vault that rewards are paid from; see `TokenService.transfer`.

        Args:
            amount: whole DEAL.
            from_id: whose it is; the backend must hold the key.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".
        """
        units = self._units(amount)

        async def draft() -> Draft:
            sender = await self._parties.resolve(from_id)
            vault = await self._vault()
            return Draft(
                units, transfer_plan(sender, vault, authority=sender.address), sender, vault, debits=True
            )

        inputs = {"fund_vault": True, "from": from_id, "amount": units}
        options = PaymentOptions("reward vault", idempotency_key, wait_for)
        return await self._admission.pay("transfer", inputs, options, draft)

    async def create_reward_batch(self, capacity: int, *, batch_id: UUID | None = None) -> UUID:
        """Make the account that remembers which rewards of a batch were paid, and return the batch's id.

        Args:
            capacity: how many rewards it has, 1 to 65,536; the rent of its account is not given back.
            batch_id: names it; one that exists is found again.

        Raises:
            ChargeRefusedError: for another capacity.
        """
        identity = batch_id or uuid4()
        if await self._deployment.reward_batch(identity) is None:
            merchant = await self._deployment.merchant()
            step = (await self._deployment.client()).create_reward_batch(
                merchant, payer=self._signer.fees.payer, batch_id=identity, capacity=capacity
            )
            await self._owners.sign("the batch of rewards", [step], merchant.authority)
        return identity

    async def reward_batch(self, batch_id: UUID) -> RewardBatchState:
        """Read a batch of rewards.

        Raises:
            PaymentNotFoundError: when there is none.
        """
        found = await self._deployment.reward_batch(batch_id)
        if found is None:
            raise PaymentNotFoundError("there is no such batch of rewards", batch_id=str(batch_id))
        return found

    async def pay_reward(
        self,
        batch_id: UUID,
        index: int,
        user_id: PartyReference,
        amount: Amount,
        *,
        reward_type: str = "vault",
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Pay one reward of a batch out of the vault; batch and index are its key, here and on the chain.

        Args:
            batch_id: as `create_reward_batch` returned it.
            index: which of its rewards, from 0.
            user_id: a user's UUID, or an address.
            amount: whole DEAL.
            reward_type: 1 to 64 characters.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            IdempotencyConflictError: when this index was paid to somebody else, or another amount.
            InsufficientBalanceError: when the vault holds less.
            ChargeRefusedError: when another backend paid this index.
        """
        check_reward_type(reward_type)
        units = self._units(amount)

        async def draft() -> Draft:
            merchant = await self._deployment.merchant()
            recipient = await self._parties.resolve(user_id)
            vault = await self._vault()
            plan = Plan(
                "vault_reward",
                str(merchant.authority),
                vault.token_account,
                recipient.token_account,
                recipient.address,
                batch_id=str(batch_id),
                index=index,
            )
            return Draft(units, plan, vault, recipient, debits=True, reward_type=reward_type)

        inputs = {"to": user_id, "reward_type": reward_type, "amount": units}
        options = PaymentOptions(reward_type, f"vault:{batch_id}:{index}", wait_for)
        return await self._admission.pay("reward", inputs, options, draft)

    async def events(self, signature: str) -> list[AllowanceEvent]:
        """Return the program's events in a confirmed transaction, in their order.

        Raises:
            PaymentNotFoundError: when the chain has no such transaction.
        """
        landed = await self._rpc.get_transaction(signature, "confirmed")
        if landed is None:
            raise PaymentNotFoundError("the chain has no such transaction", signature=signature)
        return (await self._deployment.client()).events(landed.logs)

    async def _approved_allowance(self, sender: Party) -> Pubkey | None:
        """Return the sender's allowance where its token account has approved it."""
        if not await self._deployment.is_initialized():
            return None
        address = await self._deployment.allowance_address(self._address(sender.address))
        balance = await self._rpc.get_token_balance(self._address(sender.token_account))
        return address if balance.delegate == address else None

    async def _charge(self, charge: Charge, wait_for: WaitFor, group_id: str | None = None) -> Transaction:
        units = self._units(charge.amount)

        async def draft() -> Draft:
            sender = await self._parties.resolve(charge.user_id, wallet=charge.wallet)
            treasury = await self._parties.resolve(TREASURY)
            plan = await self._charge_plan(sender, treasury, units)
            return Draft(units, replace(plan, group_id=group_id), sender, treasury, debits=True)

        inputs = {"allowance_of": charge.user_id, "amount": units, "wallet": charge.wallet}
        options = PaymentOptions(charge.reason, charge.idempotency_key, wait_for)
        return await self._admission.pay("service_fee", inputs, options, draft)

    async def _charge_plan(self, sender: Party, treasury: Party, amount: BaseUnits) -> Plan:
        refuse_unproven(sender, treasury)
        merchant = await self._deployment.merchant()
        address = await self._deployment.allowance_address(self._address(sender.address))
        found: AllowanceState | None = await self._deployment.allowance(address)
        check_charge(merchant, found, sender.token_account, amount, self._clock.now())
        return Plan(
            "charge",
            str(merchant.authority),
            sender.token_account,
            str(merchant.treasury),
            None,
            allowance=str(address),
        )

    async def _initialize(self) -> None:
        client = await self._deployment.client()
        treasury = await self._parties.resolve(TREASURY)
        payer, mint = self._signer.fees.payer, self._mint
        accounts = [
            instructions.create_associated_account(
                payer=payer, owner=owner, mint=mint.address, program_id=mint.program_id
            )
            for owner in (self._deployment.creator, await self._deployment.merchant_address())
        ]
        step = client.initialize_merchant(
            payer=payer,
            creator=self._deployment.creator,
            mint=mint.address,
            token_program=mint.program_id,
            treasury=self._address(treasury.token_account),
            vault=await self._deployment.vault_address(),
        )
        await self._owners.sign("the merchant's beginning", [*accounts, step], self._deployment.creator)
