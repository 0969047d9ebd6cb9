"""The faucet: airdrops as real transfers, so that they have a signature, a fee and a history."""

from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from .records import WireTransaction
from .wire import resolve


class Faucet:
    """Signs transfers from one well-funded account."""

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair

    @property
    def address(self) -> Pubkey:
        """Return the account that pays."""
        return self._keypair.pubkey()

    def airdrop(self, to: Pubkey, lamports: int, blockhash: Hash) -> WireTransaction:
        """Build and sign the transfer."""
        return self._signed([self._transfer(to, lamports)], blockhash)

    def _transfer(self, to: Pubkey, lamports: int) -> Instruction:
        return transfer(TransferParams(from_pubkey=self.address, to_pubkey=to, lamports=lamports))

    def _signed(self, instructions: list[Instruction], blockhash: Hash) -> WireTransaction:
        message = Message.new_with_blockhash(instructions, self.address, blockhash)
        transaction = VersionedTransaction(message, [self._keypair])
        return resolve(bytes(transaction), transaction, message, lambda _: None)
