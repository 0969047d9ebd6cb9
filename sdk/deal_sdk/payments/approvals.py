"""What an approval still covers, asked where the payment is recorded: chain less what is reserved.

Owns the reasons for which a delegate may not move tokens. It reads nothing: the balance's own reading
names the account's delegate and what is left of the approval at the same slot.
"""

from __future__ import annotations

from deal_sdk.amounts import format_amount
from deal_sdk.errors import DelegationError
from deal_sdk.payments.orders import Funds, Order, Party


def refuse_delegate(
    order: Order, funds: Funds, left_base_units: int, *, live_base_units: int = 0
) -> DelegationError | None:
    """Return why a delegate cannot pay an order, or None.

    Args:
        order: one that a delegate signs.
        funds: as read from the chain.
        left_base_units: what is left of the approval once the payments under way are counted.
        live_base_units: of these, what is not known to have landed and may be counted twice: the approval
            that was read may be less by it already.
    """
    assert order.sender is not None
    assert order.delegate is not None
    if funds.delegate is None:
        return _refusal("there is no approval", "missing", order.sender, order.delegate)
    if funds.delegate != order.delegate:
        return _refusal(
            "the approval was replaced by another delegate's", "replaced", order.sender, order.delegate
        )
    if order.amount > left_base_units:
        available = format_amount(max(left_base_units, 0))
        refusal = _refusal(
            f"only {available} is left of the approval",
            "exhausted",
            order.sender,
            order.delegate,
            required=format_amount(order.amount),
            available=available,
        )
        refusal.is_provisional = order.amount <= left_base_units + live_base_units
        return refusal
    return None


def refuse_unproven(owner: Party, delegate: Party) -> None:
    """Refuse to charge a user by the approval of an address that they only claim to own.

    Whoever connects a stranger's address would otherwise have the stranger pay.

    Raises:
        DelegationError: naming the problem "unverified".
    """
    if owner.user_id is not None and not owner.is_verified and owner.address != delegate.address:
        raise _refusal(
            "the user has not proven to own the wallet, so its approval cannot be used for them",
            "unverified",
            owner,
            delegate.address,
        )


def _refusal(text: str, problem: str, owner: Party, delegate: str, **facts: str) -> DelegationError:
    return DelegationError(
        text, problem=problem, token_account=owner.token_account, delegate=delegate, **facts
    )
