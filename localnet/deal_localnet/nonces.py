"""Durable nonces: a transaction that names a nonce in place of a blockhash lives until the nonce moves on.

LiteSVM advances a nonce to a hash of its own, always the same one; here it becomes that of the slot. And what
a failed transaction does all the same, advance the nonce that it lived by, is done here as well.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from solders.account import Account
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey

from .addresses import SYSTEM_PROGRAM
from .native_state import NONCE_BLOCKHASH, initialized_nonce
from .slots import Block, Chain

ADVANCE_NONCE: Final = 4
INITIALIZE_NONCE: Final = 6
MOVING_INSTRUCTIONS: Final = frozenset({ADVANCE_NONCE, INITIALIZE_NONCE})
DURABLE_NONCE_PREFIX: Final = b"DURABLE_NONCE"

AnyMessage = Message | MessageV0
AccountReader = Callable[[Pubkey], Account | None]


class NonceUse(NamedTuple):
    """Names the nonce account that a message advances first, and who signs that instruction."""

    account: Pubkey
    signers: frozenset[Pubkey]


def nonce_use(message: AnyMessage, keys: Sequence[Pubkey], writable: Sequence[int]) -> NonceUse | None:
    """Return the nonce that may bound a message's life; None when its first instruction advances none."""
    if not moves_nonces(message, keys):
        return None
    first = message.instructions[0]
    indexes = bytes(first.accounts)
    if keys[first.program_id_index] != SYSTEM_PROGRAM or _tag(first.data) != ADVANCE_NONCE:
        return None
    if not indexes or indexes[0] not in writable:
        return None
    signing = message.header.num_required_signatures
    return NonceUse(keys[indexes[0]], frozenset(keys[index] for index in indexes if index < signing))


def moves_nonces(message: AnyMessage, keys: Sequence[Pubkey]) -> bool:
    """Tell whether a message's own instructions begin or advance a nonce."""
    if SYSTEM_PROGRAM not in keys:
        return False
    program = keys.index(SYSTEM_PROGRAM)
    return any(
        item.program_id_index == program and _tag(item.data) in MOVING_INSTRUCTIONS
        for item in message.instructions
    )


def _tag(data: bytes) -> int | None:
    return int.from_bytes(data[:4], "little") if len(data) >= 4 else None


def next_nonce(chain: Chain, block: Block) -> Hash:
    """Return the value that nonces advance to in a block, or after it once it is closed."""
    closed = chain.block_of_height(block.height - 1) if block is chain.open else block
    blockhash = block.blockhash if closed is None else closed.blockhash
    return Hash.hash(DURABLE_NONCE_PREFIX + bytes(blockhash))


def lives_by_nonce(use: NonceUse | None, named: Hash, read: AccountReader, following: Hash) -> bool:
    """Tell whether a message names the value that its nonce account holds, and may advance it to another.

    Args:
        use: the nonce that the message advances first.
        named: what stands in place of its blockhash.
        read: reads accounts in the bank that it would run in.
        following: what nonces advance to there.
    """
    account = None if use is None else read(use.account)
    if use is None or account is None or account.owner != SYSTEM_PROGRAM:
        return False
    nonce = initialized_nonce(account.data)
    return (
        nonce is not None
        and nonce.value == named
        and nonce.value != following
        and nonce.authority in use.signers
    )


def advanced(account: Account, value: Hash, held: Hash | None = None) -> Account | None:
    """Return a nonce account with another value; None when it is no nonce, or does not hold what it should.

    Args:
        account: any account.
        value: the new value.
        held: the value that it must have now; None takes any.
    """
    nonce = initialized_nonce(account.data) if account.owner == SYSTEM_PROGRAM else None
    if nonce is None or held not in (None, nonce.value):
        return None
    data = bytearray(account.data)
    data[NONCE_BLOCKHASH] = bytes(value)
    return Account(account.lamports, bytes(data), account.owner, account.executable, account.rent_epoch)
