"""The key file: private from its first moment, made once, and never made beside keys that it cannot open."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from deal_sdk.chain import Keystore
from deal_sdk.cli.passphrase import key_file_of, passphrase_for, read_or_make
from deal_sdk.cli.session import with_passphrase
from deal_sdk.clock import SystemClock
from deal_sdk.errors import KeystoreError
from deal_sdk.records import Database


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///deal.db", Path("deal.db.key")),
        ("sqlite+aiosqlite:////var/lib/deal.db", Path("/var/lib/deal.db.key")),
        ("sqlite+aiosqlite://", None),
        ("postgresql://user:secret@host/name", None),
    ],
)
def test_only_a_local_file_has_a_key_file(url: str, file: Path | None) -> None:
    assert key_file_of(url) == file


def test_it_is_private_and_the_same_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "deal.db.key"
    made = read_or_make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(made.get_secret_value()) == 64
    assert read_or_make(path) == made
    assert made.get_secret_value() not in repr(made)
    assert list(tmp_path.iterdir()) == [path], "no partial file stays"


def test_all_who_make_it_at_once_use_one_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "deal.db.key"
    with ThreadPoolExecutor(8) as pool:
        made = {secret.get_secret_value() for secret in pool.map(read_or_make, [path] * 32)}
    assert len(made) == 1


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deal.db.key"
    secret = read_or_make(path).get_secret_value()
    path.chmod(0o644)
    with pytest.raises(KeystoreError, match="chmod 600") as caught:
        read_or_make(path)
    assert secret not in str(caught.value.to_dict())


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deal.db.key"
    path.touch(mode=0o600)
    with pytest.raises(KeystoreError, match="is empty"):
        read_or_make(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cannot be used: No such file"):
        read_or_make(tmp_path / "missing" / "deal.db.key")


async def test_keys_whose_file_is_lost_get_no_other_one(tmp_path: Path) -> None:
    path = tmp_path / "deal.db"
    database = await Database.open(url_of(path), clock=SystemClock())
    keystore = Keystore(database, SecretStr("mine"), clock=database.clock, kdf_cost=2**4)
    await keystore.create("treasury")
    await database.close()
    with pytest.raises(KeystoreError, match="DEAL_KEYSTORE_PASSPHRASE"):
        await passphrase_for(url_of(path))
    assert not (tmp_path / "deal.db.key").exists()


async def test_a_database_without_keys_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "deal.db"
    await (await Database.open(url_of(path), clock=SystemClock())).close()
    assert await passphrase_for(url_of(path)) is not None


async def test_a_passphrase_that_is_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEAL_KEYSTORE_PASSPHRASE", "set")
    overrides = {"database_url": url_of(tmp_path / "deal.db")}
    assert await with_passphrase(overrides) == overrides
    assert not (tmp_path / "deal.db.key").exists()
