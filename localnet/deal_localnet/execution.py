"""Runs transactions on LiteSVM and adds what it leaves out of Agave's rules.

That is: the priority fee, the rent check on every changed account, the fee of a transaction whose program
cannot be loaded, and the balances before and after.
"""

from collections.abc import Iterator
from typing import Any, Final

import orjson
from solders.account import Account
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction_metadata import (
    FailedTransactionMetadata,
    SimulatedTransactionInfo,
    TransactionMetadata,
)

from .accounts import AccountStore
from .addresses import BPF_LOADER_UPGRADEABLE
from .fees import MAX_LOADED_BYTES, MessageFee, invalid_budget, message_fee
from .live_accounts import AccountState, LiveAccounts, empty_account
from .nonces import advanced, nonce_use
from .programs import program_runner
from .records import (
    Execution,
    InnerInstruction,
    TokenHolding,
    WireTransaction,
)
from .rent import rent_exempt_minimum

LOADED_ACCOUNT_OVERHEAD_BYTES: Final = 64
LOADED_TABLE_BYTES: Final = 8_248
PROGRAM_BYTES: Final = 36
PROGRAM_TAG_BYTES: Final = 4
MINT_BYTES: Final = 32
LOADS_TOO_MUCH: Final = "MaxLoadedAccountsDataSizeExceeded"
FEE_ONLY_ERRORS: Final = frozenset({"ProgramAccountNotFound", "InvalidProgramForExecution", LOADS_TOO_MUCH})

States = list[AccountState | None]


def breaks_rent(before: AccountState | None, after: AccountState | None) -> bool:
    """Tell whether a change leaves an account below the rent-exempt minimum by Agave's transition rules."""
    if after is None or after.lamports >= rent_exempt_minimum(after.data_bytes):
        return False
    if before is None or before.lamports >= rent_exempt_minimum(before.data_bytes):
        return True
    return before.data_bytes != after.data_bytes or after.lamports > before.lamports


