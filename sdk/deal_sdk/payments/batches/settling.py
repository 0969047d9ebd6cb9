"""The statements that write what became of a carrier to all its members.

Each runs for many carriers at once. A member is touched only from the state that it must be in, and a
row that says the right thing already is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.records import payment_carriers
from deal_sdk.records.tables import (
    LIVE_ATTEMPT_STATUSES,
    Json,
    UtcDateTime,
    balance_reservations,
    payment_attempts,
    token_accounts,
    token_transactions,
)

_CARRIER: Final = sa.bindparam("b_carrier", type_=sa.Uuid())
_AT: Final = sa.bindparam("b_at", type_=UtcDateTime())
_SIGNATURE: Final = sa.bindparam("b_signature", type_=sa.String())
_SLOT: Final = sa.bindparam("b_slot", type_=sa.BigInteger())
_EVIDENCE: Final = sa.bindparam("b_evidence", type_=Json)
_OPEN: Final = ("pending", "confirmed")

_payment = token_transactions.c
_attempt = payment_attempts.c
_reservation = balance_reservations.c
_carrier = payment_carriers.c


def settle_statements(end: str) -> tuple[sa.Update, ...]:
    """Return the statements for an end, in their order; see `CarrierStore.settle` for their parameters."""
    return _STATEMENTS[end]


def _any_of(column: sa.Column[str], values: tuple[str, ...]) -> sa.ColumnElement[bool]:
    # IN expands its list when it runs, which a statement for many rows cannot.
    return sa.or_(*(column == value for value in values))


def _members() -> sa.Select[Any]:
    return sa.select(_attempt.payment_id).where(_attempt.carrier_id == _CARRIER)


def _payments(status: str, allowed: tuple[str, ...], **values: Any) -> sa.Update:
    return (
        token_transactions.update()
        .where(_payment.id.in_(_members()), _any_of(_payment.status, allowed))
        .values(status=status, signature=_SIGNATURE, updated_at=_AT, **values)
    )


def _attempts(status: str, **values: Any) -> sa.Update:
    return (
        payment_attempts.update()
        .where(_attempt.carrier_id == _CARRIER, _any_of(_attempt.status, LIVE_ATTEMPT_STATUSES))
        .values(status=status, updated_at=_AT, **values)
    )


def _landed() -> sa.Update:
    return (
        balance_reservations.update()
        .where(_reservation.payment_id.in_(_members()), _reservation.state != "released")
        .where(sa.or_(_reservation.state != "landed", _reservation.landed_slot != _SLOT))
        .values(state="landed", landed_slot=_SLOT)
    )


def _live_again() -> sa.Update:
    return (
        balance_reservations.update()
        .where(_reservation.payment_id.in_(_members()), _reservation.state == "landed")
        .values(state="live", landed_slot=None)
    )


def _released() -> sa.Update:
    """Release what is reserved for members that have just ended without being paid."""
    ended = (
        sa.select(_attempt.payment_id)
        .join(token_transactions, _payment.id == _attempt.payment_id)
        .where(_attempt.carrier_id == _CARRIER, _any_of(_payment.status, ("failed", "expired")))
    )
    return (
        balance_reservations.update()
        .where(_reservation.payment_id.in_(ended), _reservation.state != "released")
        .values(state="released", landed_slot=None)
    )


def _given_up() -> sa.Update:
    """End the members whose attempts have expired as often as they may."""
    expired = (
        sa.select(sa.func.count())
        .where(_attempt.payment_id == _payment.id, _attempt.status == "expired")
        .correlate(token_transactions)
        .scalar_subquery()
    )
    return (
        token_transactions.update()
        .where(_payment.id.in_(_members()), _payment.status == "pending")
        .where(expired >= sa.bindparam("b_max_attempts", type_=sa.Integer()))
        .values(status="expired", evidence=_EVIDENCE, updated_at=_AT)
    )


def _carriers(status: str, **values: Any) -> sa.Update:
    return (
        payment_carriers.update()
        .where(_carrier.id == _CARRIER)
        .values(status=status, updated_at=_AT, **values)
    )


def _landed_account() -> sa.Update:
    column = token_accounts.c
    return (
        token_accounts.update()
        .where(column.address == sa.bindparam("b_account"), column.last_landed_slot < _SLOT)
        .values(last_landed_slot=_SLOT)
    )


_BACK: Final[Mapping[str, Any]] = {"slot": None, "confirmed_at": None}
_STATEMENTS: Final[Mapping[str, tuple[sa.Update, ...]]] = {
    "confirmed": (
        _payments("confirmed", ("pending",), slot=_SLOT, confirmed_at=_AT),
        _attempts("confirmed"),
        _landed(),
        _carriers("confirmed", slot=_SLOT),
        _landed_account(),
    ),
    "finalized": (
        _payments(
            "finalized",
            _OPEN,
            slot=_SLOT,
            finalized_at=_AT,
            confirmed_at=sa.func.coalesce(_payment.confirmed_at, _AT),
            evidence=_EVIDENCE,
        ),
        _attempts("finalized", evidence=_EVIDENCE),
        _landed(),
        _carriers("finalized", slot=_SLOT, evidence=_EVIDENCE),
        _landed_account(),
    ),
    "failed": (
        _payments("failed", _OPEN, slot=_SLOT, evidence=_EVIDENCE),
        _attempts("failed", evidence=_EVIDENCE),
        _released(),
        _carriers("failed", slot=_SLOT, evidence=_EVIDENCE),
    ),
    "split": (
        _payments("pending", _OPEN, **_BACK),
        _attempts("failed", evidence=_EVIDENCE),
        _live_again(),
        _carriers("failed", slot=_SLOT, evidence=_EVIDENCE),
    ),
    "expired": (
        _payments("pending", _OPEN, **_BACK),
        _attempts("expired", evidence=_EVIDENCE),
        _live_again(),
        _given_up(),
        _released(),
        _carriers("expired", evidence=_EVIDENCE),
    ),
}
