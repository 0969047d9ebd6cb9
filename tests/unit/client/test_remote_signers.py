"""Signing services over mutual TLS, as the settings say: a real server that knows its clients."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from solders.keypair import Keypair

from deal_sdk.chain import KeypairSigner, Keystore
from deal_sdk.client.remote_signers import attach_remote_signers
from deal_sdk.clock import SystemClock
from deal_sdk.errors import ConfigurationError, SignerUnavailableError
from deal_sdk.records import Database
from deal_sdk.settings import Settings
from tests.servers import TlsFiles, make_tls_files
from tests.servers.tls_files import KEY_PASSWORD
from tests.unit.chain.signing_server import HMAC_SECRET, TOKEN, SigningHost

TREASURY = KeypairSigner(Keypair.from_seed(bytes([1]) * 32))


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return make_tls_files(tmp_path)


@pytest.fixture
async def host(files: TlsFiles) -> AsyncIterator[SigningHost]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.server_certificate, files.server_key)
    async with SigningHost(TREASURY, tls=context) as running:
        yield running


def settings_of(host: SigningHost, files: TlsFiles, **changes: Any) -> Settings:
    given = {
        "remote_signers": {"treasury": {"url": host.url, "address": str(TREASURY.address)}},
        "remote_signer_token": TOKEN,
        "remote_signer_hmac_secret": HMAC_SECRET,
        "remote_signer_tls_ca_file": str(files.ca),
        "remote_signer_tls_certificate_file": str(files.client_certificate),
        "remote_signer_tls_key_file": str(files.client_key),
        "remote_signer_tls_key_password": KEY_PASSWORD,
    }
    return Settings(**{**given, **changes})


@asynccontextmanager
async def attached(settings: Settings) -> AsyncIterator[Keystore]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = await Database.open("sqlite+aiosqlite://", clock=clock)
        stack.push_async_callback(database.close)
        keystore = Keystore(database, SecretStr("passphrase"), clock=clock, kdf_cost=2**4)
        await attach_remote_signers(stack, keystore, settings, clock)
        yield keystore


async def test_both_sides_prove_who_they_are(host: SigningHost, files: TlsFiles) -> None:
    async with attached(settings_of(host, files)) as keystore:
        signer = await keystore.signer_by_name("treasury")
        assert await signer.sign(b"message") == await TREASURY.sign(b"message")
    assert host.asked == [1]


WITHOUT_CERTIFICATE = {
    "remote_signer_tls_certificate_file": None,
    "remote_signer_tls_key_file": None,
    "remote_signer_tls_key_password": None,
}


@pytest.mark.parametrize("changes", [WITHOUT_CERTIFICATE, {"remote_signer_tls_ca_file": None}])
async def test_a_side_that_proves_nothing_is_told_nothing(
    host: SigningHost, files: TlsFiles, changes: dict[str, Any]
) -> None:
    async with attached(settings_of(host, files, **changes)) as keystore:
        signer = await keystore.signer_by_name("treasury")
        with pytest.raises(SignerUnavailableError):
            await signer.sign(b"message")
    assert host.asked == []


@pytest.mark.parametrize(
    "changes",
    [
        {"remote_signer_tls_ca_file": "/nowhere/ca.pem"},
        {"remote_signer_tls_key_file": "/nowhere/key.pem"},
        {"remote_signer_tls_key_password": "another password"},
        {"remote_signer_tls_key_password": None},
        {"remote_signer_tls_certificate_file": None},
    ],
    ids=lambda changes: "-".join(f"{name[18:]}={value}" for name, value in changes.items()),
)
async def test_files_that_cannot_be_used_are_refused_at_once(
    host: SigningHost, files: TlsFiles, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="TLS files of the remote signers") as refused:
        async with attached(settings_of(host, files, **changes)):
            pass
    assert "password" not in refused.value.message
