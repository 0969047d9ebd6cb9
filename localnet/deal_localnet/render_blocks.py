"""Blocks as JSON, for who asks for one and for who hears of each."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

from solders.pubkey import Pubkey

from .block_replies import BlockForm, BlockReplies
from .errors import TRANSACTION_VERSION_UNSUPPORTED, RpcError
from .params import MAX_U8, TRANSACTION_ENCODINGS, Config, encoding, flag, optional_unsigned, variant
from .records import TransactionRecord
from .render_transactions import TransactionView
from .slots import Block, Chain

TRANSACTION_DETAILS: Final = ("full", "signatures", "none", "accounts")
BRIEF_DETAILS: Final = ("signatures", "none")


class BlockShape(NamedTuple):
    """Names how much of a block is shown, and in which encoding."""

    details: str
    encoding: str
    max_version: int | None
    shows_rewards: bool

    @classmethod
    def asked(cls, config: Config) -> Self:
        """Read what a getBlock asks for."""
        return cls._read(config, "json", flag(config, "rewards", True))

    @classmethod
    def subscribed(cls, config: Config) -> Self:
        """Read what a blockSubscribe asks for."""
        return cls._read(config, "base64", flag(config, "showRewards"))

    @classmethod
    def _read(cls, config: Config, default_encoding: str, shows_rewards: bool) -> Self:
        details = config.get("transactionDetails")
        return cls(
            "full" if details is None else variant(details, TRANSACTION_DETAILS),
            encoding(config, TRANSACTION_ENCODINGS, default_encoding),
            optional_unsigned(config, "maxSupportedTransactionVersion", "u8", MAX_U8),
            shows_rewards,
        )


def render_block(chain: Chain, block: Block, shape: BlockShape, replies: BlockReplies) -> dict[str, Any]:
    """Return a block; its transactions are kept as they were written, for the next who asks."""
    frame = _frame(chain, block, shape)
    if shape.details in BRIEF_DETAILS:
        return {**frame, **_transactions(block.records, shape)}
    form = BlockForm(block.slot, len(block.records), *shape)
    return {**frame, "transactions": replies.transactions(form, lambda: _entries(block.records, shape))}


def block_update(
    chain: Chain, block: Block, shape: BlockShape, mentioned: Pubkey | None
) -> dict[str, Any] | None:
    """Return what a subscriber hears of a block; None when none of its transactions mentions the address."""
    records = [record for record in block.records if mentioned is None or mentioned in record.keys]
    if mentioned is not None and not records:
        return None
    try:
        transactions = _transactions(records, shape)
    except RpcError as error:
        if error.code != TRANSACTION_VERSION_UNSUPPORTED:
            raise
        return {"block": None, "err": {"UnsupportedTransactionVersion": 0}, "slot": block.slot}
    return {"block": {**_frame(chain, block, shape), **transactions}, "err": None, "slot": block.slot}


def _frame(chain: Chain, block: Block, shape: BlockShape) -> dict[str, Any]:
    parent = chain.block_of_height(block.height - 1)
    frame: dict[str, Any] = {
        "blockHeight": block.height,
        "blockTime": block.time,
        "blockhash": str(block.blockhash),
        "parentSlot": block.parent_slot,
        "previousBlockhash": str(parent.blockhash if parent is not None else block.blockhash),
    }
    if shape.shows_rewards:
        frame["rewards"] = []
    return frame


def _transactions(records: Sequence[TransactionRecord], shape: BlockShape) -> dict[str, Any]:
    if shape.details == "none":
        return {}
    if shape.details == "signatures":
        return {"signatures": [record.signature for record in records]}
    return {"transactions": _entries(records, shape)}


def _entries(records: Sequence[TransactionRecord], shape: BlockShape) -> list[dict[str, Any]]:
    views = [TransactionView(record) for record in records]
    if shape.details == "accounts":
        return [view.accounts_entry(shape.max_version) for view in views]
    return [
        view.entry(shape.encoding, shape.max_version, shows_rewards=shape.shows_rewards) for view in views
    ]
