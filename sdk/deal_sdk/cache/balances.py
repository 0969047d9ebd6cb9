"""DEAL balances, cached by token account, each with the slot it was read at.

Owns the cached balance and the fast answer whether a user can pay. A value of an older slot never replaces
a newer one. Never authorises a debit: the payment reserves its amount against a fresh reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from deal_sdk.amounts import DEAL_DECIMALS, MAX_U64, Amount, parse_amount, to_decimal
from deal_sdk.cache.debts import Debts
from deal_sdk.cache.entries import (
    DEFAULT_PREFIX,
    MAX_TTL_SECONDS,
    Entries,
    Grant,
    Write,
    Written,
    milliseconds,
    version_text,
)
from deal_sdk.cache.link import StoreLink
from deal_sdk.cache.loading import OUTAGE, Found, Loaded, Loader, Miss, Tokens
from deal_sdk.cache.policy import DEFAULT_TTL_SECONDS
from deal_sdk.cache.sources import AccountResolver, BalanceReader, ReservationReader
from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, StoreUnavailableError, UserNotFoundError, WalletNotFoundError
from deal_sdk.limits.ids import UserKey
from deal_sdk.limits.store import Store
from deal_sdk.metrics import Metrics

User = TypeVar("User", bound=UserKey)

CACHE_NAME: Final = "balances"
_MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True)
class CachedBalance:
    """A balance, the slot it was read at, and its age when it was served."""

    amount_base_units: int
    slot: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class BalanceCheck:
    """Whether a user could pay now, reservations counted; in whole tokens."""

    sufficient: bool
    available: Decimal
    required: Decimal
    deficit: Decimal


@dataclass(frozen=True, slots=True)
class _Seen:
    balance: CachedBalance | None
    text: bytes | None = None
    state: str = OUTAGE


class BalanceManager:
    """Answers balances from the cache, else from the chain."""

    def __init__(
        self,
        store: Store,
        *,
        reader: BalanceReader,
        resolver: AccountResolver,
        reservations: ReservationReader,
        clock: Clock,
        metrics: Metrics,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        decimals: int = DEAL_DECIMALS,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            store: where balances are cached.
            reader: the chain.
            resolver: from users to token accounts.
            reservations: what is promised to payments.
            clock: tells the age of entries.
            metrics: counts hits and misses and the age of what is served.
            ttl_seconds: how long a balance is served before the chain is read again.
            decimals: the mint's.
            prefix: begins every key.

        Raises:
            InvalidInputError: for a lifetime out of range.
        """
        milliseconds(ttl_seconds)
        self._reader = reader
        self._resolver = resolver
        self._reservations = reservations
        self._clock = clock
        self._metrics = metrics
        self._ttl_seconds = ttl_seconds
        self._decimals = decimals
        self._link = StoreLink(store, CACHE_NAME, clock)
        self._entries = Entries(store, f"{prefix}balance:", tells_changes=False)
        self._debts = Debts(self._entries, self._link, clock)
        self._loader: Loader[CachedBalance] = Loader(self._entries, self._link, clock)

    async def get(self, token_account: str) -> CachedBalance | None:
        """Return the cached balance, or None where there is none or the store is down."""
        return (await self._look_up(token_account)).balance

    async def load(self, token_account: str) -> CachedBalance:
        """Read the chain and cache what it says; where a newer slot is cached, that is returned.

        Raises:
            ChainError: when the chain could not be read.
        """
        try:
            if self._debts:
                await self._debts.settle()
            grant = await self._loader.grant(token_account, None, take=True)
        except StoreUnavailableError:
            grant = Grant()
        try:
            loaded = await self._read_chain(token_account)
        except BaseException:
            await self._loader.finish(token_account, grant, None)
            raise
        written = await self._loader.finish(token_account, grant, loaded.write)
        return self._newer(loaded.value, written)

    async def get_or_load(self, token_account: str) -> CachedBalance:
        """Return the cached balance, else read the chain once for all who wait, here and elsewhere.

        Raises:
            ChainError: when the chain had to be read and could not be.
        """
        seen = await self._look_up(token_account)
        if seen.balance is not None:
            return seen.balance
        return await self._loader.load(
            Miss(
                token_account,
                seen.text,
                seen.state,
                self._accept,
                _no_tags,
                lambda tokens: self._read_chain(token_account),
            )
        )

    async def get_or_load_many(self, token_accounts: Sequence[str]) -> dict[str, CachedBalance]:
        """Return many balances, the cached ones from one round trip to the store.

        Raises:
            ChainError: when the chain had to be read and could not be.
        """
        names = list(dict.fromkeys(token_accounts))
        found = await asyncio.gather(*(self.get_or_load(name) for name in names))
        return dict(zip(names, found, strict=True))

    async def balance_of(self, user_id: UserKey) -> CachedBalance:
        """Return a user's balance, from the cache or else from the chain.

        Raises:
            WalletNotFoundError: when the user has no wallet.
            ChainError: when the chain had to be read and could not be.
        """
        return await self.get_or_load(await self._resolver.resolve(user_id))

    async def balances_of(self, user_ids: Sequence[User]) -> dict[User, CachedBalance]:
        """Return the balances of those users that have a wallet; see `get_or_load_many`.

        Raises:
            ChainError: when the chain had to be read and could not be.
        """
        resolved = await asyncio.gather(
            *(self._resolver.resolve(user_id) for user_id in user_ids), return_exceptions=True
        )
        accounts: dict[User, str] = {}
        for user_id, account in zip(user_ids, resolved, strict=True):
            if isinstance(account, str):
                accounts[user_id] = account
            elif not isinstance(account, UserNotFoundError | WalletNotFoundError):
                raise account
        balances = await self.get_or_load_many(list(accounts.values()))
        return {user_id: balances[account] for user_id, account in accounts.items()}

    async def current(self, token_account: str) -> int:
        """Return a balance in base units for display, from the cache or else from the chain.

        Raises:
            ChainError: when the chain had to be read and could not be.
        """
        return (await self.get_or_load(token_account)).amount_base_units

    async def put(self, token_account: str, amount_base_units: int, slot: int) -> CachedBalance | None:
        """Cache a balance that is known from a transaction; one of an older slot is ignored.

        Args:
            token_account: an address.
            amount_base_units: 0 to 2**64-1.
            slot: at which the balance holds, 0 to 2**64-1.

        Returns:
            What is cached now; None when the store is down.

        Raises:
            InvalidInputError: for an amount or slot out of range.
        """
        write = self._write(amount_base_units, slot)
        try:
            written = await self._link.through(lambda: self._entries.put(token_account, write))
        except StoreUnavailableError:
            self._debts.owe({token_account: slot})
            return None
        return self._parse(written.text)

    async def invalidate(self, token_account: str, *, slot: int = 0) -> bool:
        """Forget a cached balance, and make readings under way not be cached.

        Args:
            token_account: an address.
            slot: the slot of the change, if known: no older reading is cached from then on.

        Returns:
            Whether the store took it; when it is down the entry may live on until its end.

        Raises:
            InvalidInputError: for a slot out of range.
        """
        return await self.invalidate_many({token_account: slot})

    async def invalidate_many(self, slots: Mapping[str, int]) -> bool:
        """Forget many cached balances, a few hundred in each command.

        Args:
            slots: for each token account the slot of its change, 0 where it is not known.

        Returns:
            Whether the store took all of them.

        Raises:
            InvalidInputError: for a slot out of range.
        """
        for token_account, slot in slots.items():
            version_text(slot)
            self._loader.forget(token_account)
        try:
            await self._link.through(lambda: self._entries.drop(slots))
        except StoreUnavailableError:
            self._debts.owe(slots)
            return False
        return True

    async def refresh(self, user_id: UserKey) -> CachedBalance:
        """Read the user's balance from the chain, whatever is cached.

        Raises:
            ChainError: when the chain could not be read.
            WalletNotFoundError: when the user has no wallet.
        """
        return await self.load(await self._resolver.resolve(user_id))

    async def update_balance_cache(
        self, user_id: UserKey, new_balance: Amount, slot: int | None = None
    ) -> None:
        """Cache a user's balance as of a slot; an older slot is ignored, no slot only invalidates.

        Args:
            user_id: whose balance.
            new_balance: in whole tokens, zero or more.
            slot: at which it holds. Without it nobody knows whether it is newer, so it is read again.

        Raises:
            InvalidAmountError: for a balance that is no amount.
            WalletNotFoundError: when the user has no wallet.
        """
        amount = self._parse_balance(new_balance)
        token_account = await self._resolver.resolve(user_id)
        if slot is None:
            await self.invalidate(token_account)
        else:
            await self.put(token_account, amount, slot)

    async def check_balance(self, user_id: UserKey, required: Amount) -> BalanceCheck:
        """Say whether the user could pay, for display and for a fast refusal.

        A cached balance that would not do is read again first, so that nobody is refused for a stale value.
        The answer authorises nothing: the payment checks again when it reserves.

        Args:
            user_id: who would pay.
            required: in whole tokens.

        Raises:
            InvalidAmountError: for a required amount that is no amount.
            WalletNotFoundError: when the user has no wallet.
            ChainError: when the chain had to be read and could not be.
        """
        required_base_units = parse_amount(required, decimals=self._decimals)
        token_account = await self._resolver.resolve(user_id)
        cached = await self.get(token_account)
        if cached is not None:
            available = await self._available(token_account, cached)
            if available >= required_base_units:
                return self._check(available, required_base_units)
        available = await self._available(token_account, await self.load(token_account))
        return self._check(available, required_base_units)

    async def close(self) -> None:
        """Cancel the readings under way, and tell the store what it missed."""
        await self._loader.close()
        await self._debts.close()

    async def _available(self, token_account: str, balance: CachedBalance) -> int:
        reserved = await self._reservations.reserved(token_account, balance.slot)
        return max(balance.amount_base_units - reserved, 0)

    def _check(self, available: int, required: int) -> BalanceCheck:
        deficit = max(required - available, 0)
        available_tokens, required_tokens, deficit_tokens = (
            to_decimal(amount, decimals=self._decimals) for amount in (available, required, deficit)
        )
        return BalanceCheck(deficit == 0, available_tokens, required_tokens, deficit_tokens)

    async def _look_up(self, token_account: str) -> _Seen:
        seen = await self._peek(token_account)
        is_outage = seen.state == OUTAGE
        outcome = "error" if is_outage else "miss" if seen.balance is None else "hit"
        self._metrics.cache_requests.labels(cache=CACHE_NAME, outcome=outcome).inc()
        if seen.balance is not None:
            self._metrics.cache_staleness_seconds.observe(seen.balance.age_seconds)
        return seen

    async def _peek(self, token_account: str) -> _Seen:
        try:
            if self._debts:
                await self._debts.settle()
            read = await self._link.through(lambda: self._entries.read(token_account))
        except StoreUnavailableError:
            return _Seen(None)
        return _Seen(self._fresh(read.text), read.text, read.lease)

    async def _accept(self, text: bytes) -> Found[CachedBalance] | None:
        balance = self._fresh(text)
        return None if balance is None else Found(balance)

    async def _read_chain(self, token_account: str) -> Loaded[CachedBalance]:
        amount, slot = await self._reader.read_balance(token_account)
        return Loaded(CachedBalance(amount, slot, 0.0), self._write(amount, slot))

    def _newer(self, loaded: CachedBalance, written: Written | None) -> CachedBalance:
        cached = None if written is None else self._parse(written.text)
        return cached if cached is not None and cached.slot > loaded.slot else loaded

    def _write(self, amount_base_units: int, slot: int) -> Write:
        _check_u64("amount_base_units", amount_base_units)
        _check_u64("slot", slot)
        stored_at_ms = int(self._clock.now().timestamp() * _MILLISECONDS)
        text = f"{amount_base_units} {slot} {stored_at_ms}".encode()
        return Write(text, min(self._ttl_seconds, MAX_TTL_SECONDS), slot)

    def _fresh(self, text: bytes | None) -> CachedBalance | None:
        balance = self._parse(text)
        return None if balance is None or balance.age_seconds >= self._ttl_seconds else balance

    def _parse(self, text: bytes | None) -> CachedBalance | None:
        if not text:
            return None
        try:
            amount, slot, stored_at_ms = map(int, text.split())
        except ValueError:
            # Another program's value under our key is a miss, which the next reading replaces.
            return None
        age_seconds = self._clock.now().timestamp() - stored_at_ms / _MILLISECONDS
        return CachedBalance(amount, slot, max(age_seconds, 0.0))

    def _parse_balance(self, balance: Amount) -> int:
        is_zero = (
            isinstance(balance, str | Decimal) and set(str(balance)) <= {"0", "."} and "0" in str(balance)
        )
        return 0 if is_zero else parse_amount(balance, decimals=self._decimals)


async def _no_tags() -> Tokens:
    return {}


def _check_u64(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_U64:
        raise InvalidInputError(f"{name} must be an int of 0 to 2**64-1")
