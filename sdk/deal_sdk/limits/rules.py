"""What a caller wants limited, and the keys and script arguments that it comes to.

Owns validation and key names: any id that is accepted has keys of its own, and all of one user's keys
share that user's hash tag, so that one script reaches them on a Redis Cluster. Never talks to a store.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.ids import USER_SUBJECT, UserKey, check_id, check_integer, check_subject, encode, tag_of
from deal_sdk.limits.programs import AMOUNTS, PURCHASES, RATES
from deal_sdk.limits.scripts import Packed
from deal_sdk.settings import StorePolicy

MAX_LIMIT: Final = 10_000_000
MAX_AMOUNT_BASE_UNITS: Final = 2**63 - 1
MAX_PERIOD_SECONDS: Final = 366 * 86_400
MAX_RULES_PER_RESERVATION: Final = 32
DEFAULT_PURCHASE_PERIOD_SECONDS: Final = 86_400
DEFAULT_PURCHASE_PREFIX: Final = "token_purchases:"
DEFAULT_RATE_PREFIX: Final = "deal:rates:"
WINDOW_SECONDS: Final = 60
# Up to this many hits a minute the window is exact to 20 ms, the unit of its log; beyond, hits are noted in
# this many granules, so that a user's log stays under 500 bytes and a hit is held back at most 1 % too long.
WINDOW_ENTRIES: Final = 100
_UNIT_MS: Final = 20
_MILLISECONDS: Final = 1000
_ENCODED_IDS: Final = 8_192
_REMEMBERED_RULES: Final = 4_096


class LimitKind(StrEnum):
    """What a limit counts; also its label in the metrics."""

    # A text's own, which is the same for every text that it is equal to, and many times as fast as an enum's.
    __hash__ = str.__hash__

    PURCHASE = "purchase"
    AMOUNT = "amount"
    PER_MINUTE = "per_minute"
    BURST = "burst"


_WINDOW: Final = LimitKind.PER_MINUTE
_BUCKET: Final = LimitKind.BURST
PURCHASE_KINDS: Final = frozenset({LimitKind.PURCHASE, LimitKind.AMOUNT})
_FAMILIES: Final = {
    LimitKind.PURCHASE: PURCHASES,
    LimitKind.AMOUNT: AMOUNTS,
    LimitKind.PER_MINUTE: RATES,
    LimitKind.BURST: RATES,
}
_SCRIPT_KINDS: Final = {
    LimitKind.PURCHASE: "purchase",
    LimitKind.AMOUNT: "amount",
    LimitKind.PER_MINUTE: "window",
    LimitKind.BURST: "bucket",
}


@dataclass(frozen=True, slots=True)
class PurchaseRule:
    """At most `max_purchases` of a token by a user in the period that starts with the first one.

    With a category it binds the purchases of all tokens of that category together; with a calendar window
    the period is the window's day or week. `store_policy` says what it means while the store is down (refuse
    unless given); a shadow rule counts what it would allow and never refuses.
    """

    user_id: UserKey
    token_mint: str
    max_purchases: int
    subscription_id: str | None = None
    period_seconds: int = DEFAULT_PURCHASE_PERIOD_SECONDS
    calendar: CalendarWindow | None = None
    category: str | None = None
    store_policy: StorePolicy | None = None
    shadow: bool = False

    def __post_init__(self) -> None:
        """Refuse what could never be counted."""
        if self.subscription_id is not None:
            check_id("subscription_id", self.subscription_id)
        check_integer("max_purchases", self.max_purchases, MAX_LIMIT)
        _check_counted(self)


@dataclass(frozen=True, slots=True)
class AmountRule:
    """At most `max_amount_base_units` spent on a token, or on a category, by a user in a period.

    Its period, category, policy and shadow are a `PurchaseRule`'s.
    """

    user_id: UserKey
    token_mint: str
    amount_base_units: int
    max_amount_base_units: int
    period_seconds: int = DEFAULT_PURCHASE_PERIOD_SECONDS
    calendar: CalendarWindow | None = None
    category: str | None = None
    store_policy: StorePolicy | None = None
    shadow: bool = False

    def __post_init__(self) -> None:
        """Refuse what could never be counted."""
        check_integer("amount_base_units", self.amount_base_units, MAX_AMOUNT_BASE_UNITS)
        check_integer("max_amount_base_units", self.max_amount_base_units, MAX_AMOUNT_BASE_UNITS)
        _check_counted(self)


@dataclass(frozen=True, slots=True)
class RateRule:
    """At most `per_minute` requests in any 60 s, `burst_per_second` at once, by key and operation.

    The key is a user's id, or of another subject: an "ip", an "api_key". Keys of different subjects never
    meet. `store_policy` says what it means while the store is down, the gate's unless given; a shadow rule
    counts what it would allow and never refuses.
    """

    user_id: UserKey
    operation: str
    tier: str
    per_minute: int
    burst_per_second: int
    cost: int = 1
    subject: str = USER_SUBJECT
    store_policy: StorePolicy | None = None
    shadow: bool = False

    def __post_init__(self) -> None:
        """Refuse what could never be counted, and a cost that could never pass."""
        check_id("user_id", str(self.user_id))
        check_id("operation", self.operation)
        check_id("tier", self.tier)
        check_integer("per_minute", self.per_minute, MAX_LIMIT)
        check_integer("burst_per_second", self.burst_per_second, MAX_LIMIT)
        check_integer("cost", self.cost, min(self.per_minute, self.burst_per_second))
        if self.subject is not USER_SUBJECT:
            check_subject(self.subject)


CountedRule: TypeAlias = PurchaseRule | AmountRule
Rule: TypeAlias = PurchaseRule | AmountRule | RateRule


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
    tag: str = ""
    """The encoded user or key whose hash tag its keys carry."""
    place: str = dataclasses.field(init=False, repr=False, compare=False)
    """Where it is kept; two limits with one place count the same thing."""
    family: int = dataclasses.field(init=False, repr=False, compare=False)
    """Which part of the script it needs."""
    packed_keys: Packed = dataclasses.field(init=False, repr=False, compare=False)
    """Its keys as they are sent."""
    packed: Packed = dataclasses.field(init=False, repr=False, compare=False)
    """Its part of the script's ARGV, written once for all limits that share it."""

    def __post_init__(self) -> None:
        """Prepare what every call with it needs."""
        put = object.__setattr__
        put(self, "place", " ".join((*self.keys, self.field)))
        put(self, "family", _FAMILIES[self.kind])
        put(self, "packed_keys", Packed.of(self.keys))
        put(self, "packed", _pack(self.kind, self.arguments, self.rule.shadow))

    def seeded(self, count: int, ends_ms: int) -> Limit:
        """Return a purchase limit that goes on from what the SQL record knows of the running period."""
        maximum, period, third, _, boundaries = self.arguments
        return replace(self, arguments=(maximum, period, third, f"seeded {count} {ends_ms}", boundaries))


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
        return f"{self.purchase_prefix}token_buy_count:{tag_of(user_id)}:{encode(token_mint)}"

    def purchase_record(self, user_id: UserKey, token_mint: str) -> str:
        """Return the key of a purchase record (JSON)."""
        return f"{self.purchase_prefix}token_purchase_record:{tag_of(user_id)}:{encode(token_mint)}"

    def counted(self, rule: CountedRule) -> tuple[str, ...]:
        """Return the keys that a rule counts in: of a count and its record, or of a sum."""
        suffix = f"{tag_of(rule.user_id)}:{_counted_as(rule)}"
        if isinstance(rule, AmountRule):
            return (f"{self.purchase_prefix}token_buy_amount:{suffix}",)
        return (
            f"{self.purchase_prefix}token_buy_count:{suffix}",
            f"{self.purchase_prefix}token_purchase_record:{suffix}",
        )

    def rates(self, user_id: UserKey, subject: str = USER_SUBJECT) -> str:
        """Return the key of the text with all windows and buckets of a user, or of another key."""
        kind = "" if subject == USER_SUBJECT else f"{subject}:"
        return f"{self.rate_prefix}{kind}{tag_of(user_id)}"

    def reservation(self, user_id: UserKey, reservation_id: str) -> str:
        """Return the key of a reservation."""
        return self.reservation_part(encode(str(user_id)), reservation_id)

    def reservation_part(self, tag: str, reservation_id: str) -> str:
        """Return the key of the part of a reservation that lies with an encoded user or key."""
        return f"{self.rate_prefix}reservation:{{{tag}}}:{encode(reservation_id)}"

    def expand(self, rules: Sequence[Rule], now: datetime) -> tuple[Limit, ...]:
        """Turn rules into limits, in order.

        Args:
            rules: of any users and keys.
            now: to find the calendar periods around it.

        Raises:
            InvalidInputError: for no rule or too many, or two rules that count the same thing, which one
                reservation could not tell apart.
        """
        if not 0 < len(rules) <= MAX_RULES_PER_RESERVATION:
            raise InvalidInputError(f"a reservation needs 1 to {MAX_RULES_PER_RESERVATION} rules")
        limits = tuple([limit for rule in rules for limit in self._limits_of(rule, now)])
        # The two limits of one rate are never the same.
        if len(rules) > 1 and len({limit.place for limit in limits}) < len(limits):
            raise InvalidInputError("two rules of one reservation count the same thing")
        return limits

    def _limits_of(self, rule: Rule, now: datetime) -> tuple[Limit, ...]:
        if isinstance(rule, RateRule) or rule.calendar is None:
            # Whoever asks often asks for the same. Plain tuples are found several times as fast as rules.
            kind: Any = type(rule)
            return _lasting_limits(_PARTS_OF_KEYS(self), kind, _PARTS_OF_RULES[kind](rule))
        moments = rule.calendar.boundaries(now)
        boundaries = " ".join(str(int(moment.timestamp()) * _MILLISECONDS) for moment in moments)
        return (self._counted(rule, boundaries),)

    def lasting_limits(self, rule: Rule) -> tuple[Limit, ...]:
        """Return the limits of a rule that are the same at all times: all but a calendar's."""
        if isinstance(rule, RateRule):
            return self._rate_limits(rule)
        return (self._counted(rule, ""),)

    def _counted(self, rule: CountedRule, boundaries: str) -> Limit:
        if isinstance(rule, AmountRule):
            kind, maximum, cost = LimitKind.AMOUNT, rule.max_amount_base_units, rule.amount_base_units
            third = str(cost)
        else:
            kind, maximum, cost = LimitKind.PURCHASE, rule.max_purchases, 1
            # The script writes the record's head, which it reads again, and leaves this part as it is.
            third = record_tail(rule)
        arguments = (
            str(maximum),
            str(period_seconds_of(rule) * _MILLISECONDS),
            third,
            "ask" if self.ask_when_lost else "trust",
            boundaries,
        )
        name = f"{kind}:{rule.token_mint if rule.category is None else rule.category}"
        if rule.calendar is not None:
            name = f"{name}:{rule.calendar.unit}"
        return Limit(name, kind, self.counted(rule), arguments, cost, rule, tag=encode(str(rule.user_id)))

    def _rate_limits(self, rule: RateRule) -> tuple[Limit, ...]:
        keys, tag, cost = (self.rates(rule.user_id, rule.subject),), encode(str(rule.user_id)), rule.cost
        window = _window_arguments(rule.operation, rule.per_minute, cost)
        bucket = _bucket_arguments(rule.operation, rule.burst_per_second, cost)
        return (
            Limit(_rate_name(rule, _WINDOW), _WINDOW, keys, window, cost, rule, field=window[0], tag=tag),
            Limit(_rate_name(rule, _BUCKET), _BUCKET, keys, bucket, cost, rule, field=bucket[0], tag=tag),
        )


