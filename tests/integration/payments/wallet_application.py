"""A user's own wallet: it signs what it is given, and may do what wallets do."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageHeader, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_sdk import Deal, User


class WalletApplication:
    """Holds the user's key; the backend never sees it."""

    def __init__(self, user: User, key: Keypair) -> None:
        self.user, self.key = user, key
        self.address = str(key.pubkey())

    def sign(self, transaction: str) -> str:
        """Sign a transaction in base64 where this wallet must, and leave the other signatures."""
        given = VersionedTransaction.from_bytes(base64.b64decode(transaction))
        signatures = list(given.signatures)
        place = list(given.message.account_keys).index(self.key.pubkey())
        signatures[place] = self.key.sign_message(to_bytes_versioned(given.message))
        return base64.b64encode(bytes(VersionedTransaction.populate(given.message, signatures))).decode()

    def sign_with(self, extra: Instruction, transaction: str) -> str:
        """Sign after putting an instruction before the others, as some wallets do with priority fees."""
        message = VersionedTransaction.from_bytes(base64.b64decode(transaction)).message
        keys = message.account_keys
        header = message.header
        steps = [
            Instruction(
                keys[step.program_id_index],
                bytes(step.data),
                [_meta(keys, index, header) for index in step.accounts],
            )
            for step in message.instructions
        ]
        changed = MessageV0.try_compile(keys[0], [extra, *steps], [], message.recent_blockhash)
        blank = VersionedTransaction.populate(changed, [self.key.sign_message(b"")] * 2)
        return self.sign(base64.b64encode(bytes(blank)).decode())


def _meta(keys: Sequence[Pubkey], index: int, header: MessageHeader) -> AccountMeta:
    required, readonly_signed = header.num_required_signatures, header.num_readonly_signed_accounts
    if index < required:
        return AccountMeta(keys[index], True, index < required - readonly_signed)
    return AccountMeta(keys[index], False, index < len(keys) - header.num_readonly_unsigned_accounts)


async def own_wallet(deal: Deal, tokens: str) -> WalletApplication:
    """Connect a wallet whose key the user keeps, and pay tokens into it."""
    user = await deal.users.create(tier="Business")
    wallet = WalletApplication(user, Keypair())
    await deal.wallets.connect_wallet(user.id, wallet.address)
    await deal.tokens.transfer("treasury", user.id, tokens)
    return wallet
