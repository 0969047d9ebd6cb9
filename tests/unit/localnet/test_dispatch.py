import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deal_localnet import Localnet
from deal_localnet.dispatch import METHODS
from tests.unit.localnet.support import Driver, Refused

PARSE_ERROR = {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None}
INVALID = {"code": -32600, "message": "Invalid request"}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"5",
        b'"x"',
        b"null",
        b"[1,2]",
        b"[" * 5_000,
        b'{"jsonrpc":"2.0","id":1.5,"method":"getHealth"}',
        b'{"jsonrpc":"2.0","id":-1,"method":"getHealth"}',
        b'{"jsonrpc":"2.0","id":{},"method":"getHealth"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"getHealth"},3]',
    ],
)
async def test_what_is_no_request_is_a_parse_error(driver: Driver, body: bytes) -> None:
    assert await driver.raw(body) == PARSE_ERROR


@pytest.mark.parametrize(
    ("request_body", "reply"),
    [
        ({}, {"jsonrpc": "2.0", "error": INVALID, "id": None}),
        ({"jsonrpc": "2.0", "id": 1}, {"jsonrpc": "2.0", "error": INVALID, "id": 1}),
        ({"jsonrpc": "1.0", "id": 1, "method": "getSlot"}, {"jsonrpc": "2.0", "error": INVALID, "id": 1}),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, {"jsonrpc": "2.0", "error": INVALID, "id": 1}),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "getHealth", "params": "x"},
            {"jsonrpc": "2.0", "error": INVALID, "id": 1},
        ),
        (
            {"id": 1, "method": "getSlot"},
            {"error": {"code": -32600, "message": "Unsupported JSON-RPC protocol version"}, "id": 1},
        ),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "foo"},
            {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 1},
        ),
        (
            {"jsonrpc": "2.0", "id": None, "method": "getHealth"},
            {"jsonrpc": "2.0", "result": "ok", "id": None},
        ),
        (
            {"jsonrpc": "2.0", "id": "a", "method": "getHealth", "params": []},
            {"jsonrpc": "2.0", "result": "ok", "id": "a"},
        ),
    ],
)
async def test_envelopes_are_judged_as_agave_does(
    driver: Driver, request_body: dict[str, object], reply: dict[str, object]
) -> None:
    assert await driver.raw(orjson.dumps(request_body)) == reply


async def test_notifications_get_no_reply(driver: Driver) -> None:
    assert await driver.raw(b'{"jsonrpc":"2.0","method":"getSlot"}') is None
    assert await driver.raw(b'[{"jsonrpc":"2.0","method":"getSlot"}]') is None
    assert await driver.raw(b"[]") is None


async def test_a_batch_answers_in_order_and_one_fault_spares_the_rest(driver: Driver) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "getHealth"},
        {"jsonrpc": "2.0", "id": 2, "method": "getBalance", "params": ["abc"]},
        {"jsonrpc": "2.0", "method": "getSlot"},
        {"jsonrpc": "2.0", "id": 4, "method": "getTransactionCount"},
    ]
    replies = await driver.raw(orjson.dumps(batch))
    assert [reply["id"] for reply in replies] == [1, 2, 4]
    assert replies[1]["error"] == {"code": -32602, "message": "Invalid param: WrongSize"}


