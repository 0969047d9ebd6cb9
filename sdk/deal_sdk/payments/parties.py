"""Who pays and who receives: a user, an address or an operator wallet, resolved to a token account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import sqlalchemy as sa
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.chain import parse_address
from deal_sdk.errors import InvalidInputError, TokenError, UserNotFoundError, WalletNotFoundError
from deal_sdk.payments.orders import Party
from deal_sdk.records import Database
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.packed_rows import PackedQuery
from deal_sdk.records.tables import token_wallets, users

PartyReference: TypeAlias = UUID | str
"""A user's UUID, an address, or the name of an operator wallet such as "treasury"."""

TREASURY: Final = "treasury"
"""The operator wallet that fees go to and that holds the mint authority."""
MAX_KNOWN_TOKEN_ACCOUNTS: Final = 100_000
MAX_LOOKUPS_PER_QUERY: Final = 500
MAX_REFERENCES_PER_PASS: Final = 20_000
MAX_KEYS_PER_PASS_QUERY: Final = 5_000
_UUID_TEXT_LENGTH: Final = 36


@dataclass(frozen=True, slots=True)
class _UserWallets:
    """What one lookup found: the user and their active addresses, the primary first."""

    user_id: UUID
    tier: str
    addresses: tuple[str, ...]
    verified: frozenset[str] = frozenset()


