"""Why a payment is refused, pending or proven not to have happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deal_sdk.errors.base import Outcome, TokenError


class InsufficientBalanceError(TokenError):
    """A balance that does not cover the payment once live reservations are counted."""

    code = "insufficient_balance"

    def __init__(self, *, required: str, available: str, deficit: str, is_provisional: bool = False) -> None:
        """Keep the three amounts, each in whole tokens as text.

        Args:
            required: what the payment needs.
            available: the balance less what is promised to others.
            deficit: what is missing.
            is_provisional: whether only payments under way stand against it, which the balance may
                lack already: one that has landed and is not settled yet is then counted twice.
        """
        super().__init__(
            f"Insufficient balance. Required: {required}, Available: {available}, Deficit: {deficit}",
            required=required,
            available=available,
            deficit=deficit,
        )
        self.required = required
        self.available = available
        self.deficit = deficit
        self.is_provisional = is_provisional


class InsufficientTokensError(TokenError):
    """Credits that do not cover an operation; what is on hold for others is not counted."""

    code = "insufficient_tokens"

    def __init__(self, message: str, *, required: int, available: int, operation: str) -> None:
        """Keep the credits that are required and those that are there."""
        super().__init__(message, required=required, available=available, operation=operation)
        self.required = required
        self.available = available


class LimitExceededError(TokenError):
    """A limit that refused the payment before anything was recorded or sent."""

    code = "limit_exceeded"
    retryable = True

    def __init__(self, message: str, *, limits: tuple[str, ...], retry_after_seconds: float) -> None:
        """Keep the names of every limit that refused and the longest wait among them."""
        super().__init__(message, limits=list(limits), retry_after_seconds=retry_after_seconds)
        self.limits = limits
        self.retry_after_seconds = retry_after_seconds


class PurchaseLimitExceededError(LimitExceededError):
    """A purchase beyond the number allowed within the period."""

    code = "purchase_limit_exceeded"


class RateLimitExceededError(LimitExceededError):
    """A request beyond the tier's window or burst."""

    code = "rate_limit_exceeded"


class RefundError(TokenError):
    """A refund of a payment that did not happen, or of more than is left of it; nothing was recorded."""

    code = "refund"


class SettlementConflictError(TokenError):
    """Accrued fees that another settlement took, or gave back, meanwhile; nothing was recorded."""

    code = "settlement_conflict"
    retryable = True


class SafetyRailError(TokenError):
    """A payment that the operator's caps or list of destinations rule out; nothing was recorded."""

    code = "safety_rail"


class PaymentsPausedError(TokenError):
    """The operator stopped payments; what is recorded waits, and nothing new is taken."""

    code = "payments_paused"
    retryable = True


class SignatureRequiredError(TokenError):
    """A wallet whose key the backend does not hold; its owner must sign."""

    code = "signature_required"


class FeePayerError(TokenError):
    """A fee payer without the lamports that the next transaction needs; nothing was recorded."""

    code = "fee_payer"
    retryable = True


class KeystoreError(TokenError):
    """A key that cannot be stored or unlocked; the message never holds key material."""

    code = "keystore"


class SignerUnavailableError(KeystoreError):
    """A remote signer that cannot be reached or gave no usable reply; asking again is harmless."""

    code = "signer_unavailable"
    retryable = True


class SignerRefusedError(KeystoreError):
    """A remote signer that refused, or whose signature does not verify; nothing was signed."""

    code = "signer_refused"


class DelegateInUseError(TokenError):
    """An approval that would replace another live delegate of the token account."""

    code = "delegate_in_use"


class DelegationError(TokenError):
    """A delegation that is missing, exhausted, was replaced, or is of an unproven wallet."""

    code = "delegation"
    is_provisional = False
    """Whether only payments under way stand against it, which the approval may be less of already."""


class AllowanceError(TokenError):
    """An allowance that is missing, closed, expired, paused or too small; nothing was recorded."""

    code = "allowance"


class MintNotFoundError(TokenError):
    """An address at which there is no token mint."""

    code = "mint_not_found"


class UnsupportedMintError(TokenError):
    """A mint with extensions under which an amount sent is not the amount received."""

    code = "unsupported_mint"


class PaymentPendingError(TokenError):
    """The wait ended before the payment did; it is recorded, and is neither done nor failed."""

    code = "payment_pending"
    outcome = Outcome.UNKNOWN

    def __init__(self, payment_id: str, *, signature: str | None = None) -> None:
        """Keep the id under which the payment can be followed."""
        super().__init__(
            f"payment {payment_id} is still pending; it was not refused and must not be made again",
            payment_id=payment_id,
            signature=signature,
        )
        self.payment_id = payment_id
        self.signature = signature


class BatchPendingError(TokenError):
    """The wait ended before the batch did; what is recorded goes on, and the same call takes it up again."""

    code = "batch_pending"
    retryable = True
    outcome = Outcome.UNKNOWN


class TransactionFailedError(TokenError):
    """A payment that provably did not happen, with the evidence (slot, height, endpoint, error)."""

    code = "transaction_failed"
    outcome = Outcome.FAILED_ON_CHAIN

    def __init__(self, message: str, *, payment_id: str | None = None, **evidence: Any) -> None:
        """Keep the payment's id and the proof."""
        super().__init__(message, payment_id=payment_id, **evidence)
        self.payment_id = payment_id
        self.evidence: Mapping[str, Any] = evidence


class DelegationFailedError(TransactionFailedError):
    """A delegate's payment that the chain refused; `problem` says "replaced" or "exhausted".

    The approval was ended, replaced or spent elsewhere after the payment was recorded.
    """

    code = "delegation_failed"


class ChargeRefusedError(TransactionFailedError):
    """A charge or reward that the on-chain program refused; `refusal` is the error's name in its IDL."""

    code = "charge_refused"


class TransactionExpiredError(TransactionFailedError):
    """A transaction whose blockhash ran out by the finalized height before it landed.

    The payment's key stands for this end, so paying again takes a new key.
    """

    code = "transaction_expired"