async def test_a_body_over_fifty_kib_is_refused(driver: Driver) -> None:
    status, _, body = await driver.localnet.handle_http(b" " * (50 * 1024 + 1))
    assert (status, body) == (413, b"request body size exceeds allowed maximum")
    status, _, body = await driver.localnet.handle_http(b" " * (50 * 1024))
    assert status == 200


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("getBalance", [], "`params` should have at least 1 argument(s)"),
        ("getBalance", ["abc"], "Invalid param: WrongSize"),
        ("getBalance", ["0OIl"], "Invalid param: Invalid"),
        ("getBalance", [5], "Invalid params: invalid type: integer `5`, expected a string."),
        (
            "getBalance",
            ["1" * 32, 3],
            "Invalid params: invalid type: integer `3`, expected struct RpcContextConfig.",
        ),
        ("getBalance", ["1" * 32, {}, 4], "Invalid parameters: Expected from 1 to 2 parameters."),
        ("getSlot", ["x"], 'Invalid params: invalid type: string "x", expected struct RpcContextConfig.'),
        ("getSlot", [{"minContextSlot": "a"}], 'Invalid params: invalid type: string "a", expected u64.'),
        ("getMultipleAccounts", ["x"], 'Invalid params: invalid type: string "x", expected a sequence.'),
        ("getMultipleAccounts", [["1" * 32] * 101], "Too many inputs provided; max 100"),
        (
            "getMinimumBalanceForRentExemption",
            [-1],
            "Invalid params: invalid value: integer `-1`, expected usize.",
        ),
        (
            "getAccountInfo",
            ["1" * 32, {"dataSlice": {"offset": 0}}],
            "Invalid params: missing field `length`.",
        ),
        (
            "getAccountInfo",
            ["1" * 32, {"encoding": "foo"}],
            "Invalid params: unknown variant `foo`, expected one of "
            "`binary`, `base58`, `base64`, `jsonParsed`, `base64+zstd`.",
        ),
        ("getSignatureStatuses", [["abc"]], "Invalid param: WrongSize"),
        ("getSignatureStatuses", [["1" * 64] * 257], "Too many inputs provided; max 256"),
        (
            "getTransaction",
            ["1" * 64, {"commitment": "processed"}],
            "Method does not support commitment below `confirmed`",
        ),
        (
            "getTransaction",
            ["1" * 64, "foo"],
            "Invalid params: data did not match any variant of untagged enum RpcEncodingConfigWrapper.",
        ),
        ("getSignaturesForAddress", ["1" * 32, {"limit": 0}], "Invalid limit; max 1000"),
        ("getSignaturesForAddress", ["1" * 32, {"limit": 1001}], "Invalid limit; max 1000"),
        ("isBlockhashValid", ["abc"], "WrongSize"),
        (
            "getProgramAccounts",
            ["1" * 32, {"filters": [{"dataSize": 1}] * 5}],
            "Too many filters provided; max 4",
        ),
        (
            "getProgramAccounts",
            ["1" * 32, {"filters": [{"foo": 1}]}],
            "Invalid params: unknown variant `foo`, "
            "expected one of `dataSize`, `memcmp`, `tokenAccountState`.",
        ),
        (
            "getProgramAccounts",
            ["1" * 32, {"filters": [{"memcmp": {"offset": 0, "bytes": "!!"}}]}],
            "Invalid param: Base58DecodeError(InvalidCharacter { character: '!', index: 0 })",
        ),
        (
            "getProgramAccounts",
            ["1" * 32, {"filters": [{"memcmp": {"offset": 0, "bytes": "1" * 200}}]}],
            "Invalid param: DataTooLarge",
        ),
        ("getTokenAccountBalance", ["1" * 32], "Invalid param: not a Token account"),
        ("getTokenSupply", ["1" * 32], "Invalid param: not a Token mint"),
        ("getTokenLargestAccounts", ["1" * 32], "Invalid param: Token mint could not be unpacked"),
        (
            "getTokenAccountsByOwner",
            ["1" * 32, {}],
            "Invalid params: invalid value: map, expected map with a single key.",
        ),
        (
            "getTokenAccountsByOwner",
            ["1" * 32, {"programId": "1" * 32}],
            "Invalid param: unrecognized Token program id",
        ),
        ("getFeeForMessage", ["abc"], "invalid base64 encoding: InvalidPadding"),
        ("getFeeForMessage", ["!!!"], "invalid base64 encoding: InvalidByte(0, 33)"),
        ("getRecentPrioritizationFees", [["1" * 32] * 129], "Too many inputs provided; max 128"),
        ("sendTransaction", ["!!", {"encoding": "base64"}], "invalid base64 encoding: InvalidByte(0, 33)"),
        (
            "sendTransaction",
            ["0O", {"encoding": "base58"}],
            "invalid base58 encoding: InvalidCharacter { character: '0', index: 0 }",
        ),
        (
            "sendTransaction",
            ["AAAA", {"encoding": "jsonParsed"}],
            "unsupported encoding: jsonParsed. Supported encodings: base58, base64",
        ),
        (
            "sendTransaction",
            ["A" * 3_000, {"encoding": "base64"}],
            "base64 encoded solana_transaction::versioned::VersionedTransaction too large: "
            "3000 bytes (max: encoded/raw 1644/1232)",
        ),
        (
            "simulateTransaction",
            ["AAAA", {"encoding": "base64"}],
            "failed to deserialize solana_transaction::versioned::VersionedTransaction: "
            "io error: failed to fill whole buffer",
        ),
    ],
)
async def test_bad_parameters_are_refused_in_agaves_words(
    driver: Driver, method: str, params: list[object], message: str
) -> None:
    with pytest.raises(Refused) as refused:
        await driver.call(method, *params)
    assert refused.value.code == -32602
    assert refused.value.message == message


async def test_a_lagging_bank_says_so(driver: Driver) -> None:
    slot = await driver.call("getSlot")
    with pytest.raises(Refused, match="Minimum context slot") as refused:
        await driver.call("getSlot", {"minContextSlot": 10_000})
    assert refused.value.code == -32016
    assert refused.value.data == {"contextSlot": slot}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(method=st.sampled_from(sorted(METHODS)), params=JSON)
async def test_no_parameters_upset_the_node(fuzzed: Localnet, method: str, params: object) -> None:
    body = orjson.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, option=orjson.OPT_NON_STR_KEYS
    )
    reply = await fuzzed.handle(body)
    assert reply is not None
    assert orjson.loads(reply).get("error", {}).get("code") != -32603
