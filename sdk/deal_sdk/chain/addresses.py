"""Addresses: which texts are one, who can own tokens, and where an owner's tokens are.

Owns the program ids that the package talks to. It never reads the chain.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.errors import ConfigurationError, InvalidWalletAddressError
from deal_sdk.settings import TokenProgram

CLASSIC_TOKEN_PROGRAM: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
SYSTEM_PROGRAM: Final = Pubkey.from_string("11111111111111111111111111111111")
MEMO_PROGRAM: Final = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
"""The first version: it checks no signers, logs nothing, and takes a fiftieth of the compute units."""
COMPUTE_BUDGET_PROGRAM: Final = Pubkey.from_string("ComputeBudget111111111111111111111111111111")

TOKEN_PROGRAMS: Final = frozenset({CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM})
_PROGRAM_BY_NAME: Final[dict[TokenProgram, Pubkey]] = {
    "classic": CLASSIC_TOKEN_PROGRAM,
    "token-2022": TOKEN_2022_PROGRAM,
}
_MIN_ADDRESS_LENGTH: Final = 32
_MAX_ADDRESS_LENGTH: Final = 44
_ASSOCIATED_CACHE_SIZE: Final = 65_536


def parse_address(text: str, *, on_curve: bool = False) -> Pubkey:
    """Read a Solana address, exactly 32 bytes in base58.

    Args:
        text: the address as written.
        on_curve: also demand that a key can own it, so that tokens are not sent where nobody can sign.

    Raises:
        InvalidWalletAddressError: for anything else, the text cut to a safe length.
    """
    if not isinstance(text, str) or not _MIN_ADDRESS_LENGTH <= len(text) <= _MAX_ADDRESS_LENGTH:
        raise InvalidWalletAddressError("not a Solana address", address=str(text)[:_MAX_ADDRESS_LENGTH])
    try:
        address = Pubkey.from_string(text)
    except ValueError:
        raise InvalidWalletAddressError("not a Solana address", address=text) from None
    if on_curve and not address.is_on_curve():
        raise InvalidWalletAddressError("no key can own this address (it is off the curve)", address=text)
    return address


def token_program_id(name: TokenProgram) -> Pubkey:
    """Return the program that a setting names.

    Raises:
        ConfigurationError: for another name.
    """
    try:
        return _PROGRAM_BY_NAME[name]
    except KeyError:
        raise ConfigurationError(f"there is no token program {name!r}", token_program=str(name)) from None


@lru_cache(maxsize=_ASSOCIATED_CACHE_SIZE)
def associated_token_address(owner: Pubkey, mint: Pubkey, program_id: Pubkey) -> Pubkey:
    """Derive where an owner's tokens of a mint are; remembered, because finding the bump takes hashing.

    Args:
        owner: the wallet.
        mint: the mint.
        program_id: the token program that owns the mint; each derives another address.
    """
    seeds = [bytes(owner), bytes(program_id), bytes(mint)]
    return Pubkey.find_program_address(seeds, ASSOCIATED_TOKEN_PROGRAM)[0]
