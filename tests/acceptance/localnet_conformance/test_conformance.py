"""The same questions to the embedded validator and to solana-test-validator, and the same answers."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import aiohttp
import pytest

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_localnet.dispatch import METHODS
from deal_localnet.pubsub_session import SUBSCRIBES
from tests.acceptance.localnet_conformance.cases import AnyCase, Case, WatchCase
from tests.acceptance.localnet_conformance.cases_accounts import ACCOUNT_CASES
from tests.acceptance.localnet_conformance.cases_chain import CHAIN_CASES
from tests.acceptance.localnet_conformance.cases_sending import SENDING_CASES, SIMULATION_CASES
from tests.acceptance.localnet_conformance.cases_tokens import TOKEN_CASES
from tests.acceptance.localnet_conformance.cases_transactions import TRANSACTION_CASES
from tests.acceptance.localnet_conformance.cases_wire import HTTP_CASES, TALK_CASES, WATCH_CASES
from tests.acceptance.localnet_conformance.comparing import Deviation, comparable, deviations, forgives
from tests.acceptance.localnet_conformance.differences import DIFFERENCES, Difference
from tests.acceptance.localnet_conformance.nodes import Node
from tests.acceptance.localnet_conformance.programs import adopt_programs
from tests.acceptance.localnet_conformance.recording import Recording
from tests.servers import ValidatorServer

CASES: Final[tuple[AnyCase, ...]] = (
    *ACCOUNT_CASES,
    *TOKEN_CASES,
    *CHAIN_CASES,
    *TRANSACTION_CASES,
    *SIMULATION_CASES,
    *SENDING_CASES,
    *HTTP_CASES,
    *WATCH_CASES,
    *TALK_CASES,
)
MIN_CASES: Final = 200
MAX_DIFFERENT_CASES: Final = 15
NOT_COMPARED: Final = {"blockSubscribe", "slotsUpdatesSubscribe", "voteSubscribe"}
WHOLE: Final = {"", "result", "error", "result.value", "body", "body.result", "body.error"}


class Recordings(NamedTuple):
    """Holds what both nodes answered."""

    ours: Recording
    theirs: Recording


@pytest.fixture(scope="module")
def recordings(validator_server: ValidatorServer) -> Recordings:
    return asyncio.run(_record(validator_server.url, validator_server.websocket_url))


async def _record(url: str, websocket_url: str) -> Recordings:
    async with (
        aiohttp.ClientSession() as session,
        Localnet(LocalnetConfig()) as localnet,
        LocalnetServer(localnet, rpc_port=0) as server,
    ):
        validator = Node(session, url, websocket_url)
        recordings = Recordings(Recording(Node(session, server.rpc_url, server.ws_url)), Recording(validator))
        await adopt_programs(validator, localnet)
        async with asyncio.TaskGroup() as group:
            for recording in recordings:
                group.create_task(recording.run(CASES))
        return recordings


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.identifier)
def test_both_answer_alike(case: AnyCase, recordings: Recordings) -> None:
    ours, theirs = (comparable(case, one.replies[case.identifier], one.names) for one in recordings)
    named = [one for one in DIFFERENCES if one.case == case.identifier]
    found = list(deviations(ours, theirs))
    unnamed = [str(one) for one in found if not any(forgives(known, one) for known in named)]
    assert not unnamed, "\n".join(unnamed)
    gone = [known.path for known in named if not any(forgives(known, one) for one in found)]
    assert not gone, "named differences that are no longer there"


@pytest.mark.parametrize(
    ("ours", "theirs", "path"),
    [
        ({"a": None}, {}, "a"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]"),
        ([1], [1, 2], ""),
        ({"a": 1}, {"a": 1.0}, "a"),
        ({"a": 1}, {"a": True}, "a"),
        ({"a": "0"}, {"a": 0}, "a"),
        ({"a": []}, {"a": None}, "a"),
    ],
    ids=["absent", "nested", "length", "float", "true", "text", "null"],
)
def test_every_kind_of_deviation_is_found(ours: object, theirs: object, path: str) -> None:
    assert [one.path for one in deviations(ours, theirs)] == [path]
    assert not list(deviations(ours, ours))


def test_a_list_of_texts_may_differ_in_figures_alone() -> None:
    known = Difference("case", "logs[*]", "reason")
    assert forgives(known, Deviation("logs[3]", "consumed 5 of 10", "consumed 61 of 10"))
    assert not forgives(known, Deviation("logs[3]", "consumed 5 of 10", "burnt 5 of 10"))
    assert not forgives(known, Deviation("logs", ["1"], ["1", "2"]))
    assert not forgives(known, Deviation("log[3]", "1", "2"))


def test_there_are_enough_cases_and_each_has_a_name_of_its_own() -> None:
    identifiers = [case.identifier for case in CASES]
    assert len(set(identifiers)) == len(identifiers) >= MIN_CASES


def test_every_method_that_is_offered_is_asked() -> None:
    asked = {case.method for case in CASES if isinstance(case, Case | WatchCase)}
    solana = {name for name in METHODS if not name.startswith("localnet_")}
    assert solana <= asked
    assert set(SUBSCRIBES) - NOT_COMPARED <= asked


def test_few_cases_differ_and_none_as_a_whole() -> None:
    assert len({one.case for one in DIFFERENCES}) <= MAX_DIFFERENT_CASES
    assert {one.case for one in DIFFERENCES} <= {case.identifier for case in CASES}
    assert not {one.path for one in DIFFERENCES} & WHOLE
