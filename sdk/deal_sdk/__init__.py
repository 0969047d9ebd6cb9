"""Bill, pay and reward in an SPL token from async Python, each payment exactly once.

    from deal_sdk import Deal

    async with Deal.open() as deal:                       # everything embedded, nothing to install
        alice = await deal.users.create(username="alice")
        await deal.wallets.create_custodial(alice.id)
        await deal.tokens.transfer("treasury", alice.id, "25")
        fee = await deal.tokens.deduct_service_fee(alice.id, "search")
        print(fee.status, fee.signature, await deal.tokens.get_balance(alice.id))

The same code runs against a validator, PostgreSQL and Redis: give `Deal.open` the URLs, or set
`DEAL_RPC_URL`, `DEAL_DATABASE_URL` and `DEAL_REDIS_URL`.
"""

from deal_sdk._version import __version__
from deal_sdk.amounts import Amount, BaseUnits, format_amount, parse_amount, to_decimal
from deal_sdk.client import Deal
from deal_sdk.errors import (
    ChainError,
    ConfigurationError,
    DatabaseError,
    ErrorDispatcher,
    IdempotencyConflictError,
    InsufficientBalanceError,
    InvalidAmountError,
    InvalidInputError,
    InvalidWalletAddressError,
    LimitExceededError,
    Outcome,
    PaymentPendingError,
    PurchaseLimitExceededError,
    RateLimitExceededError,
    SignatureRequiredError,
    StoreUnavailableError,
    TokenError,
    TransactionExpiredError,
    TransactionFailedError,
    UserNotFoundError,
    WalletAlreadyConnectedError,
    WalletNotFoundError,
)
from deal_sdk.garbage import collect_rarely
from deal_sdk.payments import PurchaseLimit, VerifyReport
from deal_sdk.records import Transaction, User
from deal_sdk.settings import Settings
from deal_sdk.threads import switch_threads_sooner
from deal_sdk.wallets import Wallet
from deal_sdk.webhooks import verify_webhook

__all__ = [
    "Amount",
    "BaseUnits",
    "ChainError",
    "ConfigurationError",
    "DatabaseError",
    "Deal",
    "ErrorDispatcher",
    "IdempotencyConflictError",
    "InsufficientBalanceError",
    "InvalidAmountError",
    "InvalidInputError",
    "InvalidWalletAddressError",
    "LimitExceededError",
    "Outcome",
    "PaymentPendingError",
    "PurchaseLimit",
    "PurchaseLimitExceededError",
    "RateLimitExceededError",
    "Settings",
    "SignatureRequiredError",
    "StoreUnavailableError",
    "TokenError",
    "Transaction",
    "TransactionExpiredError",
    "TransactionFailedError",
    "User",
    "UserNotFoundError",
    "VerifyReport",
    "Wallet",
    "WalletAlreadyConnectedError",
    "WalletNotFoundError",
    "__version__",
    "collect_rarely",
    "format_amount",
    "parse_amount",
    "switch_threads_sooner",
    "to_decimal",
    "verify_webhook",
]
