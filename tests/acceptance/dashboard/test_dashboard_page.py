"""What operators see and do, in a real browser: SPEC's wallet scenarios, one test each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from deal_sdk.chain.addresses import MEMO_PROGRAM
from tests.acceptance.dashboard.conftest import Show, new_address, picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORANGE, RED, GREEN = "rgb(224, 138, 30)", "rgb(216, 67, 58)", "rgb(42, 157, 99)"
MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
LIMIT = 10


async def watch(page: Page, address: str, *, label: str = "", limit: int | None = LIMIT) -> Locator:
    """Add a wallet by the form, and return its card."""
    await page.get_by_label("Solana address").fill(address)
    await page.get_by_label("Name optional").fill(label)
    await page.get_by_label("Limit optional").fill("" if limit is None else str(limit))
    await page.get_by_role("button", name="Watch wallet").click()
    card = page.locator(f'[data-address="{address}"].wallet')
    await expect(card.get_by_text("Active", exact=True)).to_be_visible()
    return card


async def is_filled(card: Locator, badge: str, colour: str) -> None:
    """Wait until the count is shown, and the bar has its colour."""
    await expect(card.locator('[data-part="count"]')).to_have_text(badge)
    await expect(card.locator(".bar > span")).to_have_css("background-color", colour)


async def test_a_wrong_token_is_refused_and_the_right_one_opens_the_page(show: Show) -> None:
    async with show.open(role=None) as page:
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await expect(page.get_by_label("Token")).to_be_focused()
        await page.get_by_label("Token").fill("deal_dash_wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("the token is unknown or was revoked")
        _, token = await show.dashboard.access.create("ann", "viewer")
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_text("ann · read-only")).to_be_visible()
        await expect(page.get_by_role("button", name="Watch wallet")).to_be_hidden()
        await expect(page.locator("#connection")).to_have_text("Live")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_a_wallet_fills_to_orange_then_red_stops_and_is_rewatched_until_twice_the_limit(
    show: Show,
) -> None:
    address = new_address()
    async with show.open() as page:
        note = page.locator("#note")
        await expect(note).to_have_text(
            "Quota Protection: Each wallet auto-stops after 200 transactions to preserve API quota."
            " Click Re-watch anytime to continue monitoring (transaction count persists)."
        )
        card = await watch(page, address, label="Market maker")
        await is_filled(card, "0/10", GREEN)
        await show.pay(address, 5)
        await is_filled(card, "5/10", GREEN)
        await show.pay(address, 4)
        await is_filled(card, "⚠ 9/10", ORANGE)
        await expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "90")
        await picture(page.locator("#wallets"), "near-the-limit")
        await show.pay(address, 1)
        await is_filled(card, "⚠ 10/10", RED)
        await expect(card.get_by_text("Limit Reached")).to_be_visible()
        await expect(page.get_by_role("status").filter(has_text="automatically stopped")).to_contain_text(
            "Wallet monitoring automatically stopped - 10 transaction limit reached"
        )
        await picture(page, "limit-reached")
        await card.get_by_role("button", name="Re-watch").click()
        toasts = page.locator("#toasts")
        await expect(toasts).to_contain_text("Wallet monitoring re-started successfully")
        await expect(toasts).to_contain_text(
            f"Now tracking {address} again. Quota usage continues from previous count."
        )
        await expect(card.get_by_text("Active", exact=True)).to_be_visible()
        await show.pay(address, 1)
        await expect(card.locator('[data-part="count"]')).to_contain_text("11/10")
        await expect(card.get_by_text("Next stop at 20")).to_be_visible()
        await picture(page.locator("#wallets"), "watched-again")
        await show.pay(address, 9)
        await expect(card.locator('[data-part="count"]')).to_contain_text("20/10")
        await expect(card.get_by_text("Limit Reached")).to_be_visible()
        await expect(card.get_by_role("button", name="Re-watch")).to_be_visible()


async def test_a_person_stops_a_wallet_and_changes_its_limit(show: Show) -> None:
    async with show.open() as page:
        card = await watch(page, new_address())
        await card.get_by_role("button", name="Limit").click()
        await page.get_by_label("Transactions", exact=True).fill("0")
        await page.get_by_role("button", name="Set limit").click()
        await expect(page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
        await page.get_by_label("Transactions", exact=True).fill("25")
        await page.get_by_role("button", name="Set limit").click()
        await expect(card.locator('[data-part="count"]')).to_have_text("0/25")
        await expect(card.get_by_role("button", name="Limit")).to_be_focused()
        await card.get_by_role("button", name="Grant").click()
        await page.get_by_label("Transactions", exact=True).fill("5")
        await page.get_by_label("Reason").fill("an audit")
        await page.get_by_role("dialog").get_by_role("button", name="Grant").click()
        await expect(card).to_contain_text("Next stop at 30")
        await card.get_by_role("button", name="Schedule").click()
        await page.get_by_label("Stops at").fill("2099-01-01T12:00")
        await page.get_by_role("dialog").get_by_role("button", name="Schedule").click()
        await expect(card).to_contain_text("Stops at")
        await card.get_by_role("button", name="Stop").click()
        await expect(card.get_by_text("Stopped", exact=True)).to_be_visible()
        await expect(card.get_by_role("button", name="Re-watch")).to_be_visible()
        await page.get_by_label("Solana address").fill("not an address")
        await page.get_by_role("button", name="Watch wallet").click()
        await expect(page.locator("#add-problem")).not_to_be_empty()
        await expect(page.get_by_label("Solana address")).to_be_focused()


async def test_markup_in_names_and_memos_is_only_text(show: Show) -> None:
    address = new_address()
    async with show.open() as page:
        card = await watch(page, address, label=MARKUP)
        await expect(card.get_by_role("heading")).to_have_text(MARKUP)
        await send_memo(show, address, MARKUP)
        await expect(card.locator('[data-part="count"]')).to_have_text("1/10")
        await card.get_by_role("button", name="Activity").click()
        await expect(page.get_by_role("dialog")).to_contain_text(MARKUP)
        assert await page.locator("main img, dialog img, main script, dialog script").count() == 0


async def test_payments_are_live_found_and_shown_with_their_evidence(show: Show) -> None:
    async with show.open() as page:
        payment = await show.deal.tokens.transfer("treasury", new_address(), "7.75", MARKUP)
        row = page.locator(f'[data-id="{payment.id}"]')
        await expect(row.get_by_text("finalized")).to_be_visible()
        await page.get_by_label("Find").fill(str(payment.id))
        await page.keyboard.press("Enter")
        await expect(page.locator("#payment-rows tr")).to_have_count(1)
        await row.get_by_role("link", name="Evidence").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Attempt 1")
        await expect(dialog).to_contain_text(payment.signature or "")
        await picture(dialog, "evidence")
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(page).to_have_url(f"{show.server.url}/#payments")


async def test_a_disconnect_loses_nothing(show: Show) -> None:
    address = new_address()
    async with show.open() as page:
        card = await watch(page, address)
        await show.server.close()
        await expect(page.locator("#connection")).to_have_text("Reconnecting")
        await show.pay(address, 3)
        await show.restart()
        await expect(page.locator("#connection")).to_have_text("Live")
        await expect(card.locator('[data-part="count"]')).to_have_text("3/10")
        await show.pay(address, 1)
        await expect(card.locator('[data-part="count"]')).to_have_text("4/10")


async def test_without_a_websocket_the_page_refreshes_every_half_minute(show: Show) -> None:
    context = await show.browser.new_context(base_url=show.server.url)
    await show._sign_in(context, "viewer")
    page = await context.new_page()
    await page.clock.install()
    await page.route_web_socket("**/api/v1/live", lambda socket: socket.close())
    await page.goto("/")
    await expect(page.locator("#connection")).to_have_text("Reconnecting")
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    async with page.expect_response("**/api/v1/wallets"):
        await page.clock.fast_forward(30_000)
    assert any(url.endswith("/api/v1/quota") or "/payments" in url for url in loaded)
    await context.close()


async def test_the_page_works_at_360_pixels(show: Show) -> None:
    async with show.open(viewport={"width": 360, "height": 740}, device_scale_factor=1) as page:
        await expect(page.locator("#balance-rows tr").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await expect(page.get_by_role("button", name="Watch wallet")).to_be_visible()
        await picture(page, "narrow")
        await picture(page, "narrow-whole", full_page=True)


async def test_dark_follows_the_system_and_the_choice_is_kept(show: Show) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    async with show.open(color_scheme="dark") as page:
        assert await page.evaluate(background) == "rgb(18, 20, 23)"
        await expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
        await expect(page.locator("#balance-rows tr").first).to_be_visible()
        await expect(page.locator("#balance canvas")).to_be_visible()
        await picture(page, "dark", full_page=True)
        await page.get_by_role("button", name="Dark").click()
        assert await page.evaluate(background) == "rgb(245, 245, 241)"
        await page.reload()
        assert await page.evaluate(background) == "rgb(245, 245, 241)"


async def test_the_keyboard_reaches_everything_in_order(show: Show) -> None:
    async with show.open() as page:
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_label("Solana address")).to_be_focused()


async def test_axe_finds_no_serious_barrier(show: Show, axe_source: str) -> None:
    async with show.open(role=None) as page:
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert await barriers(page, axe_source) == []
    for scheme in ("light", "dark"):
        async with show.open(color_scheme=scheme) as page:
            await expect(page.locator("#balance-rows tr").first).to_be_visible()
            assert await barriers(page, axe_source) == []
            await page.get_by_role("link", name="Evidence").first.click()
            await expect(page.get_by_role("dialog")).to_be_visible()
            assert await barriers(page, axe_source) == []


async def send_memo(show: Show, address: str, memo: str) -> None:
    """Let a stranger send a wallet lamports with a memo."""
    rpc, stranger = show.deal.rpc, Keypair()
    await rpc.request_airdrop(stranger.pubkey(), 1_000_000_000)
    while not await rpc.get_balance(stranger.pubkey()):  # noqa: ASYNC110  a chain tells nobody
        await asyncio.sleep(0.02)
    to = Pubkey.from_string(address)
    sending = transfer(TransferParams(from_pubkey=stranger.pubkey(), to_pubkey=to, lamports=10_000_000))
    noting = Instruction(MEMO_PROGRAM, memo.encode(), [])
    latest = await rpc.get_latest_blockhash()
    message = MessageV0.try_compile(stranger.pubkey(), [sending, noting], [], latest.blockhash)
    await rpc.send_transaction(bytes(VersionedTransaction(message, [stranger])))


async def barriers(page: Page, source: str) -> list[Any]:
    """Return what axe-core finds that is serious or worse."""
    await page.evaluate(source)
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
