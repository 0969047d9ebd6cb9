"""One member's part of a batch, as the driver moves it between transactions."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from solders.pubkey import Pubkey


@dataclass(frozen=True, slots=True)
class Share:
    """A recorded payment of a batch: who gets how much.

    `is_users` says whether the recipient is a user of ours, whose history is kept; `creates_account` and
    `wants_memo` are what the chain said when the share was last looked at.
    """

    position: int
    payment_id: UUID
    owner: Pubkey
    account: Pubkey
    amount: int
    is_users: bool = False
    creates_account: bool = False
    wants_memo: bool = False
