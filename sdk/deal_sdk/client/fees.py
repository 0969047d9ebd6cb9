"""Wiring of fees: what prices transactions and pays for them, and service fees that accrue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final, Protocol

from solders.pubkey import Pubkey

from deal_sdk.amounts import parse_amount
from deal_sdk.chain import (
    ComputeUnits,
    MintFacts,
    PriorityFeePolicy,
    PriorityFees,
    Rpc,
    associated_token_address,
    parse_address,
)
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, InvalidInputError, InvalidWalletAddressError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments import (
    TREASURY,
    AccrualStore,
    FeePayer,
    FeePayerBounds,
    MicroFees,
    SafetyRails,
    SettlementBounds,
    SettlementJob,
    TokenService,
    TransactionFees,
)
from deal_sdk.records import Database
from deal_sdk.settings import Settings

FEE_PAYER: Final = "fee_payer"
"""The operator wallet that pays the SOL of every payment, where there is one; else the treasury does."""


class Surroundings(Protocol):
    """What fees take from the `Deal` that they are part of."""

    settings: Settings
    clock: Clock
    events: EventBus
    metrics: Metrics
    rpc: Rpc
    mint: MintFacts
    tokens: TokenService


def open_fees(stack: AsyncExitStack, around: Surroundings, operators: Mapping[str, str]) -> TransactionFees:
    """Wire the fees of all transactions and leave their closing to the stack.

    Raises:
        ConfigurationError: when the setting `fee_payer` is neither an operator wallet nor an address.
    """
    settings, rpc, mint, clock = around.settings, around.rpc, around.mint, around.clock
    payer = FeePayer(
        _fee_payer(settings, operators),
        rpc,
        clock=clock,
        events=around.events,
        metrics=around.metrics,
        bounds=FeePayerBounds(settings.fee_payer_low_lamports, settings.fee_payer_poll_interval_seconds),
    )
    policy = PriorityFeePolicy(
        fixed_micro_lamports=settings.priority_fee_micro_lamports,
        percentile=settings.priority_fee_percentile,
        max_micro_lamports=settings.max_priority_fee_micro_lamports,
        max_lamports=settings.max_priority_fee_lamports,
    )
    accounts = [
        associated_token_address(Pubkey.from_string(address), mint.address, mint.program_id)
        for address in operators.values()
    ]
    fees = TransactionFees(
        payer=payer,
        units=ComputeUnits(rpc, clock=clock, margin_percent=settings.compute_unit_margin_percent),
        priority=PriorityFees(rpc, clock=clock, policy=policy),
        mint=mint,
        shared_accounts=frozenset(accounts),
    )
    stack.push_async_callback(fees.close)
    return fees


def open_micro_fees(
    stack: AsyncExitStack, around: Surroundings, database: Database, rails: SafetyRails
) -> MicroFees:
    """Wire the accrual of service fees and leave its closing to the stack.

    Raises:
        ConfigurationError: when the setting `service_fee_settlement_amount` is no amount.
    """
    settings = around.settings
    try:
        amount = parse_amount(settings.service_fee_settlement_amount, decimals=around.mint.decimals)
    except InvalidInputError as error:
        raise ConfigurationError(f"service_fee_settlement_amount cannot be used: {error.message}") from None
    accruals = AccrualStore(database)
    stack.push_async_callback(accruals.close)
    bounds = SettlementBounds(amount, settings.service_fee_settlement_period_seconds)
    return MicroFees(accruals, rails, around.clock, bounds)


def settlement_job(around: Surroundings) -> SettlementJob:
    """Make the job that settles the fees that are due."""
    return SettlementJob(around.tokens, interval_seconds=around.settings.service_fee_settlement_poll_seconds)


def _fee_payer(settings: Settings, operators: Mapping[str, str]) -> Pubkey:
    if settings.fee_payer is None:
        return parse_address(operators.get(FEE_PAYER, operators[TREASURY]))
    try:
        return parse_address(operators.get(settings.fee_payer, settings.fee_payer), on_curve=True)
    except InvalidWalletAddressError:
        raise ConfigurationError(
            "the setting fee_payer (DEAL_FEE_PAYER) is neither an operator wallet's name nor an address"
        ) from None
