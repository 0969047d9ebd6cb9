"""Where events go that no program receives: people's mail, and this process's log.

An endpoint may be `mailto:ops@example.com` or `log:warning` beside an https:// URL. All have the same outbox,
retries, dead letters and replays, so that a mail server that is down harms nothing and loses nothing.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import SecretStr

from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.webhooks._errors import NoReplyError, translated_mail_errors
from deal_sdk.webhooks.sender import WebhookReply, WebhookSender
from deal_sdk.webhooks.targets import check_url

logger = logging.getLogger(__name__)

MAIL: Final = "mailto:"
LOG: Final = "log:"
ALERT_EVENTS: Final = (
    "wallet:approaching",
    "wallet:limit-reached",
    "payment.failed",
    "payment.expired",
    "low_fee_payer",
    "suspicious_activity",
)
"""What people want to hear of at once."""
_LEVELS: Final[Mapping[str, int]] = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# One recipient, and nothing that could become a header: no name, no list, no options.
_MAIL_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_SCHEMES: Final = {"smtp": 587, "smtps": 465}
_TAKEN: Final = WebhookReply(200)


def check_endpoint(url: str, *, allow_private_networks: bool, takes_mail: bool) -> str:
    """Accept where events may go: an https:// URL, `mailto:` and one address, or `log:` and a level.

    Args:
        url: the endpoint.
        allow_private_networks: as for `check_url`.
        takes_mail: whether a mail server is set.

    Raises:
        InvalidInputError: for anything else; it is not repeated, for it may hold a token.
    """
    if isinstance(url, str) and url.startswith(MAIL):
        if not takes_mail:
            raise InvalidInputError("mail needs the settings smtp_url and smtp_sender", field="url")
        if not _MAIL_ADDRESS.fullmatch(url.removeprefix(MAIL)):
            raise InvalidInputError("mailto: is followed by one mail address", field="url")
        return url
    if isinstance(url, str) and url.startswith(LOG):
        if url.removeprefix(LOG) not in _LEVELS:
            raise InvalidInputError(f"log: is followed by one of {', '.join(_LEVELS)}", field="url")
        return url
    return check_url(url, allow_private_networks=allow_private_networks)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in, and in whose name."""

    host: str
    port: int
    sender: str
    username: str | None
    password: SecretStr | None
    uses_tls: bool
    """TLS from the first byte, as smtps:// says."""
    starts_tls: bool

    @classmethod
    def of(cls, url: SecretStr, sender: str, *, starts_tls: bool) -> MailServer:
        """Read a server from its URL.

        Args:
            url: smtp://user:password@host:port or smtps://; its secrets never reach a log.
            sender: the address that mail comes from.
            starts_tls: insist on STARTTLS where the URL is smtp://.

        Raises:
            ConfigurationError: for a URL or a sender that cannot be used.
        """
        parts = urlsplit(url.get_secret_value())
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in _SCHEMES or not parts.hostname or port == -1:
            raise ConfigurationError("smtp_url is smtp://[user:password@]host[:port], or smtps://")
        if not _MAIL_ADDRESS.fullmatch(sender):
            raise ConfigurationError("smtp_sender is one mail address")
        uses_tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=port or _SCHEMES[parts.scheme],
            sender=sender,
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else SecretStr(unquote(parts.password)),
            uses_tls=uses_tls,
            starts_tls=starts_tls and not uses_tls,
        )


class ChannelSender:
    """Sends by the channel that an endpoint's URL names."""

    def __init__(
        self,
        http: WebhookSender,
        mail: MailServer | None,
        *,
        timeout_seconds: float,
        mail_tls: ssl.SSLContext | None = None,
    ) -> None:
        """Keep the channels; nothing is connected yet.

        Args:
            http: carries what goes to URLs.
            mail: carries mail, where one is set.
            timeout_seconds: for one mail.
            mail_tls: whose certificates the mail server's is checked against; the system's by default.
        """
        self._http = http
        self._mail = mail
        self._mail_tls = mail_tls
        self._timeout_seconds = timeout_seconds

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebhookReply:
        """Send a body by the URL's channel; see `WebhookSender.post`."""
        if url.startswith(MAIL):
            return await self._send_mail(url.removeprefix(MAIL), body)
        if url.startswith(LOG):
            logger.log(_LEVELS[url.removeprefix(LOG)], "%s", _one_line(orjson.loads(body)))
            return _TAKEN
        return await self._http.post(url, body, headers)

    async def close(self) -> None:
        """Release the connections."""
        await self._http.close()

    async def _send_mail(self, recipient: str, body: bytes) -> WebhookReply:
        server = self._mail
        if server is None:
            raise NoReplyError("no mail server is set")
        with translated_mail_errors():
            import aiosmtplib

            await aiosmtplib.send(
                mail_of(orjson.loads(body), server.sender, recipient),
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=None if server.password is None else server.password.get_secret_value(),
                use_tls=server.uses_tls,
                start_tls=server.starts_tls,
                tls_context=self._mail_tls,
                timeout=self._timeout_seconds,
            )
        return _TAKEN


def mail_of(event: Mapping[str, Any], sender: str, recipient: str) -> EmailMessage:
    """Write an event as a mail, as text alone: what strangers wrote into it stays text.

    Args:
        event: the envelope that webhooks carry.
        sender: the address that it comes from.
        recipient: the address that it goes to.
    """
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = f"[deal] {_one_line({'type': event['type']})}"
    # The same event has the same id, so that a mail that is sent again is known to be the same.
    message["Message-ID"] = f"<{event['id']}@deal-sdk>"
    document = orjson.dumps(event, option=orjson.OPT_INDENT_2).decode()
    message.set_content(f"{_one_line(event)}\n\n{document}\n")
    return message


def _one_line(event: Mapping[str, Any]) -> str:
    data = event.get("data") or {}
    told = data.get("message") if isinstance(data, dict) else None
    text = f"{event['type']}: {told}" if told else str(event["type"])
    return "".join(character if character.isprintable() else " " for character in text)
