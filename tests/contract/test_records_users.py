"""Users and what the database belongs to, the same on every database."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    ChainMismatchError,
    InvalidInputError,
    UserAlreadyExistsError,
    UserNotFoundError,
)
from deal_sdk.records.database import Database
from deal_sdk.records.meta import bind_chain, get_meta, put_meta
from deal_sdk.records.users import User, UserDirectory

GENESIS = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"
OTHER_GENESIS = "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY"
MINT = "So11111111111111111111111111111111111111112"


@pytest.fixture
def directory(database: Database) -> UserDirectory:
    return UserDirectory(database)


class TestUsers:
    async def test_a_user_is_found_by_either_id(self, directory: UserDirectory) -> None:
        created = await directory.create(external_id="chat-7", username="Ада", tier="Business")
        assert await directory.get(created.id) == created
        assert type(created.id) is uuid.UUID
        assert await directory.get(str(created.id)) == created
        assert await directory.get_by_external_id("chat-7") == created
        assert (created.tier, created.tokens_balance, created.tokens_spent) == ("Business", 0, 0)
        assert created.created_at.utcoffset() is not None

    async def test_many_are_read_at_once_and_unknown_ones_left_out(self, directory: UserDirectory) -> None:
        created = [await directory.create() for _ in range(3)]
        wanted = [created[0].id, str(created[2].id), created[0].id, *(uuid.uuid4() for _ in range(600))]
        assert await directory.get_many(wanted) == {user.id: user for user in (created[0], created[2])}
        assert await directory.get_many([]) == {}
        with pytest.raises(InvalidInputError):
            await directory.get_many(["nobody"])

    async def test_a_change_is_told_after_its_commit_and_a_refused_one_is_not(
        self, database: Database
    ) -> None:
        told: list[str] = []

        async def note(user_id: uuid.UUID) -> None:
            told.append((await directory.get(user_id)).tier)

        directory = UserDirectory(database, on_change=note)
        user = await directory.create()
        await directory.set_tier(user.id, "Business")
        with pytest.raises(UserNotFoundError):
            await directory.set_tier(uuid.uuid4(), "Gift")
        assert told == ["Business"]

    async def test_a_taken_id_is_refused_and_changes_nothing(self, directory: UserDirectory) -> None:
        user_id = uuid.uuid4()
        first = await directory.create(user_id=user_id, external_id="chat-7")
        for again in ({"user_id": str(user_id)}, {"external_id": "chat-7"}):
            with pytest.raises(UserAlreadyExistsError):
                await directory.create(**again, tier="Business")
        assert await directory.get(user_id) == first

    async def test_of_many_who_race_for_one_external_id_one_wins(self, directory: UserDirectory) -> None:
        results = await asyncio.gather(
            *(directory.create(external_id="chat-7") for _ in range(20)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, UserAlreadyExistsError)]
        assert len(refused) == 19

    async def test_an_unknown_user_is_not_found(self, directory: UserDirectory) -> None:
        for look_up in (
            directory.get(uuid.uuid4()),
            directory.get_by_external_id("nobody"),
            directory.set_tier(uuid.uuid4(), "Gift"),
        ):
            with pytest.raises(UserNotFoundError):
                await look_up

    async def test_the_tier_changes_and_the_time_with_it(
        self, directory: UserDirectory, manual_clock: ManualClock
    ) -> None:
        user = await directory.create()
        await manual_clock.advance(60)
        changed = await directory.set_tier(user.id, "Professional")
        assert changed.tier == "Professional"
        assert (changed.updated_at - user.updated_at).total_seconds() == 60
        assert changed.created_at == user.created_at
        assert await directory.get(user.id) == changed

    async def test_input_that_cannot_be_stored_is_refused(self, directory: UserDirectory) -> None:
        refused: list[dict[str, Any]] = [
            {"tier": "Platinum"},
            {"external_id": ""},
            {"external_id": "x" * 256},
            {"external_id": "a\x00b"},
            {"username": "\ud800"},
            {"user_id": "not-a-uuid"},
            {"user_id": 7},
        ]
        for values in refused:
            with pytest.raises(InvalidInputError):
                await directory.create(**values)
        assert (await directory.list()).items == []

    async def test_pages_hold_every_user_once_although_users_arrive(
        self, directory: UserDirectory, manual_clock: ManualClock
    ) -> None:
        expected = []
        for number in range(7):
            expected.append(await directory.create(external_id=str(number)))
            if number % 3 == 0:
                await manual_clock.advance(1)
        expected.sort(key=lambda user: (user.created_at, user.id.hex))
        found: list[User] = []
        cursor = None
        while True:
            page = await directory.list(limit=2, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == expected

    async def test_tiers_are_those_that_the_caller_named(self, database: Database) -> None:
        directory = UserDirectory(database, tiers=("Free", "Paid"))
        assert (await directory.create(tier="Paid")).tier == "Paid"
        with pytest.raises(InvalidInputError):
            await directory.create()


class TestBinding:
    async def test_the_first_binding_holds_and_a_later_mint_is_added(self, database: Database) -> None:
        await bind_chain(database, GENESIS)
        await bind_chain(database, GENESIS, MINT, token_program="classic", decimals=8)
        await bind_chain(database, GENESIS)
        assert await get_meta(database, "genesis_hash") == GENESIS
        assert await get_meta(database, "mint") == MINT
        assert await get_meta(database, "decimals") == "8"

    async def test_another_chain_is_refused_with_both_values(self, database: Database) -> None:
        await bind_chain(database, GENESIS)
        with pytest.raises(ChainMismatchError) as caught:
            await bind_chain(database, OTHER_GENESIS, MINT)
        assert caught.value.facts == {"key": "genesis_hash", "stored": GENESIS, "given": OTHER_GENESIS}
        assert await get_meta(database, "mint") is None

    async def test_another_mint_or_other_decimals_are_refused(self, database: Database) -> None:
        await bind_chain(database, GENESIS, MINT, decimals=8)
        for other in ({"mint": OTHER_GENESIS}, {"mint": MINT, "decimals": 9}):
            with pytest.raises(ChainMismatchError):
                await bind_chain(database, GENESIS, **other)

    async def test_of_two_chains_that_race_one_wins(self, database: Database) -> None:
        results = await asyncio.gather(
            bind_chain(database, GENESIS), bind_chain(database, OTHER_GENESIS), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["ChainMismatchError", "NoneType"]

    async def test_a_value_is_kept_and_replaced(self, database: Database) -> None:
        assert await get_meta(database, "note") is None
        await put_meta(database, "note", "one")
        await put_meta(database, "note", "two")
        assert await get_meta(database, "note") == "two"
        with pytest.raises(InvalidInputError):
            await put_meta(database, "k" * 65, "value")