def _parts_of(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in dataclasses.fields(kind)))


_PARTS_OF_KEYS: Final = _parts_of(KeySpace)
_PARTS_OF_RULES: Final = {kind: _parts_of(kind) for kind in (PurchaseRule, AmountRule, RateRule)}


@lru_cache(maxsize=_REMEMBERED_RULES)
def _lasting_limits(
    parts_of_keys: tuple[Any, ...], kind: type[Rule], parts_of_rule: tuple[Any, ...]
) -> tuple[Limit, ...]:
    return KeySpace(*parts_of_keys).lasting_limits(kind(*parts_of_rule))


@lru_cache(maxsize=_REMEMBERED_RULES)
def _window_arguments(operation: str, per_minute: int, cost: int) -> tuple[str, ...]:
    window_ms = WINDOW_SECONDS * _MILLISECONDS
    granule_ms = _UNIT_MS if per_minute <= WINDOW_ENTRIES else window_ms // WINDOW_ENTRIES
    return (rate_field(operation, _WINDOW), str(per_minute), str(window_ms), str(granule_ms), str(cost))


@lru_cache(maxsize=_REMEMBERED_RULES)
def _bucket_arguments(operation: str, burst_per_second: int, cost: int) -> tuple[str, ...]:
    return (rate_field(operation, _BUCKET), str(burst_per_second), str(burst_per_second), str(cost))