_Key: TypeAlias = UUID | str


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A party that is being looked up; an operator's wallet needs nobody's answer."""

    key: _Key
    found: asyncio.Future[_UserWallets | None] | None = None
    wallet: str | None = None
    operator_name: str | None = None


class PartyResolver:
    """Resolves references, many in one query when many ask at once."""

    def __init__(
        self,
        database: Database,
        *,
        operators: Mapping[str, str],
        token_account_of: Callable[[Pubkey], Pubkey],
    ) -> None:
        """Resolve against a database and the operator's own wallets.

        Args:
            database: where users and wallets live.
            operators: address by name, such as {"treasury": ...}.
            token_account_of: derives the mint's associated token account of an owner.
        """
        self._database = database
        self._operators = operators
        self._names = {address: name for name, address in operators.items()}
        self._token_account_of = token_account_of
        self._token_accounts: dict[str, str] = {}
        self._lookups: Collector[_Key, _UserWallets | None] = Collector(
            self._look_up, max_items=MAX_LOOKUPS_PER_QUERY, max_in_flight=4
        )

    async def resolve(self, reference: PartyReference, *, wallet: str | None = None) -> Party:
        """Return the party behind a reference.

        Args:
            reference: a user's UUID, an address, or an operator wallet's name.
            wallet: which active wallet of a user to take instead of the primary one.

        Raises:
            InvalidWalletAddressError: for a text that is none of the three, or an address that no
                key can own.
            UserNotFoundError: for a UUID that is no user's.
            WalletNotFoundError: when the user has no active wallet, or `wallet` is not one of them.
        """
        return await self._finish(self._begin(reference, wallet))

    async def resolve_both(
        self, payer: PartyReference, payee: PartyReference, *, wallet: str | None = None
    ) -> tuple[Party, Party]:
        """Return the two parties of a payment, looked up together.

        Args:
            payer: as for `resolve`; where neither is somebody, its error is the one that is raised.
            payee: as for `resolve`.
            wallet: which of the payer's wallets to take.

        Raises:
            InvalidWalletAddressError, UserNotFoundError, WalletNotFoundError: as `resolve`.
        """
        first = self._begin(payer, wallet)
        try:
            second = self._begin(payee, None)
        except TokenError:
            await self._finish(first)
            raise
        try:
            return await self._finish(first), await self._finish(second)
        finally:
            if second.found is not None:
                # Nobody asks for it any more where the payer is nobody; what was found stays.
                second.found.cancel()

    def _begin(self, reference: PartyReference, wallet: str | None) -> _Lookup:
        user_id = _as_user_id(reference)
        if user_id is not None:
            return _Lookup(user_id, self._lookups.put(user_id), wallet)
        if wallet is not None:
            raise InvalidInputError("a wallet can be chosen only for a user")
        text = str(reference)
        if text in self._operators:
            return _Lookup(self._operators[text], operator_name=text)
        address = str(parse_address(text, on_curve=True))
        if address in self._names:
            return _Lookup(address, operator_name=self._names[address])
        return _Lookup(address, self._lookups.put(address))

    async def _finish(self, lookup: _Lookup) -> Party:
        found = None if lookup.found is None else await lookup.found
        if isinstance(lookup.key, UUID):
            return self._user_party(lookup.key, found, lookup.wallet)
        if lookup.operator_name is not None:
            return self._party(lookup.key, operator_name=lookup.operator_name)
        return self._address_party(lookup.key, found)

    async def resolve_many(self, references: Sequence[PartyReference]) -> list[Party | TokenError]:
        """Return the parties behind many references, an error in the place of each that is nobody.

        Everything is looked up in sets, and the arithmetic of addresses is done in a thread.

        Raises:
            DatabaseError: when they could not be looked up.
        """
        resolved: list[Party | TokenError] = []
        for start in range(0, len(references), MAX_REFERENCES_PER_PASS):
            resolved += await self._resolve_pass(references[start : start + MAX_REFERENCES_PER_PASS])
        return resolved

    async def _resolve_pass(self, references: Sequence[PartyReference]) -> list[Party | TokenError]:
        keys = await asyncio.to_thread(lambda: [self._key(reference) for reference in references])
        wanted = list({key for key in keys if isinstance(key, UUID | str)})
        found: dict[_Key, _UserWallets | None] = {}
        for start in range(0, len(wanted), MAX_KEYS_PER_PASS_QUERY):
            part = wanted[start : start + MAX_KEYS_PER_PASS_QUERY]
            for by_key in await self._database.read(partial(_find, keys=part)):
                found.update(cast("dict[_Key, _UserWallets | None]", by_key))
        return await asyncio.to_thread(lambda: [self._found_party(key, found) for key in keys])

    def _key(self, reference: PartyReference) -> _Key | TokenError:
        try:
            user_id = _as_user_id(reference)
            if user_id is not None:
                return user_id
            text = str(reference)
            return self._operators.get(text) or str(parse_address(text, on_curve=True))
        except TokenError as error:
            return error

    def _found_party(
        self, key: _Key | TokenError, found: Mapping[_Key, _UserWallets | None]
    ) -> Party | TokenError:
        if isinstance(key, TokenError):
            return key
        wallets = found.get(key)
        try:
            if isinstance(key, UUID):
                return self._user_party(key, wallets, None)
            return self._address_party(key, wallets)
        except TokenError as error:
            return error

    async def close(self) -> None:
        """Finish the lookups under way."""
        await self._lookups.close()

    def _address_party(self, address: str, found: _UserWallets | None) -> Party:
        if address in self._names:
            return self._party(address, operator_name=self._names[address])
        return self._party(address) if found is None else self._wallet_of(found, address)

    def _user_party(self, user_id: UUID, found: _UserWallets | None, wallet: str | None) -> Party:
        if found is None:
            raise UserNotFoundError("there is no such user", user_id=str(user_id))
        if wallet is not None and wallet not in found.addresses:
            parse_address(wallet)
            raise WalletNotFoundError(
                "the wallet is not an active wallet of this user", user_id=str(user_id), address=wallet
            )
        if not found.addresses:
            raise WalletNotFoundError("the user has no active wallet", user_id=str(user_id))
        return self._wallet_of(found, wallet or found.addresses[0])

    def _wallet_of(self, found: _UserWallets, address: str) -> Party:
        is_verified = address in found.verified
        return self._party(address, user_id=found.user_id, tier=found.tier, is_verified=is_verified)

    def _party(self, address: str, **details: Any) -> Party:
        return Party(address=address, token_account=self._token_account(address), **details)

    def _token_account(self, address: str) -> str:
        # Deriving it takes longer than everything else about a party, and most are paid again.
        known = self._token_accounts.get(address)
        if known is None:
            if len(self._token_accounts) >= MAX_KNOWN_TOKEN_ACCOUNTS:
                self._token_accounts.clear()
            known = self._token_accounts[address] = str(self._token_account_of(Pubkey.from_string(address)))
        return known

    async def _look_up(self, keys: Sequence[_Key]) -> Sequence[_UserWallets | BaseException | None]:
        try:
            by_user, by_address = await self._database.read(lambda connection: _find(connection, keys))
        except TokenError as error:
            return [error] * len(keys)
        return [by_user.get(key) if isinstance(key, UUID) else by_address.get(key) for key in keys]


async def _find(
    connection: AsyncConnection, keys: Sequence[_Key]
) -> tuple[dict[UUID, _UserWallets], dict[str, _UserWallets]]:
    by_user = await _by_user(connection, [key for key in keys if isinstance(key, UUID)])
    by_address = await _by_address(connection, [key for key in keys if isinstance(key, str)])
    return by_user, by_address


async def _by_user(connection: AsyncConnection, ids: list[UUID]) -> dict[UUID, _UserWallets]:
    if not ids:
        return {}
    rows = await _BY_USER.rows(connection, {"b_ids": ids})
    found: dict[UUID, _UserWallets] = {}
    for user_id, tier, address, is_verified, _, _ in sorted(rows, key=_primary_first):
        known = found.get(user_id, _UserWallets(user_id, tier, ()))
        addresses = known.addresses if address is None else (*known.addresses, address)
        verified = known.verified | {address} if is_verified else known.verified
        found[user_id] = _UserWallets(user_id, tier, addresses, verified)
    return found


def _primary_first(row: Sequence[Any]) -> tuple[bool, datetime]:
    _, _, _, _, is_primary, connected_at = row
    # A user without a wallet has one row, and neither.
    return not is_primary, connected_at or _NO_TIME


async def _by_address(connection: AsyncConnection, addresses: list[str]) -> dict[str, _UserWallets]:
    if not addresses:
        return {}
    rows = await _BY_ADDRESS.rows(connection, {"b_addresses": addresses})
    return {
        address: _UserWallets(user_id, tier, (address,), frozenset({address} if is_verified else ()))
        for user_id, tier, address, is_verified in rows
    }


_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)
_FOUND: Final = (users.c.id, users.c.tier, token_wallets.c.address, token_wallets.c.verified_at.is_not(None))
_active = sa.and_(token_wallets.c.user_id == users.c.id, token_wallets.c.status == "active")
_BY_USER: Final = PackedQuery(
    sa.select(*_FOUND, token_wallets.c.is_primary, token_wallets.c.connected_at)
    .select_from(users.outerjoin(token_wallets, _active))
    .where(among(users.c.id, list_parameter("b_ids", users.c.id)))
)
_BY_ADDRESS: Final = PackedQuery(
    sa.select(*_FOUND)
    .select_from(users.join(token_wallets, _active))
    .where(among(token_wallets.c.address, list_parameter("b_addresses", token_wallets.c.address)))
)


def _as_user_id(reference: PartyReference) -> UUID | None:
    if isinstance(reference, UUID):
        return reference
    if not isinstance(reference, str):
        raise InvalidInputError("a party is a user's UUID, an address or an operator wallet's name")
    if len(reference) != _UUID_TEXT_LENGTH:
        return None
    try:
        return UUID(reference)
    except ValueError:
        return None
