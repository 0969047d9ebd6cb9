"""A bare LiteSVM with the program, a merchant and people with tokens; accounts are laid out directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from solders.account import Account
from solders.clock import Clock
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import TransactionMetadata

from deal_sdk.chain import CLASSIC_TOKEN_PROGRAM, instructions
from deal_sdk.chain.allowance import (
    AllowanceEvent,
    AllowanceProgramClient,
    AllowanceState,
    AllowanceTerms,
    MerchantState,
    RewardBatchState,
    program_bytes,
    program_refusal,
)
from deal_sdk.chain.replies import AccountSnapshot

PROGRAM_ID: Final = Pubkey.from_bytes(b"deal_allowance in a test chain..")
MINT_LAMPORTS: Final = 10_000_000
START: Final = 1_700_000_000
DECIMALS: Final = 8
REFERENCE: Final = UUID(int=7)
TERMS: Final = AllowanceTerms(1_000, 3_600, 600, START + 100_000)


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a transaction."""

    error: str | None
    """The program's name for it, the token program's number, or the runtime's own words."""
    units: int
    logs: list[str]


class ProgramWorld:
    """One chain; every method that acts sends one transaction, paid by `payer`."""

    def __init__(self, *, token_program: Pubkey = CLASSIC_TOKEN_PROGRAM, elf: bytes | None = None) -> None:
        self.svm = LiteSVM().with_sigverify(False).with_blockhash_check(False)
        self.svm.add_program(PROGRAM_ID, program_bytes() if elf is None else elf)
        self.client = AllowanceProgramClient(PROGRAM_ID)
        self.token_program = token_program
        self.payer = self.person()
        self.creator = self.person()
        self.set_time(START)
        self.mint = self.new_mint()
        self.treasury = self.token_account(Keypair().pubkey(), 0)
        self.merchant_address = self.client.merchant_address(self.creator.pubkey(), self.mint)
        self.vault = self.token_account(self.merchant_address, 0)

    @classmethod
    def started(cls, **options: Any) -> ProgramWorld:
        """Return a chain whose merchant is initialized."""
        world = cls(**options)
        assert world.send([world.initialize()], world.creator).error is None
        return world

    def person(self) -> Keypair:
        """Return somebody with lamports."""
        keypair = Keypair()
        self.svm.airdrop(keypair.pubkey(), 10**10)
        return keypair

    def set_time(self, unix_seconds: int) -> None:
        """Move the cluster's clock."""
        self.svm.set_clock(Clock(1, unix_seconds, 0, 1, unix_seconds))

    def new_mint(
        self, *, extensions: bytes = b"", initialized: bool = True, owner: Pubkey | None = None
    ) -> Pubkey:
        """Lay out a mint; extensions are those of Token-2022, with their headers."""
        address = Keypair().pubkey()
        data = bytes(36) + (10**15).to_bytes(8, "little") + bytes([DECIMALS, initialized]) + bytes(36)
        if extensions:
            data += bytes(165 - len(data)) + b"\x01" + extensions
        self.svm.set_account(address, Account(MINT_LAMPORTS, data, owner or self.token_program))
        return address

    def token_account(
        self,
        owner: Pubkey,
        amount: int,
        *,
        mint: Pubkey | None = None,
        delegate: Pubkey | None = None,
        close_authority: Pubkey | None = None,
        is_frozen: bool = False,
        token_program: Pubkey | None = None,
    ) -> Pubkey:
        """Lay out a token account."""
        address = Keypair().pubkey()
        data = bytes(mint or self.mint) + bytes(owner) + amount.to_bytes(8, "little")
        data += _option(delegate) + bytes([2 if is_frozen else 1]) + bytes(12)
        data += (amount if delegate else 0).to_bytes(8, "little") + _option(close_authority)
        self.svm.set_account(address, Account(MINT_LAMPORTS, data, token_program or self.token_program))
        return address

    def send(self, steps: Sequence[Instruction], *signers: Keypair) -> Landed:
        """Run a transaction, signed by those of the signers that it asks for."""
        self.svm.expire_blockhash()
        blockhash = self.svm.latest_blockhash()
        message = Message.new_with_blockhash(list(steps), self.payer.pubkey(), blockhash)
        known = {keypair.pubkey(): keypair for keypair in (self.payer, *signers)}
        needed = message.account_keys[: message.header.num_required_signatures]
        keypairs = [known[address] for address in needed]
        result = self.svm.send_transaction(Transaction(keypairs, message, blockhash))
        if isinstance(result, TransactionMetadata):
            return Landed(None, result.compute_units_consumed(), result.logs())
        meta = result.meta()
        return Landed(_error_name(result.err()), meta.compute_units_consumed(), meta.logs())

    def events(self, landed: Landed) -> list[AllowanceEvent]:
        """Return what the program logged."""
        return self.client.events(landed.logs)

    def initialize(self, **accounts: Pubkey) -> Instruction:
        """Build the merchant's beginning, with other accounts in place of the right ones."""
        built = self.client.initialize_merchant(
            payer=self.payer.pubkey(),
            creator=self.creator.pubkey(),
            mint=self.mint,
            token_program=self.token_program,
            treasury=self.treasury,
            vault=self.vault,
        )
        return swapped(built, self.positions("initialize_merchant"), accounts)

    def positions(self, name: str) -> list[str]:
        """Return an instruction's accounts by name, in their order."""
        return self.client.account_names(name)

    @property
    def merchant(self) -> MerchantState:
        """Read the merchant."""
        return self.client.merchant(self.snapshot(self.merchant_address))

    def snapshot(self, address: Pubkey) -> AccountSnapshot:
        """Read an account as the RPC would give it."""
        account = self.svm.get_account(address)
        assert account is not None
        return AccountSnapshot(address, account.owner, account.lamports, account.data, account.executable, 1)

    def balance(self, token_account: Pubkey) -> int:
        """Read a token account's amount."""
        return int.from_bytes(self.snapshot(token_account).data[64:72], "little")

    def owner(self, amount: int = 10_000) -> Owner:
        """Return somebody with tokens and no allowance yet."""
        keypair = self.person()
        allowance = self.client.allowance_address(self.merchant_address, keypair.pubkey())
        return Owner(self, keypair, self.token_account(keypair.pubkey(), amount), allowance)

    def opened(self, terms: AllowanceTerms = TERMS, amount: int = 10_000) -> Owner:
        """Return somebody who opened an allowance."""
        owner = self.owner(amount)
        assert self.send(owner.opening(terms), owner.keypair).error is None
        return owner

    def reward_batch(self, batch_id: UUID) -> RewardBatchState:
        """Read a batch of rewards."""
        address = self.client.reward_batch_address(self.merchant_address, batch_id)
        return self.client.reward_batch(self.snapshot(address))


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody with a token account in a world."""

    world: ProgramWorld
    keypair: Keypair
    token_account: Pubkey
    allowance: Pubkey

    def approving(self, amount: int = 10**12, *, delegate: Pubkey | None = None) -> Instruction:
        """Build the approval of the allowance, or of somebody else."""
        return instructions.approve_checked(
            source=self.token_account,
            mint=self.world.mint,
            delegate=delegate or self.allowance,
            owner=self.keypair.pubkey(),
            amount_base_units=amount,
            decimals=DECIMALS,
            program_id=self.world.token_program,
        )

    def opening(self, terms: AllowanceTerms = TERMS, **accounts: Pubkey) -> list[Instruction]:
        """Build approval and opening, as a wallet signs them together."""
        built = self.world.client.open_allowance(
            payer=self.world.payer.pubkey(),
            owner=self.keypair.pubkey(),
            merchant=self.world.merchant_address,
            token_account=self.token_account,
            terms=terms,
        )
        return [self.approving(), swapped(built, self.world.positions("open_allowance"), accounts)]

    def charging(
        self, amount: int, sequence: int = 0, reference: UUID = REFERENCE, **accounts: Pubkey
    ) -> Instruction:
        """Build a charge, with other accounts in place of the right ones."""
        built = self.world.client.charge(
            self.world.merchant,
            allowance=self.allowance,
            token_account=self.token_account,
            amount_base_units=amount,
            sequence=sequence,
            reference=reference,
        )
        return swapped(built, self.world.positions("charge"), accounts)

    def charge(
        self, amount: int, sequence: int = 0, reference: UUID = REFERENCE, **accounts: Pubkey
    ) -> Landed:
        """Charge and return what became of it."""
        return self.world.send([self.charging(amount, sequence, reference, **accounts)], self.world.creator)

    @property
    def state(self) -> AllowanceState:
        """Read the allowance."""
        return self.world.client.allowance(self.world.snapshot(self.allowance))


def swapped(built: Instruction, positions: Sequence[str], accounts: dict[str, Pubkey]) -> Instruction:
    """Return an instruction with other accounts at some positions; signers stay signers."""
    metas = [
        AccountMeta(accounts.get(name, meta.pubkey), meta.is_signer, meta.is_writable)
        for name, meta in zip(positions, built.accounts, strict=True)
    ]
    return Instruction(built.program_id, bytes(built.data), metas)


def unsigned(built: Instruction, position: int) -> Instruction:
    """Return an instruction that does not ask for one account's signature."""
    metas = list(built.accounts)
    metas[position] = AccountMeta(metas[position].pubkey, False, metas[position].is_writable)
    return Instruction(built.program_id, bytes(built.data), metas)


def later(terms: AllowanceTerms, **changes: int) -> AllowanceTerms:
    """Return terms with some changed."""
    return replace(terms, **changes)


def _option(address: Pubkey | None) -> bytes:
    return bytes(36) if address is None else b"\x01\x00\x00\x00" + bytes(address)


def _error_name(error: Any) -> str:
    number = getattr(getattr(error, "err", None), "code", None)
    if number is None:
        return str(error)
    refusal = program_refusal(number)
    return f"token error {number}" if refusal is None else refusal.name
