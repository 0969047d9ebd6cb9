"""Deploying once, through a node that loses, refuses and lags; the chain behind it is the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from deal_localnet import Localnet, LocalnetConfig
from deal_sdk.chain import (
    KeypairSigner,
    LocalnetTransport,
    Rpc,
    associated_token_address,
    create_deal_mint,
    ensure_lamports,
)
from deal_sdk.chain.token import MAINNET_GENESIS_HASH, MINT_DEPLOYMENT_LAMPORTS
from deal_sdk.clock import SystemClock
from deal_sdk.errors import (
    ConfigurationError,
    FeePayerError,
    InvalidAmountError,
    InvalidInputError,
    RpcTimeoutError,
    TransactionFailedError,
)
from deal_sdk.metrics import Metrics

CLOCK = SystemClock()


class Faulty(LocalnetTransport):
    """An embedded chain whose replies a test can lose or replace, by method."""

    def __init__(self, localnet: Localnet) -> None:
        super().__init__(localnet, clock=CLOCK)
        self.lose_once: set[str] = set()
        self.never_forward: set[str] = set()
        self.answers: dict[str, object] = {}
        self.sends = 0
        self.sent = asyncio.Event()
        self.dies_after_send = False

    async def post(self, body: bytes) -> bytes:
        request = orjson.loads(body)
        method = request["method"] if isinstance(request, dict) else ""
        if self.dies_after_send and self.sent.is_set():
            raise RpcTimeoutError("nobody is there any more")
        if method == "sendTransaction":
            self.sends += 1
            self.sent.set()
        if method in self.answers:
            return orjson.dumps({"jsonrpc": "2.0", "id": request["id"], **self.answers[method]})
        if method in self.never_forward:
            raise RpcTimeoutError("lost before it arrived")
        reply = await super().post(body)
        if method in self.lose_once:
            self.lose_once.discard(method)
            raise RpcTimeoutError("lost after it arrived")
        return reply


class Deployment:
    def __init__(self, transport: Faulty) -> None:
        self.transport = transport
        self.rpc = Rpc(transport, clock=CLOCK, metrics=Metrics())
        self.payer, self.treasury, self.mint = (KeypairSigner.generate() for _ in range(3))

    async def run(self, **changes: object):
        arguments = {
            "payer_signer": self.payer,
            "treasury_signer": self.treasury,
            "mint_signer": self.mint,
            "token_program": "classic",
            "supply_base_units": 1_000,
            "name": "Deals Token",
            "symbol": "DEAL",
            **changes,
        }
        return await create_deal_mint(self.rpc, **arguments)

    async def held(self, facts) -> int:
        address = associated_token_address(self.treasury.address, facts.address, facts.program_id)
        return (await self.rpc.get_token_balance(address)).amount_base_units


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetConfig(slot_seconds=0.02)) as localnet:
        yield localnet


@pytest.fixture
def deployment(localnet: Localnet) -> Deployment:
    return Deployment(Faulty(localnet))


@pytest.mark.parametrize("program", ["classic", "token-2022"])
async def test_a_lost_reply_makes_no_second_supply(deployment, program):
    deployment.transport.lose_once = {"sendTransaction"}
    facts = await deployment.run(token_program=program)
    assert facts.supply_base_units == 1_000
    assert await deployment.held(facts) == 1_000


async def test_two_that_deploy_at_once_make_one_supply(deployment):
    facts = await asyncio.gather(*(deployment.run() for _ in range(4)))
    assert {each.supply_base_units for each in facts} == {1_000}
    assert await deployment.held(facts[0]) == 1_000


async def test_a_crash_before_the_reply_is_finished_by_the_next_run(deployment):
    deployment.transport.dies_after_send = True
    with pytest.raises(RpcTimeoutError):
        await deployment.run()
    deployment.transport.dies_after_send = False
    facts = await deployment.run()
    assert facts.supply_base_units == await deployment.held(facts) == 1_000


async def test_a_blockhash_that_ran_out_is_replaced(deployment, localnet, monkeypatch):
    deployment.transport.never_forward = {"sendTransaction"}
    running = asyncio.create_task(deployment.run())
    await deployment.transport.sent.wait()
    localnet.advance_slots(localnet.config.blockhash_lifetime_blocks + 60)
    deployment.transport.never_forward = set()
    facts = await running
    assert facts.supply_base_units == 1_000
    assert deployment.transport.sends >= 2


async def test_what_the_chain_refuses_is_told_with_its_error(deployment):
    # The payer is funded, then spends nearly all before the deployment lands.
    await ensure_lamports(deployment.rpc, deployment.payer.address, MINT_DEPLOYMENT_LAMPORTS)
    deployment.transport.answers["getMinimumBalanceForRentExemption"] = {"result": 10**12}
    refused = {"context": {"slot": 10**6}, "value": [
        {"slot": 5, "confirmations": None, "err": {"InstructionError": [0, {"Custom": 1}]},
         "confirmationStatus": "finalized"}
    ]}  # fmt: skip
    deployment.transport.answers["getSignatureStatuses"] = {"result": refused}
    with pytest.raises(TransactionFailedError) as caught:
        await deployment.run()
    assert caught.value.evidence["error"] == {"InstructionError": [0, {"Custom": 1}]}
    assert caught.value.evidence["endpoint"] == "localnet"


async def test_a_failure_that_a_fork_may_take_back_is_no_end(deployment, localnet):
    deployment.transport.answers["getSignatureStatuses"] = {"result": {"context": {"slot": 10**6}, "value": [
        {"slot": 5, "confirmations": None, "err": "AccountInUse", "confirmationStatus": "confirmed"}
    ]}}  # fmt: skip
    assert (await deployment.run()).supply_base_units == 1_000


async def test_mainnet_needs_an_explicit_word(deployment):
    deployment.transport.answers["getGenesisHash"] = {"result": MAINNET_GENESIS_HASH}
    with pytest.raises(ConfigurationError, match="mainnet"):
        await deployment.run()
    assert deployment.transport.sends == 0
    assert (await deployment.run(allow_mainnet=True)).supply_base_units == 1_000


async def test_without_a_faucet_the_payer_is_told_how_much_it_needs(deployment):
    deployment.transport.answers["requestAirdrop"] = {
        "error": {"code": -32601, "message": "Method not found"}
    }
    with pytest.raises(FeePayerError, match=r"0\.020000000 SOL") as caught:
        await deployment.run()
    assert caught.value.facts["needed_lamports"] == MINT_DEPLOYMENT_LAMPORTS
    assert caught.value.facts["address"] == str(deployment.payer.address)


@pytest.mark.parametrize(
    ("changes", "differs"),
    [({"token_program": "token-2022"}, "program"), ({"decimals": 6}, "decimals"),
     ({"treasury_signer": KeypairSigner.generate()}, "mint authority")],
)  # fmt: skip
async def test_a_mint_of_other_facts_is_not_taken_over(deployment, changes, differs):
    await deployment.run()
    with pytest.raises(ConfigurationError) as caught:
        await deployment.run(**changes)
    assert differs in caught.value.facts["differs"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"supply_base_units": 0}, InvalidAmountError),
        ({"supply_base_units": 2**63}, InvalidAmountError),
        ({"decimals": 20}, InvalidInputError),
        ({"name": ""}, InvalidInputError),
        ({"name": "é" * 17}, InvalidInputError),
        ({"symbol": "ELEVENCHARS"}, InvalidInputError),
        ({"uri": "x" * 201}, InvalidInputError),
        ({"token_program": "other"}, ConfigurationError),
    ],
)
async def test_wrong_input_is_refused_before_anything_is_sent(deployment, changes, error):
    with pytest.raises(error):
        await deployment.run(**changes)
    assert deployment.transport.sends == 0


async def test_the_longest_texts_fit_one_transaction(deployment):
    facts = await deployment.run(token_program="token-2022", name="n" * 32, symbol="s" * 10, uri="u" * 200)
    assert (facts.name, facts.symbol) == ("n" * 32, "s" * 10)


async def test_lamports_that_are_there_are_not_asked_for_again(deployment):
    rpc, address = deployment.rpc, deployment.payer.address
    assert await ensure_lamports(rpc, address, 2_000_000) == 2_000_000
    deployment.transport.answers["requestAirdrop"] = {
        "error": {"code": -32601, "message": "Method not found"}
    }
    assert await ensure_lamports(rpc, address, 2_000_000) == 2_000_000
