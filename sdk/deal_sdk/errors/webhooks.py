"""What goes wrong with webhooks, on the sender's side and on the receiver's."""

from __future__ import annotations

from deal_sdk.errors.base import TokenError


class WebhookNotFoundError(TokenError):
    """An endpoint or a delivery that is not in the database, or an endpoint that was removed."""

    code = "webhook_not_found"


class WebhookSignatureError(TokenError):
    """A request whose signature does not prove that it is ours, or that is older than accepted."""

    code = "webhook_signature"
