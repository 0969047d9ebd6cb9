"""The sentences that people read about watched wallets, the same on every page, in every log and mail."""

from __future__ import annotations

from typing import Final

RESUMED: Final = "Wallet monitoring re-started successfully"
STATUS_TEXTS: Final = {"active": "Active", "limit-reached": "Limit Reached", "stopped": "Stopped"}
WARNING_SIGN: Final = "\N{WARNING SIGN}"


def limit_reached(limit: int) -> str:
    """Return what is said when a wallet stopped by itself."""
    return f"Wallet monitoring automatically stopped - {limit} transaction limit reached"


def approaching(count: int, next_stop: int) -> str:
    """Return what is said when a wallet comes near its next stop."""
    return f"Wallet monitoring is near its limit - {count} of {next_stop} transactions"


def tracking_again(address: str) -> str:
    """Return what is said once when a wallet is re-watched."""
    return f"Now tracking {address} again. Quota usage continues from previous count."


def quota_note(limit: int) -> str:
    """Return the note that explains why wallets stop by themselves."""
    return (
        f"Quota Protection: Each wallet auto-stops after {limit} transactions to preserve API quota. "
        "Click Re-watch anytime to continue monitoring (transaction count persists)."
    )
