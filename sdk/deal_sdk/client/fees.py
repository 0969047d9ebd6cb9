"""Opening what prices transactions and pays for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from solders.pubkey import Pubkey

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
from deal_sdk.errors import ConfigurationError, InvalidWalletAddressError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments import TREASURY, FeePayer, FeePayerBounds, TransactionFees
from deal_sdk.settings import Settings

FEE_PAYER: Final = "fee_payer"
"""The operator wallet that pays the SOL of every payment, where there is one; else the treasury does."""


def open_fees(
    stack: AsyncExitStack,
    *,
    rpc: Rpc,
    mint: MintFacts,
    operators: Mapping[str, str],
    settings: Settings,
    clock: Clock,
    events: EventBus,
    metrics: Metrics,
) -> TransactionFees:
    """Wire the fees of all transactions and leave their closing to the stack.

    Raises:
        ConfigurationError: when the setting `fee_payer` is neither an operator wallet nor an address.
    """
    payer = FeePayer(
        _fee_payer(settings, operators),
        rpc,
        clock=clock,
        events=events,
        metrics=metrics,
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


def _fee_payer(settings: Settings, operators: Mapping[str, str]) -> Pubkey:
    if settings.fee_payer is None:
        return parse_address(operators.get(FEE_PAYER, operators[TREASURY]))
    try:
        return parse_address(operators.get(settings.fee_payer, settings.fee_payer), on_curve=True)
    except InvalidWalletAddressError:
        raise ConfigurationError(
            "the setting fee_payer (DEAL_FEE_PAYER) is neither an operator wallet's name nor an address"
        ) from None
