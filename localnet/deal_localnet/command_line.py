"""The flags of the command, named like those of solana-test-validator, and what they ask for.

Flags of its that concern what a single embedded chain has none of are taken and named on stderr; those that
would need another cluster are refused.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from solders.account import Account
from solders.pubkey import Pubkey

from .account_files import NamedAccount, read_account_directory, read_account_file, read_address, read_program
from .addresses import SYSTEM_PROGRAM
from .config import (
    DEFAULT_FAUCET_LAMPORTS,
    DEFAULT_FINALITY_SLOTS,
    DEFAULT_SLOT_SECONDS,
    DEFAULT_SLOTS_PER_EPOCH,
    LocalnetConfig,
)
from .live_accounts import MAX_U64
from .server import DEFAULT_RPC_PORT
from .setup_errors import OptionError

DEFAULT_HOST: Final = "127.0.0.1"
LAMPORTS_PER_SOL: Final = 1_000_000_000
MINT_SOL: Final = 500_000_000
TICKS_PER_SECOND: Final = 160
"""Solana's: 64 ticks make a slot of 0.4 s."""
WITHOUT_MEANING: Final = {
    "--account-index": 1,
    "--dynamic-port-range": 1,
    "--faucet-per-request-sol-cap": 1,
    "--faucet-per-time-sol-cap": 1,
    "--faucet-port": 1,
    "--faucet-time-slice-secs": 1,
    "--geyser-plugin-config": 1,
    "--gossip-host": 1,
    "--gossip-port": 1,
    "--limit-ledger-size": 1,
    "--log": 0,
    "--rpc-pubsub-enable-block-subscription": 0,
    "--rpc-pubsub-enable-vote-subscription": 0,
    "--rpc-pubsub-max-active-subscriptions": 1,
    "--rpc-pubsub-notification-threads": 1,
    "--rpc-pubsub-queue-capacity-bytes": 1,
    "--rpc-pubsub-queue-capacity-items": 1,
    "--rpc-pubsub-worker-threads": 1,
}
"""Flags that a script for solana-test-validator may hold, and whether a value follows each."""
FROM_ANOTHER_CLUSTER: Final = (
    *("--clone", "-c", "--clone-feature-set", "--clone-upgradeable-program"),
    *("--deep-clone-address-lookup-table", "--maybe-clone", "--url", "-u"),
)
CLUSTER_REFUSAL: Final = (
    "this chain asks no other cluster; save the account with"
    " `solana account ADDRESS --output json --output-file FILE` and name it with --account"
)


class Invocation(NamedTuple):
    """Keeps what a command line asks for."""

    config: LocalnetConfig
    host: str
    rpc_port: int
    warp_slot: int | None
    is_quiet: bool
    notes: tuple[str, ...]
    """What the user should hear of, a line each."""
    genesis_flags: tuple[str, ...]
    """The given flags that only a chain's beginning heeds."""


