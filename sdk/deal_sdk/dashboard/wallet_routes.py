"""Watched wallets: what is shown of them, and what an operator does with them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from deal_sdk.dashboard.endpoints import API_PREFIX, Call, Endpoint
from deal_sdk.dashboard.service import Service
from deal_sdk.dashboard.wallet_models import (
    AddWallet,
    ExportQuery,
    GrantMore,
    Quota,
    ScheduleStop,
    SetLimit,
    TransactionsQuery,
    Wallet,
    WalletAnswer,
    WalletExport,
    WalletReset,
    Wallets,
    WatchedTransaction,
    WatchedTransactions,
)
from deal_sdk.monitor import texts

_PATH: Final = f"{API_PREFIX}/wallets"
_ONE: Final = f"{_PATH}/{{address}}"
_TAG: Final = "wallets"
_ACTIVE: Final = "active"


async def list_wallets(service: Service, call: Call) -> Wallets:
    """Return every wallet and the note on the quota."""
    monitor = service.deal.monitor
    wallets = await monitor.list()
    settings = service.deal.settings
    return Wallets(
        items=[_wallet(wallet) for wallet in wallets],
        active=sum(wallet.status == _ACTIVE for wallet in wallets),
        max_active=settings.max_watched_wallets,
        note=texts.quota_note(settings.max_transactions_per_wallet),
    )


async def add(service: Service, call: Call) -> WalletAnswer:
    """Watch a wallet from now on."""
    form: AddWallet = call.body
    added = await service.deal.monitor.add(
        form.address,
        label=form.label or None,
        wallet_type=form.wallet_type or None,
        max_transactions=form.max_transactions,
        actor=call.caller.name,
    )
    return _answer(added, f"Now tracking {added.address}.")


async def stop(service: Service, call: Call) -> WalletAnswer:
    """Stop watching; the record stays."""
    stopped = await service.deal.monitor.stop(call.path("address"), actor=call.caller.name)
    return _answer(stopped, f"Stopped tracking {stopped.address}.")


async def rewatch(service: Service, call: Call) -> WalletAnswer:
    """Go on watching; the count goes on as well."""
    resumed = await service.deal.monitor.rewatch(call.path("address"), actor=call.caller.name)
    return _answer(resumed, texts.tracking_again(resumed.address))


async def set_limit(service: Service, call: Call) -> WalletAnswer:
    """Give a wallet a limit of its own, or take it back."""
    form: SetLimit = call.body
    changed = await service.deal.monitor.set_limit(
        call.path("address"), form.max_transactions, actor=call.caller.name
    )
    limit = "unlimited" if changed.is_unlimited else str(changed.max_transactions)
    return _answer(changed, f"The limit of {changed.address} is {limit}.")


async def override(service: Service, call: Call) -> WalletAnswer:
    """Grant a wallet transactions beyond its limit, in the caller's name."""
    form: GrantMore = call.body
    changed = await service.deal.monitor.override(
        call.path("address"),
        extra_transactions=form.extra_transactions,
        actor=call.caller.name,
        reason=form.reason,
    )
    return _answer(changed, f"{changed.address} may count {form.extra_transactions} more.")


async def schedule_stop(service: Service, call: Call) -> WalletAnswer:
    """Have a wallet stop at a time, or take that back."""
    form: ScheduleStop = call.body
    changed = await service.deal.monitor.schedule_stop(
        call.path("address"), form.stop_at, actor=call.caller.name
    )
    when = "has no scheduled stop" if form.stop_at is None else f"stops at {form.stop_at.isoformat()}"
    return _answer(changed, f"{changed.address} {when}.")


async def reset(service: Service, call: Call) -> WalletReset:
    """Count from 0 again, and return what was counted before."""
    done = await service.deal.monitor.reset(call.path("address"), actor=call.caller.name)
    return WalletReset(wallet=_wallet(done.wallet), export=done.export)


async def show_transactions(service: Service, call: Call) -> WatchedTransactions:
    """Return the transactions counted for a wallet."""
    query: TransactionsQuery = call.query
    found = await service.deal.monitor.transactions(
        call.path("address"), limit=query.limit, before=query.before
    )
    items = [WatchedTransaction.model_validate(item.to_dict()) for item in found]
    return WatchedTransactions(
        items=items, next_before=items[-1].number if len(items) == query.limit else None
    )


async def export(service: Service, call: Call) -> WalletExport:
    """Hand out what was counted for a wallet; the count goes on."""
    query: ExportQuery = call.query
    address = call.path("address")
    text = await service.deal.monitor.export(address, format=query.format)
    return WalletExport(address=address, format=query.format, export=text)


async def show_quota(service: Service, call: Call) -> Quota:
    """Return the RPC calls of the day."""
    return Quota.model_validate((await service.deal.monitor.quota()).to_dict())


def _wallet(wallet: Any) -> Wallet:
    return Wallet.model_validate(wallet.to_dict())


def _answer(wallet: Any, message: str) -> WalletAnswer:
    return WalletAnswer(wallet=_wallet(wallet), message=message)


_for_viewers = partial(Endpoint, tag=_TAG)
_for_operators = partial(Endpoint, tag=_TAG, audience="operator")
ENDPOINTS: Final = (
    _for_viewers(
        method="GET", path=_PATH, summary="List watched wallets", handler=list_wallets, answer=Wallets
    ),
    _for_operators(
        method="POST",
        path=_PATH,
        summary="Watch a wallet",
        handler=add,
        body=AddWallet,
        answer=WalletAnswer,
        status=201,
    ),
    _for_operators(
        method="POST",
        path=f"{_ONE}/stop",
        summary="Stop watching a wallet",
        handler=stop,
        answer=WalletAnswer,
    ),
    _for_operators(
        method="POST",
        path=f"{_ONE}/rewatch",
        summary="Watch a stopped wallet again",
        handler=rewatch,
        answer=WalletAnswer,
    ),
    _for_operators(
        method="PUT",
        path=f"{_ONE}/limit",
        summary="Set a wallet's own limit",
        handler=set_limit,
        body=SetLimit,
        answer=WalletAnswer,
    ),
    _for_operators(
        method="POST",
        path=f"{_ONE}/override",
        summary="Grant a wallet transactions beyond its limit",
        handler=override,
        body=GrantMore,
        answer=WalletAnswer,
    ),
    _for_operators(
        method="PUT",
        path=f"{_ONE}/scheduled-stop",
        summary="Schedule a wallet's stop",
        handler=schedule_stop,
        body=ScheduleStop,
        answer=WalletAnswer,
    ),
    _for_operators(
        method="POST",
        path=f"{_ONE}/reset",
        summary="Reset a wallet's count",
        handler=reset,
        answer=WalletReset,
    ),
    _for_viewers(
        method="GET",
        path=f"{_ONE}/transactions",
        summary="List a wallet's counted transactions",
        handler=show_transactions,
        query=TransactionsQuery,
        answer=WatchedTransactions,
    ),
    _for_viewers(
        method="GET",
        path=f"{_ONE}/export",
        summary="Export a wallet's counted transactions",
        handler=export,
        query=ExportQuery,
        answer=WalletExport,
    ),
    _for_viewers(
        method="GET",
        path=f"{API_PREFIX}/quota",
        summary="Show the RPC calls used of the quota",
        handler=show_quota,
        answer=Quota,
    ),
)
