"""Mail and log as endpoints: taken by a real mail server, retried while it is down, dead and replayed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from deal_sdk import Deal
from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.records import Database
from deal_sdk.webhooks import ALERT_EVENTS, MailServer, NoReplyError
from tests.contract.mail_world import OPS, MailBox, MailWorld, channels
from tests.contract.webhook_world import BOUNDS

BODY = b'{"id": "5c4a", "type": "low_fee_payer", "data": {"lamports": 5}}'


@pytest.fixture
async def mail_box() -> AsyncIterator[MailBox]:
    box = MailBox()
    async with box.listen():
        yield box


@pytest.fixture
def database_url() -> str:
    """One database; deliveries are proven on both by the suite of webhooks."""
    return "sqlite+aiosqlite://"


async def test_a_mail_is_taken_by_a_real_server_as_plain_text(mail_box: MailBox) -> None:
    hostile = (
        b'{"id":"7","type":"wallet:limit-reached","data":{"message":"<b>x</b>\\r\\nBcc: all@example.com"}}'
    )
    assert (await channels(mail_box.server).post(OPS, hostile, {})).status == 200
    ((recipients, mail),) = mail_box.taken
    assert recipients == ["ops@example.com"]
    assert (mail["From"], mail["To"], mail["Bcc"]) == ("deal@example.com", "ops@example.com", None)
    assert mail["Subject"] == "[deal] wallet:limit-reached"
    assert mail["Message-ID"] == "<7@deal-sdk>"
    assert mail.get_content_type() == "text/plain"
    assert "<b>x</b>  Bcc: all@example.com" in mail.get_payload(decode=True).decode()


async def test_what_a_mail_server_refuses_or_misses_is_a_reason_without_its_words(mail_box: MailBox) -> None:
    mail_box.reply = "550 secret words"
    with pytest.raises(NoReplyError, match=r"^the mail server refused it \(550\)$"):
        await channels(mail_box.server).post(OPS, BODY, {})
    gone = MailServer.of(SecretStr("smtp://127.0.0.1:1"), "deal@example.com", starts_tls=False)
    with pytest.raises(NoReplyError, match="cannot be reached"):
        await channels(gone).post(OPS, BODY, {})
    with pytest.raises(NoReplyError, match="no mail server is set"):
        await channels(None).post(OPS, BODY, {})
    insisting = MailServer.of(SecretStr(f"smtp://127.0.0.1:{mail_box.port}"), "a@b.c", starts_tls=True)
    with pytest.raises(NoReplyError, match="refused"):
        await channels(insisting).post(OPS, BODY, {})
    assert mail_box.taken == []


async def test_the_log_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await channels(None).post("log:warning", b'{"type":"low_fee_payer","data":{"message":"a\\nb"}}', {})
    assert caplog.messages == ["low_fee_payer: a b"]


async def test_mail_that_fails_is_retried_then_dead_then_replayed(
    database: Database, manual_clock: ManualClock, mail_box: MailBox
) -> None:
    world = MailWorld(database, manual_clock, channels(mail_box.server))
    await world.service.add(OPS, ALERT_EVENTS)
    await world.deliverer.start(delivers=False)
    mail_box.reply = "451 try again"
    world.bus.publish("low_fee_payer", lamports=5)
    world.bus.publish("payment.finalized", payment={})
    await world.bus.drain()

    for _ in range(BOUNDS.max_attempts):
        await world.deliver()
    (dead,) = (await world.service.deliveries()).items
    assert (dead.state, dead.attempts, dead.event_type) == ("dead", BOUNDS.max_attempts, "low_fee_payer")
    assert dead.last_error == "the mail server refused it (451)"
    mail_box.reply = "250 taken"
    await world.service.replay(dead.id)
    await world.deliver()
    assert [mail["Subject"] for _, mail in mail_box.taken] == ["[deal] low_fee_payer"]
    await world.close()


async def test_an_endpoint_that_cannot_be_used_is_refused() -> None:
    async with Deal.open(background_jobs=False) as deal:
        for url in ("log:loud", "log:", OPS):
            with pytest.raises(InvalidInputError):
                await deal.webhooks.add(url)
        await deal.webhooks.add("log:info", ALERT_EVENTS)
    async with Deal.open(
        background_jobs=False, smtp_url="smtp://u:p%40ss@mail.example", smtp_sender="deal@example.com"
    ) as deal:
        await deal.webhooks.add(OPS)
        for url in ("mailto:", "mailto:a@b.c,d@e.f", "mailto:A <a@b.c>", "mailto:a@b.c?bcc=d@e.f"):
            with pytest.raises(InvalidInputError):
                await deal.webhooks.add(url)


def test_a_mail_server_is_read_from_its_url_without_showing_its_secret() -> None:
    server = MailServer.of(SecretStr("smtps://u:p%40ss@mail.example"), "deal@example.com", starts_tls=True)
    assert (server.port, server.uses_tls, server.starts_tls, server.username) == (465, True, False, "u")
    assert server.password is not None
    assert server.password.get_secret_value() == "p@ss"
    assert "p@ss" not in repr(server)
    for url, sender in (
        ("http://x", "a@b.c"),
        ("smtp://", "a@b.c"),
        ("smtp://x:y", "a@b.c"),
        ("smtp://x", "a"),
    ):
        with pytest.raises(ConfigurationError):
            MailServer.of(SecretStr(url), sender, starts_tls=True)
