"""Commands are written as the client library writes them, byte for byte."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from redis.connection import Connection

from deal_sdk.limits.scripts import Packed
from deal_sdk.limits.wire import pack

WORDS = st.one_of(st.text(st.characters(codec="utf-8")), st.binary(), st.integers(-(2**63), 2**64))
COMMANDS = st.lists(st.tuples(st.sampled_from(("GET", "EVALSHA", b"SET")), WORDS, WORDS), max_size=5)


@given(commands=COMMANDS)
@example(commands=[("GET", "", "\r\n$3\r\nDEL"), ("GET", "é", 7)])
@example(commands=[("SET", "a" * 70_000, b"\xff" * 70_000)])
def test_are_the_same_bytes(commands: list[tuple[str | bytes, str | bytes | int, str | bytes | int]]) -> None:
    assert pack(commands) == b"".join(Connection().pack_commands(commands))


@given(words=st.lists(st.text(st.characters(codec="ascii")), max_size=5), other=WORDS)
def test_what_was_written_before_is_the_same(words: list[str], other: str | bytes | int) -> None:
    packed = Packed.of(tuple(words))
    assert pack([("GET", packed, other, packed)]) == pack([("GET", *words, other, *words)])
