"""What comes back from a wallet is what was handed out, or is refused with what differs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature

from deal_sdk.chain import (
    LatestBlockhash,
    UnsignedTransaction,
    check_signed,
    differences_between,
    instructions,
    join_signatures,
    prepare_transaction,
)
from deal_sdk.errors import InvalidInputError, InvalidSignatureError, PreparedTransactionChangedError


def keypair(number: int) -> Keypair:
    return Keypair.from_seed(bytes([number]) * 32)


OWNER, BACKEND, STRANGER = keypair(1), keypair(2), keypair(3)
BLOCKHASH = LatestBlockhash(Hash(bytes([7]) * 32), 250, 100)
PRIORITY_FEE = instructions.compute_unit_price(10_000)


def movement(amount: int = 5, to: int = 6) -> list[Instruction]:
    move = instructions.transfer_checked(
        source=keypair(4).pubkey(),
        mint=keypair(5).pubkey(),
        destination=keypair(to).pubkey(),
        authority=OWNER.pubkey(),
        amount_base_units=amount,
        decimals=8,
        program_id=Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
    )
    return [instructions.memo("deal:1"), move]


def prepared(
    steps: list[Instruction] | None = None,
    *,
    payer: Keypair = BACKEND,
    blockhash: LatestBlockhash = BLOCKHASH,
) -> UnsignedTransaction:
    return prepare_transaction(steps or movement(), payer=payer.pubkey(), blockhash=blockhash)


def signed(message: bytes, *keys: Keypair | None) -> bytes:
    return join_signatures(
        [Signature.default() if key is None else key.sign_message(message) for key in keys], message
    )


ASKED = prepared()
MESSAGE = ASKED.message_bytes


def test_the_unsigned_transaction_asks_both() -> None:
    assert ASKED.signers == (BACKEND.pubkey(), OWNER.pubkey())
    assert ASKED.raw_bytes == signed(MESSAGE, None, None)
    assert (ASKED.last_valid_block_height, ASKED.context_slot) == (250, 100)


def test_the_backends_signature_may_come_last() -> None:
    signatures = check_signed(MESSAGE, signed(MESSAGE, None, OWNER), may_lack=BACKEND.pubkey())
    assert signatures[1] == OWNER.sign_message(MESSAGE)
    assert check_signed(MESSAGE, signed(MESSAGE, BACKEND, OWNER)) != signatures


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ((None, None), "is missing"),
        ((None, STRANGER), "does not verify"),
        ((STRANGER, OWNER), "does not verify"),
        ((BACKEND, None), "is missing"),
        ((OWNER, BACKEND), "does not verify"),
    ],
)
def test_every_signature_is_verified(keys: tuple[Keypair | None, ...], problem: str) -> None:
    with pytest.raises(InvalidSignatureError, match=problem):
        check_signed(MESSAGE, signed(MESSAGE, *keys), may_lack=BACKEND.pubkey())


def test_nobody_may_lack_who_was_not_named() -> None:
    with pytest.raises(InvalidSignatureError, match=str(BACKEND.pubkey())):
        check_signed(MESSAGE, signed(MESSAGE, None, OWNER))


def legacy() -> bytes:
    return to_bytes_versioned(Message.new_with_blockhash(movement(), BACKEND.pubkey(), BLOCKHASH.blockhash))


@pytest.mark.parametrize(
    ("message", "differs"),
    [
        (prepared([PRIORITY_FEE, *movement()]).message_bytes, "priority fee instruction was added"),
        (prepared(movement(6)).message_bytes, "was removed"),
        (prepared(movement(to=8)).message_bytes, "was added"),
        (prepared(payer=STRANGER).message_bytes, "another account pays the fee"),
        (prepared(blockhash=LatestBlockhash(Hash.default(), 250, 100)).message_bytes, "another blockhash"),
        (prepared(movement()[::-1]).message_bytes, "another order"),
        (prepared(movement()[1:]).message_bytes, "was removed"),
        (legacy(), "another transaction version"),
        (b"\x80nonsense", "no message that can be read"),
    ],
)
def test_a_wallet_may_change_nothing(message: bytes, differs: str) -> None:
    with pytest.raises(PreparedTransactionChangedError, match=differs) as refused:
        check_signed(MESSAGE, signed(message, BACKEND, OWNER), may_lack=BACKEND.pubkey())
    assert refused.value.facts["differences"]
    assert refused.value.outcome == "not_sent"


@pytest.mark.parametrize(
    "returned", [b"", b"\x00", b"\x01", b"\x02" + bytes(128), bytes(1233), b"\xff" * 500]
)
def test_bytes_that_are_no_transaction(returned: bytes) -> None:
    with pytest.raises(InvalidInputError):
        check_signed(MESSAGE, returned)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(signed(MESSAGE, BACKEND, OWNER)) - 1), flip=st.integers(1, 255))
def test_no_changed_byte_is_taken(position: int, flip: int) -> None:
    returned = bytearray(signed(MESSAGE, BACKEND, OWNER))
    returned[position] ^= flip
    with pytest.raises(InvalidInputError):
        check_signed(MESSAGE, bytes(returned), may_lack=BACKEND.pubkey())


@settings(max_examples=150, deadline=None)
@given(junk=st.binary(max_size=1300))
def test_junk_is_refused_and_never_breaks(junk: bytes) -> None:
    with pytest.raises(InvalidInputError):
        check_signed(MESSAGE, junk)
    if junk != MESSAGE:
        assert differences_between(MESSAGE, junk)
