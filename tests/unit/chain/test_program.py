from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from solders.keypair import Keypair

import deal_localnet
from deal_localnet import Localnet, LocalnetConfig
from deal_sdk import chain
from deal_sdk.chain import LocalnetTransport, anchor_provider, async_client
from deal_sdk.clock import ManualClock

HEAVY = ("solana", "anchorpy", "deal_localnet")


def test_callers_libraries_are_loaded_on_first_use_alone():
    source = Path(chain.__file__).parents[2]
    program = f"import sys, deal_sdk.chain; print([m for m in {HEAVY} if m in sys.modules])"
    path = f"{source}:{Path(deal_localnet.__file__).parents[1]}"
    found = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


async def test_closing_a_client_leaves_the_transport_open():
    async with Localnet(LocalnetConfig()) as localnet:
        transport = LocalnetTransport(localnet, clock=ManualClock())
        async with async_client(transport) as client:
            assert await client.is_connected()
        provider = anchor_provider(transport)
        await provider.close()
        assert await async_client(transport, commitment="processed").is_connected()


async def test_a_provider_signs_with_the_key_it_was_given():
    async with Localnet(LocalnetConfig()) as localnet:
        keypair = Keypair()
        provider = anchor_provider(LocalnetTransport(localnet, clock=ManualClock()), keypair)
        assert provider.wallet.public_key == keypair.pubkey()
