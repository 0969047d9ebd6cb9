"""Buys in the enhanced transactions that Helius sends to a webhook.

A body is a JSON list of transactions (helius.dev, "Webhooks"). A wallet bought a token when a swap left it
with more of the token than before, and it paid with something else: net over the whole transaction, so that
the hops of a route and an output in several parts are one buy. Owns the reading; never looks at who asks.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from deal_sdk.errors import InvalidInputError, PayloadMalformedError
from deal_sdk.monitor.buys import WatchedBuy

MAX_TRANSACTIONS: Final = 500
MAX_TRANSFERS: Final = 2_000
DEFAULT_PAYING_MINTS: Final = frozenset(
    {
        "So11111111111111111111111111111111111111112",
        "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB",
    }
)
"""Wrapped SOL, USDC and USDT: whoever gets one of these sold something."""
_SWAP: Final = "SWAP"
_MAX_DIGITS: Final = 40


def parse_buys(
    body: bytes, *, paying_mints: Collection[str] = DEFAULT_PAYING_MINTS
) -> tuple[WatchedBuy, ...]:
    """Read the buys out of a webhook's body, in the order in which they were told.

    Args:
        body: a JSON list of enhanced transactions.
        paying_mints: what is paid with; to get one of them is no buy.

    Raises:
        PayloadMalformedError: when anything in it is not as documented; nothing of it may be used then.
    """
    buys: list[WatchedBuy] = []
    for index, transaction in enumerate(_transactions(body)):
        try:
            buys += _buys_of(transaction, paying_mints)
        except (InvalidInputError, KeyError, TypeError, ValueError, InvalidOperation):
            # What was sent may be anything, so it is not repeated.
            raise PayloadMalformedError(
                f"transaction {index} of the payload is no enhanced transaction", index=index
            ) from None
    return tuple(buys)


def _transactions(body: bytes) -> list[Any]:
    try:
        document = json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, InvalidOperation):
        raise PayloadMalformedError("the payload is no JSON") from None
    if not isinstance(document, list):
        raise PayloadMalformedError("the payload is no list of transactions")
    if len(document) > MAX_TRANSACTIONS:
        raise PayloadMalformedError(f"the payload has more than {MAX_TRANSACTIONS} transactions")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _buys_of(transaction: Mapping[str, Any], paying_mints: Collection[str]) -> Iterator[WatchedBuy]:
    if not isinstance(transaction, dict):
        raise TypeError("no object")
    signature, kind = transaction["signature"], transaction["type"]
    if not isinstance(signature, str) or not isinstance(kind, str):
        raise TypeError("no text")
    if transaction.get("transactionError") is not None:
        return
    events = transaction.get("events") or {}
    if kind != _SWAP and not (isinstance(events, dict) and events.get("swap")):
        return
    changes, payers = _changes(transaction)
    for (wallet, mint), change in changes.items():
        if change > 0 and wallet in payers and mint not in paying_mints:
            yield WatchedBuy(
                signature=signature,
                kol_wallet=wallet,
                token_mint=mint,
                token_amount=f"{change:f}",
                slot=transaction.get("slot"),
            )


def _changes(transaction: Mapping[str, Any]) -> tuple[dict[tuple[str, str], Decimal], set[str]]:
    changes: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for transfer in _list(transaction, "tokenTransfers"):
        amount, mint = _amount(transfer["tokenAmount"]), transfer["mint"]
        # A mint has no sender and a burn no recipient: Helius leaves the name empty then.
        if sender := transfer.get("fromUserAccount"):
            changes[_text(sender), _text(mint)] -= amount
        if recipient := transfer.get("toUserAccount"):
            changes[_text(recipient), _text(mint)] += amount
    payers = {wallet for (wallet, _), change in changes.items() if change < 0}
    for transfer in _list(transaction, "nativeTransfers"):
        if _amount(transfer["amount"]) > 0 and (sender := transfer.get("fromUserAccount")):
            payers.add(_text(sender))
    return changes, payers


def _list(transaction: Mapping[str, Any], name: str) -> list[Any]:
    items = transaction.get(name)
    if items is None:
        return []
    if not isinstance(items, list) or len(items) > MAX_TRANSFERS:
        raise ValueError(name)
    return items


def _amount(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError("no number")
    amount = Decimal(value)
    if not amount.is_finite() or amount < 0 or amount.adjusted() > _MAX_DIGITS or -_exponent(amount) > 20:
        raise ValueError("out of range")
    return amount


def _exponent(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
