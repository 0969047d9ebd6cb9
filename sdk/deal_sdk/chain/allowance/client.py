"""Addresses, instructions, accounts and events of the program, read and written by its IDL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain.addresses import SYSTEM_PROGRAM
from deal_sdk.chain.allowance.build import idl_json, snake_case
from deal_sdk.chain.allowance.states import (
    AllowanceState,
    AllowanceTerms,
    MerchantState,
    RewardBatchState,
)
from deal_sdk.chain.replies import AccountSnapshot
from deal_sdk.errors import RpcMalformedReplyError

if TYPE_CHECKING:
    from anchorpy.coder.coder import Coder
    from anchorpy_core.idl import Idl

_MERCHANT_SEED: Final = b"merchant"
_ALLOWANCE_SEED: Final = b"allowance"
_REWARD_BATCH_SEED: Final = b"rewards"
_NOBODY: Final = Pubkey.default()
_NO_REFERENCE: Final = UUID(int=0)
# Discriminator and fields; a reward batch has its bitmap behind them.
_SIZES_BYTES: Final = {"Merchant": 235, "Allowance": 186, "RewardBatch": 77}


@dataclass(frozen=True, slots=True)
class AllowanceEvent:
    """An event that the program logged: its name in the IDL, and its fields."""

    name: str
    fields: Mapping[str, Any]


class AllowanceProgramClient:
    """Speaks the program's language for one deployment of it."""

    def __init__(self, program_id: Pubkey) -> None:
        """Read the IDL; nothing is asked of the chain.

        Args:
            program_id: where the program is deployed.
        """
        # anchorpy takes long to load, and few processes need it.
        from anchorpy.coder.coder import Coder
        from anchorpy.program.event import EventParser
        from anchorpy_core.idl import Idl

        self.program_id: Final = program_id
        self._idl: Idl = Idl.from_json(idl_json())
        self._coder: Coder = Coder(self._idl)
        self._events: Final = EventParser(program_id, self._coder)
        self._metas: Final = {
            snake_case(instruction["name"]): [
                (snake_case(account["name"]), account["isSigner"], account["isMut"])
                for account in instruction["accounts"]
            ]
            for instruction in orjson.loads(idl_json())["instructions"]
        }

    def account_names(self, instruction: str) -> list[str]:
        """Return the names of an instruction's accounts, in their order."""
        return [name for name, _, _ in self._metas[instruction]]

    @property
    def idl(self) -> Idl:
        """Return the parsed IDL, for anchorpy's own `Program`."""
        return self._idl

    def merchant_address(self, creator: Pubkey, mint: Pubkey) -> Pubkey:
        """Derive where a creator's merchant of a mint is."""
        return self._derived(_MERCHANT_SEED, bytes(creator), bytes(mint))

    def allowance_address(self, merchant: Pubkey, owner: Pubkey) -> Pubkey:
        """Derive where an owner's allowance for a merchant is; it is also the delegate to approve."""
        return self._derived(_ALLOWANCE_SEED, bytes(merchant), bytes(owner))

    def reward_batch_address(self, merchant: Pubkey, batch_id: UUID) -> Pubkey:
        """Derive where a merchant's batch of rewards is."""
        return self._derived(_REWARD_BATCH_SEED, bytes(merchant), batch_id.bytes)

    def initialize_merchant(
        self,
        *,
        payer: Pubkey,
        creator: Pubkey,
        mint: Pubkey,
        token_program: Pubkey,
        treasury: Pubkey,
        vault: Pubkey,
    ) -> Instruction:
        """Begin a merchant, whose first authority is its creator.

        Args:
            payer: pays the account's rent.
            creator: signs; address and authority are its.
            mint: what is charged.
            token_program: whose mint it is.
            treasury: the token account that charges go to, for ever.
            vault: a token account of the merchant's address, for rewards.
        """
        accounts = {
            "payer": payer,
            "creator": creator,
            "merchant": self.merchant_address(creator, mint),
            "mint": mint,
            "treasury": treasury,
            "reward_vault": vault,
            "token_program": token_program,
            "system_program": SYSTEM_PROGRAM,
        }
        return self._instruction("initialize_merchant", accounts)

    def propose_authority(
        self, *, merchant: Pubkey, authority: Pubkey, new_authority: Pubkey | None
    ) -> Instruction:
        """Name who may take the merchant over, or None to take an earlier proposal back."""
        accounts = {"authority": authority, "merchant": merchant}
        return self._instruction("propose_authority", accounts, new_authority=new_authority or _NOBODY)

    def accept_authority(self, *, merchant: Pubkey, new_authority: Pubkey) -> Instruction:
        """Take a merchant over that was proposed."""
        return self._instruction("accept_authority", {"new_authority": new_authority, "merchant": merchant})

    def set_paused(self, *, merchant: Pubkey, authority: Pubkey, paused: bool) -> Instruction:
        """Stop charges, rewards and new allowances, or let them go on."""
        return self._instruction("set_paused", {"authority": authority, "merchant": merchant}, paused=paused)

    def open_allowance(
        self, *, payer: Pubkey, owner: Pubkey, merchant: Pubkey, token_account: Pubkey, terms: AllowanceTerms
    ) -> Instruction:
        """Open an owner's allowance; its address must be the token account's delegate by then.

        Args:
            payer: pays the account's rent the first time.
            owner: signs.
            merchant: who may charge.
            token_account: the owner's, that is charged.
            terms: what is allowed.
        """
        accounts = {
            "payer": payer,
            "owner": owner,
            "merchant": merchant,
            "allowance": self.allowance_address(merchant, owner),
            "token_account": token_account,
            "system_program": SYSTEM_PROGRAM,
        }
        return self._instruction("open_allowance", accounts, **_terms_arguments(terms))

    def change_allowance(self, *, owner: Pubkey, merchant: Pubkey, terms: AllowanceTerms) -> Instruction:
        """Put other terms in place of an open allowance's."""
        accounts = {"owner": owner, "allowance": self.allowance_address(merchant, owner)}
        return self._instruction("change_allowance", accounts, **_terms_arguments(terms))

    def close_allowance(self, *, owner: Pubkey, merchant: Pubkey) -> Instruction:
        """End an allowance; its account stays, so that its sequence never goes back."""
        accounts = {"owner": owner, "allowance": self.allowance_address(merchant, owner)}
        return self._instruction("close_allowance", accounts)

    def charge(
        self,
        merchant: MerchantState,
        *,
        allowance: Pubkey,
        token_account: Pubkey,
        amount_base_units: int,
        sequence: int,
        reference: UUID,
    ) -> Instruction:
        """Take a fee out of an allowance; of all charges with one sequence one lands at most.

        Args:
            merchant: whose authority signs and whose treasury is paid.
            allowance: the owner's.
            token_account: the one that the owner approved.
            amount_base_units: how much.
            sequence: the allowance's next one.
            reference: the payment, kept on the chain beside the sequence that it took.
        """
        accounts = {
            "authority": merchant.authority,
            "merchant": merchant.address,
            "allowance": allowance,
            "token_account": token_account,
            "mint": merchant.mint,
            "treasury": merchant.treasury,
            "token_program": merchant.token_program,
        }
        return self._instruction(
            "charge", accounts, amount=amount_base_units, sequence=sequence, reference=list(reference.bytes)
        )

    def fund_vault(
        self, merchant: MerchantState, *, funder: Pubkey, source: Pubkey, amount_base_units: int
    ) -> Instruction:
        """Put tokens into the reward vault; anybody may."""
        accounts = {"funder": funder, "source": source, **_vault_accounts(merchant)}
        return self._instruction("fund_vault", accounts, amount=amount_base_units)

    def withdraw_vault(self, merchant: MerchantState, *, amount_base_units: int) -> Instruction:
        """Move tokens from the vault back to the treasury."""
        accounts = {
            "authority": merchant.authority,
            "treasury": merchant.treasury,
            **_vault_accounts(merchant),
        }
        return self._instruction("withdraw_vault", accounts, amount=amount_base_units)

    def create_reward_batch(
        self, merchant: MerchantState, *, payer: Pubkey, batch_id: UUID, capacity: int
    ) -> Instruction:
        """Make the account that remembers which rewards of a batch were paid.

        Args:
            merchant: whose batch it is.
            payer: pays the account's rent, which nobody gets back.
            batch_id: names it.
            capacity: how many rewards it has, 1 to 65,536.
        """
        accounts = {
            "payer": payer,
            "authority": merchant.authority,
            "merchant": merchant.address,
            "batch": self.reward_batch_address(merchant.address, batch_id),
            "system_program": SYSTEM_PROGRAM,
        }
        return self._instruction(
            "create_reward_batch", accounts, batch_id=list(batch_id.bytes), capacity=capacity
        )

    def pay_reward(
        self,
        merchant: MerchantState,
        *,
        batch_id: UUID,
        index: int,
        destination: Pubkey,
        amount_base_units: int,
    ) -> Instruction:
        """Pay one reward of a batch out of the vault; its index can be paid once.

        Args:
            merchant: whose vault pays.
            batch_id: the batch.
            index: which of its rewards, from 0.
            destination: the recipient's token account.
            amount_base_units: how much.
        """
        accounts = {
            "authority": merchant.authority,
            "batch": self.reward_batch_address(merchant.address, batch_id),
            "destination": destination,
            **_vault_accounts(merchant),
        }
        return self._instruction("pay_reward", accounts, index=index, amount=amount_base_units)

    def merchant(self, account: AccountSnapshot) -> MerchantState:
        """Read a merchant's account.

        Raises:
            RpcMalformedReplyError: when the account is not one.
        """
        found = self._decoded("Merchant", account)
        return MerchantState(
            address=account.address,
            creator=found.creator,
            mint=found.mint,
            token_program=found.token_program,
            authority=found.authority,
            pending_authority=None if found.pending_authority == _NOBODY else found.pending_authority,
            treasury=found.treasury,
            reward_vault=found.reward_vault,
            decimals=found.decimals,
            is_paused=found.paused,
        )

    def allowance(self, account: AccountSnapshot) -> AllowanceState:
        """Read an allowance's account; see `merchant`."""
        found = self._decoded("Allowance", account)
        last = UUID(bytes=bytes(found.last_reference))
        return AllowanceState(
            address=account.address,
            merchant=found.merchant,
            owner=found.owner,
            token_account=found.token_account,
            terms=AllowanceTerms(
                found.cap_per_period, found.period_seconds, found.max_per_charge, found.expires_at
            ),
            period_start=found.period_start,
            spent_in_period_base_units=found.spent_in_period,
            next_sequence=found.next_sequence,
            charged_total_base_units=found.charged_total,
            last_reference=None if last == _NO_REFERENCE else last,
            is_open=found.is_open,
        )

    def reward_batch(self, account: AccountSnapshot) -> RewardBatchState:
        """Read the account of a batch of rewards; see `merchant`."""
        found = self._decoded("RewardBatch", account)
        return RewardBatchState(
            address=account.address,
            merchant=found.merchant,
            batch_id=UUID(bytes=bytes(found.batch_id)),
            paid_total_base_units=found.paid_total,
            paid_count=found.paid_count,
            capacity=found.capacity,
            bitmap=bytes(found.bitmap),
        )

    def events(self, logs: Sequence[str]) -> list[AllowanceEvent]:
        """Return the program's events in a transaction's log, in their order.

        Args:
            logs: `meta.logMessages` of the transaction.
        """
        found: list[AllowanceEvent] = []
        if not logs:
            return found
        self._events.parse_logs(
            list(logs), lambda event: found.append(AllowanceEvent(event.name, _plain_fields(event.data)))
        )
        return found

    def _derived(self, *seeds: bytes) -> Pubkey:
        return Pubkey.find_program_address(list(seeds), self.program_id)[0]

    def _instruction(self, name: str, accounts: Mapping[str, Pubkey], **arguments: Any) -> Instruction:
        metas = [
            AccountMeta(accounts[account], is_signer=is_signer, is_writable=is_writable)
            for account, is_signer, is_writable in self._metas[name]
        ]
        return Instruction(self.program_id, self._coder.instruction.encode(name, arguments), metas)

    def _decoded(self, kind: str, account: AccountSnapshot) -> Any:
        is_long_enough = len(account.data) >= _SIZES_BYTES[kind]
        discriminator = self._coder.accounts.acc_name_to_discriminator[kind]
        is_kind = is_long_enough and account.data[:8] == discriminator
        if account.owner != self.program_id or not is_kind:
            raise RpcMalformedReplyError(
                f"{account.address} is no {kind} account of program {self.program_id}",
                address=str(account.address),
            )
        return self._coder.accounts.decode(account.data)


def _vault_accounts(merchant: MerchantState) -> dict[str, Pubkey]:
    return {
        "merchant": merchant.address,
        "reward_vault": merchant.reward_vault,
        "mint": merchant.mint,
        "token_program": merchant.token_program,
    }


def _terms_arguments(terms: AllowanceTerms) -> dict[str, int]:
    return {
        "cap_per_period": terms.cap_per_period_base_units,
        "period_seconds": terms.period_seconds,
        "max_per_charge": terms.max_per_charge_base_units,
        "expires_at": terms.expires_at,
    }


def _plain_fields(data: Any) -> dict[str, Any]:
    """Return an event's fields, sixteen bytes as the UUID that they are."""
    fields = {name: value for name, value in vars(data).items() if not name.startswith("_")}
    return {
        name: value if isinstance(value, int | Pubkey) else UUID(bytes=bytes(value))
        for name, value in fields.items()
    }
