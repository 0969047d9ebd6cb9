"""What the chain area promises, on the embedded chain, on a localnet over TCP and on a real validator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from deal_sdk.chain import (
    Confirmer,
    KeypairSigner,
    LocalnetTransport,
    Rpc,
    SignedTransaction,
    Transport,
    anchor_provider,
    associated_token_address,
    async_client,
    build_and_sign,
    create_deal_mint,
    ensure_lamports,
    instructions,
    load_mint,
    load_token_account,
)
from deal_sdk.chain.addresses import MEMO_PROGRAM
from deal_sdk.errors import ConfigurationError, MintNotFoundError, RpcRefusedError, RpcUnavailableError
from deal_sdk.metrics import Metrics
from deal_sdk.settings import TokenProgram
from tests.contract.chain_world import CHAINS, CLOCK, PROGRAMS, SUPPLY, World, deployed, localnet, open_chain


@pytest.fixture(params=CHAINS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with open_chain(request.param, request) as transport:
        yield transport


@pytest.fixture(params=PROGRAMS)
async def world(request: pytest.FixtureRequest, transport: Transport) -> AsyncIterator[World]:
    async with deployed(transport, request.param) as world:
        yield world


@pytest.fixture
async def classic(transport: Transport) -> AsyncIterator[World]:
    async with deployed(transport, "classic") as world:
        yield world


class TestMint:
    async def test_a_deployment_can_be_repeated_and_makes_one_supply(self, world):
        async def deploy(**changes: object):
            arguments = {
                "payer_signer": world.payer,
                "treasury_signer": world.treasury,
                "mint_signer": world.mint_signer,
                "token_program": program_name(world),
                "supply_base_units": SUPPLY,
                "name": "Deals Token",
                "symbol": "DEAL",
                **changes,
            }
            return await create_deal_mint(world.rpc, **arguments)

        again = await deploy()
        assert again.supply_base_units == SUPPLY
        assert (again.decimals, again.mint_authority) == (8, world.treasury.address)
        assert again.freeze_authority is None
        named = program_name(world) == "token-2022"
        assert (again.name, again.symbol) == (("Deals Token", "DEAL") if named else (None, None))
        with pytest.raises(ConfigurationError, match="decimals"):
            await deploy(decimals=6)
        rival = KeypairSigner.generate()
        rivals = await asyncio.gather(*(deploy(mint_signer=rival) for _ in range(3)))
        assert {facts.supply_base_units for facts in rivals} == {SUPPLY}
        holding = associated_token_address(world.treasury.address, rival.address, world.mint.program_id)
        assert (await world.rpc.get_token_balance(holding)).amount_base_units == SUPPLY

    async def test_what_is_no_mint_is_told(self, classic):
        with pytest.raises(MintNotFoundError):
            await load_mint(classic.rpc, KeypairSigner.generate().address)
        with pytest.raises(MintNotFoundError):
            await load_mint(classic.rpc, classic.treasury_account)
        assert await load_token_account(classic.rpc, KeypairSigner.generate().address) is None


class TestTokens:
    async def test_transfer_mint_and_burn(self, world):
        user = await world.user(500)
        checked = {
            "mint": world.mint.address,
            "authority": world.treasury.address,
            "decimals": 8,
            "program_id": world.mint.program_id,
        }
        verdict = await world.land(
            instructions.mint_to_checked(destination=world.treasury_account, amount_base_units=70, **checked),
            instructions.burn_checked(source=world.treasury_account, amount_base_units=30, **checked),
            signers=(world.treasury,),
        )
        assert verdict.state in ("confirmed", "finalized")
        supply = await world.rpc.get_token_supply(world.mint.address)
        assert (supply.amount_base_units, supply.decimals) == (SUPPLY + 40, 8)
        slot, amounts = await world.rpc.get_token_accounts_by_mint(world.mint.address, world.mint.program_id)
        assert slot >= verdict.slot
        assert sum(amount.amount_base_units for amount in amounts) == SUPPLY + 40
        largest = await world.rpc.get_token_largest_accounts(world.mint.address)
        assert [amount.amount_base_units for amount in largest] == [SUPPLY - 500 + 40, 500]
        assert (await world.state(user)).amount_base_units == 500

    async def test_a_delegate_spends_what_was_approved_and_no_more(self, world):
        owner, delegate, recipient = await world.user(500), KeypairSigner.generate(), await world.user(1)
        approve = instructions.approve_checked(
            source=world.account_of(owner),
            mint=world.mint.address,
            delegate=delegate.address,
            owner=owner.address,
            amount_base_units=100,
            decimals=8,
            program_id=world.mint.program_id,
        )
        assert (await world.land(approve, signers=(owner,))).succeeded
        state = await world.state(owner)
        assert (state.delegate, state.delegated_base_units) == (delegate.address, 100)
        assert (
            await world.land(world.transfer(owner, recipient, 60, by=delegate), signers=(delegate,))
        ).succeeded
        state = await world.state(owner)
        assert (state.amount_base_units, state.delegated_base_units) == (440, 40)
        too_much = await world.land(world.transfer(owner, recipient, 41, by=delegate), signers=(delegate,))
        assert (too_much.state, too_much.final) == ("failed", too_much.final)
        assert "InstructionError" in too_much.error
        revoke = instructions.revoke(
            source=world.account_of(owner), owner=owner.address, program_id=world.mint.program_id
        )
        assert (await world.land(revoke, signers=(owner,))).succeeded
        assert (await world.state(owner)).live_delegate is None

    async def test_wrong_decimals_are_refused_by_the_chain(self, classic):
        user = await classic.user(5)
        wrong = instructions.transfer_checked(
            source=classic.account_of(user),
            mint=classic.mint.address,
            destination=classic.treasury_account,
            authority=user.address,
            amount_base_units=1,
            decimals=6,
            program_id=classic.mint.program_id,
        )
        assert (await classic.land(wrong, signers=(user,))).state == "failed"

    async def test_balances_know_their_slot(self, classic):
        user = await classic.user(7)
        nobody = KeypairSigner.generate()
        reached = await classic.rpc.get_slot("confirmed")
        read = [
            classic.rpc.get_token_balance(classic.account_of(owner), min_context_slot=reached)
            for owner in (user, nobody, classic.treasury)
        ]
        balances = await asyncio.gather(*read)
        assert [balance.amount_base_units for balance in balances] == [7, 0, SUPPLY - 7]
        assert [balance.exists for balance in balances] == [True, False, True]
        assert all(balance.slot >= reached for balance in balances)

    @pytest.mark.slow
    async def test_a_slot_far_ahead_ends_in_a_typed_error(self, classic):
        with pytest.raises(RpcUnavailableError, match="has not reached slot"):
            await classic.rpc.get_account(classic.mint.address, min_context_slot=10**12)


class TestHistory:
    async def test_a_transfer_can_be_read_back(self, world):
        user = await world.user(900)
        signed = await world.sign(
            instructions.memo("order 7"), world.transfer(user, world.treasury, 400), signers=(user,)
        )
        verdict = await world.confirmer.follow(signed).reached("confirmed")
        landed = await world.rpc.get_transaction(signed.signature, "confirmed")
        assert landed is not None
        assert (landed.signature, landed.slot, landed.error) == (signed.signature, verdict.slot, None)
        account = str(world.account_of(user))
        before, after = landed.token_balances_before[account], landed.token_balances_after[account]
        assert (before.amount_base_units, after.amount_base_units) == (900, 500)
        assert (after.owner, after.mint) == (str(user.address), str(world.mint.address))
        assert landed.fee_lamports == 10_000
        assert f"Program {MEMO_PROGRAM} success" in landed.logs
        block = await world.rpc.get_block_transactions(landed.slot, "confirmed")
        assert block is not None
        [in_block] = [entry for entry in block if entry.signature == signed.signature]
        assert in_block.token_balances_after == landed.token_balances_after
        entries = await world.rpc.get_signatures_for_address(world.account_of(user), commitment="confirmed")
        assert entries[0].signature == signed.signature
        assert len(entries) == 2
        newer = await world.rpc.get_signatures_for_address(
            world.account_of(user), until=entries[1].signature, commitment="confirmed"
        )
        assert [entry.signature for entry in newer] == [signed.signature]
        older = await world.rpc.get_signatures_for_address(
            world.account_of(user), before=signed.signature, commitment="confirmed"
        )
        assert [entry.signature for entry in older] == [entries[1].signature]

    async def test_what_never_happened_is_none(self, classic):
        signed = await classic.sign(instructions.memo("never sent"), signers=())
        assert await classic.rpc.get_transaction(signed.signature, "confirmed") is None
        reply = await classic.rpc.get_signature_statuses([signed.signature] * 300, search_history=True)
        assert reply.statuses == (None,) * 300

    async def test_simulation_tells_what_it_would_cost_and_why_it_would_fail(self, classic):
        user = await classic.user(5)
        good = await classic.sign(classic.transfer(user, classic.treasury, 5), signers=(user,))
        simulation = await classic.rpc.simulate_transaction(good.raw_bytes)
        assert simulation.error is None
        assert simulation.compute_units > 0
        bad = await classic.sign(classic.transfer(user, classic.treasury, 6), signers=(user,))
        simulation = await classic.rpc.simulate_transaction(bad.raw_bytes)
        assert simulation.error == {"InstructionError": [0, {"Custom": 1}]}

    async def test_the_cluster_tells_about_itself(self, classic):
        rpc = classic.rpc
        version, genesis = await asyncio.gather(rpc.get_version(), rpc.get_genesis_hash())
        assert version
        assert len(genesis) in range(32, 45)
        position = await rpc.get_epoch_position("finalized")
        assert position.block_height <= position.slot
        assert await rpc.get_block_height("finalized") >= position.block_height
        assert await rpc.get_first_available_block() <= position.slot
        assert all(fee.micro_lamports >= 0 for fee in await rpc.get_recent_prioritization_fees())


class TestSending:
    async def test_many_at_once_land_each_once(self, classic):
        users = [await classic.user(1_000) for _ in range(2)]
        signed = await asyncio.gather(
            *(
                classic.sign(
                    instructions.memo(f"payment {number}"),
                    classic.transfer(users[number % 2], classic.treasury, 3),
                    signers=(users[number % 2],),
                )
                for number in range(120)
            )
        )
        followings = [classic.confirmer.follow(transaction) for transaction in (*signed, *signed)]
        verdicts = await asyncio.gather(*(following.reached("confirmed") for following in followings))
        assert {verdict.succeeded for verdict in verdicts} == {True}
        assert [(await classic.state(user)).amount_base_units for user in users] == [820, 820]

    async def test_a_doomed_one_ends_as_failed_on_the_chain(self, classic):
        user = await classic.user(5)
        verdict = await classic.land(classic.transfer(user, classic.treasury, 6), signers=(user,))
        assert verdict.state == "failed"
        assert verdict.error == {"InstructionError": [0, {"Custom": 1}]}
        assert verdict.evidence["slot"] == verdict.slot

    async def test_it_becomes_final(self, classic):
        signed = await classic.sign(instructions.memo("final"), signers=())
        verdict = await classic.confirmer.follow(signed).reached("finalized")
        assert (verdict.state, verdict.final) == ("finalized", True)
        landed = await classic.rpc.get_transaction(signed.signature, "finalized")
        assert landed is not None
        assert landed.slot == verdict.slot

    async def test_a_refusal_carries_its_code_and_data(self, classic):
        user = await classic.user(5)
        bad = await classic.sign(classic.transfer(user, classic.treasury, 6), signers=(user,))
        with pytest.raises(RpcRefusedError) as caught:
            await classic.rpc.send_transaction(bad.raw_bytes)
        assert caught.value.rpc_code == -32002
        assert caught.value.data["err"] == {"InstructionError": [0, {"Custom": 1}]}


class TestCallersLibraries:
    async def test_solana_py_reads_and_sends(self, classic):
        client = async_client(classic.rpc.transport)
        assert await client.is_connected()
        lamports = (await client.get_balance(classic.payer.address)).value
        assert lamports == await classic.rpc.get_balance(classic.payer.address)
        balance = (await client.get_token_account_balance(classic.treasury_account)).value
        assert balance.amount == str(SUPPLY)
        signed = await classic.sign(instructions.memo("from solana-py"), signers=())
        reply = await client.send_raw_transaction(signed.raw_bytes)
        assert str(reply.value) == signed.signature
        verdict = await classic.confirmer.watch(signed.signature).reached("confirmed")
        assert verdict.succeeded
        await client.close()

    async def test_an_anchor_provider_sends(self, classic):
        keypair = Keypair()
        await ensure_lamports(classic.rpc, keypair.pubkey(), 1_000_000_000)
        provider = anchor_provider(classic.rpc.transport, keypair)
        blockhash = (await provider.connection.get_latest_blockhash()).value.blockhash
        recipient = Keypair().pubkey()
        step = transfer(
            TransferParams(from_pubkey=keypair.pubkey(), to_pubkey=recipient, lamports=10_000_000)
        )
        message = MessageV0.try_compile(keypair.pubkey(), [step], [], blockhash)
        signature = await provider.send(VersionedTransaction(message, [keypair]))
        assert (await classic.confirmer.watch(str(signature)).reached("confirmed")).succeeded
        assert await classic.rpc.get_balance(recipient) == 10_000_000
        await provider.close()


class TestExpiry:
    """On the embedded chain alone: a validator would take two minutes to let a blockhash run out."""

    async def test_a_transaction_that_was_never_sent_expires_by_proof(self):
        async with localnet(auto_advance=False) as chain:
            rpc = Rpc(LocalnetTransport(chain, clock=CLOCK), clock=CLOCK, metrics=Metrics())
            payer = KeypairSigner.generate()
            await rpc.request_airdrop(payer.address, 1_000_000_000)
            chain.advance_slots(3)
            blockhash = await rpc.get_latest_blockhash()
            signed = await build_and_sign([instructions.memo("late")], payer=payer, blockhash=blockhash)
            chain.advance_slots(blockhash.last_valid_block_height + 40)
            confirmer = Confirmer(rpc, clock=CLOCK, metrics=Metrics())
            verdict = await confirmer.follow(signed).reached("finalized")
            assert verdict.state == "expired"
            assert verdict.evidence["finalized_height"] > signed.last_valid_block_height
            assert verdict.evidence["context_slot"] >= verdict.evidence["finalized_slot"]
            # It was broadcast once, without a simulation, so that no node had a reason to give.
            assert verdict.error is None
            await confirmer.close()

    async def test_a_rolled_back_transaction_lands_again(self):
        async with localnet(auto_advance=False) as chain:
            rpc = Rpc(LocalnetTransport(chain, clock=CLOCK), clock=CLOCK, metrics=Metrics())
            payer = KeypairSigner.generate()
            await rpc.request_airdrop(payer.address, 1_000_000_000)
            chain.advance_slots(40)
            blockhash = await rpc.get_latest_blockhash()
            signed = await build_and_sign([instructions.memo("forked")], payer=payer, blockhash=blockhash)
            before = await rpc.get_slot("processed")
            confirmer = Confirmer(rpc, clock=CLOCK, metrics=Metrics(), rebroadcast_interval_seconds=0.2)
            following = confirmer.follow(signed)
            first = await landed_at(rpc, signed)
            chain.advance_slots(2)
            assert (await following.reached("confirmed")).slot == first
            assert signed.signature in chain.rollback(before - 1)
            chain.advance_slots(3)
            await landed_at(rpc, signed, other_than=first)
            chain.advance_slots(40)
            final = await following.reached("finalized")
            assert final.state == "finalized"
            assert final.slot > first
            await confirmer.close()


def program_name(world: World) -> TokenProgram:
    return "token-2022" if str(world.mint.program_id).startswith("Tokenz") else "classic"


async def landed_at(rpc: Rpc, signed: SignedTransaction, *, other_than: int | None = None) -> int:
    while True:
        status = (await rpc.get_signature_statuses([signed.signature])).statuses[0]
        if status is not None and status.slot != other_than:
            return status.slot
        await asyncio.sleep(0.05)
