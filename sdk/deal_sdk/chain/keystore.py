"""Keys kept by the backend: encrypted in the database, opened only to sign.

Owns the table `keystore_keys`. A key is AES-256-GCM ciphertext under a key that scrypt derives from
the passphrase; address and name are bound to it, so that a row that was swapped or renamed does not
open. Nothing here returns a key: callers get signers.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import SecretStr
from solders.keypair import Keypair
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain.addresses import parse_address
from deal_sdk.chain.signers import KeypairSigner, Signer
from deal_sdk.clock import Clock
from deal_sdk.errors import KeystoreError, SignatureRequiredError, WalletNotFoundError
from deal_sdk.records.database import Database
from deal_sdk.records.tables import keystore_keys

DEFAULT_KDF_COST: Final = 2**15
MIN_KDF_COST: Final = 2**4
MAX_KDF_COST: Final = 2**20
MAX_UNLOCKED_SIGNERS: Final = 10_000
MAX_NAME_LENGTH: Final = 64
_SCRYPT_BLOCK_SIZE: Final = 8
_SCRYPT_PARALLELISM: Final = 1
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_MAX_DERIVED_KEYS: Final = 16

_Derivation = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class _SealedKey:
    address: str
    name: str | None
    kdf_salt: bytes
    kdf_cost: int
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret of another area's, encrypted; its rows are that area's own."""

    kdf_salt: bytes
    kdf_cost: int
    nonce: bytes
    ciphertext: bytes


