"""What a batch is about to record: who is paid how much, under which payment's id."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from solders.pubkey import Pubkey

from deal_sdk.payments.batches.recipients import Payee
from deal_sdk.payments.batches.shares import Share

_RANDOM_BITS: Final = 42
_RANDOM_BYTES: Final = 6
_SPARE_BITS: Final = 8 * _RANDOM_BYTES - _RANDOM_BITS


@dataclass(frozen=True, slots=True)
class Planned:
    """A payee with the share that is to be recorded."""

    payee: Payee
    share: Share


def plan_shares(payees: Sequence[Payee], created_at: datetime) -> list[Share]:
    """Make the shares of payees, whose payments get ids that sort as the lines do.

    Rows that are written together then lie together in every index, which is what their speed comes
    from. An id is a UUID of version 7 (RFC 9562): its milliseconds are the batch's, its order is the
    line's, and 42 bits are random.

    Args:
        payees: lines with the wallets that they pay.
        created_at: the batch's.
    """
    milliseconds = int(created_at.timestamp() * 1_000) & (2**48 - 1)
    # Drawn at once: a question to the kernel for each would take longer than all the rest.
    drawn = secrets.token_bytes(_RANDOM_BYTES * len(payees))
    return [
        _share(payee, milliseconds, drawn[place * _RANDOM_BYTES : (place + 1) * _RANDOM_BYTES])
        for place, payee in enumerate(payees)
    ]


def _share(payee: Payee, milliseconds: int, drawn: bytes) -> Share:
    party, line = payee.party, payee.line
    return Share(
        line.position,
        _ordered_id(milliseconds, line.position, int.from_bytes(drawn, "big") >> _SPARE_BITS),
        Pubkey.from_string(party.address),
        Pubkey.from_string(party.token_account),
        line.amount,
        party.user_id is not None,
    )


def _ordered_id(milliseconds: int, position: int, random_bits: int) -> UUID:
    high = milliseconds << 16 | 0x7000 | (position >> 20 & 0xFFF)
    low = 0b10 << 62 | (position & 0xFFFFF) << _RANDOM_BITS | random_bits
    return UUID(int=high << 64 | low)
