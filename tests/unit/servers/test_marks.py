"""The marks that let the fast run leave servers out."""

from __future__ import annotations

import os

import pytest

from tests.conftest import COMMON_VARIABLES


def test_a_servers_fixture_marks_its_test(request: pytest.FixtureRequest, redis_url: str) -> None:
    assert request.node.get_closest_marker("redis") is not None
    assert request.node.get_closest_marker("postgres") is None
    assert redis_url


# Marked by another server's name, so that the fast run leaves it out and the check still refuses.
@pytest.mark.postgres
def test_an_unseen_server_is_refused(request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.fail.Exception, match="without the mark redis"):
        request.getfixturevalue("redis_url")


@pytest.mark.redis
def test_a_server_with_its_mark_is_given(request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue("redis_url").startswith("redis://")


def test_the_callers_settings_do_not_reach_a_test() -> None:
    of_tests = ("DEAL_TEST_", "DEAL_SBPF_")
    reached = {name for name in os.environ if name.startswith("DEAL_") and not name.startswith(of_tests)}
    assert reached | (COMMON_VARIABLES & set(os.environ)) == set()
