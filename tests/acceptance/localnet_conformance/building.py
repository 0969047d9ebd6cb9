"""Brings the scenario about on one chain, and names what came of it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from deal_localnet.base58 import b58encode

from .instructions import keypair
from .lanes_programs import FAILING_LANE, NEW_TOKEN_LANE, SYSTEM_LANE, TABLES_LANE
from .lanes_tokens import CLASSIC_LANE, SHARED_LANE
from .nodes import Node
from .unsent import CREATED, UNSENT, Unsent
from .world import ADDRESSES, FUNDS, TABLE_ADDRESSES, Chain, Step

LANES: Final = {
    "alice": CLASSIC_LANE,
    "dora": NEW_TOKEN_LANE,
    "erin": SYSTEM_LANE,
    "frank": TABLES_LANE,
    "gina": SHARED_LANE,
    "henry": FAILING_LANE,
}
STEPS: Final = tuple(one for lane in LANES.values() for one in lane)
SOME_HASH: Final = Hash.hash(b"no block of any chain")
SENT_EARLY: Final = ("landed", "watched_")
SKIP: Final = {"encoding": "base64", "skipPreflight": True}


class Build:
    """Sends the scenario to one node; `names` is what its cases may refer to."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._chain = Chain()
        self.names: dict[str, Any] = {name: str(address) for name, address in ADDRESSES.items()}
        self.names["genesis_of_nothing"] = str(SOME_HASH)
        self.names["created"] = str(CREATED)

    async def run(self) -> None:
        """Fund the payers, then send every lane; returns once all transactions are confirmed."""
        self.names["genesis"] = await self._node.call("getGenesisHash")
        self.names["identity"] = (await self._node.call("getIdentity"))["identity"]
        airdrops = [await self._airdrop(name, lamports) for name, lamports in FUNDS.items()]
        await self._node.wait(airdrops, "confirmed")
        await self._note_faucet(airdrops[0])
        self._chain.recent_slot = await self._node.call("getSlot", {"commitment": "confirmed"})
        self.names["table"] = str(self._chain.table)
        self.names["frozen_table"] = str(self._chain.frozen_table)
        async with asyncio.TaskGroup() as group:
            for payer, lane in LANES.items():
                group.create_task(self._lane(payer, lane))
        statuses = await self._node.wait([self.names[f"sig.{one.name}"] for one in STEPS], "confirmed")
        for one, status in zip(STEPS, statuses, strict=True):
            self.names[f"slot.{one.name}"] = status["slot"]
            failed = status["err"] is not None
            assert failed == one.fails, f"{one.name} on {self._node.url}: {status['err']}"

    async def _airdrop(self, name: str, lamports: int) -> str:
        signature = await self._node.call("requestAirdrop", self.names[name], lamports)
        self.names[f"sig.airdrop_{name}"] = signature
        return str(signature)

    async def _note_faucet(self, airdrop: str) -> None:
        entry = await self._node.until_found("getTransaction", airdrop, {"commitment": "confirmed"})
        self.names["faucet"] = entry["transaction"]["message"]["accountKeys"][0]

    async def _lane(self, payer: str, lane: Sequence[Step]) -> None:
        for one in lane:
            signed = self._sign(
                payer,
                one.signers,
                self._message(payer, one, await self._blockhash("processed")),
            )
            self._note(one.name, signed)
            await self._node.call("sendTransaction", self.names[f"wire.{one.name}"], SKIP)
            # A table's addresses can be used from the slot after the one that they came in.
            level = "confirmed" if one.name == "create_table" else "processed"
            await self._node.wait([self.names[f"sig.{one.name}"]], level)

    async def _blockhash(self, level: str) -> Hash:
        latest = await self._node.call("getLatestBlockhash", {"commitment": level})
        return Hash.from_string(latest["value"]["blockhash"])

    def _message(self, payer: str, one: Step | Unsent, recent: Hash) -> Message | MessageV0:
        instructions = list(one.instructions(self._chain))
        key = Pubkey.from_string(self.names.get(payer) or str(keypair(payer).pubkey()))
        if not one.versioned:
            return Message.new_with_blockhash(instructions, key, recent)
        tables = [AddressLookupTableAccount(self._chain.table, TABLE_ADDRESSES)] if one.uses_table else []
        return MessageV0.try_compile(key, instructions, tables, recent)

    @staticmethod
    def _sign(payer: str, signers: Sequence[str], message: Message | MessageV0) -> VersionedTransaction:
        return VersionedTransaction(message, [keypair(name) for name in (payer, *signers)])

    def _note(self, name: str, transaction: VersionedTransaction) -> None:
        wire = bytes(transaction)
        for index, signature in enumerate(transaction.signatures):
            self.names[f"sig.{name}.{index}" if index else f"sig.{name}"] = str(signature)
        self.names[f"wire.{name}"] = b64encode(wire).decode()
        self.names[f"wire58.{name}"] = b58encode(wire)
        # A message's bytes have no signatures before them.
        message = wire[1 + 64 * len(transaction.signatures) :]
        self.names[f"message.{name}"] = b64encode(message).decode()

    async def sign_unsent(self, *, early: bool) -> None:
        """Sign the transactions that are sent early on, or all others, with a fresh blockhash."""
        recent = await self._blockhash("finalized")
        for one in UNSENT:
            if early != one.name.startswith(SENT_EARLY):
                continue
            message = self._message(one.payer, one, SOME_HASH if one.stale else recent)
            if one.unsigned:
                blank = [Signature.default()] * message.header.num_required_signatures
                self._note(one.name, VersionedTransaction.populate(message, blank))
            else:
                self._note(one.name, self._sign(one.payer, one.signers, message))

    async def send_unsent(self, name: str) -> None:
        """Send one of those transactions."""
        await self._node.call("sendTransaction", self.names[f"wire.{name}"], SKIP)
