"""Who signs: an address and an async `sign`, and nothing that gives a key away.

Owns reading keys from their usual forms. A signer has no property that returns its key, so that no
log, repr or careless caller can leak one; a hardware key or a remote service fits the same Protocol.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Protocol

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.errors import KeystoreError

_KEYPAIR_BYTES: Final = 64
_MAX_KEY_FILE_BYTES: Final = 4096
_JSON_ARRAY: Final = re.compile(r"\s*\[")


class Signer(Protocol):
    """Signs for one address."""

    @property
    def address(self) -> Pubkey:
        """Return the address that the signatures verify against."""
        ...

    async def sign(self, message: bytes) -> Signature:
        """Sign a message.

        Raises:
            KeystoreError: when the key cannot be used.
        """
        ...


class KeypairSigner:
    """Signs with a key held in this process's memory."""

    __slots__ = ("_key", "address")

    def __init__(self, keypair: Keypair) -> None:
        """Take over a keypair; keep no other reference to it."""
        # OpenSSL makes the same signatures as solders in somewhat less time, and a payment takes two.
        self._key = Ed25519PrivateKey.from_private_bytes(keypair.secret())
        self.address = keypair.pubkey()

    def __repr__(self) -> str:
        """Show the address alone."""
        return f"KeypairSigner({self.address})"

    def __reduce__(self) -> str:
        """Refuse to be pickled, because the key would travel in the clear."""
        raise TypeError("a signer cannot be pickled")

    @classmethod
    def generate(cls) -> KeypairSigner:
        """Make a signer for a new random address."""
        return cls(Keypair())

    @classmethod
    def from_bytes(cls, key: bytes) -> KeypairSigner:
        """Read the 64 bytes of a keypair: the secret half, then the public one.

        Raises:
            KeystoreError: when they are no keypair; no part of them is repeated.
        """
        if len(key) != _KEYPAIR_BYTES:
            raise KeystoreError(f"a keypair is {_KEYPAIR_BYTES} bytes")
        try:
            return cls(Keypair.from_bytes(key))
        except ValueError:
            raise KeystoreError("the two halves of the keypair do not belong together") from None

    @classmethod
    def from_text(cls, text: str) -> KeypairSigner:
        """Read a key as an environment variable holds it: a JSON array of 64 numbers, or base58.

        Raises:
            KeystoreError: when it is neither; the text is never repeated.
        """
        if _JSON_ARRAY.match(text):
            return cls.from_bytes(_json_key(text))
        try:
            return cls(Keypair.from_base58_string(text.strip()))
        except BaseException as error:  # solders panics on text of another length, outside Exception
            if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
                raise
        raise KeystoreError("the key is neither a JSON array of 64 numbers nor base58")

    @classmethod
    def from_file(cls, path: str | Path) -> KeypairSigner:
        """Read a key file as the Solana CLI writes it.

        Raises:
            KeystoreError: when there is none, or it holds no keypair.
        """
        return cls.from_bytes(read_key_file(path))

    async def sign(self, message: bytes) -> Signature:
        """Sign a message."""
        return Signature.from_bytes(self._key.sign(message))


def read_key_file(path: str | Path) -> bytes:
    """Read a key file's bytes, for a keystore to keep; callers who only sign take a `KeypairSigner`.

    Raises:
        KeystoreError: when there is none, or it holds no array of bytes.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise KeystoreError(f"the key file {path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_KEY_FILE_BYTES:
        raise KeystoreError(f"{path} is too large for a key file")
    return _json_key(content)


def _json_key(text: str | bytes) -> bytes:
    try:
        return bytes(orjson.loads(text))
    except (ValueError, TypeError):
        raise KeystoreError("the key is no JSON array of numbers from 0 to 255") from None
