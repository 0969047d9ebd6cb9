"""What the HTTP and mail clients raise while a webhook is sent, in words that are kept with the delivery.

No text repeats a URL or what a peer said: either may hold a secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from deal_sdk.webhooks.targets import RefusedTargetError


class NoReplyError(Exception):
    """A request without a usable reply; it never leaves this area."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


@contextmanager
def translated_client_errors() -> Iterator[None]:
    """Turn what the HTTP client raises into a reason; whether the request arrived is unknown.

    Raises:
        NoReplyError: in place of the client's own errors.
    """
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise _translated(error) from None


@contextmanager
def translated_mail_errors() -> Iterator[None]:
    """Turn what the mail client raises into a reason; whether the mail was taken is unknown.

    Raises:
        NoReplyError: in place of the client's own errors, and when it is not installed.
    """
    try:
        yield
    except ImportError:
        raise NoReplyError("mail needs aiosmtplib: install deal-sdk[mail]") from None
    except (TimeoutError, OSError, ValueError) as error:
        raise _no_mail_connection(error) from None
    except Exception as error:
        # All that the client raises of its own has one base, which cannot be named where it is missing.
        if type(error).__module__.partition(".")[0] != "aiosmtplib":
            raise
        code = getattr(error, "code", None)
        told = type(error).__name__ if code is None else f"{code}"
        raise NoReplyError(f"the mail server refused it ({told})") from None


def _no_mail_connection(error: Exception) -> NoReplyError:
    # What broke the handshake of a first connection is the cause of the client's own error.
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NoReplyError("the mail server's certificate is not accepted")
    if isinstance(cause, ssl.SSLError):
        return NoReplyError("the mail server does not speak TLS there")
    return NoReplyError(f"the mail server cannot be reached ({type(error).__name__})")


def _translated(error: Exception) -> NoReplyError:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, RefusedTargetError):
        return NoReplyError(str(cause))
    if isinstance(error, TimeoutError):
        return NoReplyError("no reply in time")
    if isinstance(error, aiohttp.InvalidURL):
        return NoReplyError("the URL cannot be used")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NoReplyError("the host has no address")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return NoReplyError("the host's certificate is not accepted")
    return NoReplyError(f"the connection failed ({type(cause).__name__})")
