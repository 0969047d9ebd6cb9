"""What a caller wants limited, and the keys and script arguments that it comes to.

Owns validation and key names: any id that is accepted has keys of its own, and all of one user's keys
share that user's hash tag, so that one script reaches them on a Redis Cluster. Never talks to a store.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

from deal_sdk.errors import ConfigurationError, InvalidInputError

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
MAX_ID_LENGTH: Final = 255
MAX_LIMIT: Final = 10_000_000
MAX_PERIOD_SECONDS: Final = 366 * 86_400
MAX_RULES_PER_RESERVATION: Final = 32
DEFAULT_PURCHASE_PERIOD_SECONDS: Final = 86_400
DEFAULT_PURCHASE_PREFIX: Final = "token_purchases:"
DEFAULT_RATE_PREFIX: Final = "deal:rates:"
WINDOW_SECONDS: Final = 60
# Up to this many hits a minute the window is exact to the millisecond; beyond, hits are noted in this many
# granules, so that the log of one user stays under 1 KB and a hit is held back at most 1 % too long.
WINDOW_ENTRIES: Final = 100

UserKey: TypeAlias = str | UUID


class LimitKind(StrEnum):
    """What a limit counts; also its label in the metrics."""

    PURCHASE = "purchase"
    PER_MINUTE = "per_minute"
    BURST = "burst"


_SCRIPT_KINDS: Final = {
    LimitKind.PURCHASE: "purchase",
    LimitKind.PER_MINUTE: "window",
    LimitKind.BURST: "bucket",
}


@dataclass(frozen=True, slots=True)
class PurchaseRule:
    """At most `max_purchases` of a token by a user in the period that starts with the first one."""

    user_id: UserKey
    token_mint: str
    max_purchases: int
    subscription_id: str | None = None
    period_seconds: int = DEFAULT_PURCHASE_PERIOD_SECONDS

    def __post_init__(self) -> None:
        """Refuse what could never be counted."""
        check_id("user_id", str(self.user_id))
        check_id("token_mint", self.token_mint)
        if self.subscription_id is not None:
            check_id("subscription_id", self.subscription_id)
        _check_integer("max_purchases", self.max_purchases, MAX_LIMIT)
        _check_integer("period_seconds", self.period_seconds, MAX_PERIOD_SECONDS)


@dataclass(frozen=True, slots=True)
class RateRule:
    """At most `per_minute` requests in any 60 s, `burst_per_second` at once, by user and operation."""

    user_id: UserKey
    operation: str
    tier: str
    per_minute: int
    burst_per_second: int
    cost: int = 1

    def __post_init__(self) -> None:
        """Refuse what could never be counted, and a cost that could never pass."""
        check_id("user_id", str(self.user_id))
        check_id("operation", self.operation)
        check_id("tier", self.tier)
        _check_integer("per_minute", self.per_minute, MAX_LIMIT)
        _check_integer("burst_per_second", self.burst_per_second, MAX_LIMIT)
        _check_integer("cost", self.cost, min(self.per_minute, self.burst_per_second))


Rule: TypeAlias = PurchaseRule | RateRule


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that the script counts: its name for people, its kind, where it is kept, its arguments."""

    name: str
    kind: LimitKind
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    cost: int
    rule: Rule
    field: str = ""

    @property
    def place(self) -> str:
        """Return where it is kept; two limits with one place count the same thing."""
        return " ".join((*self.keys, self.field))

    def seeded(self, count: int, ends_ms: int) -> Limit:
        """Return a purchase limit that goes on from what the SQL record knows of the running period."""
        return replace(self, arguments=(*self.arguments[:3], "trust", str(count), str(ends_ms)))

    def words(self) -> tuple[str, ...]:
        """Return its part of the script's ARGV."""
        counts = (str(len(self.keys)), str(len(self.arguments)))
        return (_SCRIPT_KINDS[self.kind], *counts, *self.arguments)


