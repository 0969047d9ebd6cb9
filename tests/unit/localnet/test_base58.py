from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_localnet.base58 import b58decode, b58encode, bad_character


@given(st.binary(max_size=100))
def test_what_is_encoded_decodes_to_the_same(data: bytes) -> None:
    assert b58decode(b58encode(data)) == data


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_addresses_and_signatures_read_as_solders_writes_them(key: bytes, signature: bytes) -> None:
    assert b58encode(key) == str(Pubkey.from_bytes(key))
    assert b58encode(signature) == str(Signature.from_bytes(signature))


def test_a_bad_character_is_named_with_its_place() -> None:
    assert bad_character("abc") is None
    assert bad_character("ab0") == "InvalidCharacter { character: '0', index: 2 }"
