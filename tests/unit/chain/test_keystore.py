from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from solders.keypair import Keypair

from deal_sdk.chain import keystore as keystore_module
from deal_sdk.chain.keystore import Keystore
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    InvalidWalletAddressError,
    KeystoreError,
    SignatureRequiredError,
    WalletNotFoundError,
)
from deal_sdk.records.database import Database
from deal_sdk.records.tables import keystore_keys

PASSPHRASE = SecretStr("correct horse battery staple")
CLOCK = ManualClock()


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    database = await Database.open("sqlite+aiosqlite://", clock=CLOCK)
    yield database
    await database.close()


@pytest.fixture
def keystore(database: Database) -> Keystore:
    return reopened(database)


def reopened(database: Database, passphrase: SecretStr | None = PASSPHRASE, **options: int) -> Keystore:
    return Keystore(database, passphrase, clock=CLOCK, **{"kdf_cost": 16, **options})


async def change(database: Database, **values: object) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.update(keystore_keys).values(**values))


async def rows(database: Database) -> list[sa.Row]:
    async with database.reading() as connection:
        return list(await connection.execute(sa.select(keystore_keys)))


class TestKeeping:
    async def test_a_key_signs_after_a_restart(self, keystore, database):
        address = await keystore.create("treasury")
        for store in (keystore, reopened(database)):
            for signer in (await store.signer(address), await store.signer_by_name("treasury")):
                assert str(signer.address) == address
                assert (await signer.sign(b"m")).verify(signer.address, b"m")
        assert await keystore.has(address)
        assert await keystore.names() == {"treasury": address}

    async def test_keys_without_a_name_are_all_different(self, keystore):
        addresses = {await keystore.create() for _ in range(5)}
        assert len(addresses) == 5
        assert await keystore.names() == {}

    async def test_a_name_has_one_key_whoever_is_first(self, keystore, database):
        stores = [keystore, reopened(database), reopened(database)]
        addresses = await asyncio.gather(*(stores[number % 3].create("reward") for number in range(12)))
        assert len(set(addresses)) == 1
        assert len(await rows(database)) == 1
        assert str((await stores[2].signer_by_name("reward")).address) == addresses[0]

    async def test_importing_again_changes_nothing(self, keystore, database):
        keypair = Keypair()
        address = await keystore.import_key(bytes(keypair), "fees")
        before = await rows(database)
        assert await keystore.import_key(bytes(keypair), "fees") == address == str(keypair.pubkey())
        assert await rows(database) == before

    async def test_an_import_never_takes_over_a_name_or_renames_a_key(self, keystore):
        keypair = Keypair()
        await keystore.import_key(bytes(keypair), "fees")
        with pytest.raises(KeystoreError):
            await keystore.import_key(bytes(Keypair()), "fees")
        with pytest.raises(KeystoreError):
            await keystore.import_key(bytes(keypair), "other")
        with pytest.raises(KeystoreError):
            await keystore.import_key(bytes(keypair))

    @pytest.mark.parametrize("key", [b"", b"x" * 32, b"\x01" * 64, bytes(Keypair.from_seed(bytes(32)))[:63]])
    async def test_what_is_no_keypair_is_refused(self, keystore, key):
        with pytest.raises(KeystoreError):
            await keystore.import_key(key)

    @pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
    async def test_names_are_bounded(self, keystore, name):
        with pytest.raises(KeystoreError):
            await keystore.create(name)

    async def test_keys_that_are_not_here(self, keystore):
        with pytest.raises(SignatureRequiredError):
            await keystore.signer(str(Keypair().pubkey()))
        with pytest.raises(WalletNotFoundError):
            await keystore.signer_by_name("nobody")
        with pytest.raises(InvalidWalletAddressError):
            await keystore.signer("nonsense")
        assert not await keystore.has("nonsense")


