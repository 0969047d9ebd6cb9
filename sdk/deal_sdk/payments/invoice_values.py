"""What an invoice is, and what a deposit that names it was for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode
from uuid import UUID

from deal_sdk.amounts import BaseUnits, format_amount
from deal_sdk.records.database import Row

InvoiceStatus = Literal["open", "paid", "accepted"]
InvoiceOutcome = Literal["exact", "underpaid", "overpaid", "late", "duplicate"]

DEFAULT_INVOICE_SECONDS: Final = 3_600
MAX_INVOICE_SECONDS: Final = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a user was asked to pay, from whatever wallet, and how much of it has arrived."""

    id: UUID
    user_id: UUID
    package_id: UUID | None
    tier: str | None
    """Of a subscription; a package has none."""
    periods: int | None
    amount: BaseUnits
    received: int
    """Base units that came in time, what was too much included."""
    status: InvoiceStatus
    """"accepted" is paid by the operator's word."""
    reference: str
    """An address that only this invoice has: among the payment's accounts, or in its memo."""
    recipient: str
    created_at: datetime
    expires_at: datetime
    """A payment whose block is later does not count."""
    paid_at: datetime | None
    granted_at: datetime | None
    """When the credits had arrived."""
    mint: str
    decimals: int

    @property
    def url(self) -> str:
        """Return the Solana Pay link that wallets open, also out of a QR code.

        It is a transfer request of the Solana Pay specification: recipient, amount, spl-token, reference.
        """
        query = {
            "amount": format_amount(self.amount, decimals=self.decimals),
            "spl-token": self.mint,
            "reference": self.reference,
        }
        return f"solana:{self.recipient}?{urlencode(query, quote_via=quote)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the invoice as JSON-serialisable data, amounts as text in whole tokens."""
        times = ("created_at", "expires_at", "paid_at", "granted_at")
        moments = {name: getattr(self, name) for name in times}
        return {
            "id": str(self.id),
            "user_id": str(self.user_id),
            "package_id": None if self.package_id is None else str(self.package_id),
            "tier": self.tier,
            "periods": self.periods,
            "amount": format_amount(self.amount, decimals=self.decimals),
            "received": format_amount(self.received, decimals=self.decimals),
            "status": self.status,
            "reference": self.reference,
            "recipient": self.recipient,
            "url": self.url,
            **{name: None if at is None else at.isoformat() for name, at in moments.items()},
        }


@dataclass(frozen=True, slots=True)
class InvoicePayment:
    """A deposit that named an invoice.

    `exact`: it made the invoice paid. `underpaid`: it counts, and the rest is still to come. `overpaid`: it
    made the invoice paid, and `excess` of it paid for nothing. `late`: it came after the expiry.
    `duplicate`: the invoice was paid before. The last two pay for nothing at all.
    """

    payment_id: UUID
    invoice_id: UUID
    outcome: InvoiceOutcome
    amount: int
    excess: int
    """Base units of it that paid for nothing, which are the user's to get back."""
    created_at: datetime

    def to_dict(self, *, decimals: int) -> dict[str, Any]:
        """Return the payment as JSON-serialisable data, amounts as text in whole tokens."""
        return {
            "payment_id": str(self.payment_id),
            "invoice_id": str(self.invoice_id),
            "outcome": self.outcome,
            "amount": format_amount(self.amount, decimals=decimals),
            "excess": format_amount(self.excess, decimals=decimals),
            "created_at": self.created_at.isoformat(),
        }


def outcome_of(row: Row, amount: int, arrived_at: datetime) -> tuple[InvoiceOutcome, int]:
    """Say what a deposit is for an invoice, and how much of it pays for nothing.

    Args:
        row: the invoice's, as it stands, locked.
        amount: base units that arrived.
        arrived_at: the time of their block.
    """
    if row.status != "open":
        return "duplicate", amount
    if arrived_at > row.expires_at:
        return "late", amount
    missing = row.amount - row.received
    if amount < missing:
        return "underpaid", 0
    return ("exact", 0) if amount == missing else ("overpaid", amount - missing)
