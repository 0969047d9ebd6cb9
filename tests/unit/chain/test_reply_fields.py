"""Values of replies that are not what was promised are refused, one by one and together."""

from __future__ import annotations

from typing import Any

import pytest

from deal_sdk.chain.reply_fields import integers, texts


@pytest.mark.parametrize("values", [[], [0], [1, 2**64 - 1]])
def test_unsigned_integers_are_taken(values: list[Any]) -> None:
    assert integers(values) == tuple(values)


@pytest.mark.parametrize("values", [[1, -1], [1, True], [1, 2.0], ["1"], [None]])
def test_one_that_is_no_unsigned_integer_refuses_all(values: list[Any]) -> None:
    with pytest.raises(ValueError, match="integers"):
        integers(values)


def test_strings_are_taken() -> None:
    assert texts(iter(["a", ""])) == ("a", "")
    assert texts(()) == ()


@pytest.mark.parametrize("values", [["a", 1], [None], [b"a"], [["a"]]])
def test_one_that_is_no_string_refuses_all(values: list[Any]) -> None:
    with pytest.raises(TypeError, match="strings"):
        texts(values)
