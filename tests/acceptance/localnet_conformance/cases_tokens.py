"""Cases of getProgramAccounts and of the methods about tokens."""

from __future__ import annotations

from typing import Any, Final

from .cases import Case, group
from .cases_accounts import BASE58, BASE64, NOT_BASE58, PARSED, sliced

OF_MINT: Final = {"memcmp": {"offset": 0, "bytes": "$mint"}}
HOLDERS: Final = [{"dataSize": 165}, OF_MINT]


def filtered(*filters: Any, **config: Any) -> dict[str, Any]:
    return {"filters": list(filters), "encoding": "base64", **config}


def memcmp(**fields: Any) -> dict[str, Any]:
    return filtered({"dataSize": 165}, OF_MINT, {"memcmp": fields})


PROGRAM_CASES: Final = group(
    "getProgramAccounts",
    {
        "holders": ["$token", filtered(*HOLDERS)],
        "holders parsed": ["$token", filtered(*HOLDERS, encoding="jsonParsed")],
        "holders sliced": ["$token", filtered(*HOLDERS, dataSlice={"offset": 64, "length": 8})],
        "holders in base58, too long": ["$token", filtered(*HOLDERS, encoding="base58")],
        "holders sliced in base58": [
            "$token",
            filtered(*HOLDERS, encoding="base58", dataSlice={"offset": 32, "length": 32}),
        ],
        "holders with context": ["$token", filtered(*HOLDERS, withContext=True)],
        "holders unsorted": ["$token", filtered(*HOLDERS, sortResults=False)],
        "confirmed holders": ["$token", filtered(*HOLDERS, commitment="confirmed")],
        "holders of new tokens": [
            "$token_2022",
            filtered({"memcmp": {"offset": 0, "bytes": "$new_mint"}}, encoding="jsonParsed"),
        ],
        "token account state": ["$token", filtered("tokenAccountState", OF_MINT)],
        "amount in base64": ["$token", memcmp(offset=64, bytes="AMLrCwAAAAA=", encoding="base64")],
        "amount in base58": ["$token", memcmp(offset=64, bytes="11111111", encoding="base58")],
        "amount as numbers": ["$token", memcmp(offset=64, bytes=[0, 225, 245, 5, 0, 0, 0, 0])],
        "amount as marked numbers": [
            "$token",
            memcmp(offset=64, bytes=[0, 225, 245, 5, 0, 0, 0, 0], encoding="bytes"),
        ],
        "filter beyond the end": ["$token", memcmp(offset=1_000, bytes="2")],
        "filter across the end": ["$token", memcmp(offset=164, bytes="11")],
        "mint of no bytes": ["$token", memcmp(offset=0, bytes="")],
        "owner of no bytes": ["$token", memcmp(offset=32, bytes="")],
        "amount of no bytes": ["$token", memcmp(offset=64, bytes="")],
        "no program": ["$nobody", BASE64],
        "no program, parsed": ["$nobody", {**PARSED, "withContext": True}],
        "five filters": ["$token", filtered(*[{"dataSize": 165}] * 5)],
        "no filters": ["$nobody", filtered()],
        "unknown filter": ["$token", filtered({"colour": 1})],
        "unknown word": ["$token", filtered("colour")],
        "two in one": ["$token", filtered({"dataSize": 165, **OF_MINT})],
        "size a text": ["$token", filtered({"dataSize": "165"})],
        "size negative": ["$token", filtered({"dataSize": -1})],
        "filter a number": ["$token", filtered(165)],
        "filters not a list": ["$token", {"filters": {"dataSize": 165}}],
        "memcmp without bytes": ["$token", filtered({"memcmp": {"offset": 0}})],
        "memcmp without offset": ["$token", filtered({"memcmp": {"bytes": "1"}})],
        "memcmp not base58": ["$token", memcmp(offset=0, bytes=NOT_BASE58)],
        "memcmp not base64": ["$token", memcmp(offset=0, bytes="***", encoding="base64")],
        "memcmp badly padded": ["$token", memcmp(offset=0, bytes="AAA", encoding="base64")],
        "memcmp too long": ["$token", memcmp(offset=0, bytes="z" * 176)],
        "memcmp of 129 bytes": ["$token", memcmp(offset=0, bytes=[1] * 129)],
        "memcmp of a big number": ["$token", memcmp(offset=0, bytes=[256])],
        "memcmp a number": ["$token", memcmp(offset=0, bytes=5)],
        "memcmp unknown encoding": ["$token", memcmp(offset=0, bytes="1", encoding="hex")],
        "memcmp offset negative": ["$token", memcmp(offset=-1, bytes="1")],
        "memcmp a text": ["$token", filtered({"memcmp": "1"})],
        "with context a text": ["$nobody", {"withContext": "yes"}],
        "min context slot not reached": ["$nobody", {"minContextSlot": 4_000_000_000}],
        "bad address": ["abc"],
        "no params": [],
    },
    pick="by address",
)

