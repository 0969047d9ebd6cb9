"""Tokens and sessions: kept as digests, ended for good, one first token however many start."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.dashboard.access import DashboardAccess, csrf_token_of, is_csrf_token
from deal_sdk.errors import AccessTokenNotFoundError, InvalidInputError, NotSignedInError
from deal_sdk.records import Database
from deal_sdk.records.dashboard_tables import dashboard_sessions, dashboard_tokens


@pytest.fixture
def access(database: Database) -> DashboardAccess:
    return DashboardAccess(database, session_seconds=100)


async def test_the_first_token_is_made_once(database: Database, access: DashboardAccess) -> None:
    made = await asyncio.gather(*(DashboardAccess(database).ensure_first() for _ in range(5)))
    (secret,) = [one for one in made if one is not None]
    assert (await access.by_token(secret)).is_operator
    await access.revoke("first")
    again = await access.ensure_first()
    assert again not in (None, secret)
    assert [token.name for token in await access.list()] == ["first", "first-2"]


async def test_secrets_are_stored_hashed(database: Database, access: DashboardAccess) -> None:
    _, secret = await access.create("ops", "operator")
    _, cookie = await access.sign_in(secret)
    for table in (dashboard_tokens, dashboard_sessions):
        stored = repr([row._asdict() for row in await database.fetch(sa.select(table))])
        assert secret not in stored
        assert cookie not in stored


async def test_a_session_ends_by_time_by_signing_out_and_with_its_token(
    database: Database, access: DashboardAccess, manual_clock: ManualClock
) -> None:
    _, secret = await access.create("ann")
    principal, cookie = await access.sign_in(secret)
    assert (principal.name, principal.role) == ("ann", "viewer")
    assert await access.by_cookie(cookie) == principal
    await manual_clock.advance(100)
    with pytest.raises(NotSignedInError):
        await access.by_cookie(cookie)
    _, second = await access.sign_in(secret)
    assert len(await database.fetch(sa.select(dashboard_sessions))) == 1, "the one that is over was kept"
    await access.sign_out(second)
    with pytest.raises(NotSignedInError):
        await access.by_cookie(second)
    _, third = await access.sign_in(secret)
    await access.revoke("ann")
    for use in (access.by_cookie(third), access.by_token(secret), access.sign_in(secret)):
        with pytest.raises(NotSignedInError):
            await use


@pytest.mark.parametrize("secret", ["", "deal_dash_wrong", "x" * 129, "é"])
async def test_a_wrong_token_opens_nothing(access: DashboardAccess, secret: str) -> None:
    await access.create("ann")
    for use in (access.by_token(secret), access.sign_in(secret), access.by_cookie(secret)):
        with pytest.raises(NotSignedInError):
            await use


async def test_tokens_are_named_once_and_have_a_known_role(access: DashboardAccess) -> None:
    await access.create("ann")
    with pytest.raises(InvalidInputError):
        await access.create("ann", "operator")
    with pytest.raises(InvalidInputError):
        await access.create("bob", "admin")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        await access.create("")
    with pytest.raises(AccessTokenNotFoundError):
        await access.revoke("carl")


def test_a_csrf_token_is_one_sessions_own() -> None:
    assert is_csrf_token("one", csrf_token_of("one"))
    assert not is_csrf_token("one", csrf_token_of("two"))
    assert not is_csrf_token("one", None)
    assert not is_csrf_token("one", "é")
