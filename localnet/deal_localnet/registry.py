"""The table of RPC methods: every area enters its own, and the dispatcher looks them up by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .bank import Bank
from .block_replies import BlockReplies
from .errors import min_context_slot_not_reached
from .faucet import Faucet
from .params import Config, commitment, optional_unsigned
from .slots import Block, Commitment
from .version import API_VERSION

if TYPE_CHECKING:
    from .localnet import Localnet


class Node(NamedTuple):
    """Holds what a method may use."""

    bank: Bank
    faucet: Faucet
    identity: str
    block_replies: BlockReplies
    localnet: "Localnet | None" = None
    """What the test methods steer; None when they are off."""


Handler = Callable[[Node, list[Any]], Any]


class Method(NamedTuple):
    """Keeps a handler with the number of parameters that it takes."""

    handler: Handler
    required: int
    maximum: int


class MethodTable:
    """Collects the methods of one area under their RPC names."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}

    def method(self, name: str, required: int = 0, maximum: int = 0) -> Callable[[Handler], Handler]:
        """Enter a handler under a name."""

        def enter(handler: Handler) -> Handler:
            self.methods[name] = Method(handler, required, maximum)
            return handler

        return enter


def chosen_block(
    node: Node, config: Config, default: Commitment = Commitment.FINALIZED
) -> tuple[Block, Commitment]:
    """Return the newest block of the asked commitment, which must have reached `minContextSlot`."""
    level = commitment(config, default)
    block = node.bank.chain.block_at(level)
    wanted = optional_unsigned(config, "minContextSlot")
    if wanted is not None and block.slot < wanted:
        raise min_context_slot_not_reached(block.slot)
    return block, level


def with_context(slot: int, value: Any) -> dict[str, Any]:
    """Return a value together with the slot that it was read at."""
    return {"context": {"apiVersion": API_VERSION, "slot": slot}, "value": value}