TOKEN_CASES: Final[tuple[Case, ...]] = (
    *PROGRAM_CASES,
    *group(
        "getTokenAccountBalance",
        {
            "tokens": ["$alice_tokens"],
            "delegated": ["$bob_tokens", {"commitment": "confirmed"}],
            "frozen": ["$carol_tokens"],
            "new tokens": ["$bob_new"],
            "points": ["$owned"],
            "wrapped": ["$wrapped"],
            "closed": ["$dave_tokens"],
            "wallet": ["$alice"],
            "mint": ["$mint"],
            "multisig": ["$multisig"],
            "uninitialized": ["$uninitialized"],
            "unknown": ["$nobody"],
            "bad address": ["abc"],
            "not base58": [NOT_BASE58],
            "config a text": ["$alice_tokens", "confirmed"],
            "commitment missing": ["$alice_tokens", {}],
            "commitment unknown": ["$alice_tokens", {"commitment": "sure"}],
            "no params": [],
        },
    ),
    *group(
        "getTokenSupply",
        {
            "mint": ["$mint"],
            "new mint": ["$new_mint"],
            "points": ["$points"],
            "native": ["So11111111111111111111111111111111111111112"],
            "token account": ["$alice_tokens"],
            "wallet": ["$alice"],
            "unknown": ["$nobody"],
            "bad address": ["abc"],
            "confirmed": ["$mint", {"commitment": "confirmed"}],
        },
    ),
    *group(
        "getTokenLargestAccounts",
        {
            "mint": ["$mint"],
            "new mint": ["$new_mint"],
            "points": ["$points", {"commitment": "confirmed"}],
            "mint without holders": ["$wide_mint"],
            "token account": ["$alice_tokens"],
            "wallet": ["$alice"],
            "unknown": ["$nobody"],
            "bad address": ["abc"],
        },
        pick="by address",
    ),
    *group(
        "getTokenAccountsByOwner",
        {
            "mint": ["$alice", {"mint": "$mint"}, PARSED],
            "program": ["$bob", {"programId": "$token"}, PARSED],
            "new program": ["$bob", {"programId": "$token_2022"}, PARSED],
            "base64": ["$alice", {"mint": "$mint"}, BASE64],
            "base58, too long": ["$alice", {"mint": "$mint"}, BASE58],
            "no encoding, too long": ["$alice", {"mint": "$mint"}],
            "slice": ["$alice", {"mint": "$mint"}, sliced(64, 8)],
            "confirmed": ["$alice", {"mint": "$mint"}, {"commitment": "confirmed", **PARSED}],
            "none": ["$nobody", {"mint": "$mint"}],
            "none of the program": ["$nobody", {"programId": "$token"}],
            "unknown mint": ["$alice", {"mint": "$nobody"}],
            "mint a wallet": ["$alice", {"mint": "$bob"}],
            "mint a token account": ["$alice", {"mint": "$alice_tokens"}],
            "unknown program": ["$alice", {"programId": "$nobody"}],
            "both": ["$alice", {"mint": "$mint", "programId": "$token"}],
            "neither": ["$alice", {}],
            "unknown field": ["$alice", {"owner": "$token"}],
            "filter a text": ["$alice", "mint"],
            "filter null": ["$alice", None],
            "bad mint": ["$alice", {"mint": "abc"}],
            "mint a number": ["$alice", {"mint": 4}],
            "bad owner": ["abc", {"mint": "$mint"}],
            "no filter": ["$alice"],
            "no params": [],
            "min context slot not reached": ["$alice", {"mint": "$mint"}, {"minContextSlot": 4_000_000_000}],
        },
        pick="by address",
    ),
    *group(
        "getTokenAccountsByDelegate",
        {
            "mint": ["$carol", {"mint": "$mint"}, PARSED],
            "program": ["$carol", {"programId": "$token"}, PARSED],
            "revoked": ["$bob", {"mint": "$mint"}, PARSED],
            "base64": ["$carol", {"mint": "$mint"}, BASE64],
            "unknown mint": ["$carol", {"mint": "$nobody"}],
            "unknown program": ["$carol", {"programId": "$nobody"}],
            "no filter": ["$carol"],
        },
        pick="by address",
    ),
)