class Keystore:
    """Creates, keeps and unlocks the keys of custodial and operator wallets."""

    def __init__(
        self,
        database: Database,
        passphrase: SecretStr | None,
        *,
        clock: Clock,
        kdf_cost: int = DEFAULT_KDF_COST,
        max_unlocked: int = MAX_UNLOCKED_SIGNERS,
    ) -> None:
        """Prepare a keystore; nothing is read or derived before it is used.

        Args:
            database: where the ciphertexts are.
            passphrase: unlocks them; without one only `has` and `names` work.
            clock: stamps new keys.
            kdf_cost: scrypt's n for new databases, a power of two from 2**4 to 2**20; below 2**15 for
                tests alone.
            max_unlocked: how many signers are kept in memory.

        Raises:
            KeystoreError: for an empty passphrase or a cost that scrypt cannot take.
        """
        if passphrase is not None and not passphrase.get_secret_value():
            raise KeystoreError("the keystore's passphrase is empty")
        _check_cost(kdf_cost)
        self._database = database
        self._passphrase = passphrase
        self._clock = clock
        self._kdf_cost = kdf_cost
        self._max_unlocked = max_unlocked
        self._unlocked: OrderedDict[str, Signer] = OrderedDict()
        # Keys that are created together in an empty database share one salt, and so one derivation.
        self._first_salt = os.urandom(_SALT_BYTES)
        self._derived: OrderedDict[_Derivation, asyncio.Task[bytes]] = OrderedDict()
        self._elsewhere: dict[str, Signer] = {}

    def attach(self, name: str, signer: Signer) -> None:
        """Let an operator wallet sign with a key that is kept elsewhere.

        It goes before a key of that name here, which then signs only for its own address.

        Args:
            name: the wallet's name, such as "treasury".
            signer: reaches the key.
        """
        _check_name(name)
        self._elsewhere[name] = signer

    async def create(self, name: str | None = None) -> str:
        """Make and store a new key; the key of a name that exists is kept, whoever made it first.

        Args:
            name: an operator wallet's name, such as "treasury"; None for a user's wallet.

        Returns:
            The address of the key that is stored.

        Raises:
            KeystoreError: without a passphrase, or with one that does not open this database's keys.
        """
        _check_name(name)
        if name in self._elsewhere:
            return str(self._elsewhere[name].address)
        if name is not None:
            existing = await self._find(keystore_keys.c.name == name)
            if existing is not None:
                return existing.address
        return (await self._store(Keypair(), name)).address

    async def import_key(self, keypair_bytes: bytes, name: str | None = None) -> str:
        """Store a key made elsewhere; importing it again under the same name changes nothing.

        Args:
            keypair_bytes: the secret half, then the public one, 64 bytes.
            name: as in `create`.

        Raises:
            KeystoreError: when the bytes are no keypair, or address or name are taken otherwise.
        """
        _check_name(name)
        KeypairSigner.from_bytes(keypair_bytes)
        keypair = Keypair.from_bytes(keypair_bytes)
        stored = await self._store(keypair, name)
        if stored.address != str(keypair.pubkey()) or stored.name != name:
            raise KeystoreError(
                "the address or the name is stored otherwise already",
                address=stored.address,
                name=stored.name,
            )
        return stored.address

    async def signer(self, address: str) -> Signer:
        """Return a signer for an address.

        Raises:
            SignatureRequiredError: when its key is not here: the owner must sign.
            KeystoreError: when it does not open.
        """
        unlocked = self._unlocked.get(address)
        if unlocked is not None:
            self._unlocked.move_to_end(address)
            return unlocked
        attached = self._attached(address)
        if attached is not None:
            return attached
        sealed = await self._find(keystore_keys.c.address == str(parse_address(address)))
        if sealed is None:
            raise SignatureRequiredError(f"no key is kept for {address}", address=address)
        return await self._unlock(sealed)

    async def signer_by_name(self, name: str) -> Signer:
        """Return the signer of an operator wallet.

        Raises:
            WalletNotFoundError: when no key has that name.
            KeystoreError: when it does not open.
        """
        if name in self._elsewhere:
            return self._elsewhere[name]
        sealed = await self._find(keystore_keys.c.name == name)
        if sealed is None:
            raise WalletNotFoundError(f"no key is named {name!r}", name=name)
        # The row's name was bound to its key, so a cached signer may not answer for a renamed row.
        return await self._unlock(sealed)

    async def has(self, address: str) -> bool:
        """Return whether a key is kept for an address, here or elsewhere; it is not opened."""
        if self._attached(address) is not None:
            return True
        return await self._find(keystore_keys.c.address == address) is not None

    async def names(self) -> dict[str, str]:
        """Return the operator wallets: address by name, sorted."""
        query = (
            sa.select(keystore_keys.c.name, keystore_keys.c.address)
            .where(keystore_keys.c.name.is_not(None))
            .order_by(keystore_keys.c.name)
        )
        async with self._database.reading() as connection:
            kept = {row.name: row.address for row in await connection.execute(query)}
        attached = {name: str(signer.address) for name, signer in self._elsewhere.items()}
        return dict(sorted((kept | attached).items()))

    async def seal(self, secret: bytes, purpose: str) -> SealedSecret:
        """Encrypt a secret of another area's under the passphrase that the keys have.

        Args:
            secret: what to encrypt.
            purpose: bound to it, so that it opens for this use alone.

        Raises:
            KeystoreError: without a passphrase, or with one that does not open this database's keys.
        """
        salt, cost = await self._derivation()
        nonce = os.urandom(_NONCE_BYTES)
        key = await self._derived_key(salt, cost)
        return SealedSecret(salt, cost, nonce, AESGCM(key).encrypt(nonce, secret, _purpose_bound(purpose)))

    async def unseal(self, sealed: SealedSecret, purpose: str) -> bytes:
        """Return a secret that `seal` encrypted for the same purpose.

        Raises:
            KeystoreError: when it does not open.
        """
        key = await self._derived_key(sealed.kdf_salt, sealed.kdf_cost)
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, _purpose_bound(purpose))
        except (InvalidTag, ValueError):
            raise KeystoreError(
                f"a secret for {purpose} does not open: another passphrase, or an altered row"
            ) from None

    def lock(self) -> None:
        """Forget every unlocked signer and derived key; the next use derives anew."""
        self._unlocked.clear()
        self._derived.clear()

    def _attached(self, address: str) -> Signer | None:
        for signer in self._elsewhere.values():
            if str(signer.address) == address:
                return signer
        return None

    async def _store(self, keypair: Keypair, name: str | None) -> _SealedKey:
        salt, cost = await self._derivation()
        sealed = await self._seal(keypair, name, salt, cost)
        row = {
            "address": sealed.address,
            "name": sealed.name,
            "kdf_salt": sealed.kdf_salt,
            "kdf_cost": sealed.kdf_cost,
            "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext,
            "created_at": self._clock.now(),
        }

        async def insert(connection: AsyncConnection) -> _SealedKey | None:
            # Of two that create the same name at once, the database lets one in; the other reads it.
            statement = self._database.insert(keystore_keys).values(row).on_conflict_do_nothing()
            await connection.execute(statement)
            same = keystore_keys.c.address == sealed.address
            return await _select(connection, same if name is None else same | (keystore_keys.c.name == name))

        stored = await self._database.run(insert)
        if stored is None:
            raise KeystoreError("a key that was just stored is gone", address=sealed.address)
        return stored

    async def _derivation(self) -> _Derivation:
        """Return the salt and cost that this database's keys share, once it is known that they open."""
        query = (
            sa.select(keystore_keys).order_by(keystore_keys.c.created_at, keystore_keys.c.address).limit(1)
        )
        async with self._database.reading() as connection:
            first = (await connection.execute(query)).one_or_none()
        if first is None:
            return self._first_salt, self._kdf_cost
        # A key stored under a mistyped passphrase would be lost, so an existing one is tried first.
        sealed = _sealed(first)
        if sealed.address not in self._unlocked:
            await self._unlock(sealed)
        return sealed.kdf_salt, sealed.kdf_cost

    async def _seal(self, keypair: Keypair, name: str | None, salt: bytes, cost: int) -> _SealedKey:
        key = await self._derived_key(salt, cost)
        nonce = os.urandom(_NONCE_BYTES)
        address = str(keypair.pubkey())
        ciphertext = AESGCM(key).encrypt(nonce, bytes(keypair), _bound(address, name))
        return _SealedKey(address, name, salt, cost, nonce, ciphertext)

    async def _unlock(self, sealed: _SealedKey) -> Signer:
        key = await self._derived_key(sealed.kdf_salt, sealed.kdf_cost)
        try:
            secret = AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, _bound(sealed.address, sealed.name))
        except (InvalidTag, ValueError):
            raise KeystoreError(
                f"the key of {sealed.address} does not open: another passphrase, or an altered row",
                address=sealed.address,
            ) from None
        signer = KeypairSigner.from_bytes(secret)
        if str(signer.address) != sealed.address:
            raise KeystoreError(f"the key stored for {sealed.address} is another's", address=sealed.address)
        self._unlocked[sealed.address] = signer
        if len(self._unlocked) > self._max_unlocked:
            self._unlocked.popitem(last=False)
        return signer

    async def _derived_key(self, salt: bytes, cost: int) -> bytes:
        if self._passphrase is None:
            raise KeystoreError("the keystore is locked: no passphrase is set")
        task = self._derived.get((salt, cost))
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            secret = self._passphrase.get_secret_value().encode()
            task = asyncio.create_task(asyncio.to_thread(_derive, secret, salt, cost))
            self._derived[(salt, cost)] = task
            if len(self._derived) > _MAX_DERIVED_KEYS:
                self._derived.popitem(last=False)
        # Shared by all who wait for it, so that one who is cancelled does not take it away.
        return await asyncio.shield(task)

    async def _find(self, condition: sa.ColumnElement[bool]) -> _SealedKey | None:
        async with self._database.reading() as connection:
            return await _select(connection, condition)


