"""Draws what a command showed as a picture, for a page that tells of it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType

from deal_sdk.cli.output import PLAIN_WIDTH
from deal_sdk.errors import InvalidInputError

_FONT_FILES: Final = re.compile(r"\s*@font-face \{.*?\}", flags=re.DOTALL)


def draw(path: Path, title: str, shown: Sequence[RenderableType]) -> None:
    """Write an SVG of the shown tables as a terminal would show them.

    Args:
        path: the file; what was there is replaced.
        title: stands in the window's bar.
        shown: tables and texts, top to bottom.

    Raises:
        InvalidInputError: when the file cannot be written.
    """
    console = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO(), highlight=False)
    for renderable in shown:
        console.print(renderable)
    # A picture that fetches fonts would tell their host of every reader.
    picture = _FONT_FILES.sub("", console.export_svg(title=title, unique_id="dealctl"))
    try:
        path.write_text("".join(f"{line.rstrip()}\n" for line in picture.splitlines()), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}", path=str(path)) from None
