"""Cases of sending and simulating transactions."""

from __future__ import annotations

from typing import Any, Final

from .cases import Case, group

REFUSED: Final = (
    "too_much",
    "overdraft",
    "frozen",
    "frozen_paid",
    "wrong_owner",
    "wrong_signer",
    "no_money",
    "poor",
    "below_rent",
    "no_program",
    "wallet_program",
    "bad_instruction",
    "too_few_accounts",
    "no_units",
    "twice_limited",
    "bad_heap",
    "exists",
    "stale",
    "stale_failing",
    "unsigned",
    "unsigned_stale",
    "bad_memo",
)
RUN: Final = ("ok", "ok_priced", "ok_versioned", "ok_table", "ok_create", "ok_return")


def wire(name: str, **config: Any) -> list[Any]:
    return [f"$wire.{name}", {"encoding": "base64", **config}]


BAD_WIRES: Final = {
    "not base64": ["***", {"encoding": "base64"}],
    "badly padded": ["AQ", {"encoding": "base64"}],
    "not base58": ["0OIl"],
    "empty": ["", {"encoding": "base64"}],
    "empty in base58": [""],
    "cut short": ["AQABAg==", {"encoding": "base64"}],
    "zeros": ["AAAAAAAAAAAAAAAAAAAA", {"encoding": "base64"}],
    "too long in base64": ["A" * 1_648, {"encoding": "base64"}],
    "too long in base58": ["2" * 1_684],
    "too long when decoded": ["A" * 1_644, {"encoding": "base64"}],
    "unsupported encoding": ["$wire.ok", {"encoding": "jsonParsed"}],
    "unknown encoding": ["$wire.ok", {"encoding": "hex"}],
    "encoding a number": ["$wire.ok", {"encoding": 64}],
    "a number": [5],
    "null": [None],
    "no params": [],
    "config a text": ["$wire.ok", "base64"],
    "too many params": ["$wire.ok", {"encoding": "base64"}, 1],
}

SIMULATION_CASES: Final[tuple[Case, ...]] = (
    *group("simulateTransaction", {f"{name} refused": wire(name) for name in REFUSED}),
    *group("simulateTransaction", {f"{name} runs": wire(name) for name in RUN}),
    *group(
        "simulateTransaction",
        {f"{name}, verified": wire(name, sigVerify=True) for name in ("ok", "unsigned")},
    ),
    *group(
        "simulateTransaction",
        {
            f"{name}, blockhash replaced": wire(name, replaceRecentBlockhash=True)
            for name in ("ok", "stale", "stale_failing", "unsigned_stale", "ok_versioned", "too_much")
        },
    ),
    *group(
        "simulateTransaction",
        {
            f"{name}, inner": wire(name, innerInstructions=True)
            for name in ("ok", "ok_inner", "ok_return", "too_much", "exists")
        },
    ),
    *group("simulateTransaction", {f"bad wire, {name}": params for name, params in BAD_WIRES.items()}),
    *group(
        "simulateTransaction",
        {
            "base58": ["$wire58.ok"],
            "processed": wire("ok", commitment="processed"),
            "confirmed": wire("ok", commitment="confirmed"),
            "landed": wire("repeated", commitment="processed"),
            "accounts": wire("ok", accounts={"addresses": ["$alice_tokens", "$bob_tokens"]}),
            "accounts parsed": wire(
                "ok", accounts={"encoding": "jsonParsed", "addresses": ["$alice_tokens", "$mint"]}
            ),
            "accounts in zstd": wire("ok", accounts={"encoding": "base64+zstd", "addresses": []}),
            "accounts in base58": wire("ok", accounts={"encoding": "base58", "addresses": ["$alice"]}),
            "accounts unknown encoding": wire("ok", accounts={"encoding": "hex", "addresses": ["$alice"]}),
            "accounts none": wire("ok", accounts={"addresses": []}),
            "accounts unknown": wire("ok", accounts={"addresses": ["$nobody"]}),
            "accounts of others": wire("ok", accounts={"addresses": ["$points", "$alice"]}),
            "accounts created": wire(
                "ok_create", accounts={"encoding": "jsonParsed", "addresses": ["$created"]}
            ),
            "accounts of a failure": wire("too_much", accounts={"addresses": ["$alice_tokens"]}),
            "accounts too many": wire("ok_versioned", accounts={"addresses": ["$alice"] * 9}),
            "accounts bad": wire("ok", accounts={"addresses": ["abc"]}),
            "accounts without addresses": wire("ok", accounts={"encoding": "base64"}),
            "accounts null": wire("ok", accounts=None),
            "verified and replaced": wire("ok", sigVerify=True, replaceRecentBlockhash=True),
            "flag a text": wire("ok", sigVerify="yes"),
            "min context slot not reached": wire("ok", minContextSlot=4_000_000_000),
            "everything": wire(
                "ok_create",
                replaceRecentBlockhash=True,
                innerInstructions=True,
                commitment="confirmed",
                accounts={"encoding": "jsonParsed", "addresses": ["$created"]},
            ),
        },
    ),
)

SENDING_CASES: Final[tuple[Case, ...]] = (
    *group("sendTransaction", {f"{name} refused": wire(name) for name in REFUSED}),
    *group("sendTransaction", {f"bad wire, {name}": params for name, params in BAD_WIRES.items()}),
    *group(
        "sendTransaction",
        {
            "too much, at processed": wire("too_much", preflightCommitment="processed"),
            "too much, at an unknown commitment": wire("too_much", preflightCommitment="sure"),
            "landed": wire("repeated", preflightCommitment="processed"),
            "landed, skipped": wire("repeated", skipPreflight=True),
            "stale, skipped": wire("stale", skipPreflight=True),
            "unsigned, skipped": wire("unsigned", skipPreflight=True),
            "failing, skipped": wire("too_much_skipped", skipPreflight=True),
            "sent": wire("ok_sent", maxRetries=0),
            "sent in base58": ["$wire58.ok_base58"],
            "retries negative": wire("ok", maxRetries=-1),
            "retries a text": wire("ok", maxRetries="3"),
            "skip a text": wire("ok", skipPreflight="yes"),
            "min context slot not reached": wire("ok", minContextSlot=4_000_000_000),
            "min context slot not reached, skipped": wire(
                "too_much_skipped", minContextSlot=4_000_000_000, skipPreflight=True
            ),
        },
    ),
    *group(
        "getFeeForMessage",
        {
            "plain": ["$message.ok"],
            "priced": ["$message.ok_priced"],
            "versioned": ["$message.ok_versioned", {"commitment": "confirmed"}],
            "with table": ["$message.ok_table", {"commitment": "processed"}],
            "two signers": ["$message.frozen_paid"],
            "unknown blockhash": ["$message.stale"],
            "not base64": ["***"],
            "empty": [""],
            "cut short": ["AQAB"],
            "too long": ["A" * 1_648],
            "a number": [5],
            "no params": [],
            "min context slot not reached": ["$message.ok", {"minContextSlot": 4_000_000_000}],
        },
    ),
    *group(
        "requestAirdrop",
        {
            "bad address": ["abc", 1],
            "not base58": ["0OIl", 1],
            "negative": ["$bob", -1],
            "a text": ["$bob", "1"],
            "fraction": ["$bob", 1.5],
            "no lamports": ["$bob"],
            "no params": [],
            "config a text": ["$bob", 1, "confirmed"],
        },
    ),
)
