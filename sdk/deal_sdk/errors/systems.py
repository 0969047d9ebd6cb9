"""What goes wrong with the systems behind the package: RPC endpoints, the database, the store."""

from __future__ import annotations

from typing import Any

from deal_sdk.errors.base import Outcome, TokenError


class ChainError(TokenError):
    """Something went wrong between the package and the RPC endpoint."""

    code = "chain"


class RpcUnavailableError(ChainError):
    """An endpoint that cannot be reached or answers with a server error."""

    code = "rpc_unavailable"
    retryable = True
    outcome = Outcome.UNKNOWN


class RpcTimeoutError(RpcUnavailableError):
    """A request without a reply in time; it may have been carried out."""

    code = "rpc_timeout"


class RpcRateLimitedError(RpcUnavailableError):
    """An endpoint that asks to slow down (HTTP 429)."""

    code = "rpc_rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, **facts: Any) -> None:
        """Keep how long the endpoint asked to wait, when it said so."""
        super().__init__(message, retry_after_seconds=retry_after_seconds, **facts)
        self.retry_after_seconds = retry_after_seconds


class RpcAllEndpointsFailedError(RpcUnavailableError):
    """A call that no endpoint of several answered; the facts say by endpoint how each failed."""

    code = "rpc_all_endpoints_failed"


class RpcRefusedError(ChainError):
    """A JSON-RPC error reply."""

    code = "rpc_refused"

    def __init__(self, message: str, *, rpc_code: int, data: Any = None, method: str = "") -> None:
        """Keep the reply's code and data, for example a failed preflight's logs."""
        super().__init__(message, rpc_code=rpc_code, data=data, method=method)
        self.rpc_code = rpc_code
        self.data = data


class RpcMalformedReplyError(ChainError):
    """A reply that is no JSON-RPC, or not of the form that the method promises."""

    code = "rpc_malformed_reply"
    retryable = True
    outcome = Outcome.UNKNOWN


class DatabaseError(TokenError):
    """The database refused a statement."""

    code = "database"
    outcome = Outcome.UNKNOWN


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or the connection broke."""

    code = "database_unavailable"
    retryable = True


class DatabaseBusyError(DatabaseError):
    """The database stayed locked, or transactions kept colliding, beyond the bounded retries."""

    code = "database_busy"
    retryable = True


class ConstraintError(DatabaseError):
    """A row that a rule of the database itself refused; nothing of its transaction was kept."""

    code = "constraint"
    outcome = Outcome.NOT_SENT

    def __init__(self, *, kind: str, constraint: str | None, **facts: Any) -> None:
        """Keep which rule it was.

        Args:
            kind: "unique", "foreign_key", "check" or "not_null".
            constraint: the rule's name, the same on every database; None where the database does not
                tell (a foreign key on SQLite, a missing value).
            facts: table and column, where known.
        """
        named = f" {constraint}" if constraint else ""
        super().__init__(f"the {kind} rule{named} refused a row", kind=kind, constraint=constraint, **facts)
        self.kind = kind
        self.constraint = constraint


class RenewalsIncompleteError(TokenError):
    """A run of renewals in which somebody could not be renewed; whoever was renewed stays so."""

    code = "renewals_incomplete"
    retryable = True


class StatementError(TokenError):
    """A month that no statement can be made of: it does not tie out, or it has too many entries."""

    code = "statement"


class HistoryGapError(TokenError):
    """A change whose balance before is not the recorded balance after; something is missing between."""

    code = "history_gap"

    def __init__(
        self, *, token_account: str, expected: int, found: int, signature: str, slot: int, recorded_slot: int
    ) -> None:
        """Keep the account, both balances in base units, and the transaction that does not fit."""
        super().__init__(
            f"the history of {token_account} ends at slot {recorded_slot} with {expected} base units, "
            f"but transaction {signature} of slot {slot} starts from {found}",
            token_account=token_account,
            expected=expected,
            found=found,
            signature=signature,
            slot=slot,
            recorded_slot=recorded_slot,
        )
        self.token_account = token_account
        self.expected = expected
        self.found = found
        self.signature = signature


class StoreUnavailableError(TokenError):
    """The store of limits or cache cannot be reached."""

    code = "store_unavailable"
    retryable = True
