"""Opening what everything else stands on: chain, database, keystore, store, and the mint among them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Final

from pydantic import SecretStr

from deal_sdk.accounting import ChannelMembership
from deal_sdk.amounts import parse_amount
from deal_sdk.chain import (
    Keystore,
    MintFacts,
    Rpc,
    Transport,
    create_deal_mint,
    ensure_lamports,
    load_mint,
    open_pool,
    open_rpc,
    parse_address,
)
from deal_sdk.client.limits import store_access
from deal_sdk.client.remote_signers import attach_remote_signers
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.limits import Store, open_store
from deal_sdk.metrics import Metrics
from deal_sdk.payments import REWARD_WALLET, TREASURY, RailBounds
from deal_sdk.payments.allowances.publishing import BUFFER_KEY, PROGRAM_KEY
from deal_sdk.records import Database, bind_chain, get_meta
from deal_sdk.settings import EMBEDDED_CHAIN_URL, Settings
from deal_sdk.webhooks import WebhookSender

MINT: Final = "mint"
"""The name of the mint's own key in the keystore, and of the mint in the database's facts."""
NO_WALLETS: Final = frozenset({MINT, PROGRAM_KEY, BUFFER_KEY})
INITIAL_SUPPLY_BASE_UNITS: Final = 1_000_000_000 * 10**8
FEE_PAYER_FUNDING_LAMPORTS: Final = 10_000_000_000
RANDOM_PASSPHRASE_BYTES: Final = 32
RANDOM_PASSPHRASE_KDF_COST: Final = 2**4
STRONG_KDF_COST: Final = 2**15


@dataclass(frozen=True, slots=True)
class Backends:
    """The connections that a `Deal` works with."""

    rpc: Rpc
    database: Database
    store: Store
    keystore: Keystore
    webhook_sender: WebhookSender | None = None
    random: Random | None = None


@dataclass(frozen=True, slots=True)
class GivenBackends:
    """Backends of the caller's, in place of those that the settings name; closed with the `Deal`.

    Most are for tests and simulations, which put faults and a hand-driven clock into them.
    """

    transport: Transport | None = None
    transports: Sequence[Transport] = ()
    """Several endpoints, used as one; in place of `transport`."""
    store: Store | None = None
    webhook_sender: WebhookSender | None = None
    channel_membership: ChannelMembership | None = None
    """Knows who is in the operator's channel; no default stands in for it."""
    random: Random | None = None
    """Where the jitter of retries comes from, so that a simulation repeats exactly."""


async def open_backends(
    stack: AsyncExitStack,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    given: GivenBackends,
) -> Backends:
    """Open each backend that the settings name and leave its closing to the stack.

    Args:
        stack: closes them, the last one first.
        settings: name what is not given.
        clock: for all of them.
        metrics: counts the calls of the chain.
        given: what is not to be opened.

    Raises:
        ConfigurationError, DatabaseUnavailableError, SchemaError: for what cannot be opened.
    """
    rpc = await _open_rpc(settings, clock, metrics, given)
    stack.push_async_callback(rpc.close)
    database = await Database.open(
        settings.database_url.get_secret_value(),
        clock=clock,
        busy_timeout_seconds=settings.database_busy_timeout_seconds,
    )
    stack.push_async_callback(database.close)
    store = given.store or open_store(
        settings.redis_url.get_secret_value(),
        access=store_access(settings),
        timeout_seconds=settings.limit_store_timeout_seconds,
    )
    stack.push_async_callback(store.close)
    keystore = _keystore(settings, database, clock)
    await attach_remote_signers(stack, keystore, settings, clock)
    return Backends(rpc, database, store, keystore, given.webhook_sender, given.random)


