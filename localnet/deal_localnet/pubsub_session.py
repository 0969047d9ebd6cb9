"""One subscriber's connection: its requests, its subscriptions and the end of them."""

from collections.abc import Callable
from typing import Any, Final

import orjson
from solders.pubkey import Pubkey

from .account_filters import Accepts, parse_filters, single
from .dispatch import PARSE_FAILURE, envelope_fault, parse
from .errors import RpcError, invalid_params, method_not_found
from .params import (
    ACCOUNT_ENCODINGS,
    arguments,
    commitment,
    data_slice,
    encoding,
    flag,
    history_level,
    pubkey,
    sequence,
    signature,
    struct,
    unsigned,
    variant,
    wrong_type,
)
from .pubsub import (
    ALL_LOGS_TOPIC,
    BLOCK_TOPIC,
    ROOT_TOPIC,
    SLOT_TOPIC,
    SLOTS_UPDATES_TOPIC,
    VOTE_TOPIC,
    Broker,
    Subscription,
    Topic,
)
from .registry import Node
from .render_blocks import BlockShape, block_update
from .slots import Block, Commitment

TIDY_SUBSCRIPTIONS: Final = 1_000
LOG_FILTERS: Final = ("all", "allWithVotes", "mentions")
BLOCK_FILTERS: Final = ("all", "mentionsAccountOrProgram")

Send = Callable[[str], None]
Subscribe = Callable[["SubscriptionSession", list[Any]], int]


class SubscriptionSession:
    """Speaks PubSub over any channel that takes text.

    `receive` takes what a client sends; replies and notifications go out through `send`, in order.
    """

    def __init__(self, node: Node, broker: Broker, send: Send) -> None:
        self._node = node
        self._broker = broker
        self._send = send
        self._own: set[int] = set()
        self._untold: list[int] = []
        self._tidy_at = TIDY_SUBSCRIPTIONS
        self._closed = False

    async def receive(self, text: str | bytes) -> None:
        """Answer one message; what a new subscription can be told at once follows its reply."""
        request = parse(text.encode() if isinstance(text, str) else text)
        if request is None:
            self._deliver(PARSE_FAILURE.decode())
            return
        items = request if isinstance(request, list) else [request]
        replies = [reply for item in items if (reply := self._answer(item)) is not None]
        if replies:
            self._deliver(orjson.dumps(replies if isinstance(request, list) else replies[0]).decode())
        self._tell_known()

    def close(self) -> None:
        """End all subscriptions."""
        self._closed = True
        for identifier in self._own:
            self._broker.remove(identifier)
        self._own.clear()

    def _deliver(self, text: str) -> None:
        if not self._closed:
            self._send(text)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        fault = envelope_fault(request)
        if fault is not None:
            return fault
        reply: dict[str, Any]
        try:
            reply = {"result": self._call(request["method"], request.get("params"))}
        except RpcError as error:
            reply = {"error": error.as_object()}
        # Clients keep their connection open with a notification, `ping`, that wants no reply.
        return {"jsonrpc": "2.0", **reply, "id": request["id"]} if "id" in request else None

    def _call(self, method: str, params: Any) -> int | bool:
        if method in UNSUBSCRIBES:
            return self._unsubscribe(params)
        known = SUBSCRIBES.get(method)
        if known is None:
            raise method_not_found()
        subscribe, required, maximum = known
        return subscribe(self, arguments(params, required, maximum))

    def _unsubscribe(self, params: Any) -> bool:
        identifier = unsigned(arguments(params, 1, 1)[0])
        if identifier not in self._own or identifier not in self._broker:
            raise invalid_params("Invalid subscription id.")
        self._own.discard(identifier)
        self._broker.remove(identifier)
        return True

    def _enter(self, method: str, topic: Topic, level: Commitment, **wishes: Any) -> int:
        identifier = self._broker.next_identifier()
        config = wishes.pop("config", {})
        self._broker.add(Subscription(identifier, method, topic, level, self._deliver, config, **wishes))
        if len(self._own) >= self._tidy_at:
            self._own = {own for own in self._own if own in self._broker}
            self._tidy_at = 2 * len(self._own) + TIDY_SUBSCRIPTIONS
        self._own.add(identifier)
        self._untold.append(identifier)
        return identifier

    def _tell_known(self) -> None:
        # What happens from now on is told as it happens; only what is new here may have missed something.
        untold, self._untold = self._untold, []
        for subscription, record in self._broker.known_signatures(untold):
            self._broker.tell_signature(subscription, record)

    def subscribe_signature(self, params: list[Any]) -> int:
        """Subscribe to a transaction's outcome."""
        text = _checked(signature, params[0], "signature")
        config = struct(params[1], "RpcSignatureSubscribeConfig")
        received = flag(config, "enableReceivedNotification")
        return self._enter(
            "signatureNotification", ("signature", text), commitment(config), wants_received=received
        )

    def subscribe_account(self, params: list[Any]) -> int:
        """Subscribe to every change of an account."""
        key = _checked(pubkey, params[0], "pubkey")
        config = _account_config(params[1], "RpcAccountInfoConfig")
        return self._enter("accountNotification", ("account", key), commitment(config), config=config)

    def subscribe_program(self, params: list[Any]) -> int:
        """Subscribe to every change of the accounts that a program owns."""
        key = _checked(pubkey, params[0], "pubkey")
        config = _account_config(params[1], "RpcProgramAccountsConfig")
        accepts = _filters(config)
        return self._enter(
            "programNotification", ("program", key), commitment(config), config=config, accepts=accepts
        )

    def subscribe_logs(self, params: list[Any]) -> int:
        """Subscribe to the logs of all transactions, or of those that mention one address."""
        level = commitment(struct(params[1], "RpcTransactionLogsConfig"))
        return self._enter("logsNotification", _logs_topic(params[0]), level)

    def subscribe_slot(self, params: list[Any]) -> int:
        """Subscribe to new slots."""
        return self._enter("slotNotification", SLOT_TOPIC, Commitment.PROCESSED)

    def subscribe_root(self, params: list[Any]) -> int:
        """Subscribe to finalized slots."""
        return self._enter("rootNotification", ROOT_TOPIC, Commitment.PROCESSED)

    def subscribe_slots_updates(self, params: list[Any]) -> int:
        """Subscribe to the progress of every slot."""
        return self._enter("slotsUpdatesNotification", SLOTS_UPDATES_TOPIC, Commitment.PROCESSED)

    def subscribe_block(self, params: list[Any]) -> int:
        """Subscribe to the blocks that become confirmed or final."""
        mentioned = _mentioned(params[0])
        config = struct(params[1], "RpcBlockSubscribeConfig")
        shape, level = BlockShape.subscribed(config), history_level(config)
        chain = self._node.bank.chain

        def news(block: Block) -> dict[str, Any] | None:
            return block_update(chain, block, shape, mentioned)

        return self._enter("blockNotification", BLOCK_TOPIC, level, block_news=news)

    def subscribe_vote(self, params: list[Any]) -> int:
        """Subscribe to votes, of which a chain of one node has none."""
        return self._enter("voteNotification", VOTE_TOPIC, Commitment.PROCESSED)


