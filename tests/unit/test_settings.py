"""Settings: what wins over what, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from deal_sdk.errors import ConfigurationError
from deal_sdk.settings import DEFAULT_TIER_LIMITS, Settings, TierLimits, load_settings

ENV_EXAMPLE = Path(__file__).parents[2] / ".env.example"
REDIS_PARTS = {"REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"}
SECRET = "hunter2-correct-horse"


def variables_of(name: str, field: FieldInfo) -> list[str]:
    """Return the environment variables that a setting is read from, the strongest first."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"DEAL_{name.upper()}"]


def shown(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def example_lines() -> dict[str, str]:
    found = re.findall(r"^# ?([A-Z][A-Z_]+)=(.*)$", ENV_EXAMPLE.read_text(), flags=re.MULTILINE)
    assert len(found) == len(dict(found)), "a variable stands twice in .env.example"
    return dict(found)


def test_with_nothing_set_everything_is_embedded() -> None:
    settings = load_settings()
    assert settings.rpc_url == "localnet://"
    assert settings.database_url.get_secret_value() == "sqlite+aiosqlite://"
    assert settings.redis_url.get_secret_value() == "memory://"


def test_the_promised_defaults() -> None:
    settings = load_settings()
    assert settings.purchase_key_prefix == "token_purchases:"
    assert settings.purchase_period_seconds == 86_400
    assert settings.max_transactions_per_wallet == 200
    assert settings.balance_ttl_seconds == 300
    assert settings.tier_limits == {
        "Gift": TierLimits(per_minute=10, burst_per_second=3),
        "Professional": TierLimits(per_minute=50, burst_per_second=10),
        "Business": TierLimits(per_minute=100, burst_per_second=20),
    }


TWO_NAMES = [
    ("rpc_url", "SOLANA_RPC_URL", "http://weak:1", "http://strong:2"),
    ("database_url", "DATABASE_URL", "sqlite+aiosqlite:///weak", "sqlite+aiosqlite:///strong"),
    ("redis_url", "REDIS_URL", "redis://weak", "redis://strong"),
    ("purchase_key_prefix", "TOKEN_PURCHASE_KEY_PREFIX", "weak:", "strong:"),
    ("purchase_period_seconds", "TOKEN_PURCHASE_TTL", "60", "70"),
    ("max_transactions_per_wallet", "MAX_TRANSACTIONS_PER_WALLET", "5", "6"),
]


@pytest.mark.parametrize(("name", "common", "weak", "strong"), TWO_NAMES)
def test_a_deal_variable_wins_over_the_common_name(
    monkeypatch: pytest.MonkeyPatch, name: str, common: str, weak: str, strong: str
) -> None:
    monkeypatch.setenv(common, weak)
    assert str(shown(getattr(load_settings(), name))) == weak
    monkeypatch.setenv(f"DEAL_{name.upper()}", "")
    assert str(shown(getattr(load_settings(), name))) == weak, "an empty value counts as not set"
    monkeypatch.setenv(f"DEAL_{name.upper()}", strong)
    assert str(shown(getattr(load_settings(), name))) == strong


@pytest.mark.parametrize(("name", "common", "weak", "strong"), TWO_NAMES)
def test_an_argument_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, common: str, weak: str, strong: str
) -> None:
    monkeypatch.setenv(common, weak)
    monkeypatch.setenv(f"DEAL_{name.upper()}", weak)
    assert str(shown(getattr(load_settings(**{name: strong}), name))) == strong
    assert str(shown(getattr(load_settings(**{name: None}), name))) == weak, "None means not given"


def test_every_setting_with_a_common_name_is_in_these_tests() -> None:
    with_two = {name for name, field in Settings.model_fields.items() if len(variables_of(name, field)) > 1}
    assert with_two == {row[0] for row in TWO_NAMES}
    for name, common, *_ in TWO_NAMES:
        assert variables_of(name, Settings.model_fields[name]) == [f"DEAL_{name.upper()}", common]


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"REDIS_HOST": "cache"}, "redis://cache:6379/0"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "7000"}, "redis://cache:7000/0"),
        ({"REDIS_PORT": "7000"}, "redis://localhost:7000/0"),
        ({"REDIS_PASSWORD": "p@ss/word"}, "redis://:p%40ss%2Fword@localhost:6379/0"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "", "REDIS_PORT": ""}, "memory://"),
        ({"REDIS_HOST": "cache", "REDIS_URL": "redis://url"}, "redis://url"),
        ({"REDIS_HOST": "cache", "DEAL_REDIS_URL": "redis://deal"}, "redis://deal"),
        ({"REDIS_URL": "redis://url", "REDIS_PORT": "tcp://10.0.0.1:6379"}, "redis://url"),
        ({"REDIS_HOST": "cache", "REDIS_URL": "memory://"}, "memory://"),
    ],
)
def test_redis_host_and_port_stand_in_for_a_url(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEAL_RPC_URL", f"ftp://{SECRET}"),
        ("DEAL_REDIS_URL", f"http://:{SECRET}@host"),
        ("DEAL_TOKEN_PROGRAM", SECRET),
        ("DEAL_RATE_LIMIT_STORE_POLICY", SECRET),
        ("DEAL_CONFIRM_TIMEOUT_SECONDS", "0"),
        ("DEAL_CONFIRM_TIMEOUT_SECONDS", "-1"),
        ("DEAL_CONFIRM_TIMEOUT_SECONDS", "nan"),
        ("DEAL_CONFIRM_TIMEOUT_SECONDS", "inf"),
        ("DEAL_CONFIRM_TIMEOUT_SECONDS", SECRET),
        ("DEAL_MAX_PAYMENT_ATTEMPTS", "0"),
        ("DEAL_MAX_PAYMENT_ATTEMPTS", "1.5"),
        ("DEAL_TIER_LIMITS", f"{{{SECRET}"),
        ("DEAL_TIER_LIMITS", json.dumps({"Gift": {"per_minute": SECRET}})),
        ("DEAL_TIER_LIMITS", json.dumps({"Gift": {"per_minute": 1, "burst_per_second": 1, "more": 1}})),
        ("DEAL_MAINNET_CONFIRMED", SECRET),
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("REDIS_PORT", "65536"),
    ],
)
def test_what_cannot_work_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match="settings cannot be used") as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    assert SECRET not in json.dumps(caught.value.to_dict())
    assert caught.value.__suppress_context__


