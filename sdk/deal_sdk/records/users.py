"""The users known to the calling backend: their ids, tiers and credit balances."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import UserAlreadyExistsError, UserNotFoundError
from deal_sdk.records.database import Database
from deal_sdk.records.inputs import (
    UserId,
    check_choice,
    check_limit,
    check_text,
    optional_text,
    parse_user_id,
)
from deal_sdk.records.paging import Keyset, Page, parse_time
from deal_sdk.records.tables import users

DEFAULT_TIERS: Final = ("Gift", "Professional", "Business")
MAX_EXTERNAL_ID_LENGTH: Final = 255
MAX_USERNAME_LENGTH: Final = 255
MAX_IDS_PER_QUERY: Final = 500

_ORDER: Final = Keyset("users", (users.c.created_at, users.c.id), (parse_time, UUID))


@dataclass(frozen=True, slots=True)
class User:
    """One row of `users`; `tokens_balance` and `tokens_spent` count credits."""

    id: UUID
    external_id: str | None
    username: str | None
    tier: str
    subscription_expires_at: datetime | None
    tokens_balance: int
    tokens_spent: int
    channel_subscribed_at: datetime | None
    last_gift_claim_at: datetime | None
    created_at: datetime
    updated_at: datetime
    erased_at: datetime | None = None
    """When what was personal was erased; the user does nothing any more."""


class UserDirectory:
    """Creates users and finds them again."""

    def __init__(
        self,
        database: Database,
        *,
        tiers: Sequence[str] = DEFAULT_TIERS,
        on_change: Callable[[UUID], Awaitable[object]] | None = None,
    ) -> None:
        """Keep the database and the tiers that exist.

        Args:
            database: where users are.
            tiers: every name that a user's tier may have.
            on_change: told of each user that was changed, once that is committed.
        """
        self._database = database
        self._tiers = tuple(tiers)
        self._on_change = on_change

    async def create(
        self,
        *,
        user_id: UserId | None = None,
        external_id: str | None = None,
        username: str | None = None,
        tier: str = "Gift",
    ) -> User:
        """Add a user.

        Args:
            user_id: the backend's own UUID; a random one by default.
            external_id: the user's id elsewhere, a chat's say; 1 to 255 characters, unique.
            username: for people; 1 to 255 characters.
            tier: one of the directory's tiers.

        Raises:
            UserAlreadyExistsError: the id or the external id is taken; nothing was changed.
            InvalidInputError: for a malformed id, text or tier.
        """
        now = self._database.clock.now()
        values = {
            "id": uuid.uuid4() if user_id is None else parse_user_id(user_id),
            "external_id": optional_text("external_id", external_id, max_length=MAX_EXTERNAL_ID_LENGTH),
            "username": optional_text("username", username, max_length=MAX_USERNAME_LENGTH),
            "tier": check_choice("tier", tier, self._tiers),
            "created_at": now,
            "updated_at": now,
        }
        statement = self._database.insert(users).values(values).on_conflict_do_nothing().returning(users)

        async def create(connection: AsyncConnection) -> User | None:
            return _optional_user((await connection.execute(statement)).one_or_none())

        created = await self._database.write(create)
        if created is None:
            raise UserAlreadyExistsError(
                "a user with this id or external id exists",
                user_id=str(values["id"]),
                external_id=external_id,
            )
        return created

    async def get(self, user_id: UserId) -> User:
        """Return a user.

        Raises:
            UserNotFoundError: no such user.
            InvalidInputError: the id is no UUID.
        """
        parsed = parse_user_id(user_id)
        return await self._one(users.c.id == parsed, user_id=str(parsed))

    async def get_many(self, user_ids: Collection[UserId]) -> dict[UUID, User]:
        """Return those of many users that exist.

        Raises:
            InvalidInputError: for an id that is no UUID.
        """
        wanted = list({parse_user_id(user_id) for user_id in user_ids})
        found: dict[UUID, User] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(wanted), MAX_IDS_PER_QUERY):
                condition = users.c.id.in_(wanted[start : start + MAX_IDS_PER_QUERY])
                for row in await connection.execute(sa.select(users).where(condition)):
                    user = _user(row)
                    found[user.id] = user
        return found

    async def get_by_external_id(self, external_id: str) -> User:
        """Return the user with an id from elsewhere.

        Raises:
            UserNotFoundError: no such user.
        """
        text = check_text("external_id", external_id, max_length=MAX_EXTERNAL_ID_LENGTH)
        return await self._one(users.c.external_id == text, external_id=text)

    async def set_tier(self, user_id: UserId, tier: str) -> User:
        """Move a user to another tier and return the user as changed.

        Raises:
            UserNotFoundError: no such user.
            InvalidInputError: no such tier.
        """
        parsed = parse_user_id(user_id)
        statement = (
            sa.update(users)
            .where(users.c.id == parsed)
            .values(tier=check_choice("tier", tier, self._tiers), updated_at=self._database.clock.now())
            .returning(users)
        )

        async def change(connection: AsyncConnection) -> User | None:
            return _optional_user((await connection.execute(statement)).one_or_none())

        changed = await self._database.write(change, lock_key=str(parsed))
        if changed is None:
            raise UserNotFoundError("no such user", user_id=str(parsed))
        if self._on_change is not None:
            await self._on_change(parsed)
        return changed

    async def list(self, limit: int = 100, cursor: str | None = None) -> Page[User]:
        """Return users in the order of their creation.

        Args:
            limit: 1 to 1000.
            cursor: from the page before.
        """
        statement = sa.select(users).order_by(*_ORDER.order_by()).limit(check_limit(limit) + 1)
        if cursor is not None:
            statement = statement.where(_ORDER.after(cursor))
        async with self._database.reading() as connection:
            rows = [_user(row) for row in await connection.execute(statement)]
        return _ORDER.page(rows, limit, lambda user: (user.created_at, user.id))

    async def _one(self, condition: sa.ColumnElement[bool], **facts: str) -> User:
        async with self._database.reading() as connection:
            user = _optional_user((await connection.execute(sa.select(users).where(condition))).one_or_none())
        if user is None:
            raise UserNotFoundError("no such user", **facts)
        return user


def _user(row: sa.Row[Any]) -> User:
    return User(**row._mapping)


def _optional_user(row: sa.Row[Any] | None) -> User | None:
    return None if row is None else _user(row)
