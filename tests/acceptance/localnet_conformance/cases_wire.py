"""Cases of what is around the methods: HTTP, JSON-RPC envelopes and batches, subscriptions."""

from __future__ import annotations

from typing import Any, Final

from .cases import HttpCase, TalkCase, WatchCase
from .cases_accounts import NOT_BASE58

JSON: Final = {"content-type": "application/json"}
HEALTH: Final = b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
OTHER: Final = b'{"jsonrpc":"2.0","id":2,"method":"getVersion"}'
UNKNOWN: Final = b'{"jsonrpc":"2.0","id":3,"method":"noSuchMethod"}'


def posted(name: str, body: str | bytes) -> HttpCase:
    """Return a case that posts a body as JSON."""
    return HttpCase(name, body if isinstance(body, bytes) else body.encode(), headers=JSON)


HTTP_CASES: Final = (
    HttpCase("health", None, "GET", "/health"),
    HttpCase("get", None, "GET"),
    HttpCase("get of an unknown path", None, "GET", "/unknown"),
    HttpCase("options", None, "OPTIONS", headers=JSON),
    HttpCase("put", HEALTH, "PUT", headers=JSON),
    HttpCase("delete", None, "DELETE"),
    HttpCase("post without a type", HEALTH),
    HttpCase("post of text", HEALTH, headers={"content-type": "text/plain"}),
    HttpCase("post of a form", HEALTH, headers={"content-type": "application/x-www-form-urlencoded"}),
    HttpCase("post with a charset", HEALTH, headers={"content-type": "application/json; charset=utf-8"}),
    HttpCase("post to an unknown path", HEALTH, path="/unknown", headers=JSON),
    HttpCase("post to health", HEALTH, path="/health", headers=JSON),
    posted("too large", b'{"jsonrpc":"2.0","id":1,"method":"getHealth","params":"' + b"x" * 51_200 + b'"}'),
    posted("one request", HEALTH),
    posted("empty body", b""),
    posted("no json", "{"),
    posted("words", "hello"),
    posted("number", "5"),
    posted("text", '"getHealth"'),
    posted("null", "null"),
    posted("true", "true"),
    posted("not utf-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'),
    posted("trailing words", HEALTH + b" and more"),
    posted("two requests in a row", HEALTH + HEALTH),
    posted("white space around", b"\n  " + HEALTH + b"  \n"),
    posted("empty object", "{}"),
    posted("id a text", '{"jsonrpc":"2.0","id":"abc","method":"getHealth"}'),
    posted("id null", '{"jsonrpc":"2.0","id":null,"method":"getHealth"}'),
    posted("id zero", '{"jsonrpc":"2.0","id":0,"method":"getHealth"}'),
    posted("id large", '{"jsonrpc":"2.0","id":18446744073709551615,"method":"getHealth"}'),
    posted("id too large", '{"jsonrpc":"2.0","id":18446744073709551616,"method":"getHealth"}'),
    posted("id negative", '{"jsonrpc":"2.0","id":-1,"method":"getHealth"}'),
    posted("id a fraction", '{"jsonrpc":"2.0","id":1.5,"method":"getHealth"}'),
    posted("id a list", '{"jsonrpc":"2.0","id":[1],"method":"getHealth"}'),
    posted("id true", '{"jsonrpc":"2.0","id":true,"method":"getHealth"}'),
    posted("notification", '{"jsonrpc":"2.0","method":"getHealth"}'),
    posted("notification of an unknown method", '{"jsonrpc":"2.0","method":"noSuchMethod"}'),
    posted("no version", '{"id":1,"method":"getHealth"}'),
    posted("old version", '{"jsonrpc":"1.0","id":1,"method":"getHealth"}'),
    posted("version null", '{"jsonrpc":null,"id":1,"method":"getHealth"}'),
    posted("version a number", '{"jsonrpc":2.0,"id":1,"method":"getHealth"}'),
    posted("no method", '{"jsonrpc":"2.0","id":1}'),
    posted("no method, no id", '{"jsonrpc":"2.0"}'),
    posted("method a number", '{"jsonrpc":"2.0","id":1,"method":5}'),
    posted("method null", '{"jsonrpc":"2.0","id":1,"method":null}'),
    posted("params a text", '{"jsonrpc":"2.0","id":1,"method":"getHealth","params":"x"}'),
    posted("params a number", '{"jsonrpc":"2.0","id":1,"method":"getHealth","params":5}'),
    posted("params null", '{"jsonrpc":"2.0","id":1,"method":"getHealth","params":null}'),
    posted("params an object", '{"jsonrpc":"2.0","id":1,"method":"getHealth","params":{}}'),
    posted("unknown member", '{"jsonrpc":"2.0","id":1,"method":"getHealth","colour":"green"}'),
    posted("escapes", '{"jsonrpc":"2.0","id":"\\u00fc\\n","method":"getHealth"}'),
    posted("empty batch", "[]"),
    posted("batch of one", b"[" + HEALTH + b"]"),
    posted("batch of two", b"[" + HEALTH + b"," + OTHER + b"]"),
    posted("batch with an unknown method", b"[" + HEALTH + b"," + UNKNOWN + b"]"),
    posted("batch with a number", b"[" + HEALTH + b",5]"),
    posted("batch of numbers", "[1,2]"),
    posted("batch with an empty object", b"[" + HEALTH + b",{}]"),
    posted("batch with a notification", b"[" + HEALTH + b',{"jsonrpc":"2.0","method":"getHealth"}]'),
    posted("batch of notifications", '[{"jsonrpc":"2.0","method":"getHealth"}]'),
    posted("batch with a bad id", b"[" + HEALTH + b',{"jsonrpc":"2.0","id":-1,"method":"getHealth"}]'),
    posted("batch with an old version", b"[" + HEALTH + b',{"jsonrpc":"1.0","id":2,"method":"getHealth"}]'),
    posted("batch in a batch", b"[[" + HEALTH + b"]]"),
    posted("batch of errors", b"[" + UNKNOWN + b"," + UNKNOWN + b"]"),
    posted("subscription over http", '{"jsonrpc":"2.0","id":1,"method":"slotSubscribe"}'),
)  # fmt: skip

CONFIRMED: Final = {"commitment": "confirmed"}
PROCESSED: Final = {"commitment": "processed"}

WATCH_CASES: Final = (
    WatchCase(
        "processed", "signatureSubscribe", ["$sig.watched_processed", PROCESSED], "watched_processed", 1
    ),
    WatchCase(
        "confirmed", "signatureSubscribe", ["$sig.watched_confirmed", CONFIRMED], "watched_confirmed", 1
    ),
    WatchCase("finalized", "signatureSubscribe", ["$sig.watched_finalized"], "watched_finalized", 1),
    WatchCase("failing", "signatureSubscribe", ["$sig.watched_failing", CONFIRMED], "watched_failing", 1),
    WatchCase("landed before", "signatureSubscribe", ["$sig.transfer", CONFIRMED], "", 1),
    WatchCase(
        "received",
        "signatureSubscribe",
        ["$sig.watched_transfer", {"enableReceivedNotification": True, **PROCESSED}],
        "watched_transfer",
        2,
    ),
    WatchCase(
        "parsed",
        "accountSubscribe",
        ["$alice_tokens", {"encoding": "jsonParsed", **CONFIRMED}],
        "watched_transfer",
        1,
    ),
    WatchCase(
        "base64",
        "accountSubscribe",
        ["$alice_tokens", {"encoding": "base64", **PROCESSED}],
        "watched_transfer",
        1,
    ),
    WatchCase(
        "slice",
        "accountSubscribe",
        [
            "$alice_tokens",
            {"encoding": "base64", "dataSlice": {"offset": 64, "length": 8}, **CONFIRMED},
        ],
        "watched_transfer",
        1,
    ),
    WatchCase("too long for base58", "accountSubscribe", ["$alice_tokens", CONFIRMED], "watched_transfer", 1),
    WatchCase(
        "by mint",
        "programSubscribe",
        [
            "$token",
            {
                "encoding": "jsonParsed",
                "filters": [
                    {"memcmp": {"offset": 0, "bytes": "$mint"}},
                    {"memcmp": {"offset": 32, "bytes": "$bob"}},
                ],
                **CONFIRMED,
            },
        ],
        "watched_transfer",
        1,
    ),
    WatchCase(
        "mentioned", "logsSubscribe", [{"mentions": ["$alice_tokens"]}, CONFIRMED], "watched_transfer", 1
    ),
    WatchCase(
        "mentioned, processed",
        "logsSubscribe",
        [{"mentions": ["$alice_tokens"]}, PROCESSED],
        "watched_transfer",
        1,
    ),
    WatchCase("slots", "slotSubscribe", None, "", 1),
    WatchCase("roots", "rootSubscribe", None, "", 1),
)


def said(method: str, *params: Any, bare: bool = False) -> dict[str, Any]:
    """Return a request; `bare` leaves the parameters out."""
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method}
    return request if bare else {**request, "params": list(params)}


