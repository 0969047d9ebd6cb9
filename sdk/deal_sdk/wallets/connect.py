"""Connecting, disconnecting and choosing wallets; the database keeps an address from having two users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, Unpack
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import Keystore, parse_address
from deal_sdk.clock import Clock
from deal_sdk.errors import (
    ConstraintError,
    UserNotFoundError,
    WalletAlreadyConnectedError,
    WalletNotFoundError,
)
from deal_sdk.events import EventBus
from deal_sdk.records import Database, parse_user_id
from deal_sdk.records.tables import token_wallets, users
from deal_sdk.wallets.challenges import WalletChallenges
from deal_sdk.wallets.sign_in import SignInFields, WalletChallenge

DEFAULT_CHALLENGE_SECONDS: Final = 300.0

_wallet = token_wallets.c

Claim: TypeAlias = Literal["unproven", "proven", "held"]
"""What speaks for a user's claim to an address; "held" is a key in custody, whoever it was made for."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """One row of `token_wallets`."""

    id: UUID
    user_id: UUID
    address: str
    status: str
    is_primary: bool
    connected_at: datetime
    disconnected_at: datetime | None
    verified_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the wallet as JSON-serialisable data."""
        return {
            name: value if value is None or isinstance(value, bool) else _text(value)
            for name, value in asdict(self).items()
        }


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class AccountTracker(Protocol):
    """Keeps the balance history of a wallet's token account from now on."""

    async def __call__(self, owner_address: str, user_id: UUID, *, connection: AsyncConnection) -> None:
        """Track the token account that `owner_address` has for the mint, in the caller's transaction."""
        ...


