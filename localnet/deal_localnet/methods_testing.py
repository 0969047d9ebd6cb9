"""The `localnet_*` methods: what a test steers a chain with, for clients that are not written in Python.

They answer only where `LocalnetConfig.test_methods` is on; elsewhere they do not exist.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .account_files import account_of_json
from .errors import invalid_params, method_not_found
from .faults import Fault, FaultKind, FaultScript
from .params import Config, pubkey, sequence, signature, string, struct, unsigned, variant
from .registry import MethodTable, Node

if TYPE_CHECKING:
    from .localnet import Localnet

PREFIX: Final = "localnet_"
MAX_ADVANCED_SLOTS: Final = 100_000
MAX_HELD_SNAPSHOTS: Final = 100
TRAVELS: Final = ("absoluteSlot", "absoluteEpoch", "absoluteTimestamp", "seconds")
FAULT_KINDS: Final = tuple(kind.value for kind in FaultKind)
FAULT_FIELDS: Final = frozenset({"kind", "methods", "skip", "times", "seconds", "slots"})

table: Final = MethodTable()

Steer = Callable[["Localnet", list[Any]], Any]


def _method(name: str, required: int = 0, maximum: int = 0) -> Callable[[Steer], Steer]:
    """Enter what steers a localnet under its name, where a value that it refuses is an invalid parameter."""

    def enter(steer: Steer) -> Steer:
        def handler(node: Node, params: list[Any]) -> Any:
            if node.localnet is None:
                raise method_not_found()
            try:
                return steer(node.localnet, params)
            except ValueError as error:
                raise invalid_params(f"Invalid params: {error}") from None

        table.method(PREFIX + name, required, maximum)(handler)
        return steer

    return enter


@_method("advanceSlots", 0, 1)
def advance_slots(localnet: "Localnet", params: list[Any]) -> int:
    """Close slots and return the one that is open then."""
    count = 1 if params[0] is None else unsigned(params[0])
    if count > MAX_ADVANCED_SLOTS:
        raise ValueError(f"too many slots at once; max {MAX_ADVANCED_SLOTS}")
    return localnet.advance_slots(count)


@_method("timeTravel", 1, 1)
def time_travel(localnet: "Localnet", params: list[Any]) -> dict[str, int]:
    """Go to a later slot, epoch or time, and return where the chain stands then."""
    config = struct(params[0], "TimeTravelConfig")
    if len(config) != 1 or next(iter(config)) not in TRAVELS:
        raise ValueError(f"name exactly one of {', '.join(TRAVELS)}")
    name, value = next(iter(config.items()))
    amount = unsigned(value)
    if name == "absoluteSlot":
        localnet.warp_to_slot(amount)
    elif name == "absoluteEpoch":
        localnet.warp_to_epoch(amount)
    elif name == "absoluteTimestamp":
        localnet.advance_time(amount - localnet.bank.chain.open.time)
    else:
        localnet.advance_time(amount)
    block = localnet.bank.chain.open
    epoch = block.slot // localnet.bank.slots_per_epoch
    return {"absoluteSlot": block.slot, "epoch": epoch, "unixTimestamp": block.time}


@_method("pause")
def pause(localnet: "Localnet", params: list[Any]) -> bool:
    """Hold the slot clock."""
    localnet.pause()
    return True


@_method("resume")
def resume(localnet: "Localnet", params: list[Any]) -> bool:
    """Let the slot clock run again."""
    localnet.resume()
    return True


@_method("setAccount", 1, 2)
def set_account(localnet: "Localnet", params: list[Any]) -> bool:
    """Overwrite an account, all of it or the fields that are named; null deletes it."""
    address = pubkey(params[0])
    if params[1] is None:
        localnet.set_account(address, None)
        return True
    fields = struct(params[1], "UiAccount")
    localnet.set_account(address, account_of_json(fields, localnet.bank.accounts.current(address)))
    return True


@_method("snapshot")
def snapshot(localnet: "Localnet", params: list[Any]) -> int:
    """Remember the chain as it is now, and return the number to restore it by."""
    if len(localnet.held_snapshots) >= MAX_HELD_SNAPSHOTS:
        raise ValueError(f"too many snapshots are held; max {MAX_HELD_SNAPSHOTS}")
    number = max(localnet.held_snapshots, default=0) + 1
    localnet.held_snapshots[number] = localnet.snapshot()
    return number


@_method("restore", 1, 1)
def restore(localnet: "Localnet", params: list[Any]) -> int:
    """Put a snapshot back and return the slot that is open then."""
    number = unsigned(params[0])
    held = localnet.held_snapshots.get(number)
    if held is None:
        raise ValueError(f"there is no snapshot {number}")
    localnet.restore(held)
    return held.slot


@_method("forget", 1, 1)
def forget(localnet: "Localnet", params: list[Any]) -> bool:
    """Let go of a snapshot, and tell whether there was one."""
    return localnet.held_snapshots.pop(unsigned(params[0]), None) is not None


@_method("rollback", 1, 1)
def rollback(localnet: "Localnet", params: list[Any]) -> list[str]:
    """Drop the slots above one, and return the transactions that vanished."""
    return localnet.rollback(unsigned(params[0]))


@_method("landAgain", 0, 1)
def land_again(localnet: "Localnet", params: list[Any]) -> list[str]:
    """Land rolled back transactions once more, and return those that did."""
    if params[0] is None:
        return localnet.land_again()
    return localnet.land_again([signature(value) for value in sequence(params[0])])


@_method("setLag", 1, 1)
def set_lag(localnet: "Localnet", params: list[Any]) -> bool:
    """Answer from so many slots ago; 0 ends it."""
    localnet.endpoint.lag_slots = unsigned(params[0])
    return True


@_method("setFaults", 1, 2)
def set_faults(localnet: "Localnet", params: list[Any]) -> bool:
    """Plan faults for the requests to come; null ends them."""
    if params[0] is None:
        localnet.endpoint.faults = None
        return True
    seed = 0 if params[1] is None else unsigned(params[1])
    localnet.endpoint.faults = FaultScript([_fault(value) for value in sequence(params[0])], seed=seed)
    return True


@_method("drawFaults", 1, 1)
def draw_faults(localnet: "Localnet", params: list[Any]) -> list[str]:
    """Plan faults drawn from a seed, and return their kinds in order."""
    config = struct(params[0], "DrawFaultsConfig")
    share = config.get("share", 0.1)
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise ValueError("share must be a number")
    script = FaultScript.drawn(
        unsigned(config.get("seed", 0)), requests=unsigned(config.get("requests"), "u32", 2**20), share=share
    )
    localnet.endpoint.faults = script
    return [fault.kind.value for fault in script.planned]


def _fault(value: Any) -> Fault:
    fields: Config = struct(value, "Fault")
    unknown = set(fields) - FAULT_FIELDS
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
    numbers = {name: fields[name] for name in ("skip", "times", "seconds", "slots") if name in fields}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float) if name == "seconds" else int):
            raise ValueError(f"{name} must be a number")
    kind = FaultKind(variant(fields.get("kind"), FAULT_KINDS))
    methods = frozenset(string(method) for method in sequence(fields.get("methods", [])))
    return Fault(kind, methods, **numbers)
