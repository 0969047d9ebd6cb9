"""Who may use the dashboard: tokens with a role, and the sessions that are begun with them.

Tokens and cookies are 256 random bits, so that one SHA-256 hides them as well as a slow hash would; only
the digests are stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import AccessTokenNotFoundError, InvalidInputError, NotSignedInError
from deal_sdk.records import Database
from deal_sdk.records.dashboard_tables import (
    DASHBOARD_ROLES,
    TOKEN_NAME_LENGTH,
    dashboard_sessions,
    dashboard_tokens,
)
from deal_sdk.records.database import Row
from deal_sdk.records.inputs import check_choice, check_text

Role = Literal["viewer", "operator"]
OPERATOR: Final = "operator"
FIRST_TOKEN: Final = "first"
TOKEN_PREFIX: Final = "deal_dash_"
SECRET_BYTES: Final = 32
MAX_SECRET_LENGTH: Final = 128
DEFAULT_SESSION_SECONDS: Final = 12 * 3_600.0

_CSRF_PURPOSE: Final = b"deal-dashboard-csrf"
_TOKEN: Final = dashboard_tokens.c
_SESSION: Final = dashboard_sessions.c
_TOKEN_COLUMNS: Final = (_TOKEN.id, _TOKEN.name, _TOKEN.role, _TOKEN.created_at, _TOKEN.revoked_at)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it may be listed: without its secret, which nobody keeps."""

    id: UUID
    name: str
    role: str
    created_at: datetime
    revoked_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the token as JSON-serialisable data."""
        revoked = self.revoked_at
        return {
            **asdict(self),
            "id": str(self.id),
            "created_at": self.created_at.isoformat(),
            "revoked_at": None if revoked is None else revoked.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request."""

    name: str
    role: str
    expires_at: datetime | None
    """When the session ends; None for a request that carries the token itself."""

    @property
    def is_operator(self) -> bool:
        """Return whether it may change anything."""
        return self.role == OPERATOR


