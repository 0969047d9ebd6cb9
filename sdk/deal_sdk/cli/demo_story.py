"""The demo's story: who pays whom for what, and what is refused on the way.

The same people, amounts and reasons every time, and the same history of each user's balance: of payments
at once nobody can say which lands first, so those of one user follow one another. Users are new in each
run, so that a database on which the demo ran before holds no limit or balance that would change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from deal_sdk.cli.output import Steps
from deal_sdk.client import Deal
from deal_sdk.errors import (
    InsufficientBalanceError,
    InvalidWalletAddressError,
    PurchaseLimitExceededError,
    RateLimitExceededError,
    TokenError,
)
from deal_sdk.payments import REWARD_WALLET, TREASURY, PurchaseLimit
from deal_sdk.records import Transaction

PEOPLE: Final = (("alice", "Professional"), ("bob", "Gift"), ("carol", "Business"))
MAX_PURCHASES: Final = 2
BURST_SIZE: Final = 4
"""One more than a Gift user may ask for at once."""
MAX_BURSTS: Final = 3
STEPS: Final = 8
_RUN_ID_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the demo with a custodial wallet."""

    name: str
    tier: str
    user_id: UUID
    address: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that should be refused: with which error it was, and what it left behind."""

    what: str
    expected: str
    error: str | None
    code: str | None
    message: str
    recorded: int
    """Payments that the refused attempt left in the records."""

    @property
    def problem(self) -> str | None:
        """Say what is wrong with the refusal, if anything is."""
        if self.error != self.expected:
            return f"{self.what}: expected {self.expected}, got {self.error or 'no error'}"
        if self.recorded:
            return f"{self.what}: left {self.recorded} payments recorded"
        return None


class Story:
    """Plays the story on an open `Deal` and keeps what it made."""

    def __init__(self, deal: Deal, steps: Steps) -> None:
        """Keep the stage; nothing happens yet."""
        self._deal = deal
        self._steps = steps
        self.people: dict[str, Person] = {}
        self.payments: list[Transaction] = []
        self.refused: list[Refused] = []

    async def play(self) -> None:
        """Play every scene.

        Raises:
            TokenError: when a payment that should succeed did not.
        """
        await self._meet()
        await self._fund()
        await self._charge()
        await self._trade()
        await self._reward()
        await self._change_supply()
        await self._overreach()
        await self._rush()

    async def _meet(self) -> None:
        self._steps.step("Users and custodial wallets")
        run_id = uuid4().hex[:_RUN_ID_CHARACTERS]
        for name, tier in PEOPLE:
            user = await self._deal.users.create(
                external_id=f"demo-{run_id}-{name}", username=name, tier=tier
            )
            wallet = await self._deal.wallets.create_custodial(user.id)
            self.people[name] = Person(name, tier, user.id, wallet.address)

    async def _fund(self) -> None:
        self._steps.step("Funding by transfers from the treasury")
        transfer = self._deal.tokens.transfer
        await self._pay(
            transfer(TREASURY, REWARD_WALLET, "500", "reward budget"),
            transfer(TREASURY, self._id("alice"), "100", "opening balance"),
            transfer(TREASURY, self._id("bob"), "50", "opening balance"),
            transfer(TREASURY, self._id("carol"), "75", "opening balance"),
        )

    async def _charge(self) -> None:
        self._steps.step("Service fees")
        charge = self._deal.tokens.deduct_service_fee
        await self._pay(charge(self._id("alice"), "search"))
        await self._pay(
            charge(self._id("alice"), "goal"),
            charge(self._id("bob"), "analysis"),
            charge(self._id("carol"), "notification"),
        )

    async def _trade(self) -> None:
        self._steps.step("Transfers between users")
        transfer = self._deal.tokens.transfer
        await self._pay(transfer(self._id("alice"), self._id("bob"), "12.5", "lunch"))
        await self._pay(transfer(self._id("carol"), self._id("alice"), "3.25", "coffee"))

    async def _reward(self) -> None:
        self._steps.step("Rewards")
        reward = self._deal.rewards.distribute_reward
        await self._pay(
            reward(self._id("alice"), "referral", "5"), reward(self._id("bob"), "first_goal", "2.5")
        )

    async def _change_supply(self) -> None:
        self._steps.step("A mint and a burn")
        tokens = self._deal.tokens
        await self._pay(
            tokens.mint(self._id("carol"), "10", "promotion"),
            tokens.burn(self._id("alice"), "1.5", "retired"),
        )

    async def _overreach(self) -> None:
        self._steps.step("An overdraft, a bad address, one purchase too many")
        transfer = self._deal.tokens.transfer
        alice, carol = self.people["alice"], self.people["carol"]
        await self._expect(
            "carol sends more than she has",
            InsufficientBalanceError,
            carol,
            transfer(carol.user_id, alice.user_id, "1000000", "overdraft"),
        )
        await self._expect(
            "alice sends to a bad address",
            InvalidWalletAddressError,
            alice,
            transfer(alice.user_id, "not-a-solana-address", "1", "typo"),
        )
        for number in range(1, MAX_PURCHASES + 1):
            await self._pay(self._purchase(carol, number))
        await self._expect(
            f"carol buys more than {MAX_PURCHASES} times in a day",
            PurchaseLimitExceededError,
            carol,
            self._purchase(carol, MAX_PURCHASES + 1),
        )

    async def _rush(self) -> None:
        self._steps.step("A burst over its rate")
        bob = self.people["bob"]
        before = await self._recorded(bob)
        for _ in range(MAX_BURSTS):
            # A machine that stalls for a third of a second lets the bucket refill; then once more.
            sent, errors = await _together(*(self._hurry(bob) for _ in range(BURST_SIZE)))
            self.payments += sent
            before += len(sent)
            if errors:
                break
        error = errors[0] if errors else None
        recorded = await self._recorded(bob) - before
        self._note("bob sends four at once", RateLimitExceededError, error, recorded)

    def _purchase(self, buyer: Person, number: int) -> Awaitable[Transaction]:
        limit = PurchaseLimit(str(self._deal.mint.address), MAX_PURCHASES)
        return self._deal.tokens.transfer(
            buyer.user_id, TREASURY, "6", f"credit package {number}", purchase_limit=limit
        )

    def _hurry(self, sender: Person) -> Awaitable[Transaction]:
        return self._deal.tokens.transfer(sender.user_id, self._id("carol"), "0.5", "tip")

    async def _pay(self, *payments: Awaitable[Transaction]) -> None:
        """Make payments at once, no two of which may be of one user."""
        made, errors = await _together(*payments)
        self.payments += made
        if errors:
            raise errors[0]

    async def _expect(
        self, what: str, expected: type[TokenError], person: Person, attempt: Awaitable[Transaction]
    ) -> None:
        before = await self._recorded(person)
        made, errors = await _together(attempt)
        self.payments += made
        self._note(what, expected, errors[0] if errors else None, await self._recorded(person) - before)

    def _note(self, what: str, expected: type[TokenError], error: TokenError | None, recorded: int) -> None:
        name, code, message = None, None, "it was accepted"
        if error is not None:
            name, code, message = type(error).__name__, error.code, error.message
        self.refused.append(Refused(what, expected.__name__, name, code, message, recorded))

    async def _recorded(self, person: Person) -> int:
        return await self._deal.transactions.count(user_id=person.user_id)

    def _id(self, name: str) -> UUID:
        return self.people[name].user_id


async def _together(*attempts: Awaitable[Transaction]) -> tuple[list[Transaction], list[TokenError]]:
    """Wait for all; return payments and refusals in order, and raise what is neither."""
    made: list[Transaction] = []
    errors: list[TokenError] = []
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, TokenError):
            errors.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            made.append(outcome)
    return made, errors
