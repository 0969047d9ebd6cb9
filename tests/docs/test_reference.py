"""The reference pages say what the code says."""

from __future__ import annotations

import pytest

from deal_sdk import errors
from deal_sdk.records.tables import metadata
from deal_sdk.settings import Settings
from tests.docs.reference import PAGES, REFERENCE


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/reference/{name} is out of date: run ./scripts/docs"


def test_every_setting_has_a_meaning() -> None:
    rows = {
        row.split("|")[1].strip(): row for row in PAGES["settings.md"]().splitlines() if row.startswith("| `")
    }
    assert set(rows) == {f"`{name}`" for name in Settings.model_fields}
    assert [name for name, row in rows.items() if not row.split("|")[-2].strip()] == []


def test_every_error_and_table_is_there() -> None:
    error_page, table_page = PAGES["errors.md"](), PAGES["tables.md"]()
    classes = [getattr(errors, name) for name in errors.__all__]
    raised = [item for item in classes if isinstance(item, type) and issubclass(item, errors.TokenError)]
    assert len(raised) > 30
    assert [error.__name__ for error in raised if f"`{error.__name__}`" not in error_page] == []
    assert [name for name in metadata.tables if f"## {name}\n" not in table_page] == []
