"""References of every form resolve to one party, many of them in one query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.chain import associated_token_address
from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    DatabaseUnavailableError,
    InvalidInputError,
    InvalidWalletAddressError,
    UserNotFoundError,
    WalletNotFoundError,
)
from deal_sdk.payments import PartyResolver
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.tables import token_wallets

MINT = Keypair.from_seed(bytes(32)).pubkey()
TREASURY = str(Keypair().pubkey())


def token_account_of(owner: Pubkey) -> Pubkey:
    return associated_token_address(owner, MINT, CLASSIC_TOKEN_PROGRAM)


class People:
    """A resolver over a database with users and wallets."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        self.queries = 0
        self.resolver = PartyResolver(
            database, operators={"treasury": TREASURY}, token_account_of=token_account_of
        )

    async def user(self, wallets: int = 1, *, tier: str = "Gift") -> tuple[UUID, list[str]]:
        user = await UserDirectory(self.database).create(tier=tier)
        addresses = [str(Keypair().pubkey()) for _ in range(wallets)]
        for number, address in enumerate(addresses):
            await self.clock.advance(1)
            await self.connect(user.id, address, is_primary=number == 0)
        return user.id, addresses

    async def connect(self, user_id: UUID, address: str, **values: Any) -> None:
        row = {
            "id": uuid4(),
            "user_id": user_id,
            "address": address,
            "status": "active",
            "is_primary": False,
            "connected_at": self.clock.now(),
            **values,
        }
        async with self.database.transaction() as connection:
            await connection.execute(token_wallets.insert().values(row))


@pytest.fixture
async def people(database: Database, clock: ManualClock) -> AsyncIterator[People]:
    opened = People(database, clock)
    yield opened
    await opened.resolver.close()


async def test_a_user_is_the_primary_wallet_by_uuid_and_by_text(people: People) -> None:
    user, (primary, _) = await people.user(2, tier="Business")
    for reference in (user, str(user), str(user).upper()):
        party = await people.resolver.resolve(reference)
        assert (party.user_id, party.address, party.tier) == (user, primary, "Business")
        assert party.token_account == str(token_account_of(Pubkey.from_string(primary)))
        assert party.operator_name is None


async def test_without_a_primary_it_is_the_wallet_connected_longest(people: People) -> None:
    user, _ = await people.user(0)
    addresses = [str(Keypair().pubkey()) for _ in range(2)]
    for address in addresses:
        await people.clock.advance(1)
        await people.connect(user, address)
    assert (await people.resolver.resolve(user)).address == addresses[0]


async def test_another_wallet_can_be_chosen(people: People) -> None:
    user, (_, second) = await people.user(2)
    _, (strange,) = await people.user(1)
    assert (await people.resolver.resolve(user, wallet=second)).address == second
    for wallet in (strange, str(Keypair().pubkey())):
        with pytest.raises(WalletNotFoundError):
            await people.resolver.resolve(user, wallet=wallet)
    for bad in ("", "nobody", 5):
        wallet_text: Any = bad
        with pytest.raises(InvalidWalletAddressError):
            await people.resolver.resolve(user, wallet=wallet_text)


async def test_an_inactive_wallet_is_nobodys(people: People) -> None:
    user, _ = await people.user(0)
    left = str(Keypair().pubkey())
    await people.connect(user, left, status="inactive", disconnected_at=people.clock.now())
    with pytest.raises(WalletNotFoundError):
        await people.resolver.resolve(user)
    with pytest.raises(WalletNotFoundError):
        await people.resolver.resolve(user, wallet=left)
    assert (await people.resolver.resolve(left)).user_id is None


async def test_an_operator_by_name_and_by_address(people: People) -> None:
    for reference in ("treasury", TREASURY):
        party = await people.resolver.resolve(reference)
        assert (party.address, party.operator_name, party.user_id) == (TREASURY, "treasury", None)


