"""The chain as it was at one moment, in memory: taken at once, put back as often as wanted.

LiteSVM cannot be copied, so a snapshot hears of every account that changes after it and puts these back.
"""

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from .accounts import AccountsCopy
from .bank import Bank
from .chain_time import ChainTime
from .slots import ChainCopy


class Snapshot:
    """Holds one moment of one running chain; letting go of it frees what it keeps."""

    def __init__(self, bank: Bank, time: ChainTime) -> None:
        self._bank = bank
        self._time = time
        self._ahead_seconds = time.ahead_seconds
        self._chain: ChainCopy = bank.chain.copied()
        self._slot_hashes: list[tuple[int, Hash]] = list(bank.slot_hashes)
        self._accounts: AccountsCopy = bank.accounts.copied()

    @property
    def slot(self) -> int:
        """Return the slot that was open then."""
        return self._chain.blocks[-1].slot

    def is_of(self, bank: Bank) -> bool:
        """Tell whether it is a moment of that chain."""
        return self._bank is bank

    def put_back(self) -> None:
        """Make the chain what it was: accounts, blocks, history, blockhashes and time.

        Subscribers are told nothing: to them the slots start again from an older one.
        """
        bank = self._bank
        gone, come = bank.chain.put_back(self._chain)
        for block in reversed(gone):
            for record in reversed(block.records):
                bank.history.remove(record)
        for block in come:
            for record in block.records:
                bank.history.add(record)
        changed = bank.accounts.put_back(self._accounts)
        bank.put_slot_hashes_back(self._slot_hashes)
        self._time.ahead_seconds = self._ahead_seconds
        self._write_down(come[0].height, changed)

    def _write_down(self, first_height: int, changed: list[Pubkey]) -> None:
        """Let the ledger go the same way: the blocks that went are deleted, those that came are written."""
        bank = self._bank
        if bank.journal is None:
            return
        closed = self._chain.blocks[-2].slot
        # What the open slot changed is written when it closes; until then its accounts are those from before.
        keys = dict.fromkeys((*changed, *bank.accounts.touched(self.slot)))
        states: list[tuple[Pubkey, Account | None]] = [(key, bank.accounts.at(key, closed)) for key in keys]
        bank.journal.rolled_back(self._chain.blocks[first_height - 1].slot, states)
        for block in self._chain.blocks[first_height:-1]:
            bank.journal.block_closed(block, ())
