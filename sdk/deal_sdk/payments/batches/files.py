"""Reads the lines of a batch from a CSV, JSON or JSON Lines file, each with the line that it stands on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from deal_sdk.errors import InvalidInputError
from deal_sdk.payments.batches.lines import (
    EXTERNAL_PREFIX,
    MAX_BATCH_LINES,
    LineProblem,
    RewardLine,
    refuse,
)

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
_CODE: Final = InvalidInputError.code
_FIELDS: Final = ("recipient", "external_id", "amount", "type", "key")
_BLANK: Final = " \t\r\n"

Entry = tuple[int, Mapping[str, Any]]


def read_batch_file(path: str | Path, *, reward_type: str | None = None) -> list[RewardLine]:
    """Read a batch's lines; blocking, so call it in a thread.

    The fields are `recipient` (or `external_id`), `amount`, `type` and, where wanted, `key`: the columns
    of a CSV file's first line, or the members of the objects in a JSON array or JSON Lines.

    Args:
        path: its ending says what it is: .csv, .json, .jsonl or .ndjson.
        reward_type: for lines that name none.

    Raises:
        InvalidInputError: a file that cannot be read at all.
        BatchInvalidError: naming every line that has no such form.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"a batch file ends with {', '.join(_READERS)}", path=str(path))
    lines: list[RewardLine] = []
    problems: list[LineProblem] = []
    for number, entry in reader(_text(file), problems):
        problem = _problem(entry)
        if problem is None:
            lines.append(_line(number, entry, reward_type))
        else:
            problems.append(LineProblem(number, _CODE, problem))
        if len(lines) > MAX_BATCH_LINES:
            raise InvalidInputError(f"a batch has at most {MAX_BATCH_LINES} lines", path=str(path))
    refuse(problems)
    return lines


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInputError(f"a batch file has at most {MAX_FILE_BYTES} bytes", path=str(file))
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}", path=str(file)) from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file} is not UTF-8: {error.reason}", path=str(file)) from None


def _csv(text: str, problems: list[LineProblem]) -> Iterator[Entry]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        _check_header(header)
        begins = rows.line_num + 1
        for row in rows:
            number, begins = begins, rows.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                problems.append(
                    LineProblem(number, _CODE, f"{len(row)} fields where the first line names {len(header)}")
                )
                continue
            yield number, {name: cell.strip() for name, cell in zip(header, row, strict=True) if cell.strip()}
    except csv.Error as error:
        problems.append(LineProblem(rows.line_num, _CODE, f"the line is no CSV: {error}"))


def _check_header(header: list[str]) -> None:
    unknown = [name for name in header if name not in _FIELDS]
    if unknown or len(set(header)) < len(header) or "amount" not in header:
        raise InvalidInputError(
            f"the first line of a CSV file names its columns, out of {', '.join(_FIELDS)}, each once, "
            "and the amount among them",
            columns=header,
        )


def _json(text: str, problems: list[LineProblem]) -> Iterator[Entry]:
    position = _skip(text, 0)
    if text[position : position + 1] != "[":
        raise InvalidInputError("a JSON batch is an array of objects; one object a line is a .jsonl file")
    counted, number = 0, 1
    position = _skip(text, position + 1)
    is_first = True
    while text[position : position + 1] != "]":
        if not is_first:
            position = _skip(text, position + 1) if text[position : position + 1] == "," else len(text)
        is_first = False
        number += text.count("\n", counted, position)
        counted = position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            problems.append(LineProblem(number, _CODE, f"the text is no JSON from here on: {error}"))
            return
        yield from _object(number, value, problems)
        position = _skip(text, position)
    if text[position + 1 :].strip(_BLANK):
        problems.append(LineProblem(number, _CODE, "there is text after the array"))


def _json_lines(text: str, problems: list[LineProblem]) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip(_BLANK):
            continue
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            problems.append(LineProblem(number, _CODE, f"the line is no JSON: {error}"))
            continue
        yield from _object(number, value, problems)


def _object(number: int, value: Any, problems: list[LineProblem]) -> Iterator[Entry]:
    if isinstance(value, dict):
        yield number, value
    else:
        problems.append(LineProblem(number, _CODE, "a line is an object"))


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def _problem(entry: Mapping[str, Any]) -> str | None:
    unknown = [str(name) for name in entry if name not in _FIELDS]
    if unknown:
        return f"there is no field {', '.join(unknown)[:64]}; the fields are {', '.join(_FIELDS)}"
    if ("recipient" in entry) == ("external_id" in entry):
        return "a line names either its recipient or its external_id"
    wrong = [name for name in _FIELDS if name in entry and not isinstance(entry[name], str | Decimal)]
    if wrong:
        return f"{', '.join(wrong)} must be a text"
    return None if "amount" in entry else "a line has an amount"


def _line(number: int, entry: Mapping[str, Any], reward_type: str | None) -> RewardLine:
    named = entry.get("recipient")
    recipient = f"{EXTERNAL_PREFIX}{entry['external_id']}" if named is None else str(named)
    key = entry.get("key")
    return RewardLine(
        recipient=recipient,
        amount=entry["amount"],
        reward_type=str(entry.get("type", reward_type or "")),
        key=None if key is None else str(key),
        line=number,
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object names a field twice")
    return members


_DECODER: Final = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_members)
_READERS: Final[Mapping[str, Callable[[str, list[LineProblem]], Iterator[Entry]]]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
