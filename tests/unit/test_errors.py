"""The tree of errors: stable codes, plain data, and the dispatcher that hands them on."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from deal_sdk import errors
from deal_sdk.errors import (
    DatabaseUnavailableError,
    ErrorDispatcher,
    InsufficientBalanceError,
    LimitExceededError,
    Outcome,
    PaymentPendingError,
    PurchaseLimitExceededError,
    RpcTimeoutError,
    RpcUnavailableError,
    TokenError,
    TransactionExpiredError,
    TransactionFailedError,
)

BRANCH = re.compile(r"^(?P<indent>[ │]*)[├└]── (?P<names>\w+Error(?:, \w+Error)*)")


def all_classes() -> list[type[TokenError]]:
    found = [value for value in vars(errors).values() if inspect.isclass(value)]
    return sorted((c for c in found if issubclass(c, TokenError)), key=lambda c: c.__name__)


def make(error_class: type[TokenError]) -> TokenError:
    """Build one with a plain value for each argument that it requires."""
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(error_class).parameters.items():
        if parameter.default is inspect.Parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            values[name] = {"limits": ("a",), "retry_after_seconds": 1.5, "rpc_code": -32_002}.get(name, name)
    return error_class(**values)


def drawn_tree(text: str) -> dict[str, str]:
    """Read the drawing in the module's docstring as {class: its parent}."""
    parents: dict[str, str] = {}
    above = {0: "TokenError"}
    for line in text.splitlines():
        branch = BRANCH.match(line)
        if branch is None:
            continue
        depth = (len(branch["indent"]) - 4) // 4 + 1
        for name in branch["names"].split(", "):
            parents[name] = above[depth - 1]
            above[depth] = name
    return parents


def real_tree() -> Iterator[tuple[str, str]]:
    for error_class in all_classes():
        if error_class is not TokenError:
            yield error_class.__name__, next(b.__name__ for b in error_class.__bases__ if b is not ValueError)


def test_the_drawing_is_the_tree() -> None:
    assert drawn_tree(errors.__doc__ or "") == dict(real_tree())


def test_a_drawing_with_a_misplaced_class_is_noticed() -> None:
    drawing = (errors.__doc__ or "").replace("│   ├── InvalidAmountError", "├── InvalidAmountError")
    assert drawn_tree(drawing) != dict(real_tree())


def test_every_class_has_a_code_of_its_own() -> None:
    codes = {error_class: error_class.__dict__.get("code") for error_class in all_classes()}
    assert None not in codes.values(), codes
    assert len(set(codes.values())) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", str(code)) for code in codes.values())


def test_codes_stay_what_programs_rely_on() -> None:
    assert TokenError.code == "token_error"
    assert InsufficientBalanceError.code == "insufficient_balance"
    assert PaymentPendingError.code == "payment_pending"
    assert TransactionFailedError.code == "transaction_failed"
    assert PurchaseLimitExceededError.code == "purchase_limit_exceeded"


@pytest.mark.parametrize("error_class", all_classes(), ids=lambda c: c.__name__)
def test_each_error_is_plain_data_and_a_sentence(error_class: type[TokenError]) -> None:
    error = make(error_class)
    data = json.loads(json.dumps(error.to_dict()))
    assert data["code"] == error_class.code
    assert data["message"] == str(error) == error.message != ""
    assert data["retryable"] is error_class.retryable
    assert data["outcome"] in set(Outcome)


def test_what_must_be_believed_about_the_money() -> None:
    assert make(PaymentPendingError).outcome is Outcome.UNKNOWN
    assert make(RpcTimeoutError).outcome is Outcome.UNKNOWN
    assert make(TransactionExpiredError).outcome is Outcome.FAILED_ON_CHAIN
    assert make(InsufficientBalanceError).outcome is Outcome.NOT_SENT


def test_a_short_balance_says_its_three_amounts() -> None:
    error = InsufficientBalanceError(required="5", available="3", deficit="2")
    assert str(error) == "Insufficient balance. Required: 5, Available: 3, Deficit: 2"
    assert (error.required, error.available, error.deficit) == ("5", "3", "2")


