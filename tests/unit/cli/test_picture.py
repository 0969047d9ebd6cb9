"""What a command showed, as a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.text import Text

from deal_sdk.cli.output import table
from deal_sdk.cli.picture import draw
from deal_sdk.errors import InvalidInputError


def test_a_picture_shows_the_text_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shown.svg"
    draw(
        path,
        "a title",
        [table("Payments", ["who", "amount>"], [["alice", "1.5"]]), Text("done", style="bold")],
    )
    picture = path.read_text(encoding="utf-8")
    shown = " ".join("".join(ElementTree.fromstring(picture).itertext()).split())
    assert all(word in shown for word in ("a title", "Payments", "alice", "1.5", "done"))
    assert "@font-face" not in picture
    assert 'url("http' not in picture


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be written"):
        draw(tmp_path / "missing/shown.svg", "a title", [Text("done")])
