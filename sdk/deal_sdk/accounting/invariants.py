"""The rules of the credit ledger: what SQL alone can prove, and the chain of hashes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.hashing import FIRST_HASH, chain_hash
from deal_sdk.accounting.lot_invariants import LOT_INVARIANTS
from deal_sdk.records.credit_tables import (
    credit_accounts,
    credit_holds,
    credit_openings,
    credit_transfers,
    token_operations,
)
from deal_sdk.records.database import Row
from deal_sdk.records.invariants import BrokenRows, broken
from deal_sdk.records.renewal_tables import credit_renewals
from deal_sdk.records.tables import token_wallets, users

_PAGE_ROWS: Final = 1_000

_account = credit_accounts.c
_transfer = credit_transfers.c
_entry = token_operations.c
_hold = credit_holds.c
_renewal = credit_renewals.c
_opening = credit_openings.c


def _text(value: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    return sa.cast(value, sa.String(40))


def _transfers_balance() -> BrokenRows:
    """Each transfer's entries are two and sum to zero, and move what the transfer says.

    Of one whose user's entry was folded away, the operator's is left.
    """
    found = sa.func.coalesce(sa.func.sum(_entry.amount), 0)
    count, of_users = sa.func.count(_entry.id), sa.func.count(_entry.user_id)
    moved = sa.func.coalesce(sa.func.max(sa.func.abs(_entry.amount)), 0)
    is_whole = sa.and_(count == 2, of_users == 1, found == 0)
    is_folded = sa.and_(_transfer.folded_entry_id.is_not(None), count == 1, of_users == 0)
    return (
        broken("credit_transfers", _transfer.id, sa.literal("its entries sum to ") + _text(found))
        .join_from(credit_transfers, token_operations, _entry.transfer_id == _transfer.id, isouter=True)
        .group_by(_transfer.id, _transfer.amount, _transfer.folded_entry_id)
        .having(sa.or_(sa.not_(sa.or_(is_whole, is_folded)), moved != _transfer.amount))
    )


def _accounts_sum_to_zero() -> BrokenRows:
    """All balances together are zero, those that rest on folded entries included."""
    total = sa.func.sum(_account.balance)
    problem = sa.literal("all balances sum to ") + _text(total)
    return broken("credit_accounts", sa.literal("(all)"), problem).having(total != 0)


def _balances_are_sums() -> BrokenRows:
    """An account's balance is the sum of its entries, after the opening that older ones came to."""
    opened, before = sa.func.coalesce(_opening.balance, 0), sa.func.coalesce(_opening.sequence, 0)
    total = opened + sa.func.coalesce(sa.func.sum(_entry.amount), 0)
    count = before + sa.func.count(_entry.id)
    problem = sa.literal("holds ") + _text(_account.balance) + ", its entries sum to " + _text(total)
    return (
        broken("credit_accounts", _account.id, problem)
        .join_from(credit_accounts, token_operations, _entry.account_id == _account.id, isouter=True)
        .join(credit_openings, _opening.account_id == _account.id, isouter=True)
        .group_by(_account.id, _account.balance, _account.entries, _opening.balance, _opening.sequence)
        .having(sa.or_(total != _account.balance, count != _account.entries))
    )


def _users_agree() -> BrokenRows:
    """What a user's row shows is what the user's account holds."""
    held = sa.func.coalesce(_account.balance, 0)
    problem = sa.literal("shows ") + _text(users.c.tokens_balance) + ", its account holds " + _text(held)
    return (
        broken("users", users.c.id, problem)
        .join_from(users, credit_accounts, _account.id == users.c.id, isouter=True)
        .where(held != users.c.tokens_balance)
    )


def _refunds_bounded() -> BrokenRows:
    """All refunds of one debit together are no more than it."""
    refund = credit_transfers.alias()
    given = sa.func.sum(refund.c.amount)
    problem = sa.literal("refunds of ") + _text(given) + " exceed its " + _text(_transfer.amount)
    return (
        broken("credit_transfers", _transfer.id, problem)
        .join_from(credit_transfers, refund, refund.c.refund_of == _transfer.id)
        .group_by(_transfer.id, _transfer.amount)
        .having(given > _transfer.amount)
    )


def _heads_are_last() -> BrokenRows:
    """An account's head is its last entry, so that none can be cut off unseen."""
    last = sa.and_(_entry.account_id == _account.id, _entry.sequence == _account.entries)
    opening = sa.and_(_opening.account_id == _account.id, _opening.sequence == _account.entries)
    return (
        broken("credit_accounts", _account.id, "its head is not its last entry")
        .join_from(credit_accounts, token_operations, last, isouter=True)
        .join(credit_openings, opening, isouter=True)
        .where(sa.func.coalesce(_entry.entry_hash, _opening.entry_hash, FIRST_HASH) != _account.head_hash)
    )


def _held_is_on_hold() -> BrokenRows:
    """What an account counts as held is the sum of its live holds."""
    live = sa.and_(_hold.account_id == _account.id, _hold.state == "live")
    total = sa.func.coalesce(sa.func.sum(_hold.amount), 0)
    problem = sa.literal("counts ") + _text(_account.held) + " as held, its live holds sum to " + _text(total)
    return (
        broken("credit_accounts", _account.id, problem)
        .join_from(credit_accounts, credit_holds, live, isouter=True)
        .group_by(_account.id, _account.held)
        .having(total != _account.held)
    )


