"""Proves the rules on a database and its chain, and names the first rows that break one.

Each check reads only; it says what it looked at, so that a check which had nothing to look at, or could
not look, is told apart from one that found everything in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from solders.pubkey import Pubkey

from deal_sdk.accounting import CREDIT_INVARIANTS, broken_links
from deal_sdk.chain import MintFacts, Rpc
from deal_sdk.errors import RpcRefusedError
from deal_sdk.payments.history_sync import HistorySync
from deal_sdk.payments.invariants import SQL_INVARIANTS
from deal_sdk.records import BalanceHistoryRecorder, Database, TrackedAccount
from deal_sdk.records.invariants import BrokenRows

MAX_ROWS_NAMED: Final = 20
MAX_LOOKS_AT_THE_CHAIN: Final = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One rule: whether it holds, what was looked at, and the rows that break it."""

    name: str
    ok: bool
    checked: str
    rows: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serialisable data."""
        return {"name": self.name, "ok": self.ok, "checked": self.checked, "rows": list(self.rows)}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every check; `ok` when all hold."""

    checks: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Return whether every rule holds."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable data."""
        return {"ok": self.ok, "checks": [check.to_dict() for check in self.checks]}


class Verifier:
    """Runs every check of DEAL's rules against records and chain."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        mint: MintFacts,
        database: Database,
        history: BalanceHistoryRecorder,
        sync: HistorySync,
        further: Mapping[str, BrokenRows] | None = None,
    ) -> None:
        """Wire the parts; nothing is read yet.

        Args:
            rpc: the chain that records are compared with.
            mint: whose supply.
            database: the records.
            history: the balances.
            sync: reads the finalized chain first.
            further: rules of areas above this one, by name.
        """
        self._rpc = rpc
        self._mint = mint
        self._database = database
        self._history = history
        self._sync = sync
        self._further = further or {}

    async def verify(self) -> VerifyReport:
        """Read the finalized chain into the history, then prove each rule.

        Raises:
            ChainError, DatabaseError: when something could not be read; then nothing is proven.
        """
        checks: Sequence[Callable[[], Awaitable[CheckResult]]] = (
            self._supply,
            self._history_chains,
            self._history_ends,
            self._credit_chains,
        )
        await self._sync.sync()
        results = [await check() for check in checks]
        for name, query in {**SQL_INVARIANTS, **CREDIT_INVARIANTS, **self._further}.items():
            results.append(await self._sql(name, query))
        return VerifyReport(tuple(results))

    async def _supply(self) -> CheckResult:
        """Tokens in all token accounts together are the mint's supply."""
        mint, program_id = self._mint.address, self._mint.program_id
        held = supply = count = 0
        for _ in range(MAX_LOOKS_AT_THE_CHAIN):
            # Tokens may be minted between the two reads, so a difference counts only when it stays.
            try:
                supply = (await self._rpc.get_token_supply(mint, "finalized")).amount_base_units
                _, accounts = await self._rpc.get_token_accounts_by_mint(mint, program_id, "finalized")
            except RpcRefusedError as error:
                # Large clusters list no accounts, and a mint deployed seconds ago is not finalized.
                return CheckResult("supply", True, f"not checked: {error.message}")
            held = sum(account.amount_base_units for account in accounts)
            count = len(accounts)
            if held == supply:
                break
        rows = () if held == supply else (f"mint {mint}: accounts hold {held}, the supply is {supply}",)
        return CheckResult("supply", held == supply, f"{count} token accounts", rows)

    async def _history_chains(self) -> CheckResult:
        """Each row's before is the after of the one before it."""
        violations = await self._history.check_chain()
        rows = tuple(
            f"token_balance_history {found.row_id}: {found.kind} of {found.token_account} "
            f"at sequence {found.sequence} is {found.found}, expected {found.expected}"
            for found in violations[:MAX_ROWS_NAMED]
        )
        return CheckResult("history_chains", not violations, "token_balance_history", rows)

    async def _history_ends(self) -> CheckResult:
        """The last row's after is what the finalized chain says now."""
        accounts = await self._all_tracked()
        wrong: list[str] = []
        for _ in range(MAX_LOOKS_AT_THE_CHAIN):
            wrong = await self._wrong_ends(accounts)
            if not wrong:
                break
            # The chain went on between the two reads, or the end really is wrong; another look tells.
            await self._sync.sync()
        checked = f"{len(accounts)} token accounts"
        return CheckResult("history_ends_at_chain", not wrong, checked, tuple(wrong[:MAX_ROWS_NAMED]))

    async def _credit_chains(self) -> CheckResult:
        """Each entry of credits holds the hash of the one before it."""
        async with self._database.reading() as connection:
            rows = [row async for row in broken_links(connection, most=MAX_ROWS_NAMED)]
        return CheckResult("credit_chains", not rows, "token_operations", tuple(rows))

    async def _wrong_ends(self, accounts: Sequence[TrackedAccount]) -> list[str]:
        wrong = []
        for account in accounts:
            last = await self._history.latest(account.address)
            recorded = 0 if last is None else last.balance_after
            on_chain = await self._rpc.get_token_balance(Pubkey.from_string(account.address), "finalized")
            if recorded != on_chain.amount_base_units:
                row = "no row" if last is None else f"token_balance_history {last.id}"
                wrong.append(
                    f"{row}: {account.address} ends at {recorded}, "
                    f"the finalized chain says {on_chain.amount_base_units}"
                )
        return wrong

    async def _all_tracked(self) -> list[TrackedAccount]:
        found: list[TrackedAccount] = []
        while page := await self._history.tracked(after=found[-1].address if found else None):
            found.extend(page)
        return found

    async def _sql(self, name: str, query: BrokenRows) -> CheckResult:
        """Run a query that returns the rows breaking a rule: table, id and what is wrong."""
        async with self._database.reading() as connection:
            broken = (await connection.execute(query.limit(MAX_ROWS_NAMED))).all()
        rows = tuple(f"{table} {identity}: {problem}" for table, identity, problem in broken)
        return CheckResult(name, not rows, "every row", rows)
