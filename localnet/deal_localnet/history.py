"""Landed transactions, by signature and by address, for as long as the chain lives."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from solders.pubkey import Pubkey

from .records import TransactionRecord

STATUS_CACHE_SLOTS: Final = 300


class History:
    """Finds transactions by signature and lists those that mention an address."""

    def __init__(self) -> None:
        self._by_signature: dict[str, TransactionRecord] = {}
        self._by_address: dict[Pubkey, list[TransactionRecord]] = {}

    def __len__(self) -> int:
        return len(self._by_signature)

    def add(self, record: TransactionRecord) -> None:
        """Enter a transaction, which must be newer than all others."""
        self._by_signature[record.signature] = record
        table = self._by_address
        for key in dict.fromkeys(record.keys):
            records = table.get(key)
            if records is None:
                table[key] = [record]
            else:
                records.append(record)

    def find(self, signature: str) -> TransactionRecord | None:
        """Return a transaction by its signature."""
        return self._by_signature.get(signature)

    def remove(self, record: TransactionRecord) -> None:
        """Forget a transaction whose block was dropped."""
        self._by_signature.pop(record.signature, None)
        for key in set(record.keys):
            records = self._by_address[key]
            del records[bisect_left(records, place_of(record), key=place_of)]
            if not records:
                del self._by_address[key]

    def mentioning(
        self, address: Pubkey, *, max_slot: int, before: TransactionRecord | None = None
    ) -> Iterator[TransactionRecord]:
        """Iterate over an address's transactions, newest first, from a slot or from before a transaction."""
        records = self._by_address.get(address, [])
        end = bisect_right(records, max_slot, key=lambda record: record.slot)
        if before is not None:
            end = min(end, bisect_left(records, place_of(before), key=place_of))
        for position in range(end - 1, -1, -1):
            yield records[position]


def place_of(record: TransactionRecord) -> tuple[int, int]:
    """Return where a transaction stands in the chain."""
    return record.slot, record.place
