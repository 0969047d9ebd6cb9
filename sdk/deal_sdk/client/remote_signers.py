"""Attaches the operator wallets whose keys signing services hold."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack

from deal_sdk.chain import Keystore, SigningService, parse_address
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.settings import Settings
from deal_sdk.tls import ClientTlsFiles, client_context


async def attach_remote_signers(
    stack: AsyncExitStack, keystore: Keystore, settings: Settings, clock: Clock
) -> None:
    """Attach every wallet that the settings name; wallets of one URL share its connections.

    Args:
        stack: closes the services.
        keystore: signs with them from now on.
        settings: name wallets, URLs, addresses and secrets.
        clock: stamps requests.

    Raises:
        ConfigurationError: for an address, a URL or TLS files that cannot be used.
    """
    tls = await _tls_of(settings)
    services: dict[str, SigningService] = {}
    for name, remote in settings.remote_signers.items():
        service = services.get(remote.url)
        if service is None:
            service = services[remote.url] = SigningService(
                remote.url,
                clock=clock,
                token=settings.remote_signer_token,
                hmac_secret=settings.remote_signer_hmac_secret,
                tls=tls,
                timeout_seconds=settings.remote_signer_timeout_seconds,
            )
            stack.push_async_callback(service.close)
        try:
            address = parse_address(remote.address, on_curve=True)
        except InvalidInputError as error:
            raise ConfigurationError(f"the remote signer of {name!r}: {error.message}") from None
        keystore.attach(name, service.signer(address))


async def _tls_of(settings: Settings) -> ssl.SSLContext | None:
    files = ClientTlsFiles(
        settings.remote_signer_tls_ca_file,
        settings.remote_signer_tls_certificate_file,
        settings.remote_signer_tls_key_file,
        settings.remote_signer_tls_key_password,
    )
    if not files.any:
        return None
    return await asyncio.to_thread(client_context, files, "the remote signers")
