"""Connecting wallets: one active user per address, one primary per user, on every database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import Keystore, associated_token_address
from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    DatabaseError,
    InvalidInputError,
    InvalidWalletAddressError,
    UserNotFoundError,
    WalletAlreadyConnectedError,
    WalletNotFoundError,
)
from deal_sdk.events import Event, EventBus
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.tables import keystore_keys, token_wallets
from deal_sdk.wallets import Wallet, WalletManager
from tests.contract.payment_orders import broken_rules, rows_of


def address() -> str:
    return str(Keypair().pubkey())


class Wallets:
    """A manager over one database, with what it told others."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.tracked: list[tuple[str, UUID]] = []
        self.tracking_fails = False
        self.events = EventBus(clock)
        self.heard: list[tuple[str, str]] = []
        self.events.subscribe("*", self._hear)
        self.keystore = Keystore(database, SecretStr("correct horse"), clock=clock, kdf_cost=2**4)
        self.manager = WalletManager(database, self.keystore, clock, self.events, track=self._track)

    async def _track(self, owner_address: str, user_id: UUID, *, connection: AsyncConnection) -> None:
        if self.tracking_fails:
            raise DatabaseError("the history cannot be kept now")
        self.tracked.append((owner_address, user_id))

    async def _hear(self, event: Event) -> None:
        self.heard.append((event.type, event.data["address"]))

    async def user(self) -> UUID:
        return (await UserDirectory(self.database).create()).id

    async def primaries(self, user_id: UUID) -> list[str]:
        return [one.address for one in await self.manager.list_wallets(user_id) if one.is_primary]


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    """SQLite and PostgreSQL; an ephemeral database is SQLite in a temporary file."""
    return lasting_database_url


@pytest.fixture
async def wallets(database: Database, manual_clock: ManualClock) -> AsyncIterator[Wallets]:
    opened = Wallets(database, manual_clock)
    yield opened
    await opened.events.close()
    assert await broken_rules(database) == {}


