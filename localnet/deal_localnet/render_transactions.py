"""Landed transactions as JSON, rendered only when a reader asks."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from .addresses import address_text
from .base58 import b58encode
from .errors import transaction_version_unsupported
from .fees import cost_units
from .instructions import parse_instruction
from .records import (
    Execution,
    InnerInstruction,
    TokenHolding,
    TransactionRecord,
    WireTransaction,
    writable_indexes,
)
from .token_state import ui_amount

TOP_STACK_HEIGHT: Final = 1

ShowInstruction = Callable[[int, bytes, bytes, int], dict[str, Any]]


class TransactionView:
    """Shows one landed transaction in any of the RPC's encodings."""

    def __init__(self, record: TransactionRecord) -> None:
        self._record = record
        self._transaction = VersionedTransaction.from_bytes(record.wire)
        self._message: Message | MessageV0 = self._transaction.message
        self._names = _names(record.keys)
        self._wire = WireTransaction(
            record.wire,
            self._transaction,
            self._message,
            record.signature,
            record.keys,
            record.loaded_writable,
            record.loaded_readonly,
            writable_indexes(
                self._message,
                len(record.keys) - record.loaded_writable - record.loaded_readonly,
                record.loaded_writable,
            ),
        )

    @property
    def version(self) -> str | int:
        """Return "legacy" or the version's number."""
        return 0 if isinstance(self._message, MessageV0) else "legacy"

    def entry(self, encoding: str, max_version: int | None, *, shows_rewards: bool = True) -> dict[str, Any]:
        """Return transaction, meta and, when the reader knows versions, the version."""
        self._check_version(max_version)
        entry: dict[str, Any] = {
            "meta": self.meta(encoding) | ({} if shows_rewards else {"rewards": None}),
            "transaction": self.encoded(encoding),
        }
        if max_version is not None:
            entry["version"] = self.version
        return entry

    def accounts_entry(self, max_version: int | None) -> dict[str, Any]:
        """Return the short form that lists accounts and balances alone."""
        self._check_version(max_version)
        execution = self._record.execution
        entry: dict[str, Any] = {
            "meta": {
                "err": execution.error,
                "fee": execution.fee,
                **balances(execution),
                "status": status(execution.error),
            },
            "transaction": {"accountKeys": self._parsed_keys(), "signatures": self.signatures()},
        }
        if max_version is not None:
            entry["version"] = self.version
        return entry

    def _check_version(self, max_version: int | None) -> None:
        if self.version == 0 and max_version is None:
            raise transaction_version_unsupported(0)

    def signatures(self) -> list[str]:
        """Return all signatures."""
        return [str(signature) for signature in self._transaction.signatures]

    def encoded(self, encoding: str) -> Any:
        """Return the transaction itself."""
        if encoding == "base64":
            return [b64encode(self._record.wire).decode(), "base64"]
        if encoding in ("base58", "binary"):
            text = b58encode(self._record.wire)
            return text if encoding == "binary" else [text, "base58"]
        message = self._parsed_message() if encoding == "jsonParsed" else self._raw_message()
        return {"message": message, "signatures": self.signatures()}

    def meta(self, encoding: str) -> dict[str, Any]:
        """Return what executing the transaction did."""
        execution = self._record.execution
        meta = {
            "computeUnitsConsumed": execution.units,
            "costUnits": cost_units(self._wire, execution.units, execution.loaded_bytes),
            "err": execution.error,
            "fee": execution.fee,
            "innerInstructions": self._inner(execution, encoding),
            "logMessages": execution.logs,
            **balances(execution),
            "rewards": [],
            "status": status(execution.error),
        }
        if encoding != "jsonParsed":
            meta["loadedAddresses"] = self._wire_addresses()
        if execution.return_data:
            meta["returnData"] = return_data(execution)
        return meta

    def _wire_addresses(self) -> dict[str, list[str]]:
        return loaded_addresses(self._wire)

    def _inner(self, execution: Execution, encoding: str) -> list[dict[str, Any]] | None:
        if execution.inner is None:
            return None
        return inner_instructions(execution.inner, self._shower(encoding))

    def _shower(self, encoding: str) -> ShowInstruction:
        if encoding != "jsonParsed":
            return raw_instruction
        return lambda program, accounts, data, height: parse_instruction(
            self._names, program, accounts, data, height
        )

    def _instructions(self, encoding: str) -> list[dict[str, Any]]:
        show = self._shower(encoding)
        return [
            show(item.program_id_index, bytes(item.accounts), bytes(item.data), TOP_STACK_HEIGHT)
            for item in self._message.instructions
        ]

    def _raw_message(self) -> dict[str, Any]:
        header = self._message.header
        message: dict[str, Any] = {
            "accountKeys": self._names[: len(self._message.account_keys)],
            "header": {
                "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
                "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
                "numRequiredSignatures": header.num_required_signatures,
            },
            "instructions": self._instructions("json"),
            "recentBlockhash": str(self._message.recent_blockhash),
        }
        return self._with_lookups(message)

    def _parsed_message(self) -> dict[str, Any]:
        return self._with_lookups(
            {
                "accountKeys": self._parsed_keys(),
                "instructions": self._instructions("jsonParsed"),
                "recentBlockhash": str(self._message.recent_blockhash),
            }
        )

    def _with_lookups(self, message: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self._message, MessageV0):
            message["addressTableLookups"] = [
                {
                    "accountKey": str(lookup.account_key),
                    "readonlyIndexes": list(bytes(lookup.readonly_indexes)),
                    "writableIndexes": list(bytes(lookup.writable_indexes)),
                }
                for lookup in self._message.address_table_lookups
            ]
        return message

    def _parsed_keys(self) -> list[dict[str, Any]]:
        writable = set(self._wire.writable)
        static = len(self._message.account_keys)
        signers = self._message.header.num_required_signatures
        return [
            {
                "pubkey": name,
                "signer": index < signers,
                "source": "transaction" if index < static else "lookupTable",
                "writable": index in writable,
            }
            for index, name in enumerate(self._names)
        ]


