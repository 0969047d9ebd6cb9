"""Accounts as JSON, in each of the encodings that a reader can ask for."""

from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from .addresses import NATIVE_LOADER, SYSVAR_EPOCH_REWARDS, SYSVAR_OWNER
from .base58 import b58encode
from .errors import INVALID_REQUEST, RpcError
from .live_accounts import MAX_U64
from .params import ACCOUNT_ENCODINGS, Config, DataSlice, data_slice, encoding
from .token_state import parsed_account

MAX_BASE58_BYTES: Final = 128
TOO_LARGE_FOR_BASE58: Final = "error: data too large for bs58 encoding"
MAX_KNOWN_OWNERS: Final = 256
# Magic number, no content size, a window of 2 MiB.
ZSTD_HEADER: Final = bytes.fromhex("28b52ffd0058")
ZSTD_BLOCK_BYTES: Final = 128 * 1024
EPOCH_ZERO_OWNERS: Final = frozenset({NATIVE_LOADER, SYSVAR_OWNER})

AccountReader = Callable[[Pubkey], Account | None]


@lru_cache(maxsize=MAX_KNOWN_OWNERS)
def _text(owner: Pubkey) -> str:
    return str(owner)


def rent_epoch(key: Pubkey, account: Account) -> int:
    """Return the epoch as Agave shows it: LiteSVM leaves 0 where Agave marks an account as exempt."""
    if account.rent_epoch or (account.owner in EPOCH_ZERO_OWNERS and key != SYSVAR_EPOCH_REWARDS):
        return account.rent_epoch
    return MAX_U64


def zstd_frame(data: bytes) -> bytes:
    """Wrap data in a zstd frame of raw blocks: valid for every decoder, though nothing gets smaller."""
    blocks = []
    for start in range(0, len(data) or 1, ZSTD_BLOCK_BYTES):
        part = data[start : start + ZSTD_BLOCK_BYTES]
        last = start + ZSTD_BLOCK_BYTES >= len(data)
        blocks.append((len(part) << 3 | last).to_bytes(3, "little") + part)
    return ZSTD_HEADER + b"".join(blocks)


class AccountFormat:
    """Renders accounts in one encoding, with the part of the data that was asked for."""

    def __init__(self, name: str, wanted: DataSlice | None, read: AccountReader) -> None:
        self._name = name
        self._wanted = wanted
        self._read = read

    @classmethod
    def of(cls, config: Config, read: AccountReader, default: str = "binary") -> "AccountFormat":
        """Read encoding and data slice from a request's configuration."""
        return cls(encoding(config, ACCOUNT_ENCODINGS, default), data_slice(config), read)

    def render(self, key: Pubkey, account: Account) -> dict[str, Any]:
        """Return the account as JSON; `read` finds the mint that a token account needs for its decimals."""
        return self._framed(key, account, self._data(key, account))

    @staticmethod
    def _framed(key: Pubkey, account: Account, data: Any) -> dict[str, Any]:
        return {
            "data": data,
            "executable": account.executable,
            "lamports": account.lamports,
            "owner": _text(account.owner),
            "rentEpoch": rent_epoch(key, account),
            "space": len(account.data),
        }

    def told(self, key: Pubkey, account: Account) -> dict[str, Any]:
        """Return the account for a notification, where nothing can be refused any more."""
        try:
            return self.render(key, account)
        except RpcError:
            text = TOO_LARGE_FOR_BASE58
            return self._framed(key, account, text if self._name == "binary" else [text, "base58"])

    def optional(self, key: Pubkey, account: Account | None) -> dict[str, Any] | None:
        """Return the account as JSON, or None when there is none."""
        return None if account is None else self.render(key, account)

    def keyed(self, key: Pubkey, account: Account) -> dict[str, Any]:
        """Return the account together with its address."""
        return {"account": self.render(key, account), "pubkey": str(key)}

    def _data(self, key: Pubkey, account: Account) -> Any:
        if self._name == "jsonParsed":
            parsed = parsed_account(key, account, self._read)
            return parsed if parsed is not None else [b64encode(self._part(account)).decode(), "base64"]
        if self._name == "base64":
            return [b64encode(self._part(account)).decode(), "base64"]
        if self._name == "base64+zstd":
            return [b64encode(zstd_frame(self._part(account))).decode(), "base64+zstd"]
        text = self._base58(self._part(account))
        return text if self._name == "binary" else [text, "base58"]

    def _part(self, account: Account) -> bytes:
        data = account.data
        if self._wanted is None:
            return data
        return data[self._wanted.offset : self._wanted.offset + self._wanted.length]

    def _base58(self, data: bytes) -> str:
        if len(data) > MAX_BASE58_BYTES:
            raise RpcError(
                INVALID_REQUEST,
                f"Encoded binary (base 58) data should be less than {MAX_BASE58_BYTES} bytes, "
                "please use Base64 encoding.",
            )
        return b58encode(data)
