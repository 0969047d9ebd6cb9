"""Every error that the package raises, as one tree.

    TokenError
    ├── InvalidInputError                 the caller's input; nothing happened
    │   ├── InvalidAmountError
    │   ├── InvalidWalletAddressError
    │   ├── UnknownServiceTypeError
    │   └── IdempotencyConflictError      the key was used with other input
    ├── ConfigurationError                settings that cannot work
    │   ├── ChainMismatchError            the database belongs to another chain or mint
    │   └── SchemaError                   the database's schema is not this version's
    ├── UserNotFoundError, WalletNotFoundError, PaymentNotFoundError
    ├── UserAlreadyExistsError
    ├── WalletAlreadyConnectedError
    ├── InsufficientBalanceError          says required, available and deficit
    ├── LimitExceededError                says which limits refused and when to come back
    │   ├── PurchaseLimitExceededError
    │   └── RateLimitExceededError
    ├── SignatureRequiredError            the backend holds no key for that wallet
    ├── FeePayerError                     the fee payer's lamports run out
    ├── KeystoreError                     a key cannot be unlocked or stored
    ├── DelegateInUseError                another live delegate would be replaced
    ├── DelegationError                   a delegation is missing, exhausted or replaced
    ├── MintNotFoundError, UnsupportedMintError
    ├── PaymentPendingError               not a failure: the wait ended before the payment did
    ├── TransactionFailedError            proven not to have happened; carries the evidence
    │   └── TransactionExpiredError
    ├── ChainError                        the RPC side
    │   ├── RpcUnavailableError
    │   │   ├── RpcTimeoutError
    │   │   └── RpcRateLimitedError
    │   ├── RpcRefusedError               a JSON-RPC error reply, with its code and data
    │   └── RpcMalformedReplyError
    ├── DatabaseError
    │   ├── DatabaseUnavailableError
    │   ├── DatabaseBusyError
    │   └── ConstraintError               a rule that the database itself keeps
    ├── HistoryGapError                   a balance that does not continue the recorded chain
    └── StoreUnavailableError             Redis: limits or cache

Each class has a stable `code` for programs, `retryable` (the same call may succeed later without
changes), and `outcome`, which answers what the caller must believe about the money.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What an error says about the money."""

    NOT_SENT = "not_sent"
    """No signed transaction left; nothing can land."""
    UNKNOWN = "unknown"
    """It may have landed or may still land; the reconciler finds out."""
    FAILED_ON_CHAIN = "failed_on_chain"
    """Proven: it landed as failed or can never land."""


class TokenError(Exception):
    """The base of every error that this package raises."""

    code: ClassVar[str] = "token_error"
    retryable: ClassVar[bool] = False
    outcome: Outcome = Outcome.NOT_SENT

    def __init__(self, message: str, **facts: Any) -> None:
        """Keep the message and the facts behind it.

        Args:
            message: one sentence for a person, without secrets.
            facts: what a program needs to act on it; JSON-serialisable.
        """
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, Any] = facts

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain data for a log line or an HTTP reply."""
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "outcome": str(self.outcome),
            **self.facts,
        }


class InvalidInputError(TokenError, ValueError):
    """Input that can never be accepted; nothing happened."""

    code = "invalid_input"


class InvalidAmountError(InvalidInputError):
    """An amount that is no exact, positive, storable number of base units."""

    code = "invalid_amount"


class InvalidWalletAddressError(InvalidInputError):
    """A text that is no Solana address, or one that no key can own."""

    code = "invalid_wallet_address"


class UnknownServiceTypeError(InvalidInputError):
    """A service that has no price; an unknown service is never free."""

    code = "unknown_service_type"


class IdempotencyConflictError(InvalidInputError):
    """An idempotency key that was used before with other input."""

    code = "idempotency_conflict"


class ConfigurationError(TokenError):
    """Settings that cannot work together or at all."""

    code = "configuration"


class ChainMismatchError(ConfigurationError):
    """A database that belongs to another chain or another mint than the one it was opened against."""

    code = "chain_mismatch"


class SchemaError(ConfigurationError):
    """A database whose schema is older or newer than this package's."""

    code = "schema"


class UserNotFoundError(TokenError):
    """A user id that is not in the database."""

    code = "user_not_found"


class UserAlreadyExistsError(TokenError):
    """A user id or an external id that another row already has."""

    code = "user_already_exists"


class WalletNotFoundError(TokenError):
    """A wallet that is not connected, or not that user's."""

    code = "wallet_not_found"


class PaymentNotFoundError(TokenError):
    """A payment id that is not in the database."""

    code = "payment_not_found"


class WalletAlreadyConnectedError(TokenError):
    """An address that is already active for a user."""

    code = "wallet_already_connected"


class InsufficientBalanceError(TokenError):
    """A balance that does not cover the payment once live reservations are counted."""

    code = "insufficient_balance"

    def __init__(self, *, required: str, available: str, deficit: str) -> None:
        """Keep the three amounts, each in whole tokens as text."""
        super().__init__(
            f"Insufficient balance. Required: {required}, Available: {available}, Deficit: {deficit}",
            required=required,
            available=available,
            deficit=deficit,
        )
        self.required = required
        self.available = available
        self.deficit = deficit


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


class DelegateInUseError(TokenError):
    """An approval that would replace another live delegate of the token account."""

    code = "delegate_in_use"


class DelegationError(TokenError):
    """A delegation that is missing, exhausted or was replaced."""

    code = "delegation"


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


