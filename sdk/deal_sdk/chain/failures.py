"""Why a transaction failed, in words: its error's number read together with the program that raised it.

Owns the token programs' error numbers. A number alone says little, because each program counts from
zero, so the failed instruction's program is looked up in the transaction's own bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from solders.transaction import VersionedTransaction

from deal_sdk.chain.addresses import TOKEN_PROGRAMS
from deal_sdk.chain.allowance.build import instruction_discriminators, program_refusal

OWNER_MISMATCH: Final = "owner_mismatch"
INSUFFICIENT_FUNDS: Final = "insufficient_funds"

# https://docs.rs/spl-token/latest/spl_token/error/enum.TokenError.html; Token-2022 shares the first ones.
_TOKEN_ERRORS: Final = {
    1: (INSUFFICIENT_FUNDS, "the balance, or what was left of the approval, did not cover the amount"),
    3: ("mint_mismatch", "the token account belongs to another mint"),
    4: (OWNER_MISMATCH, "the signer is neither the owner nor, any more, the delegate of the token account"),
    14: ("overflow", "the amount does not fit into the recipient's balance"),
    17: ("account_frozen", "the token account is frozen"),
}


def explain_failure(raw_bytes: bytes, error: Any) -> dict[str, Any] | None:
    """Return what a failed transaction's error means, as plain data for its evidence.

    Args:
        raw_bytes: the signed transaction.
        error: as a status has it, such as {"InstructionError": [2, {"Custom": 4}]}.

    Returns:
        The failed instruction's number and program and, for a token program, the error's name and text;
        None for an error that is not one instruction's.
    """
    index, code = _instruction_error(error)
    if index is None:
        return None
    try:
        message = VersionedTransaction.from_bytes(raw_bytes).message
        failed = message.instructions[index]
        program = message.account_keys[failed.program_id_index]
    except (ValueError, IndexError):
        return None
    found: dict[str, Any] = {"instruction": index, "program": str(program)}
    is_allowance = bytes(failed.data)[:8] in instruction_discriminators()
    refusal = program_refusal(code) if is_allowance else None
    if refusal is not None:
        found |= {"name": refusal.name, "text": refusal.message, "number": refusal.number}
    elif (program in TOKEN_PROGRAMS or is_allowance) and code in _TOKEN_ERRORS:
        # The program's own errors begin at 6,000: a lower one is the token program's, which it called.
        found["name"], found["text"] = _TOKEN_ERRORS[code]
    return found


def _instruction_error(error: Any) -> tuple[int | None, int | None]:
    if not isinstance(error, Mapping):
        return None, None
    detail = error.get("InstructionError")
    if not isinstance(detail, list | tuple) or len(detail) != 2 or not isinstance(detail[0], int):
        return None, None
    custom = detail[1].get("Custom") if isinstance(detail[1], Mapping) else None
    return detail[0], custom if isinstance(custom, int) else None
