from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.token.state import Mint, TokenAccount
from solders.token.state import TokenAccountState as SplState

from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM, SYSTEM_PROGRAM, TOKEN_2022_PROGRAM
from deal_sdk.chain.replies import AccountSnapshot
from deal_sdk.chain.token_state import (
    EXTENSION_NAMES,
    UNSUPPORTED_EXTENSIONS,
    decode_mint,
    decode_token_account,
)
from deal_sdk.errors import MintNotFoundError, RpcMalformedReplyError, UnsupportedMintError

ADDRESS, AUTHORITY, OWNER, DELEGATE = (Keypair().pubkey() for _ in range(4))
U64 = st.integers(0, 2**64 - 1)
MAYBE_ADDRESS = st.none() | st.binary(min_size=32, max_size=32).map(Pubkey.from_bytes)


def snapshot(data: bytes, owner: Pubkey = CLASSIC_TOKEN_PROGRAM) -> AccountSnapshot:
    return AccountSnapshot(ADDRESS, owner, 1, data, False, 77)


def mint_bytes(*, authority: Pubkey | None = AUTHORITY, supply: int = 5, decimals: int = 8) -> bytes:
    return bytes(Mint(authority, supply, decimals, True, None))


def account_bytes(**changes: object) -> bytes:
    values = {
        "mint": ADDRESS,
        "owner": OWNER,
        "amount": 5,
        "delegate": None,
        "state": SplState.Initialized,
        "is_native": None,
        "delegated_amount": 0,
        "close_authority": None,
        **changes,
    }
    return bytes(TokenAccount(**values))


def extended(data: bytes, kind: int, *extensions: tuple[int, bytes]) -> bytes:
    packed = b"".join(
        number.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for number, value in extensions
    )
    return data.ljust(165, b"\0") + bytes([kind]) + packed


@given(supply=U64, decimals=st.integers(0, 255), authority=MAYBE_ADDRESS)
def test_a_mint_is_read_exactly(supply, decimals, authority):
    facts = decode_mint(snapshot(mint_bytes(authority=authority, supply=supply, decimals=decimals)))
    assert (facts.supply_base_units, facts.decimals, facts.mint_authority) == (supply, decimals, authority)
    assert (facts.freeze_authority, facts.extensions, facts.name, facts.slot) == (None, (), None, 77)


@given(amount=U64, delegated=U64, delegate=MAYBE_ADDRESS, close_authority=MAYBE_ADDRESS, frozen=st.booleans())
def test_a_token_account_is_read_exactly(amount, delegated, delegate, close_authority, frozen):
    state = decode_token_account(
        snapshot(
            account_bytes(
                amount=amount,
                delegate=delegate,
                delegated_amount=delegated,
                close_authority=close_authority,
                state=SplState.Frozen if frozen else SplState.Initialized,
            )
        )
    )
    assert (state.amount_base_units, state.delegated_base_units) == (amount, delegated)
    assert (state.mint, state.owner, state.delegate) == (ADDRESS, OWNER, delegate)
    assert (state.close_authority, state.is_frozen, state.requires_memo) == (close_authority, frozen, False)
    assert state.live_delegate == (delegate if delegated else None)


@pytest.mark.parametrize("kind", sorted(EXTENSION_NAMES))
def test_extensions_are_refused_or_accepted_by_name(kind):
    data = extended(mint_bytes(), 1, (kind, bytes(64 + 8)))
    if kind in UNSUPPORTED_EXTENSIONS:
        with pytest.raises(UnsupportedMintError) as caught:
            decode_mint(snapshot(data, TOKEN_2022_PROGRAM))
        assert caught.value.facts["extensions"] == [EXTENSION_NAMES[kind]]
        assert EXTENSION_NAMES[kind] in str(caught.value)
    else:
        assert decode_mint(snapshot(data, TOKEN_2022_PROGRAM)).extensions == (EXTENSION_NAMES[kind],)


def test_the_refused_ones_are_those_that_change_what_arrives():
    assert {EXTENSION_NAMES[kind] for kind in UNSUPPORTED_EXTENSIONS} == {
        "transfer fee",
        "transfer hook",
        "confidential transfer",
        "confidential transfer fee",
        "confidential mint and burn",
        "non-transferable",
        "scaled amount",
        "interest-bearing",
    }


def test_an_extension_of_the_future_is_refused():
    with pytest.raises(UnsupportedMintError, match="unknown extension 900"):
        decode_mint(snapshot(extended(mint_bytes(), 1, (18, bytes(64)), (900, b"")), TOKEN_2022_PROGRAM))


def test_name_and_symbol_come_from_the_mint():
    def text(value: str) -> bytes:
        return len(value.encode()).to_bytes(4, "little") + value.encode()

    metadata = bytes(64) + text("Déals") + text("DEAL") + text("") + bytes(4)
    facts = decode_mint(
        snapshot(extended(mint_bytes(), 1, (18, bytes(64)), (19, metadata)), TOKEN_2022_PROGRAM)
    )
    assert (facts.name, facts.symbol) == ("Déals", "DEAL")


@pytest.mark.parametrize(("flag", "wanted"), [(b"\x01", True), (b"\x00", False)])
def test_a_memo_may_be_required(flag, wanted):
    data = extended(account_bytes(), 2, (7, b""), (8, flag))
    state = decode_token_account(snapshot(data, TOKEN_2022_PROGRAM))
    assert state.requires_memo is wanted
    assert state.extensions == ("immutable owner", "memo transfer")


NO_MINTS = [
    snapshot(mint_bytes(), SYSTEM_PROGRAM),
    snapshot(mint_bytes()[:-1]),
    snapshot(bytes(82)),
    snapshot(account_bytes()),
    snapshot(extended(mint_bytes(), 1)),
    snapshot(extended(mint_bytes(), 2), TOKEN_2022_PROGRAM),
    snapshot(mint_bytes() + b"\0", TOKEN_2022_PROGRAM),
]
NO_ACCOUNTS = [
    snapshot(account_bytes(), SYSTEM_PROGRAM),
    snapshot(account_bytes()[:-1]),
    snapshot(bytes(165)),
    snapshot(mint_bytes()),
    snapshot(extended(account_bytes(), 2)),
    snapshot(extended(account_bytes(), 1), TOKEN_2022_PROGRAM),
]


@pytest.mark.parametrize("account", NO_MINTS)
def test_what_is_no_mint_is_not_taken_for_one(account):
    with pytest.raises(MintNotFoundError):
        decode_mint(account)


@pytest.mark.parametrize("account", NO_ACCOUNTS)
def test_what_is_no_token_account_is_not_taken_for_one(account):
    with pytest.raises(RpcMalformedReplyError):
        decode_token_account(account)


@given(data=st.binary(max_size=400), owner=st.sampled_from([CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM]))
def test_no_bytes_break_a_decoder(data, owner):
    for decode, errors in (
        (decode_mint, (MintNotFoundError, UnsupportedMintError)),
        (decode_token_account, (RpcMalformedReplyError,)),
    ):
        with suppress(*errors):
            decode(snapshot(data, owner))