def _checked(read: Callable[[Any], Any], value: Any, name: str) -> Any:
    if not isinstance(value, str):
        raise wrong_type(value, "a string")
    try:
        return read(value)
    except RpcError:
        raise invalid_params(f"Invalid Request: Invalid {name} provided") from None


def _account_config(value: Any, name: str) -> dict[str, Any]:
    config = struct(value, name)
    encoding(config, ACCOUNT_ENCODINGS, "binary")
    data_slice(config)
    return config


def _filters(config: dict[str, Any]) -> Accepts:
    try:
        return parse_filters(config)
    except RpcError as error:
        message = error.message.removeprefix("Invalid params: ")
        raise invalid_params(f"Invalid params: {message}") from None


def _logs_topic(value: Any) -> Topic:
    if value in ("all", "allWithVotes"):
        return ALL_LOGS_TOPIC
    name, argument = single(value)
    variant(name, LOG_FILTERS)
    mentions = sequence(argument)
    if len(mentions) != 1:
        raise invalid_params("Invalid Request: Only 1 address supported")
    return ("logs", _checked(pubkey, mentions[0], "mentions"))


def _mentioned(value: Any) -> Pubkey | None:
    """Read the address that a block must mention; None when every block is wanted."""
    name, argument = single(value)
    if variant(name, BLOCK_FILTERS) == "all":
        return None
    key: Pubkey = _checked(pubkey, argument, "mentions_account_or_program")
    return key


SUBSCRIBES: Final[dict[str, tuple[Subscribe, int, int]]] = {
    "signatureSubscribe": (SubscriptionSession.subscribe_signature, 1, 2),
    "accountSubscribe": (SubscriptionSession.subscribe_account, 1, 2),
    "programSubscribe": (SubscriptionSession.subscribe_program, 1, 2),
    "logsSubscribe": (SubscriptionSession.subscribe_logs, 1, 2),
    "slotSubscribe": (SubscriptionSession.subscribe_slot, 0, 0),
    "rootSubscribe": (SubscriptionSession.subscribe_root, 0, 0),
    "slotsUpdatesSubscribe": (SubscriptionSession.subscribe_slots_updates, 0, 0),
    "blockSubscribe": (SubscriptionSession.subscribe_block, 1, 2),
    "voteSubscribe": (SubscriptionSession.subscribe_vote, 0, 0),
}
UNSUBSCRIBES: Final = frozenset(name.replace("Subscribe", "Unsubscribe") for name in SUBSCRIBES)
