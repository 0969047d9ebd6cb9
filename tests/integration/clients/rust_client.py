"""The requests of Solana's Rust client, as its sources write them, with the replies read by its own types.

Derived from the sources of solana-rpc-client 3 and spl-token-client 0.18, whose calls the `spl-token` command
line (spl-token-cli 5.5) is made of. It is no recording of the program.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import orjson
from solders.account import Account
from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.rpc.responses import (
    GetAccountInfoResp,
    GetBalanceResp,
    GetLatestBlockhashResp,
    GetMinimumBalanceForRentExemptionResp,
    GetSignatureStatusesResp,
    GetTokenAccountBalanceResp,
    GetTokenAccountsByOwnerJsonParsedResp,
    GetTokenSupplyResp,
    IsBlockhashValidResp,
    RpcKeyedAccountJsonParsed,
    SendTransactionPreflightFailureMessage,
    SendTransactionResp,
    SimulateTransactionResp,
)
from solders.signature import Signature
from solders.token.state import TokenAccount
from solders.transaction import Transaction

from tests.unit.localnet.support import Driver

MAX_COMPUTE_UNITS: Final = 1_400_000
CONFIRMED: Final = {"commitment": "confirmed"}
PROCESSED: Final = {"commitment": "processed"}
ACCOUNT: Final = {"commitment": "confirmed", "dataSlice": None, "minContextSlot": None}
SIMULATED: Final = {
    "accounts": None,
    "commitment": "confirmed",
    "encoding": "base64",
    "innerInstructions": False,
    "minContextSlot": None,
    "replaceRecentBlockhash": False,
    "sigVerify": False,
}
SENT: Final = {
    "encoding": "base64",
    "maxRetries": None,
    "minContextSlot": None,
    "preflightCommitment": "confirmed",
    "skipPreflight": False,
}


class RustClient:
    """Asks what the Rust client asks, in its order, and lets slots pass where it would wait."""

    def __init__(self, driver: Driver, payer: Keypair) -> None:
        self._driver = driver
        self.payer = payer

    async def _ask(self, parser: Any, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 0, "method": method, "params": list(params)}
        reply = await self._driver.raw(orjson.dumps(request))
        return parser.from_json(orjson.dumps(reply).decode())

    async def account(self, address: Pubkey) -> Account | None:
        """get_account_with_commitment"""
        config = {**ACCOUNT, "encoding": "base64+zstd"}
        found: Account | None = (
            await self._ask(GetAccountInfoResp, "getAccountInfo", str(address), config)
        ).value
        return found

    async def tokens(self, address: Pubkey) -> TokenAccount:
        """Token::get_account_info"""
        account = await self.account(address)
        assert account is not None
        return TokenAccount.from_bytes(account.data[:165])

    async def balance(self, address: Pubkey) -> int:
        """get_balance"""
        return int((await self._ask(GetBalanceResp, "getBalance", str(address), CONFIRMED)).value)

    async def rent(self, data_bytes: int) -> int:
        """get_minimum_balance_for_rent_exemption"""
        parser = GetMinimumBalanceForRentExemptionResp
        return int((await self._ask(parser, "getMinimumBalanceForRentExemption", data_bytes)).value)

    async def supply(self, mint: Pubkey) -> str:
        """get_token_supply"""
        return str((await self._ask(GetTokenSupplyResp, "getTokenSupply", str(mint), CONFIRMED)).value.amount)

    async def token_balance(self, account: Pubkey) -> str:
        """get_token_account_balance"""
        parser = GetTokenAccountBalanceResp
        found = await self._ask(parser, "getTokenAccountBalance", str(account), CONFIRMED)
        return str(found.value.amount)

    async def token_accounts(self, owner: Pubkey, wanted: dict[str, str]) -> list[RpcKeyedAccountJsonParsed]:
        """get_token_accounts_by_owner"""
        parser, config = GetTokenAccountsByOwnerJsonParsedResp, {**ACCOUNT, "encoding": "jsonParsed"}
        found = await self._ask(parser, "getTokenAccountsByOwner", str(owner), wanted, config)
        return list(found.value)

    async def _blockhash(self) -> Hash:
        found = await self._ask(GetLatestBlockhashResp, "getLatestBlockhash", CONFIRMED)
        return Hash.from_bytes(bytes(found.value.blockhash))

    async def process(self, instructions: Sequence[Instruction], *signers: Keypair) -> Signature:
        """Token::process_ixs and finish_tx: simulate unsigned for the units, sign, send, confirm."""
        blockhash = await self._blockhash()
        units = await self._units(instructions, blockhash)
        message = self._message(instructions, units, blockhash)
        transaction = Transaction([self.payer, *signers], message, blockhash)
        signature = Signature.from_bytes(bytes(await self.send(transaction)))
        assert await self._status(signature) is None
        asked = await self._ask(IsBlockhashValidResp, "isBlockhashValid", str(blockhash), PROCESSED)
        assert asked.value is True
        self._driver.advance()
        status = await self._status(signature)
        assert status is not None
        assert status.err is None
        await self._blockhash()
        return signature

    async def send(self, transaction: Transaction) -> Signature:
        """send_transaction_with_config"""
        encoded = b64encode(bytes(transaction)).decode()
        found: Signature = (await self._ask(SendTransactionResp, "sendTransaction", encoded, SENT)).value
        return found

    async def refusal(
        self, instructions: Sequence[Instruction], *signers: Keypair
    ) -> SendTransactionPreflightFailureMessage:
        """Send what preflight refuses, and read why."""
        blockhash = await self._blockhash()
        units = await self._units(instructions, blockhash)
        message = self._message(instructions, units, blockhash)
        encoded = b64encode(bytes(Transaction([self.payer, *signers], message, blockhash))).decode()
        parser = SendTransactionResp
        refused = await self._ask(parser, "sendTransaction", encoded, SENT)
        assert isinstance(refused, SendTransactionPreflightFailureMessage)
        return refused

    async def _units(self, instructions: Sequence[Instruction], blockhash: Hash) -> int:
        unsigned = Transaction.new_unsigned(self._message(instructions, MAX_COMPUTE_UNITS, blockhash))
        encoded = b64encode(bytes(unsigned)).decode()
        simulated = await self._ask(SimulateTransactionResp, "simulateTransaction", encoded, SIMULATED)
        units = simulated.value.units_consumed
        assert units is not None
        return int(units)

    def _message(self, instructions: Sequence[Instruction], units: int, blockhash: Hash) -> Message:
        limited = [*instructions, set_compute_unit_limit(units)]
        return Message.new_with_blockhash(limited, self.payer.pubkey(), blockhash)

    async def _status(self, signature: Signature) -> Any:
        """get_signature_status_with_commitment: what has not reached the commitment counts as unknown."""
        found = await self._ask(GetSignatureStatusesResp, "getSignatureStatuses", [str(signature)])
        status = found.value[0]
        confirmed = status is not None and int(status.confirmation_status) >= 1
        return status if confirmed else None
