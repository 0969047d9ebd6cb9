"""The shipped migrations form one numbered line that ends where the code says."""

from __future__ import annotations

from alembic.script import ScriptDirectory

from deal_sdk.records import schema


def test_migrations_are_numbered_in_one_line_up_to_the_head() -> None:
    scripts = ScriptDirectory.from_config(schema.alembic_configuration())
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    assert revisions == [f"{number:04d}" for number in range(1, len(revisions) + 1)]
    assert scripts.get_heads() == [schema.HEAD_REVISION]
