"""Every setting, its default and its environment variable; the environment is read here and nowhere else.

`DEAL_*` wins, then the widely used name (REDIS_URL, DATABASE_URL, SOLANA_RPC_URL, ...), then, for
Redis, host and port. Secrets are `SecretStr`, so that no repr or log shows them.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from deal_sdk.errors import ConfigurationError

EMBEDDED_CHAIN_URL: Final = "localnet://"
EMBEDDED_STORE_URL: Final = "memory://"
_REDIS_SCHEMES: Final = (
    "memory://",
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)
EMBEDDED_DATABASE_URL: Final = "sqlite+aiosqlite://"

Commitment = Literal["processed", "confirmed", "finalized"]
WaitFor = Literal["recorded", "confirmed", "finalized"]
TokenProgram = Literal["classic", "token-2022"]
StorePolicy = Literal["allow", "refuse"]
RenewalMode = Literal["add", "reset"]

Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]
LeaseSeconds = Annotated[float, Field(ge=1.0, le=300.0)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Percent = Annotated[int, Field(ge=1, le=100)]
Lamports = Annotated[int, Field(ge=0, le=10**18)]

MAX_CALL_RATE: Final = 1_000_000
# What may stand before a URL to name it, because a name in logs must not be able to hold a key's URL.
_NAMED_URL: Final = re.compile(r"(?:([A-Za-z0-9_.-]{1,40})=)?(https?://.+)")


def split_endpoint(entry: str) -> tuple[str | None, str]:
    """Split an entry of `rpc_urls` into its name, if it has one, and its URL.

    Raises:
        ValueError: when it is neither a URL nor a name, an equals sign and a URL.
    """
    matched = _NAMED_URL.fullmatch(entry)
    if matched is None:
        raise ValueError("each endpoint is an http:// or https:// URL, or NAME=URL")
    return matched[1], matched[2]


def _alias(*names: str) -> Any:
    return AliasChoices(*names)


class TierLimits(BaseModel):
    """One tier's rate limits: requests per minute and the burst per second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: Count
    burst_per_second: Count


class TierPlanSettings(BaseModel):
    """What a tier grants in a period, what that costs, and whether only the channel's members have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    credits: Annotated[int, Field(ge=0)]
    price_rub: Annotated[int, Field(ge=0)] = 0
    needs_channel: bool = False


class RemoteSignerSettings(BaseModel):
    """Where an operator wallet's key is kept: the signing service and the address it signs for."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(repr=False)
    address: str


DEFAULT_TIER_LIMITS: Final = {
    "Gift": TierLimits(per_minute=10, burst_per_second=3),
    "Professional": TierLimits(per_minute=50, burst_per_second=10),
    "Business": TierLimits(per_minute=100, burst_per_second=20),
}


