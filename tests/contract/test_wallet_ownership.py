"""Proof of ownership: one message, one signature, one use; a proven claim ends an unproven one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from solders.keypair import Keypair

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    ChallengeInvalidError,
    InvalidInputError,
    InvalidSignatureError,
    InvalidWalletAddressError,
    UserNotFoundError,
    WalletAlreadyConnectedError,
)
from deal_sdk.records import Database
from deal_sdk.wallets import WalletChallenge
from tests.contract.conftest import ON_POSTGRES_TOO, fresh_database_url
from tests.contract.payment_orders import broken_rules
from tests.contract.test_wallets import Wallets


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite, unless a test asks for the other one."""
    return fresh_database_url(request, tmp_path)


@pytest.fixture
async def wallets(database: Database, manual_clock: ManualClock) -> AsyncIterator[Wallets]:
    opened = Wallets(database, manual_clock)
    yield opened
    await opened.events.close()
    assert await broken_rules(database) == {}


async def asked(wallets: Wallets, user: UUID, keypair: Keypair) -> WalletChallenge:
    return await wallets.manager.challenge(user, str(keypair.pubkey()), domain="shop.example")


def signed(keypair: Keypair, challenge: WalletChallenge) -> str:
    return str(keypair.sign_message(challenge.message.encode()))


@ON_POSTGRES_TOO
async def test_a_wallet_is_proven_by_its_signature_over_the_message(wallets: Wallets) -> None:
    user, keypair = await wallets.user(), Keypair()
    challenge = await wallets.manager.challenge(
        user,
        str(keypair.pubkey()),
        domain="shop.example:8443",
        statement="Pay with DEAL.",
        uri="https://shop.example/sign-in",
        chain_id="devnet",
    )
    assert challenge.message == (
        "shop.example:8443 wants you to sign in with your Solana account:\n"
        f"{keypair.pubkey()}\n\n"
        "Pay with DEAL.\n\n"
        "URI: https://shop.example/sign-in\nVersion: 1\nChain ID: devnet\n"
        f"Nonce: {challenge.nonce}\n"
        "Issued At: 2026-01-01T00:00:00.000Z\nExpiration Time: 2026-01-01T00:05:00.000Z"
    )
    wallet = await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))
    assert (wallet.user_id, wallet.status, wallet.is_primary) == (user, "active", True)
    assert wallet.verified_at is not None
    assert wallets.tracked == [(wallet.address, user)]
    await wallets.events.drain()
    assert wallets.heard == [("wallet.verified", wallet.address)]


async def test_a_connected_wallet_is_proven_where_it_stands(wallets: Wallets) -> None:
    user, keypair = await wallets.user(), Keypair()
    connected = await wallets.manager.connect_wallet(user, str(keypair.pubkey()))
    challenge = await asked(wallets, user, keypair)
    proven = await wallets.manager.prove_ownership(
        challenge.nonce, bytes(keypair.sign_message(challenge.message.encode()))
    )
    assert (proven.id, connected.verified_at) == (connected.id, None)
    assert proven.verified_at is not None


@ON_POSTGRES_TOO
async def test_a_replay_is_refused_also_when_two_come_at_once(wallets: Wallets) -> None:
    user, keypair = await wallets.user(), Keypair()
    challenge = await asked(wallets, user, keypair)
    proofs = [wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge)) for _ in range(3)]
    results = await asyncio.gather(*proofs, return_exceptions=True)
    refused = [result for result in results if isinstance(result, ChallengeInvalidError)]
    assert [error.facts["reason"] for error in refused] == ["used", "used"]
    with pytest.raises(ChallengeInvalidError):
        await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))