class TransactionFailedError(TokenError):
    """A payment that provably did not happen, with the evidence (slot, height, endpoint, error)."""

    code = "transaction_failed"
    outcome = Outcome.FAILED_ON_CHAIN

    def __init__(self, message: str, *, payment_id: str | None = None, **evidence: Any) -> None:
        """Keep the payment's id and the proof."""
        super().__init__(message, payment_id=payment_id, **evidence)
        self.payment_id = payment_id
        self.evidence: Mapping[str, Any] = evidence


class TransactionExpiredError(TransactionFailedError):
    """A transaction whose blockhash ran out by the finalized height before it landed."""

    code = "transaction_expired"
    retryable = True


class ChainError(TokenError):
    """Something went wrong between the package and the RPC endpoint."""

    code = "chain"


class RpcUnavailableError(ChainError):
    """An endpoint that cannot be reached or answers with a server error."""

    code = "rpc_unavailable"
    retryable = True
    outcome = Outcome.UNKNOWN


class RpcTimeoutError(RpcUnavailableError):
    """A request without a reply in time; it may have been carried out."""

    code = "rpc_timeout"


class RpcRateLimitedError(RpcUnavailableError):
    """An endpoint that asks to slow down (HTTP 429)."""

    code = "rpc_rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, **facts: Any) -> None:
        """Keep how long the endpoint asked to wait, when it said so."""
        super().__init__(message, retry_after_seconds=retry_after_seconds, **facts)
        self.retry_after_seconds = retry_after_seconds


class RpcRefusedError(ChainError):
    """A JSON-RPC error reply."""

    code = "rpc_refused"

    def __init__(self, message: str, *, rpc_code: int, data: Any = None, method: str = "") -> None:
        """Keep the reply's code and data, for example a failed preflight's logs."""
        super().__init__(message, rpc_code=rpc_code, data=data, method=method)
        self.rpc_code = rpc_code
        self.data = data


class RpcMalformedReplyError(ChainError):
    """A reply that is no JSON-RPC, or not of the form that the method promises."""

    code = "rpc_malformed_reply"
    retryable = True
    outcome = Outcome.UNKNOWN


class DatabaseError(TokenError):
    """The database refused a statement."""

    code = "database"
    outcome = Outcome.UNKNOWN


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or the connection broke."""

    code = "database_unavailable"
    retryable = True


class DatabaseBusyError(DatabaseError):
    """The database stayed locked, or transactions kept colliding, beyond the bounded retries."""

    code = "database_busy"
    retryable = True


class ConstraintError(DatabaseError):
    """A row that a rule of the database itself refused; nothing of its transaction was kept."""

    code = "constraint"
    outcome = Outcome.NOT_SENT

    def __init__(self, *, kind: str, constraint: str | None, **facts: Any) -> None:
        """Keep which rule it was.

        Args:
            kind: "unique", "foreign_key", "check" or "not_null".
            constraint: the rule's name, the same on every database; None where the database does not
                tell (a foreign key on SQLite, a missing value).
            facts: table and column, where known.
        """
        named = f" {constraint}" if constraint else ""
        super().__init__(f"the {kind} rule{named} refused a row", kind=kind, constraint=constraint, **facts)
        self.kind = kind
        self.constraint = constraint


class HistoryGapError(TokenError):
    """A change whose balance before is not the recorded balance after; something is missing between."""

    code = "history_gap"

    def __init__(
        self, *, token_account: str, expected: int, found: int, signature: str, slot: int, recorded_slot: int
    ) -> None:
        """Keep the account, both balances in base units, and the transaction that does not fit."""
        super().__init__(
            f"the history of {token_account} ends at slot {recorded_slot} with {expected} base units, "
            f"but transaction {signature} of slot {slot} starts from {found}",
            token_account=token_account,
            expected=expected,
            found=found,
            signature=signature,
            slot=slot,
            recorded_slot=recorded_slot,
        )
        self.token_account = token_account
        self.expected = expected
        self.found = found
        self.signature = signature


class StoreUnavailableError(TokenError):
    """The store of limits or cache cannot be reached."""

    code = "store_unavailable"
    retryable = True


ErrorHandler = Callable[[TokenError], Awaitable[None]]


class ErrorDispatcher:
    """Carries errors to the caller's async handlers by class, subclasses included."""

    def __init__(self) -> None:
        """Start without handlers."""
        self._handlers: dict[type[TokenError], list[ErrorHandler]] = {}

    def on(self, error_class: type[TokenError], handler: ErrorHandler) -> None:
        """Register a handler for a class of errors and everything below it.

        Args:
            error_class: `TokenError` or a subclass.
            handler: an async callable that takes the error.

        Raises:
            TypeError: when the handler is not an async callable.
        """
        is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__ counts
        )
        if not is_async:
            raise TypeError("an error handler must be an async callable")
        self._handlers.setdefault(error_class, []).append(handler)

    async def dispatch(self, error: TokenError) -> bool:
        """Call every handler of the most specific class that has any.

        A handler that raises is logged and keeps no other from running: reporting an error must not
        become one.

        Returns:
            Whether a handler took it; one that nobody handles is logged.
        """
        for error_class in type(error).__mro__:
            handlers = self._handlers.get(error_class)
            if handlers:
                await self._call_all(handlers, error)
                return True
        logger.error("unhandled %s: %s", error.code, error.message, extra={"deal_error": error.to_dict()})
        return False

    @staticmethod
    async def _call_all(handlers: list[ErrorHandler], error: TokenError) -> None:
        for handler in handlers:
            try:
                await handler(error)
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("an error handler failed on %s", error.code)