@dataclass(frozen=True, slots=True)
class KeySpace:
    """The names of all keys of limits, under prefixes that several services on one Redis can choose."""

    purchase_prefix: str = DEFAULT_PURCHASE_PREFIX
    rate_prefix: str = DEFAULT_RATE_PREFIX
    ask_when_lost: bool = False
    """Whether a purchase without a trace in the store is looked up in the SQL record first."""

    def __post_init__(self) -> None:
        """Refuse a prefix that would move the hash tag or break a stored line."""
        for prefix in (self.purchase_prefix, self.rate_prefix):
            if not prefix.isascii() or not prefix.isprintable() or set(prefix) & set("{} "):
                raise ConfigurationError("a key prefix must be printable ASCII without braces and spaces")

    def purchase_count(self, user_id: UserKey, token_mint: str) -> str:
        """Return the key of a purchase count."""
        return f"{self.purchase_prefix}token_buy_count:{_tag(user_id)}:{encode(token_mint)}"

    def purchase_record(self, user_id: UserKey, token_mint: str) -> str:
        """Return the key of a purchase record (JSON)."""
        return f"{self.purchase_prefix}token_purchase_record:{_tag(user_id)}:{encode(token_mint)}"

    def rates(self, user_id: UserKey) -> str:
        """Return the key of the hash with all of a user's windows and buckets."""
        return f"{self.rate_prefix}{_tag(user_id)}"

    def reservation(self, user_id: UserKey, reservation_id: str) -> str:
        """Return the key of a reservation."""
        return f"{self.rate_prefix}reservation:{_tag(user_id)}:{encode(reservation_id)}"

    def expand(self, rules: Sequence[Rule]) -> tuple[Limit, ...]:
        """Turn rules into limits, in order.

        Raises:
            InvalidInputError: for no rule or too many, rules of several users, or two rules that count the
                same thing, which one reservation could not tell apart.
        """
        if not 0 < len(rules) <= MAX_RULES_PER_RESERVATION:
            raise InvalidInputError(f"a reservation needs 1 to {MAX_RULES_PER_RESERVATION} rules")
        if len({str(rule.user_id) for rule in rules}) > 1:
            raise InvalidInputError("the rules of one reservation must be of one user")
        limits = tuple(limit for rule in rules for limit in self._limits_of(rule))
        if len({limit.place for limit in limits}) < len(limits):
            raise InvalidInputError("two rules of one reservation count the same thing")
        return limits

    def _limits_of(self, rule: Rule) -> tuple[Limit, ...]:
        if isinstance(rule, PurchaseRule):
            return (self._purchase(rule),)
        return (self._window(rule), self._bucket(rule))

    def _purchase(self, rule: PurchaseRule) -> Limit:
        keys = (
            self.purchase_count(rule.user_id, rule.token_mint),
            self.purchase_record(rule.user_id, rule.token_mint),
        )
        # The script writes the record's head, which it reads again, and leaves this part as it is.
        tail = _record_tail(rule.user_id, rule.token_mint, rule.max_purchases, rule.subscription_id)
        arguments = (
            str(rule.max_purchases),
            str(rule.period_seconds * 1000),
            tail,
            "ask" if self.ask_when_lost else "trust",
            "0",
            "0",
        )
        return Limit(f"purchase:{rule.token_mint}", LimitKind.PURCHASE, keys, arguments, 1, rule)

    def _window(self, rule: RateRule) -> Limit:
        window_ms = WINDOW_SECONDS * 1000
        granule_ms = 1 if rule.per_minute <= WINDOW_ENTRIES else window_ms // WINDOW_ENTRIES
        arguments = (str(rule.per_minute), str(window_ms), str(granule_ms), str(rule.cost))
        return self._rate_limit(rule, LimitKind.PER_MINUTE, arguments)

    def _bucket(self, rule: RateRule) -> Limit:
        arguments = (str(rule.burst_per_second), str(rule.burst_per_second), str(rule.cost))
        return self._rate_limit(rule, LimitKind.BURST, arguments)

    def _rate_limit(self, rule: RateRule, kind: LimitKind, arguments: tuple[str, ...]) -> Limit:
        return Limit(
            name=f"rate:{rule.operation}:{kind}",
            kind=kind,
            keys=(self.rates(rule.user_id),),
            arguments=(rate_field(rule.operation, kind), *arguments),
            cost=rule.cost,
            rule=rule,
            field=rate_field(rule.operation, kind),
        )


def fingerprint(limits: Sequence[Limit]) -> str:
    """Return what a reservation id stands for, so that the same id with other limits is noticed."""
    parts = [f"{limit.kind} {limit.cost} {limit.place}" for limit in limits]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def rate_field(operation: str, kind: LimitKind) -> str:
    """Return the field of a window or a bucket within its user's hash."""
    return f"{kind}:{encode(operation)}"


def empty_record(user_id: UserKey, token_mint: str) -> str:
    """Return the record of a user without a running period: a trace that there was one."""
    head = '{"currentCount":0,"periodEndTimestamp":0,"lastPurchaseTimestamp":0,'
    return head + _record_tail(user_id, token_mint, 0, None)


def check_id(name: str, value: str) -> None:
    """Accept an id that can be a key and a column.

    Raises:
        InvalidInputError: when it is no text, empty, longer than 255 characters, or holds NUL or a lone
            surrogate, which neither UTF-8 nor PostgreSQL can store.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a str, not {type(value).__name__}")
    if not value or len(value) > MAX_ID_LENGTH:
        raise InvalidInputError(f"{name} must have 1 to {MAX_ID_LENGTH} characters")
    if _UNSTORABLE.search(value):
        raise InvalidInputError(f"{name} holds a character that cannot be stored")


def encode(text: str) -> str:
    """Write an id as a part of a key: letters, digits and -._~ as they are, all else as %XX of UTF-8.

    Two different ids never meet, and none can close the hash tag or start another part.
    """
    return quote(text, safe="")


def _record_tail(user_id: UserKey, token_mint: str, maximum: int, subscription_id: str | None) -> str:
    fields = {
        "userId": str(user_id),
        "tokenMint": token_mint,
        "maxCount": maximum,
        "subscriptionId": subscription_id,
    }
    return json.dumps(fields, separators=(",", ":"))[1:]


def _tag(user_id: UserKey) -> str:
    return f"{{{encode(str(user_id))}}}"


def _check_integer(name: str, value: int, maximum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{name} must be an int, not {type(value).__name__}")
    if not 1 <= value <= maximum:
        raise InvalidInputError(f"{name} must be 1 to {maximum}")
