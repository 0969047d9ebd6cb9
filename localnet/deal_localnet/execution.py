"""Runs transactions on LiteSVM and adds what it leaves out of Agave's rules.

That is: the priority fee, the rent check on every changed account, the fee of a transaction whose program
cannot be loaded, and the balances before and after.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
from solders.account import Account
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction_metadata import (
    FailedTransactionMetadata,
    SimulatedTransactionInfo,
    TransactionMetadata,
)

from .accounts import AccountStore, empty_account
from .fees import message_fee
from .programs import program_runner
from .records import (
    MINT_DECIMALS_OFFSET,
    Execution,
    InnerInstruction,
    TokenHolding,
    WireTransaction,
    token_head,
)

ACCOUNT_OVERHEAD_BYTES: Final = 128
RENT_LAMPORTS_PER_BYTE: Final = 6_960
LOADED_ACCOUNT_OVERHEAD_BYTES: Final = 64
FEE_ONLY_ERRORS: Final = frozenset(
    {
        "ProgramAccountNotFound",
        "InvalidProgramForExecution",
        "MaxLoadedAccountsDataSizeExceeded",
    }
)

States = list[Account | None]


def rent_exempt_minimum(data_bytes: int) -> int:
    """Return the lamports that an account of a size must hold."""
    return (ACCOUNT_OVERHEAD_BYTES + data_bytes) * RENT_LAMPORTS_PER_BYTE


def breaks_rent(before: Account | None, after: Account | None) -> bool:
    """Tell whether a change leaves an account below the rent-exempt minimum by Agave's transition rules."""
    if after is None:
        return False
    size = len(after.data)
    if after.lamports >= rent_exempt_minimum(size):
        return False
    if before is None or before.lamports >= rent_exempt_minimum(len(before.data)):
        return True
    return len(before.data) != size or after.lamports > before.lamports