@lru_cache(maxsize=_REMEMBERED_RULES)
def _pack(kind: LimitKind, arguments: tuple[str, ...], shadow: bool) -> Packed:
    name = _SCRIPT_KINDS[kind]
    return Packed.of((f"~{name}" if shadow else name, *arguments))


def fingerprint(limits: Sequence[Limit], elsewhere: Sequence[str] = ()) -> str:
    """Return what a reservation id stands for, so that the same id with other limits is noticed."""
    parts = [f"{limit.kind.value} {limit.cost} {limit.place}" for limit in limits]
    parts.extend(elsewhere)
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def rate_field(operation: str, kind: LimitKind) -> str:
    """Return the field of a window or a bucket within its user's text."""
    return f"{kind}:{encode(operation)}"


def period_seconds_of(rule: CountedRule) -> int:
    """Return a rule's period, or a bound of it where the calendar decides."""
    return rule.period_seconds if rule.calendar is None else rule.calendar.longest_seconds


def record_tail(rule: PurchaseRule) -> str:
    """Return the part of a record's JSON that the caller decides."""
    return _record_tail(str(rule.user_id), rule.token_mint, rule.max_purchases, rule.subscription_id)


@lru_cache(maxsize=_ENCODED_IDS)
def _record_tail(user_id: str, token_mint: str, maximum: int, subscription_id: str | None) -> str:
    user, mint, subscription = json.dumps(user_id), json.dumps(token_mint), json.dumps(subscription_id)
    return f'"userId":{user},"tokenMint":{mint},"maxCount":{maximum},"subscriptionId":{subscription}}}'


def _counted_as(rule: CountedRule) -> str:
    # An encoded id holds no colon, so the number of parts tells the four forms apart.
    what = encode(rule.token_mint) if rule.category is None else f"category:{encode(rule.category)}"
    if rule.calendar is None:
        return what
    return f"{what}:{rule.calendar.unit}:{encode(rule.calendar.time_zone)}"


def _rate_name(rule: RateRule, kind: LimitKind) -> str:
    if rule.subject == USER_SUBJECT:
        return f"rate:{rule.operation}:{kind}"
    return f"rate:{rule.subject}:{rule.operation}:{kind}"


def _check_counted(rule: CountedRule) -> None:
    check_id("user_id", str(rule.user_id))
    check_id("token_mint", rule.token_mint)
    if rule.category is not None:
        check_id("category", rule.category)
    check_integer("period_seconds", rule.period_seconds, MAX_PERIOD_SECONDS)
