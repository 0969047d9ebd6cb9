"""What the dashboard refuses: who is not signed in, who may not, and what another site asked for."""

from __future__ import annotations

from deal_sdk.errors.base import TokenError


class AccessDeniedError(TokenError):
    """A request that its sender's role does not allow."""

    code = "access_denied"


class NotSignedInError(AccessDeniedError):
    """A request without a session or a token, or with one that is unknown, revoked or over."""

    code = "not_signed_in"


class CrossOriginError(AccessDeniedError):
    """A request that another site's page may have made: a foreign Host or Origin, or no CSRF token."""

    code = "cross_origin"


class AccessTokenNotFoundError(TokenError):
    """A dashboard's token that is not there, or was revoked."""

    code = "access_token_not_found"