def _posted_holds_within() -> BrokenRows:
    """What a hold was posted as is no more than it held."""
    problem = sa.literal("held ") + _text(_hold.amount) + ", and was posted as " + _text(_transfer.amount)
    return (
        broken("credit_holds", _hold.id, problem)
        .join_from(credit_holds, credit_transfers, _transfer.id == _hold.transfer_id)
        .where(_transfer.amount > _hold.amount)
    )


def _erased_are_erased() -> BrokenRows:
    """An erased user has no name from outside, no wallet, nothing said, and no credits to spend."""
    said = sa.exists().where(_entry.account_id == users.c.id, _entry.metadata.is_not(None))
    held = sa.exists().where(_hold.account_id == users.c.id, _hold.metadata.is_not(None))
    wallet = token_wallets.c
    connected = sa.exists().where(wallet.user_id == users.c.id, wallet.status == "active")
    named = sa.or_(users.c.external_id.is_not(None), users.c.username.is_not(None))
    is_left = sa.or_(named, said, held, connected, users.c.tokens_balance > 0)
    return broken("users", users.c.id, "was erased, and something personal is left").where(
        users.c.erased_at.is_not(None), is_left
    )


def _renewals_have_entries() -> BrokenRows:
    """What a renewal added is what its entry says; one that was folded away is no younger than the fold."""
    folded = sa.select(_opening.folded_until).where(_opening.account_id == _renewal.user_id)
    is_missing = sa.and_(
        _renewal.entry_id.is_(None),
        _renewal.tokens_added != 0,
        sa.func.coalesce(_renewal.created_at > folded.scalar_subquery(), sa.true()),
    )
    differs = sa.or_(_entry.amount != _renewal.tokens_added, _entry.account_id != _renewal.user_id)
    problem = sa.literal("added ") + _text(_renewal.tokens_added) + ", which no entry of its user says"
    return (
        broken("credit_renewals", _renewal.id, problem)
        .join_from(credit_renewals, token_operations, _entry.id == _renewal.entry_id, isouter=True)
        .where(sa.or_(is_missing, differs))
    )


CREDIT_INVARIANTS: Final[Mapping[str, BrokenRows]] = MappingProxyType(
    {
        "credit_transfers_sum_to_zero": _transfers_balance(),
        "credit_accounts_sum_to_zero": _accounts_sum_to_zero(),
        "credit_balances_are_sums": _balances_are_sums(),
        "credit_balances_of_users": _users_agree(),
        "credit_heads_are_last": _heads_are_last(),
        "credit_holds_are_counted": _held_is_on_hold(),
        "credit_holds_bound_their_posts": _posted_holds_within(),
        "credit_refunds_bounded": _refunds_bounded(),
        "credit_renewals_have_entries": _renewals_have_entries(),
        **LOT_INVARIANTS,
        "erased_users_are_erased": _erased_are_erased(),
    }
)


@dataclass(slots=True)
class _Link:
    """Where an account's chain has come to."""

    account_id: UUID
    head_hash: bytes = FIRST_HASH
    sequence: int = 0
    balance: int = 0

    def follows(self, row: Row) -> bool:
        """Move on to the next entry, and say whether it continues the chain."""
        expected = chain_hash(
            self.head_hash,
            transfer_id=row.transfer_id,
            account_id=row.account_id,
            operation_type=row.operation_type,
            amount=row.amount,
            balance_after=row.balance_after,
            sequence=row.sequence,
            metadata=row.metadata,
            created_at=row.created_at,
            metadata_hash=row.metadata_hash,
        )
        continues = (row.sequence, row.balance_before) == (self.sequence + 1, self.balance)
        self.head_hash, self.sequence, self.balance = row.entry_hash, row.sequence, row.balance_after
        return continues and row.entry_hash == expected


async def broken_links(connection: AsyncConnection, *, most: int) -> AsyncIterator[str]:
    """Yield the entries that do not continue their account's chain of hashes, sequences and balances.

    Args:
        connection: a snapshot, so that entries added meanwhile break nothing.
        most: end after so many.
    """
    link: _Link | None = None
    found = 0
    while rows := await _next_rows(connection, link):
        for row in rows:
            if link is None or link.account_id != row.account_id:
                link = _first_link(row)
            if not link.follows(row):
                yield f"token_operations {row.id}: does not continue the chain of account {row.account_id}"
                found += 1
                if found == most:
                    return


def _first_link(row: Row) -> _Link:
    """Begin an account's chain: with nothing, or where older entries were folded away."""
    if row.opening_hash is None:
        return _Link(row.account_id)
    return _Link(row.account_id, row.opening_hash, row.opening_sequence, row.opening_balance)


async def _next_rows(connection: AsyncConnection, link: _Link | None) -> Sequence[Row]:
    order = (_entry.account_id, _entry.sequence)
    query = (
        sa.select(
            token_operations,
            _opening.entry_hash.label("opening_hash"),
            _opening.sequence.label("opening_sequence"),
            _opening.balance.label("opening_balance"),
        )
        .join_from(token_operations, credit_openings, _opening.account_id == _entry.account_id, isouter=True)
        .order_by(*order)
        .limit(_PAGE_ROWS)
    )
    if link is not None:
        seen = sa.tuple_(sa.literal(link.account_id, sa.Uuid), sa.literal(link.sequence))
        query = query.where(sa.tuple_(*order) > seen)
    return (await connection.execute(query)).all()