async def _select(connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> _SealedKey | None:
    row = (await connection.execute(sa.select(keystore_keys).where(condition).limit(1))).one_or_none()
    return None if row is None else _sealed(row)


def _sealed(row: sa.Row[Any]) -> _SealedKey:
    return _SealedKey(row.address, row.name, row.kdf_salt, row.kdf_cost, row.nonce, row.ciphertext)


def _bound(address: str, name: str | None) -> bytes:
    return f"deal_sdk keystore 1\0{address}\0{'' if name is None else name}".encode()


def _purpose_bound(purpose: str) -> bytes:
    return f"deal_sdk secret 1\0{purpose}".encode()


def _derive(secret: bytes, salt: bytes, cost: int) -> bytes:
    # The cost comes from a row, and an altered one must not take all memory.
    _check_cost(cost)
    kdf = Scrypt(salt=salt, length=_KEY_BYTES, n=cost, r=_SCRYPT_BLOCK_SIZE, p=_SCRYPT_PARALLELISM)
    return kdf.derive(secret)


def _check_cost(cost: int) -> None:
    if cost & (cost - 1) or not MIN_KDF_COST <= cost <= MAX_KDF_COST:
        raise KeystoreError("the key's scrypt cost must be a power of two from 2**4 to 2**20", kdf_cost=cost)


def _check_name(name: str | None) -> None:
    if name is not None and not (0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()):
        raise KeystoreError(f"a key's name is 1 to {MAX_NAME_LENGTH} printable characters")
