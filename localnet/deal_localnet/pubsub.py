"""Subscriptions: who wants to hear of what, at which commitment, and the notifications they get.

Events at `processed` are told as each transaction lands; at the other levels when a block reaches them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import orjson
from solders.account import Account
from solders.pubkey import Pubkey

from .account_filters import Accepts
from .bank import Bank
from .records import TransactionRecord
from .render_accounts import AccountFormat
from .slots import Block, Commitment

Deliver = Callable[[str], None]
Topic = tuple[str, Any]
BlockNews = Callable[[Block], dict[str, Any] | None]
SLOT_TOPIC: Final[Topic] = ("slot", None)
ROOT_TOPIC: Final[Topic] = ("root", None)
ALL_LOGS_TOPIC: Final[Topic] = ("logs", None)
BLOCK_TOPIC: Final[Topic] = ("block", None)
SLOTS_UPDATES_TOPIC: Final[Topic] = ("slotsUpdates", None)
VOTE_TOPIC: Final[Topic] = ("vote", None)


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """Keeps what one subscriber asked for; `block_news` is what one of blocks hears of each, if anything."""

    identifier: int
    method: str
    topic: Topic
    level: Commitment
    deliver: Deliver
    config: dict[str, Any]
    accepts: Accepts | None = None
    wants_received: bool = False
    block_news: BlockNews | None = None

    def notify(self, result: Any) -> None:
        """Send a notification to the subscriber."""
        message = {
            "jsonrpc": "2.0",
            "method": self.method,
            "params": {"result": result, "subscription": self.identifier},
        }
        self.deliver(orjson.dumps(message).decode())


def at_slot(slot: int, value: Any) -> dict[str, Any]:
    """Return a notification's value with its slot; unlike a reply it names no version."""
    return {"context": {"slot": slot}, "value": value}


