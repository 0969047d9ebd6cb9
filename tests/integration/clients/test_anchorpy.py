"""anchorpy drives the shipped program by its IDL: accounts, calls, simulations, refusals and events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import pytest
from anchorpy import Context, EventParser, Program, Provider, Wallet
from anchorpy.error import AccountDoesNotExistError, ProgramError
from anchorpy_core.idl import Idl
from solana.rpc.commitment import Confirmed, Processed
from solana.rpc.types import TxOpts
from solana.rpc.websocket_api import connect
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilterMentions

from deal_localnet import LocalnetServer
from deal_sdk.chain.allowance import EMBEDDED_PROGRAM_ID, idl_json
from tests.integration.clients.token_story import APPROVE, TokenStory
from tests.unit.localnet.support import SYSTEM, TOKEN, readonly, writable

SENT: Final = TxOpts(skip_confirmation=True, preflight_commitment=Processed)
OWNED: Final = 1_000
CAP: Final = 300
MAX_PER_CHARGE: Final = 100
PERIOD_SECONDS: Final = 3_600
REFERENCE: Final = list(range(16))
TOLD_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Shop:
    """A merchant with one customer who allowed charges, all by anchorpy's calls."""

    program: Program
    story: TokenStory
    owner: Keypair
    token_account: Pubkey
    vault: Pubkey

    @property
    def merchant(self) -> Pubkey:
        seeds = [b"merchant", bytes(self.story.payer.pubkey()), bytes(self.story.mint)]
        return Pubkey.find_program_address(seeds, EMBEDDED_PROGRAM_ID)[0]

    @property
    def allowance(self) -> Pubkey:
        seeds = [b"allowance", bytes(self.merchant), bytes(self.owner.pubkey())]
        return Pubkey.find_program_address(seeds, EMBEDDED_PROGRAM_ID)[0]

    async def open(self) -> None:
        """Begin the merchant and let the customer allow what it may charge."""
        payer = self.story.payer.pubkey()
        begun = {
            "payer": payer,
            "creator": payer,
            "merchant": self.merchant,
            "mint": self.story.mint,
            "treasury": self.story.source,
            "reward_vault": self.vault,
            "token_program": TOKEN,
            "system_program": SYSTEM,
        }
        await self.program.rpc["initialize_merchant"](ctx=Context(accounts=begun))
        opened = {
            "payer": payer,
            "owner": self.owner.pubkey(),
            "merchant": self.merchant,
            "allowance": self.allowance,
            "token_account": self.token_account,
            "system_program": SYSTEM,
        }
        accounts = [
            writable(self.token_account),
            readonly(self.allowance),
            AccountMeta(self.owner.pubkey(), True, False),
        ]
        approve = Instruction(TOKEN, bytes([APPROVE]) + CAP.to_bytes(8, "little"), accounts)
        context = Context(accounts=opened, signers=[self.owner], pre_instructions=[approve])
        await self.program.rpc["open_allowance"](CAP, PERIOD_SECONDS, MAX_PER_CHARGE, 0, ctx=context)
        self.story.driver.advance()

    def charging(self) -> Context:
        """The accounts of a charge."""
        return Context(
            accounts={
                "authority": self.story.payer.pubkey(),
                "merchant": self.merchant,
                "allowance": self.allowance,
                "token_account": self.token_account,
                "mint": self.story.mint,
                "treasury": self.story.source,
                "token_program": TOKEN,
            }
        )


@pytest.fixture
async def shop(story: TokenStory) -> Shop:
    provider = Provider(story.client, Wallet(story.payer), SENT)
    program = Program(Idl.from_json(idl_json()), EMBEDDED_PROGRAM_ID, provider)
    owner = Keypair()
    token_account = await story.driver.open_account(story.mint, owner.pubkey())
    await story.driver.mint_to(story.mint, token_account, OWNED)
    made = Shop(program, story, owner, token_account, Pubkey.default())
    vault = await story.driver.open_account(story.mint, made.merchant)
    made = Shop(program, story, owner, token_account, vault)
    story.driver.advance()
    await made.open()
    return made


async def tokens(shop: Shop, account: Pubkey) -> int:
    return int((await shop.story.client.get_token_account_balance(account, Processed)).value.amount)


async def test_accounts_are_fetched_by_name(shop: Shop) -> None:
    merchant = await shop.program.account["Merchant"].fetch(shop.merchant, Confirmed)
    assert (merchant.mint, merchant.treasury) == (shop.story.mint, shop.story.source)
    (allowance, nothing) = await shop.program.account["Allowance"].fetch_multiple(
        [shop.allowance, Keypair().pubkey()], commitment=Confirmed
    )
    assert nothing is None
    assert allowance is not None
    assert (allowance.cap_per_period, allowance.max_per_charge) == (CAP, MAX_PER_CHARGE)
    listed = await shop.program.account["Allowance"].all()
    assert [entry.public_key for entry in listed] == [shop.allowance]
    with pytest.raises(AccountDoesNotExistError):
        await shop.program.account["Merchant"].fetch(Keypair().pubkey())


async def test_a_call_moves_tokens(shop: Shop) -> None:
    before = await tokens(shop, shop.story.source)
    await shop.program.rpc["charge"](60, 0, REFERENCE, ctx=shop.charging())
    assert await tokens(shop, shop.token_account) == OWNED - 60
    assert await tokens(shop, shop.story.source) == before + 60


async def test_a_simulation_shows_events_and_leaves_no_trace(shop: Shop) -> None:
    shown = await shop.program.simulate["charge"](60, 0, REFERENCE, ctx=shop.charging())
    (event,) = shown.events
    assert (event.name, event.data.amount, event.data.sequence) == ("Charged", 60, 0)
    assert await tokens(shop, shop.token_account) == OWNED


async def test_a_refusal_carries_the_message_of_the_idl(shop: Shop) -> None:
    with pytest.raises(ProgramError) as refused:
        await shop.program.rpc["charge"](MAX_PER_CHARGE + 1, 0, REFERENCE, ctx=shop.charging())
    messages = {error.code: error.msg for error in shop.program.idl.errors or []}
    assert refused.value.msg == messages[refused.value.code]
    with pytest.raises(ProgramError):
        await shop.program.simulate["charge"](60, 7, REFERENCE, ctx=shop.charging())


async def test_events_are_told_to_who_subscribed(shop: Shop, server: LocalnetServer) -> None:
    async with connect(server.ws_url) as socket:
        await socket.logs_subscribe(RpcTransactionLogsFilterMentions(EMBEDDED_PROGRAM_ID), Confirmed)
        await asyncio.wait_for(socket.recv(), TOLD_SECONDS)
        await shop.program.rpc["charge"](60, 0, REFERENCE, ctx=shop.charging())
        shop.story.driver.advance()
        (told,) = await asyncio.wait_for(socket.recv(), TOLD_SECONDS)
    events: list[Any] = []
    EventParser(EMBEDDED_PROGRAM_ID, shop.program.coder).parse_logs(told.result.value.logs, events.append)
    (event,) = events
    assert (event.name, event.data.owner, event.data.amount) == ("Charged", shop.owner.pubkey(), 60)
