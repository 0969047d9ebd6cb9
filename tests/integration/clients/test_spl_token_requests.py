"""The commands of `spl-token`, by the requests that its sources make; see rust_client.py."""

from __future__ import annotations

from typing import Final

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.token.associated import get_associated_token_address
from solders.token.state import Mint

from deal_localnet import Localnet
from tests.integration.clients.rust_client import RustClient
from tests.unit.localnet.support import (
    ASSOCIATED,
    FEE,
    SOL,
    SYSTEM,
    TOKEN,
    TOKEN_2022,
    Driver,
    readonly,
    writable,
)

RENT_SYSVAR: Final = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
NATIVE_MINT: Final = Pubkey.from_string("So11111111111111111111111111111111111111112")
MINT_BYTES: Final = 82
ACCOUNT_BYTES: Final = 165
DECIMALS: Final = 6
UNIT: Final = 10**DECIMALS
INSUFFICIENT_TOKENS: Final = 1


class SplToken:
    """The command line's commands for one wallet and one mint."""

    def __init__(self, client: RustClient) -> None:
        self.client = client
        self.wallet = client.payer.pubkey()
        self.mint = Keypair()
        self.held = get_associated_token_address(self.wallet, self.mint.pubkey())

    @property
    def _owner(self) -> AccountMeta:
        return AccountMeta(self.wallet, True, False)

    async def _created(self, account: Keypair, size: int) -> Instruction:
        params = CreateAccountParams(
            from_pubkey=self.wallet,
            to_pubkey=account.pubkey(),
            lamports=await self.client.rent(size),
            space=size,
            owner=TOKEN,
        )
        return create_account(params)

    def _token(self, tag: int, data: bytes, *accounts: AccountMeta) -> Instruction:
        return Instruction(TOKEN, bytes([tag]) + data, list(accounts))

    def _checked(self, amount: int) -> bytes:
        return amount.to_bytes(8, "little") + bytes([DECIMALS])

    def opening(self, owner: Pubkey, mint: Pubkey, data: bytes) -> Instruction:
        """Open an associated account: `data` is 0 to create it, 1 unless it is there."""
        account = get_associated_token_address(owner, mint)
        payer = AccountMeta(self.wallet, True, True)
        rest = [readonly(owner), readonly(mint), readonly(SYSTEM), readonly(TOKEN)]
        return Instruction(ASSOCIATED, data, [payer, writable(account), *rest])

    async def create_token(self) -> None:
        """create-token --enable-freeze"""
        create = await self._created(self.mint, MINT_BYTES)
        authority = bytes(self.wallet)
        data = bytes([DECIMALS]) + authority + b"\1" + authority
        initialize = self._token(0, data, writable(self.mint.pubkey()), readonly(RENT_SYSVAR))
        await self.client.process([create, initialize], self.mint)

    async def create_account(self) -> None:
        """create-account MINT"""
        assert await self.client.account(self.held) is None
        await self.client.process([self.opening(self.wallet, self.mint.pubkey(), b"\0")])

    async def create_auxiliary(self, account: Keypair) -> None:
        """create-account MINT KEYPAIR"""
        assert await self.client.account(account.pubkey()) is None
        create = await self._created(account, ACCOUNT_BYTES)
        accounts = [writable(account.pubkey()), readonly(self.mint.pubkey()), readonly(self.wallet)]
        await self.client.process([create, self._token(1, b"", *accounts, readonly(RENT_SYSVAR))], account)

    async def mint_tokens(self, amount: int) -> None:
        """mint MINT AMOUNT"""
        assert await self.decimals() == DECIMALS
        accounts = [writable(self.mint.pubkey()), writable(self.held), self._owner]
        await self.client.process([self._token(14, self._checked(amount), *accounts)])

    async def decimals(self) -> int:
        """get_mint_info, which most commands begin with"""
        account = await self.client.account(self.mint.pubkey())
        assert account is not None
        assert account.owner == TOKEN
        return Mint.from_bytes(account.data).decimals

    def moving(self, to: Pubkey, amount: int) -> Instruction:
        """The transfer of `transfer`."""
        accounts = [writable(self.held), readonly(self.mint.pubkey()), writable(to), self._owner]
        return self._token(12, self._checked(amount), *accounts)

    async def transfer_funding(self, recipient: Pubkey, amount: int) -> Pubkey:
        """transfer MINT AMOUNT RECIPIENT --fund-recipient --allow-unfunded-recipient"""
        assert await self.decimals() == DECIMALS
        assert (await self.client.tokens(self.held)).amount >= amount
        assert await self.client.account(recipient) is None
        account = get_associated_token_address(recipient, self.mint.pubkey())
        assert await self.client.account(account) is None
        open_account = self.opening(recipient, self.mint.pubkey(), b"\1")
        await self.client.process([open_account, self.moving(account, amount)])
        return account

    async def on_held(self, tag: int, data: bytes, *accounts: AccountMeta) -> None:
        """Run one instruction on the wallet's account after the looks at it that commands take."""
        assert (await self.client.tokens(self.held)).mint == self.mint.pubkey()
        assert await self.decimals() == DECIMALS
        await self.client.process([self._token(tag, data, writable(self.held), *accounts, self._owner)])