class TestSecrecy:
    async def test_nothing_is_stored_or_logged_in_the_clear(self, keystore, database, caplog):
        caplog.set_level(logging.DEBUG)
        keypair = Keypair()
        await keystore.import_key(bytes(keypair), "fees")
        [row] = await rows(database)
        stored = b"".join(value for value in row if isinstance(value, bytes))
        assert keypair.secret() not in stored
        assert bytes(keypair) not in stored
        assert len(row.nonce) == 12
        assert PASSPHRASE.get_secret_value() not in caplog.text + repr(vars(keystore))
        assert str(keypair) not in caplog.text

    async def test_nonces_differ_and_the_salt_is_shared(self, keystore, database):
        await asyncio.gather(*(keystore.create(name) for name in ("a", "b", "c")))
        await reopened(database).create("d")
        stored = await rows(database)
        assert len({row.nonce for row in stored}) == 4
        assert len({row.kdf_salt for row in stored}) == 1

    async def test_another_passphrase_opens_nothing_and_stores_nothing(self, keystore, database):
        address = await keystore.create("treasury")
        wrong = reopened(database, SecretStr("wrong"))
        for attempt in (wrong.signer(address), wrong.signer_by_name("treasury"), wrong.create("reward")):
            with pytest.raises(KeystoreError) as caught:
                await attempt
            assert "wrong" not in str(caught.value)
        assert len(await rows(database)) == 1

    @pytest.mark.parametrize("column", ["ciphertext", "nonce", "kdf_salt"])
    async def test_an_altered_row_does_not_open(self, keystore, database, column):
        address = await keystore.create("treasury")
        [row] = await rows(database)
        value = bytearray(getattr(row, column))
        value[0] ^= 1
        await change(database, **{column: bytes(value)})
        with pytest.raises(KeystoreError):
            await reopened(database).signer(address)

    async def test_a_renamed_or_readdressed_row_does_not_open(self, keystore, database):
        await keystore.create("reward")
        await change(database, name="treasury")
        with pytest.raises(KeystoreError):
            await reopened(database).signer_by_name("treasury")
        with pytest.raises(KeystoreError):
            await keystore.signer_by_name("treasury")
        other = str(Keypair().pubkey())
        await change(database, name="reward", address=other)
        with pytest.raises(KeystoreError):
            await reopened(database).signer(other)

    @pytest.mark.parametrize("cost", [0, 3, -16, 2**30])
    async def test_an_altered_cost_is_typed(self, keystore, database, cost):
        address = await keystore.create("treasury")
        await change(database, kdf_cost=cost)
        with pytest.raises(KeystoreError):
            await reopened(database).signer(address)

    async def test_without_a_passphrase_it_only_lists(self, keystore, database):
        address = await keystore.create("treasury")
        locked = reopened(database, None)
        assert await locked.has(address)
        assert await locked.names() == {"treasury": address}
        with pytest.raises(KeystoreError, match="no passphrase"):
            await locked.signer(address)

    @pytest.mark.parametrize("options", [{"kdf_cost": 17}, {"kdf_cost": 2**21}, {"kdf_cost": 8}])
    def test_costs_are_bounded(self, database, options):
        with pytest.raises(KeystoreError):
            reopened(database, **options)

    def test_an_empty_passphrase_is_refused(self, database):
        with pytest.raises(KeystoreError):
            reopened(database, SecretStr(""))


class TestUnlocking:
    async def test_the_key_is_derived_once(self, database, monkeypatch):
        await reopened(database).create("treasury")
        derived = []
        real = keystore_module._derive

        def counting(*arguments):
            derived.append(arguments)
            return real(*arguments)

        monkeypatch.setattr(keystore_module, "_derive", counting)
        store = reopened(database)
        await asyncio.gather(*(store.create(f"wallet {number}") for number in range(10)))
        await asyncio.gather(*(store.signer_by_name(f"wallet {number}") for number in range(10)))
        assert len(derived) == 1
        store.lock()
        await store.signer_by_name("treasury")
        assert len(derived) == 2

    async def test_few_signers_stay_in_memory(self, database):
        store = reopened(database, max_unlocked=3)
        addresses = [await store.create() for _ in range(6)]
        for address in addresses:
            await store.signer(address)
        assert list(store._unlocked) == addresses[3:]
        assert str((await store.signer(addresses[0])).address) == addresses[0]

    async def test_a_cached_signer_is_the_same_object(self, keystore):
        address = await keystore.create()
        assert await keystore.signer(address) is await keystore.signer(address)
