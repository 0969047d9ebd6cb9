"""What goes wrong with subscriptions, with the buys that are told of, and with what they lead to."""

from __future__ import annotations

from deal_sdk.errors.base import TokenError
from deal_sdk.errors.inputs import InvalidInputError


class SubscriptionNotFoundError(TokenError):
    """A subscription that is not there, or was removed."""

    code = "subscription_not_found"


class PurchaseNotMadeError(TokenError):
    """Raised by an executor that can prove that nothing was bought, so that the count is given back."""

    code = "purchase_not_made"


class PayloadMalformedError(InvalidInputError):
    """A webhook's body that is not of the form that its sender documents; nothing of it was taken."""

    code = "payload_malformed"


class PayloadTooLargeError(InvalidInputError):
    """A webhook's body beyond the bounds; nothing of it was read."""

    code = "payload_too_large"


class PayloadUnauthorizedError(TokenError):
    """A webhook's request without the header that was agreed on."""

    code = "payload_unauthorized"


class WalletAlreadyWatchedError(TokenError):
    """A wallet that is watched, or was and is to be re-watched."""

    code = "wallet_already_watched"


class WalletNotWatchedError(TokenError):
    """A wallet that was never added to the monitor."""

    code = "wallet_not_watched"


class WatchPositionGoneError(TokenError):
    """An event's id older than the log goes back; read the wallets anew, and go on after `kept_after`."""

    code = "watch_position_gone"


class WatchSlotsFullError(TokenError):
    """As many wallets are active as may be; one must stop first."""

    code = "watch_slots_full"
