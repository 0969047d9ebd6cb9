"""Rewards: payments from the operator's reward wallet, recorded with what they were earned for."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from deal_sdk.amounts import Amount, parse_amount
from deal_sdk.chain import MintFacts
from deal_sdk.errors import InvalidInputError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.parties import PartyReference, PartyResolver
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

REWARD_WALLET: Final = "reward"
MAX_REWARD_TYPE_LENGTH: Final = 64


class RewardDistributor:
    """Pays rewards out of the reward wallet; users' limits do not bind them."""

    def __init__(self, *, mint: MintFacts, admission: Admission, parties: PartyResolver) -> None:
        """Wire the parts; nothing runs yet."""
        self._mint = mint
        self._admission = admission
        self._parties = parties

    async def distribute_reward(
        self,
        user_id: UUID | PartyReference,
        reward_type: str,
        amount: Amount,
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "confirmed",
    ) -> Transaction:
        """Pay one reward and record what it was for.

        Args:
            user_id: a user's UUID, or an address.
            reward_type: 1 to 64 characters, such as "referral".
            amount: whole DEAL as `str` or `Decimal`.
            idempotency_key: the same key again returns the same payment.
            wait_for: "recorded", "confirmed" or "finalized".

        Raises:
            InvalidInputError: for a reward type that is no name.
            InsufficientBalanceError: when the reward wallet holds less.
        """
        if not isinstance(reward_type, str) or not 1 <= len(reward_type) <= MAX_REWARD_TYPE_LENGTH:
            raise InvalidInputError(f"a reward type has 1 to {MAX_REWARD_TYPE_LENGTH} characters")
        units = parse_amount(amount, decimals=self._mint.decimals)

        async def draft() -> Draft:
            sender = await self._parties.resolve(REWARD_WALLET)
            recipient = await self._parties.resolve(user_id)
            if sender.token_account == recipient.token_account:
                raise InvalidInputError("the reward wallet cannot reward itself")
            plan = Plan(
                "transfer", sender.address, sender.token_account, recipient.token_account, recipient.address
            )
            return Draft(units, plan, sender, recipient, debits=True, reward_type=reward_type)

        inputs = {"to": user_id, "reward_type": reward_type, "amount": units}
        options = PaymentOptions(reward_type, idempotency_key, wait_for)
        return await self._admission.pay("reward", inputs, options, draft)
