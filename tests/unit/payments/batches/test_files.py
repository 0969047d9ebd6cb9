"""Batch files: every form is read the same, and every bad line is named with where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal_sdk.errors import BatchInvalidError, InvalidInputError
from deal_sdk.payments.batches.files import read_batch_file
from deal_sdk.payments.batches.lines import RewardLine, check_lines, fingerprint_of_lines

WALLET = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
CSV = f"""recipient,external_id,amount,type,key
{WALLET},,1.5,airdrop,

"{WALLET}",,2,,"two
lines"
,chat-7,3,bonus,k
"""
JSON = f"""[
  {{"recipient": "{WALLET}", "amount": "1.5", "type": "airdrop"}},

  {{"recipient": "{WALLET}", "amount": 2, "key": "two\\nlines"}},
  {{
    "external_id": "chat-7", "amount": 3.0, "type": "bonus", "key": "k"
  }}
]
"""
JSON_LINES = f"""{{"recipient": "{WALLET}", "amount": "1.5", "type": "airdrop"}}

{{"recipient": "{WALLET}", "amount": "2", "key": "two\\nlines"}}
{{"external_id": "chat-7", "amount": 3.0, "type": "bonus", "key": "k"}}
"""


def written(directory: Path, name: str, text: str) -> Path:
    file = directory / name
    file.write_text(text, encoding="utf-8")
    return file


def problems_of(file: Path) -> list[int]:
    with pytest.raises(BatchInvalidError) as caught:
        read_batch_file(file, reward_type="gift")
    return [problem["line"] for problem in caught.value.facts["problems"]]


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("a.csv", CSV, [2, 4, 6]),
        ("a.csv", "\ufeff" + CSV, [2, 4, 6]),
        ("a.JSON", JSON, [2, 4, 5]),
        ("a.jsonl", JSON_LINES, [1, 3, 4]),
    ],
)
def test_every_form_says_the_same(tmp_path: Path, name: str, text: str, places: list[int]) -> None:
    lines = read_batch_file(written(tmp_path, name, text), reward_type="gift")
    assert [line.line for line in lines] == places
    assert [(line.recipient, line.reward_type, line.key) for line in lines] == [
        (WALLET, "airdrop", None),
        (WALLET, "gift", "two\nlines"),
        ("ext:chat-7", "bonus", "k"),
    ]
    plain = [RewardLine(line.recipient, str(line.amount), line.reward_type, line.key) for line in lines]
    assert fingerprint_of_lines(check_lines(lines, decimals=8)) == fingerprint_of_lines(
        check_lines(plain, decimals=8)
    )


def test_every_line_that_has_no_form_is_named(tmp_path: Path) -> None:
    text = f"recipient,external_id,amount\n{WALLET},,1\n{WALLET},chat,1\n,,1\n{WALLET},1\n{WALLET},,\n"
    assert problems_of(written(tmp_path, "a.csv", text)) == [3, 4, 5, 6]
    text = f'[{{"recipient": "{WALLET}", "amount": true}},\n 7,\n {{"recipient": "{WALLET}", "extra": "1"}}]'
    assert problems_of(written(tmp_path, "a.json", text)) == [1, 2, 3]
    text = '{"recipient": "a", "amount": "1", "amount": "2"}\nnonsense\n{"amount": "1"}\n[]\n'
    assert problems_of(written(tmp_path, "a.jsonl", text)) == [1, 2, 3, 4]


@pytest.mark.parametrize("text", ['[{"recipient": "a", "amount": "1"}', "[1 2]", "[1,,2]", "[1] x", "[1,]"])
def test_json_that_is_broken_is_refused(tmp_path: Path, text: str) -> None:
    assert problems_of(written(tmp_path, "a.json", text))


def test_what_is_no_batch_file_is_refused(tmp_path: Path) -> None:
    for name, text in (("a.txt", ""), ("a.json", "{}"), ("a.csv", ""), ("a.csv", "who,amount\n")):
        with pytest.raises(InvalidInputError):
            read_batch_file(written(tmp_path, name, text))
    with pytest.raises(InvalidInputError):
        read_batch_file(tmp_path / "missing.csv")
    (tmp_path / "b.csv").write_bytes(b"recipient,amount\n\xff,1\n")
    with pytest.raises(InvalidInputError):
        read_batch_file(tmp_path / "b.csv")
    with pytest.raises(InvalidInputError):
        check_lines([], decimals=8)


def test_a_line_of_a_csv_that_is_none_is_named(tmp_path: Path) -> None:
    assert problems_of(written(tmp_path, "a.csv", f'recipient,amount\n{WALLET},1\n"{WALLET}"x,1\n')) == [3]


def test_the_fingerprint_tells_every_change(tmp_path: Path) -> None:
    base = [RewardLine(WALLET, "1", "gift"), RewardLine("ext:7", "2", "gift", key="k")]
    changed = [
        [RewardLine(WALLET, "1", "gift"), RewardLine("ext:7", "2", "gift")],
        [RewardLine(WALLET, "1", "gift"), RewardLine("ext:7", "2.1", "gift", key="k")],
        [RewardLine(WALLET, "1", "bonus"), RewardLine("ext:7", "2", "gift", key="k")],
        [RewardLine("ext:7", "2", "gift", key="k"), RewardLine(WALLET, "1", "gift")],
        base[:1],
    ]
    prints = {fingerprint_of_lines(check_lines(lines, decimals=8)) for lines in [base, *changed]}
    assert len(prints) == 6
    moved = [RewardLine(WALLET, "1.0", "gift", line=90), base[1]]
    assert fingerprint_of_lines(check_lines(moved, decimals=8)) in prints
