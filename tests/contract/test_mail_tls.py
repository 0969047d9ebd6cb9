"""Mail over TLS: only a server whose certificate an accepted authority signed is told anything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import SecretStr

from deal_sdk import Deal
from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConfigurationError
from deal_sdk.records import Database
from deal_sdk.tls import ClientTlsFiles, client_context
from deal_sdk.webhooks import ALERT_EVENTS, MailServer, NoReplyError
from tests.contract.mail_world import OPS, SENDER, MailBox, MailWorld, channels
from tests.servers import TlsFiles, make_tls_files

BODY = b'{"id": "5c4a", "type": "low_fee_payer", "data": {"lamports": 5}}'
REFUSED = r"^the mail server's certificate is not accepted$"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tls_files(tmp_path_factory.mktemp("other")).ca


@pytest.fixture
def database_url() -> str:
    """One database; deliveries are proven on both by the suite of webhooks."""
    return "sqlite+aiosqlite://"


class SecureMailBox(MailBox):
    """A mail server with a certificate, on TLS at once or after STARTTLS."""

    def __init__(self, files: TlsFiles, scheme: str) -> None:
        super().__init__()
        self.scheme = scheme
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.server_certificate, files.server_key)
        self.logins: list[object] = []

    def open(self) -> AbstractAsyncContextManager[None]:
        if self.scheme == "smtps":
            # The connection is secure before the server sees it, so that it takes it for an open one.
            return self.listen(tls=self.context, auth_require_tls=False, authenticator=self._log_in)
        return self.listen(tls_context=self.context, require_starttls=True, authenticator=self._log_in)

    @property
    def server(self) -> MailServer:
        url = SecretStr(f"{self.scheme}://ops:p%40ss@127.0.0.1:{self.port}")
        return MailServer.of(url, SENDER, starts_tls=True)

    def _log_in(self, server: object, session: object, envelope: object, how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss")


@pytest.fixture(params=["smtp", "smtps"])
async def secure_box(request: pytest.FixtureRequest, tls_files: TlsFiles) -> AsyncIterator[SecureMailBox]:
    box = SecureMailBox(tls_files, request.param)
    async with box.open():
        yield box


def context(authority: Path) -> ssl.SSLContext:
    return client_context(ClientTlsFiles(str(authority)), "the mail server")


async def test_a_mail_is_handed_to_a_server_of_the_given_authority(
    secure_box: SecureMailBox, tls_files: TlsFiles
) -> None:
    sender = channels(secure_box.server, mail_tls=context(tls_files.ca))
    assert (await sender.post(OPS, BODY, {})).status == 200
    assert [mail["Subject"] for _, mail in secure_box.taken] == ["[deal] low_fee_payer"]
    assert secure_box.logins == [(b"ops", b"p@ss")]


async def test_a_certificate_of_another_authority_is_refused_and_told_nothing(
    secure_box: SecureMailBox, other_authority: Path
) -> None:
    for tls in (None, context(other_authority)):
        with pytest.raises(NoReplyError, match=REFUSED):
            await channels(secure_box.server, mail_tls=tls).post(OPS, BODY, {})
    assert (secure_box.taken, secure_box.logins) == ([], [])


async def test_a_certificate_for_another_host_is_refused(
    secure_box: SecureMailBox, tls_files: TlsFiles
) -> None:
    url = SecretStr(f"{secure_box.scheme}://ops:p%40ss@localhost:{secure_box.port}")
    named = MailServer.of(url, SENDER, starts_tls=True)
    with pytest.raises(NoReplyError, match=REFUSED):
        await channels(named, mail_tls=context(tls_files.ca)).post(OPS, BODY, {})
    assert secure_box.logins == []


async def test_a_server_without_tls_where_tls_is_meant_is_refused(tls_files: TlsFiles) -> None:
    box = MailBox()
    async with box.listen():
        plain = MailServer.of(SecretStr(f"smtps://127.0.0.1:{box.port}"), SENDER, starts_tls=True)
        with pytest.raises(NoReplyError, match=r"^the mail server does not speak TLS there$"):
            await channels(plain, mail_tls=context(tls_files.ca)).post(OPS, BODY, {})
    assert box.taken == []


async def test_a_wrong_certificate_is_retried_and_the_mail_arrives_once_it_is_right(
    secure_box: SecureMailBox,
    tls_files: TlsFiles,
    other_authority: Path,
    database: Database,
    manual_clock: ManualClock,
) -> None:
    tls = context(other_authority)
    world = MailWorld(database, manual_clock, channels(secure_box.server, mail_tls=tls))
    await world.service.add(OPS, ALERT_EVENTS)
    await world.deliverer.start(delivers=False)
    world.bus.publish("low_fee_payer", lamports=5)
    await world.bus.drain()
    await world.deliver()
    (waiting,) = (await world.service.deliveries()).items
    assert (waiting.state, waiting.attempts) == ("pending", 1)
    assert waiting.last_error == "the mail server's certificate is not accepted"

    tls.load_verify_locations(tls_files.ca)
    await world.deliver()
    (delivered,) = (await world.service.deliveries()).items
    assert (delivered.state, delivered.attempts, len(secure_box.taken)) == ("delivered", 2, 1)
    await world.close()


async def test_the_authority_is_a_setting_and_one_that_cannot_be_read_is_refused(
    secure_box: SecureMailBox, tls_files: TlsFiles, tmp_path: Path
) -> None:
    mail = {
        "smtp_url": f"{secure_box.scheme}://ops:p%40ss@127.0.0.1:{secure_box.port}",
        "smtp_sender": SENDER,
    }
    async with Deal.open(smtp_tls_ca_file=str(tls_files.ca), **mail) as deal:
        await deal.webhooks.add(OPS, ["low_fee_payer"])
        deal.events.publish("low_fee_payer", lamports=5)
        async with asyncio.timeout(10):
            await secure_box.arrived.wait()
    assert len(secure_box.taken) == 1
    with pytest.raises(ConfigurationError, match="the TLS files of the mail server cannot be used"):
        await Deal.open(smtp_tls_ca_file=str(tmp_path / "none.pem"), **mail)
