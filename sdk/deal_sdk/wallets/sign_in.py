"""The text that a wallet signs to prove whose it is: Sign-In-With-Solana.

Wallets show this form to people field by field, and warn when the domain is not the page's own. See
https://github.com/phantom/sign-in-with-solana (the text is that of its ABNF message format).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypedDict
from uuid import UUID

from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.errors import InvalidInputError, InvalidSignatureError

VERSION: Final = "1"
MAX_DOMAIN_LENGTH: Final = 255
MAX_STATEMENT_LENGTH: Final = 1_000
_DOMAIN: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_URI: Final = re.compile(r"[a-z][a-z0-9+.\-]*:[!-~]{1,2000}", re.IGNORECASE)
CHAIN_IDS: Final = ("mainnet", "testnet", "devnet", "localnet")
_SIGNATURE_BYTES: Final = 64


class SignInFields(TypedDict, total=False):
    """What a message may say beside the domain that asks."""

    statement: str | None
    uri: str | None
    chain_id: str | None


@dataclass(frozen=True, slots=True)
class WalletChallenge:
    """A message for one wallet of one user to sign, once and before it expires."""

    nonce: str
    user_id: UUID
    address: str
    message: str
    """Exactly what is to be signed, in UTF-8."""
    issued_at: datetime
    expires_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the challenge as JSON-serialisable data."""
        return {
            "nonce": self.nonce,
            "user_id": str(self.user_id),
            "address": self.address,
            "message": self.message,
            "issued_at": self.issued_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }


def sign_in_text(
    *,
    domain: str,
    address: str,
    nonce: str,
    issued_at: datetime,
    expires_at: datetime,
    statement: str | None = None,
    uri: str | None = None,
    chain_id: str | None = None,
) -> str:
    """Return the message, every field of it checked: a line break in one could forge the next.

    Raises:
        InvalidInputError: naming the field that cannot be used.
    """
    _check("domain", domain, len(domain) <= MAX_DOMAIN_LENGTH and bool(_DOMAIN.fullmatch(domain)))
    if statement is not None:
        _check(
            "statement", statement, 1 <= len(statement) <= MAX_STATEMENT_LENGTH and statement.isprintable()
        )
    if uri is not None:
        _check("uri", uri, bool(_URI.fullmatch(uri)))
    if chain_id is not None:
        _check("chain_id", chain_id, chain_id in CHAIN_IDS)
    fields = {
        "URI": uri,
        "Version": VERSION,
        "Chain ID": chain_id,
        "Nonce": nonce,
        "Issued At": _time(issued_at),
        "Expiration Time": _time(expires_at),
    }
    paragraphs = [
        f"{domain} wants you to sign in with your Solana account:\n{address}",
        *([] if statement is None else [statement]),
        "\n".join(f"{name}: {value}" for name, value in fields.items() if value is not None),
    ]
    return "\n\n".join(paragraphs)


def check_signed(message: str, address: str, signature: str | bytes) -> None:
    """Insist that a wallet signed exactly this message.

    Args:
        message: as it was issued.
        address: the wallet's.
        signature: 64 bytes, or base58.

    Raises:
        InvalidSignatureError: for anything else.
    """
    try:
        if isinstance(signature, bytes) and len(signature) != _SIGNATURE_BYTES:
            raise ValueError("not 64 bytes")
        parsed = Signature(signature) if isinstance(signature, bytes) else Signature.from_string(signature)
    except (ValueError, TypeError):
        raise InvalidSignatureError("the signature is no Ed25519 signature", address=address) from None
    if not parsed.verify(Pubkey.from_string(address), message.encode()):
        raise InvalidSignatureError("the wallet did not sign this message", address=address)


def _check(name: str, value: object, is_good: bool) -> None:
    if not isinstance(value, str) or not is_good:
        raise InvalidInputError(f"{name} cannot stand in a sign-in message", field=name)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
