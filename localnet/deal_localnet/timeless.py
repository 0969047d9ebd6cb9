"""Which transactions can tell neither the slot nor the time, so that they need not be shown the new ones.

LiteSVM copies its table of accounts whenever a sysvar is set: 5 ms for each with 100,000 accounts.
"""

from typing import Final

from solders.message import MessageV0

from .addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    MEMO_PROGRAMS,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from .records import WireTransaction

TIMELESS_PROGRAMS: Final = frozenset(
    {SYSTEM_PROGRAM, COMPUTE_BUDGET_PROGRAM, TOKEN_PROGRAM, ASSOCIATED_TOKEN_PROGRAM, *MEMO_PROGRAMS}
)
"""Programs that read neither Clock nor SlotHashes; only the associated token program calls others."""


def is_timeless(transaction: WireTransaction) -> bool:
    """Tell whether a transaction runs the same whichever slot and time its programs would be shown."""
    message = transaction.message
    # Lookup tables are read as of a slot.
    if isinstance(message, MessageV0) and message.address_table_lookups:
        return False
    keys = transaction.keys
    # The fees of Token-2022 follow the epoch, and the associated token program may call it.
    if TOKEN_2022_PROGRAM in keys:
        return False
    return all(keys[step.program_id_index] in TIMELESS_PROGRAMS for step in message.instructions)
