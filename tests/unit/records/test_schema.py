"""The shipped migrations form one numbered line that ends where the code says; every table is known."""

from __future__ import annotations

import re
from pathlib import Path

from alembic.script import ScriptDirectory

from deal_sdk import records
from deal_sdk.records import schema


def test_migrations_are_numbered_in_one_line_up_to_the_head() -> None:
    scripts = ScriptDirectory.from_config(schema.alembic_configuration())
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    assert revisions == [f"{number:04d}" for number in range(1, len(revisions) + 1)]
    assert scripts.get_heads() == [schema.HEAD_REVISION]


def test_importing_the_records_declares_every_table() -> None:
    # A new database is made from what is declared by then, wherever it is opened from.
    package = Path(records.__file__)
    door = package.read_text()
    for module in package.parent.glob("*.py"):
        if module.stem != "tables" and "sa.Table(" in module.read_text():
            imported = rf"^from deal_sdk\.records\.{module.stem} import|^    {module.stem},$"
            assert module.stem == "creation" or re.search(imported, door, re.MULTILINE), module.name