@pytest.fixture
async def spl_token(localnet: Localnet) -> SplToken:
    driver = Driver(localnet)
    await driver.fund()
    return SplToken(RustClient(driver, driver.payer))


async def test_tokens_are_created_minted_and_sent(spl_token: SplToken) -> None:
    client, friend = spl_token.client, Keypair().pubkey()
    await spl_token.create_token()
    await spl_token.create_account()
    await spl_token.mint_tokens(100 * UNIT)
    assert await client.supply(spl_token.mint.pubkey()) == str(100 * UNIT)
    account = await spl_token.transfer_funding(friend, 40 * UNIT)
    assert await client.token_balance(account) == str(40 * UNIT)
    assert await client.token_balance(spl_token.held) == str(60 * UNIT)
    auxiliary = Keypair()
    await spl_token.create_auxiliary(auxiliary)
    await client.process([spl_token.moving(auxiliary.pubkey(), 15 * UNIT)])
    by_mint = {"mint": str(spl_token.mint.pubkey())}
    listed = await client.token_accounts(spl_token.wallet, by_mint)
    amounts = {entry.pubkey: entry.account.data.parsed["info"]["tokenAmount"]["amount"] for entry in listed}
    assert amounts == {spl_token.held: str(45 * UNIT), auxiliary.pubkey(): str(15 * UNIT)}
    by_programs = [
        await client.token_accounts(spl_token.wallet, {"programId": str(program)})
        for program in (TOKEN, TOKEN_2022)
    ]
    assert [len(found) for found in by_programs] == [2, 0]


async def test_accounts_are_approved_burned_frozen_and_closed(spl_token: SplToken) -> None:
    client, delegate = spl_token.client, Keypair().pubkey()
    await spl_token.create_token()
    await spl_token.create_account()
    await spl_token.mint_tokens(9 * UNIT)
    mint = spl_token.mint.pubkey()
    await spl_token.on_held(13, (5 * UNIT).to_bytes(8, "little") + b"\6", readonly(mint), readonly(delegate))
    assert (await client.tokens(spl_token.held)).delegate == delegate
    await spl_token.on_held(5, b"")
    assert (await client.tokens(spl_token.held)).delegate is None
    await spl_token.on_held(10, b"", readonly(mint))
    refused = await client.refusal([spl_token.moving(spl_token.held, UNIT)])
    assert refused.data.logs is not None
    assert any("frozen" in line for line in refused.data.logs)
    await spl_token.on_held(11, b"", readonly(mint))
    await spl_token.on_held(15, (9 * UNIT).to_bytes(8, "little") + b"\6", writable(mint))
    assert await client.supply(mint) == "0"
    before = await client.balance(spl_token.wallet)
    rent = await client.rent(ACCOUNT_BYTES)
    await spl_token.on_held(9, b"", writable(spl_token.wallet))
    assert await client.balance(spl_token.wallet) == before + rent - FEE
    assert await client.account(spl_token.held) is None


async def test_more_than_there_is_is_refused_before_it_is_sent(spl_token: SplToken) -> None:
    await spl_token.create_token()
    await spl_token.create_account()
    await spl_token.mint_tokens(UNIT)
    auxiliary = Keypair()
    await spl_token.create_auxiliary(auxiliary)
    refused = await spl_token.client.refusal([spl_token.moving(auxiliary.pubkey(), 2 * UNIT)])
    assert refused.data.err.err.code == INSUFFICIENT_TOKENS


async def test_lamports_are_wrapped_and_unwrapped(spl_token: SplToken) -> None:
    client = spl_token.client
    wrapped = get_associated_token_address(spl_token.wallet, NATIVE_MINT)
    assert await client.account(wrapped) is None
    before = await client.balance(spl_token.wallet)
    fund = transfer(TransferParams(from_pubkey=spl_token.wallet, to_pubkey=wrapped, lamports=SOL))
    await client.process([fund, spl_token.opening(spl_token.wallet, NATIVE_MINT, b"\0")])
    assert (await client.tokens(wrapped)).is_native is not None
    close = Instruction(
        TOKEN,
        b"\x09",
        [writable(wrapped), writable(spl_token.wallet), AccountMeta(spl_token.wallet, True, False)],
    )
    await client.process([close])
    assert await client.balance(spl_token.wallet) == before - 2 * FEE
