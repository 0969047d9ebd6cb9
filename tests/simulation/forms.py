"""The forms that a world may have; the seeds are shared among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deal_sdk.settings import TokenProgram
from tests.simulation.prepared import keypair_of


@dataclass(frozen=True, slots=True)
class Form:
    """What kind of world a seed plays in."""

    name: str
    processes: int = 1
    has_pool: bool = False
    token_program: TokenProgram = "classic"
    is_railed: bool = False
    delivers_webhooks: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    """What is wanted there; without any, what is wanted everywhere."""


DAILY_CAP: Final = "6"
ALLOWED_STRANGER: Final = 0
ALONE: Final = Form("alone")
SHARED: Final = Form("two processes", processes=2, settings={"database_busy_timeout_seconds": 0.01})
NEWER: Final = Form("Token-2022", token_program="token-2022")
RAILED: Final = Form(
    "safety rails",
    is_railed=True,
    settings={
        "max_daily_amount_per_wallet": DAILY_CAP,
        "allowed_destinations": (str(keypair_of(f"stranger {ALLOWED_STRANGER}").pubkey()),),
    },
)
TOLD: Final = Form(
    "webhooks",
    delivers_webhooks=True,
    settings={
        "webhook_delivery": True,
        "webhook_poll_interval_seconds": 3.0,
        "webhook_timeout_seconds": 1.0,
        "webhook_first_retry_seconds": 0.5,
        "webhook_max_attempts": 100,
    },
)
TABLED: Final = Form("lookup tables", settings={"lookup_table_uses": 100_000})
POOLED: Final = Form("two endpoints", has_pool=True, settings={"rpc_expiry_opinions": 2})
ALLOWED: Final = Form(
    "allowances",
    kinds=("charge", "charge", "charge", "charges", "charges", "transfer", "purchase", "refund", "batch"),
)
FORMS: Final = (ALONE, SHARED, ALONE, NEWER, POOLED, RAILED, ALLOWED, TOLD, ALONE, POOLED)


def form_of(seed: int) -> Form:
    """Return the form of a seed's world."""
    return FORMS[seed % len(FORMS)]
