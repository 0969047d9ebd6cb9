"""Instructions as Agave's jsonParsed shows them; what no parser knows is shown by its raw parts."""

from typing import Any, Final

from .base58 import b58encode
from .parse_programs import PARSERS

MEMO_NAMES: Final = frozenset(
    {
        "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
        "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
    }
)


def parse_instruction(
    names: list[str], program_index: int, accounts: bytes, data: bytes, stack_height: int
) -> dict[str, Any]:
    """Show an instruction with its fields named, or partially decoded when it cannot be parsed."""
    program = names[program_index]
    addresses = [names[index] for index in accounts]
    shown = _parsed(program, addresses, data)
    if shown is None:
        shown = {"accounts": addresses, "data": b58encode(data)}
    return {**shown, "programId": program, "stackHeight": stack_height}


def _parsed(program: str, addresses: list[str], data: bytes) -> dict[str, Any] | None:
    if program in MEMO_NAMES:
        return _memo(data)
    known = PARSERS.get(program)
    if known is None:
        return None
    name, parse = known
    try:
        parsed = parse(addresses, data)
    except (IndexError, ValueError):
        return None
    return None if parsed is None else {"parsed": {"info": parsed[1], "type": parsed[0]}, "program": name}


def _memo(data: bytes) -> dict[str, Any] | None:
    try:
        return {"parsed": data.decode(), "program": "spl-memo"}
    except UnicodeDecodeError:
        return None
