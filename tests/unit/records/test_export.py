"""Exports that fail leave no file that looks complete."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deal_sdk.errors import ConfigurationError
from deal_sdk.records.export import Rows, export_rows, to_dataframe


async def pages(*, fail: bool = False) -> AsyncIterator[Rows]:
    yield [{"amount": "1.5", "note": None}]
    if fail:
        raise RuntimeError("mine")
    yield [{"amount": "2", "note": {"a": [1]}}]


async def test_a_failure_half_way_keeps_the_file_of_before(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    assert await export_rows(pages(), target, "csv", ["amount", "note"]) == 2
    before = target.read_text()
    assert before == 'amount,note\n1.5,\n2,"{""a"": [1]}"\n'
    with pytest.raises(RuntimeError, match="mine"):
        await export_rows(pages(fail=True), target, "csv", ["amount", "note"])
    assert target.read_text() == before
    assert not (tmp_path / "rows.csv.part").exists()


async def test_a_missing_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigurationError, match=r"deal-sdk\[notebook\]"):
        await to_dataframe(pages(), ["amount", "note"], amounts=["amount"], times=[])
