"""What an allowance leaves, asked before a charge is recorded; the program judges again when it lands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from deal_sdk.amounts import BaseUnits, format_amount
from deal_sdk.chain.allowance import AllowanceState, AllowanceTerms, MerchantState
from deal_sdk.errors import AllowanceError, InvalidInputError


def check_charge(
    merchant: MerchantState,
    state: AllowanceState | None,
    token_account: str,
    amount: BaseUnits,
    now: datetime,
) -> AllowanceState:
    """Return the allowance that a charge may draw on.

    Args:
        merchant: who charges.
        state: the owner's allowance, or None without one.
        token_account: what is to be debited.
        amount: how much.
        now: an aware time, as the backend's clock has it.

    Raises:
        AllowanceError: naming the `problem`; nothing was recorded.
    """
    if state is None:
        raise AllowanceError("the owner has no allowance for this merchant", problem="missing")
    if merchant.is_paused:
        raise AllowanceError("the merchant is paused on the chain", problem="paused")
    if not state.is_open:
        raise _refusal("the allowance is closed", "closed", state)
    if str(state.token_account) != token_account:
        raise _refusal("the allowance is for another token account", "other_token_account", state)
    if state.terms.is_expired(int(now.timestamp())):
        raise _refusal("the allowance has expired", "expired", state)
    most = state.terms.max_per_charge_base_units
    if amount > most:
        raise _refusal(f"one charge may take {format_amount(most)} at most", "over_charge_limit", state)
    left = state.left_in_period(now)
    if amount > left:
        raise _refusal(f"only {format_amount(left)} is left of the period's cap", "over_period_cap", state)
    return state


def make_terms(
    cap_per_period: BaseUnits, period: timedelta, max_per_charge: BaseUnits, expires_at: datetime | None
) -> AllowanceTerms:
    """Return terms as the program takes them.

    Raises:
        InvalidInputError: for a period that is no whole number of seconds, or a time without a zone.
    """
    if not isinstance(period, timedelta) or period < timedelta(minutes=1) or period.microseconds:
        raise InvalidInputError("a period is a whole number of seconds, at least a minute")
    if expires_at is not None and expires_at.tzinfo is None:
        raise InvalidInputError("a time without a zone could be meant anywhere")
    if max_per_charge > cap_per_period:
        raise InvalidInputError("one charge cannot take more than the period's cap")
    until = 0 if expires_at is None else int(expires_at.astimezone(UTC).timestamp())
    return AllowanceTerms(cap_per_period, int(period.total_seconds()), max_per_charge, until)


def _refusal(text: str, problem: str, state: AllowanceState) -> AllowanceError:
    return AllowanceError(text, problem=problem, allowance=str(state.address))