class Broker:
    """Hears of the chain's events and tells those subscribers whom they concern."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._identifiers = count()
        self._by_topic: dict[Topic, dict[int, Subscription]] = {}
        # How many there are of each kind: most events concern kinds that nobody asked for.
        self._kinds: Counter[str] = Counter()
        self._by_identifier: dict[int, Subscription] = {}
        self._open_slot = bank.chain.open.slot

    def next_identifier(self) -> int:
        """Return a number that no other subscription has."""
        return next(self._identifiers)

    def add(self, subscription: Subscription) -> None:
        """Enter a subscription."""
        self._by_identifier[subscription.identifier] = subscription
        self._by_topic.setdefault(subscription.topic, {})[subscription.identifier] = subscription
        self._kinds[subscription.topic[0]] += 1

    def remove(self, identifier: int) -> None:
        """Take a subscription out; one that is gone already does no harm."""
        subscription = self._by_identifier.pop(identifier, None)
        if subscription is None:
            return
        self._kinds[subscription.topic[0]] -= 1
        members = self._by_topic[subscription.topic]
        del members[identifier]
        if not members:
            del self._by_topic[subscription.topic]

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._by_identifier

    def _listeners(self, topic: Topic, level: Commitment) -> list[Subscription]:
        members = self._by_topic.get(topic)
        if not members:
            return []
        return [subscription for subscription in members.values() if subscription.level is level]

    def transaction_landed(self, record: TransactionRecord) -> None:
        """Tell what a transaction in the open slot changed."""
        if not self._by_identifier:
            return
        self._tell_received(record)
        self._tell_record(record, Commitment.PROCESSED)
        keys = [record.keys[index] for index in record.execution.changed]
        self._tell_accounts(keys, record.slot, Commitment.PROCESSED)

    def slot_opened(self, block: Block) -> None:
        """Tell of a new slot."""
        root = self._bank.chain.slot_at(Commitment.FINALIZED)
        news = {"parent": block.parent_slot, "root": root, "slot": block.slot}
        for subscription in self._listeners(SLOT_TOPIC, Commitment.PROCESSED):
            subscription.notify(news)
        self._tell_frozen(block)
        self._tell_update("createdBank", block.slot, parent=block.parent_slot)

    def _tell_frozen(self, opened: Block) -> None:
        closed = self._bank.chain.block_of_height(opened.height - 1)
        was_open, self._open_slot = self._open_slot, opened.slot
        # After a rollback the parent is a block that was closed, and told of, long before.
        if closed is not None and closed.slot == was_open and self._kinds["slotsUpdates"]:
            self._tell_update("frozen", closed.slot, stats=slot_stats(closed))
            self._tell_update("completed", closed.slot)

    def _tell_update(self, kind: str, slot: int, **more: Any) -> None:
        for subscription in self._listeners(SLOTS_UPDATES_TOPIC, Commitment.PROCESSED):
            subscription.notify({"slot": slot, "timestamp": self._bank.milliseconds, "type": kind, **more})

    def block_reached(self, block: Block, commitment: Commitment) -> None:
        """Tell what a block brings that became confirmed or final."""
        if not self._by_identifier:
            return
        for record in block.records:
            self._tell_record(record, commitment)
        self._tell_accounts(self._bank.accounts.touched(block.slot), block.slot, commitment)
        self._tell_block(block, commitment)
        final = commitment is Commitment.FINALIZED
        self._tell_update("root" if final else "optimisticConfirmation", block.slot)
        if final:
            for subscription in self._listeners(ROOT_TOPIC, Commitment.PROCESSED):
                subscription.notify(block.slot)

    def _tell_block(self, block: Block, commitment: Commitment) -> None:
        for subscription in self._listeners(BLOCK_TOPIC, commitment):
            news = subscription.block_news(block) if subscription.block_news is not None else None
            if news is not None:
                subscription.notify(at_slot(block.slot, news))

    def _tell_received(self, record: TransactionRecord) -> None:
        for subscription in list(self._by_topic.get(("signature", record.signature), {}).values()):
            if subscription.wants_received:
                subscription.notify(at_slot(record.slot, "receivedSignature"))

    def _tell_record(self, record: TransactionRecord, level: Commitment) -> None:
        for subscription in self._listeners(("signature", record.signature), level):
            self.tell_signature(subscription, record)
        if self._kinds["logs"]:
            self._tell_logs(record, level)

    def _tell_logs(self, record: TransactionRecord, level: Commitment) -> None:
        listeners = self._listeners(ALL_LOGS_TOPIC, level)
        for key in dict.fromkeys(record.keys):
            listeners += self._listeners(("logs", key), level)
        if listeners:
            news = at_slot(record.slot, logs_of(record))
            for subscription in listeners:
                subscription.notify(news)

    def tell_signature(self, subscription: Subscription, record: TransactionRecord) -> None:
        """Tell a transaction's outcome, which ends the subscription."""
        self.remove(subscription.identifier)
        subscription.notify(
            at_slot(self._bank.chain.slot_at(subscription.level), {"err": record.execution.error})
        )

    def known_signatures(self, identifiers: Iterable[int]) -> list[tuple[Subscription, TransactionRecord]]:
        """Return the signature subscriptions whose transaction reached their commitment already."""
        found = []
        for identifier in identifiers:
            subscription = self._by_identifier.get(identifier)
            if subscription is None or subscription.topic[0] != "signature":
                continue
            record = self._bank.history.find(subscription.topic[1])
            if record is not None and record.slot <= self._bank.chain.slot_at(subscription.level):
                found.append((subscription, record))
        return found

    def _tell_accounts(self, keys: Iterable[Pubkey], slot: int, level: Commitment) -> None:
        if not self._kinds["account"] and not self._kinds["program"]:
            return
        for key in keys:
            account = self._bank.accounts.at(key, slot)
            for subscription in self._listeners(("account", key), level):
                subscription.notify(at_slot(slot, self._shown(subscription, key, account, slot)))
            if account is not None:
                self._tell_program(key, account, slot, level)

    def _tell_program(self, key: Pubkey, account: Account, slot: int, level: Commitment) -> None:
        for subscription in self._listeners(("program", account.owner), level):
            if subscription.accepts is None or subscription.accepts(account):
                shown = self._shown(subscription, key, account, slot)
                subscription.notify(at_slot(slot, {"account": shown, "pubkey": str(key)}))

    def _shown(self, subscription: Subscription, key: Pubkey, account: Account | None, slot: int) -> Any:
        # Agave reads `dataSlice` of a subscription and then tells the whole account.
        config = {**subscription.config, "dataSlice": None}
        shape = AccountFormat.of(config, lambda other: self._bank.accounts.at(other, slot))
        return shape.told(key, account) if account is not None else DELETED_ACCOUNT


DELETED_ACCOUNT: Final = {
    "data": ["", "base64"],
    "executable": False,
    "lamports": 0,
    "owner": "11111111111111111111111111111111",
    "rentEpoch": 2**64 - 1,
    "space": 0,
}


def slot_stats(block: Block) -> dict[str, int]:
    """Return what a closed slot held; each transaction runs alone, so it is an entry of its own."""
    failed = sum(record.execution.error is not None for record in block.records)
    return {
        "maxTransactionsPerEntry": min(len(block.records), 1),
        "numFailedTransactions": failed,
        "numSuccessfulTransactions": len(block.records) - failed,
        "numTransactionEntries": len(block.records),
    }


def logs_of(record: TransactionRecord) -> dict[str, Any]:
    """Return what a logs subscriber hears of a transaction."""
    return {
        "err": record.execution.error,
        "logs": record.execution.logs or [],
        "signature": record.signature,
    }
