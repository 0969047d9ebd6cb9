"""The token and its balances, limits near their edge, credits and renewals."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from solders.pubkey import Pubkey

from deal_sdk.client import Deal
from deal_sdk.dashboard.endpoints import API_PREFIX, Call, Endpoint
from deal_sdk.dashboard.models import (
    Balance,
    Credits,
    DueRenewal,
    Limits,
    Overview,
    PageQuery,
    PurchaseUse,
    Token,
    TrackedBalance,
    TrackedBalances,
    amount_text,
)
from deal_sdk.dashboard.service import Service
from deal_sdk.errors import ChainError
from deal_sdk.limits import LimitKind
from deal_sdk.limits.purchase_edges import users_near_edge
from deal_sdk.limits.telling import NEAR_PERCENT
from deal_sdk.records.tables import users

MAX_SHOWN: Final = 50
_OPEN: Final = ("pending", "confirmed")


async def overview(service: Service, call: Call) -> Overview:
    """Return the token, the wallets and the payments; without the chain, all but its part."""
    deal = service.deal
    counts = [await deal.transactions.count(status=status) for status in _OPEN]
    names = {
        name: address for name, address in sorted((await deal.keystore.names()).items()) if name != "mint"
    }
    problem, supply = None, None
    balances = [Balance(name=name, address=one, amount=None, slot=None) for name, one in names.items()]
    try:
        held = await deal.rpc.get_token_supply(deal.mint.address)
        supply = amount_text(held.amount_base_units, deal.mint.decimals)
        balances = list(await asyncio.gather(*(_balance(deal, *item) for item in names.items())))
    except ChainError as error:
        problem = error.code
    return Overview(
        token=Token(
            symbol=deal.mint.symbol or deal.settings.token_symbol,
            mint=str(deal.mint.address),
            decimals=deal.mint.decimals,
            program=str(deal.mint.program_id),
            total_supply=supply,
        ),
        balances=balances,
        open_payments=sum(counts),
        payments_paused=await deal.pause.reason(),
        chain_problem=problem,
    )


async def list_balances(service: Service, call: Call) -> TrackedBalances:
    """Return a page of tracked accounts with their last recorded balances."""
    query: PageQuery = call.query
    history = service.deal.history
    accounts = await history.tracked(after=query.cursor, limit=query.limit)
    latest = await asyncio.gather(*(history.latest(account.address) for account in accounts))
    decimals = service.deal.mint.decimals
    items = [
        TrackedBalance(
            token_account=account.address,
            owner_address=account.owner_address,
            user_id=None if account.user_id is None else str(account.user_id),
            amount=None if row is None else amount_text(row.balance_after, decimals),
            slot=None if row is None else row.slot,
        )
        for account, row in zip(accounts, latest, strict=True)
    ]
    is_full = len(items) == query.limit
    return TrackedBalances(items=items, next_cursor=items[-1].token_account if is_full else None)


async def show_limits(service: Service, call: Call) -> Limits:
    """Return the purchases near their limit, and the limits that were lately reached."""
    deal = service.deal
    since = deal.clock.now() - timedelta(seconds=deal.settings.purchase_period_seconds)
    found = await deal.database.fetch(users_near_edge(since, NEAR_PERCENT, MAX_SHOWN))
    uses = await asyncio.gather(*(_uses(deal, row.user_id) for row in found))
    purchases = sorted(itertools.chain(*uses), key=lambda use: -use.percent)
    hits = list(reversed(service.feeds.hits))
    return Limits(purchases=purchases[:MAX_SHOWN], hits=hits[:MAX_SHOWN], near_percent=NEAR_PERCENT)


async def show_credits(service: Service, call: Call) -> Credits:
    """Return the credits that users hold and who is due for a renewal."""
    deal = service.deal
    totals = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(users.c.tokens_balance), 0),
        sa.func.coalesce(sa.func.sum(users.c.tokens_spent), 0),
    )
    [(number, balance, spent)] = await deal.database.fetch(totals)
    status = await deal.renewals.status()
    due = [user async for user in deal.renewals.get_users_due_for_renewal(limit=MAX_SHOWN)]
    return Credits(
        users=number,
        balance_total=int(balance),
        spent_total=int(spent),
        due_by_tier=dict(status.due),
        due=[DueRenewal.model_validate(user.to_dict()) for user in due],
        renewed=status.renewed,
        last_renewal_at=status.last_renewal_at,
        next_run_at=status.next_run_at,
    )


async def _balance(deal: Deal, name: str, address: str) -> Balance:
    account = deal.token_account_of(Pubkey.from_string(address))
    held = await deal.rpc.get_token_balance(account)
    amount = amount_text(held.amount_base_units, deal.mint.decimals)
    return Balance(name=name, address=address, amount=amount, slot=held.slot)


async def _uses(deal: Deal, user_id: str) -> list[PurchaseUse]:
    return [
        PurchaseUse(
            user_id=user_id,
            token_mint=one.token_mint,
            category=one.category,
            count=one.used,
            maximum=one.maximum,
            percent=min(100 * one.used // one.maximum, 100),
            reset_after_seconds=one.reset_after_seconds,
        )
        for one in await deal.purchases.current_limits(user_id)
        if one.kind is LimitKind.PURCHASE and one.used * 100 >= one.maximum * NEAR_PERCENT
    ]


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=f"{API_PREFIX}/overview",
        summary="Show the token, the operator's wallets and how payments stand",
        tag="balances",
        handler=overview,
        answer=Overview,
    ),
    Endpoint(
        method="GET",
        path=f"{API_PREFIX}/balances",
        summary="List tracked accounts and their last recorded balances",
        tag="balances",
        handler=list_balances,
        query=PageQuery,
        answer=TrackedBalances,
    ),
    Endpoint(
        method="GET",
        path=f"{API_PREFIX}/limits",
        summary="Show limits and rates near their edge",
        tag="limits",
        handler=show_limits,
        answer=Limits,
    ),
    Endpoint(
        method="GET",
        path=f"{API_PREFIX}/credits",
        summary="Show credits and the renewals due",
        tag="credits",
        handler=show_credits,
        answer=Credits,
    ),
)