class Settings(BaseSettings):
    """All settings of a `Deal`; with none given, everything runs embedded and ephemeral."""

    model_config = SettingsConfigDict(
        env_prefix="DEAL_", frozen=True, extra="forbid", populate_by_name=True, env_ignore_empty=True
    )

    # An endpoint's URL often carries its API key, so a repr leaves it out.
    rpc_url: str = Field(
        EMBEDDED_CHAIN_URL, validation_alias=_alias("DEAL_RPC_URL", "SOLANA_RPC_URL"), repr=False
    )
    ws_url: str | None = Field(None, repr=False)
    rpc_urls: Annotated[tuple[str, ...], NoDecode] = Field((), repr=False)
    database_url: SecretStr = Field(
        SecretStr(EMBEDDED_DATABASE_URL), validation_alias=_alias("DEAL_DATABASE_URL", "DATABASE_URL")
    )
    redis_url: SecretStr = Field(
        SecretStr(EMBEDDED_STORE_URL), validation_alias=_alias("DEAL_REDIS_URL", "REDIS_URL")
    )
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_sentinel_username: str | None = None
    redis_sentinel_password: SecretStr | None = None
    redis_tls_ca_file: str | None = None
    redis_tls_certificate_file: str | None = None
    redis_tls_key_file: str | None = None
    redis_tls_key_password: SecretStr | None = None
    redis_tls_check_hostname: bool = True
    database_busy_timeout_seconds: Seconds = 5.0

    mint: str | None = None
    token_program: TokenProgram = "classic"
    token_name: str = "Deals Token"
    token_symbol: str = "DEAL"
    mainnet_confirmed: bool = False
    allowance_program: str | None = None

    keystore_passphrase: SecretStr | None = None
    remote_signers: dict[str, RemoteSignerSettings] = Field(default_factory=dict)
    remote_signer_token: SecretStr | None = None
    remote_signer_hmac_secret: SecretStr | None = None
    remote_signer_tls_ca_file: str | None = None
    remote_signer_tls_certificate_file: str | None = None
    remote_signer_tls_key_file: str | None = None
    remote_signer_tls_key_password: SecretStr | None = None
    remote_signer_timeout_seconds: Seconds = 5.0

    localnet_slot_seconds: Seconds = 0.05
    localnet_finality_slots: Count = 32

    rpc_timeout_seconds: Seconds = 10.0
    rpc_max_connections: Count = 32
    rpc_calls_per_second: float | dict[str, float] | None = None
    rpc_rate_wait_seconds: Seconds = 5.0
    rpc_max_slot_lag: Count = 20
    rpc_probe_interval_seconds: Seconds = 5.0
    rpc_breaker_failures: Count = 5
    rpc_breaker_open_seconds: Seconds = 5.0
    rpc_hedge_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    rpc_expiry_opinions: Count | None = None
    rebroadcast_interval_seconds: Seconds = 2.0
    status_poll_interval_seconds: Seconds = 0.1
    max_signature_subscriptions: int = Field(16, ge=0, le=10_000)
    confirm_timeout_seconds: Seconds = 60.0
    max_payment_attempts: Count = 3
    max_payments_in_flight: Count = 4096
    lookup_tables: bool = True
    lookup_table_uses: Count = 1
    lease_seconds: LeaseSeconds = 15.0
    background_jobs: bool = True
    max_payment_amount: str | None = None
    max_daily_amount_per_wallet: str | None = None
    allowed_destinations: tuple[str, ...] = ()
    alarm_payments_per_minute: Count | None = None
    fee_payer: str | None = None
    fee_payer_low_lamports: Lamports = 50_000_000
    fee_payer_poll_interval_seconds: Seconds = 10.0
    compute_unit_margin_percent: Annotated[int, Field(ge=0, le=1_000)] = 15
    priority_fee_micro_lamports: Lamports | None = None
    priority_fee_percentile: Percent = 75
    max_priority_fee_micro_lamports: Lamports = 1_000_000
    max_priority_fee_lamports: Lamports = 100_000
    service_fee_settlement_amount: str = "10"
    service_fee_settlement_period_seconds: Count = 86_400
    service_fee_settlement_poll_seconds: Seconds = 10.0
    history_poll_interval_seconds: Seconds = 0.5
    history_backfill_signatures: Count = 10_000

    balance_ttl_seconds: Seconds = 300.0
    cache_prefix: str = "deal:"
    cache_local_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    wallet_challenge_seconds: Seconds = 300.0

    purchase_key_prefix: str = Field(
        "token_purchases:", validation_alias=_alias("DEAL_PURCHASE_KEY_PREFIX", "TOKEN_PURCHASE_KEY_PREFIX")
    )
    purchase_period_seconds: Count = Field(
        86_400, validation_alias=_alias("DEAL_PURCHASE_PERIOD_SECONDS", "TOKEN_PURCHASE_TTL")
    )
    limit_reservation_seconds: Count = 3_600
    limit_store_timeout_seconds: Seconds = 2.0
    rate_limit_store_policy: StorePolicy = "allow"
    credit_hold_seconds: Count = 600
    tier_plans: dict[str, TierPlanSettings] = Field(default_factory=dict)
    renewal_period: str = Field("30d", pattern=r"^([1-9][0-9]{0,2}d|month)$")
    renewal_mode: RenewalMode = "add"
    renewal_rollover_cap: int | None = Field(None, ge=0, le=10**18)
    renewal_catch_up_periods: int = Field(12, ge=0, le=120)
    renewal_expire_after_periods: int | None = Field(None, ge=1, le=120)
    renewal_job: bool = False
    channel_membership: str | None = Field(None, pattern=r"^[\w.]+:[\w.]+$", max_length=255)
    channel_membership_ttl_seconds: Seconds = 600.0
    operation_costs: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    tier_limits: dict[str, TierLimits] = Field(default_factory=lambda: dict(DEFAULT_TIER_LIMITS))

    buy_webhook_authorization: SecretStr | None = None
    subscription_max_in_flight: Count = 16
    subscription_timeout_seconds: Seconds = 60.0
    subscription_max_age_seconds: Seconds = 120.0
    subscription_poll_interval_seconds: Seconds = 1.0

    max_transactions_per_wallet: Count = Field(
        200,
        validation_alias=_alias("DEAL_MAX_TRANSACTIONS_PER_WALLET", "MAX_TRANSACTIONS_PER_WALLET"),
    )
    max_watched_wallets: Count = 3
    watch_limits_by_type: dict[str, Count] = Field(default_factory=dict)
    watch_poll_interval_seconds: Seconds = 60.0
    watch_transactions_per_poll: Count = 5
    watch_hint_interval_seconds: Seconds = 5.0
    watch_subscriptions: bool = True
    watch_feed_interval_seconds: Seconds = 0.5
    rpc_daily_quota: Count = 100_000

    webhook_secret: SecretStr | None = None
    webhook_delivery: bool = True
    webhook_timeout_seconds: Seconds = 10.0
    webhook_max_attempts: Count = 16
    webhook_first_retry_seconds: Seconds = 5.0
    webhook_max_in_flight: Count = 16
    webhook_poll_interval_seconds: Seconds = 1.0
    webhook_max_age_seconds: Seconds = 3 * 86_400.0
    webhook_retention_seconds: Seconds = 30 * 86_400.0
    webhook_allow_private_networks: bool = False

    smtp_url: SecretStr | None = None
    smtp_sender: str | None = None
    smtp_start_tls: bool = True
    smtp_tls_ca_file: str | None = None

    metrics_balances_by_user: bool = False

    @field_validator("rpc_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError("not a JSON list") from None
        return [entry.strip() for entry in value.split(",") if entry.strip()]

    @field_validator("rpc_urls")
    @classmethod
    def _check_endpoints(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            split_endpoint(entry)
        return value

    @field_validator("rpc_calls_per_second")
    @classmethod
    def _check_rates(cls, value: float | dict[str, float] | None) -> float | dict[str, float] | None:
        rates = value.values() if isinstance(value, dict) else [] if value is None else [value]
        if not all(0 < rate <= MAX_CALL_RATE for rate in rates):
            raise ValueError(f"a rate is above 0 and at most {MAX_CALL_RATE:,} calls a second")
        return value

    @property
    def rpc_endpoints(self) -> tuple[str, ...]:
        """Return the RPC endpoints, the preferred one first: `rpc_urls`, or `rpc_url` alone."""
        return self.rpc_urls or (self.rpc_url,)

    @property
    def required_expiry_opinions(self) -> int:
        """Return how many endpoints must rule a transaction out: two, or the only one, unless it is set."""
        return self.rpc_expiry_opinions or min(len(self.rpc_endpoints), 2)

    @model_validator(mode="after")
    def _check_urls(self) -> Settings:
        if not self.rpc_url.startswith(("localnet://", "http://", "https://")):
            raise ValueError("rpc_url must begin with localnet://, http:// or https://")
        if self.ws_url is not None and not self.ws_url.startswith(("ws://", "wss://")):
            raise ValueError("ws_url must begin with ws:// or wss://")
        if not self.redis_url.get_secret_value().startswith(_REDIS_SCHEMES):
            raise ValueError(f"redis_url must begin with one of {', '.join(_REDIS_SCHEMES)}")
        return self

    @model_validator(mode="after")
    def _check_plans(self) -> Settings:
        # A user on such a tier could do nothing, because every operation checks its rate.
        if unlimited := sorted(set(self.tier_plans) - set(self.tier_limits)):
            raise ValueError(f"tier_plans names tiers without rate limits: {', '.join(unlimited)}")
        if self.renewal_mode == "reset" and self.renewal_expire_after_periods is not None:
            raise ValueError("renewal_expire_after_periods: credits that are reset cannot expire")
        return self


class _RedisHost(BaseSettings):
    """The three variables that stand for a Redis URL where none is given."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    host: str = Field("localhost", validation_alias="REDIS_HOST")
    port: int = Field(6379, validation_alias="REDIS_PORT", ge=1, le=65_535)
    password: SecretStr | None = Field(None, validation_alias="REDIS_PASSWORD")

    def url(self) -> str | None:
        if not self.model_fields_set:
            return None
        secret = f":{quote(self.password.get_secret_value(), safe='')}@" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{secret}{host}:{self.port}/0"


def load_settings(**overrides: Any) -> Settings:
    """Read the environment once and lay the caller's overrides over it.

    Args:
        overrides: settings by name; None means "not given".

    Raises:
        ConfigurationError: naming each setting that cannot be used; values are not repeated, because
            a URL may hold a password.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if "rpc_url" in given:
        # A caller that names one endpoint means that one, whatever several the environment names.
        given.setdefault("rpc_urls", ())
    try:
        settings = _with_first_endpoint(Settings(**given))
        if "redis_url" in settings.model_fields_set:
            return settings
        host_url = _RedisHost().url()
    except ValidationError as error:
        problems = [
            {"setting": ".".join(map(str, item["loc"])) or "settings", "problem": item["msg"]}
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        text = "; ".join(f"{problem['setting']}: {problem['problem']}" for problem in problems)
        raise ConfigurationError(f"settings cannot be used: {text}", problems=problems) from None
    except SettingsError as error:
        # A variable that should hold JSON and does not; the message names it without its value.
        raise ConfigurationError(f"settings cannot be used: {error}", problems=[]) from None
    if host_url is None:
        return settings
    return settings.model_copy(update={"redis_url": SecretStr(host_url)})


def _with_first_endpoint(settings: Settings) -> Settings:
    # What needs one URL, to tell a local chain from a cluster say, looks at the preferred endpoint's.
    if not settings.rpc_urls:
        return settings
    return settings.model_copy(update={"rpc_url": split_endpoint(settings.rpc_urls[0])[1]})
