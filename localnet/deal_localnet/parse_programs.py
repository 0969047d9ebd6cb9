"""The programs whose instructions can be shown with their fields named."""

from collections.abc import Callable
from typing import Any, Final

Parsed = tuple[str, dict[str, Any]] | None
PARSERS: Final[dict[str, tuple[str, Callable[[list[str], bytes], Parsed]]]] = {}