def test_a_refusing_limit_says_when_to_come_back() -> None:
    error = LimitExceededError("too many", limits=("per_minute", "burst"), retry_after_seconds=12.5)
    assert error.to_dict()["limits"] == ["per_minute", "burst"]
    assert error.to_dict()["retry_after_seconds"] == 12.5


class TestErrorDispatcher:
    async def test_a_handler_of_a_class_takes_its_subclasses(self) -> None:
        taken: list[TokenError] = []
        dispatcher = ErrorDispatcher()

        async def handler(error: TokenError) -> None:
            taken.append(error)

        dispatcher.on(RpcUnavailableError, handler)
        error = RpcTimeoutError("no reply")
        assert await dispatcher.dispatch(error)
        assert taken == [error]

    async def test_the_most_specific_class_wins(self) -> None:
        taken: list[str] = []
        dispatcher = ErrorDispatcher()

        async def general(_: TokenError) -> None:
            taken.append("general")

        async def specific(_: TokenError) -> None:
            taken.append("specific")

        dispatcher.on(TokenError, general)
        dispatcher.on(RpcTimeoutError, specific)
        assert await dispatcher.dispatch(RpcTimeoutError("no reply"))
        assert await dispatcher.dispatch(RpcUnavailableError("gone"))
        assert taken == ["specific", "general"]

    async def test_a_handler_that_raises_stops_no_other(self, caplog: pytest.LogCaptureFixture) -> None:
        taken: list[TokenError] = []
        dispatcher = ErrorDispatcher()

        async def broken(_: TokenError) -> None:
            raise KeyError("oh")

        async def sound(error: TokenError) -> None:
            taken.append(error)

        dispatcher.on(TokenError, broken)
        dispatcher.on(TokenError, sound)
        assert await dispatcher.dispatch(TokenError("first"))
        assert len(taken) == 1
        assert "an error handler failed on token_error" in caplog.text

    async def test_cancelling_reaches_through_a_handler(self) -> None:
        dispatcher = ErrorDispatcher()

        async def cancelled(_: TokenError) -> None:
            raise asyncio.CancelledError

        dispatcher.on(TokenError, cancelled)
        with pytest.raises(asyncio.CancelledError):
            await dispatcher.dispatch(TokenError("first"))

    async def test_what_nobody_handles_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        async def handler(_: TokenError) -> None:
            raise AssertionError("not for this error")

        dispatcher = ErrorDispatcher()
        dispatcher.on(RpcUnavailableError, handler)
        with caplog.at_level(logging.ERROR, logger="deal_sdk.errors"):
            assert not await dispatcher.dispatch(make(InsufficientBalanceError))
        assert "unhandled insufficient_balance" in caplog.text

    async def test_an_object_with_an_async_call_is_a_handler(self) -> None:
        class Handler:
            def __init__(self) -> None:
                self.taken = 0

            async def __call__(self, error: TokenError) -> None:
                self.taken += 1

        handler = Handler()
        dispatcher = ErrorDispatcher()
        dispatcher.on(TokenError, handler)
        assert await dispatcher.dispatch(TokenError("x"))
        assert handler.taken == 1

    @pytest.mark.parametrize("handler", [print, lambda error: None, 7])
    def test_a_handler_that_is_not_async_is_refused(self, handler: Any) -> None:
        with pytest.raises(TypeError, match="async"):
            ErrorDispatcher().on(TokenError, handler)


def test_a_shared_error_tells_each_caller_its_own() -> None:
    shared = DatabaseUnavailableError("the database is gone", host="db")
    mine = shared.told(outcome=Outcome.UNKNOWN, payment_id="1")
    yours = shared.told(outcome=Outcome.NOT_SENT, payment_id="2")
    assert (mine.facts["payment_id"], yours.facts["payment_id"]) == ("1", "2")
    assert (mine.outcome, yours.outcome) == (Outcome.UNKNOWN, Outcome.NOT_SENT)
    assert "payment_id" not in shared.facts
    assert (type(mine), str(mine), mine.facts["host"]) == (DatabaseUnavailableError, str(shared), "db")


def test_an_error_with_facts_of_its_own_can_be_told() -> None:
    error = InsufficientBalanceError(required="2", available="1", deficit="1")
    told = error.told(outcome=Outcome.NOT_SENT)
    assert (told.required, told.to_dict()) == ("2", error.to_dict())