class TestConnecting:
    async def test_the_first_wallet_is_active_primary_and_unproven(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        user, own = await wallets.user(), address()
        wallet = await wallets.manager.connect_wallet(str(user), own)
        assert (wallet.user_id, wallet.address, wallet.status) == (user, own, "active")
        assert (wallet.is_primary, wallet.verified_at, wallet.disconnected_at) == (True, None, None)
        assert wallet.connected_at == manual_clock.now()
        assert await wallets.manager.get_primary(user) == wallet
        assert wallets.tracked == [(own, user)]
        await wallets.events.drain()
        assert wallets.heard == [("wallet.connected", own)]

    async def test_further_wallets_are_not_primary_and_listed_in_their_order(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        user, own = await wallets.user(), [address() for _ in range(3)]
        for each in own:
            await wallets.manager.connect_wallet(user, each)
            await manual_clock.advance(1)
        assert [one.address for one in await wallets.manager.list_wallets(user)] == own
        assert await wallets.primaries(user) == own[:1]

    async def test_an_active_address_is_taken_for_its_own_user_too(self, wallets: Wallets) -> None:
        alice, bob, own = await wallets.user(), await wallets.user(), address()
        await wallets.manager.connect_wallet(alice, own)
        for user in (alice, bob):
            with pytest.raises(WalletAlreadyConnectedError) as caught:
                await wallets.manager.connect_wallet(user, own)
            assert caught.value.facts["address"] == own
        assert len(await rows_of(wallets.database, token_wallets)) == 1
        assert wallets.tracked == [(own, alice)]

    async def test_addresses_that_are_none(self, wallets: Wallets) -> None:
        user = await wallets.user()
        off_curve = associated_token_address(Keypair().pubkey(), Pubkey.new_unique(), CLASSIC_TOKEN_PROGRAM)
        own = address()
        bad: list[Any] = [
            *("", "nobody", own[:-1] + "0", own + own, "1" * 31, "5" * 44, " " + own[:-1], own + "\x00"),
            *(None, 5, b"bytes", Keypair().pubkey(), str(off_curve)),
        ]
        for each in bad:
            with pytest.raises(InvalidWalletAddressError):
                await wallets.manager.connect_wallet(user, each)
        assert await rows_of(wallets.database, token_wallets) == []

    async def test_users_that_are_none(self, wallets: Wallets) -> None:
        with pytest.raises(UserNotFoundError):
            await wallets.manager.connect_wallet(uuid4(), address())
        with pytest.raises(UserNotFoundError):
            await wallets.manager.create_custodial(uuid4())
        for bad in ("alice", "", 5, None):
            user: Any = bad
            with pytest.raises(InvalidInputError):
                await wallets.manager.connect_wallet(user, address())
        assert await rows_of(wallets.database, keystore_keys) == []

    async def test_a_wallet_whose_history_cannot_be_kept_is_not_connected(self, wallets: Wallets) -> None:
        user, own = await wallets.user(), address()
        wallets.tracking_fails = True
        with pytest.raises(DatabaseError):
            await wallets.manager.connect_wallet(user, own)
        assert await rows_of(wallets.database, token_wallets) == []
        wallets.tracking_fails = False
        assert (await wallets.manager.connect_wallet(user, own)).status == "active"
        assert wallets.tracked == [(own, user)]

    async def test_a_wallet_is_plain_data(self, wallets: Wallets) -> None:
        wallet = await wallets.manager.connect_wallet(await wallets.user(), address())
        data = json.loads(json.dumps(wallet.to_dict()))
        assert data["id"] == str(wallet.id)
        assert data["is_primary"] is True
        assert data["connected_at"] == "2026-01-01T00:00:00+00:00"
        assert data["disconnected_at"] is None


class TestDisconnecting:
    async def test_the_row_stays_and_another_user_may_have_the_address(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        alice, bob, own = await wallets.user(), await wallets.user(), address()
        connected = await wallets.manager.connect_wallet(alice, own)
        await manual_clock.advance(5)
        left = await wallets.manager.disconnect_wallet(alice, own)
        assert (left.id, left.status, left.is_primary) == (connected.id, "inactive", False)
        assert left.disconnected_at == manual_clock.now()
        assert await wallets.manager.list_wallets(alice) == [left]
        assert await wallets.manager.list_wallets(alice, active_only=True) == []
        with pytest.raises(WalletNotFoundError):
            await wallets.manager.get_primary(alice)
        assert (await wallets.manager.connect_wallet(bob, own)).user_id == bob
        with pytest.raises(WalletAlreadyConnectedError):
            await wallets.manager.connect_wallet(alice, own)
        await wallets.events.drain()
        assert ("wallet.disconnected", own) in wallets.heard

    async def test_only_a_users_own_active_wallet_can_be_left(self, wallets: Wallets) -> None:
        alice, bob, own = await wallets.user(), await wallets.user(), address()
        await wallets.manager.connect_wallet(alice, own)
        for user, each in ((bob, own), (alice, address())):
            with pytest.raises(WalletNotFoundError):
                await wallets.manager.disconnect_wallet(user, each)
        await wallets.manager.disconnect_wallet(alice, own)
        with pytest.raises(WalletNotFoundError):
            await wallets.manager.disconnect_wallet(alice, own)
        with pytest.raises(InvalidWalletAddressError):
            await wallets.manager.disconnect_wallet(alice, "nobody")

    async def test_a_reconnected_wallet_is_the_same_row(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        user, own = await wallets.user(), address()
        wallet = await wallets.manager.connect_wallet(user, own)
        await wallets.manager.disconnect_wallet(user, own)
        await manual_clock.advance(5)
        again = await wallets.manager.connect_wallet(user, own)
        assert (again.id, again.status, again.is_primary) == (wallet.id, "active", True)
        assert (again.connected_at, again.disconnected_at) == (manual_clock.now(), None)
        assert again.verified_at is None
        assert len(await rows_of(wallets.database, token_wallets)) == 1

    async def test_a_custodial_wallet_comes_back_proven_to_its_user_alone(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        user, thief = await wallets.user(), await wallets.user()
        custodial = await wallets.manager.create_custodial(user)
        await wallets.manager.disconnect_wallet(user, custodial.address)
        with pytest.raises(WalletAlreadyConnectedError):
            await wallets.manager.connect_wallet(thief, custodial.address)
        await manual_clock.advance(5)
        again = await wallets.manager.connect_wallet(user, custodial.address)
        assert (again.id, again.verified_at) == (custodial.id, manual_clock.now())

    async def test_an_operator_wallet_is_nobodys(self, wallets: Wallets) -> None:
        treasury = await wallets.keystore.create("treasury")
        with pytest.raises(WalletAlreadyConnectedError):
            await wallets.manager.connect_wallet(await wallets.user(), treasury)

    async def test_a_claim_from_before_the_custody_proves_nothing(self, wallets: Wallets) -> None:
        owner, squatter, keypair = await wallets.user(), await wallets.user(), Keypair()
        own = str(keypair.pubkey())
        await wallets.manager.connect_wallet(squatter, own)
        await wallets.manager.disconnect_wallet(squatter, own)
        await wallets.manager.import_custodial(owner, bytes(keypair))
        await wallets.manager.disconnect_wallet(owner, own)
        with pytest.raises(WalletAlreadyConnectedError):
            await wallets.manager.connect_wallet(squatter, own)


class TestPrimary:
    async def connected(self, wallets: Wallets, clock: ManualClock, user: UUID, count: int) -> list[str]:
        own = [address() for _ in range(count)]
        for each in own:
            await wallets.manager.connect_wallet(user, each)
            await clock.advance(1)
        return own

    async def test_leaving_the_primary_promotes_the_one_connected_longest(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        user = await wallets.user()
        own = await self.connected(wallets, manual_clock, user, 3)
        await wallets.manager.disconnect_wallet(user, own[0])
        assert await wallets.primaries(user) == [own[1]]
        await wallets.manager.disconnect_wallet(user, own[2])
        assert await wallets.primaries(user) == [own[1]]
        await wallets.manager.connect_wallet(user, own[0])
        assert await wallets.primaries(user) == [own[1]]
        await wallets.manager.disconnect_wallet(user, own[1])
        assert await wallets.primaries(user) == [own[0]]

    async def test_another_primary_can_be_chosen(self, wallets: Wallets, manual_clock: ManualClock) -> None:
        user = await wallets.user()
        own = await self.connected(wallets, manual_clock, user, 3)
        chosen = await wallets.manager.set_primary(user, own[2])
        assert chosen.is_primary
        assert await wallets.primaries(user) == [own[2]]
        assert [one.address for one in await wallets.manager.list_wallets(user)] == [own[2], *own[:2]]
        assert (await wallets.manager.set_primary(user, own[2])).is_primary

    async def test_a_choice_that_cannot_be_keeps_the_primary(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        user, other = await wallets.user(), await wallets.user()
        own = await self.connected(wallets, manual_clock, user, 2)
        (strange,) = await self.connected(wallets, manual_clock, other, 1)
        await wallets.manager.disconnect_wallet(user, own[1])
        for each in (own[1], strange, address()):
            with pytest.raises(WalletNotFoundError):
                await wallets.manager.set_primary(user, each)
        assert await wallets.primaries(user) == [own[0]]
        assert await wallets.primaries(other) == [strange]


class TestCustodial:
    async def test_a_custodial_wallet_is_proven_signs_and_its_key_is_nowhere_in_the_clear(
        self, wallets: Wallets, manual_clock: ManualClock
    ) -> None:
        wallet = await wallets.manager.create_custodial(await wallets.user())
        assert (wallet.status, wallet.verified_at) == ("active", manual_clock.now())
        signer = await wallets.keystore.signer(wallet.address)
        signature = await signer.sign(b"message")
        assert signature.verify(Pubkey.from_string(wallet.address), b"message")
        (row,) = await rows_of(wallets.database, keystore_keys)
        assert (row["address"], row["name"]) == (wallet.address, None)
        stored = row["ciphertext"] + row["nonce"] + row["kdf_salt"]
        secret = signer._key.private_bytes_raw()  # type: ignore[attr-defined]
        assert secret not in stored
        assert bytes(Pubkey.from_string(wallet.address)) not in stored

    async def test_each_has_a_key_of_its_own(self, wallets: Wallets) -> None:
        user = await wallets.user()
        made = await asyncio.gather(*(wallets.manager.create_custodial(user) for _ in range(5)))
        assert len({one.address for one in made}) == 5
        assert len(await wallets.primaries(user)) == 1


class TestRaces:
    """Each manager has connections of its own, as two processes have."""

    @pytest.fixture
    async def managers(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> AsyncIterator[list[Wallets]]:
        databases = [await Database.open(lasting_database_url, clock=manual_clock, migrate=True)]
        databases.append(await Database.open(lasting_database_url, clock=manual_clock))
        opened = [Wallets(database, manual_clock) for database in databases]
        yield opened
        broken = await broken_rules(databases[0])
        for one in opened:
            await one.events.close()
            await one.database.close()
        assert broken == {}

    async def test_of_many_that_connect_one_address_exactly_one_wins(self, managers: list[Wallets]) -> None:
        users = [await managers[0].user() for _ in range(4)]
        for _ in range(8):
            own = address()
            results = await asyncio.gather(
                *(
                    managers[turn % 2].manager.connect_wallet(user, own)
                    for turn, user in enumerate([*users, users[0], users[1]])
                ),
                return_exceptions=True,
            )
            won = [one for one in results if isinstance(one, Wallet)]
            lost = [one for one in results if isinstance(one, WalletAlreadyConnectedError)]
            assert (len(won), len(lost)) == (1, 5)

    async def test_a_user_has_one_primary_however_many_connect_at_once(self, managers: list[Wallets]) -> None:
        user = await managers[0].user()
        await asyncio.gather(*(managers[n % 2].manager.connect_wallet(user, address()) for n in range(10)))
        assert len(await managers[0].primaries(user)) == 1

    async def test_leaving_and_choosing_at_once_leaves_one_primary(self, managers: list[Wallets]) -> None:
        user = await managers[0].user()
        own = [address() for _ in range(6)]
        for each in own:
            await managers[0].manager.connect_wallet(user, each)
        await asyncio.gather(
            *(managers[n % 2].manager.disconnect_wallet(user, own[n]) for n in range(4)),
            *(managers[n % 2].manager.set_primary(user, own[n]) for n in (4, 5)),
        )
        primaries = await managers[0].primaries(user)
        assert len(primaries) == 1
        assert primaries[0] in own[4:]
