"""Transactions that somebody else signs: handed out unsigned, and checked byte for byte when they come back.

Owns the comparison. Only signatures may differ from what was prepared, because whatever else a wallet
changed was neither recorded nor reserved for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.instruction import CompiledInstruction, Instruction
from solders.message import Message, MessageV0, from_bytes_versioned, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.chain.addresses import COMPUTE_BUDGET_PROGRAM
from deal_sdk.chain.replies import LatestBlockhash
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES, check_size, compile_message, join_signatures
from deal_sdk.errors import InvalidInputError, InvalidSignatureError, PreparedTransactionChangedError

_SIGNATURE_BYTES: Final = 64
_EMPTY: Final = Signature.default()


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """A message that waits for its signatures; they count until the last valid block height.

    `context_slot` is the slot at which the blockhash was read.
    """

    message_bytes: bytes
    last_valid_block_height: int
    context_slot: int

    @property
    def signers(self) -> tuple[Pubkey, ...]:
        """Return who must sign, the fee payer first."""
        return required_signers(self.message_bytes)

    @property
    def raw_bytes(self) -> bytes:
        """Return the transaction with empty signatures, as wallets take it."""
        return join_signatures([_EMPTY] * len(self.signers), self.message_bytes)


def prepare_transaction(
    instructions: Sequence[Instruction], *, payer: Pubkey, blockhash: LatestBlockhash
) -> UnsignedTransaction:
    """Compile a v0 message for others to sign.

    Args:
        instructions: in the order to run.
        payer: pays the fee; its signature is the transaction's.
        blockhash: as `Rpc.get_latest_blockhash` returned it.

    Raises:
        InvalidInputError: when the transaction is over 1,232 bytes or cannot be compiled.
    """
    message = compile_message(instructions, payer, blockhash.blockhash)
    message_bytes = to_bytes_versioned(message)
    check_size(message.header.num_required_signatures, message_bytes)
    return UnsignedTransaction(message_bytes, blockhash.last_valid_block_height, blockhash.context_slot)


def required_signers(message_bytes: bytes) -> tuple[Pubkey, ...]:
    """Return the addresses that must sign a message, the fee payer first."""
    message = from_bytes_versioned(message_bytes)
    return tuple(message.account_keys[: message.header.num_required_signatures])


def check_signed(message_bytes: bytes, returned: bytes, *, may_lack: Pubkey | None = None) -> list[Signature]:
    """Return the signatures of a transaction that came back, once it is proven to be the one prepared.

    Args:
        message_bytes: what was prepared.
        returned: the whole transaction as the wallet gave it.
        may_lack: whose signature may still be missing, because the backend makes it last.

    Raises:
        PreparedTransactionChangedError: naming what differs; nothing of it was taken.
        InvalidSignatureError: naming whose signature is missing or does not verify.
        InvalidInputError: for bytes that are no transaction.
    """
    signatures, found_message = _split(returned)
    if found_message != message_bytes:
        differences = differences_between(message_bytes, found_message)
        raise PreparedTransactionChangedError(
            f"the wallet changed the transaction: {'; '.join(differences)}", differences=differences
        )
    signers = required_signers(message_bytes)
    if len(signatures) != len(signers):
        raise InvalidSignatureError(
            f"the transaction has {len(signatures)} signatures and needs {len(signers)}",
            addresses=list(map(str, signers)),
        )
    for address, signature in zip(signers, signatures, strict=True):
        is_missing = signature == _EMPTY
        if is_missing and address == may_lack:
            continue
        if is_missing or not signature.verify(address, message_bytes):
            problem = "is missing" if is_missing else "does not verify"
            raise InvalidSignatureError(f"the signature of {address} {problem}", addresses=[str(address)])
    return signatures


def differences_between(prepared: bytes, returned: bytes) -> list[str]:
    """Say in words how a returned message differs from the prepared one; at least one difference is named.

    Args:
        prepared: the message's bytes as they were handed out.
        returned: the message's bytes as they came back.
    """
    wanted = from_bytes_versioned(prepared)
    try:
        found = from_bytes_versioned(returned)
    except ValueError:
        return ["it is no message that can be read"]
    differences = []
    if type(wanted) is not type(found):
        differences.append("it is of another transaction version")
    if wanted.recent_blockhash != found.recent_blockhash:
        differences.append("it has another blockhash")
    if wanted.account_keys[:1] != found.account_keys[:1]:
        differences.append("another account pays the fee")
    wanted_steps, found_steps = Counter(_steps(wanted)), Counter(_steps(found))
    differences += [f"{step.name} was added" for step in (found_steps - wanted_steps).elements()]
    differences += [f"{step.name} was removed" for step in (wanted_steps - found_steps).elements()]
    return differences or ["its accounts or instructions are in another order"]


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction with its accounts by address, so that two messages can be compared."""

    program: Pubkey | None
    accounts: tuple[Pubkey | None, ...]
    data: bytes

    @property
    def name(self) -> str:
        if self.program == COMPUTE_BUDGET_PROGRAM:
            return "a compute budget or priority fee instruction"
        return f"an instruction of program {self.program}"


def _steps(message: Message | MessageV0) -> list[_Step]:
    keys = message.account_keys

    def key(index: int) -> Pubkey | None:
        return keys[index] if index < len(keys) else None

    def step(compiled: CompiledInstruction) -> _Step:
        return _Step(key(compiled.program_id_index), tuple(map(key, compiled.accounts)), bytes(compiled.data))

    return [step(compiled) for compiled in message.instructions]


def _split(returned: bytes) -> tuple[list[Signature], bytes]:
    if not 1 < len(returned) <= MAX_TRANSACTION_BYTES:
        raise InvalidInputError(f"a transaction is at most {MAX_TRANSACTION_BYTES} bytes")
    end = 1 + returned[0] * _SIGNATURE_BYTES
    if end >= len(returned):
        raise InvalidInputError("these bytes are no signed transaction")
    starts = range(1, end, _SIGNATURE_BYTES)
    signatures = [Signature.from_bytes(returned[start : start + _SIGNATURE_BYTES]) for start in starts]
    return signatures, returned[end:]
