"""What a failed transaction's error means, read with the program that raised it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair

from deal_sdk.chain import CLASSIC_TOKEN_PROGRAM, LatestBlockhash, build_and_sign, instructions
from deal_sdk.chain.failures import explain_failure
from deal_sdk.chain.signers import KeypairSigner

PAYER = KeypairSigner(Keypair.from_seed(bytes([1]) * 32))


async def signed_bytes() -> bytes:
    move = instructions.transfer_checked(
        source=Keypair.from_seed(bytes([2]) * 32).pubkey(),
        mint=Keypair.from_seed(bytes([3]) * 32).pubkey(),
        destination=Keypair.from_seed(bytes([4]) * 32).pubkey(),
        authority=PAYER.address,
        amount_base_units=1,
        decimals=8,
        program_id=CLASSIC_TOKEN_PROGRAM,
    )
    built = [instructions.memo("memo"), move]
    signed = await build_and_sign(built, payer=PAYER, blockhash=LatestBlockhash(Hash.default(), 9, 1))
    return signed.raw_bytes


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ({"InstructionError": [1, {"Custom": 4}]}, "owner_mismatch"),
        ({"InstructionError": [1, {"Custom": 1}]}, "insufficient_funds"),
        ({"InstructionError": [1, {"Custom": 17}]}, "account_frozen"),
        ({"InstructionError": [1, {"Custom": 999}]}, None),
        ({"InstructionError": [1, "InvalidAccountData"]}, None),
        # The same number of another program means something else.
        ({"InstructionError": [0, {"Custom": 4}]}, None),
    ],
)
async def test_a_number_is_read_with_its_program(error: dict[str, Any], name: str | None) -> None:
    found = explain_failure(await signed_bytes(), error)
    assert found is not None
    assert found.get("name") == name
    assert (name is None) == ("text" not in found)


@settings(max_examples=40, deadline=None)
@given(
    raw_bytes=st.binary(max_size=200),
    error=st.one_of(
        st.text(),
        st.none(),
        st.dictionaries(st.sampled_from(["InstructionError", "Custom"]), st.text()),
        st.tuples(st.integers(-3, 300), st.integers()).map(lambda pair: {"InstructionError": list(pair)}),
    ),
)
def test_what_cannot_be_read_is_not_explained(raw_bytes: bytes, error: Any) -> None:
    assert explain_failure(raw_bytes, error) is None
