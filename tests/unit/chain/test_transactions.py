from __future__ import annotations

import pytest
from solders.hash import Hash
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from deal_sdk.chain import instructions
from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM, MEMO_PROGRAM
from deal_sdk.chain.replies import LatestBlockhash
from deal_sdk.chain.signers import KeypairSigner
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES, build_and_sign
from deal_sdk.errors import InvalidAmountError, InvalidInputError, KeystoreError, SignatureRequiredError

PAYER, OWNER, OTHER = (KeypairSigner.generate() for _ in range(3))
BLOCKHASH = LatestBlockhash(Hash.new_unique(), 1_150, 1_000)


def transfer(amount: int = 1, *, count: int = 1):
    return [
        instructions.transfer_checked(
            source=PAYER.address,
            mint=OTHER.address,
            destination=KeypairSigner.generate().address,
            authority=OWNER.address,
            amount_base_units=amount,
            decimals=8,
            program_id=CLASSIC_TOKEN_PROGRAM,
        )
        for _ in range(count)
    ]


async def test_it_is_a_valid_v0_transaction_of_all_its_signers():
    signed = await build_and_sign(transfer(), payer=PAYER, signers=[OWNER, OTHER], blockhash=BLOCKHASH)
    parsed = VersionedTransaction.from_bytes(signed.raw_bytes)
    assert signed.raw_bytes[65 + 64] == 0x80
    assert parsed.verify_with_results() == [True, True]
    assert str(parsed.signatures[0]) == signed.signature
    assert parsed.message.account_keys[:2] == [PAYER.address, OWNER.address]
    assert (signed.last_valid_block_height, signed.context_slot) == (1_150, 1_000)


async def test_signing_the_same_again_makes_the_same_bytes():
    steps = transfer()
    first, second = [
        await build_and_sign(steps, payer=PAYER, signers=[OWNER], blockhash=BLOCKHASH) for _ in range(2)
    ]
    assert first == second


async def test_a_missing_signer_is_named():
    with pytest.raises(SignatureRequiredError) as caught:
        await build_and_sign(transfer(), payer=PAYER, signers=[OTHER], blockhash=BLOCKHASH)
    assert caught.value.facts["addresses"] == [str(OWNER.address)]


async def test_the_size_is_checked_before_anybody_signs():
    class Refusing:
        address = OWNER.address

        async def sign(self, message: bytes) -> Signature:
            raise AssertionError("signed what cannot be sent")

    with pytest.raises(InvalidInputError, match="over the limit") as caught:
        await build_and_sign(transfer(count=30), payer=PAYER, signers=[Refusing()], blockhash=BLOCKHASH)
    assert caught.value.facts["max_bytes"] == MAX_TRANSACTION_BYTES


async def test_as_many_transfers_fit_as_the_field_says():
    budget = [instructions.compute_unit_limit(200_000), instructions.compute_unit_price(1)]
    steps = [*budget, *transfer(count=17)]
    signed = await build_and_sign(steps, payer=PAYER, signers=[OWNER], blockhash=BLOCKHASH)
    assert len(signed.raw_bytes) <= MAX_TRANSACTION_BYTES
    with pytest.raises(InvalidInputError):
        await build_and_sign([*steps, *transfer(count=2)], payer=PAYER, signers=[OWNER], blockhash=BLOCKHASH)


async def test_nothing_to_do_is_refused():
    with pytest.raises(InvalidInputError):
        await build_and_sign([], payer=PAYER, blockhash=BLOCKHASH)


async def test_what_a_signer_raises_is_raised():
    class Locked:
        address = OWNER.address

        async def sign(self, message: bytes) -> Signature:
            raise KeystoreError("locked")

    with pytest.raises(KeystoreError):
        await build_and_sign(transfer(), payer=PAYER, signers=[Locked()], blockhash=BLOCKHASH)


@pytest.mark.parametrize("amount", [-1, 2**64])
def test_an_amount_beyond_the_chain_is_refused(amount):
    with pytest.raises(InvalidAmountError):
        transfer(amount)


def test_the_largest_approval_is_exact():
    step = instructions.approve_checked(
        source=PAYER.address,
        mint=OTHER.address,
        delegate=PAYER.address,
        owner=OWNER.address,
        amount_base_units=2**64 - 1,
        decimals=8,
        program_id=CLASSIC_TOKEN_PROGRAM,
    )
    assert step.data == b"\x0d" + b"\xff" * 8 + b"\x08"


def test_memos_are_bounded():
    step = instructions.memo("order 7", OWNER.address)
    assert (step.program_id, step.data) == (MEMO_PROGRAM, b"order 7")
    assert step.accounts[0].is_signer
    with pytest.raises(InvalidInputError):
        instructions.memo("é" * 284)
