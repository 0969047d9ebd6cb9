"""Input and settings that cannot be used, and things that are not there or there already."""

from __future__ import annotations

from deal_sdk.errors.base import TokenError


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


class BatchInvalidError(InvalidInputError):
    """A batch with lines that cannot be paid: `facts["problems"]` names all of them; nobody was paid."""

    code = "batch_invalid"


class PreparedTransactionChangedError(InvalidInputError):
    """A transaction that came back from a wallet with more than signatures changed; nothing was taken."""

    code = "prepared_transaction_changed"


class InvalidSignatureError(InvalidInputError):
    """A signature that is missing, or does not verify for its address over exactly this message."""

    code = "invalid_signature"


class ChallengeInvalidError(InvalidInputError):
    """A challenge that proves nothing: unknown, expired, or used before."""

    code = "challenge_invalid"


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


class UserBusyError(TokenError):
    """A user with something under way, whose end must find the user; nothing happened, the facts count it."""

    code = "user_busy"
    retryable = True


class UserAlreadyExistsError(TokenError):
    """A user id or an external id that another row already has."""

    code = "user_already_exists"


class PackageNotFoundError(TokenError):
    """A credit package that is not offered."""

    code = "package_not_found"


class InvoiceNotFoundError(TokenError):
    """An invoice that does not exist."""

    code = "invoice_not_found"


class WalletNotFoundError(TokenError):
    """A wallet that is not connected, or not that user's."""

    code = "wallet_not_found"


class PaymentNotFoundError(TokenError):
    """A payment id that is not in the database."""

    code = "payment_not_found"


class PreparedTransactionNotFoundError(TokenError):
    """An id under which no transaction was prepared."""

    code = "prepared_transaction_not_found"


class WalletAlreadyConnectedError(TokenError):
    """An address that is already active for a user."""

    code = "wallet_already_connected"