async def test_an_address_knows_its_user_and_a_strangers_is_nobody(people: People) -> None:
    user, (own,) = await people.user(1)
    assert (await people.resolver.resolve(own)).user_id == user
    stranger = str(Keypair().pubkey())
    party = await people.resolver.resolve(stranger)
    assert (party.address, party.user_id, party.tier) == (stranger, None, None)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "reward",
        "Treasury",
        "nobody",
        "1" * 31,
        "5" * 44,
        "x" * 36,
        str(token_account_of(MINT)),
        "\ud800" * 40,
    ],
)
async def test_texts_that_are_nobody(people: People, reference: str) -> None:
    with pytest.raises(InvalidWalletAddressError):
        await people.resolver.resolve(reference)


@pytest.mark.parametrize("reference", [None, 5, b"treasury", True, ["treasury"]])
async def test_what_is_no_reference(people: People, reference: Any) -> None:
    with pytest.raises(InvalidInputError):
        await people.resolver.resolve(reference)


async def test_a_wallet_can_be_chosen_for_a_user_alone(people: People) -> None:
    for reference in ("treasury", str(Keypair().pubkey())):
        with pytest.raises(InvalidInputError):
            await people.resolver.resolve(reference, wallet=TREASURY)


async def test_an_unknown_user(people: People) -> None:
    with pytest.raises(UserNotFoundError):
        await people.resolver.resolve(uuid4())


async def test_many_at_once_are_two_queries(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [await people.user(1) for _ in range(20)]
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    runner = people.database._engines.read_runner
    assert runner is not None
    engine = runner._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    references = [user for user, _ in users] + [address for _, (address,) in users] + [uuid4()]
    found = await asyncio.gather(
        *(people.resolver.resolve(reference) for reference in references), return_exceptions=True
    )
    sa.event.remove(engine, "before_cursor_execute", note)
    assert isinstance(found[-1], UserNotFoundError)
    parties = [one for one in found if not isinstance(one, BaseException)]
    assert [party.user_id for party in parties] == [user for user, _ in users] * 2
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 2


async def test_a_database_that_is_away_says_so_to_each(people: People) -> None:
    user, _ = await people.user(1)
    other = People(await Database.open("sqlite+aiosqlite://", clock=people.clock), people.clock)
    await other.database.close()
    results = await asyncio.gather(
        *(other.resolver.resolve(reference) for reference in (user, user, str(Keypair().pubkey()))),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 3
    await other.resolver.close()


class TestBothParties:
    async def test_they_are_looked_up_in_one_query(
        self, people: People, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payer, (_, chosen) = await people.user(2)
        payee, (address,) = await people.user()
        reads = count_reads(people, monkeypatch)
        found = await people.resolver.resolve_both(payer, payee, wallet=chosen)
        assert [party.address for party in found] == [chosen, address]
        assert len(reads) == 1

    async def test_an_operator_needs_no_query(self, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        reads = count_reads(people, monkeypatch)
        payer, payee = await people.resolver.resolve_both("treasury", TREASURY)
        assert (payer.operator_name, payee.operator_name, reads) == ("treasury", "treasury", [])

    @pytest.mark.parametrize("payee", ["no address", uuid4()])
    async def test_the_payer_is_refused_before_the_payee(self, people: People, payee: UUID | str) -> None:
        nobody = uuid4()
        with pytest.raises(UserNotFoundError) as refusal:
            await people.resolver.resolve_both(nobody, payee)
        assert refusal.value.facts["user_id"] == str(nobody)

    async def test_a_payee_that_is_nobody_is_refused(self, people: People) -> None:
        payer, _ = await people.user()
        with pytest.raises(InvalidWalletAddressError):
            await people.resolver.resolve_both(payer, "no address")
        with pytest.raises(UserNotFoundError):
            await people.resolver.resolve_both(payer, uuid4())

    async def test_a_database_that_is_away_is_told_once(self, clock: ManualClock) -> None:
        away = People(await Database.open("sqlite+aiosqlite://", clock=clock), clock)
        await away.database.close()
        with pytest.raises(DatabaseUnavailableError):
            await away.resolver.resolve_both(uuid4(), uuid4())
        await away.resolver.close()


def count_reads(people: People, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    reads: list[object] = []
    read = people.database.read

    async def counted(unit: Any) -> Any:
        reads.append(unit)
        return await read(unit)

    monkeypatch.setattr(people.database, "read", counted)
    return reads
