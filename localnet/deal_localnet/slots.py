"""The chain of blocks: which slot is open, which are confirmed or final, and which blockhashes still live.

A block's height is its index in the chain. Slots and heights part only at a rollback, whose dropped slots
stay skipped for ever: a slot number is never used twice, so no reader sees a slot go backwards.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, NamedTuple

from solders.hash import Hash

from .records import TransactionRecord

MAX_SLOT_HASHES: Final = 512


class Commitment(IntEnum):
    """Orders the three levels of certainty that a read can ask for."""

    PROCESSED = 0
    CONFIRMED = 1
    FINALIZED = 2

    @property
    def label(self) -> str:
        """Return the name that the RPC uses."""
        return COMMITMENT_LABELS[self]


COMMITMENT_LABELS: Final = ("processed", "confirmed", "finalized")


@dataclass(slots=True)
class Block:
    """Holds one slot's block; it grows only while its slot is open."""

    slot: int
    parent_slot: int
    height: int
    blockhash: Hash
    time: int
    transactions_before: int
    records: list[TransactionRecord] = field(default_factory=list)

    @property
    def transaction_count(self) -> int:
        """Return the chain's transactions up to and with this block."""
        return self.transactions_before + len(self.records)


class ChainCopy(NamedTuple):
    """Keeps what a chain was at one moment."""

    blocks: tuple[Block, ...]
    heights: dict[Hash, int]
    final_floor: int


def _copied(block: Block) -> Block:
    return replace(block, records=list(block.records))


class Chain:
    """Keeps the blocks in order and answers by slot, by height and by blockhash."""

    def __init__(
        self, blocks: list[Block], *, confirm_slots: int, finality_slots: int, lifetime: int
    ) -> None:
        self._blocks = blocks
        self._slots = [block.slot for block in blocks]
        self._heights = {block.blockhash: block.height for block in blocks}
        self._confirm_slots = confirm_slots
        self._finality_slots = finality_slots
        self._lifetime = lifetime
        # What a ledger brought back is final: its older states were compacted when they were written.
        self._final_floor = max(len(blocks) - 2, 0)
        self._behind: dict[Commitment, int] = {}

    @property
    def open(self) -> Block:
        """Return the block that transactions land in now."""
        return self._blocks[-1]

    @property
    def lifetime_blocks(self) -> int:
        """Return how many blocks a blockhash stays usable."""
        return self._lifetime

    def block_at(self, commitment: Commitment) -> Block:
        """Return the newest block of a commitment."""
        return self._blocks[self.height_at(commitment)]

    def height_at(self, commitment: Commitment) -> int:
        """Return the newest height of a commitment."""
        height = self._own_height_at(commitment)
        return max(height - self._behind[commitment], 0) if self._behind else height

    def _own_height_at(self, commitment: Commitment) -> int:
        top = len(self._blocks) - 1
        if commitment is Commitment.PROCESSED:
            return top
        final = max(top - self._finality_slots, self._final_floor, 0)
        if commitment is Commitment.FINALIZED:
            return min(final, top)
        return max(top - self._confirm_slots, final)

    @contextmanager
    def behind(self, slots: int, *, but_processed: bool = False) -> Iterator[None]:
        """Answer by commitment as a node that is some slots behind.

        Nothing may land and no slot may end meanwhile, unless `but_processed` leaves that level as it is: a
        node that lags passes on what it is sent all the same.
        """
        self._behind = dict.fromkeys(Commitment, slots)
        if but_processed:
            self._behind[Commitment.PROCESSED] = 0
        try:
            yield
        finally:
            self._behind = {}

    def slot_at(self, commitment: Commitment) -> int:
        """Return the newest slot of a commitment."""
        return self._blocks[self.height_at(commitment)].slot

    def commitment_of(self, slot: int) -> Commitment:
        """Return how certain a slot's block is by now."""
        if slot <= self.slot_at(Commitment.FINALIZED):
            return Commitment.FINALIZED
        if slot <= self.slot_at(Commitment.CONFIRMED):
            return Commitment.CONFIRMED
        return Commitment.PROCESSED

    def confirmations(self, slot: int) -> int:
        """Return how many blocks stand on top of a slot's block."""
        return self.height_at(Commitment.PROCESSED) - bisect_left(self._slots, slot)

    def block_of_slot(self, slot: int) -> Block | None:
        """Return a slot's block; None when the slot was skipped or is still to come."""
        position = bisect_left(self._slots, slot)
        if position < len(self._slots) and self._slots[position] == slot:
            return self._blocks[position]
        return None

    def block_of_height(self, height: int) -> Block | None:
        """Return the block of a height; None when there is none yet."""
        return self._blocks[height] if 0 <= height < len(self._blocks) else None

    def first_block_from(self, slot: int) -> Block:
        """Return the first block of a slot or of one after it; the open block when there is none."""
        return self._blocks[min(bisect_left(self._slots, slot), len(self._blocks) - 1)]

    def slots_between(self, first: int, last: int) -> list[int]:
        """Return the slots with a block from `first` to `last`, both included."""
        return self._slots[bisect_left(self._slots, first) : bisect_left(self._slots, last + 1)]

    def blockhash_height(self, blockhash: Hash) -> int | None:
        """Return the height that a blockhash belongs to; None when it is unknown or long forgotten."""
        return self._heights.get(blockhash)

    def is_blockhash_valid(self, blockhash: Hash, commitment: Commitment) -> bool:
        """Tell whether a transaction with this blockhash may run in the bank of that commitment."""
        height = self._heights.get(blockhash)
        bank_height = self.height_at(commitment)
        return height is not None and height <= bank_height <= height + self._lifetime

    def append(self, block: Block) -> None:
        """Open the next block, and forget the blockhash that nothing can use any more."""
        self._blocks.append(block)
        self._slots.append(block.slot)
        self._heights[block.blockhash] = block.height
        expired = self.block_of_height(block.height - self._lifetime - self._finality_slots - 1)
        if expired is not None:
            self._heights.pop(expired.blockhash, None)

    def drop_above(self, slot: int) -> list[Block]:
        """Remove the blocks above a slot that is not yet final, and return them."""
        keep = bisect_left(self._slots, slot + 1)
        if keep <= self.height_at(Commitment.FINALIZED):
            raise ValueError(f"slot {slot} lies below the finalized slot")
        dropped = self._blocks[keep:]
        del self._blocks[keep:]
        del self._slots[keep:]
        for block in dropped:
            self._heights.pop(block.blockhash, None)
        return dropped

    def copied(self) -> "ChainCopy":
        """Return what the chain is now, for `put_back`; blocks that are closed are shared."""
        return ChainCopy(
            (*self._blocks[:-1], _copied(self._blocks[-1])), dict(self._heights), self._final_floor
        )

    def put_back(self, copy: "ChainCopy") -> tuple[list[Block], list[Block]]:
        """Become again what a copy was taken of, and return the blocks that went and those that came."""
        fresh = [*copy.blocks[:-1], _copied(copy.blocks[-1])]
        shared = 0
        while shared < min(len(fresh), len(self._blocks)) and fresh[shared] is self._blocks[shared]:
            shared += 1
        gone = self._blocks[shared:]
        self._blocks = fresh
        self._slots = [block.slot for block in fresh]
        self._heights = dict(copy.heights)
        self._final_floor = copy.final_floor
        return gone, fresh[shared:]

    def last_blocks(self, count: int) -> list[Block]:
        """Return the newest blocks, newest first."""
        return self._blocks[: -count - 1 : -1]
