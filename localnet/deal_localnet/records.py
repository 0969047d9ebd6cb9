"""What is remembered of a transaction: raw facts only, because most are never asked for.

Fees, costs, parsed instructions and every JSON shape are derived from these when a reader asks.
"""

from typing import Any, Final, NamedTuple

from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from .addresses import address_text

TOKEN_ACCOUNT_BYTES: Final = 165
TOKEN_IDENTITY_BYTES: Final = 72
MINT_DECIMALS_OFFSET: Final = 44
MINT_TYPE_BYTE: Final = 1


class TokenHolding(NamedTuple):
    """Keeps one token account of a transaction: mint, owner and amount as the account's first bytes."""

    account_index: int
    head: bytes
    program: Pubkey
    decimals: int

    @property
    def mint(self) -> str:
        """Return the mint's address."""
        return address_text(self.head[:32])

    @property
    def owner(self) -> str:
        """Return the address of the wallet that owns the tokens."""
        return address_text(self.head[32:64])

    @property
    def amount(self) -> int:
        """Return the amount in base units."""
        return int.from_bytes(self.head[64:72], "little")


class InnerInstruction(NamedTuple):
    """Keeps one instruction that a program invoked."""

    program_index: int
    accounts: bytes
    data: bytes
    stack_height: int


class Execution(NamedTuple):
    """Keeps what running a transaction produced, whether it landed or was only simulated."""

    error: Any
    logs: list[str] | None
    inner: list[list[InnerInstruction]] | None
    units: int
    return_program: str
    return_data: bytes
    lamports_before: tuple[int, ...]
    lamports_after: tuple[int, ...]
    tokens_before: tuple[TokenHolding, ...]
    tokens_after: tuple[TokenHolding, ...]
    loaded_bytes: int
    fee: int | None
    changed: tuple[int, ...] = ()
    micro_lamports_per_unit: int = 0


class TransactionRecord(NamedTuple):
    """Keeps a landed transaction: its place in the chain, its bytes and its execution."""

    signature: str
    slot: int
    place: int
    wire: bytes
    keys: tuple[Pubkey, ...]
    loaded_writable: int
    loaded_readonly: int
    execution: Execution


class WireTransaction(NamedTuple):
    """Holds a parsed transaction with the addresses of its lookup tables resolved.

    `writable` are the indexes of the accounts that it may change.
    """

    wire: bytes
    transaction: VersionedTransaction
    message: Message | MessageV0
    signature: str
    keys: tuple[Pubkey, ...]
    loaded_writable: int
    loaded_readonly: int
    writable: tuple[int, ...]

    @property
    def blockhash(self) -> Hash:
        """Return the blockhash or nonce that bounds the transaction's life."""
        return self.message.recent_blockhash


def writable_indexes(message: Message | MessageV0, static: int, loaded_writable: int) -> tuple[int, ...]:
    """Return the indexes of the accounts that a message may change.

    Args:
        message: the message.
        static: how many accounts it names itself.
        loaded_writable: how many more it takes from lookup tables to write to.
    """
    header = message.header
    signers = header.num_required_signatures
    return (
        *range(signers - header.num_readonly_signed_accounts),
        *range(signers, static - header.num_readonly_unsigned_accounts),
        *range(static, static + loaded_writable),
    )


def holds_tokens(data: bytes) -> bool:
    """Tell whether the data of a token program's account is that of a token account."""
    # An extended mint is longer than a token account; the type byte after the padding tells them apart.
    if len(data) < TOKEN_ACCOUNT_BYTES or data[108] == 0:
        return False
    return len(data) == TOKEN_ACCOUNT_BYTES or data[TOKEN_ACCOUNT_BYTES] != MINT_TYPE_BYTE