async def test_a_challenge_expires_and_a_nonce_that_never_was_is_unknown(
    wallets: Wallets, manual_clock: ManualClock
) -> None:
    user, keypair = await wallets.user(), Keypair()
    challenge = await asked(wallets, user, keypair)
    await manual_clock.advance(300)
    for nonce, reason in ((challenge.nonce, "expired"), ("f" * 32, "unknown"), ("", "unknown")):
        with pytest.raises(ChallengeInvalidError) as caught:
            await wallets.manager.prove_ownership(nonce, signed(keypair, challenge))
        assert caught.value.facts["reason"] == reason
    await manual_clock.advance(2 * 86_400)
    await asked(wallets, user, keypair)
    with pytest.raises(ChallengeInvalidError) as caught:
        await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))
    assert caught.value.facts["reason"] == "unknown", "long expired ones are forgotten"


async def test_another_signature_proves_nothing_and_uses_nothing_up(wallets: Wallets) -> None:
    user, keypair, thief = await wallets.user(), Keypair(), Keypair()
    challenge, other = await asked(wallets, user, keypair), await asked(wallets, user, keypair)
    wrong: list[Any] = [
        *(signed(thief, challenge), signed(keypair, other), "", "nonsense", b"", b"1" * 63, None),
    ]
    for signature in wrong:
        with pytest.raises(InvalidSignatureError):
            await wallets.manager.prove_ownership(challenge.nonce, signature)
    assert await wallets.manager.list_wallets(user) == []
    assert await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))


@ON_POSTGRES_TOO
async def test_a_proven_claim_displaces_a_squatter(wallets: Wallets) -> None:
    squatter, owner, keypair = await wallets.user(), await wallets.user(), Keypair()
    squatted = await wallets.manager.connect_wallet(squatter, str(keypair.pubkey()))
    kept = await wallets.manager.connect_wallet(squatter, str(Keypair().pubkey()))
    challenge = await asked(wallets, owner, keypair)
    await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))

    assert await wallets.primaries(squatter) == [kept.address]
    assert [one.address for one in await wallets.manager.list_wallets(squatter, active_only=True)] == [
        kept.address
    ]
    assert await wallets.primaries(owner) == [squatted.address]
    with pytest.raises(WalletAlreadyConnectedError):
        await wallets.manager.connect_wallet(squatter, squatted.address)
    await wallets.events.drain()
    assert ("wallet.displaced", squatted.address) in wallets.heard


async def test_a_proven_claim_is_not_displaced_and_its_challenge_stays_unused(wallets: Wallets) -> None:
    first, second, keypair = await wallets.user(), await wallets.user(), Keypair()
    for user, outcome in ((first, None), (second, WalletAlreadyConnectedError)):
        challenge = await asked(wallets, user, keypair)
        if outcome is None:
            await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))
            continue
        for _ in range(2):
            with pytest.raises(outcome):
                await wallets.manager.prove_ownership(challenge.nonce, signed(keypair, challenge))
    assert [one.user_id for one in await wallets.manager.list_wallets(first)] == [first]


async def test_a_message_that_could_be_forged_is_not_made(wallets: Wallets) -> None:
    user, own = await wallets.user(), str(Keypair().pubkey())
    wrong: list[dict[str, Any]] = [
        {"domain": ""},
        {"domain": "shop.example\nevil.example"},
        {"domain": "shop.example/path"},
        {"domain": "a" * 256},
        {"domain": "shop.example", "statement": "fine\n\nURI: https://evil.example"},
        {"domain": "shop.example", "statement": ""},
        {"domain": "shop.example", "uri": "no uri"},
        {"domain": "shop.example", "uri": "https://shop.example/\nNonce: 1"},
        {"domain": "shop.example", "chain_id": "ethereum"},
    ]
    for fields in wrong:
        with pytest.raises(InvalidInputError):
            await wallets.manager.challenge(user, own, **fields)
    with pytest.raises(InvalidWalletAddressError):
        await wallets.manager.challenge(user, "nobody", domain="shop.example")
    with pytest.raises(UserNotFoundError):
        await wallets.manager.challenge(uuid4(), own, domain="shop.example")
