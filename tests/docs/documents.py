"""The documentation's files, and the code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
DOCS: Final = REPOSITORY / "docs"
README: Final = REPOSITORY / "README.md"
NEEDS_SERVERS: Final = "<!-- test: servers -->"
"""Marks a document whose code expects a validator, PostgreSQL and Redis in the environment."""

_FENCE: Final = re.compile(r"^```(?P<language>\w*)\s*$")
_LINK: Final = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the file on which the text begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """One Markdown file."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Return the path within the repository."""
        return str(self.path.relative_to(REPOSITORY))

    @property
    def needs_servers(self) -> bool:
        """Return whether its code runs against real servers."""
        return NEEDS_SERVERS in self.text

    def blocks(self) -> list[Block]:
        """Return the fenced blocks in order.

        Raises:
            ValueError: for a fence that is never closed.
        """
        found: list[Block] = []
        language: str | None = None
        lines: list[str] = []
        for number, line in enumerate(self.text.splitlines(), start=1):
            fence = _FENCE.match(line)
            if language is None and fence is not None:
                language, lines = fence["language"], []
            elif fence is not None and not fence["language"] and language is not None:
                found.append(Block(language, "".join(f"{text}\n" for text in lines), number - len(lines)))
                language = None
            elif language is not None:
                lines.append(line)
        if language is not None:
            raise ValueError(f"{self.name}: a fence is not closed")
        return found

    def links(self) -> list[str]:
        """Return the targets of links and pictures outside code."""
        return [match["target"] for match in _LINK.finditer(self._prose())]

    def _prose(self) -> str:
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)


def read_document(path: Path) -> Document:
    """Read a document."""
    return Document(path, path.read_text(encoding="utf-8"))


def documents() -> Iterator[Document]:
    """Yield every document: the README and all pages."""
    for path in [README, *sorted(DOCS.rglob("*.md"))]:
        yield read_document(path)


def shell_commands(document: Document, program: str, languages: tuple[str, ...] = ("bash",)) -> list[str]:
    """Return the lines of a document's shell blocks that run a program, without a folder before its name.

    A line that ends with a backslash goes on in the next one.

    Args:
        document: where to look.
        program: the program's name; what is returned are its arguments.
        languages: `bash` blocks can be run as they stand, `console` blocks show a prompt and need what
            is only the reader's.
    """
    found = []
    for block in document.blocks():
        if block.language in languages:
            lines = block.text.replace("\\\n", " ").splitlines()
            found += [match[1] for line in lines if (match := _command(program).match(line))]
    return found


def _command(program: str) -> re.Pattern[str]:
    return re.compile(rf"(?:\$ )?(?:\S*/)?{re.escape(program)}\s+(\S.*?)\s*(?:&|#.*)?$")