def talk(name: str, *messages: Any) -> TalkCase:
    """Return a case of messages that each get a reply."""
    return TalkCase(name, messages)


TALK_CASES: Final = (
    talk("unknown method", said("noSubscribe")),
    talk("method of http", said("getHealth")),
    talk("no json", "{"),
    talk("old version", {"jsonrpc": "1.0", "id": 1, "method": "slotSubscribe"}),
    talk("no version", {"id": 1, "method": "slotSubscribe"}),
    talk("unknown subscription", said("slotUnsubscribe", 4_000_000_000)),
    talk("unsubscribe without one", said("slotUnsubscribe")),
    talk("unsubscribe without params", said("slotUnsubscribe", bare=True)),
    talk("unsubscribe a text", said("slotUnsubscribe", "1")),
    talk("unsubscribe two", said("slotUnsubscribe", 1, 2)),
    talk("unsubscribe negative", said("accountUnsubscribe", -1)),
    talk("account not base58", said("accountSubscribe", NOT_BASE58)),
    talk("account too short", said("accountSubscribe", "abc")),
    talk("account a number", said("accountSubscribe", 5)),
    talk("account missing", said("accountSubscribe")),
    talk("account without params", said("accountSubscribe", bare=True)),
    talk("account with three params", said("accountSubscribe", "$alice", {}, 3)),
    talk("account with a text", said("accountSubscribe", "$alice", "base64")),
    talk("account in hex", said("accountSubscribe", "$alice", {"encoding": "hex"})),
    talk("account with a bad slice", said("accountSubscribe", "$alice", {"dataSlice": {"offset": 1}})),
    talk("signature not base58", said("signatureSubscribe", NOT_BASE58)),
    talk("signature too short", said("signatureSubscribe", "$alice")),
    talk("signature a number", said("signatureSubscribe", 5)),
    talk("signature missing", said("signatureSubscribe")),
    talk(
        "signature flag a text",
        said("signatureSubscribe", "$sig.transfer", {"enableReceivedNotification": "x"}),
    ),
    talk("logs of nothing", said("logsSubscribe")),
    talk("logs of a word", said("logsSubscribe", "some")),
    talk("logs of two", said("logsSubscribe", {"mentions": ["$alice", "$bob"]})),
    talk("logs of none", said("logsSubscribe", {"mentions": []})),
    talk("logs of a bad address", said("logsSubscribe", {"mentions": ["abc"]})),
    talk("logs of a text", said("logsSubscribe", {"mentions": "$alice"})),
    talk("logs of a number", said("logsSubscribe", 5)),
    talk("logs of a bad key", said("logsSubscribe", {"mention": ["$alice"]})),
    talk("program too short", said("programSubscribe", "abc")),
    talk("program with five filters", said("programSubscribe", "$token", {"filters": [{"dataSize": 1}] * 5})),
    talk("program with an unknown filter", said("programSubscribe", "$token", {"filters": [{"colour": 1}]})),
    talk(
        "program with a bad memcmp",
        said("programSubscribe", "$token", {"filters": [{"memcmp": {"offset": 0, "bytes": "0OIl"}}]}),
    ),
    talk("slot with params", said("slotSubscribe", 1)),
    talk("root with params", said("rootSubscribe", 1)),
)