class WalletManager:
    """Connects users' wallets and keeps the keys of custodial ones encrypted."""

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        clock: Clock,
        events: EventBus,
        *,
        track: AccountTracker,
        challenge_seconds: float = DEFAULT_CHALLENGE_SECONDS,
    ) -> None:
        """Work on a database and a keystore.

        Args:
            database: where `token_wallets` lives.
            keystore: holds the keys of custodial wallets.
            clock: stamps the rows.
            events: hears of connects and disconnects.
            track: called for each connected wallet, so that its history is kept.
            challenge_seconds: how long a wallet may take to sign the proof that it is a user's.
        """
        self._database = database
        self._keystore = keystore
        self._clock = clock
        self._events = events
        self._track = track
        self._challenges = WalletChallenges(database, lifetime_seconds=challenge_seconds)

    async def connect_wallet(self, user_id: UUID | str, wallet_address: str) -> Wallet:
        """Connect an address to a user; the first one becomes the user's primary.

        Args:
            user_id: the user's UUID.
            wallet_address: a base58 address on the curve, that is, one a key can own.

        An address whose key the backend holds can be connected again only by the user it was proven for:
        anyone else who connected it could spend what is there.

        Returns:
            The active wallet; one that this user had disconnected is the same row again.

        Raises:
            InvalidWalletAddressError: for another text.
            UserNotFoundError: when there is no such user.
            WalletAlreadyConnectedError: when the address is active for anyone, this user included, or
                belongs to the operator or to another user's custody.
        """
        address = str(parse_address(wallet_address, on_curve=True))
        is_held = await self._keystore.has(address)
        return await self._connect(parse_user_id(user_id), address, claim="held" if is_held else "unproven")

    async def challenge(
        self, user_id: UUID | str, wallet_address: str, *, domain: str, **fields: Unpack[SignInFields]
    ) -> WalletChallenge:
        """Make a Sign-In-With-Solana message for a user's wallet to sign, good for one proof.

        Args:
            user_id: the user's UUID.
            wallet_address: the wallet that is to sign; it need not be connected.
            domain: of the page that asks, as "example.com" or "example.com:8443".
            fields: `statement`, what the user agrees to, in one line; `uri`, what the proof is for;
                `chain_id`, "mainnet", "testnet", "devnet" or "localnet".

        Raises:
            InvalidInputError, InvalidWalletAddressError: for a field that cannot stand in the message.
            UserNotFoundError: when there is no such user.
        """
        owner = parse_user_id(user_id)
        async with self._database.reading() as connection:
            await self._require_user(connection, owner)
        return await self._challenges.issue(owner, wallet_address, domain=domain, **fields)

    async def prove_ownership(self, nonce: str, signature: str | bytes) -> Wallet:
        """Connect a wallet as proven by the signature over its challenge, or prove a connected one.

        An unproven claim of somebody else's ends with it, so that nobody squats an address.

        Args:
            nonce: of the challenge.
            signature: by the wallet over the challenge's message, as base58 or 64 bytes.

        Returns:
            The user's active wallet, with `verified_at`.

        Raises:
            ChallengeInvalidError: a nonce that is unknown, expired or was used before.
            InvalidSignatureError: a signature of another wallet or message; the challenge stays usable.
            WalletAlreadyConnectedError: when somebody else proved that the address is theirs.
        """
        challenge = await self._challenges.find(nonce)
        owner, address = challenge.user_id, challenge.address
        displaced: list[UUID] = []

        async def unit(connection: AsyncConnection) -> Wallet:
            await self._lock_user(connection, owner)
            await self._challenges.take(connection, challenge, signature)
            displaced[:] = await self._displace(connection, owner, address)
            proven = await self._verify_active(connection, owner, address)
            if proven is None:
                proven = await self._activate(connection, owner, address, self._clock.now())
            await self._track(address, owner, connection=connection)
            return proven

        try:
            wallet = await self._database.run(unit)
        except ConstraintError:
            raise _already_connected(address) from None
        for loser in displaced:
            self._events.publish("wallet.displaced", user_id=str(loser), address=address)
        self._events.publish("wallet.verified", user_id=str(owner), address=address)
        return wallet

    async def create_custodial(self, user_id: UUID | str) -> Wallet:
        """Make a new key for a user, keep it encrypted, and connect its address as proven.

        The key is stored before the address is connected, so that no connected address is without it.

        Raises:
            UserNotFoundError: when there is no such user.
        """
        owner = parse_user_id(user_id)
        async with self._database.reading() as connection:
            await self._require_user(connection, owner)
        address = await self._keystore.create()
        return await self._connect(owner, str(address), claim="proven")

    async def import_custodial(self, user_id: UUID | str, keypair_bytes: bytes) -> Wallet:
        """Keep a key made elsewhere encrypted for a user, and connect its address as proven.

        Args:
            user_id: the user's UUID.
            keypair_bytes: the secret half, then the public one, 64 bytes.

        Raises:
            KeystoreError: when the bytes are no keypair, or the key is an operator wallet's.
            UserNotFoundError: when there is no such user.
            WalletAlreadyConnectedError: when its address is active for anyone.
        """
        owner = parse_user_id(user_id)
        async with self._database.reading() as connection:
            await self._require_user(connection, owner)
        address = await self._keystore.import_key(keypair_bytes)
        return await self._connect(owner, str(address), claim="proven")

    async def disconnect_wallet(self, user_id: UUID | str, wallet_address: str) -> Wallet:
        """Make a wallet inactive; its row and its history stay, and it can be connected again.

        When it was the primary, the wallet connected longest becomes primary.

        Raises:
            InvalidWalletAddressError: for a text that is no address.
            WalletNotFoundError: when it is not that user's active wallet.
        """
        owner = parse_user_id(user_id)
        address = str(parse_address(wallet_address))

        async def unit(connection: AsyncConnection) -> Wallet:
            await self._lock_user(connection, owner)
            change = {"status": "inactive", "is_primary": False, "disconnected_at": self._clock.now()}
            wallet = await self._update_active(connection, owner, address, change)
            await self._promote_oldest(connection, owner)
            return wallet

        wallet = await self._database.run(unit)
        self._events.publish("wallet.disconnected", user_id=str(owner), address=address)
        return wallet

    async def set_primary(self, user_id: UUID | str, wallet_address: str) -> Wallet:
        """Choose the wallet that pays and receives for a user when none is named.

        Raises:
            WalletNotFoundError: when it is not that user's active wallet.
        """
        owner = parse_user_id(user_id)
        address = str(parse_address(wallet_address))

        async def unit(connection: AsyncConnection) -> Wallet:
            await self._lock_user(connection, owner)
            demote = token_wallets.update().where(_wallet.user_id == owner, _wallet.is_primary)
            await connection.execute(demote.values(is_primary=False))
            return await self._update_active(connection, owner, address, {"is_primary": True})

        return await self._database.run(unit)

    async def list_wallets(self, user_id: UUID | str, *, active_only: bool = False) -> list[Wallet]:
        """Return a user's wallets, the primary first, then by the time they were connected."""
        query = (
            sa.select(token_wallets)
            .where(_wallet.user_id == parse_user_id(user_id))
            .order_by(_wallet.is_primary.desc(), _wallet.connected_at, _wallet.id)
        )
        if active_only:
            query = query.where(_wallet.status == "active")
        async with self._database.reading() as connection:
            return [_to_wallet(row) for row in (await connection.execute(query)).mappings()]

    async def get_primary(self, user_id: UUID | str) -> Wallet:
        """Return the wallet that stands for a user.

        Raises:
            WalletNotFoundError: when the user has no active wallet.
        """
        wallets = await self.list_wallets(user_id, active_only=True)
        if not wallets:
            raise WalletNotFoundError("the user has no active wallet", user_id=str(user_id))
        return wallets[0]

    async def _connect(self, owner: UUID, address: str, *, claim: Claim) -> Wallet:
        async def unit(connection: AsyncConnection) -> Wallet:
            await self._lock_user(connection, owner)
            verified_at = await self._verified_at(connection, owner, address, claim)
            activated = await self._activate(connection, owner, address, verified_at)
            # In the same transaction: a connected wallet whose history nobody keeps would stay so.
            await self._track(address, owner, connection=connection)
            return activated

        try:
            wallet = await self._database.run(unit)
        except ConstraintError:
            # Two calls raced for one address and the unique index let one of them win.
            raise _already_connected(address) from None
        self._events.publish("wallet.connected", user_id=str(owner), address=address)
        return wallet

    async def _displace(self, connection: AsyncConnection, owner: UUID, address: str) -> list[UUID]:
        """End the unproven claims of others to an address, and return whose they were."""
        squatted = token_wallets.update().where(
            _wallet.address == address,
            _wallet.status == "active",
            _wallet.user_id != owner,
            _wallet.verified_at.is_(None),
        )
        ended = squatted.values(status="inactive", is_primary=False, disconnected_at=self._clock.now())
        losers = list((await connection.execute(ended.returning(_wallet.user_id))).scalars())
        for loser in losers:
            await self._promote_oldest(connection, loser)
        return losers

    async def _verify_active(self, connection: AsyncConnection, owner: UUID, address: str) -> Wallet | None:
        """Note the proof of a wallet that is connected to its user already."""
        own = token_wallets.update().where(
            _wallet.user_id == owner, _wallet.address == address, _wallet.status == "active"
        )
        proven = own.values(verified_at=self._clock.now()).returning(*token_wallets.c)
        row = (await connection.execute(proven)).mappings().one_or_none()
        return None if row is None else _to_wallet(row)

    async def _verified_at(
        self, connection: AsyncConnection, owner: UUID, address: str, claim: Claim
    ) -> datetime | None:
        if claim == "unproven":
            return None
        if claim == "held":
            proven = sa.select(_wallet.id).where(
                _wallet.user_id == owner, _wallet.address == address, _wallet.verified_at.is_not(None)
            )
            if (await connection.execute(proven)).first() is None:
                raise _already_connected(address)
        return self._clock.now()

    async def _activate(
        self, connection: AsyncConnection, owner: UUID, address: str, verified_at: datetime | None
    ) -> Wallet:
        taken = sa.select(_wallet.id).where(_wallet.address == address, _wallet.status == "active")
        if (await connection.execute(taken)).first() is not None:
            raise _already_connected(address)
        primary = sa.select(_wallet.id).where(_wallet.user_id == owner, _wallet.is_primary)
        values = {
            "status": "active",
            "is_primary": (await connection.execute(primary)).first() is None,
            "connected_at": self._clock.now(),
            "disconnected_at": None,
            "verified_at": verified_at,
        }
        upsert = (
            self._database.insert(token_wallets)
            .values(id=uuid4(), user_id=owner, address=address, **values)
            .on_conflict_do_update(index_elements=["user_id", "address"], set_=values)
            .returning(*token_wallets.c)
        )
        return _to_wallet((await connection.execute(upsert)).mappings().one())

    async def _lock_user(self, connection: AsyncConnection, owner: UUID) -> None:
        await self._require_user(connection, owner, lock=True)

    @staticmethod
    async def _require_user(connection: AsyncConnection, owner: UUID, *, lock: bool = False) -> None:
        query = sa.select(users.c.id).where(users.c.id == owner, users.c.erased_at.is_(None))
        if lock:
            # Payments of the user, whose rows refer to this one, need not wait for it.
            query = query.with_for_update(key_share=True)
        if (await connection.execute(query)).first() is None:
            raise UserNotFoundError("there is no such user", user_id=str(owner))

    @staticmethod
    async def _update_active(
        connection: AsyncConnection, owner: UUID, address: str, values: Mapping[str, Any]
    ) -> Wallet:
        update = (
            token_wallets.update()
            .where(_wallet.user_id == owner, _wallet.address == address, _wallet.status == "active")
            .values(**values)
            .returning(*token_wallets.c)
        )
        row = (await connection.execute(update)).mappings().one_or_none()
        if row is None:
            raise WalletNotFoundError(
                "the wallet is not an active wallet of this user", user_id=str(owner), address=address
            )
        return _to_wallet(row)

    @staticmethod
    async def _promote_oldest(connection: AsyncConnection, owner: UUID) -> None:
        active = sa.select(_wallet.id, _wallet.is_primary).where(
            _wallet.user_id == owner, _wallet.status == "active"
        )
        rows: Sequence[Any] = (
            await connection.execute(active.order_by(_wallet.connected_at, _wallet.id))
        ).all()
        if rows and not any(row.is_primary for row in rows):
            update = token_wallets.update().where(_wallet.id == rows[0].id)
            await connection.execute(update.values(is_primary=True))


def _already_connected(address: str) -> WalletAlreadyConnectedError:
    return WalletAlreadyConnectedError("the address is already connected", address=address)


def _to_wallet(row: Mapping[Any, Any]) -> Wallet:
    return Wallet(**row)
