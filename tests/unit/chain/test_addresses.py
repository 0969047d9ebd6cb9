from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address

from deal_sdk.chain.addresses import (
    CLASSIC_TOKEN_PROGRAM,
    TOKEN_2022_PROGRAM,
    associated_token_address,
    parse_address,
    token_program_id,
)
from deal_sdk.errors import ConfigurationError, InvalidWalletAddressError

OWNER = Keypair.from_seed(bytes(32)).pubkey()
MINT = Keypair.from_seed(bytes([1] * 32)).pubkey()
OFF_CURVE = get_associated_token_address(OWNER, MINT)


@given(st.binary(min_size=32, max_size=32))
def test_every_32_bytes_are_an_address(raw):
    address = Pubkey.from_bytes(raw)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "x", "0" * 44, str(OWNER)[:-1] + "0", str(OWNER) + "1", str(OWNER)[:30], " " + str(OWNER), "é" * 40,
     "z" * 44, "1" * 31, "1" * 33, "1" * 10_000, None, 7, b"x" * 32],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidWalletAddressError) as caught:
        parse_address(text)
    assert len(str(caught.value.facts["address"])) <= 44


def test_an_owner_must_be_on_the_curve_when_asked():
    assert parse_address(str(OWNER), on_curve=True) == OWNER
    assert parse_address(str(OFF_CURVE)) == OFF_CURVE
    with pytest.raises(InvalidWalletAddressError, match="off the curve"):
        parse_address(str(OFF_CURVE), on_curve=True)


def test_associated_accounts_are_those_of_the_standard_derivation():
    for program in (CLASSIC_TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        assert associated_token_address(OWNER, MINT, program) == get_associated_token_address(
            OWNER, MINT, program
        )


def test_programs_go_by_their_settings_names():
    assert token_program_id("classic") == CLASSIC_TOKEN_PROGRAM
    assert token_program_id("token-2022") == TOKEN_2022_PROGRAM
    with pytest.raises(ConfigurationError):
        token_program_id("other")
