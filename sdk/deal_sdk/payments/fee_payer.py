"""The fee payer: who pays SOL for every payment, and whether it still can.

Owns the look at its lamports, now and then and not per payment, and the warning when they run low. A
payment that it cannot pay for is refused before anything is signed, and only on a balance just read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain import Rpc
from deal_sdk.clock import Clock
from deal_sdk.errors import FeePayerError
from deal_sdk.events import EventBus
from deal_sdk.flights import Flights
from deal_sdk.metrics import Metrics

LOW_FEE_PAYER: Final = "low_fee_payer"
LAMPORTS_PER_SIGNATURE: Final = 5_000
CERTAIN_SECONDS: Final = 1.0
"""A balance of this age is new enough to refuse on; under a flood of refusals it bounds the reads."""
_LAMPORTS: Final = "lamports"


@dataclass(frozen=True, slots=True)
class FeePayerBounds:
    """The warning's bounds, from the settings."""

    low_lamports: int
    poll_interval_seconds: float


class FeePayer:
    """Knows about how many lamports the fee payer has left."""

    def __init__(
        self,
        address: Pubkey,
        rpc: Rpc,
        *,
        clock: Clock,
        events: EventBus,
        metrics: Metrics,
        bounds: FeePayerBounds,
    ) -> None:
        """Keep the address; nothing is read before the first payment."""
        self.address = address
        self._rpc = rpc
        self._clock = clock
        self._events = events
        self._metrics = metrics
        self._bounds = bounds
        self._flights: Flights[int] = Flights()
        self._rents: dict[int, int] = {}
        self._held_lamports = 0
        self._read_at_seconds: float | None = None
        self._spent_lamports = 0
        self._payments = 0
        self._payment_lamports = 2 * LAMPORTS_PER_SIGNATURE
        self._was_low = False

    async def require(self, lamports: int) -> None:
        """Make sure that the fee payer can pay so much and still exist.

        Args:
            lamports: fees and rents of one transaction.

        Raises:
            FeePayerError: when it cannot, by a balance read just now.
            ChainError: when its balance was never read and cannot be.
        """
        needed = lamports + await self.rent_lamports(0)
        await self._look()
        if self._held_lamports - self._spent_lamports >= needed:
            return
        if self._age_seconds() >= CERTAIN_SECONDS or self._spent_lamports:
            await self._flights.join(_LAMPORTS, self._read)
        if self._held_lamports < needed:
            raise FeePayerError(
                f"the fee payer {self.address} holds {self._held_lamports} lamports and needs {needed}: "
                "send it SOL",
                address=str(self.address),
                lamports=self._held_lamports,
                required_lamports=needed,
            )

    def spend(self, lamports: int) -> None:
        """Take note of what a signed transaction may cost, until the balance is read again."""
        self._spent_lamports += lamports
        self._payments += 1

    async def rent_lamports(self, size_bytes: int) -> int:
        """Return what an account of a size must hold, read once.

        Raises:
            ChainError: when it could not be read.
        """
        rent = self._rents.get(size_bytes)
        if rent is None:

            async def read() -> int:
                return await self._rpc.get_minimum_balance_for_rent_exemption(size_bytes)

            rent = self._rents[size_bytes] = await self._flights.join(size_bytes, read)
        return rent

    async def close(self) -> None:
        """Cancel the reading under way."""
        await self._flights.close()

    async def _look(self) -> None:
        """Have the balance read again when it has aged; only the first reading is waited for."""
        if self._read_at_seconds is None:
            await self._flights.join(_LAMPORTS, self._read)
        elif self._age_seconds() >= self._bounds.poll_interval_seconds:
            self._flights.start(_LAMPORTS, self._read)

    def _age_seconds(self) -> float:
        assert self._read_at_seconds is not None
        return self._clock.monotonic() - self._read_at_seconds

    async def _read(self) -> int:
        started_seconds = self._clock.monotonic()
        spent, payments = self._spent_lamports, self._payments
        held = await self._rpc.get_balance(self.address)
        self._held_lamports, self._read_at_seconds = held, started_seconds
        # What was signed while the balance was being read may be missing from it.
        self._spent_lamports -= spent
        self._payments -= payments
        if payments:
            self._payment_lamports = max(spent // payments, 1)
        self._tell()
        return held

    def _tell(self) -> None:
        payments_left = self._held_lamports // self._payment_lamports
        self._metrics.fee_payer_lamports.set(self._held_lamports)
        self._metrics.fee_payer_payments_left.set(payments_left)
        is_low = self._held_lamports < self._bounds.low_lamports
        if is_low and not self._was_low:
            self._events.publish(
                LOW_FEE_PAYER,
                address=str(self.address),
                lamports=self._held_lamports,
                low_lamports=self._bounds.low_lamports,
                payments_left=payments_left,
            )
        self._was_low = is_low
