"""`dealctl wallet` proves whose a wallet is, with the wallet's signature or with its key file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from solders.keypair import Keypair

from deal_sdk.cli.application import run

WHO = "ext:chat-7"


@pytest.mark.slow
def test_a_wallet_is_proven_by_its_signature_or_its_key_file(
    servers: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def said(*arguments: str, code: int = 0) -> Any:
        assert run(["wallet", *arguments, *servers, "--json"]) == code
        return orjson.loads(capsys.readouterr().out)

    def refused(*arguments: str) -> str:
        return str(said(*arguments, code=1)["error"]["code"])

    phone, laptop = Keypair(), Keypair()
    asked = ("challenge", WHO, str(phone.pubkey()), "--domain", "shop.example")
    challenge = said(*asked, "--statement", "Pay with DEAL.", "--chain-id", "localnet")
    assert challenge["message"].startswith("shop.example wants you to sign in with your Solana account:")
    assert "Chain ID: localnet" in challenge["message"]
    foreign = str(laptop.sign_message(challenge["message"].encode()))
    assert refused("prove", challenge["nonce"], foreign) == "invalid_signature"
    signature = str(phone.sign_message(challenge["message"].encode()))
    proven = said("prove", challenge["nonce"], signature)
    assert (proven["address"], proven["status"]) == (str(phone.pubkey()), "active")
    assert proven["verified_at"] is not None
    assert refused("prove", challenge["nonce"], signature) == "challenge_invalid"
    assert refused(*asked[:-1], "shop.example\nURI: https://evil") == "invalid_input"
    assert refused(*asked, "--chain-id", "moon") == "invalid_input"

    key_file = tmp_path / "laptop.json"
    key_file.write_text(json.dumps([*bytes(laptop)]))
    by_file = said("prove-key", WHO, str(key_file))
    assert (by_file["address"], by_file["is_primary"]) == (str(laptop.pubkey()), False)
    assert by_file["verified_at"] is not None
    assert refused("prove-key", WHO, str(tmp_path / "none.json")) == "keystore"
    assert said("primary", WHO, str(laptop.pubkey()))["is_primary"] is True
    assert refused("primary", WHO, str(Keypair().pubkey())) == "wallet_not_found"
    assert run(["wallet", *asked, *servers]) == 0
    assert "wants you to sign in" in capsys.readouterr().out
