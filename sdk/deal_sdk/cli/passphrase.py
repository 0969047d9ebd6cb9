"""The passphrase of a keystore that nobody gave one: kept in a file that its owner alone can read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from deal_sdk.chain import Keystore
from deal_sdk.clock import SystemClock
from deal_sdk.errors import KeystoreError
from deal_sdk.records import Database
from deal_sdk.records.location import parse_database_url

KEY_FILE_SUFFIX: Final = ".key"
KEY_FILE_MODE: Final = 0o600
_PASSPHRASE_BYTES: Final = 32
_MAX_KEY_FILE_CHARACTERS: Final = 4096


def key_file_of(database_url: str) -> Path | None:
    """Return where a local SQLite file's passphrase is kept; None for every other database.

    Raises:
        ConfigurationError: for a URL that cannot be used.
    """
    location = parse_database_url(database_url)
    if location.dialect != "sqlite" or location.ephemeral:
        return None
    return Path(f"{location.url.database}{KEY_FILE_SUFFIX}")


async def passphrase_for(database_url: str) -> SecretStr | None:
    """Return the passphrase kept beside a local SQLite file, making one for a database without keys.

    Raises:
        KeystoreError: when the database holds keys already and the file is gone, or cannot be used.
    """
    path = key_file_of(database_url)
    if path is None:
        return None
    if not path.exists() and await _holds_keys(database_url):
        raise KeystoreError(
            f"the keys in this database are locked: set DEAL_KEYSTORE_PASSPHRASE, or put {path} back"
        )
    return read_or_make(path)


def read_or_make(path: Path) -> SecretStr:
    """Return the passphrase in a file, which is made with a random one when it is missing.

    The file appears whole or not at all, with mode 0600 from the start; of two processes that make it at
    once, one wins and both use its passphrase.

    Raises:
        KeystoreError: when the file cannot be made or read, is empty, or others can read it.
    """
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise KeystoreError(f"the key file {path} cannot be used: {error.strerror}") from None


def _make(path: Path) -> None:
    # mkstemp makes the file with mode 0600; a link, unlike a rename, never replaces another's file.
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_PASSPHRASE_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        Path(partial).unlink()


def _read(path: Path) -> SecretStr:
    with path.open("r", encoding="utf-8", errors="replace") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        content = file.read(_MAX_KEY_FILE_CHARACTERS).strip()
    if mode & 0o077:
        raise KeystoreError(f"others can read the key file {path}: run chmod 600 on it")
    if not content:
        raise KeystoreError(f"the key file {path} is empty")
    return SecretStr(content)


async def _holds_keys(database_url: str) -> bool:
    if not _is_there(parse_database_url(database_url).url.database):
        return False
    clock = SystemClock()
    database = await Database.open(database_url, clock=clock)
    try:
        return bool(await Keystore(database, None, clock=clock).names())
    finally:
        await database.close()


def _is_there(file: str | None) -> bool:
    return file is not None and Path(file).exists()
