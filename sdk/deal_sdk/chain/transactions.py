"""Signed transactions: the exact bytes that may be sent, and until when they may land.

Owns building and signing v0 messages. Never sends: a signed transaction is recorded first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.chain.replies import LatestBlockhash
from deal_sdk.chain.signers import KeypairSigner, Signer
from deal_sdk.errors import InvalidInputError, SignatureRequiredError

MAX_TRANSACTION_BYTES: Final = 1232
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Bytes to send as often as needed; they can land once, and not beyond the last valid block height.

    `context_slot` is the slot at which the blockhash was read.
    """

    signature: str
    raw_bytes: bytes
    last_valid_block_height: int
    context_slot: int


async def build_and_sign(
    instructions: Sequence[Instruction],
    *,
    payer: Signer,
    signers: Sequence[Signer] = (),
    blockhash: LatestBlockhash,
    lookup_tables: Sequence[AddressLookupTableAccount] = (),
) -> SignedTransaction:
    """Compile a v0 message and have every required signer sign it.

    Args:
        instructions: in the order to run.
        payer: pays the fee and gives the transaction its signature.
        signers: the others; those that the message does not need are not asked.
        blockhash: as `Rpc.get_latest_blockhash` returned it.
        lookup_tables: tables whose addresses need one byte each.

    Raises:
        InvalidInputError: when the transaction is over 1,232 bytes or cannot be compiled; split it.
        SignatureRequiredError: naming the addresses that nobody here can sign for.
    """
    message = compile_message(instructions, payer.address, blockhash.blockhash, lookup_tables)
    message_bytes = to_bytes_versioned(message)
    required = message.account_keys[: message.header.num_required_signatures]
    check_size(len(required), message_bytes)
    by_address = {signer.address: signer for signer in (*signers, payer)}
    missing = [str(address) for address in required if address not in by_address]
    if missing:
        raise SignatureRequiredError(f"no key here signs for {', '.join(missing)}", addresses=missing)
    signatures = await _sign([by_address[address] for address in required], message_bytes)
    return SignedTransaction(
        signature=str(signatures[0]),
        raw_bytes=join_signatures(signatures, message_bytes),
        last_valid_block_height=blockhash.last_valid_block_height,
        context_slot=blockhash.context_slot,
    )


async def _sign(signers: Sequence[Signer], message: bytes) -> list[Signature]:
    if all(isinstance(signer, KeypairSigner) for signer in signers):
        # Nobody is waited for, so that tasks would only cost their making.
        return [await signer.sign(message) for signer in signers]
    return list(await asyncio.gather(*(signer.sign(message) for signer in signers)))


def unsigned_transaction(
    instructions: Sequence[Instruction],
    payer: Pubkey,
    *,
    lookup_tables: Sequence[AddressLookupTableAccount] = (),
) -> bytes:
    """Compile a transaction with empty signatures and no blockhash, which a node can simulate and never land.

    Raises:
        InvalidInputError: when it cannot be compiled.
    """
    message = compile_message(instructions, payer, Hash.default(), lookup_tables)
    empty = [Signature.default()] * message.header.num_required_signatures
    return join_signatures(empty, to_bytes_versioned(message))


def compile_message(
    instructions: Sequence[Instruction],
    payer: Pubkey,
    blockhash: Hash,
    lookup_tables: Sequence[AddressLookupTableAccount] = (),
) -> MessageV0:
    """Compile a v0 message.

    Raises:
        InvalidInputError: when it cannot be compiled.
    """
    if not instructions:
        raise InvalidInputError("a transaction needs at least one instruction")
    try:
        return MessageV0.try_compile(payer, list(instructions), list(lookup_tables), blockhash)
    except Exception as error:  # solders' CompileError has no common base but Exception
        raise InvalidInputError(f"the transaction cannot be compiled: {type(error).__name__}") from error


def check_size(signatures: int, message_bytes: bytes) -> None:
    """Refuse a message that does not fit, with so many signatures, into one transaction.

    Raises:
        InvalidInputError: saying how large it is.
    """
    size_bytes = 1 + _SIGNATURE_BYTES * signatures + len(message_bytes)
    if size_bytes > MAX_TRANSACTION_BYTES:
        raise InvalidInputError(
            f"a transaction of {size_bytes} bytes is over the limit of {MAX_TRANSACTION_BYTES}",
            size_bytes=size_bytes,
            max_bytes=MAX_TRANSACTION_BYTES,
        )


def join_signatures(signatures: Sequence[Signature], message_bytes: bytes) -> bytes:
    """Put signatures before a message, as a transaction travels."""
    # The count is one byte: 1,232 bytes hold at most 19 signatures, and a compact length is one byte to 127.
    return bytes([len(signatures)]) + b"".join(map(bytes, signatures)) + message_bytes
