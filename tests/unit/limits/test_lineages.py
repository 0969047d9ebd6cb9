"""How servers say which life of theirs it is."""

from __future__ import annotations

import pytest

from deal_sdk.limits.lineages import NO_LINEAGE, OF_CLUSTER, OF_SERVER, UNTOLD, LineageQuestion, is_master

MASTER = b"# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:4f2a\r\n"


@pytest.mark.parametrize(
    ("question", "answer", "lineage"),
    [
        (OF_SERVER, MASTER, "4f2a"),
        (OF_SERVER, {"role": "master", "master_replid": "4f2a"}, "4f2a"),
        (OF_SERVER, MASTER.replace(b"role:master", b"role:slave"), NO_LINEAGE),
        (OF_SERVER, {"role": "slave", "master_replid": "4f2a"}, NO_LINEAGE),
        (OF_SERVER, b"", UNTOLD),
        (OF_CLUSTER, b"cluster_state:ok\r\ncluster_current_epoch:6\r\n", "6"),
        (OF_CLUSTER, b"cluster_state:fail\r\ncluster_current_epoch:6\r\n", NO_LINEAGE),
        (OF_CLUSTER, b"nothing of the kind", UNTOLD),
    ],
)
def test_what_an_answer_says(question: LineageQuestion, answer: object, lineage: str) -> None:
    assert question.read(answer) == lineage


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ([b"master", 3, []], True),
        (("master",), True),
        ([b"slave", b"127.0.0.1", 7000, b"connected", 3], False),
        ([b"sentinel", []], False),
        ([], False),
        (None, False),
    ],
)
def test_who_is_a_master(role: object, expected: bool) -> None:
    assert is_master(role) is expected
