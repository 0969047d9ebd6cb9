"""One Chromium and one served dashboard for the module's tests; each has a page of its own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect
from solders.keypair import Keypair

from deal_sdk import Deal
from deal_sdk.dashboard import Dashboard, DashboardServer

ROOT: Final = Path(__file__).resolve().parents[3]
PICTURES: Final = ROOT / ".test-output" / "dashboard"
AXE_FOLDER: Final = Path(__file__).parent
NPM_SECONDS: Final = 240
WAIT_MILLISECONDS: Final = 20_000
SETTINGS: Final = {
    "localnet_slot_seconds": 0.02,
    "localnet_finality_slots": 8,
    "history_poll_interval_seconds": 0.1,
    "max_watched_wallets": 20,
    "watch_poll_interval_seconds": 0.3,
    "watch_hint_interval_seconds": 0.1,
    "watch_feed_interval_seconds": 0.1,
}


@dataclass
class Show:
    """The served dashboard and the browser that looks at it."""

    deal: Deal
    dashboard: Dashboard
    server: DashboardServer
    browser: Browser

    @asynccontextmanager
    async def open(self, *, role: str | None = "operator", **options: Any) -> AsyncIterator[Page]:
        """Open the page in a context of its own, signed in unless the role is None."""
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = await self.browser.new_context(base_url=self.server.url, locale="en-GB", **options)
        try:
            if role is not None:
                await self._sign_in(context, role)
            page = await context.new_page()
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
            await page.goto("/")
            if role is not None:
                await expect(page.locator("#connection")).to_have_text("Live")
                await expect(page.locator("#note")).not_to_be_empty()
            yield page
            assert problems == []
        finally:
            await context.close()

    async def pay(self, address: str, count: int) -> None:
        """Make real transactions that the wallet receives."""
        transfer = self.deal.tokens.transfer
        await asyncio.gather(*(transfer("treasury", address, "1.25") for _ in range(count)))

    async def restart(self) -> None:
        """Serve anew at the same address, as after an update."""
        self.dashboard = Dashboard(self.deal)
        self.server = DashboardServer(self.dashboard, port=self.server.port)
        await self.server.start()

    async def _sign_in(self, context: BrowserContext, role: str) -> None:
        name = f"{role}-{len(await self.dashboard.access.list())}"
        _, token = await self.dashboard.access.create(name, role)  # type: ignore[arg-type]
        _, cookie = await self.dashboard.access.sign_in(token)
        host = urlsplit(self.server.url).hostname or ""
        await context.add_cookies(
            [
                {
                    "name": "deal_session",
                    "value": cookie,
                    "domain": host,
                    "path": "/",
                    "httpOnly": True,
                    "sameSite": "Strict",
                }
            ]
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def show(browser_program: str) -> AsyncIterator[Show]:
    """Serve a `Deal` on the embedded chain, and start Chromium."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=WAIT_MILLISECONDS)
    async with Deal.open(**SETTINGS) as deal, async_playwright() as playwright:
        dashboard = Dashboard(deal)
        server = DashboardServer(dashboard, port=0)
        await server.start()
        browser = await playwright.chromium.launch(executable_path=browser_program)
        shown = Show(deal, dashboard, server, browser)
        try:
            yield shown
        finally:
            await browser.close()
            await shown.server.close()


@pytest.fixture(scope="session")
def axe_source(node_program: str) -> str:
    """The source of axe-core."""
    source = AXE_FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        npm = shutil.which("npm")
        assert npm is not None
        install = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=AXE_FOLDER, check=True, timeout=NPM_SECONDS, capture_output=True)
    return source.read_text()


def new_address() -> str:
    """Return an address that nobody has used."""
    return str(Keypair().pubkey())


async def picture(of: Page | Locator, name: str, **options: Any) -> None:
    """Keep what a page or a part of it looks like."""
    await of.screenshot(path=PICTURES / f"{name}.png", **options)
