from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from solders.keypair import Keypair

from deal_sdk.chain.signers import KeypairSigner
from deal_sdk.errors import KeystoreError

KEYPAIR = Keypair.from_seed(bytes(range(32)))
SECRETS = (str(KEYPAIR), json.dumps(list(bytes(KEYPAIR))), str(bytes(KEYPAIR)))


async def test_it_signs_for_its_address():
    signer = KeypairSigner(KEYPAIR)
    signature = await signer.sign(b"message")
    assert signature.verify(signer.address, b"message")
    assert signature == KEYPAIR.sign_message(b"message")
    assert not signature.verify(signer.address, b"another")


@pytest.mark.parametrize("text", [str(KEYPAIR), f"  {KEYPAIR}\n", json.dumps(list(bytes(KEYPAIR)))])
def test_text_is_base58_or_a_json_array(text):
    assert KeypairSigner.from_text(text).address == KEYPAIR.pubkey()


@pytest.mark.parametrize(
    "text",
    ["", "0OIl", "abc", str(KEYPAIR)[:-1], str(KEYPAIR) + "1", "[1,2,3]", "[256" + ",1" * 63 + "]", "[",
     "[[]]", json.dumps([1] * 64)],
)  # fmt: skip
def test_other_text_is_refused_and_never_repeated(text):
    with pytest.raises(KeystoreError) as caught:
        KeypairSigner.from_text(text)
    assert len(text) < 8 or text[:8] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_file_of_the_solana_cli_is_read(tmp_path: Path):
    path = tmp_path / "id.json"
    path.write_text(json.dumps(list(bytes(KEYPAIR))))
    assert KeypairSigner.from_file(path).address == KEYPAIR.pubkey()
    assert KeypairSigner.from_file(str(path)).address == KEYPAIR.pubkey()


def test_a_file_without_a_key_is_refused(tmp_path: Path):
    with pytest.raises(KeystoreError, match="cannot be read"):
        KeypairSigner.from_file(tmp_path / "missing.json")
    large = tmp_path / "large.json"
    large.write_bytes(b"[" + b"1," * 5_000)
    with pytest.raises(KeystoreError, match="too large"):
        KeypairSigner.from_file(large)
    with pytest.raises(KeystoreError):
        KeypairSigner.from_file(tmp_path)


def test_nothing_shows_the_key():
    signer = KeypairSigner(KEYPAIR)
    shown = f"{signer!r} {signer} {[signer]}"
    assert str(KEYPAIR.pubkey()) in shown
    assert not any(secret in shown for secret in SECRETS)
    public = [name for name in dir(signer) if not name.startswith("_")]
    assert set(public) == {"address", "from_bytes", "from_file", "from_text", "generate", "sign"}
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    with pytest.raises(TypeError):
        vars(signer)
