"""The values that RPC methods return, and the strict reading of each reply's form.

A reply that is not of the promised form is a malformed reply and never a guess: no field defaults,
no number is read from a bool or a float. Addresses and signatures inside landed transactions are
text, as records keep them; everything that instructions are built from is a solders type.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey

from deal_sdk.chain.memos import parse_memos
from deal_sdk.chain.reply_fields import (
    decimal_integer,
    integer,
    integers,
    optional_integer,
    text,
    texts,
)
from deal_sdk.errors import RpcMalformedReplyError
from deal_sdk.settings import Commitment

Value = TypeVar("Value")

TOKEN_AMOUNT_OFFSET: Final = 64
TOKEN_AMOUNT_BYTES: Final = 8
COMMITMENTS: Final[tuple[Commitment, ...]] = ("processed", "confirmed", "finalized")


@dataclass(frozen=True, slots=True)
class LatestBlockhash:
    """A blockhash, the last block height at which it is valid, and the slot that it was read at."""

    blockhash: Hash
    last_valid_block_height: int
    context_slot: int


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """An account as it was at a slot."""

    address: Pubkey
    owner: Pubkey
    lamports: int
    data: bytes
    executable: bool
    slot: int


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """A token account's amount at a slot; an account that does not exist holds zero.

    `delegate` is who may move up to `delegated_base_units` of it besides the owner.
    """

    amount_base_units: int
    slot: int
    exists: bool
    delegate: Pubkey | None = None
    delegated_base_units: int = 0


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """What a node knows of a landed transaction; `error` is None when it succeeded."""

    slot: int
    error: Any | None
    commitment: Commitment


@dataclass(frozen=True, slots=True)
class StatusReply:
    """Statuses in the order asked for, the slot up to which the node could know of them, and its name."""

    context_slot: int
    statuses: tuple[SignatureStatus | None, ...]
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class TokenHolding:
    """One token account inside a transaction: who owns it, which mint, how much."""

    owner: str
    mint: str
    amount_base_units: int


@dataclass(frozen=True, slots=True)
class LandedTransaction:
    """A transaction as the chain recorded it, with its token balances before and after by token account."""

    signature: str
    slot: int
    block_time: int | None
    error: Any | None
    fee_lamports: int
    account_keys: tuple[str, ...]
    token_balances_before: Mapping[str, TokenHolding]
    token_balances_after: Mapping[str, TokenHolding]
    logs: tuple[str, ...]
    memos: tuple[str, ...] = ()
    lamports_before: tuple[int, ...] = ()
    lamports_after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AddressSignature:
    """One entry of an address's history, newest first."""

    signature: str
    slot: int
    error: Any | None
    block_time: int | None
    commitment: Commitment | None
    memo: str | None = None
    """All memos of the transaction, each after its length in brackets."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a transaction would do: `error` is None when it would succeed."""

    error: Any | None
    logs: tuple[str, ...]
    compute_units: int
    context_slot: int


@dataclass(frozen=True, slots=True)
class EpochPosition:
    """A slot and its block height, read together."""

    slot: int
    block_height: int


@dataclass(frozen=True, slots=True)
class TokenSupply:
    """A mint's supply at a slot."""

    amount_base_units: int
    decimals: int
    slot: int


@dataclass(frozen=True, slots=True)
class TokenAmount:
    """A token account and what it holds."""

    address: Pubkey
    amount_base_units: int


@dataclass(frozen=True, slots=True)
class PrioritizationFee:
    """The lowest fee per compute unit, in micro-lamports, that landed in a slot."""

    slot: int
    micro_lamports: int


def read_reply(method: str, parse: Callable[[Any], Value], reply: Any) -> Value:
    """Read a reply by its parser, so that any other form becomes one typed error.

    Raises:
        RpcMalformedReplyError: naming the method.
    """
    try:
        return parse(reply)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ParseHashError) as error:
        raise RpcMalformedReplyError(
            f"{method}: a reply of an unexpected form", method=method, problem=type(error).__name__
        ) from None


def context_slot(reply: Any) -> int:
    """Read the slot at which a reply was true."""
    return integer(reply["context"]["slot"])


def commitment(value: Any) -> Commitment:
    """Accept the name of a commitment."""
    for name in COMMITMENTS:
        if value == name:
            return name
    raise ValueError("not a commitment")


def parse_latest_blockhash(reply: Any) -> LatestBlockhash:
    """Read getLatestBlockhash."""
    value = reply["value"]
    return LatestBlockhash(
        Hash.from_string(text(value["blockhash"])),
        integer(value["lastValidBlockHeight"]),
        context_slot(reply),
    )


def parse_account(address: Pubkey, value: Any, slot: int) -> AccountSnapshot | None:
    """Read one account in base64 encoding; None where there is none."""
    if value is None:
        return None
    encoded, encoding = value["data"]
    if encoding != "base64":
        raise ValueError("not base64")
    return AccountSnapshot(
        address=address,
        owner=Pubkey.from_string(text(value["owner"])),
        lamports=integer(value["lamports"]),
        data=base64.b64decode(text(encoded), validate=True),
        executable=bool(value["executable"]),
        slot=slot,
    )


def parse_accounts(addresses: Sequence[Pubkey], reply: Any) -> tuple[int, list[AccountSnapshot | None]]:
    """Read getMultipleAccounts: the slot and as many accounts as addresses."""
    slot = context_slot(reply)
    return slot, [
        parse_account(address, value, slot) for address, value in zip(addresses, reply["value"], strict=True)
    ]


