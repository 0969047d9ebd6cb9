"""The forms of the API: what requests may hold and what answers say.

Amounts of tokens are decimal texts and counts of credits integers, so that no client rounds them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from deal_sdk.amounts import format_amount
from deal_sdk.records import Transaction

MAX_PAGE: Final = 200
MAX_SERIES_POINTS: Final = 500
MAX_ADDRESS_TEXT: Final = 128

Address = Annotated[str, Field(min_length=1, max_length=MAX_ADDRESS_TEXT)]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str, Field(min_length=1, max_length=512)]


class Answer(BaseModel):
    """What an operation answers; it is made of a value of the package's, whose other members stay inside."""

    model_config = ConfigDict(frozen=True, from_attributes=True, extra="ignore")


class Request(BaseModel):
    """What a request holds, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Answer):
    """A refusal (RFC 9457); the error's facts stand beside these members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    retryable: bool


class SignIn(Request):
    """What begins a session."""

    token: Annotated[str, Field(min_length=1, max_length=128, repr=False)]


class Session(Answer):
    """Who is signed in."""

    name: str
    role: Literal["viewer", "operator"]
    expires_at: datetime | None
    csrf_token: str | None = Field(repr=False)
    """Carried by each change of a session; null for a request that carried a token."""


class Done(Answer):
    """That something was done which has no more to say."""

    done: bool = True


class Balance(Answer):
    """What an operator's wallet holds; null while the chain does not answer."""

    name: str
    address: str
    amount: str | None
    slot: int | None


class Token(Answer):
    """The token and its supply on the chain."""

    symbol: str
    mint: str
    decimals: int
    program: str
    total_supply: str | None
    """Null while the chain does not answer."""


class Overview(Answer):
    """The token, the operator's wallets, and how payments stand."""

    token: Token
    balances: list[Balance]
    open_payments: int
    payments_paused: str | None
    """Why, while payments are paused."""
    chain_problem: str | None
    """The code of the error that the chain was read with, when it was."""


class TrackedBalance(Answer):
    """The last recorded balance of a tracked account."""

    token_account: str
    owner_address: str
    user_id: str | None
    amount: str | None
    """Null where no change was recorded yet."""
    slot: int | None


class TrackedBalances(Answer):
    """Tracked accounts in the order of their addresses."""

    items: list[TrackedBalance]
    next_cursor: str | None


class PageQuery(Request):
    """Which page."""

    limit: Limit = 50
    cursor: Cursor | None = None


class Payment(Answer):
    """A payment and its state."""

    id: str
    type: str
    status: str
    amount: str
    from_user_id: str | None
    to_user_id: str | None
    from_address: str | None
    to_address: str | None
    reason: str | None
    signature: str | None
    slot: int | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, payment: Transaction, decimals: int) -> Payment:
        """Make the form of a recorded payment."""
        return cls.model_validate(payment.to_dict(decimals=decimals))


class Payments(Answer):
    """Payments, the newest first."""

    items: list[Payment]
    next_cursor: str | None


class PaymentsQuery(PageQuery):
    """Which payments; `q` is an id, a signature, an idempotency key, a user's id or an address."""

    status: str | None = None
    type: str | None = None
    q: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class Attempt(Answer):
    """A transaction that was signed for a payment, and what is known of it."""

    number: int
    status: str
    signature: str
    last_valid_block_height: int
    context_slot: int
    evidence: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


class PaymentDetail(Answer):
    """A payment with the evidence of its end and of each attempt."""

    payment: Payment
    idempotency_key: str | None
    refund_of: str | None
    evidence: dict[str, Any] | None
    attempts: list[Attempt]


class PurchaseUse(Answer):
    """How far a user's purchases of a token, or of a category, are used."""

    user_id: str
    token_mint: str
    category: str | None
    count: int
    maximum: int
    percent: int
    reset_after_seconds: float


class LimitHit(Answer):
    """A limit that was reached, nearly reached or hit, as told to this process."""

    type: str
    user: str
    limit: str
    current: int
    maximum: int
    percent: int
    operation: str | None
    token_mint: str | None
    at: datetime


class Limits(Answer):
    """Limits and rates near their edge."""

    purchases: list[PurchaseUse]
    hits: list[LimitHit]
    near_percent: int


class DueRenewal(Answer):
    """A user whose renewal or expiry may be due."""

    user_id: str
    external_id: str | None
    tier: str
    next_renewal_at: datetime | None


class Credits(Answer):
    """Credits and renewals."""

    users: int
    balance_total: int
    spent_total: int
    due_by_tier: dict[str, int]
    due: list[DueRenewal]
    renewed: int
    last_renewal_at: datetime | None
    next_run_at: datetime


class VolumePoint(Answer):
    """Payments recorded in one bucket of time."""

    at: int
    """The bucket's beginning, in Unix seconds."""
    payments: int
    amount: str


class Volume(Answer):
    """Payments over time, empty buckets included."""

    bucket_seconds: int
    points: list[VolumePoint]


class VolumeQuery(Request):
    """Which period, ending now."""

    hours: Annotated[int, Field(ge=1, le=24 * 366)] = 24


class BalancePoint(Answer):
    """A wallet's balance from one change on."""

    at: int
    """Unix seconds."""
    amount: str


class BalanceHistory(Answer):
    """How a wallet's balance changed, the oldest change first."""

    wallet: str
    points: list[BalancePoint]
    is_cut: bool
    """Older changes of the period were left out."""


class BalanceQuery(Request):
    """Whose balance, and since when: hours before now."""

    wallet: Address
    hours: Annotated[int, Field(ge=1, le=24 * 366)] = 24 * 30


def amount_text(amount_base_units: int, decimals: int) -> str:
    """Write base units as whole tokens."""
    return format_amount(amount_base_units, decimals=decimals)
