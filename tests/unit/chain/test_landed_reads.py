"""Finalized blocks are read once, as far as there is room."""

from __future__ import annotations

import pytest

from deal_sdk.chain import LandedBlocks, LandedTransaction
from deal_sdk.errors import RpcMalformedReplyError
from deal_sdk.settings import Commitment


class Blocks:
    """Blocks of as many transactions as their slot says, but for those that were skipped."""

    def __init__(self, skipped: int) -> None:
        self.skipped = skipped
        self.asked: list[int] = []

    async def get_block_transactions(
        self, slot: int, commitment: Commitment = "finalized"
    ) -> tuple[LandedTransaction, ...] | None:
        assert commitment == "finalized"
        self.asked.append(slot)
        if slot == self.skipped:
            return None
        return tuple(
            LandedTransaction(f"{slot}.{n}", slot, None, None, 0, (), {}, {}, ()) for n in range(slot)
        )


async def test_a_block_is_read_once_and_those_asked_for_long_ago_are_forgotten() -> None:
    source = Blocks(skipped=9)
    blocks = LandedBlocks(source, max_kept_transactions=5)
    for slot in (2, 3, 2, 3, 2):
        assert len(await blocks.get(slot)) == slot
    assert source.asked == [2, 3]
    await blocks.get(1)
    assert [len(await blocks.get(slot)) for slot in (2, 3)] == [2, 3]
    assert source.asked == [2, 3, 1, 3]


async def test_a_block_that_is_larger_than_the_room_is_read_each_time() -> None:
    source = Blocks(skipped=9)
    blocks = LandedBlocks(source, max_kept_transactions=5)
    for slot in (6, 6):
        assert len(await blocks.get(slot)) == 6
    assert source.asked == [6, 6]


async def test_a_block_that_the_endpoint_does_not_have_is_no_empty_one() -> None:
    with pytest.raises(RpcMalformedReplyError, match="slot 9"):
        await LandedBlocks(Blocks(skipped=9)).get(9)
