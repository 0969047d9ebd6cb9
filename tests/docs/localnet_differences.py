"""The page of what may differ between the embedded validator and Agave's, written from their comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Final

from tests.acceptance.localnet_conformance.differences import (
    DIFFERENCES,
    LISTS,
    MOVING_FIELDS,
    MOVING_RESULTS,
    NOT_COMPARED,
    OTHER_BUILDS,
    OWN_NAMES,
)

LINE_CHARACTERS: Final = 110
INTRODUCTION: Final = """\
# Where the embedded validator differs

`tests/acceptance/localnet_conformance` puts the same questions to `deal_localnet` and to
solana-test-validator, after the same transactions, and compares the replies field by field: results, errors
with their texts and data, notifications, status and content type. What may differ is on this page, and the
suite fails on anything else, as it does when a difference named here is gone.
"""


def localnet_differences_page() -> str:
    """Return the page of differences."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    for text in (OTHER_BUILDS, NOT_COMPARED):
        yield "\n".join(wrap(text, LINE_CHARACTERS)) + "\n"
    yield "## Fields that differ\n"
    yield from _table("case | field | reason", [(one.case, one.path, one.reason) for one in DIFFERENCES])
    yield "\n## Fields that move\n"
    yield "Their values depend on the chain and on when it was asked; their types are compared.\n"
    yield from _table("field | because it is", MOVING_FIELDS.items())
    yield "\n## Results that move\n"
    yield from _table("method | because it is", MOVING_RESULTS.items())
    yield "\n## Texts of a chain's own\n"
    yield "They are compared by the names that the scenario gives them.\n"
    yield from _table("name | why it differs", OWN_NAMES.items())
    yield "\n## Lists\n"
    yield from _table("compared | because", LISTS.items())


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    names = head.split(" | ")
    yield f"| {head} |"
    yield f"|{' --- |' * len(names)}"
    for row in sorted(rows):
        *exact, reason = row
        yield "| " + " | ".join([*(f"`{text}`" for text in exact), reason]) + " |"
