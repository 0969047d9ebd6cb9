"""solana-py's AsyncClient over its whole surface, each reply parsed by solders and asked for its meaning."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized, Processed
from solana.rpc.core import RPCException
from solana.rpc.types import DataSliceOpts, MemcmpOpts, TokenAccountOpts, TxOpts
from solders.errors import SerdeJSONError
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rpc.responses import RpcBlockhash
from solders.signature import Signature
from solders.transaction_status import TransactionConfirmationStatus

from deal_localnet.base58 import b58encode
from tests.integration.clients.token_story import (
    DELEGATED,
    FUNDED,
    MINTED,
    MOVED,
    NOTE,
    TRANSACTIONS,
    TokenStory,
)
from tests.unit.localnet.support import DECIMALS, FEE, SOL, TOKEN

EPOCH_SLOTS: Final = 432_000
FAUCET_LAMPORTS: Final = 500_000_000 * SOL
MINT_OFFSET: Final = 0
ACCOUNT_BYTES: Final = 165
Question = Callable[[TokenStory], Awaitable[None]]

QUESTIONS: Final[dict[str, Question]] = {}
"""What is asked by each public method of the client, under the method's name."""


def question(asked: Question) -> Question:
    QUESTIONS[asked.__name__] = asked
    return asked


def public_methods() -> set[str]:
    found = inspect.getmembers(AsyncClient, inspect.iscoroutinefunction)
    return {name for name, _ in found if not name.startswith("_")}


def only(values: Any) -> Any:
    """The one value there is."""
    (value,) = values
    return value


@question
async def is_connected(story: TokenStory) -> None:
    assert await story.client.is_connected()


@question
async def close(story: TokenStory) -> None:
    other = AsyncClient("http://127.0.0.1:1")
    await other.close()
    with pytest.raises((SolanaRpcException, RuntimeError)):
        await other.get_slot()


@question
async def get_balance(story: TokenStory) -> None:
    rent = (await story.client.get_minimum_balance_for_rent_exemption(82)).value
    accounts = (await story.client.get_minimum_balance_for_rent_exemption(ACCOUNT_BYTES)).value
    # Six transactions after the funding, one of them with the mint's signature too.
    spent = rent + 2 * accounts + 7 * FEE
    assert (await story.client.get_balance(story.payer.pubkey())).value == FUNDED - spent
    assert (await story.client.get_balance(Keypair().pubkey())).value == 0


@question
async def get_account_info(story: TokenStory) -> None:
    found = (await story.client.get_account_info(story.target)).value
    assert found is not None
    assert (found.owner, len(found.data)) == (TOKEN, ACCOUNT_BYTES)
    assert int.from_bytes(found.data[64:72], "little") == MOVED
    part = await story.client.get_account_info(story.target, data_slice=DataSliceOpts(64, 8))
    assert part.value is not None
    assert part.value.data == found.data[64:72]
    for encoding in ("base58", "base64+zstd"):
        short = await story.client.get_account_info(story.target, Confirmed, encoding, DataSliceOpts(0, 64))
        assert short.value is not None
        assert short.value.data == found.data[:64]
    assert (await story.client.get_account_info(Keypair().pubkey())).value is None


@question
async def get_account_info_json_parsed(story: TokenStory) -> None:
    found = (await story.client.get_account_info_json_parsed(story.source)).value
    assert found is not None
    info = found.data.parsed["info"]
    assert found.data.program == "spl-token"
    assert info["tokenAmount"]["amount"] == str(MINTED - MOVED)
    assert info["delegate"] == str(story.delegate)
    assert info["delegatedAmount"]["amount"] == str(DELEGATED)


@question
async def get_multiple_accounts(story: TokenStory) -> None:
    asked = [story.source, Keypair().pubkey(), story.mint]
    found = (await story.client.get_multiple_accounts(asked)).value
    assert [None if account is None else len(account.data) for account in found] == [ACCOUNT_BYTES, None, 82]


@question
async def get_multiple_accounts_json_parsed(story: TokenStory) -> None:
    found = (await story.client.get_multiple_accounts_json_parsed([story.mint])).value
    assert only(found).data.parsed["info"]["supply"] == str(MINTED)


@question
async def get_program_accounts(story: TokenStory) -> None:
    filters = [ACCOUNT_BYTES, MemcmpOpts(MINT_OFFSET, str(story.mint))]
    found = (await story.client.get_program_accounts(TOKEN, encoding="base64", filters=filters)).value
    assert {keyed.pubkey for keyed in found} == {story.source, story.target}
    amount = b58encode(MOVED.to_bytes(8, "little"))
    moved = await story.client.get_program_accounts(
        TOKEN, Finalized, "base64", DataSliceOpts(64, 8), [MemcmpOpts(64, amount)]
    )
    assert int.from_bytes(only(moved.value).account.data, "little") == MOVED