class Executor:
    """Runs one transaction at a time against LiteSVM's newest state."""

    def __init__(self, svm: LiteSVM, accounts: AccountStore) -> None:
        self._svm = svm
        self._accounts = accounts
        self._programs = program_runner()

    def land(self, transaction: WireTransaction, slot: int) -> Execution | None:
        """Execute for good; None when it may not even pay its fee and so leaves no trace."""
        keys = transaction.keys
        before = [self._accounts.current(key) for key in keys]
        signature_fee, priority_fee = message_fee(transaction.message)
        fee = signature_fee + priority_fee
        if self._payer_error(before[0], fee) is not None:
            return None
        if priority_fee:
            self._charge(keys[0], before[0], priority_fee)
        result = self._programs.run(self._svm.send_transaction, transaction.transaction)
        after = self._after(transaction, before)
        error = self._settle(transaction, before, after, fee, result)
        if error is not None:
            if not self._was_charged(keys[0], before[0], fee):
                self._put(keys[0], before[0])
                return None
            after = self._after(transaction, before)
        changed = tuple([index for index in transaction.writable if after[index] != before[index]])
        for index in changed:
            self._accounts.record(slot, keys[index], before[index], after[index])
        return self._execution(transaction, before, after, result, error, fee, changed)

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
        before = [self._accounts.current(key) for key in keys]
        signature_fee, priority_fee = message_fee(transaction.message)
        fee = signature_fee + priority_fee
        refusal = self._payer_error(before[0], fee)
        if refusal is not None:
            return refused_execution(refusal, before), {}
        if priority_fee:
            self._charge(keys[0], before[0], priority_fee)
        result = self._programs.run(self._svm.simulate_transaction, transaction.transaction)
        if priority_fee:
            self._put(keys[0], before[0])
        return self._simulated(transaction, before, result, fee)

    def _simulated(
        self,
        transaction: WireTransaction,
        before: States,
        result: SimulatedTransactionInfo | FailedTransactionMetadata,
        fee: int,
    ) -> tuple[Execution, dict[Pubkey, Account | None]]:
        if isinstance(result, FailedTransactionMetadata):
            error = self._error_of(transaction, before, result)
            after = self._with_fee(before, fee)
            posts: dict[Pubkey, Account | None] = {}
        else:
            posts = {key: account if account.lamports else None for key, account in result.post_accounts()}
            after = [posts.get(key, state) for key, state in zip(transaction.keys, before, strict=True)]
            error = self._rent_error(transaction, before, after)
            if error is not None:
                after, posts = self._with_fee(before, fee), {}
        execution = self._execution(transaction, before, after, result, error, fee)
        return execution, posts

    def _with_fee(self, before: States, fee: int) -> States:
        payer = before[0]
        return [None if payer is None else _less(payer, fee), *before[1:]]

    def _payer_error(self, payer: Account | None, fee: int) -> Any:
        if payer is None:
            return "AccountNotFound"
        if payer.lamports < fee:
            return "InsufficientFundsForFee"
        if breaks_rent(payer, _less(payer, fee) if payer.lamports > fee else None):
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

    def _was_charged(self, payer: Pubkey, before: Account | None, fee: int) -> bool:
        left = self._svm.get_balance(payer) or 0
        return before is not None and left == before.lamports - fee

    def _charge(self, payer: Pubkey, account: Account | None, lamports: int) -> None:
        if account is not None:
            self._svm.set_account(payer, _less(account, lamports))

    def _put(self, key: Pubkey, account: Account | None) -> None:
        self._svm.set_account(key, account or empty_account())

    def _after(self, transaction: WireTransaction, before: States) -> States:
        after = before.copy()
        for index in transaction.writable:
            after[index] = self._accounts.current(transaction.keys[index])
        return after

    def _execution(
        self,
        transaction: WireTransaction,
        before: States,
        after: States,
        result: TransactionMetadata | SimulatedTransactionInfo | FailedTransactionMetadata,
        error: Any,
        fee: int,
        changed: tuple[int, ...] = (),
    ) -> Execution:
        meta = result if isinstance(result, TransactionMetadata) else result.meta()
        loaded = not isinstance(error, str)
        tokens = self._holdings(before)
        # The stub names this method after the Rust type; at run time it is `return_data`.
        returned = meta.return_data()  # type: ignore[attr-defined]
        return Execution(
            error=error,
            logs=meta.logs() if loaded else None,
            inner=_inner(meta) if loaded else None,
            units=meta.compute_units_consumed(),
            return_program=str(returned.program_id) if returned.data else "",
            return_data=returned.data,
            lamports_before=_lamports(before),
            lamports_after=_lamports(after),
            tokens_before=tuple(tokens.values()),
            tokens_after=tuple(self._holdings_after(tokens, before, after)),
            loaded_bytes=_loaded_bytes(before) if loaded else 0,
            fee=fee,
            changed=changed,
        )

    def _holding(self, index: int, account: Account | None) -> TokenHolding | None:
        head = token_head(account)
        if account is None or head is None:
            return None
        return TokenHolding(index, head, account.owner, self._decimals(head))

    def _holdings(self, states: States) -> dict[int, TokenHolding]:
        found = ((index, self._holding(index, account)) for index, account in enumerate(states))
        return {index: holding for index, holding in found if holding is not None}

    def _holdings_after(
        self, tokens: dict[int, TokenHolding], before: States, after: States
    ) -> Iterator[TokenHolding]:
        for index, account in enumerate(after):
            unchanged = account is before[index]
            holding = tokens.get(index) if unchanged else self._holding(index, account)
            if holding is not None:
                yield holding

    def _decimals(self, head: bytes) -> int:
        mint = self._svm.get_account(Pubkey.from_bytes(head[:32]))
        data = mint.data if mint is not None else b""
        return data[MINT_DECIMALS_OFFSET] if len(data) > MINT_DECIMALS_OFFSET else 0


def refused_execution(error: Any, before: States | None) -> Execution:
    """Build the outcome of a transaction that was refused before it ran."""
    lamports = _lamports(before or [])
    return Execution(error, [], None, 0, "", b"", lamports, lamports, (), (), 0, None)


def _less(account: Account, lamports: int) -> Account:
    return Account(
        account.lamports - lamports, account.data, account.owner, account.executable, account.rent_epoch
    )


def _lamports(states: Iterable[Account | None]) -> tuple[int, ...]:
    return tuple([0 if account is None else account.lamports for account in states])


def _loaded_bytes(states: Iterable[Account | None]) -> int:
    sizes = [len(account.data) for account in states if account is not None]
    return sum(sizes) + LOADED_ACCOUNT_OVERHEAD_BYTES * len(sizes)


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
