from collections import Counter
from random import Random

import orjson
import pytest

from deal_localnet import Fault, FaultKind, FaultScript
from deal_localnet.faults import DRAWN_KINDS, garbage

SEND = frozenset({"sendTransaction"})


def kinds(script: FaultScript, *requests: set[str]) -> list[str | None]:
    """Return what befalls some requests."""
    struck = [script.strike(request) for request in requests]
    return [None if fault is None else fault.kind.value for fault in struck]


def test_a_fault_strikes_the_requests_that_it_is_meant_for() -> None:
    script = FaultScript([Fault(FaultKind.GARBAGE, SEND, skip=1, times=2)])
    send, other = {"sendTransaction", "getSlot"}, {"getSlot"}
    assert kinds(script, other, send, other) == [None, None, None]
    assert kinds(script, send, other, send, send) == ["garbage", None, "garbage", None]
    assert script.is_over
    assert [fault.kind for fault in script.struck] == [FaultKind.GARBAGE] * 2


def test_of_several_that_are_due_the_first_of_the_plan_strikes() -> None:
    script = FaultScript([Fault(FaultKind.DELAY), Fault(FaultKind.LAG)])
    assert kinds(script, {"getSlot"}, {"getSlot"}, {"getSlot"}) == ["delay", "lag", None]


def test_a_seed_draws_the_same_plan() -> None:
    plans = [FaultScript.drawn(7, requests=500, share=0.2).planned for _ in range(2)]
    assert plans[0] == plans[1]
    assert plans[0] != FaultScript.drawn(8, requests=500, share=0.2).planned
    counted = Counter(fault.kind for fault in plans[0])
    assert set(counted) == set(DRAWN_KINDS)
    assert 60 < counted.total() < 140


def test_a_drawn_plan_strikes_its_share_of_the_requests() -> None:
    script = FaultScript.drawn(3, requests=200, share=0.25, kinds=[FaultKind.SERVER_ERROR], methods=SEND)
    struck = kinds(script, *([{"sendTransaction"}, {"getSlot"}] * 300))
    assert struck.count("server_error") == len(script.planned)
    assert struck[400:].count("server_error") == 0
    assert set(struck[1::2]) == {None}
    assert {script.server_error() for _ in range(100)} == {500, 502, 503, 504}


@pytest.mark.parametrize("wrong", [{"skip": -1}, {"times": 0}, {"slots": -1}, {"seconds": float("nan")}])
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a fault needs"):
        Fault(FaultKind.DELAY, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie"):
        FaultScript.drawn(1, requests=10, share=share)
    with pytest.raises(ValueError, match="a kind to draw"):
        FaultScript.drawn(1, requests=10, kinds=[])


def test_garbage_is_never_the_reply() -> None:
    answers = [{"jsonrpc": "2.0", "result": number, "id": number} for number in range(3)]
    random = Random(0)
    written = {garbage(answers, random) for _ in range(100)}
    assert len(written) == 7
    assert orjson.dumps(answers) not in written