def test_an_error_names_each_setting() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(max_payment_attempts=0, token_program="other")
    named = {problem["setting"] for problem in caught.value.facts["problems"]}
    assert named == {"max_payment_attempts", "token_program"}


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="confirm_timeout"):
        load_settings(confirm_timeout=5)


def test_no_repr_shows_a_secret() -> None:
    settings = load_settings(
        rpc_url=f"https://rpc.example/?api-key={SECRET}",
        database_url=f"postgresql+asyncpg://deal:{SECRET}@db/deal",
        redis_url=f"redis://:{SECRET}@cache",
        keystore_passphrase=SECRET,
    )
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert settings.keystore_passphrase is not None
    assert settings.keystore_passphrase.get_secret_value() == SECRET


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().mint = "other"  # type: ignore[misc]


def test_one_settings_tier_table_is_not_anothers() -> None:
    load_settings().tier_limits["Gift"] = TierLimits(per_minute=1, burst_per_second=1)
    assert load_settings().tier_limits == DEFAULT_TIER_LIMITS


def test_the_example_lists_every_setting_and_nothing_else() -> None:
    known = {
        variable for name, field in Settings.model_fields.items() for variable in variables_of(name, field)
    }
    assert set(example_lines()) == known | REDIS_PARTS


def test_the_examples_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load_settings()
    for variable, value in example_lines().items():
        if variable not in REDIS_PARTS:
            monkeypatch.setenv(variable, value)
    assert load_settings() == defaults
    lines = example_lines()
    for name, field in Settings.model_fields.items():
        has_default = shown(getattr(defaults, name)) is not None
        assert all(bool(lines[variable]) == has_default for variable in variables_of(name, field)), name
    for variable in REDIS_PARTS:
        monkeypatch.setenv(variable, lines[variable])
    monkeypatch.delenv("DEAL_REDIS_URL")
    monkeypatch.delenv("REDIS_URL")
    assert load_settings().redis_url.get_secret_value() == "redis://localhost:6379/0"


def test_each_example_is_explained() -> None:
    above = ""
    for line in ENV_EXAMPLE.read_text().splitlines():
        if re.match(r"# [A-Z_]+=", line):
            assert re.match(r"# \w", above), f"{line} has no explanation above it"
        else:
            above = line


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("https://a.example/k,b=https://b.example", ("https://a.example/k", "b=https://b.example")),
        (" https://a.example , https://b.example ,", ("https://a.example", "https://b.example")),
        ('["https://a.example/x,y", "b=http://b"]', ("https://a.example/x,y", "b=http://b")),
    ],
)
def test_endpoints_are_a_list_by_commas_or_in_json(
    monkeypatch: pytest.MonkeyPatch, text: str, urls: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DEAL_RPC_URLS", text)
    settings = load_settings()
    assert settings.rpc_urls == settings.rpc_endpoints == urls
    assert settings.rpc_url == urls[0].rpartition("=")[2]


@pytest.mark.parametrize(
    "text", ["ftp://a", "localnet://", '["http://a"', "a b=http://a", '{"a": "http://a"}']
)
def test_endpoints_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DEAL_RPC_URLS", text)
    with pytest.raises(ConfigurationError, match="rpc_urls"):
        load_settings()


def test_one_endpoint_that_a_caller_names_wins_over_several_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEAL_RPC_URLS", "http://a,http://b")
    monkeypatch.setenv("SOLANA_RPC_URL", "http://c")
    assert load_settings().rpc_endpoints == ("http://a", "http://b")
    assert load_settings(rpc_url="http://d").rpc_endpoints == ("http://d",)
    assert load_settings(rpc_urls=["http://e"]).rpc_endpoints == ("http://e",)


def test_a_call_rate_is_one_number_or_one_for_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEAL_RPC_CALLS_PER_SECOND", "12.5")
    assert load_settings().rpc_calls_per_second == 12.5
    monkeypatch.setenv("DEAL_RPC_CALLS_PER_SECOND", '{"main": 50, "public": 0.5}')
    assert load_settings().rpc_calls_per_second == {"main": 50, "public": 0.5}
    monkeypatch.setenv("DEAL_RPC_CALLS_PER_SECOND", "0")
    with pytest.raises(ConfigurationError, match="rpc_calls_per_second"):
        load_settings()


def test_an_expiry_takes_two_endpoints_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().required_expiry_opinions == 1
    monkeypatch.setenv("DEAL_RPC_URLS", "http://a,http://b,http://c")
    assert load_settings().required_expiry_opinions == 2
    assert load_settings(rpc_expiry_opinions=1).required_expiry_opinions == 1
    assert load_settings(rpc_url="http://a").required_expiry_opinions == 1
