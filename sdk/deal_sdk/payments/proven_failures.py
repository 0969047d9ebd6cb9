"""The error that a payment's proven end means for its callers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deal_sdk.chain import INSUFFICIENT_FUNDS, OWNER_MISMATCH
from deal_sdk.errors import (
    ChargeRefusedError,
    DelegationFailedError,
    TransactionExpiredError,
    TransactionFailedError,
)
from deal_sdk.records import Transaction

_DELEGATION_PROBLEMS: Final = {OWNER_MISMATCH: "replaced", INSUFFICIENT_FUNDS: "exhausted"}


def error_of(payment: Transaction) -> TransactionFailedError | None:
    """Return the error of a payment that provably did not happen, with its evidence; None for any other."""
    if payment.status not in ("failed", "expired"):
        return None
    evidence = dict(payment.evidence or {})
    payment_id = str(payment.id)
    if payment.status == "expired":
        text = "the payment's blockhash expired before it landed"
        return TransactionExpiredError(text, payment_id=payment_id, **evidence)
    failure: Mapping[str, Any] = evidence.get("failure") or {}
    reason = f": {failure['text']}" if "text" in failure else ""
    if "number" in failure:
        return ChargeRefusedError(
            f"the on-chain program refused it{reason}",
            payment_id=payment_id,
            refusal=failure["name"],
            **evidence,
        )
    problem = _DELEGATION_PROBLEMS.get(failure.get("name", ""))
    if problem is not None and _is_delegated(payment):
        return DelegationFailedError(
            f"the delegate could not pay{reason}", payment_id=payment_id, problem=problem, **evidence
        )
    return TransactionFailedError(f"the payment failed on chain{reason}", payment_id=payment_id, **evidence)


def _is_delegated(payment: Transaction) -> bool:
    authority = (payment.instruction or {}).get("authority")
    return payment.from_address is not None and authority != payment.from_address
