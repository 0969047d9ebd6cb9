"""Charges that were asked for together, and who of them is ready to share a transaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.payments.attempts import LiveAttempt
from deal_sdk.records import Transaction


def _future() -> asyncio.Future[LiveAttempt | None]:
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True, eq=False)
class Passenger:
    """A charge whose turn it is, waiting to be told what it was sent with."""

    payment_id: UUID
    step: Instruction
    told: asyncio.Future[LiveAttempt | None] = field(default_factory=_future)
    """The attempt that it shares; None when it goes alone."""

    @property
    def authority(self) -> Pubkey:
        """Return who signs the charge."""
        return next(meta.pubkey for meta in self.step.accounts if meta.is_signer)

    def tell(self, attempt: LiveAttempt | None) -> None:
        """Say what became of it, unless that was said before or nobody listens any more."""
        if not self.told.done():
            self.told.set_result(attempt)


class Company:
    """Counts those who were asked for until each has boarded or is known to stay away."""

    def __init__(self, company_id: str, members: int) -> None:
        """Begin with nobody aboard.

        Args:
            company_id: by which plans name it.
            members: how many were asked for.
        """
        self.id = company_id
        self.aboard: list[Passenger] = []
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nobody is missing any more."""
        self._missing = members
        self._coming: set[UUID] = set()

    def expect(self, payment: Transaction | None) -> None:
        """Take note of what came of one that was asked for; whatever is no new payment of ours stays away.

        Args:
            payment: as it was recorded or found by its key; None when there is none.
        """
        plan = {} if payment is None else payment.instruction or {}
        is_ours = payment is not None and plan.get("group_id") == self.id and payment.id not in self._coming
        if payment is None or not is_ours:
            self.stay_away()
        else:
            self._coming.add(payment.id)

    def board(self, passenger: Passenger) -> None:
        """Count one as ready."""
        self.aboard.append(passenger)
        self._count()

    def stay_away(self) -> None:
        """Count one as not coming."""
        self._count()

    def leave(self, passenger: Passenger) -> None:
        """Take one off; harmless when it left before."""
        if passenger in self.aboard:
            self.aboard.remove(passenger)

    def _count(self) -> None:
        self._missing -= 1
        if self._missing <= 0 and not self.complete.done():
            self.complete.set_result(None)
