"""The RPC methods that payments need, typed: cluster, accounts, statuses and sends.

Owns the parameters of each method and the grouping of reads: 100 accounts and 256 signatures a
call, shared by all who ask in the same tick. History is in `rpc_history`, batching in `channel`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from solders.pubkey import Pubkey

from deal_sdk.batching import Collector
from deal_sdk.chain._errors import MIN_CONTEXT_SLOT_NOT_REACHED
from deal_sdk.chain.addresses import TOKEN_PROGRAMS
from deal_sdk.chain.channel import (
    DEFAULT_MAX_BATCH_ITEMS,
    DEFAULT_MAX_BODY_BYTES,
    SEND_TRANSACTION,
    Channel,
    Parse,
    RpcChannel,
)
from deal_sdk.chain.replies import (
    TOKEN_AMOUNT_BYTES,
    TOKEN_AMOUNT_OFFSET,
    AccountSnapshot,
    EpochPosition,
    LatestBlockhash,
    Simulation,
    StatusReply,
    TokenBalance,
    parse_accounts,
    parse_latest_blockhash,
    parse_simulation,
    parse_statuses,
)
from deal_sdk.chain.reply_fields import integer, text
from deal_sdk.chain.rpc_history import HistoryReads
from deal_sdk.chain.token_state import delegation_in
from deal_sdk.chain.transport import Transport
from deal_sdk.clock import Clock
from deal_sdk.errors import RpcMalformedReplyError, RpcRefusedError, RpcUnavailableError
from deal_sdk.metrics import Metrics
from deal_sdk.settings import Commitment

MAX_ACCOUNTS_PER_CALL: Final = 100
MAX_SIGNATURES_PER_CALL: Final = 256
BEHIND_RETRY_SECONDS: Final = 0.2
MAX_BEHIND_RETRIES: Final = 25
_MAX_BALANCE_READS_IN_FLIGHT: Final = 2


@dataclass(frozen=True, slots=True)
class _BalanceRead:
    token_account: Pubkey
    commitment: Commitment
    turn: int


class Rpc(HistoryReads):
    """Calls the methods of an endpoint, or of a pool of them, and returns typed values or typed errors."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        metrics: Metrics,
        max_batch_items: int = DEFAULT_MAX_BATCH_ITEMS,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        """Prepare the client; nothing is sent before the first call.

        Args:
            transport: carries the bodies; `close` closes it too.
            clock: times requests and spaces the retries of reads from a node that lags.
            metrics: counts calls and their durations.
            max_batch_items: the most calls in one JSON-RPC batch.
            max_body_bytes: the most bytes in one request's body.
        """
        self._attach(
            RpcChannel(
                transport,
                clock=clock,
                metrics=metrics,
                max_batch_items=max_batch_items,
                max_body_bytes=max_body_bytes,
            )
        )

    @classmethod
    def over(cls, channel: Channel) -> Self:
        """Return a client of a channel, which `close` closes together with its transport."""
        rpc = cls.__new__(cls)
        rpc._attach(channel)
        return rpc

    def _attach(self, channel: Channel) -> None:
        self._channel = channel
        self.clock = channel.clock
        self._balances: Collector[_BalanceRead, TokenBalance] = Collector(
            self._read_balances,
            max_items=MAX_ACCOUNTS_PER_CALL,
            max_in_flight=_MAX_BALANCE_READS_IN_FLIGHT,
        )

    @property
    def endpoint(self) -> str:
        """Return the endpoint's name for logs and evidence, without secrets."""
        return self._channel.endpoint

    @property
    def transport(self) -> Transport:
        """Return the transport, for another client of the same endpoint."""
        return self._channel.transport

    @property
    def endpoint_count(self) -> int:
        """Return how many endpoints there are to ask."""
        return len(self._channel.members)

    @property
    def members(self) -> tuple[Rpc, ...]:
        """Return a client for each endpoint alone, to ask every one; itself where there is no pool."""
        channels = self._channel.members
        return (self,) if self._channel in channels else tuple(Rpc.over(channel) for channel in channels)

    async def call(
        self, method: str, params: Sequence[Any] = (), *, turn: int = 0, parse: Parse | None = None
    ) -> Any:
        """Call any method and return its `result`; see `Channel.call`."""
        return await self._channel.call(method, params, turn=turn, parse=parse)

    async def close(self) -> None:
        """Finish the calls under way, then close the transport."""
        await self._channel.close()
        await self.transport.close()

    async def get_genesis_hash(self) -> str:
        """Return the hash that names the cluster."""
        return await self._read("getGenesisHash", [], text)

    async def get_version(self) -> str:
        """Return the node's software version."""
        return await self._read("getVersion", [], lambda reply: text(reply["solana-core"]))

    async def get_slot(self, commitment: Commitment = "confirmed") -> int:
        """Return the newest slot of a commitment."""
        return await self._read("getSlot", [{"commitment": commitment}], integer)

    async def get_block_height(self, commitment: Commitment = "finalized") -> int:
        """Return the newest block height of a commitment, which is what blockhashes expire by."""
        return await self._read("getBlockHeight", [{"commitment": commitment}], integer)

    async def get_epoch_position(self, commitment: Commitment = "finalized") -> EpochPosition:
        """Return the newest slot of a commitment and its block height, from one and the same block."""
        return await self._read(
            "getEpochInfo",
            [{"commitment": commitment}],
            lambda reply: EpochPosition(integer(reply["absoluteSlot"]), integer(reply["blockHeight"])),
        )

    async def get_first_available_block(self) -> int:
        """Return the oldest slot that the node still holds, before which its silence proves nothing."""
        return await self._read("getFirstAvailableBlock", [], integer)

    async def get_latest_blockhash(self, commitment: Commitment = "confirmed") -> LatestBlockhash:
        """Return a blockhash to sign with; send with the same commitment for preflight."""
        return await self._read("getLatestBlockhash", [{"commitment": commitment}], parse_latest_blockhash)

    async def get_minimum_balance_for_rent_exemption(self, size_bytes: int) -> int:
        """Return the lamports that an account of a size must hold."""
        return await self._read("getMinimumBalanceForRentExemption", [size_bytes], integer)

    async def get_balance(self, address: Pubkey, commitment: Commitment = "confirmed") -> int:
        """Return an address's lamports."""
        params = [str(address), {"commitment": commitment}]
        return await self._read("getBalance", params, lambda reply: integer(reply["value"]))

    async def request_airdrop(self, address: Pubkey, lamports: int) -> str:
        """Ask a test cluster's faucet for lamports and return the transaction's signature."""
        params = [str(address), lamports, {"commitment": "confirmed"}]
        return await self._read("requestAirdrop", params, text)

    async def get_account(
        self,
        address: Pubkey,
        commitment: Commitment = "confirmed",
        *,
        min_context_slot: int | None = None,
    ) -> AccountSnapshot | None:
        """Return an account, or None where there is none; see `get_accounts`."""
        return (await self.get_accounts([address], commitment, min_context_slot=min_context_slot))[0]

    async def get_accounts(
        self,
        addresses: Sequence[Pubkey],
        commitment: Commitment = "confirmed",
        *,
        min_context_slot: int | None = None,
    ) -> list[AccountSnapshot | None]:
        """Read accounts, 100 a call, all groups at once.

        Args:
            addresses: any number; the answer keeps their order.
            commitment: how certain the state must be.
            min_context_slot: the oldest slot that counts; a node that lags is asked again for a while.

        Raises:
            RpcUnavailableError: when the node did not reach `min_context_slot` in about five seconds.
        """
        groups = [
            addresses[start : start + MAX_ACCOUNTS_PER_CALL]
            for start in range(0, len(addresses), MAX_ACCOUNTS_PER_CALL)
        ]
        replies = await asyncio.gather(
            *(self._get_group(group, commitment, min_context_slot) for group in groups)
        )
        return [account for _, accounts in replies for account in accounts]

    async def get_token_balance(
        self,
        token_account: Pubkey,
        commitment: Commitment = "confirmed",
        *,
        min_context_slot: int | None = None,
    ) -> TokenBalance:
        """Read a token account's amount; reads that arrive together share one call per hundred.

        Args:
            token_account: the token account, not its owner.
            commitment: how certain the state must be.
            min_context_slot: the oldest slot that counts.

        Raises:
            RpcUnavailableError: when the node did not reach `min_context_slot` in about five seconds.
            RpcMalformedReplyError: when something other than a token account is there.
        """
        for attempt in range(MAX_BEHIND_RETRIES):
            # Those who ask the same endpoint share a call, however often each has asked before.
            turn = attempt % self.endpoint_count
            balance = await self._balances.submit(_BalanceRead(token_account, commitment, turn))
            if min_context_slot is None or balance.slot >= min_context_slot:
                return balance
            await self.clock.sleep(BEHIND_RETRY_SECONDS)
        raise self._behind(min_context_slot)

    async def get_signature_statuses(
        self, signatures: Sequence[str], *, search_history: bool = False
    ) -> StatusReply:
        """Read what the node knows of signatures, 256 a call.

        Args:
            signatures: base58 signatures; the answer keeps their order.
            search_history: also look beyond the node's recent status cache.

        Returns:
            The statuses, and the lowest context slot of the calls that were made: a null status says
            something only about slots up to that one.
        """
        groups = [
            list(signatures[start : start + MAX_SIGNATURES_PER_CALL])
            for start in range(0, len(signatures), MAX_SIGNATURES_PER_CALL)
        ] or [[]]
        replies = await asyncio.gather(*(self._get_statuses(group, search_history) for group in groups))
        return StatusReply(
            min(reply.context_slot for reply in replies),
            tuple(status for reply in replies for status in reply.statuses),
            ", ".join(dict.fromkeys(reply.endpoint for reply in replies)),
        )

    async def send_transaction(
        self,
        raw_bytes: bytes,
        *,
        preflight_commitment: Commitment = "confirmed",
        skip_preflight: bool = False,
        turn: int = 0,
    ) -> str:
        """Hand signed bytes to the node once; any exception means that the outcome is unknown.

        Args:
            raw_bytes: the signed transaction.
            preflight_commitment: the commitment that the blockhash was read at; another one makes the
                node drop a transaction whose blockhash it does not yet know.
            skip_preflight: send without simulating first.
            turn: how often these bytes were sent before; each time goes to the next endpoint.
        """
        options = {
            "encoding": "base64",
            "skipPreflight": skip_preflight,
            "preflightCommitment": preflight_commitment,
            # The node's own resending would outlive a decision that the confirmer has made.
            "maxRetries": 0,
        }
        params = [base64.b64encode(raw_bytes).decode(), options]
        return await self._read(SEND_TRANSACTION, params, text, turn=turn)

    async def simulate_transaction(
        self,
        raw_bytes: bytes,
        *,
        commitment: Commitment = "confirmed",
        verify_signatures: bool = False,
        replace_blockhash: bool = False,
    ) -> Simulation:
        """Run a transaction without landing it, to learn its compute units or why it would fail."""
        options = {
            "encoding": "base64",
            "commitment": commitment,
            "sigVerify": verify_signatures,
            "replaceRecentBlockhash": replace_blockhash,
        }
        params = [base64.b64encode(raw_bytes).decode(), options]
        return await self._read("simulateTransaction", params, parse_simulation)

    async def _get_statuses(self, signatures: list[str], search_history: bool) -> StatusReply:
        params = [signatures, {"searchTransactionHistory": search_history}]
        answer = await self._channel.answer(
            "getSignatureStatuses", params, parse=lambda reply: parse_statuses(len(signatures), reply)
        )
        reply: StatusReply = answer.result
        return replace(reply, endpoint=answer.endpoint)

    async def _get_group(
        self,
        addresses: Sequence[Pubkey],
        commitment: Commitment,
        min_context_slot: int | None,
        first_turn: int = 0,
    ) -> tuple[int, list[AccountSnapshot | None]]:
        options: dict[str, Any] = {"encoding": "base64", "commitment": commitment}
        if min_context_slot is not None:
            options["minContextSlot"] = min_context_slot
        params = [[str(address) for address in addresses], options]
        for turn in range(first_turn, first_turn + MAX_BEHIND_RETRIES):
            try:
                slot, accounts = await self._read(
                    "getMultipleAccounts", params, lambda reply: parse_accounts(addresses, reply), turn=turn
                )
            except RpcRefusedError as error:
                if error.rpc_code != MIN_CONTEXT_SLOT_NOT_REACHED:
                    raise
            else:
                if min_context_slot is None or slot >= min_context_slot:
                    return slot, accounts
            await self.clock.sleep(BEHIND_RETRY_SECONDS)
        raise self._behind(min_context_slot)

    async def _read_balances(self, reads: Sequence[_BalanceRead]) -> list[TokenBalance | BaseException]:
        groups: dict[tuple[Commitment, int], dict[Pubkey, TokenBalance | BaseException]] = {}
        for read in reads:
            groups.setdefault((read.commitment, read.turn), {})[read.token_account] = TokenBalance(
                0, 0, False
            )
        for (commitment, turn), balances in groups.items():
            # The reads of a group wait for different slots, so each caller checks the slot for itself.
            slot, accounts = await self._get_group(list(balances), commitment, None, turn)
            for address, account in zip(list(balances), accounts, strict=True):
                balances[address] = self._balance_of(account, slot)
        return [groups[read.commitment, read.turn][read.token_account] for read in reads]

    @staticmethod
    def _balance_of(account: AccountSnapshot | None, slot: int) -> TokenBalance | BaseException:
        if account is None:
            return TokenBalance(0, slot, False)
        amount_bytes = account.data[TOKEN_AMOUNT_OFFSET:][:TOKEN_AMOUNT_BYTES]
        if account.owner not in TOKEN_PROGRAMS or len(amount_bytes) < TOKEN_AMOUNT_BYTES:
            # Lamports sent ahead to an address make a system account there, which holds no tokens.
            if not account.data:
                return TokenBalance(0, slot, False)
            return RpcMalformedReplyError(f"{account.address} is no token account")
        delegate, delegated_base_units = delegation_in(account.data)
        return TokenBalance(
            int.from_bytes(amount_bytes, "little"), slot, True, delegate, delegated_base_units
        )

    def _behind(self, min_context_slot: int | None) -> RpcUnavailableError:
        return RpcUnavailableError(
            f"{self.endpoint} has not reached slot {min_context_slot}",
            endpoint=self.endpoint,
            min_context_slot=min_context_slot,
        )
