"""The peer of the localnet: LiteSVM in process, with the signature checks that a server must make too.

It is the ceiling for any server around LiteSVM: no JSON, no HTTP, no blocks, no history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from solders.account import Account
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.token.state import Mint, TokenAccount, TokenAccountState
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from scripts.bench.contestants import Handler, Stopwatch, answer_commands
from scripts.bench.peers.bare_batches import FIRST_AMOUNT
from scripts.bench.peers.token_world import OWNER_BASE_UNITS, OWNER_LAMPORTS, SUPPLY_BASE_UNITS
from scripts.bench.peers.transfers import Transfers

RENT_EXEMPT_LAMPORTS: Final = 10_000_000


class BareLiteSvm:
    """The peer's process."""

    async def prepare(self, world: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Put the accounts of a `TokenWorld` into a LiteSVM of its own."""
        self._transfers = Transfers(world, first_amount=FIRST_AMOUNT)
        self._blockhashes = 0
        self._svm = LiteSVM().with_blockhash_check(False).with_sigverify(True).with_transaction_history(0)
        program, mint = Pubkey.from_string(world["token_program"]), Pubkey.from_string(world["mint"])
        state = Mint(None, SUPPLY_BASE_UNITS, int(world["decimals"]), is_initialized=True)
        self._svm.set_account(mint, Account(RENT_EXEMPT_LAMPORTS, bytes(state), program))
        for owner, address in zip(self._transfers.owners, world["accounts"], strict=True):
            held = TokenAccount(
                mint, owner, OWNER_BASE_UNITS, None, TokenAccountState.Initialized, None, 0, None
            )
            self._svm.set_account(owner, Account(OWNER_LAMPORTS, b"", Pubkey.default()))
            account = Account(RENT_EXEMPT_LAMPORTS, bytes(held), program)
            self._svm.set_account(Pubkey.from_string(address), account)
        return {}

    async def run(self, payments: int) -> dict[str, Any]:
        """Sign everything, then decode, check and execute one transaction after another."""
        self._blockhashes += 1
        blockhash = Hash.hash(self._blockhashes.to_bytes(8, "little"))
        signed = [bytes(self._transfers.sign(blockhash)) for _ in range(payments)]
        watch = Stopwatch()
        for raw in signed:
            result = self._svm.send_transaction(VersionedTransaction.from_bytes(raw))
            if isinstance(result, FailedTransactionMetadata):
                raise RuntimeError(f"a transfer failed: {result.err()}")
        return {"payments": payments, "seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}

    async def close(self) -> None:
        """Do nothing: it holds nothing but memory."""


def main() -> None:
    """Answer the benchmark until it ends."""
    peer = BareLiteSvm()
    handlers: dict[str, Handler] = {"prepare": peer.prepare, "run": peer.run}
    asyncio.run(answer_commands(handlers, peer.close))


if __name__ == "__main__":
    main()
