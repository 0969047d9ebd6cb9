"""The IDL says what the Rust sources do: discriminators, layouts, events and errors."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from deal_sdk.chain.allowance import idl_json, program_bytes, program_refusal, program_sha256

SOURCES: Final = Path(__file__).parents[3] / "programs" / "deal_allowance" / "src"
SIZES_BYTES: Final = {"publicKey": 32, "u64": 8, "u32": 4, "u8": 1, "bool": 1}
IDL: Final[dict[str, Any]] = orjson.loads(idl_json())


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def size_of(field_type: Any) -> int:
    if isinstance(field_type, dict):
        element, count = field_type["array"]
        return SIZES_BYTES[element] * int(count)
    return SIZES_BYTES[field_type]


def discriminator(namespace: str, name: str) -> list[int]:
    return list(hashlib.sha256(f"{namespace}:{name}".encode()).digest()[:8])


def constants(module: str) -> dict[str, Any]:
    """Read the constants of a module of layout.rs."""
    text = (SOURCES / "layout.rs").read_text()
    found = re.search(rf"^pub mod {module} {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    assert found is not None, module
    pairs = re.findall(r"pub const (\w+): [^=]+ = (.+);", found[1])
    return {name: orjson.loads(value) for name, value in pairs}


def test_every_instruction_has_the_discriminator_of_its_name() -> None:
    names = {snake(instruction["name"]) for instruction in IDL["instructions"]}
    assert constants("instruction") == {name.upper(): discriminator("global", name) for name in names}


def test_every_event_has_the_discriminator_of_its_name() -> None:
    wanted = {snake(event["name"]).upper(): discriminator("event", event["name"]) for event in IDL["events"]}
    assert constants("event") == wanted


@pytest.mark.parametrize("account", IDL["accounts"], ids=lambda account: str(account["name"]))
def test_every_account_is_laid_out_as_the_program_writes_it(account: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {"DISCRIMINATOR": discriminator("account", account["name"])}
    at = 8
    for field in account["type"]["fields"]:
        if field["type"] == "bytes":
            wanted |= {"BITMAP_LENGTH": at, "BITMAP": at + 4}
            break
        wanted[snake(field["name"]).upper()] = at
        at += size_of(field["type"])
    else:
        wanted["LEN"] = at
    assert constants(snake(account["name"])) == wanted


@pytest.mark.parametrize("event", IDL["events"], ids=lambda event: str(event["name"]))
def test_every_event_has_as_many_bytes_as_the_program_logs(event: dict[str, Any]) -> None:
    size = 8 + sum(size_of(field["type"]) for field in event["fields"])
    name = snake(event["name"]).upper()
    sources = "".join(path.read_text() for path in (SOURCES / "program").glob("*.rs"))
    assert f"Event::<{size}>::new(&event::{name})" in sources


def test_every_error_is_the_programs_own() -> None:
    text = (SOURCES / "errors.rs").read_text()
    declared = re.findall(r"/// (.+)\n    (\w+) = (\d+),", text)
    assert len(declared) == text.count(" = 6")
    wanted = [{"code": int(code), "name": name, "msg": message} for message, name, code in declared]
    assert IDL["errors"] == wanted
    assert [error["code"] for error in wanted] == list(range(6000, 6000 + len(wanted)))


def test_an_error_number_is_told_in_words_and_a_foreign_one_is_not() -> None:
    refusal = program_refusal(6023)
    assert refusal is not None
    assert (refusal.name, refusal.message) == (
        "WrongSequence",
        "The sequence is not the allowance's next one",
    )
    assert program_refusal(1) is None
    assert program_refusal(None) is None


def test_the_programs_file_has_the_hash_that_stands_beside_it() -> None:
    assert hashlib.sha256(program_bytes()).hexdigest() == program_sha256()
