"""What a landed transaction meant for one wallet: DEAL that came or went, and what was bought.

Read from the balances before and after, so that inner instructions, either token program and any route count
for what they moved and for nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from deal_sdk.chain import LandedTransaction
from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.records.watch_tables import MEMO_LENGTH

_MEMO_SEPARATOR: Final = " | "


@dataclass(frozen=True, slots=True)
class Movement:
    """DEAL that a transaction brought a wallet or took from it; nothing when there was none."""

    direction: str | None = None
    amount: int | None = None
    counterparty: str | None = None
    memo: str | None = None


NO_MOVEMENT: Final = Movement()


def movement_of(transaction: LandedTransaction, wallet: str, mint: str) -> Movement:
    """Return what a transaction moved between a wallet and others, over all its token accounts.

    Args:
        transaction: as it landed.
        wallet: whose accounts.
        mint: of which token.
    """
    memo = _MEMO_SEPARATOR.join(transaction.memos)[:MEMO_LENGTH] or None
    changes = _changes_by_owner(transaction, mint)
    change = changes.get(wallet, 0)
    if transaction.error is not None or change == 0:
        return Movement(memo=memo)
    others = [owner for owner, moved in changes.items() if moved * change < 0]
    return Movement(
        direction="incoming" if change > 0 else "outgoing",
        amount=abs(change),
        counterparty=others[0] if len(others) == 1 else None,
        memo=memo,
    )


def buys_of(transaction: LandedTransaction, wallet: str, paying_mints: Collection[str]) -> list[WatchedBuy]:
    """Return what a wallet bought: tokens that came while it paid with other tokens or lamports.

    An airdrop is no buy, and neither are a fee or the rent of a token account that the wallet itself owns.

    Args:
        transaction: as it landed.
        wallet: who may have bought.
        paying_mints: what is paid with; to get one of them is no buy.
    """
    if transaction.error is not None:
        return []
    changes = {mint: moved for (owner, mint), moved in _changes(transaction).items() if owner == wallet}
    has_paid = any(moved < 0 for moved in changes.values()) or _lamports_paid(transaction, wallet) > 0
    if not has_paid:
        return []
    return [
        WatchedBuy(transaction.signature, wallet, mint, slot=transaction.slot)
        for mint, moved in changes.items()
        if moved > 0 and mint not in paying_mints
    ]


def _changes(transaction: LandedTransaction) -> Mapping[tuple[str, str], int]:
    changes: defaultdict[tuple[str, str], int] = defaultdict(int)
    for sign, holdings in (
        (-1, transaction.token_balances_before),
        (1, transaction.token_balances_after),
    ):
        for holding in holdings.values():
            changes[holding.owner, holding.mint] += sign * holding.amount_base_units
    return changes


def _changes_by_owner(transaction: LandedTransaction, mint: str) -> dict[str, int]:
    return {owner: moved for (owner, of), moved in _changes(transaction).items() if of == mint}


def _lamports_paid(transaction: LandedTransaction, wallet: str) -> int:
    """Return the lamports that left a wallet and its token accounts, without the transaction's fee."""
    holdings = {**transaction.token_balances_before, **transaction.token_balances_after}
    own = {wallet} | {account for account, holding in holdings.items() if holding.owner == wallet}
    lamports = zip(
        transaction.account_keys, transaction.lamports_before, transaction.lamports_after, strict=False
    )
    paid = sum(before - after for account, before, after in lamports if account in own)
    return paid - transaction.fee_lamports if transaction.account_keys[:1] == (wallet,) else paid
