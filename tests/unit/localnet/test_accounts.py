"""The versioned store against a model that keeps a whole copy of the world per slot."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from solders.account import Account
from solders.pubkey import Pubkey
from solders.token.state import TokenAccount, TokenAccountState

from deal_localnet.accounts import AccountStore
from deal_localnet.addresses import SYSTEM_PROGRAM, TOKEN_PROGRAM
from deal_localnet.live_accounts import LiveAccounts

KEYS = [Pubkey.from_bytes(bytes([number]) * 32) for number in range(1, 6)]
OWNERS = [Pubkey.from_bytes(bytes([number]) * 32) for number in range(101, 104)]


class FakeSource:
    def __init__(self) -> None:
        self.accounts: dict[Pubkey, Account] = {}

    def get_account(self, address: Pubkey) -> Account | None:
        return self.accounts.get(address)

    def set_account(self, address: Pubkey, account: Account) -> None:
        self.accounts[address] = account


def token_account(owner: Pubkey, delegate: Pubkey | None) -> Account:
    state = TokenAccount(OWNERS[0], owner, 5, delegate, TokenAccountState.Initialized, None, 0, None)
    return Account(100, bytes(state), TOKEN_PROGRAM)


ACCOUNTS = st.one_of(
    st.none(),
    st.builds(lambda lamports: Account(lamports, b"", SYSTEM_PROGRAM), st.integers(1, 9)),
    st.builds(token_account, st.sampled_from(OWNERS), st.sampled_from([None, *OWNERS])),
)


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.source = FakeSource()
        self.live = LiveAccounts(self.source)
        self.store = AccountStore(self.live)
        self.slot = 1
        self.final = 0
        self.worlds: dict[int, dict[Pubkey, Account]] = {0: {}, 1: {}}

    @rule(key=st.sampled_from(KEYS), account=ACCOUNTS)
    def write(self, key: Pubkey, account: Account | None) -> None:
        before = self.live.state(key)
        self.live.set_account(key, account or Account(0, b"", SYSTEM_PROGRAM))
        self.store.record(self.slot, key, before, self.live.state(key))
        self.worlds[self.slot].pop(key, None)
        if account is not None:
            self.worlds[self.slot][key] = account

    @rule()
    def next_slot(self) -> None:
        self.worlds[self.slot + 1] = dict(self.worlds[self.slot])
        self.slot += 1

    @rule()
    def finalize(self) -> None:
        if self.final + 1 < self.slot:
            self.final += 1
            self.store.finalize(self.final)

    @rule(back=st.integers(1, 4))
    def rollback(self, back: int) -> None:
        target = max(self.slot - back, self.final)
        self.store.rollback(target)
        self.worlds[self.slot + 1] = dict(self.worlds[target])
        for slot in range(target + 1, self.slot + 1):
            self.worlds[slot] = dict(self.worlds[target])
        self.slot += 1

    @invariant()
    def every_live_slot_reads_as_the_model_says(self) -> None:
        for slot in range(self.final, self.slot + 1):
            for key in KEYS:
                assert self.store.at(key, slot) == self.worlds[slot].get(key)

    @invariant()
    def the_newest_state_is_what_the_source_holds(self) -> None:
        for key in KEYS:
            state = self.live.state(key)
            held = self.source.accounts.get(key)
            assert (state.account if state is not None else None) == (
                held if held and held.lamports else None
            )

    @invariant()
    def the_index_finds_all_that_any_live_slot_holds(self) -> None:
        for slot in range(self.final, self.slot + 1):
            for key, account in self.worlds[slot].items():
                assert key in self.store.index.of_program(account.owner)
                if account.owner == TOKEN_PROGRAM:
                    owner = Pubkey.from_bytes(account.data[32:64])
                    assert key in self.store.index.of_token_owner(owner)

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        for slot in range(self.final + 1, self.slot + 1):
            self.store.finalize(slot)
        world = self.worlds[self.slot]
        for program in (SYSTEM_PROGRAM, TOKEN_PROGRAM):
            held = {key for key, account in world.items() if account.owner == program}
            assert set(self.store.index.of_program(program)) == held
        for delegate in OWNERS:
            held = {
                key
                for key, account in world.items()
                if account.owner == TOKEN_PROGRAM
                and account.data[72]
                and account.data[76:108] == bytes(delegate)
            }
            assert set(self.store.index.of_delegate(delegate)) == held


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