def parse_statuses(count: int, reply: Any) -> StatusReply:
    """Read getSignatureStatuses: exactly `count` statuses."""
    statuses = tuple(None if value is None else _parse_status(value) for value in reply["value"])
    if len(statuses) != count:
        raise ValueError("another number of statuses than signatures")
    return StatusReply(context_slot(reply), statuses)


def _parse_status(value: Any) -> SignatureStatus:
    level = value.get("confirmationStatus")
    if level is None:
        # Old nodes report rooted transactions by `confirmations: null` alone.
        level = "finalized" if value["confirmations"] is None else "processed"
    return SignatureStatus(integer(value["slot"]), value["err"], commitment(level))


def parse_transaction(signature: str, reply: Any) -> LandedTransaction | None:
    """Read getTransaction in json encoding; None when the node does not know it."""
    if reply is None:
        return None
    meta = reply["meta"]
    loaded = meta.get("loadedAddresses") or {}
    message = reply["transaction"]["message"]
    keys = [*message["accountKeys"], *loaded.get("writable", ()), *loaded.get("readonly", ())]
    memos = parse_memos(keys, message, meta)
    slot, block_time = integer(reply["slot"]), optional_integer(reply.get("blockTime"))
    return _landed(signature, slot, block_time, keys, meta, memos)


def parse_block(slot: int, reply: Any) -> tuple[LandedTransaction, ...] | None:
    """Read getBlock with the details "accounts", in the block's order; None for a skipped slot."""
    if reply is None:
        return None
    block_time = optional_integer(reply.get("blockTime"))
    return tuple(
        _landed(
            text(entry["transaction"]["signatures"][0]),
            slot,
            block_time,
            [account["pubkey"] for account in entry["transaction"]["accountKeys"]],
            entry["meta"],
        )
        for entry in reply["transactions"]
    )


def _landed(
    signature: str, slot: int, block_time: int | None, keys: list[Any], meta: Any, memos: tuple[str, ...] = ()
) -> LandedTransaction:
    account_keys = texts(keys)
    return LandedTransaction(
        signature=signature,
        slot=slot,
        block_time=block_time,
        error=meta["err"],
        fee_lamports=integer(meta["fee"]),
        account_keys=account_keys,
        token_balances_before=_holdings(account_keys, meta.get("preTokenBalances")),
        token_balances_after=_holdings(account_keys, meta.get("postTokenBalances")),
        logs=texts(meta.get("logMessages") or ()),
        memos=memos,
        lamports_before=integers(meta.get("preBalances") or ()),
        lamports_after=integers(meta.get("postBalances") or ()),
    )


def _holdings(account_keys: tuple[str, ...], balances: Any) -> dict[str, TokenHolding]:
    return {
        account_keys[integer(entry["accountIndex"])]: TokenHolding(
            owner=text(entry["owner"]),
            mint=text(entry["mint"]),
            amount_base_units=decimal_integer(entry["uiTokenAmount"]["amount"]),
        )
        for entry in balances or ()
    }


def parse_address_signatures(reply: Any) -> list[AddressSignature]:
    """Read getSignaturesForAddress."""
    return [
        AddressSignature(
            signature=text(entry["signature"]),
            slot=integer(entry["slot"]),
            error=entry["err"],
            block_time=optional_integer(entry.get("blockTime")),
            commitment=None
            if entry.get("confirmationStatus") is None
            else commitment(entry["confirmationStatus"]),
            memo=None if entry.get("memo") is None else text(entry["memo"]),
        )
        for entry in _items(reply)
    ]


def parse_simulation(reply: Any) -> Simulation:
    """Read simulateTransaction."""
    value = reply["value"]
    return Simulation(
        error=value["err"],
        logs=tuple(text(line) for line in value.get("logs") or ()),
        compute_units=integer(value.get("unitsConsumed") or 0),
        context_slot=context_slot(reply),
    )


def parse_supply(reply: Any) -> TokenSupply:
    """Read getTokenSupply."""
    value = reply["value"]
    return TokenSupply(decimal_integer(value["amount"]), integer(value["decimals"]), context_slot(reply))


def parse_largest_accounts(reply: Any) -> list[TokenAmount]:
    """Read getTokenLargestAccounts."""
    return [
        TokenAmount(Pubkey.from_string(text(entry["address"])), decimal_integer(entry["amount"]))
        for entry in _items(reply["value"])
    ]


def parse_token_amounts(reply: Any) -> tuple[int, list[TokenAmount]]:
    """Read getProgramAccounts with its context, each account cut down to its eight bytes of amount."""
    slot = context_slot(reply)
    amounts = []
    for entry in _items(reply["value"]):
        account = parse_account(Pubkey.from_string(text(entry["pubkey"])), entry["account"], slot)
        if account is None or len(account.data) != TOKEN_AMOUNT_BYTES:
            raise ValueError("a listed account without an amount")
        amounts.append(TokenAmount(account.address, int.from_bytes(account.data, "little")))
    return slot, amounts


def parse_prioritization_fees(reply: Any) -> list[PrioritizationFee]:
    """Read getRecentPrioritizationFees."""
    return [
        PrioritizationFee(integer(entry["slot"]), integer(entry["prioritizationFee"]))
        for entry in _items(reply)
    ]


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
