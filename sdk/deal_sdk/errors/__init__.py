"""Every error that the package raises, as one tree.

    TokenError
    ├── InvalidInputError                 the caller's input; nothing happened
    │   ├── InvalidAmountError
    │   ├── InvalidWalletAddressError
    │   ├── UnknownServiceTypeError
    │   ├── PreparedTransactionChangedError  a wallet changed more than signatures
    │   ├── InvalidSignatureError         missing, or of another key or message
    │   ├── ChallengeInvalidError         a wallet's challenge that is unknown, expired or used
    │   ├── IdempotencyConflictError      the key was used with other input
    │   ├── PayloadMalformedError         a webhook of buys that is not of its documented form
    │   ├── PayloadTooLargeError
    │   └── BatchInvalidError             names every line of a batch that cannot be paid
    ├── ConfigurationError                settings that cannot work
    │   ├── ChainMismatchError            the database belongs to another chain or mint
    │   └── SchemaError                   the database's schema is not this version's
    ├── UserNotFoundError, WalletNotFoundError, PaymentNotFoundError
    ├── PreparedTransactionNotFoundError
    ├── PackageNotFoundError, InvoiceNotFoundError
    ├── UserAlreadyExistsError
    ├── UserBusyError                     what is under way has to end before the user is erased
    ├── WalletAlreadyConnectedError
    ├── InsufficientBalanceError          says required, available and deficit
    ├── InsufficientTokensError           credits that do not cover an operation
    ├── LimitExceededError                says which limits refused and when to come back
    │   ├── PurchaseLimitExceededError
    │   └── RateLimitExceededError
    ├── RefundError                       a refund of what was not paid, or of more than was
    ├── SettlementConflictError           accrued fees that changed while they were to be settled
    ├── SafetyRailError                   the operator's caps or list of destinations
    ├── PaymentsPausedError               the operator stopped payments
    ├── SignatureRequiredError            the backend holds no key for that wallet
    ├── FeePayerError                     the fee payer's lamports run out
    ├── KeystoreError                     a key cannot be unlocked or stored
    │   ├── SignerUnavailableError        a remote signer does not answer
    │   └── SignerRefusedError            it refused, or its signature does not verify
    ├── DelegateInUseError                another live delegate would be replaced
    ├── DelegationError                   a delegation is missing, exhausted, replaced or unproven
    ├── AllowanceError                    an on-chain allowance that does not cover a charge
    ├── MintNotFoundError, UnsupportedMintError
    ├── PaymentPendingError               not a failure: the wait ended before the payment did
    ├── BatchPendingError                 the same of a batch
    ├── TransactionFailedError            proven not to have happened; carries the evidence
    │   ├── DelegationFailedError         the approval was ended or spent before it landed
    │   ├── ChargeRefusedError            the program deal_allowance refused it
    │   └── TransactionExpiredError
    ├── ChainError                        the RPC side
    │   ├── RpcUnavailableError
    │   │   ├── RpcTimeoutError
    │   │   ├── RpcRateLimitedError
    │   │   └── RpcAllEndpointsFailedError
    │   ├── RpcRefusedError               a JSON-RPC error reply, with its code and data
    │   └── RpcMalformedReplyError
    ├── DatabaseError
    │   ├── DatabaseUnavailableError
    │   ├── DatabaseBusyError
    │   └── ConstraintError               a rule that the database itself keeps
    ├── RenewalsIncompleteError           a scheduled run that is to be repeated
    ├── StatementError                    a month that does not tie out, or is too long to be shown
    ├── HistoryGapError                   a balance that does not continue the recorded chain
    ├── StoreUnavailableError             Redis: limits or cache
    ├── SubscriptionNotFoundError         none by that id, or removed
    ├── PurchaseNotMadeError              raised by an executor with proof that nothing was bought
    ├── PayloadUnauthorizedError          a webhook of buys without the header that was agreed on
    ├── WalletNotWatchedError, WalletAlreadyWatchedError
    ├── WatchPositionGoneError            events after it were cleaned up: read the wallets anew
    ├── WatchSlotsFullError               as many watched wallets are active as may be
    ├── AccessDeniedError                 the dashboard: a role that does not allow it
    │   ├── NotSignedInError              no session or token, or one that is over
    │   └── CrossOriginError              what another site's page may have asked for
    ├── AccessTokenNotFoundError          no such token of the dashboard
    ├── WebhookNotFoundError              no such endpoint or delivery
    └── WebhookSignatureError             a request that is not ours, too old, or altered

Each class has a stable `code` for programs, `retryable` (the same call may succeed later without
changes), and `outcome`, which answers what the caller must believe about the money.

Owns the classes and the dispatcher that hands them on. Never translates another library's
exceptions: each area does that in its `_errors`.
"""