class DashboardAccess:
    """Keeps tokens and sessions in the SQL database, shared by all that serve the dashboard."""

    def __init__(self, database: Database, *, session_seconds: float = DEFAULT_SESSION_SECONDS) -> None:
        """Keep the database.

        Args:
            database: where tokens and sessions are.
            session_seconds: how long a session lasts from its beginning, used or not.
        """
        self._database = database
        self.session_seconds = session_seconds

    async def ensure_first(self) -> str | None:
        """Make an operator's token where no token is valid, and return its secret; None where one is.

        Of several processes that start at once a single one makes it.

        Raises:
            DatabaseError: when the database failed.
        """
        secret = _new_secret()

        async def unit(connection: AsyncConnection) -> bool:
            found = (await connection.execute(sa.select(_TOKEN.name, _TOKEN.revoked_at))).all()
            if any(row.revoked_at is None for row in found):
                return False
            # Two that meet here on PostgreSQL choose the same name, and the second one inserts nothing.
            name = f"{FIRST_TOKEN}-{len(found) + 1}" if found else FIRST_TOKEN
            return await self._insert(connection, name, OPERATOR, secret) is not None

        return secret if await self._database.run(unit) else None

    async def create(self, name: str, role: Role = "viewer") -> tuple[AccessToken, str]:
        """Make a token, and return it with its secret, which is shown this once.

        Args:
            name: unique, 1 to 64 characters; tells who did what.
            role: "viewer" only reads; "operator" also changes.

        Raises:
            InvalidInputError: for a name that was used before, or another role.
            DatabaseError: when the database failed.
        """
        check_text("name", name, max_length=TOKEN_NAME_LENGTH)
        check_choice("role", role, DASHBOARD_ROLES)
        secret = _new_secret()

        async def unit(connection: AsyncConnection) -> AccessToken | None:
            return await self._insert(connection, name, role, secret)

        made = await self._database.run(unit)
        if made is None:
            raise InvalidInputError("a token of this name was made before", field="name")
        return made, secret

    async def list(self) -> Sequence[AccessToken]:
        """Return every token, revoked ones too, the oldest first."""
        rows = await self._database.fetch(sa.select(*_TOKEN_COLUMNS).order_by(_TOKEN.created_at, _TOKEN.name))
        return [AccessToken(*row) for row in rows]

    async def revoke(self, name: str) -> AccessToken:
        """End a token and every session begun with it.

        Raises:
            AccessTokenNotFoundError: when no valid token has this name.
            DatabaseError: when the database failed.
        """
        now = self._database.clock.now()
        check_text("name", name, max_length=TOKEN_NAME_LENGTH)
        statement = (
            sa.update(dashboard_tokens)
            .where(_TOKEN.name == name, _TOKEN.revoked_at.is_(None))
            .values(revoked_at=now)
            .returning(*_TOKEN_COLUMNS)
        )

        async def unit(connection: AsyncConnection) -> AccessToken | None:
            row = (await connection.execute(statement)).one_or_none()
            if row is None:
                return None
            await connection.execute(sa.delete(dashboard_sessions).where(_SESSION.token_id == row.id))
            return AccessToken(*row)

        revoked = await self._database.run(unit)
        if revoked is None:
            raise AccessTokenNotFoundError("no valid token has this name", name=name)
        return revoked

    async def sign_in(self, secret: str) -> tuple[Principal, str]:
        """Begin a session, and return who it is of and its cookie.

        Raises:
            NotSignedInError: for a token that is unknown or revoked.
            DatabaseError: when the database failed.
        """
        token = await self._valid_token(secret)
        cookie = secrets.token_urlsafe(SECRET_BYTES)
        now = self._database.clock.now()
        expires_at = now + timedelta(seconds=self.session_seconds)
        row = {
            "digest": _digest(cookie),
            "token_id": token.id,
            "created_at": now,
            "expires_at": expires_at,
        }

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(sa.delete(dashboard_sessions).where(_SESSION.expires_at <= now))
            await connection.execute(dashboard_sessions.insert().values(row))

        await self._database.run(unit)
        return Principal(token.name, token.role, expires_at), cookie

    async def by_cookie(self, cookie: str) -> Principal:
        """Return whose session a cookie is.

        Raises:
            NotSignedInError: for one that is unknown, over, or of a revoked token.
            DatabaseError: when the database failed.
        """
        query = (
            sa.select(_SESSION.digest, _TOKEN.name, _TOKEN.role, _SESSION.expires_at)
            .join_from(dashboard_sessions, dashboard_tokens, _SESSION.token_id == _TOKEN.id)
            .where(
                _SESSION.digest == _digest(cookie),
                _SESSION.expires_at > self._database.clock.now(),
                _TOKEN.revoked_at.is_(None),
            )
        )
        row = _matching(await self._database.fetch(query), cookie)
        if row is None:
            raise NotSignedInError("sign in: there is no session, or it is over")
        return Principal(row.name, row.role, row.expires_at)

    async def by_token(self, secret: str) -> Principal:
        """Return whose token a request carries.

        Raises:
            NotSignedInError: for a token that is unknown or revoked.
            DatabaseError: when the database failed.
        """
        token = await self._valid_token(secret)
        return Principal(token.name, token.role, None)

    async def sign_out(self, cookie: str) -> None:
        """End a session; harmless when it is over.

        Raises:
            DatabaseError: when the database failed.
        """
        statement = sa.delete(dashboard_sessions).where(_SESSION.digest == _digest(cookie))

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._database.run(unit)

    async def _valid_token(self, secret: str) -> AccessToken:
        query = sa.select(_TOKEN.digest, *_TOKEN_COLUMNS)
        query = query.where(_TOKEN.digest == _digest(secret), _TOKEN.revoked_at.is_(None))
        row = _matching(await self._database.fetch(query), secret)
        if row is None:
            raise NotSignedInError("the token is unknown or was revoked")
        return AccessToken(row.id, row.name, row.role, row.created_at, row.revoked_at)

    async def _insert(
        self, connection: AsyncConnection, name: str, role: str, secret: str
    ) -> AccessToken | None:
        values = {
            "id": uuid.uuid4(),
            "name": name,
            "role": role,
            "digest": _digest(secret),
            "created_at": self._database.clock.now(),
        }
        statement = self._database.insert(dashboard_tokens).values(values).on_conflict_do_nothing()
        row = (await connection.execute(statement.returning(*_TOKEN_COLUMNS))).one_or_none()
        return None if row is None else AccessToken(*row)


def csrf_token_of(cookie: str) -> str:
    """Derive the token that every change of a session must carry, which no other site can read."""
    return hmac.new(cookie.encode(), _CSRF_PURPOSE, hashlib.sha256).hexdigest()


def is_csrf_token(cookie: str, given: str | None) -> bool:
    """Return whether a request carries its session's CSRF token, in constant time."""
    return given is not None and hmac.compare_digest(csrf_token_of(cookie).encode(), given.encode())


def _new_secret() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _digest(secret: str) -> str:
    if not 0 < len(secret) <= MAX_SECRET_LENGTH:
        raise NotSignedInError("this is no token of the dashboard's")
    return hashlib.sha256(secret.encode()).hexdigest()


def _matching(rows: Sequence[Row], secret: str) -> Row | None:
    # An index finds digests byte by byte, whose timing tells nothing of the secret; the comparison that
    # decides takes the same time whatever differs.
    digest = _digest(secret).encode()
    return next((row for row in rows if hmac.compare_digest(row.digest.encode(), digest)), None)
