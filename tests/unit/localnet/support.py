"""A localnet driven by hand, and the transactions that its tests send."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import orjson
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction

from deal_localnet import Localnet

SOL: Final = 1_000_000_000
FEE: Final = 5_000
DECIMALS: Final = 8
MEMO: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
SYSTEM: Final = Pubkey.from_string("11111111111111111111111111111111")
PROCESSED: Final = {"commitment": "processed"}
CONFIRMED: Final = {"commitment": "confirmed"}
FINALIZED: Final = {"commitment": "finalized"}


class Refused(Exception):
    """Carries the error that a call was answered with."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class Driver:
    """Speaks JSON-RPC with a localnet in process and signs for one funded payer."""

    def __init__(self, localnet: Localnet) -> None:
        self.localnet = localnet
        self.payer = Keypair()

    async def raw(self, body: bytes) -> Any:
        """Send a body as it is."""
        reply = await self.localnet.handle(body)
        return None if reply is None else orjson.loads(reply)

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method; a refusal raises."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        reply = await self.raw(orjson.dumps(request))
        if "error" in reply:
            raise Refused(reply["error"])
        return reply["result"]

    async def value(self, method: str, *params: Any) -> Any:
        """Call a method and take the value out of its context."""
        return (await self.call(method, *params))["value"]

    def advance(self, slots: int = 1) -> int:
        """Close slots."""
        return self.localnet.advance_slots(slots)

    async def fund(self, lamports: int = 100 * SOL) -> None:
        """Give the payer lamports that are confirmed."""
        await self.call("requestAirdrop", str(self.payer.pubkey()), lamports)
        self.advance()

    async def blockhash(self, level: str = "processed") -> Hash:
        """Return the newest blockhash of a commitment."""
        latest = await self.value("getLatestBlockhash", {"commitment": level})
        return Hash.from_string(latest["blockhash"])

    async def signed(
        self,
        instructions: Sequence[Instruction],
        *more: Keypair,
        blockhash: Hash | None = None,
        payer: Keypair | None = None,
        legacy: bool = False,
    ) -> VersionedTransaction:
        """Sign a transaction with a fresh blockhash."""
        payer = payer or self.payer
        recent = blockhash or await self.blockhash()
        message: Message | MessageV0
        if legacy:
            message = Message.new_with_blockhash(list(instructions), payer.pubkey(), recent)
        else:
            message = MessageV0.try_compile(payer.pubkey(), list(instructions), [], recent)
        return VersionedTransaction(message, [payer, *more])

    async def send(self, transaction: VersionedTransaction, **config: Any) -> str:
        """Send a transaction with preflight at processed."""
        options = {"encoding": "base64", "preflightCommitment": "processed", **config}
        return await self.call("sendTransaction", encoded(transaction), options)

    async def run(self, *instructions: Instruction, signers: Sequence[Keypair] = (), **config: Any) -> str:
        """Sign and send instructions."""
        return await self.send(await self.signed(instructions, *signers), **config)

    async def status(self, signature: str) -> Any:
        """Return a signature's status."""
        return (await self.value("getSignatureStatuses", [signature]))[0]

    async def transaction(self, signature: str, encoding: str = "json") -> Any:
        """Return a confirmed transaction."""
        config = {"encoding": encoding, "maxSupportedTransactionVersion": 0, **CONFIRMED}
        return await self.call("getTransaction", signature, config)

    async def create_mint(self, program: Pubkey = TOKEN) -> Pubkey:
        """Create a mint whose authority is the payer."""
        mint = Keypair()
        lamports = await self.call("getMinimumBalanceForRentExemption", 82)
        create = create_account(
            CreateAccountParams(
                from_pubkey=self.payer.pubkey(),
                to_pubkey=mint.pubkey(),
                lamports=lamports,
                space=82,
                owner=program,
            )
        )
        data = bytes([20, DECIMALS]) + bytes(self.payer.pubkey()) + b"\0"
        await self.run(create, Instruction(program, data, [writable(mint.pubkey())]), signers=[mint])
        return mint.pubkey()

    async def open_account(self, mint: Pubkey, owner: Pubkey, program: Pubkey = TOKEN) -> Pubkey:
        """Open the associated token account of a wallet."""
        account = associated(mint, owner, program)
        accounts = [
            AccountMeta(self.payer.pubkey(), True, True),
            writable(account),
            readonly(owner),
            readonly(mint),
            readonly(SYSTEM),
            readonly(program),
        ]
        await self.run(Instruction(ASSOCIATED, b"\1", accounts))
        return account

    async def mint_to(self, mint: Pubkey, account: Pubkey, amount: int, program: Pubkey = TOKEN) -> str:
        """Mint tokens."""
        data = bytes([7]) + amount.to_bytes(8, "little")
        return await self.run(Instruction(program, data, [writable(mint), writable(account), self.authority]))

    @property
    def authority(self) -> AccountMeta:
        """Return the payer as a signer that is not written to."""
        return AccountMeta(self.payer.pubkey(), True, False)

    def pay(self, to: Pubkey, lamports: int) -> Instruction:
        """Build a transfer of lamports."""
        return transfer(TransferParams(from_pubkey=self.payer.pubkey(), to_pubkey=to, lamports=lamports))

    def move(self, source: Pubkey, mint: Pubkey, to: Pubkey, amount: int) -> Instruction:
        """Build a TransferChecked."""
        data = bytes([12]) + amount.to_bytes(8, "little") + bytes([DECIMALS])
        return Instruction(TOKEN, data, [writable(source), readonly(mint), writable(to), self.authority])


def writable(key: Pubkey) -> AccountMeta:
    """Mention an account that is written to."""
    return AccountMeta(key, False, True)


def readonly(key: Pubkey) -> AccountMeta:
    """Mention an account that is only read."""
    return AccountMeta(key, False, False)


def associated(mint: Pubkey, owner: Pubkey, program: Pubkey = TOKEN) -> Pubkey:
    """Return the address of a wallet's token account."""
    return Pubkey.find_program_address([bytes(owner), bytes(program), bytes(mint)], ASSOCIATED)[0]


def encoded(transaction: VersionedTransaction) -> str:
    """Return a transaction as base64."""
    return b64encode(bytes(transaction)).decode()