class _Refused(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        parser.error(f"{rest[2]}: {CLUSTER_REFUSAL}")


class RaisingParser(argparse.ArgumentParser):
    """Raises `OptionError` for wrong usage, where another command line shows it."""

    def error(self, message: str) -> NoReturn:
        """Raise."""
        raise OptionError(message)


def parser(
    parser_class: type[argparse.ArgumentParser] = argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Return the parser of all flags; wrong usage is shown and exits with 2, if the class does not raise."""
    description = "An embedded Solana validator, with the flags of solana-test-validator."
    found = parser_class("deal_localnet", description=description, allow_abbrev=False)
    _add_serving(found)
    _add_chain(found)
    _add_genesis(found)
    for flag, has_value in WITHOUT_MEANING.items():
        if has_value:
            found.add_argument(flag, action="append", help=argparse.SUPPRESS)
        else:
            found.add_argument(flag, action="append_const", const="", help=argparse.SUPPRESS)
    found.add_argument(*FROM_ANOTHER_CLUSTER, nargs="?", action=_Refused, help=argparse.SUPPRESS)
    return found


def _add_serving(found: argparse.ArgumentParser) -> None:
    found.add_argument("--bind-address", "--host", dest="host", default=DEFAULT_HOST, metavar="HOST")
    found.add_argument(
        "--rpc-port", type=int, default=DEFAULT_RPC_PORT, help="the WebSocket is on the next; 0 picks a pair"
    )
    found.add_argument("--quiet", "-q", action="store_true", help="print nothing but the addresses")
    found.add_argument(
        "--test-methods", action="store_true", help="answer the localnet_* methods, which steer the chain"
    )


def _add_chain(found: argparse.ArgumentParser) -> None:
    found.add_argument("--ledger", "-l", type=Path, metavar="DIR", help="keep the chain between runs")
    found.add_argument("--reset", "-r", action="store_true", help="begin the ledger anew")
    found.add_argument("--snapshot", type=Path, metavar="FILE", help="go on from a saved snapshot")
    length = found.add_mutually_exclusive_group()
    length.add_argument("--slot-milliseconds", type=float, metavar="MS", help="how long a slot takes; 400")
    length.add_argument("--ticks-per-slot", type=int, metavar="TICKS", help="the same, 6.25 ms each; 64")
    found.add_argument("--finality-slots", type=int, default=DEFAULT_FINALITY_SLOTS, metavar="SLOTS")
    found.add_argument("--max-lag-slots", type=int, default=0, metavar="SLOTS")
    found.add_argument("--warp-slot", "-w", type=int, metavar="SLOT", help="go on with a later slot")


def _add_genesis(found: argparse.ArgumentParser) -> None:
    for flag, metavar, meaning in (
        ("--account", ("ADDRESS", "FILE"), "an account's JSON file; - for the address in it"),
        ("--bpf-program", ("ADDRESS_OR_KEYPAIR", "FILE.so"), "a program's ELF file"),
    ):
        found.add_argument(flag, nargs=2, action="append", default=[], metavar=metavar, help=meaning)
    found.add_argument(
        "--account-dir", type=Path, action="append", nargs="+", default=[], metavar="DIR", help="all in it"
    )
    found.add_argument("--faucet-sol", type=float, metavar="SOL", help="what the faucet begins with")
    found.add_argument("--mint", metavar="PUBKEY", help=f"an address that begins with {MINT_SOL:,} SOL")
    found.add_argument("--slots-per-epoch", type=int, metavar="SLOTS")


def read_invocation(options: argparse.Namespace, programs: Sequence[tuple[Pubkey, bytes]] = ()) -> Invocation:
    """Read the files that parsed flags name, and say what is to be started.

    Args:
        options: what `parser` made of the flags.
        programs: programs that are there besides those of the flags.

    Raises:
        SetupError: when a file or a value cannot be used.
    """
    accounts = [read_account_file(found_file(name), address) for address, name in options.account]
    for directories in options.account_dir:
        accounts += [named for directory in directories for named in read_account_directory(directory)]
    if options.mint is not None:
        minted = Account(MINT_SOL * LAMPORTS_PER_SOL, b"", SYSTEM_PROGRAM, False, MAX_U64)
        accounts.append(NamedAccount(read_address(options.mint), minted))
    given = [read_program(address, Path(name)) for address, name in options.bpf_program]
    try:
        config = _config(options, tuple(accounts), (*programs, *given))
    except ValueError as error:
        raise OptionError(str(error)) from None
    if not 0 <= options.rpc_port < 2**16 - 1:
        raise OptionError(f"--rpc-port: {options.rpc_port} leaves no room for the WebSocket on the next port")
    return Invocation(
        config=config,
        host=options.host,
        rpc_port=options.rpc_port,
        warp_slot=options.warp_slot,
        is_quiet=options.quiet,
        notes=tuple(_notes(options)),
        genesis_flags=tuple(_genesis_flags(options)),
    )


def unheeded(invocation: Invocation, *, is_resumed: bool) -> str | None:
    """Say which flags a chain that goes on from before does not heed; None when there are none."""
    if not is_resumed or not invocation.genesis_flags:
        return None
    return (
        f"{', '.join(invocation.genesis_flags)}: not heeded, because the chain goes on; --reset begins anew"
    )


def _config(
    options: argparse.Namespace,
    accounts: tuple[tuple[Pubkey, Account], ...],
    programs: tuple[tuple[Pubkey, bytes], ...],
) -> LocalnetConfig:
    return LocalnetConfig(
        slot_seconds=_slot_seconds(options),
        finality_slots=options.finality_slots,
        ledger_directory=options.ledger,
        reset_ledger=options.reset,
        snapshot_file=options.snapshot,
        accounts=accounts,
        programs=programs,
        faucet_lamports=_faucet_lamports(options.faucet_sol),
        slots_per_epoch=(
            DEFAULT_SLOTS_PER_EPOCH if options.slots_per_epoch is None else options.slots_per_epoch
        ),
        max_lag_slots=options.max_lag_slots,
        test_methods=options.test_methods,
    )


def _faucet_lamports(sol: float | None) -> int:
    if sol is None:
        return DEFAULT_FAUCET_LAMPORTS
    if not 0 <= sol * LAMPORTS_PER_SOL < MAX_U64:
        raise ValueError(f"--faucet-sol: {sol} is out of range")
    return int(sol * LAMPORTS_PER_SOL)


def _slot_seconds(options: argparse.Namespace) -> float:
    if options.ticks_per_slot is not None:
        return float(options.ticks_per_slot / TICKS_PER_SECOND)
    if options.slot_milliseconds is not None:
        return float(options.slot_milliseconds / 1_000)
    return DEFAULT_SLOT_SECONDS


def found_file(name: str) -> Path:
    """Return an account's file, looked for here and then in tests/fixtures, as solana-test-validator does."""
    path = Path(name)
    fixture = Path("tests/fixtures") / name
    return fixture if not path.exists() and not path.is_absolute() and fixture.exists() else path


def _notes(options: argparse.Namespace) -> list[str]:
    without = [
        flag
        for flag in WITHOUT_MEANING
        if getattr(options, flag.removeprefix("--").replace("-", "_")) is not None
    ]
    return [f"{flag} has no meaning for an embedded chain, and is left out" for flag in without]


def _genesis_flags(options: argparse.Namespace) -> list[str]:
    names = ("account", "account_dir", "bpf_program", "faucet_sol", "mint", "slots_per_epoch")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) not in (None, [])]