class Executor:
    """Runs one transaction at a time against LiteSVM's newest state."""

    def __init__(self, svm: LiteSVM, live: LiveAccounts, accounts: AccountStore) -> None:
        self._svm = svm
        self._live = live
        self._accounts = accounts
        self._programs = program_runner()

    def land(self, transaction: WireTransaction, slot: int, next_nonce: Hash | None) -> Execution | None:
        """Execute for good; None when it may not even pay its fee and so leaves no trace.

        Args:
            transaction: what to execute.
            slot: the open one.
            next_nonce: what nonces advance to in this slot; None when the transaction moves none.
        """
        keys = transaction.keys
        before = [self._live.state(key) for key in keys]
        costs = message_fee(transaction.message)
        fee = costs.total
        if invalid_budget(transaction) is not None or self._payer_error(before[0], fee) is not None:
            return None
        if self._loads_too_much(transaction, before, costs):
            return self._land_unloaded(transaction, before, costs, slot, next_nonce)
        if costs.priority_fee:
            self._charge(keys[0], before[0], costs.priority_fee)
        result = self._programs.run(self._svm.send_transaction, transaction.transaction)
        after = self._after(transaction, before)
        error = self._settle(transaction, before, after, fee, result)
        if error is not None:
            if not self._was_charged(keys[0], before[0], fee):
                self._put(keys[0], before[0])
                return None
            after = self._after(transaction, before)
        if next_nonce is not None:
            after = self._with_nonces(transaction, before, after, next_nonce, failed=error is not None)
        changed = self._record(transaction, before, after, slot)
        return self._execution(transaction, before, after, result, error, costs, changed)

    def _record(
        self, transaction: WireTransaction, before: States, after: States, slot: int
    ) -> tuple[int, ...]:
        changed = tuple([index for index in transaction.writable if after[index] is not before[index]])
        for index in changed:
            self._accounts.record(slot, transaction.keys[index], before[index], after[index])
        return changed

    def _land_unloaded(
        self,
        transaction: WireTransaction,
        before: States,
        costs: MessageFee,
        slot: int,
        next_nonce: Hash | None,
    ) -> Execution:
        """Take the fee of a transaction whose accounts are larger than it allows itself to load."""
        self._charge(transaction.keys[0], before[0], costs.total)
        after = self._after(transaction, before)
        if next_nonce is not None:
            after = self._with_nonces(transaction, before, after, next_nonce, failed=True)
        changed = self._record(transaction, before, after, slot)
        return self._unloaded(before, after, costs)._replace(changed=changed)

    def _unloaded(self, before: States, after: States, costs: MessageFee) -> Execution:
        return self.refused(LOADS_TOO_MUCH, before)._replace(
            logs=None,
            lamports_after=_lamports(after),
            fee=costs.total,
            micro_lamports_per_unit=costs.micro_lamports_per_unit,
        )

    def _with_nonces(
        self, transaction: WireTransaction, before: States, after: States, value: Hash, *, failed: bool
    ) -> States:
        """Move the nonces that LiteSVM moved, or of a failed transaction the one that it lived by."""
        lived_by = nonce_use(transaction.message, transaction.keys, transaction.writable) if failed else None
        for index in transaction.writable:
            key, state = transaction.keys[index], after[index]
            if state is None or (state is before[index] and (lived_by is None or key != lived_by.account)):
                continue
            account = advanced(state.account, value, transaction.blockhash if failed else None)
            if account is not None:
                self._live.set_account(key, account)
        return self._after(transaction, before)

    def _settle(
        self,
        transaction: WireTransaction,
        before: States,
        after: States,
        fee: int,
        result: TransactionMetadata | FailedTransactionMetadata,
    ) -> Any:
        if isinstance(result, TransactionMetadata):
            error = self._rent_error(transaction, before, after)
            if error is not None:
                for index in transaction.writable:
                    self._put(transaction.keys[index], before[index])
                self._charge(transaction.keys[0], before[0], fee)
            return error
        error = self._error_of(transaction, before, result)
        if isinstance(error, str) and error in FEE_ONLY_ERRORS:
            self._charge(transaction.keys[0], before[0], fee)
        return error

    def simulate(self, transaction: WireTransaction) -> tuple[Execution, dict[Pubkey, Account | None]]:
        """Execute without a trace, and return the accounts as they would be."""
        keys = transaction.keys
        before = [self._live.state(key) for key in keys]
        costs = message_fee(transaction.message)
        refusal = invalid_budget(transaction) or self._payer_error(before[0], costs.total)
        if refusal is not None:
            return self.refused(refusal, before), {}
        if self._loads_too_much(transaction, before, costs):
            return self._unloaded(before, self._with_fee(before, costs.total), costs), {}
        if costs.priority_fee:
            self._charge(keys[0], before[0], costs.priority_fee)
        result = self._programs.run(self._svm.simulate_transaction, transaction.transaction)
        if costs.priority_fee:
            self._put(keys[0], before[0])
        return self._simulated(transaction, before, result, costs)

    def _simulated(
        self,
        transaction: WireTransaction,
        before: States,
        result: SimulatedTransactionInfo | FailedTransactionMetadata,
        costs: MessageFee,
    ) -> tuple[Execution, dict[Pubkey, Account | None]]:
        if isinstance(result, FailedTransactionMetadata):
            error = self._error_of(transaction, before, result)
            after = self._with_fee(before, costs.total)
            posts: dict[Pubkey, Account | None] = {}
        else:
            posts = {key: account if account.lamports else None for key, account in result.post_accounts()}
            after = [
                AccountState.of(posts[key]) if key in posts else state
                for key, state in zip(transaction.keys, before, strict=True)
            ]
            error = self._rent_error(transaction, before, after)
            if error is not None:
                after, posts = self._with_fee(before, costs.total), {}
        execution = self._execution(transaction, before, after, result, error, costs)
        return execution, posts

    def _with_fee(self, before: States, fee: int) -> States:
        payer = before[0]
        return [None if payer is None else AccountState(_less(payer.account, fee)), *before[1:]]

    def _payer_error(self, payer: AccountState | None, fee: int) -> Any:
        if payer is None:
            return "AccountNotFound"
        if payer.lamports < fee:
            return "InsufficientFundsForFee"
        if 0 < payer.lamports - fee < rent_exempt_minimum(payer.data_bytes) <= payer.lamports:
            return {"InsufficientFundsForRent": {"account_index": 0}}
        return None

    def _error_of(
        self, transaction: WireTransaction, before: States, result: FailedTransactionMetadata
    ) -> Any:
        error = orjson.loads(result.to_json())["err"]
        if error == "InvalidProgramForExecution" and self._lacks_program(transaction, before):
            return "ProgramAccountNotFound"
        return error

    def _lacks_program(self, transaction: WireTransaction, before: States) -> bool:
        programs = (instruction.program_id_index for instruction in transaction.message.instructions)
        return any(before[index] is None for index in programs)

    def _rent_error(self, transaction: WireTransaction, before: States, after: States) -> Any:
        for index in transaction.writable:
            if breaks_rent(before[index], after[index]):
                return {"InsufficientFundsForRent": {"account_index": index}}
        return None

    def _was_charged(self, payer: Pubkey, before: AccountState | None, fee: int) -> bool:
        left = self._svm.get_balance(payer) or 0
        return before is not None and left == before.lamports - fee

    def _charge(self, payer: Pubkey, state: AccountState | None, lamports: int) -> None:
        if state is not None:
            self._live.set_account(payer, _less(state.account, lamports))

    def _put(self, key: Pubkey, state: AccountState | None) -> None:
        self._live.set_account(key, empty_account() if state is None else state.account)

    def _after(self, transaction: WireTransaction, before: States) -> States:
        """Read what may have changed; where nothing did, the state from before stands again."""
        keys = [transaction.keys[index] for index in transaction.writable]
        self._live.forget(keys)
        after = before.copy()
        for index, key in zip(transaction.writable, keys, strict=True):
            old, new = before[index], self._live.state(key)
            if old is None or new is None or new.account != old.account:
                after[index] = new
        return after

    def _execution(
        self,
        transaction: WireTransaction,
        before: States,
        after: States,
        result: TransactionMetadata | SimulatedTransactionInfo | FailedTransactionMetadata,
        error: Any,
        costs: MessageFee,
        changed: tuple[int, ...] = (),
    ) -> Execution:
        meta = result if isinstance(result, TransactionMetadata) else result.meta()
        loaded = not isinstance(error, str)
        tokens = self._holdings(before)
        # The stub names this method after the Rust type; at run time it is `return_data`.
        returned = meta.return_data()  # type: ignore[attr-defined]
        data = returned.data
        return Execution(
            error=error,
            logs=meta.logs() if loaded else None,
            inner=_inner(meta) if loaded else None,
            units=meta.compute_units_consumed(),
            return_program=str(returned.program_id) if data else "",
            return_data=data,
            lamports_before=_lamports(before),
            lamports_after=_lamports(after),
            tokens_before=tuple(tokens.values()),
            tokens_after=tuple(self._holdings_after(tokens, before, after)),
            loaded_bytes=self._loaded_bytes(transaction, before) if loaded else 0,
            fee=costs.total,
            changed=changed,
            micro_lamports_per_unit=costs.micro_lamports_per_unit,
        )

    def refused(self, error: Any, before: States) -> Execution:
        """Return the outcome of a transaction that was refused before it ran."""
        lamports = _lamports(before)
        tokens = tuple(self._holdings(before).values())
        return Execution(error, [], None, 0, "", b"", lamports, lamports, tokens, tokens, 0, None)

    def _loads_too_much(self, transaction: WireTransaction, before: States, costs: MessageFee) -> bool:
        limit = costs.loaded_bytes_limit
        # Nearly nobody asks for less than everyone gets, and that is more than a transaction can name.
        return limit < MAX_LOADED_BYTES and self._loaded_bytes(transaction, before) > limit

    def _loaded_bytes(self, transaction: WireTransaction, states: States) -> int:
        """Return the bytes that running a transaction loads, the code of upgradeable programs included."""
        loaded = 0
        codes = set()
        for state in states:
            if state is None:
                continue
            loaded += state.data_bytes + LOADED_ACCOUNT_OVERHEAD_BYTES
            if state.data_bytes == PROGRAM_BYTES and state.owner == BPF_LOADER_UPGRADEABLE:
                codes.add(Pubkey.from_bytes(state.account.data[PROGRAM_TAG_BYTES:]))
        for code in codes.difference(transaction.keys):
            found = self._live.state(code)
            if found is not None:
                loaded += found.data_bytes + LOADED_ACCOUNT_OVERHEAD_BYTES
        message = transaction.message
        if isinstance(message, MessageV0):
            loaded += len(message.address_table_lookups) * LOADED_TABLE_BYTES
        return loaded

    def _holdings(self, states: States) -> dict[int, TokenHolding]:
        return {
            index: TokenHolding(index, state.head, state.owner, self._decimals(state.head))
            for index, state in enumerate(states)
            if state is not None and state.head is not None
        }

    def _holdings_after(
        self, tokens: dict[int, TokenHolding], before: States, after: States
    ) -> Iterator[TokenHolding]:
        for index, state in enumerate(after):
            if state is None or state.head is None:
                continue
            old = tokens.get(index)
            if old is not None and state is before[index]:
                yield old
            else:
                yield TokenHolding(index, state.head, state.owner, self._decimals(state.head))

    def _decimals(self, head: bytes) -> int:
        mint = self._live.state(Pubkey.from_bytes(head[:MINT_BYTES]))
        return 0 if mint is None else mint.decimals


def _less(account: Account, lamports: int) -> Account:
    return Account(
        account.lamports - lamports, account.data, account.owner, account.executable, account.rent_epoch
    )


def _lamports(states: States) -> tuple[int, ...]:
    return tuple([0 if state is None else state.lamports for state in states])


def _inner(meta: TransactionMetadata) -> list[list[InnerInstruction]]:
    found = meta.inner_instructions()
    if not any(found):
        return []
    return [[_inner_instruction(item) for item in group] for group in found]


def _inner_instruction(item: Any) -> InnerInstruction:
    instruction = item.instruction()
    return InnerInstruction(
        instruction.program_id_index,
        bytes(instruction.accounts),
        bytes(instruction.data),
        item.stack_height(),
    )
