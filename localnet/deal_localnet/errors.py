"""JSON-RPC errors with the codes, texts and data that Agave answers with."""

from typing import Any, Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
PREFLIGHT_FAILURE: Final = -32002
SIGNATURE_VERIFICATION_FAILURE: Final = -32003
BLOCK_NOT_AVAILABLE: Final = -32004
SLOT_SKIPPED: Final = -32007
NO_SNAPSHOT: Final = -32008
LONG_TERM_STORAGE_SLOT_SKIPPED: Final = -32009
TRANSACTION_VERSION_UNSUPPORTED: Final = -32015
MIN_CONTEXT_SLOT_NOT_REACHED: Final = -32016


class RpcError(Exception):
    """Carries a JSON-RPC error object up to the dispatcher, which alone turns it into a reply."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_object(self) -> dict[str, Any]:
        """Return the error member of a reply; `data` is left out when there is none, as Agave does."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            body["data"] = self.data
        return body


def invalid_params(message: str) -> RpcError:
    """Build the error for parameters that cannot be used."""
    return RpcError(INVALID_PARAMS, message)


def method_not_found() -> RpcError:
    """Build the error for a method that this node does not offer."""
    return RpcError(METHOD_NOT_FOUND, "Method not found")


def min_context_slot_not_reached(context_slot: int) -> RpcError:
    """Build the error for a bank that lags behind the caller's `minContextSlot`."""
    return RpcError(
        MIN_CONTEXT_SLOT_NOT_REACHED,
        "Minimum context slot has not been reached",
        {"contextSlot": context_slot},
    )


def block_not_available(slot: int) -> RpcError:
    """Build the error for a slot that has not reached the asked commitment."""
    return RpcError(BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")


def slot_skipped(slot: int) -> RpcError:
    """Build the error for a slot that ended without a block."""
    return RpcError(
        SLOT_SKIPPED, f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot"
    )


def no_snapshot() -> RpcError:
    """Build the error for a node that has no snapshot to hand out."""
    return RpcError(NO_SNAPSHOT, "No snapshot")


def transaction_version_unsupported(version: int) -> RpcError:
    """Build the error for a versioned transaction whose reader did not say it can read it."""
    return RpcError(
        TRANSACTION_VERSION_UNSUPPORTED,
        f"Transaction version ({version}) is not supported by the requesting client. "
        "Please try the request again with the following configuration parameter: "
        f'"maxSupportedTransactionVersion": {version}',
    )


def commitment_too_low() -> RpcError:
    """Build the error for history asked at `processed`, which has none."""
    return invalid_params("Method does not support commitment below `confirmed`")
