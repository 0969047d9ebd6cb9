"""Token-2022 extensions: a list of type, length and value behind the base state."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from solders.pubkey import Pubkey

HEADER_BYTES: Final = 4
ZERO_ADDRESS: Final = bytes(32)
UNPARSEABLE: Final = {"extension": "unparseableExtension"}

State = dict[str, Any] | None


class Reader:
    """Reads values one after another from an extension's bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes; running past the end is an error, for data may be damaged."""
        part = self._data[self._position : self._position + count]
        if len(part) < count:
            raise ValueError("extension ends too early")
        self._position += count
        return part

    def unsigned(self, width: int) -> int:
        """Return the next little-endian unsigned integer."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        """Return the next little-endian signed integer."""
        return int.from_bytes(self.take(width), "little", signed=True)

    def address(self) -> str:
        """Return the next address."""
        return str(Pubkey.from_bytes(self.take(32)))

    def optional_address(self) -> str | None:
        """Return the next address; all zeros mean that there is none."""
        raw = self.take(32)
        return None if raw == ZERO_ADDRESS else str(Pubkey.from_bytes(raw))

    def text(self) -> str:
        """Return the next text, which its length precedes."""
        return self.take(self.unsigned(4)).decode()


def extension_entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over the types and values that follow the base state."""
    position = 0
    while position + HEADER_BYTES <= len(data):
        kind = int.from_bytes(data[position : position + 2], "little")
        length = int.from_bytes(data[position + 2 : position + 4], "little")
        if kind == 0:
            return
        position += HEADER_BYTES
        yield kind, data[position : position + length]
        position += length


def render_extensions(data: bytes) -> list[dict[str, Any]]:
    """Return all extensions as JSON; those that are not known are named as unparseable."""
    return [_render(kind, value) for kind, value in extension_entries(data)]


def _render(kind: int, value: bytes) -> dict[str, Any]:
    known = EXTENSIONS.get(kind)
    if known is None:
        return UNPARSEABLE
    name, read = known
    if read is None:
        return {"extension": name}
    try:
        return {"extension": name, "state": read(Reader(value))}
    except ValueError:
        return UNPARSEABLE


def _metadata_pointer(reader: Reader) -> State:
    return {"authority": reader.optional_address(), "metadataAddress": reader.optional_address()}


def _token_metadata(reader: Reader) -> State:
    state: dict[str, Any] = {
        "updateAuthority": reader.optional_address(),
        "mint": reader.address(),
        "name": reader.text(),
        "symbol": reader.text(),
        "uri": reader.text(),
    }
    state["additionalMetadata"] = [[reader.text(), reader.text()] for _ in range(reader.unsigned(4))]
    return state


def _close_authority(reader: Reader) -> State:
    return {"closeAuthority": reader.optional_address()}


def _permanent_delegate(reader: Reader) -> State:
    return {"delegate": reader.optional_address()}


def _memo_transfer(reader: Reader) -> State:
    return {"requireIncomingTransferMemos": reader.unsigned(1) == 1}


def _cpi_guard(reader: Reader) -> State:
    return {"lockCpi": reader.unsigned(1) == 1}


def _default_state(reader: Reader) -> State:
    names = {0: "uninitialized", 1: "initialized", 2: "frozen"}
    return {"accountState": names[reader.unsigned(1) % len(names)]}


def _fee(reader: Reader) -> dict[str, Any]:
    return {
        "epoch": reader.unsigned(8),
        "maximumFee": reader.unsigned(8),
        "transferFeeBasisPoints": reader.unsigned(2),
    }


def _transfer_fee_config(reader: Reader) -> State:
    return {
        "transferFeeConfigAuthority": reader.optional_address(),
        "withdrawWithheldAuthority": reader.optional_address(),
        "withheldAmount": reader.unsigned(8),
        "olderTransferFee": _fee(reader),
        "newerTransferFee": _fee(reader),
    }


def _transfer_fee_amount(reader: Reader) -> State:
    return {"withheldAmount": reader.unsigned(8)}


def _interest_bearing(reader: Reader) -> State:
    return {
        "rateAuthority": reader.optional_address(),
        "initializationTimestamp": reader.signed(8),
        "preUpdateAverageRate": reader.signed(2),
        "lastUpdateTimestamp": reader.signed(8),
        "currentRate": reader.signed(2),
    }


def _transfer_hook(reader: Reader) -> State:
    return {"authority": reader.optional_address(), "programId": reader.optional_address()}


def _transfer_hook_account(reader: Reader) -> State:
    return {"transferring": reader.unsigned(1) == 1}


def _group_pointer(reader: Reader) -> State:
    return {"authority": reader.optional_address(), "groupAddress": reader.optional_address()}


def _member_pointer(reader: Reader) -> State:
    return {"authority": reader.optional_address(), "memberAddress": reader.optional_address()}


def _pausable(reader: Reader) -> State:
    return {"authority": reader.optional_address(), "paused": reader.unsigned(1) == 1}


EXTENSIONS: Final[dict[int, tuple[str, Callable[[Reader], State] | None]]] = {
    1: ("transferFeeConfig", _transfer_fee_config),
    2: ("transferFeeAmount", _transfer_fee_amount),
    3: ("mintCloseAuthority", _close_authority),
    6: ("defaultAccountState", _default_state),
    7: ("immutableOwner", None),
    8: ("memoTransfer", _memo_transfer),
    9: ("nonTransferable", None),
    10: ("interestBearingConfig", _interest_bearing),
    11: ("cpiGuard", _cpi_guard),
    12: ("permanentDelegate", _permanent_delegate),
    13: ("nonTransferableAccount", None),
    14: ("transferHook", _transfer_hook),
    15: ("transferHookAccount", _transfer_hook_account),
    18: ("metadataPointer", _metadata_pointer),
    19: ("tokenMetadata", _token_metadata),
    20: ("groupPointer", _group_pointer),
    22: ("groupMemberPointer", _member_pointer),
    26: ("pausableConfig", _pausable),
    27: ("pausableAccount", None),
}