async def open_mint(backends: Backends, settings: Settings, *, create_mint: bool | None) -> MintFacts:
    """Find the mint that the database belongs to, or deploy it where that is wanted.

    Args:
        backends: as opened.
        settings: may name the mint.
        create_mint: deploy one where none is known; by default only on the embedded chain.

    Raises:
        ConfigurationError: when no mint is known and none may be deployed.
        ChainMismatchError: when the database belongs to another chain or mint.
    """
    database = backends.database
    genesis_hash = await backends.rpc.get_genesis_hash()
    await bind_chain(database, genesis_hash, settings.mint)
    known = await get_meta(database, MINT)
    is_embedded = settings.rpc_url.startswith(EMBEDDED_CHAIN_URL)
    if known is None and not (is_embedded if create_mint is None else create_mint):
        raise ConfigurationError(
            "this database knows no mint; deploy one with 'dealctl token create', "
            "or name one by the setting mint (DEAL_MINT)"
        )
    for name in (TREASURY, REWARD_WALLET):
        await backends.keystore.create(name)
    if known is None:
        mint = await _deploy_mint(backends, settings)
    else:
        mint = await load_mint(backends.rpc, parse_address(known))
    await bind_chain(
        database,
        genesis_hash,
        str(mint.address),
        token_program=str(mint.program_id),
        decimals=mint.decimals,
    )
    return mint


async def operator_wallets(keystore: Keystore) -> dict[str, str]:
    """Return the operator's wallets, address by name; the keys of mint and program are none."""
    return {name: address for name, address in (await keystore.names()).items() if name not in NO_WALLETS}


async def _open_rpc(settings: Settings, clock: Clock, metrics: Metrics, given: GivenBackends) -> Rpc:
    if given.transports:
        return await open_pool(given.transports, settings, clock=clock, metrics=metrics)
    if given.transport is not None:
        return Rpc(given.transport, clock=clock, metrics=metrics)
    return await open_rpc(settings, clock=clock, metrics=metrics)


def _keystore(settings: Settings, database: Database, clock: Clock) -> Keystore:
    if settings.keystore_passphrase is None and database.ephemeral:
        # 256 random bits need no stretching, and the database ends with this process.
        passphrase = SecretStr(secrets.token_hex(RANDOM_PASSPHRASE_BYTES))
        return Keystore(database, passphrase, clock=clock, kdf_cost=RANDOM_PASSPHRASE_KDF_COST)
    return Keystore(database, settings.keystore_passphrase, clock=clock, kdf_cost=STRONG_KDF_COST)


async def _deploy_mint(backends: Backends, settings: Settings) -> MintFacts:
    # The key is stored first, so that a deployment cut short is carried on and never repeated.
    await backends.keystore.create(MINT)
    treasury = await backends.keystore.signer_by_name(TREASURY)
    await ensure_lamports(backends.rpc, treasury.address, FEE_PAYER_FUNDING_LAMPORTS)
    return await create_deal_mint(
        backends.rpc,
        payer_signer=treasury,
        treasury_signer=treasury,
        mint_signer=await backends.keystore.signer_by_name(MINT),
        token_program=settings.token_program,
        supply_base_units=INITIAL_SUPPLY_BASE_UNITS,
        name=settings.token_name,
        symbol=settings.token_symbol,
        allow_mainnet=settings.mainnet_confirmed,
    )


def rail_bounds(settings: Settings) -> RailBounds:
    """Read the safety rails out of the settings.

    Raises:
        ConfigurationError: naming a cap that is no amount, or a destination that is no address.
    """
    try:
        return RailBounds(
            max_payment_base_units=_cap(settings.max_payment_amount),
            max_daily_base_units=_cap(settings.max_daily_amount_per_wallet),
            allowed_destinations=frozenset(
                str(parse_address(address)) for address in settings.allowed_destinations
            ),
            alarm_payments_per_minute=settings.alarm_payments_per_minute,
        )
    except InvalidInputError as error:
        # A rail that is misread would be no rail, so nothing is opened.
        raise ConfigurationError(f"a safety rail cannot be used: {error.message}", **error.facts) from None


def _cap(amount: str | None) -> int | None:
    return None if amount is None else parse_amount(amount)