def raw_instruction(program: int, accounts: bytes, data: bytes, height: int) -> dict[str, Any]:
    """Show an instruction by indexes."""
    return {
        "accounts": list(accounts),
        "data": b58encode(data),
        "programIdIndex": program,
        "stackHeight": height,
    }


def inner_instructions(inner: list[list[InnerInstruction]], show: ShowInstruction) -> list[dict[str, Any]]:
    """Show the instructions that programs invoked, by the instruction that caused them."""
    return [
        {"index": index, "instructions": [show(*instruction) for instruction in group]}
        for index, group in enumerate(inner)
        if group
    ]


def status(error: Any) -> dict[str, Any]:
    """Return the older form of an outcome, which Agave still sends beside `err`."""
    return {"Ok": None} if error is None else {"Err": error}


def loaded_addresses(transaction: WireTransaction) -> dict[str, list[str]]:
    """Return the addresses that came from lookup tables."""
    readonly_from = len(transaction.keys) - transaction.loaded_readonly
    writable_from = readonly_from - transaction.loaded_writable
    return {
        "readonly": _names(transaction.keys[readonly_from:]),
        "writable": _names(transaction.keys[writable_from:readonly_from]),
    }


def _names(keys: tuple[Pubkey, ...]) -> list[str]:
    return [address_text(bytes(key)) for key in keys]


def balances(execution: Execution, *, shows_zero: bool = False) -> dict[str, Any]:
    """Return lamports and tokens of every account, before and after.

    History has null where the tokens for display are none; a simulation, with `shows_zero`, has 0.
    """
    return {
        "postBalances": list(execution.lamports_after),
        "postTokenBalances": [_token_balance(holding, shows_zero) for holding in execution.tokens_after],
        "preBalances": list(execution.lamports_before),
        "preTokenBalances": [_token_balance(holding, shows_zero) for holding in execution.tokens_before],
    }


def _token_balance(holding: TokenHolding, shows_zero: bool) -> dict[str, Any]:
    amount = ui_amount(holding.amount, holding.decimals)
    if not holding.amount and not shows_zero:
        amount["uiAmount"] = None
    return {
        "accountIndex": holding.account_index,
        "mint": holding.mint,
        "owner": holding.owner,
        "programId": address_text(bytes(holding.program)),
        "uiTokenAmount": amount,
    }


def return_data(execution: Execution) -> dict[str, Any]:
    """Return what the last program gave back."""
    return {
        "data": [b64encode(execution.return_data).decode(), "base64"],
        "programId": execution.return_program,
    }
