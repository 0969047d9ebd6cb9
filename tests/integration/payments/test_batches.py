"""Batch payouts on the embedded chain: everybody once, whatever is wrong with one of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk import Deal
from deal_sdk.errors import (
    BatchInvalidError,
    BatchPendingError,
    FeePayerError,
    IdempotencyConflictError,
    InsufficientBalanceError,
    PaymentNotFoundError,
    PaymentsPausedError,
)
from deal_sdk.payments import BatchProgress, RewardLine
from deal_sdk.payments.batches import recording
from tests.integration.conftest import (
    FAST_CHAIN,
    MakePerson,
    assert_books_agree,
    freeze,
    localnet_of,
    token_account,
)

pytestmark = pytest.mark.slow


def addresses(count: int) -> list[str]:
    return [str(Keypair().pubkey()) for _ in range(count)]


def lines(wallets: list[str], amount: str = "1") -> list[RewardLine]:
    return [RewardLine(wallet, amount, "airdrop") for wallet in wallets]


@pytest.fixture
async def funded(deal: Deal) -> Deal:
    await deal.tokens.transfer("treasury", "reward", "10000")
    return deal


async def test_many_are_paid_in_few_transactions(funded: Deal) -> None:
    wallets = addresses(40)
    first = await funded.rewards.distribute_batch(lines(wallets), batch_key="first")
    again = await funded.rewards.distribute_batch(
        lines(wallets, "0.5"), batch_key="second", wait_for="finalized"
    )
    assert [line.address for line in again.recipients] == wallets
    assert {line.status for line in again.recipients} == {"finalized"}
    assert len({line.signature for line in first.recipients}) > len(
        {line.signature for line in again.recipients}
    ), "creating accounts takes room"
    assert len({line.signature for line in again.recipients}) == 3, "no table is worth it for so few"
    for wallet in wallets[::13]:
        assert await funded.tokens.balance_of(wallet) == Decimal("1.5")
    assert await funded.tokens.balance_of("reward") == 10_000 - 60
    assert await funded.transactions.count(type="reward") == 80


async def test_the_same_batch_again_pays_nobody_twice(funded: Deal) -> None:
    wallets = addresses(20)
    first = await funded.rewards.distribute_batch(lines(wallets), batch_key="october")
    again = await funded.rewards.distribute_batch(lines(wallets), batch_key="october")
    assert [line.payment_id for line in first.recipients] == [line.payment_id for line in again.recipients]
    assert await funded.tokens.balance_of("reward") == 10_000 - 20
    with pytest.raises(IdempotencyConflictError):
        await funded.rewards.distribute_batch(lines(wallets, "2"), batch_key="october")
    with pytest.raises(IdempotencyConflictError):
        await funded.rewards.distribute_batch(lines(wallets[1:]), batch_key="october")
    assert (await funded.rewards.batch_report("october")).progress.recorded == 20
    with pytest.raises(PaymentNotFoundError):
        await funded.rewards.batch_report("november")


async def test_every_bad_line_is_named_and_nobody_is_paid(funded: Deal, make_person: MakePerson) -> None:
    alice = await make_person()
    wallet, unconnected = addresses(2)
    bad = [
        RewardLine(wallet, "1", "airdrop"),
        RewardLine("no address", "1", "airdrop"),
        RewardLine("ext:nobody", "1", "airdrop"),
        RewardLine("reward", "1", "airdrop"),
        RewardLine(wallet, "2", "airdrop"),
        RewardLine(alice.user.id, "1", "airdrop", key="a"),
        RewardLine(alice.address, "1", "airdrop", key="a"),
        RewardLine((await funded.users.create()).id, "1", "airdrop"),
    ]
    with pytest.raises(BatchInvalidError) as caught:
        await funded.rewards.distribute_batch(bad, batch_key="bad")
    found = {problem["line"]: problem["code"] for problem in caught.value.facts["problems"]}
    assert found == {
        2: "invalid_wallet_address",
        3: "user_not_found",
        4: "invalid_input",
        5: "invalid_input",
        7: "invalid_input",
        8: "wallet_not_found",
    }
    forms = [RewardLine(unconnected, amount, "airdrop") for amount in ("0", "-1", "x", "1.123456789", "1")]
    with pytest.raises(BatchInvalidError) as caught:
        await funded.rewards.distribute_batch(forms, batch_key="bad")
    assert [problem["line"] for problem in caught.value.facts["problems"]] == [1, 2, 3, 4]
    assert await funded.transactions.count(type="reward") == 0
    # Nothing was recorded, so the key is still free for the file as corrected.
    await funded.rewards.distribute_batch(lines([wallet]), batch_key="bad")


async def test_everybody_can_be_named_in_every_way(funded: Deal, make_person: MakePerson) -> None:
    alice, bob = await make_person(), await make_person()
    carol = await funded.users.create(external_id="chat-42")
    own = await funded.wallets.create_custodial(carol.id)
    report = await funded.rewards.distribute_batch(
        [
            RewardLine(alice.user.id, "1", "referral"),
            RewardLine(bob.address, "2", "referral"),
            RewardLine("ext:chat-42", "3", "bonus", key="carol-1"),
            RewardLine(str(carol.id), "4", "bonus", key="carol-2"),
            RewardLine("treasury", "5", "return"),
        ],
        batch_key="named",
        wait_for="finalized",
    )
    assert [line.user_id for line in report.recipients[:4]] == [
        alice.user.id,
        bob.user.id,
        carol.id,
        carol.id,
    ]
    assert await funded.tokens.balance_of(own.address) == 7
    await assert_books_agree(funded)
    rows = await funded.history.query(user_id=carol.id)
    assert [row.change for row in rows.items] == [700_000_000]


async def test_a_key_of_the_callers_own_is_paid_once_wherever_it_is_used(funded: Deal) -> None:
    wallet, other = addresses(2)
    single = await funded.rewards.distribute_reward(wallet, "bonus", "3", idempotency_key="bonus-1")
    batch = [RewardLine(wallet, "3", "bonus", key="bonus-1"), RewardLine(other, "1", "bonus")]
    report = await funded.rewards.distribute_batch(batch, batch_key="keys")
    assert [line.replayed for line in report.recipients] == [True, False]
    assert report.recipients[0].payment_id == single.id
    assert await funded.tokens.balance_of(wallet) == 3
    changed = [RewardLine(wallet, "4", "bonus", key="bonus-1")]
    with pytest.raises(BatchInvalidError) as caught:
        await funded.rewards.distribute_batch(changed, batch_key="changed")
    assert caught.value.facts["problems"][0]["code"] == "idempotency_conflict"
    with pytest.raises(IdempotencyConflictError):
        await funded.rewards.distribute_reward(other, "bonus", "1", idempotency_key="batch:keys:000002")


async def test_a_bad_recipient_is_isolated_and_the_others_are_paid(funded: Deal) -> None:
    wallets = addresses(24)
    await funded.rewards.distribute_batch(lines(wallets), batch_key="accounts", wait_for="finalized")
    for place in (3, 4, 20):
        await freeze(funded, wallets[place])
    report = await funded.rewards.distribute_batch(lines(wallets), batch_key="frozen", wait_for="finalized")
    assert [line.position for line in report.unpaid] == [4, 5, 21]
    frozen = {"Custom": 17}
    assert [line.error["InstructionError"][1] for line in report.unpaid if line.error] == [frozen] * 3
    assert report.progress == BatchProgress(24, 24, 0, 0, 21, 3, 0)
    assert await funded.tokens.balance_of("reward") == 10_000 - 24 - 21
    held = [await funded.tokens.balance_of(wallet) for wallet in wallets[:6]]
    assert held == [2, 2, 2, 1, 1, 2]


async def test_an_account_that_was_there_and_is_closed_meanwhile_is_made_anew() -> None:
    wallets = addresses(6)
    # Tokens that vanish with an account are no payment's, so this deal's sums are its own.
    async with Deal.open(**FAST_CHAIN, history_poll_interval_seconds=0.05) as deal:
        await deal.tokens.transfer("treasury", "reward", "100")
        for key in ("first", "second"):
            await deal.rewards.distribute_batch(lines(wallets), batch_key=key, wait_for="finalized")
        localnet = localnet_of(deal)
        accounts = [Pubkey.from_string(token_account(deal, wallet)) for wallet in wallets]
        localnet.set_account(accounts[3], None)
        third = await deal.rewards.distribute_batch(lines(wallets), batch_key="third", wait_for="finalized")
        assert third.unpaid == ()
        for place, account in enumerate(accounts):
            balance = await deal.rpc.get_token_balance(account)
            assert balance.amount_base_units == (1 if place == 3 else 3) * 10**deal.mint.decimals


async def test_one_member_is_refunded_by_itself(funded: Deal, make_person: MakePerson) -> None:
    people = [await make_person() for _ in range(3)]
    report = await funded.rewards.distribute_batch(
        [RewardLine(person.user.id, "2", "bonus") for person in people], batch_key="refund"
    )
    assert len({line.signature for line in report.recipients}) == 1
    refund = await funded.tokens.refund(report.recipients[1].payment_id)
    assert (refund.from_user_id, refund.amount) == (people[1].user.id, 200_000_000)
    assert [await funded.tokens.balance_of(person.address) for person in people] == [2, 0, 2]


async def test_what_cannot_be_covered_is_not_begun(funded: Deal) -> None:
    wallets = addresses(3)
    with pytest.raises(InsufficientBalanceError):
        await funded.rewards.distribute_batch(lines(wallets, "4000"), batch_key="poor")
    assert await funded.transactions.count(type="reward") == 0
    payer = Pubkey.from_string((await funded.find_party("treasury")).address)
    localnet = localnet_of(funded)
    held = localnet.bank.accounts.current(payer)
    assert held is not None
    localnet.set_account(payer, Account(9_000_000, held.data, held.owner))
    localnet.advance_slots(2)
    with pytest.raises(FeePayerError):
        await funded.rewards.distribute_batch(lines(wallets), batch_key="poor")
    localnet.set_account(payer, held)
    localnet.advance_slots(2)
    await funded.rewards.distribute_batch(lines(wallets), batch_key="poor")


async def test_rails_and_the_pause_bind_batches() -> None:
    wallets = addresses(2)
    async with Deal.open(
        **FAST_CHAIN,
        max_payment_amount="5",
        max_daily_amount_per_wallet="8",
        allowed_destinations=tuple(wallets),
    ) as deal:
        await deal.tokens.mint("reward", "5")
        with pytest.raises(BatchInvalidError) as caught:
            await deal.rewards.distribute_batch(
                [RewardLine(wallets[0], "6", "airdrop"), *lines(addresses(1))], batch_key="rails"
            )
        assert [problem["code"] for problem in caught.value.facts["problems"]] == ["safety_rail"] * 2
        await deal.pause.pause("drill")
        with pytest.raises(PaymentsPausedError):
            await deal.rewards.distribute_batch(lines(wallets), batch_key="rails")
        await deal.pause.release()
        await deal.rewards.distribute_batch(lines(wallets), batch_key="rails")
        await assert_books_agree(deal)


async def test_the_cost_is_counted_before_anything_is_paid(funded: Deal) -> None:
    wallets = addresses(20)
    await funded.rewards.distribute_batch(lines(wallets[:4]), batch_key="some")
    cost = await funded.rewards.estimate_batch(lines(wallets), batch_key="all")
    assert (cost.recipients, cost.accounts_to_create, cost.tokens_base_units) == (20, 16, 2_000_000_000)
    payer = Pubkey.from_string((await funded.find_party("treasury")).address)
    before = await funded.rpc.get_balance(payer)
    await funded.rewards.distribute_batch(lines(wallets), batch_key="all")
    assert before - await funded.rpc.get_balance(payer) == cost.lamports
    left = await funded.rewards.estimate_batch(lines(wallets), batch_key="all")
    assert (left.recipients, left.lamports) == (0, 0)


async def test_a_batch_goes_on_after_it_was_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deal_sdk.payments.batches.distributor.MAX_RECORDED_TOGETHER", 8)
    wallets = addresses(30)
    async with Deal.open(**FAST_CHAIN) as deal:
        await deal.tokens.transfer("treasury", "reward", "100")
        recorded: list[Any] = []
        record = recording.BatchRecorder.record

        async def cut_short(*arguments: Any) -> Any:
            if len(recorded) == 2:
                raise InsufficientBalanceError(required="1", available="0", deficit="1")
            recorded.append(await record(*arguments))
            return recorded[-1]

        monkeypatch.setattr(recording.BatchRecorder, "record", cut_short)
        with pytest.raises(InsufficientBalanceError):
            await deal.rewards.distribute_batch(lines(wallets), batch_key="cut")
        monkeypatch.setattr(recording.BatchRecorder, "record", record)
        assert (await deal.rewards.batch_report("cut")).progress.recorded == 16
        seen: list[BatchProgress] = []
        report = await deal.rewards.distribute_batch(
            lines(wallets), batch_key="cut", wait_for="finalized", on_progress=seen.append
        )
        assert report.progress.finalized == 30
        assert seen[-1].has_reached("finalized")
        assert await deal.tokens.balance_of("reward") == 70
        await assert_books_agree(deal)


async def test_a_wait_that_ends_early_says_so_and_loses_nothing(funded: Deal) -> None:
    wallets = addresses(3)
    with pytest.raises(BatchPendingError):
        await funded.rewards.distribute_batch(
            lines(wallets), batch_key="slow", wait_for="finalized", timeout_seconds=0.001
        )
    recorded = await funded.rewards.distribute_batch(lines(wallets), batch_key="slow", wait_for="recorded")
    assert recorded.progress.recorded == 3
    report = await funded.rewards.distribute_batch(lines(wallets), batch_key="slow", wait_for="finalized")
    assert report.progress.finalized == 3


async def test_token_2022_and_recipients_that_want_a_memo() -> None:
    async with Deal.open(**FAST_CHAIN, token_program="token-2022") as deal:
        await deal.tokens.transfer("treasury", "reward", "100")
        wallets = addresses(12)
        await deal.rewards.distribute_batch(lines(wallets), batch_key="first", wait_for="finalized")
        await want_memo(deal, wallets[5])
        report = await deal.rewards.distribute_batch(lines(wallets), batch_key="second", wait_for="finalized")
        assert report.progress.finalized == 12
        await assert_books_agree(deal)


async def want_memo(deal: Deal, wallet: str) -> None:
    """Make a token account take transfers only behind a memo, as its owner could."""
    localnet = localnet_of(deal)
    address = Pubkey.from_string(token_account(deal, wallet))
    found = localnet.bank.accounts.current(address)
    assert found is not None
    memo_transfer = (8).to_bytes(2, "little") + (1).to_bytes(2, "little") + b"\x01"
    grown = Account(found.lamports + 100_000, found.data + memo_transfer, found.owner)
    localnet.set_account(address, grown)
    localnet.advance_slots(2)
