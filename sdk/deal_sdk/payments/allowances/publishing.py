"""Getting the program onto a chain: deployed once, replaced by a later version, and resumed after a crash.

The keys of program and buffer are stored before anything is sent, and what the buffer holds already is not
written again: a call that was cut short is simply made again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    MAINNET_GENESIS_HASH,
    Rpc,
    Signer,
    build_and_sign,
    instructions,
    loader,
    parse_address,
)
from deal_sdk.chain.allowance import EMBEDDED_PROGRAM_ID, program_bytes, program_sha256
from deal_sdk.errors import ConfigurationError, RpcUnavailableError
from deal_sdk.payments.allowances.deployment import PROGRAM_META
from deal_sdk.payments.confirmations import Confirmations
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Database, get_meta, put_meta

PROGRAM_KEY: Final = "allowance_program"
BUFFER_KEY: Final = "allowance_buffer"
ROOM_BYTES: Final = 16_384
"""How much larger a later version may be."""
MAX_WRITES_AT_ONCE: Final = 32
MAX_WRITE_ROUNDS: Final = 5
"""A write that is dropped is written again, which is the same."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """Where the program is, and whether it is the one that ships with this version."""

    address: str
    is_deployed: bool
    is_current: bool
    """Whether the chain has the very bytes of this version."""
    shipped_sha256: str
    chain_sha256: str | None
    upgrade_authority: str | None
    slot: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {name: getattr(self, name) for name in self.__slots__}


class ProgramPublisher:
    """Deploys and upgrades the program; the fee payer pays and may replace it."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        database: Database,
        signer: PaymentSigner,
        confirmations: Confirmations,
        program: str | None,
        mainnet_confirmed: bool,
    ) -> None:
        """Wire the parts; nothing runs yet.

        Args:
            rpc: the chain.
            database: keeps where the program was deployed.
            signer: holds the keys.
            confirmations: waits for each step.
            program: the setting, where the address is given.
            mainnet_confirmed: whether real money is meant.
        """
        self._rpc = rpc
        self._database = database
        self._signer = signer
        self._confirmations = confirmations
        self._program = program
        self._mainnet_confirmed = mainnet_confirmed

    async def status(self) -> ProgramStatus:
        """Look at the program on the chain."""
        named = self._program or await get_meta(self._database, PROGRAM_META)
        address = EMBEDDED_PROGRAM_ID if named is None else parse_address(named)
        account, found = await self._rpc.get_accounts([address, loader.program_data_address(address)])
        data = None if found is None else loader.parse_program_data(found)
        is_deployed = account is not None and account.executable
        elf = b""
        if account is not None and is_deployed:
            # A chain may have it from its genesis, in the account itself.
            elf = account.data if data is None else data.elf
        length, wanted = len(program_bytes()), program_sha256()
        on_chain = hashlib.sha256(elf[:length]).hexdigest() if elf else None
        return ProgramStatus(
            address=str(address),
            is_deployed=is_deployed,
            is_current=on_chain == wanted and not any(elf[length:]),
            shipped_sha256=wanted,
            chain_sha256=on_chain,
            upgrade_authority=None if data is None or data.authority is None else str(data.authority),
            slot=None if data is None else data.slot,
        )

    async def deploy(self, on_progress: Progress | None = None) -> ProgramStatus:
        """Deploy the program under a key of its own, or go on where an earlier call stopped.

        Where the chain has it already, as the embedded one does, there is nothing to do.

        Args:
            on_progress: told how many parts are written, of how many.

        Raises:
            ConfigurationError: when it is deployed already in another version, or mainnet is not meant.
            FeePayerError, RpcTimeoutError, TransactionFailedError: make the call again.
        """
        await self._refuse_unmeant_mainnet()
        status = await self.status()
        if status.is_current:
            return status
        address = Pubkey.from_string(await self._signer.keystore.create(PROGRAM_KEY))
        if await self._is_executable(address):
            return await self._found(address)
        elf = program_bytes()
        buffer = await self._write(elf, on_progress)
        payer = self._signer.fees.payer
        room = len(elf) + ROOM_BYTES
        lamports = await self._rpc.get_minimum_balance_for_rent_exemption(loader.PROGRAM_ACCOUNT_BYTES)
        steps = [
            instructions.create_program_account(
                payer=payer,
                address=address,
                lamports=lamports,
                size_bytes=loader.PROGRAM_ACCOUNT_BYTES,
                owner=loader.LOADER,
            ),
            loader.deploy_program(
                payer=payer, program=address, buffer=buffer, authority=payer, max_bytes=room
            ),
        ]
        await self._send("the deployment", steps, await self._signer.keystore.signer_by_name(PROGRAM_KEY))
        await put_meta(self._database, PROGRAM_META, str(address))
        return await self.status()

    async def _found(self, address: Pubkey) -> ProgramStatus:
        """Remember a deployment whose call was cut short right after it."""
        await put_meta(self._database, PROGRAM_META, str(address))
        status = await self.status()
        if not status.is_current:
            raise ConfigurationError(
                "the program is deployed in another version: upgrade it", program=str(address)
            )
        return status

    async def upgrade(self, on_progress: Progress | None = None) -> ProgramStatus:
        """Replace the deployed program by this version's, or find that it is this version's.

        Args:
            on_progress: told how many parts are written, of how many.

        Raises:
            ConfigurationError: when it is not deployed, another key may replace it, or it has no room.
            FeePayerError, RpcTimeoutError, TransactionFailedError: make the call again.
        """
        await self._refuse_unmeant_mainnet()
        status = await self.status()
        if status.is_current:
            return status
        payer, address = self._signer.fees.payer, parse_address(status.address)
        if not status.is_deployed or status.upgrade_authority != str(payer):
            raise ConfigurationError(
                "the program is not deployed, or another key than the fee payer's may replace it",
                program=status.address,
                upgrade_authority=status.upgrade_authority,
            )
        elf = program_bytes()
        found = await self._rpc.get_account(loader.program_data_address(address))
        if found is None or len(found.data) < loader.PROGRAM_DATA_HEADER_BYTES + len(elf):
            raise ConfigurationError("the program's account has no room for it", program=status.address)
        buffer = await self._write(elf, on_progress)
        step = loader.upgrade_program(program=address, buffer=buffer, authority=payer, spill=payer)
        await self._send("the upgrade", [step])
        return await self.status()

    async def _write(self, elf: bytes, on_progress: Progress | None) -> Pubkey:
        """Bring a buffer to a program's bytes, writing only the parts that are missing."""
        buffer = await self._buffer(elf)
        for _ in range(MAX_WRITE_ROUNDS):
            held = await self._rpc.get_account(buffer)
            written = b"" if held is None else held.data[loader.BUFFER_HEADER_BYTES :]
            starts = range(0, len(elf), loader.MAX_WRITE_BYTES)
            missing = [at for at in starts if written[at : at + loader.MAX_WRITE_BYTES] != _part(elf, at)]
            if not missing:
                return buffer
            await self._write_parts(buffer, elf, missing, len(starts), on_progress)
        raise RpcUnavailableError("the buffer could not be written; make the call again", buffer=str(buffer))

    async def _write_parts(
        self, buffer: Pubkey, elf: bytes, missing: Sequence[int], total: int, on_progress: Progress | None
    ) -> None:
        places = asyncio.Semaphore(MAX_WRITES_AT_ONCE)
        done = total - len(missing)

        async def write(at: int) -> None:
            nonlocal done
            step = loader.write_buffer(buffer, self._signer.fees.payer, at, _part(elf, at))
            async with places:
                await self._send("a part of the program", [step])
            done += 1
            if on_progress is not None:
                on_progress(done, total)

        await asyncio.gather(*map(write, missing))

    async def _buffer(self, elf: bytes) -> Pubkey:
        address = Pubkey.from_string(await self._signer.keystore.create(BUFFER_KEY))
        payer = self._signer.fees.payer
        size = loader.BUFFER_HEADER_BYTES + len(elf)
        found = await self._rpc.get_account(address)
        if found is not None and len(found.data) != size:
            await self._send("the old buffer's end", [loader.close_buffer(address, payer, payer)])
            found = None
        if found is None:
            lamports = await self._rpc.get_minimum_balance_for_rent_exemption(size)
            creation = instructions.create_program_account(
                payer=payer, address=address, lamports=lamports, size_bytes=size, owner=loader.LOADER
            )
            steps = [creation, loader.initialize_buffer(address, payer)]
            await self._send("the buffer", steps, await self._signer.keystore.signer_by_name(BUFFER_KEY))
        return address

    async def _send(self, what: str, steps: Sequence[Instruction], *signers: Signer) -> None:
        payer = await self._signer.keystore.signer(str(self._signer.fees.payer))
        blockhash = await self._signer.blockhashes.get()
        signed = await build_and_sign(steps, payer=payer, signers=signers, blockhash=blockhash)
        await self._confirmations.confirm(what, signed)

    async def _is_executable(self, address: Pubkey) -> bool:
        account = await self._rpc.get_account(address)
        return account is not None and account.executable

    async def _refuse_unmeant_mainnet(self) -> None:
        if not self._mainnet_confirmed and await self._rpc.get_genesis_hash() == MAINNET_GENESIS_HASH:
            raise ConfigurationError(
                "this is mainnet, where a deployment costs real SOL: confirm it by the setting "
                "mainnet_confirmed (DEAL_MAINNET_CONFIRMED)"
            )


def _part(elf: bytes, at: int) -> bytes:
    return elf[at : at + loader.MAX_WRITE_BYTES]
