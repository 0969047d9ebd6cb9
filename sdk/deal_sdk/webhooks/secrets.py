"""Signing secrets: made or given, kept encrypted, and two at a time while one takes the other's place."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import Keystore, SealedSecret
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.records import Database
from deal_sdk.records.webhook_tables import webhook_secrets

SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
MIN_SECRET_CHARACTERS: Final = 16
MAX_SECRET_CHARACTERS: Final = 255
MAX_OVERLAP_SECONDS: Final = 30 * 86_400.0


class SigningSecrets:
    """Keeps the secrets of endpoints; those without one of their own sign with the setting's."""

    def __init__(
        self, database: Database, keystore: Keystore, *, clock: Clock, fallback: SecretStr | None
    ) -> None:
        """Keep where secrets are and what opens them.

        Args:
            database: holds the ciphertexts.
            keystore: encrypts and decrypts them.
            clock: tells which are still valid.
            fallback: the setting's secret.
        """
        if fallback is not None:
            check_secret(fallback.get_secret_value())
        self._database = database
        self._keystore = keystore
        self._clock = clock
        self._fallback = fallback

    @property
    def has_fallback(self) -> bool:
        """Return whether endpoints need no secret of their own."""
        return self._fallback is not None

    async def seal(self, endpoint_id: UUID, secret: str) -> SealedSecret:
        """Encrypt a secret for one endpoint, whose row alone it opens for."""
        return await self._keystore.seal(secret.encode(), _purpose(endpoint_id))

    async def add(self, connection: AsyncConnection, endpoint_id: UUID, sealed: SealedSecret) -> None:
        """Store a secret that signs from now on."""
        row = {
            "endpoint_id": endpoint_id,
            "kdf_salt": sealed.kdf_salt,
            "kdf_cost": sealed.kdf_cost,
            "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext,
            "created_at": self._clock.now(),
        }
        await connection.execute(webhook_secrets.insert(), [row])

    async def expire(self, connection: AsyncConnection, endpoint_id: UUID, *, overlap_seconds: float) -> None:
        """Let an endpoint's secrets end after an overlap; those that end sooner anyway are left alone."""
        end = self._clock.now() + timedelta(seconds=overlap_seconds)
        column = webhook_secrets.c
        await connection.execute(
            webhook_secrets.update()
            .where(column.endpoint_id == endpoint_id)
            .where(sa.or_(column.expires_at.is_(None), column.expires_at > end))
            .values(expires_at=end)
        )

    async def of(self, endpoint_ids: Collection[UUID]) -> dict[UUID, tuple[str, ...]]:
        """Return the secrets that are valid now, the newest first, by endpoint.

        Raises:
            KeystoreError: when one does not open.
            ConfigurationError: when an endpoint has none and the setting is missing here.
        """
        column = webhook_secrets.c
        now: datetime = self._clock.now()
        query = (
            sa.select(webhook_secrets)
            .where(column.endpoint_id.in_(endpoint_ids))
            .where(sa.or_(column.expires_at.is_(None), column.expires_at > now))
            .order_by(column.id.desc())
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        found: dict[UUID, list[str]] = {}
        for row in rows:
            found.setdefault(row.endpoint_id, []).append(await self._open(row))
        return {
            endpoint_id: tuple(found.get(endpoint_id) or [self._fallback_of(endpoint_id)])
            for endpoint_id in endpoint_ids
        }

    async def _open(self, row: sa.Row[Any]) -> str:
        sealed = SealedSecret(row.kdf_salt, row.kdf_cost, row.nonce, row.ciphertext)
        return (await self._keystore.unseal(sealed, _purpose(row.endpoint_id))).decode()

    def _fallback_of(self, endpoint_id: UUID) -> str:
        if self._fallback is None:
            raise ConfigurationError(
                "a webhook endpoint has no secret of its own: set webhook_secret (DEAL_WEBHOOK_SECRET)",
                endpoint_id=str(endpoint_id),
            )
        return self._fallback.get_secret_value()


def make_secret() -> str:
    """Make a secret of 256 random bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def check_secret(secret: str) -> str:
    """Accept a secret that cannot be guessed by trying.

    Raises:
        InvalidInputError: without repeating it.
    """
    is_text = isinstance(secret, str) and secret.isascii() and secret.isprintable()
    if not is_text or not MIN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS:
        raise InvalidInputError(
            f"a webhook secret has {MIN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS} ASCII characters",
            field="secret",
        )
    return secret


def check_overlap(seconds: float) -> float:
    """Accept how long an old secret stays valid.

    Raises:
        InvalidInputError: when it is negative or beyond 30 days.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInputError("overlap_seconds must be a number", field="overlap_seconds")
    if not 0 <= seconds <= MAX_OVERLAP_SECONDS:
        raise InvalidInputError("overlap_seconds must be 0 to 30 days", field="overlap_seconds")
    return seconds


def _purpose(endpoint_id: UUID) -> str:
    return f"webhook {endpoint_id}"
