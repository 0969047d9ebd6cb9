"""Challenges that are issued, and that each proves something once at most."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, Final, Unpack
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import parse_address
from deal_sdk.errors import ChallengeInvalidError
from deal_sdk.records import Database, parse_user_id
from deal_sdk.records.wallet_tables import wallet_challenges
from deal_sdk.wallets.sign_in import SignInFields, WalletChallenge, check_signed, sign_in_text

NONCE_BYTES: Final = 16
KEPT_AFTER_EXPIRY: Final = timedelta(days=1)
"""So that a replay is told apart from a nonce that never was."""

_challenge = wallet_challenges.c


class WalletChallenges:
    """Issues messages to sign, and accepts each signature once."""

    def __init__(self, database: Database, *, lifetime_seconds: float) -> None:
        """Keep the database; nothing is read yet.

        Args:
            database: holds the challenges.
            lifetime_seconds: how long a wallet may take to sign.
        """
        self._database = database
        self._lifetime = timedelta(seconds=lifetime_seconds)

    async def issue(
        self, user_id: UUID | str, wallet_address: str, *, domain: str, **fields: Unpack[SignInFields]
    ) -> WalletChallenge:
        """Make a message for a user's wallet to sign; see `WalletManager.challenge`."""
        now = self._database.clock.now()
        nonce = secrets.token_hex(NONCE_BYTES)
        address = str(parse_address(wallet_address, on_curve=True))
        expires_at = now + self._lifetime
        message = sign_in_text(
            domain=domain,
            address=address,
            nonce=nonce,
            issued_at=now,
            expires_at=expires_at,
            **fields,
        )
        issued = WalletChallenge(nonce, parse_user_id(user_id), address, message, now, expires_at)
        row = {name: getattr(issued, name) for name in ("nonce", "user_id", "address", "message")}
        row |= {"issued_at": now, "expires_at": expires_at}
        forgotten = sa.delete(wallet_challenges).where(_challenge.expires_at < now - KEPT_AFTER_EXPIRY)

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(forgotten)
            await connection.execute(sa.insert(wallet_challenges).values(row))

        await self._database.run(unit)
        return issued

    async def find(self, nonce: str) -> WalletChallenge:
        """Return a challenge that was issued, used or not.

        Raises:
            ChallengeInvalidError: when there is none by that nonce.
        """
        query = sa.select(wallet_challenges).where(_challenge.nonce == str(nonce))
        rows = await self._database.fetch(query)
        if not rows:
            raise ChallengeInvalidError("there is no such challenge", reason="unknown")
        return _to_challenge(rows[0])

    async def take(
        self, connection: AsyncConnection, challenge: WalletChallenge, signature: str | bytes
    ) -> None:
        """Use a challenge up, inside the transaction that acts on what it proves.

        A wrong signature uses nothing up.

        Raises:
            InvalidSignatureError: when the wallet did not sign it.
            ChallengeInvalidError: when it is expired, or was used before.
        """
        check_signed(challenge.message, challenge.address, signature)
        now = self._database.clock.now()
        if challenge.expires_at <= now:
            raise ChallengeInvalidError("the challenge has expired; ask for a new one", reason="expired")
        used = (
            sa.update(wallet_challenges)
            .where(_challenge.nonce == challenge.nonce, _challenge.used_at.is_(None))
            .values(used_at=now)
        )
        if (await connection.execute(used)).rowcount != 1:
            raise ChallengeInvalidError("the challenge was used before", reason="used")


def _to_challenge(row: Any) -> WalletChallenge:
    return WalletChallenge(row.nonce, row.user_id, row.address, row.message, row.issued_at, row.expires_at)
