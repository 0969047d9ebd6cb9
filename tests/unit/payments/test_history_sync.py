"""What the chain shows of our token accounts, told apart, in order, and never with a gap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import HistoryGapError, RpcMalformedReplyError, RpcUnavailableError
from deal_sdk.events import EventBus
from deal_sdk.payments import DepositBook, HistorySync, history_listing
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.orders import Party
from deal_sdk.payments.outbox import NO_OUTBOX
from deal_sdk.records import BalanceHistoryRecorder, Database, Transaction, TransactionRecorder
from tests.contract.payment_orders import attempt, change, intent
from tests.contract.scripted_rpc import MINT, OTHER_MINT, OURS, SECOND, THEIRS, THIRD, Moves, ScriptedRpc


class Syncing:
    """A sync over one database and a scripted endpoint."""

    def __init__(self, database: Database, clock: ManualClock, *, backfill: int = 10_000) -> None:
        self.database, self.clock = database, clock
        self.rpc = ScriptedRpc()
        self.history = BalanceHistoryRecorder(database)
        self.transactions = TransactionRecorder(database)
        self.sync = HistorySync(
            rpc=self.rpc,  # type: ignore[arg-type]
            mint=SimpleNamespace(address=MINT),  # type: ignore[arg-type]
            database=database,
            history=self.history,
            transactions=self.transactions,
            max_backfill_signatures=backfill,
            deposits=DepositBook(clock, EventBus(clock), NO_OUTBOX),
        )

    async def rows(self, account: str = OURS) -> list[tuple[str, int, int]]:
        page = await self.history.query(token_account=account, limit=1_000)
        return [(row.signature, row.balance_before, row.balance_after) for row in page.items]

    async def external(self) -> list[Transaction]:
        return list((await self.transactions.query()).items)


@pytest.fixture
async def syncing(database: Database, clock: ManualClock) -> Syncing:
    made = Syncing(database, clock)
    await made.history.track(OURS, "owner")
    return made


class TestWhatItWas:
    @pytest.mark.parametrize(
        ("moves", "kind", "sides"),
        [
            pytest.param({OURS: (5, 8), THEIRS: (9, 6)}, "deposit", ("stranger", "owner"), id="deposit"),
            pytest.param(
                {OURS: (None, 3), THEIRS: (3, 0)}, "deposit", ("stranger", "owner"), id="new account"
            ),
            pytest.param(
                {OURS: (8, 5), THEIRS: (None, 3)}, "withdrawal", ("owner", "stranger"), id="withdrawal"
            ),
            pytest.param({OURS: (8, None), THEIRS: (0, 8)}, "withdrawal", ("owner", "stranger"), id="closed"),
            pytest.param({OURS: (0, 7)}, "mint", (None, "owner"), id="mint"),
            pytest.param({OURS: (7, 2)}, "burn", ("owner", None), id="burn"),
            pytest.param(
                {OURS: (0, 5), THEIRS: (3, 0), THIRD: (2, 0)}, "deposit", (None, "owner"), id="two payers"
            ),
            pytest.param(
                {OURS: (0, 5), THEIRS: (9, 4), THIRD: (1, 1)},
                "deposit",
                ("stranger", "owner"),
                id="bystander",
            ),
        ],
    )
    async def test_a_transfer_made_elsewhere(
        self, syncing: Syncing, moves: Moves, kind: str, sides: tuple[str | None, str | None]
    ) -> None:
        syncing.rpc.land("one", 10, moves)
        report = await syncing.sync.sync()
        before, after = (amount or 0 for amount in moves[OURS])
        assert (report.history_rows, report.external_transfers, report.incomplete) == (1, 1, ())
        assert await syncing.rows() == [("one", before, after)]
        (found,) = await syncing.external()
        assert (found.type, found.from_address, found.to_address) == (kind, *sides)
        assert (found.amount, found.status, found.slot) == (abs(after - before), "finalized", 10)
        row = await syncing.history.latest(OURS)
        assert row is not None
        assert (row.type, row.owner_address) == (kind, "owner")
        assert row.block_time is not None

    async def test_both_sides_are_recorded_where_both_are_ours(self, syncing: Syncing) -> None:
        await syncing.history.track(SECOND, "second")
        syncing.rpc.land("one", 10, {OURS: (9, 5), SECOND: (0, 4)})
        report = await syncing.sync.sync()
        assert (report.accounts, report.transactions, report.history_rows) == (2, 1, 2)
        assert {one.type for one in await syncing.external()} == {"deposit", "withdrawal"}

    async def test_a_payment_of_ours_explains_itself(self, syncing: Syncing) -> None:
        payer, payee = Party("owner", OURS), Party("second", SECOND)
        intents = IntentStore(syncing.database, syncing.clock)
        attempts = AttemptStore(syncing.database, syncing.clock)
        fee = intent(4, type="service_fee", reason="search", sender=payer, recipient=payee)
        payment_id = (await intents.create(fee)).payment.id
        await attempts.add(attempt(payment_id, signature="ours"))
        await attempts.settle(change(payment_id, 1, "finalized", slot=10))
        await syncing.history.track(SECOND, "second")
        # A third account is moved by the same transaction, which the payment does not explain.
        await syncing.history.track(THIRD, "third")
        syncing.rpc.land("ours", 10, {OURS: (9, 5), SECOND: (0, 4), THIRD: (3, 2), THEIRS: (0, 1)})
        await syncing.sync.sync()
        for account, moved in ((OURS, -4), (SECOND, 4)):
            row = await syncing.history.latest(account)
            assert row is not None
            assert (row.type, row.reason, row.change) == ("service_fee", "search", moved)
        external = [one.type for one in await syncing.external() if one.id != payment_id]
        assert external == ["withdrawal"]
        await intents.close()
        await attempts.close()

    async def test_what_no_payment_could_be_is_kept_in_the_history_alone(self, syncing: Syncing) -> None:
        syncing.rpc.land("huge", 10, {OURS: (0, 2**64 - 1)})
        report = await syncing.sync.sync()
        assert (report.history_rows, report.external_transfers) == (1, 0)
        row = await syncing.history.latest(OURS)
        assert row is not None
        assert (row.balance_after, row.type) == (2**64 - 1, "mint")

    async def test_other_mints_failures_and_nothing_moved_leave_no_row(self, syncing: Syncing) -> None:
        syncing.rpc.land("foreign", 10, {OURS: (0, 5)}, mint=OTHER_MINT)
        syncing.rpc.land("still", 11, {OURS: (5, 5)})
        syncing.rpc.land("failed", 12, {OURS: (5, 5)}, error={"InstructionError": [0, "Custom"]})
        report = await syncing.sync.sync()
        assert (report.history_rows, report.external_transfers) == (0, 0)
        (tracked,) = await syncing.history.tracked()
        assert (tracked.history_signature, tracked.history_slot) == ("failed", 12)
        assert "failed" not in syncing.rpc.asked


class TestOrder:
    async def test_a_slot_with_several_of_ours_is_ordered_by_its_block(self, syncing: Syncing) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 5), THEIRS: (9, 4)})
        syncing.rpc.land("elsewhere", 10, {THEIRS: (4, 4)})
        syncing.rpc.land("b", 10, {OURS: (5, 1), THEIRS: (4, 8)})
        syncing.rpc.land("c", 11, {OURS: (1, 2), THEIRS: (8, 7)})
        await syncing.sync.sync()
        page = await syncing.history.query(token_account=OURS)
        places = [(row.signature, row.slot, row.block_index) for row in page.items]
        assert places == [("a", 10, 0), ("b", 10, 2), ("c", 11, 0)]
        assert [asked for asked in syncing.rpc.asked if asked.startswith("block")] == ["block 10"]

    async def test_a_block_that_is_not_there_records_nothing_until_it_is(self, syncing: Syncing) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        syncing.rpc.land("b", 10, {OURS: (5, 1)})
        syncing.rpc.lost_blocks = {10}
        with pytest.raises(RpcMalformedReplyError):
            await syncing.sync.sync()
        assert await syncing.rows() == []
        syncing.rpc.lost_blocks = set()
        await syncing.sync.sync()
        assert await syncing.rows() == [("a", 0, 5), ("b", 5, 1)]

    async def test_pages_are_read_to_the_cursor_and_not_beyond(
        self, syncing: Syncing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_listing, "SIGNATURES_PER_PAGE", 3)
        for number in range(10):
            syncing.rpc.land(f"s{number}", 10 + number, {OURS: (number, number + 1)})
        assert (await syncing.sync.sync()).history_rows == 10
        for number in range(10, 15):
            syncing.rpc.land(f"s{number}", 10 + number, {OURS: (number, number + 1)})
        syncing.rpc.asked.clear()
        assert (await syncing.sync.sync()).history_rows == 5
        # A look at the newest, which does not reach the cursor, and then the pages.
        assert syncing.rpc.asked == ["list", "list", "list", *(f"s{number}" for number in range(10, 15))]
        assert [row[0] for row in await syncing.rows()] == [f"s{number}" for number in range(15)]

    async def test_what_is_expected_takes_one_listing_that_reads_no_block_for_its_end(
        self, syncing: Syncing
    ) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 1)})
        await syncing.sync.sync()
        for number in range(1, 6):
            syncing.rpc.land(f"s{number}", 10 + number, {OURS: (number, number + 1)})
        syncing.rpc.asked.clear()
        syncing.rpc.untils.clear()
        report = await syncing.sync.sync([OURS], expected={OURS: 4})
        assert report.history_rows == 5
        assert syncing.rpc.asked.count("list") == 1
        assert syncing.rpc.untils == [None]

    async def test_an_endpoint_that_lost_the_cursor_shows_nothing_twice(self, syncing: Syncing) -> None:
        for number in range(3):
            syncing.rpc.land(f"s{number}", 10 + number, {OURS: (number, number + 1)})
        await syncing.sync.sync()
        syncing.rpc.unlisted = {"s2"}
        report = await syncing.sync.sync()
        assert (report.transactions, report.history_rows) == (0, 0)

    async def test_nothing_new_changes_nothing(self, syncing: Syncing) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        await syncing.sync.sync()
        report = await syncing.sync.sync()
        assert (report.transactions, report.history_rows, report.external_transfers) == (0, 0, 0)

    async def test_only_the_accounts_asked_for(self, syncing: Syncing) -> None:
        await syncing.history.track(SECOND, "second")
        syncing.rpc.land("a", 10, {OURS: (9, 5), SECOND: (0, 4)})
        report = await syncing.sync.sync([SECOND, THIRD])
        assert report.accounts == 1
        assert (await syncing.rows(), await syncing.rows(SECOND)) == ([], [("a", 0, 4)])
        await syncing.sync.sync()
        assert await syncing.rows() == [("a", 9, 5)]


class TestEndpointsThatShowLess:
    async def test_what_cannot_be_read_yet_stops_its_account_and_no_other(self, syncing: Syncing) -> None:
        await syncing.history.track(SECOND, "second")
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        syncing.rpc.land("b", 11, {OURS: (5, 6)})
        syncing.rpc.land("c", 12, {OURS: (6, 7), SECOND: (0, 1)})
        syncing.rpc.unreadable = {"b"}
        report = await syncing.sync.sync()
        assert report.incomplete == (OURS,)
        assert (await syncing.rows(), await syncing.rows(SECOND)) == ([("a", 0, 5)], [("c", 0, 1)])
        syncing.rpc.unreadable = set()
        assert (await syncing.sync.sync()).incomplete == ()
        assert await syncing.rows() == [("a", 0, 5), ("b", 5, 6), ("c", 6, 7)]

    async def test_nothing_readable_leaves_the_cursor(self, syncing: Syncing) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        syncing.rpc.unreadable = {"a"}
        assert (await syncing.sync.sync()).incomplete == (OURS,)
        (tracked,) = await syncing.history.tracked()
        assert tracked.history_signature is None

    async def test_the_rest_of_a_slot_that_was_cut_comes_after_its_beginning(self, syncing: Syncing) -> None:
        syncing.rpc.land("elsewhere", 10, {THEIRS: (4, 4)})
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        syncing.rpc.land("b", 10, {OURS: (5, 6)})
        syncing.rpc.unreadable = {"b"}
        await syncing.sync.sync()
        syncing.rpc.unreadable = set()
        await syncing.sync.sync()
        assert await syncing.rows() == [("a", 0, 5), ("b", 5, 6)]

    async def test_what_is_listed_late_in_a_slot_comes_after_what_was_recorded(
        self, syncing: Syncing
    ) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        syncing.rpc.land("b", 10, {OURS: (5, 6)})
        syncing.rpc.unlisted = {"b"}
        await syncing.sync.sync()
        assert await syncing.rows() == [("a", 0, 5)]
        syncing.rpc.unlisted = set()
        await syncing.sync.sync()
        assert await syncing.rows() == [("a", 0, 5), ("b", 5, 6)]
        assert await syncing.history.check_chain() == []

    async def test_an_endpoint_behind_the_cursor_shows_nothing_new(
        self, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_listing, "SIGNATURES_PER_PAGE", 3)
        syncing = Syncing(database, clock, backfill=3)
        await syncing.history.track(OURS, "owner")
        for number in range(9):
            syncing.rpc.land(f"s{number}", 10 + number, {OURS: (number, number + 1)})
        await syncing.sync.sync()
        assert [row[0] for row in await syncing.rows()] == ["s6", "s7", "s8"]
        # It lists what was before the backfill's bound, because it does not know where to stop.
        syncing.rpc.behind_slot = 17
        syncing.rpc.asked.clear()
        report = await syncing.sync.sync()
        assert (report.history_rows, report.incomplete) == (0, ())
        assert syncing.rpc.asked == ["list"]
        syncing.rpc.behind_slot = None
        syncing.rpc.land("s9", 19, {OURS: (9, 10)})
        await syncing.sync.sync()
        assert [row[0] for row in await syncing.rows()] == ["s6", "s7", "s8", "s9"]

    async def test_a_gap_is_an_error_and_nothing_of_the_pass_is_kept(self, syncing: Syncing) -> None:
        await syncing.history.track(SECOND, "second")
        syncing.rpc.land("a", 10, {OURS: (0, 5)})
        await syncing.sync.sync()
        syncing.rpc.land("b", 12, {OURS: (7, 8), SECOND: (1, 0)})
        with pytest.raises(HistoryGapError) as caught:
            await syncing.sync.sync()
        assert (caught.value.expected, caught.value.found) == (5, 7)
        assert await syncing.rows(SECOND) == []
        assert len(await syncing.external()) == 1

    async def test_an_endpoint_that_is_away_leaves_everything_for_the_next_pass(
        self, syncing: Syncing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        syncing.rpc.land("a", 10, {OURS: (0, 5)})

        async def away(*_: Any) -> None:
            raise RpcUnavailableError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(syncing.rpc, "get_transaction", away)
            with pytest.raises(RpcUnavailableError):
                await syncing.sync.sync()
        await syncing.sync.sync()
        assert await syncing.rows() == [("a", 0, 5)]
