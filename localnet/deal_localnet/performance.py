"""How fast the chain went: samples of a minute each, read off the blocks themselves."""

from bisect import bisect_left
from typing import Final, NamedTuple

from .slots import Block, Chain, Commitment

SAMPLE_SECONDS: Final = 60
MAX_SAMPLES: Final = 720


class Sample(NamedTuple):
    """Counts what one whole minute brought."""

    slot: int
    slots: int
    transactions: int

    def as_object(self) -> dict[str, int]:
        """Return the sample as the RPC shows it; nobody votes here, so no transaction is a vote."""
        return {
            "numNonVoteTransactions": self.transactions,
            "numSlots": self.slots,
            "numTransactions": self.transactions,
            "samplePeriodSecs": SAMPLE_SECONDS,
            "slot": self.slot,
        }


def samples(chain: Chain, limit: int) -> list[Sample]:
    """Return the last whole minutes since the first block, newest first.

    A minute without any final block, as when the chain stood still, has no sample.
    """
    top = chain.height_at(Commitment.FINALIZED)
    start = _block(chain, 0).time
    found: list[Sample] = []
    minute = (_block(chain, top).time - start) // SAMPLE_SECONDS
    while minute > 0 and len(found) < limit:
        last = _height_at(chain, top, start + minute * SAMPLE_SECONDS) - 1
        minute = min(minute, (_block(chain, last).time - start) // SAMPLE_SECONDS + 1)
        first = _height_at(chain, top, start + (minute - 1) * SAMPLE_SECONDS)
        if first <= last:
            found.append(_sample(_block(chain, first), _block(chain, last)))
        minute -= 1
    return found


def _height_at(chain: Chain, top: int, time: int) -> int:
    """Return the height of the first block from a time on."""
    return bisect_left(range(top + 1), time, key=lambda height: _block(chain, height).time)


def _sample(first: Block, last: Block) -> Sample:
    return Sample(
        last.slot, last.slot - first.parent_slot, last.transaction_count - first.transactions_before
    )


def _block(chain: Chain, height: int) -> Block:
    block = chain.block_of_height(height)
    if block is None:
        raise ValueError(f"the chain has no block of height {height}")
    return block
