"""How the instructions of the token programs are laid out: accounts, then data, then who signs."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .instruction_data import Fields, Parsed
from .token_state import ui_amount

EXTENSION_TYPES: Final = (
    "uninitialized",
    "transferFeeConfig",
    "transferFeeAmount",
    "mintCloseAuthority",
    "confidentialTransferMint",
    "confidentialTransferAccount",
    "defaultAccountState",
    "immutableOwner",
    "memoTransfer",
    "nonTransferable",
    "interestBearingConfig",
    "cpiGuard",
    "permanentDelegate",
    "nonTransferableAccount",
    "transferHook",
    "transferHookAccount",
    "confidentialTransferFeeConfig",
    "confidentialTransferFeeAmount",
    "metadataPointer",
    "tokenMetadata",
    "groupPointer",
    "tokenGroup",
    "groupMemberPointer",
    "tokenGroupMember",
    "confidentialMintBurn",
    "scaledUiAmount",
    "pausable",
    "pausableAccount",
)

ReadData = Callable[[Fields], dict[str, Any]]


class TokenLayout(NamedTuple):
    """Names an instruction's accounts, how its data is read and who must sign it."""

    kind: str
    accounts: tuple[str, ...]
    data: ReadData | None = None
    signer: str | None = None

    def read(self, accounts: list[str], fields: Fields) -> Parsed:
        """Return type and info; too few accounts give None."""
        if len(accounts) < len(self.accounts) + (self.signer is not None):
            return None
        info: dict[str, Any] = dict(zip(self.accounts, accounts, strict=False))
        if self.data is not None:
            info |= self.data(fields)
        if self.signer is not None:
            info |= signers(self.signer, accounts[len(self.accounts) :])
        return self.kind, info


def signers(name: str, accounts: list[str]) -> dict[str, Any]:
    """Name who signed: the authority itself, or a multisig with those of its signers that did."""
    if len(accounts) == 1:
        return {name: accounts[0]}
    return {"multisig" + name[0].upper() + name[1:]: accounts[0], "signers": accounts[1:]}


def plain_amount(fields: Fields) -> dict[str, Any]:
    """Read an amount whose decimals are not told."""
    return {"amount": str(fields.unsigned(8))}


def token_amount(fields: Fields) -> dict[str, Any]:
    """Read an amount with its decimals."""
    return {"tokenAmount": ui_amount(fields.unsigned(8), fields.unsigned(1))}


def extension_types(fields: Fields) -> list[str]:
    """Read the names of extensions, as many as are there."""
    raw = fields.rest()
    return [EXTENSION_TYPES[int.from_bytes(raw[at : at + 2], "little")] for at in range(0, len(raw), 2)]