@question
async def get_program_accounts_json_parsed(story: TokenStory) -> None:
    found = await story.client.get_program_accounts_json_parsed(TOKEN, filters=[ACCOUNT_BYTES])
    amounts = {keyed.account.data.parsed["info"]["tokenAmount"]["amount"] for keyed in found.value}
    assert amounts == {str(MINTED - MOVED), str(MOVED)}


@question
async def get_token_account_balance(story: TokenStory) -> None:
    found = (await story.client.get_token_account_balance(story.target)).value
    assert (found.amount, found.decimals, found.ui_amount_string) == (str(MOVED), DECIMALS, "0.0000015")


@question
async def get_token_supply(story: TokenStory) -> None:
    assert (await story.client.get_token_supply(story.mint)).value.amount == str(MINTED)


@question
async def get_token_largest_accounts(story: TokenStory) -> None:
    found = (await story.client.get_token_largest_accounts(story.mint)).value
    assert [(entry.address, entry.amount.amount) for entry in found] == [
        (story.source, str(MINTED - MOVED)),
        (story.target, str(MOVED)),
    ]


@question
async def get_token_accounts_by_owner(story: TokenStory) -> None:
    options = TokenAccountOpts(mint=story.mint)
    found = (await story.client.get_token_accounts_by_owner(story.friend, options)).value
    assert only(found).pubkey == story.target
    other = TokenAccountOpts(program_id=Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"))
    assert (await story.client.get_token_accounts_by_owner(story.friend, other)).value == []


@question
async def get_token_accounts_by_owner_json_parsed(story: TokenStory) -> None:
    options = TokenAccountOpts(program_id=TOKEN)
    found = await story.client.get_token_accounts_by_owner_json_parsed(story.payer.pubkey(), options)
    assert only(found.value).account.data.parsed["info"]["mint"] == str(story.mint)


@question
async def get_token_accounts_by_delegate(story: TokenStory) -> None:
    options = TokenAccountOpts(mint=story.mint)
    found = (await story.client.get_token_accounts_by_delegate(story.delegate, options)).value
    assert only(found).pubkey == story.source
    assert (await story.client.get_token_accounts_by_delegate(story.friend, options)).value == []


@question
async def get_token_accounts_by_delegate_json_parsed(story: TokenStory) -> None:
    options = TokenAccountOpts(program_id=TOKEN)
    found = await story.client.get_token_accounts_by_delegate_json_parsed(story.delegate, options)
    assert only(found.value).account.data.parsed["info"]["delegate"] == str(story.delegate)


@question
async def get_minimum_balance_for_rent_exemption(story: TokenStory) -> None:
    assert (await story.client.get_minimum_balance_for_rent_exemption(ACCOUNT_BYTES)).value == 2_039_280


@question
async def get_slot(story: TokenStory) -> None:
    slots = [(await story.client.get_slot(level)).value for level in (Finalized, Confirmed, Processed)]
    assert slots[2] - slots[1] == 1
    assert slots[2] - slots[0] == 32


@question
async def get_block_height(story: TokenStory) -> None:
    assert (await story.client.get_block_height(Finalized)).value == (
        await story.client.get_slot(Finalized)
    ).value


@question
async def get_transaction_count(story: TokenStory) -> None:
    assert (await story.client.get_transaction_count()).value == TRANSACTIONS


@question
async def get_epoch_info(story: TokenStory) -> None:
    found = (await story.client.get_epoch_info(Confirmed)).value
    slot = (await story.client.get_slot(Confirmed)).value
    assert (found.epoch, found.slot_index, found.slots_in_epoch) == (0, slot, EPOCH_SLOTS)
    assert (found.absolute_slot, found.transaction_count) == (slot, TRANSACTIONS)


@question
async def get_epoch_schedule(story: TokenStory) -> None:
    found = (await story.client.get_epoch_schedule()).value
    assert (found.slots_per_epoch, found.warmup) == (EPOCH_SLOTS, False)
    assert found.get_epoch((await story.client.get_slot()).value) == 0


@question
async def get_latest_blockhash(story: TokenStory) -> None:
    found: RpcBlockhash = (await story.client.get_latest_blockhash(Processed)).value
    height = (await story.client.get_block_height(Processed)).value
    assert found.last_valid_block_height == height + 150
    block = story.driver.localnet.bank.chain.open
    assert found.blockhash == block.blockhash


@question
async def get_fee_for_message(story: TokenStory) -> None:
    payment = await story.payment(story.friend, SOL)
    assert (await story.client.get_fee_for_message(payment.message)).value == FEE


@question
async def get_block(story: TokenStory) -> None:
    for encoding in ("json", "jsonParsed", "base58", "base64"):
        block = (await story.client.get_block(story.moved_slot, encoding, 0)).value
        assert block is not None
        assert (block.parent_slot, block.block_height) == (story.moved_slot - 1, story.moved_slot)
        assert block.transactions is not None
        fees = [entry.meta.fee for entry in block.transactions if entry.meta is not None]
        assert fees == [FEE, FEE]
    before = (await story.client.get_block(story.moved_slot - 1, "json", 0)).value
    assert before is not None
    assert before.blockhash == block.previous_blockhash


@question
async def get_blocks(story: TokenStory) -> None:
    top = (await story.client.get_slot(Finalized)).value
    assert (await story.client.get_blocks(0, 3)).value == [0, 1, 2, 3]
    assert (await story.client.get_blocks(top - 1)).value == [top - 1, top]


@question
async def get_block_time(story: TokenStory) -> None:
    block = story.driver.localnet.bank.chain.block_of_slot(story.moved_slot)
    assert block is not None
    assert (await story.client.get_block_time(story.moved_slot)).value == block.time


@question
async def get_block_commitment(story: TokenStory) -> None:
    found = (await story.client.get_block_commitment(story.moved_slot)).value
    assert (found.commitment, found.total_stake) == (None, 0)


@question
async def get_first_available_block(story: TokenStory) -> None:
    assert (await story.client.get_first_available_block()).value == 0
    assert (await story.client.get_block(0)).value is not None


@question
async def get_minimum_ledger_slot(story: TokenStory) -> None:
    assert (await story.client.get_minimum_ledger_slot()).value == 0


@question
async def get_genesis_hash(story: TokenStory) -> None:
    assert (await story.client.get_genesis_hash()).value == story.driver.localnet.bank.genesis_hash


@question
async def get_identity(story: TokenStory) -> None:
    assert str((await story.client.get_identity()).value.identity) == story.driver.localnet.node.identity


@question
async def get_slot_leader(story: TokenStory) -> None:
    assert str((await story.client.get_slot_leader()).value) == story.driver.localnet.node.identity


@question
async def get_leader_schedule(story: TokenStory) -> None:
    found = (await story.client.get_leader_schedule()).value
    assert found is not None
    assert {str(key): len(slots) for key, slots in found.items()} == {
        story.driver.localnet.node.identity: EPOCH_SLOTS
    }
    assert (await story.client.get_leader_schedule(2 * EPOCH_SLOTS)).value is None


@question
async def get_cluster_nodes(story: TokenStory) -> None:
    node = only((await story.client.get_cluster_nodes()).value)
    told = json.loads(node.to_json())
    assert told["pubkey"] == story.driver.localnet.node.identity
    assert told["version"] == (await story.client.get_version()).value.solana_core


@question
async def get_version(story: TokenStory) -> None:
    found = (await story.client.get_version()).value
    assert found.solana_core.startswith("3.1.")
    assert found.feature_set is not None


@question
async def get_vote_accounts(story: TokenStory) -> None:
    found = (await story.client.get_vote_accounts()).value
    assert (found.current, found.delinquent) == ([], [])


@question
async def get_recent_performance_samples(story: TokenStory) -> None:
    # The story took no whole minute.
    assert (await story.client.get_recent_performance_samples(4)).value == []


@question
async def get_inflation_governor(story: TokenStory) -> None:
    found = (await story.client.get_inflation_governor()).value
    assert (found.initial, found.terminal, found.taper) == (0.08, 0.015, 0.15)


@question
async def get_inflation_rate(story: TokenStory) -> None:
    found = (await story.client.get_inflation_rate()).value
    assert (found.epoch, found.total) == (0, 0.08)
    assert found.validator + found.foundation == pytest.approx(found.total)


@question
async def get_inflation_reward(story: TokenStory) -> None:
    with pytest.raises(RPCException, match=f"Block not available for slot {EPOCH_SLOTS}"):
        await story.client.get_inflation_reward([story.payer.pubkey()])


@question
async def get_largest_accounts(story: TokenStory) -> None:
    found = (await story.client.get_largest_accounts()).value
    lamports = [entry.lamports for entry in found]
    assert lamports == sorted(lamports, reverse=True)
    assert found[1].address == story.payer.pubkey()
    # The client gives the filter as a parameter of its own, which Agave refuses as well.
    with pytest.raises(RPCException, match="Expected from 0 to 1 parameters"):
        await story.client.get_largest_accounts("nonCirculating")


@question
async def get_supply(story: TokenStory) -> None:
    found = (await story.client.get_supply()).value
    assert found.total == found.circulating
    assert FAUCET_LAMPORTS - 8 * FEE < found.total < FAUCET_LAMPORTS + 100 * SOL
    assert (found.non_circulating, list(found.non_circulating_accounts)) == (0, [])


@question
async def get_signatures_for_address(story: TokenStory) -> None:
    found = (await story.client.get_signatures_for_address(story.target)).value
    assert len(found) == 2
    assert found[0].signature == story.moved
    assert found[0].memo == f"[{len(NOTE)}] {NOTE}"
    assert found[0].confirmation_status == TransactionConfirmationStatus.Finalized
    older = await story.client.get_signatures_for_address(story.source, before=story.moved, limit=1)
    assert only(older.value).signature == story.minted
    newer = await story.client.get_signatures_for_address(story.source, until=story.minted)
    assert only(newer.value[1:]).signature == story.moved


@question
async def get_signature_statuses(story: TokenStory) -> None:
    unknown = Signature.new_unique()
    known, missing = (await story.client.get_signature_statuses([story.moved, unknown])).value
    assert missing is None
    assert known is not None
    assert (known.slot, known.confirmations, known.err) == (story.moved_slot, None, None)
    searched = await story.client.get_signature_statuses([story.moved], search_transaction_history=True)
    assert only(searched.value) == known


@question
async def get_transaction(story: TokenStory) -> None:
    for encoding in ("json", "jsonParsed", "base58", "base64"):
        found = (await story.client.get_transaction(story.moved, encoding, Confirmed, 0)).value
        assert found is not None
        meta = found.transaction.meta
        assert meta is not None
        assert (found.slot, meta.fee, meta.err) == (story.moved_slot, FEE, None)
        after = {entry.owner: entry.ui_token_amount.amount for entry in meta.post_token_balances or []}
        assert after == {story.payer.pubkey(): str(MINTED - MOVED), story.friend: str(MOVED)}
    assert (await story.client.get_transaction(Signature.new_unique())).value is None


@question
async def request_airdrop(story: TokenStory) -> None:
    wallet = Keypair().pubkey()
    signature = (await story.client.request_airdrop(wallet, 3 * SOL)).value
    story.driver.advance()
    assert (await story.client.get_balance(wallet)).value == 3 * SOL
    assert only((await story.client.get_signature_statuses([signature])).value).err is None


@question
async def send_transaction(story: TokenStory) -> None:
    wallet = Keypair().pubkey()
    payment = await story.payment(wallet, SOL)
    assert (await story.client.send_transaction(payment)).value == payment.signatures[0]
    story.driver.advance()
    assert (await story.client.get_balance(wallet)).value == SOL


@question
async def send_raw_transaction(story: TokenStory) -> None:
    payment = await story.payment(Keypair().pubkey(), 10_000 * SOL)
    with pytest.raises(RPCException) as refused:
        await story.client.send_raw_transaction(bytes(payment))
    failure = refused.value.args[0]
    assert failure.data.err is not None
    assert any("insufficient lamports" in line for line in failure.data.logs)
    sent = await story.client.send_raw_transaction(bytes(payment), TxOpts(skip_preflight=True))
    story.driver.advance()
    assert only((await story.client.get_signature_statuses([sent.value])).value).err is not None


@question
async def simulate_transaction(story: TokenStory) -> None:
    payment = await story.payment(story.friend, SOL)
    found = (await story.client.simulate_transaction(payment, sig_verify=True)).value
    assert (found.err, found.units_consumed) == (None, 150)
    assert found.logs is not None
    assert found.logs[-1] == "Program 11111111111111111111111111111111 success"
    assert (await story.client.get_signature_statuses([payment.signatures[0]])).value == [None]


@question
async def confirm_transaction(story: TokenStory) -> None:
    latest = (await story.client.get_latest_blockhash()).value
    confirmed = await story.client.confirm_transaction(
        story.moved, Finalized, last_valid_block_height=latest.last_valid_block_height
    )
    assert only(confirmed.value).confirmation_status == TransactionConfirmationStatus.Finalized


@question
async def validator_exit(story: TokenStory) -> None:
    # No RPC may end a validator whose operator did not allow it; Agave no longer has the method at all.
    with pytest.raises((RPCException, SerdeJSONError)):
        await story.client.validator_exit()
    assert await story.client.is_connected()


@pytest.mark.parametrize("name", sorted(QUESTIONS))
async def test_the_reply_means_what_it_should(story: TokenStory, name: str) -> None:
    await QUESTIONS[name](story)


def test_every_method_of_the_client_is_asked_something() -> None:
    assert set(QUESTIONS) == public_methods()