from deal_sdk.errors.base import Outcome, TokenError
from deal_sdk.errors.dashboard import (
    AccessDeniedError,
    AccessTokenNotFoundError,
    CrossOriginError,
    NotSignedInError,
)
from deal_sdk.errors.dispatcher import ErrorDispatcher, ErrorHandler
from deal_sdk.errors.inputs import (
    BatchInvalidError,
    ChainMismatchError,
    ChallengeInvalidError,
    ConfigurationError,
    IdempotencyConflictError,
    InvalidAmountError,
    InvalidInputError,
    InvalidSignatureError,
    InvalidWalletAddressError,
    InvoiceNotFoundError,
    PackageNotFoundError,
    PaymentNotFoundError,
    PreparedTransactionChangedError,
    PreparedTransactionNotFoundError,
    SchemaError,
    UnknownServiceTypeError,
    UserAlreadyExistsError,
    UserBusyError,
    UserNotFoundError,
    WalletAlreadyConnectedError,
    WalletNotFoundError,
)
from deal_sdk.errors.monitor import (
    PayloadMalformedError,
    PayloadTooLargeError,
    PayloadUnauthorizedError,
    PurchaseNotMadeError,
    SubscriptionNotFoundError,
    WalletAlreadyWatchedError,
    WalletNotWatchedError,
    WatchPositionGoneError,
    WatchSlotsFullError,
)
from deal_sdk.errors.payments import (
    AllowanceError,
    BatchPendingError,
    ChargeRefusedError,
    DelegateInUseError,
    DelegationError,
    DelegationFailedError,
    FeePayerError,
    InsufficientBalanceError,
    InsufficientTokensError,
    KeystoreError,
    LimitExceededError,
    MintNotFoundError,
    PaymentPendingError,
    PaymentsPausedError,
    PurchaseLimitExceededError,
    RateLimitExceededError,
    RefundError,
    SafetyRailError,
    SettlementConflictError,
    SignatureRequiredError,
    SignerRefusedError,
    SignerUnavailableError,
    TransactionExpiredError,
    TransactionFailedError,
    UnsupportedMintError,
)
from deal_sdk.errors.systems import (
    ChainError,
    ConstraintError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    HistoryGapError,
    RenewalsIncompleteError,
    RpcAllEndpointsFailedError,
    RpcMalformedReplyError,
    RpcRateLimitedError,
    RpcRefusedError,
    RpcTimeoutError,
    RpcUnavailableError,
    StatementError,
    StoreUnavailableError,
)
from deal_sdk.errors.webhooks import WebhookNotFoundError, WebhookSignatureError

__all__ = [
    "AccessDeniedError",
    "AccessTokenNotFoundError",
    "AllowanceError",
    "BatchInvalidError",
    "BatchPendingError",
    "ChainError",
    "ChainMismatchError",
    "ChallengeInvalidError",
    "ChargeRefusedError",
    "ConfigurationError",
    "ConstraintError",
    "CrossOriginError",
    "DatabaseBusyError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "DelegateInUseError",
    "DelegationError",
    "DelegationFailedError",
    "ErrorDispatcher",
    "ErrorHandler",
    "FeePayerError",
    "HistoryGapError",
    "IdempotencyConflictError",
    "InsufficientBalanceError",
    "InsufficientTokensError",
    "InvalidAmountError",
    "InvalidInputError",
    "InvalidSignatureError",
    "InvalidWalletAddressError",
    "InvoiceNotFoundError",
    "KeystoreError",
    "LimitExceededError",
    "MintNotFoundError",
    "NotSignedInError",
    "Outcome",
    "PackageNotFoundError",
    "PayloadMalformedError",
    "PayloadTooLargeError",
    "PayloadUnauthorizedError",
    "PaymentNotFoundError",
    "PaymentPendingError",
    "PaymentsPausedError",
    "PreparedTransactionChangedError",
    "PreparedTransactionNotFoundError",
    "PurchaseLimitExceededError",
    "PurchaseNotMadeError",
    "RateLimitExceededError",
    "RefundError",
    "RenewalsIncompleteError",
    "RpcAllEndpointsFailedError",
    "RpcMalformedReplyError",
    "RpcRateLimitedError",
    "RpcRefusedError",
    "RpcTimeoutError",
    "RpcUnavailableError",
    "SafetyRailError",
    "SchemaError",
    "SettlementConflictError",
    "SignatureRequiredError",
    "SignerRefusedError",
    "SignerUnavailableError",
    "StatementError",
    "StoreUnavailableError",
    "SubscriptionNotFoundError",
    "TokenError",
    "TransactionExpiredError",
    "TransactionFailedError",
    "UnknownServiceTypeError",
    "UnsupportedMintError",
    "UserAlreadyExistsError",
    "UserBusyError",
    "UserNotFoundError",
    "WalletAlreadyConnectedError",
    "WalletAlreadyWatchedError",
    "WalletNotFoundError",
    "WalletNotWatchedError",
    "WatchPositionGoneError",
    "WatchSlotsFullError",
    "WebhookNotFoundError",
    "WebhookSignatureError",
]
