"""The hash of a call's input, by which an idempotency key that is used for something else is noticed."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from deal_sdk.errors import InvalidInputError


def fingerprint_of(**inputs: Any) -> str:
    """Hash the caller's input.

    What the caller gave is hashed, not what it resolved to: a user whose primary wallet changed
    since still means the same payment.

    Raises:
        InvalidInputError: for a text or a number that no record can hold.
    """
    try:
        canonical = orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS, default=str)
    except orjson.JSONEncodeError as error:
        # Half a surrogate pair, or a number beyond 64 bits: nothing that a payment can mean.
        raise InvalidInputError(f"the input cannot be recorded: {error}") from None
    return hashlib.sha256(canonical).hexdigest()
