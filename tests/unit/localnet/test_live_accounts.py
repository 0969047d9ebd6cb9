"""What is kept of the newest accounts, and when it is read anew."""

import pytest
from solders.account import Account
from solders.pubkey import Pubkey

from deal_localnet import live_accounts
from deal_localnet.addresses import SYSTEM_PROGRAM, SYSVAR_CLOCK, SYSVAR_OWNER
from deal_localnet.live_accounts import AccountState, LiveAccounts
from tests.unit.localnet.test_accounts import OWNERS, FakeSource, token_account

KEY = Pubkey.from_bytes(bytes([1]) * 32)


class CountingSource(FakeSource):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Pubkey] = []

    def get_account(self, address: Pubkey) -> Account | None:
        self.reads.append(address)
        return super().get_account(address)


def test_an_account_is_read_once_until_it_is_overwritten_or_forgotten() -> None:
    source = CountingSource()
    live = LiveAccounts(source)
    source.accounts[KEY] = Account(7, b"", SYSTEM_PROGRAM)
    assert [live.state(KEY), live.state(KEY)][1] is live.state(KEY)
    assert live.get_account(KEY) == source.accounts[KEY]
    assert len(source.reads) == 1
    live.set_account(KEY, Account(8, b"", SYSTEM_PROGRAM))
    assert (live.state(KEY) or pytest.fail("gone")).lamports == 8
    source.accounts[KEY] = Account(9, b"", SYSTEM_PROGRAM)
    live.forget([KEY])
    assert (live.state(KEY) or pytest.fail("gone")).lamports == 9


def test_what_litesvm_writes_by_itself_is_never_kept() -> None:
    source = CountingSource()
    live = LiveAccounts(source)
    for slot in (1, 2):
        source.accounts[SYSVAR_CLOCK] = Account(1, bytes([slot]), SYSVAR_OWNER)
        state = live.state(SYSVAR_CLOCK)
        assert state is not None
        assert state.account.data == bytes([slot])


def test_an_account_without_lamports_does_not_exist() -> None:
    live = LiveAccounts(FakeSource())
    assert live.state(KEY) is None
    live.set_account(KEY, Account(0, b"", SYSTEM_PROGRAM))
    assert live.state(KEY) is None
    assert AccountState.of(None) is None


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_accounts, "MAX_KEPT_ACCOUNTS", 2)
    source = CountingSource()
    live = LiveAccounts(source)
    keys = [Pubkey.from_bytes(bytes([number]) * 32) for number in range(1, 5)]
    for key in keys:
        source.accounts[key] = Account(1, b"", SYSTEM_PROGRAM)
        live.state(key)
    assert all(live.state(key) is not None for key in keys)
    assert len(source.reads) > len(keys)


def test_a_token_account_is_found_by_its_mint_owner_and_delegate() -> None:
    account = token_account(OWNERS[1], OWNERS[2])
    state = AccountState(account)
    assert state.head == account.data[:72]
    assert state.identity == (account.owner, bytes(OWNERS[0]), bytes(OWNERS[1]), bytes(OWNERS[2]))
    foreign = AccountState(Account(1, account.data, SYSTEM_PROGRAM))
    assert (foreign.head, foreign.identity) == (None, (SYSTEM_PROGRAM, b"", b"", b""))
