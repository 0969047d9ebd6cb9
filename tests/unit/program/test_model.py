"""The program against its model: random instructions, times and actors, compared after every step."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest
from solders.keypair import Keypair

from deal_sdk.chain.allowance import AllowanceTerms
from tests.unit.program.allowance_model import Model, ModelOwner
from tests.unit.program.program_world import START, Owner, ProgramWorld

STEPS_PER_SEED: Final = 2_500
SEEDS: Final = (1, 2, 3, 4)
OWNERS: Final = 5
ACTORS: Final = 3
CAPACITY: Final = 60
VAULT: Final = 3_000
BATCH: Final = UUID(int=4)
BALANCE: Final = 40_000


class Play:
    """One world and its model, moved by the same steps."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = world = ProgramWorld.started()
        self.actors = [world.creator, *(world.person() for _ in range(ACTORS - 1))]
        self.owners = [world.owner(BALANCE) for _ in range(OWNERS)]
        self.recipient = world.token_account(Keypair().pubkey(), 0)
        self.model = Model(START, [ModelOwner(BALANCE) for _ in range(OWNERS)])
        funder = world.person()
        fund = world.client.fund_vault(
            world.merchant,
            funder=funder.pubkey(),
            source=world.token_account(funder.pubkey(), VAULT),
            amount_base_units=VAULT,
        )
        create = world.client.create_reward_batch(
            world.merchant, payer=world.payer.pubkey(), batch_id=BATCH, capacity=CAPACITY
        )
        assert world.send([fund, create], funder, world.creator).error is None
        self.merchant = world.merchant

    def step(self) -> tuple[str, str | None]:
        """Do one thing in both, and return what it was and how it was refused."""
        moves: list[tuple[int, Callable[[], tuple[str | None, str | None]]]] = [
            (50, self.charge),
            (8, self.open),
            (5, self.change),
            (4, self.close),
            (5, self.approve),
            (3, self.pause),
            (3, self.propose),
            (3, self.accept),
            (8, self.reward),
        ]
        if self.random.random() < 0.3:
            self.model.now += self.random.choice((1, 30, 61, 500, 4_000))
            self.world.set_time(self.model.now)
        weights, actions = [weight for weight, _ in moves], [action for _, action in moves]
        (action,) = self.random.choices(actions, weights)
        wanted, found = action()
        assert found == wanted, f"{action.__name__}: the model says {wanted}, the program {found}"
        return action.__name__, wanted

    def _actor(self) -> int:
        return self.model.authority if self.random.random() < 0.95 else self.random.randrange(ACTORS)

    def _owner(self) -> tuple[Owner, ModelOwner]:
        index = self.random.randrange(OWNERS)
        return self.owners[index], self.model.owners[index]

    def _terms(self) -> AllowanceTerms:
        choose = self.random.choice
        expires_at = choose((0, 0, self.model.now + 50_000, self.model.now + 500, self.model.now))
        return AllowanceTerms(
            choose((500, 5_000, 200)), choose((60, 3_600, 59)), choose((100, 500, 0, 300)), expires_at
        )

    def charge(self) -> tuple[str | None, str | None]:
        """Charge, now and then with a sequence of before or after."""
        owner, model = self._owner()
        actor = self._actor()
        amount = self.random.choice((0, 1, 20, 99, 100, 300, 501, 40_001))
        sequence = max(model.next_sequence + self.random.choice((0,) * 8 + (-1, 1)), 0)
        wanted = self.model.charge(actor, model, amount, sequence)
        step = owner.charging(amount, sequence, UUID(int=sequence + 1), authority=self.actors[actor].pubkey())
        found = self.world.send([step], *self.actors)
        self.compare(owner, model)
        return wanted, found.error

    def open(self) -> tuple[str | None, str | None]:
        """Open, with or without an approval."""
        owner, model = self._owner()
        terms = self._terms()
        amount = self.random.choice((None, 1_000, 10**9))
        wanted = self.model.open(model, terms, amount=amount)
        opening = owner.opening(terms)[1]
        steps = [opening] if amount is None else [owner.approving(amount), opening]
        found = self.world.send(steps, owner.keypair)
        self.compare(owner, model)
        return wanted, found.error

    def change(self) -> tuple[str | None, str | None]:
        """Change terms."""
        owner, model = self._owner()
        terms = self._terms()
        wanted = self.model.change(model, terms)
        step = self.world.client.change_allowance(
            owner=owner.keypair.pubkey(), merchant=self.world.merchant_address, terms=terms
        )
        found = self.world.send([step], owner.keypair)
        self.compare(owner, model)
        return wanted, found.error

    def close(self) -> tuple[str | None, str | None]:
        """Close."""
        owner, model = self._owner()
        wanted = self.model.close(model)
        step = self.world.client.close_allowance(
            owner=owner.keypair.pubkey(), merchant=self.world.merchant_address
        )
        found = self.world.send([step], owner.keypair)
        self.compare(owner, model)
        return wanted, found.error

    def approve(self) -> tuple[str | None, str | None]:
        """Approve the allowance or somebody else."""
        owner, model = self._owner()
        is_ours = self.random.random() < 0.8
        amount = self.random.choice((50, 10**9))
        model.approve(amount, is_ours=is_ours)
        delegate = None if is_ours else self.world.payer.pubkey()
        return None, self.world.send([owner.approving(amount, delegate=delegate)], owner.keypair).error

    def pause(self) -> tuple[str | None, str | None]:
        """Pause, and let go on more often than not."""
        actor, paused = self._actor(), self.random.random() < 0.3
        wanted = self.model.govern(actor)
        if wanted is None:
            self.model.is_paused = paused
        step = self.world.client.set_paused(
            merchant=self.world.merchant_address, authority=self.actors[actor].pubkey(), paused=paused
        )
        return wanted, self.world.send([step], *self.actors).error

    def propose(self) -> tuple[str | None, str | None]:
        """Propose somebody as authority."""
        actor, heir = self._actor(), self.random.randrange(ACTORS)
        wanted = self.model.govern(actor)
        if wanted is None:
            self.model.pending = heir
        step = self.world.client.propose_authority(
            merchant=self.world.merchant_address,
            authority=self.actors[actor].pubkey(),
            new_authority=self.actors[heir].pubkey(),
        )
        return wanted, self.world.send([step], *self.actors).error

    def accept(self) -> tuple[str | None, str | None]:
        """Accept, proposed or not."""
        actor = self.random.randrange(ACTORS)
        wanted = self.model.accept(actor)
        step = self.world.client.accept_authority(
            merchant=self.world.merchant_address, new_authority=self.actors[actor].pubkey()
        )
        return wanted, self.world.send([step], *self.actors).error

    def reward(self) -> tuple[str | None, str | None]:
        """Pay a reward, often one that was paid."""
        actor, index = self._actor(), self.random.randrange(CAPACITY + 2)
        amount = self.random.choice((0, 10, 60, VAULT))
        wanted = self.model.reward(actor, index, amount, capacity=CAPACITY, vault=VAULT)
        step = self.world.client.pay_reward(
            self.merchant, batch_id=BATCH, index=index, destination=self.recipient, amount_base_units=amount
        )
        metas = list(step.accounts)
        metas[0] = type(metas[0])(self.actors[actor].pubkey(), True, False)
        step = type(step)(step.program_id, bytes(step.data), metas)
        found = self.world.send([step], *self.actors)
        return wanted, found.error

    def compare(self, owner: Owner, model: ModelOwner) -> None:
        """Compare an allowance and its token account with the model."""
        assert self.world.balance(owner.token_account) == model.balance
        if model.terms is None:
            assert self.world.svm.get_account(owner.allowance) is None
            return
        state = owner.state
        assert (state.terms, state.is_open) == (model.terms, model.is_open)
        assert (state.period_start, state.spent_in_period_base_units) == (model.period_start, model.spent)
        assert (state.next_sequence, state.charged_total_base_units) == (model.next_sequence, model.total)
        assert state.last_reference == (UUID(int=model.next_sequence) if model.next_sequence else None)

    def compare_sums(self) -> None:
        """Compare what everything adds up to."""
        assert self.world.balance(self.world.treasury) == self.model.treasury
        batch = self.world.reward_batch(BATCH)
        assert {index for index in range(CAPACITY) if batch.is_paid(index)} == set(self.model.paid)
        assert (
            batch.paid_total_base_units == sum(self.model.paid.values()) == self.world.balance(self.recipient)
        )
        assert self.world.balance(self.world.vault) == VAULT - batch.paid_total_base_units


@pytest.mark.slow
def test_ten_thousand_steps_agree_with_the_model() -> None:
    seen: Counter[tuple[str, str | None]] = Counter()
    for seed in SEEDS:
        play = Play(seed)
        for _ in range(STEPS_PER_SEED):
            seen[play.step()] += 1
        play.compare_sums()
    assert sum(seen.values()) == 10_000
    refusals = {refusal for name, refusal in seen if name == "charge"}
    assert refusals >= {
        *("WrongSequence", "AllowanceClosed", "MerchantPaused", "AllowanceExpired", "ZeroAmount", None),
        *("OverChargeLimit", "OverPeriodCap", "WrongAuthority", "WrongAccountOwner"),
        *("token error 1", "token error 4"),
    }
    assert seen["charge", None] > 200
