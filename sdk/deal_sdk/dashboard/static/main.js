// Puts the page together: signing in, loading, and what each live event changes.

import { Problem, call, get, keepSession, whenSignedOut } from "./api.js";
import { loadBalanceChart, loadVolume, offerWallets, prepareCharts } from "./charts.js";
import { find, say, seldom } from "./dom.js";
import { closeDialog, complain, prepareDialog } from "./feedback.js";
import { Live } from "./live.js";
import { loadBalances, loadCredits, loadLimits, loadSummary, moreBalances } from "./panels.js";
import { loadPayments, paymentEvent, preparePayments, showNamed } from "./payments.js";
import { addWallet, loadWallets, prepareWallets, walletEvent } from "./wallets.js";

const STATES = { live: "Live", reconnecting: "Reconnecting" };

const live = new Live({
  event: take,
  resync: () => loadAll(),
  // What other processes do to limits and credits, no event tells.
  tick: () => { limitsSoon(); creditsSoon(); figuresSoon(); },
  state: (state) => { find("connection").dataset.state = state; say(find("connection"), STATES[state]); },
  over: () => showSignIn("Your session is over."),
});

/** Load every part; one that fails leaves the others as they are. */
async function loadAll() {
  const results = await Promise.allSettled([loadFigures(), loadPayments(), loadLimits(), loadCredits(), loadVolume()]);
  const failed = results.find((result) => result.status === "rejected" && result.reason?.code !== "not_signed_in");
  if (failed) showOutage(failed.reason);
}

function showOutage(reason) {
  find("outage").hidden = false;
  say(find("outage"), reason instanceof Problem ? `Not everything could be loaded: ${reason.message}` : "Not everything could be loaded.");
  if (!(reason instanceof Problem)) console.error(reason);
}

async function loadFigures() {
  const wallets = await loadWallets();
  const operators = await loadSummary(wallets);
  offerWallets(operators, wallets.items);
  await Promise.all([loadBalances(), loadBalanceChart()]);
}

const guarded = (action) => () => action().catch((problem) => { if (problem.code !== "not_signed_in") showOutage(problem); });
const figuresSoon = seldom(guarded(loadFigures), 1_500);
const walletsSoon = seldom(guarded(loadWallets), 200);
const volumeSoon = seldom(guarded(loadVolume), 3_000);
const limitsSoon = seldom(guarded(loadLimits), 1_000);
const creditsSoon = seldom(guarded(loadCredits), 2_000);

function take(event) {
  if (event.type.startsWith("wallet:")) {
    walletEvent(event);
    walletsSoon();
    figuresSoon();
  } else if (event.type.startsWith("payment.")) {
    paymentEvent(event);
    figuresSoon();
    volumeSoon();
  } else if (event.type.includes("limit")) limitsSoon();
  else creditsSoon();
}

function showPage(session) {
  keepSession(session);
  say(find("who"), `${session.name} · ${session.role === "operator" ? "operator" : "read-only"}`);
  document.querySelectorAll("[data-signed-in]").forEach((part) => { part.hidden = false; });
  find("sign-in").hidden = true;
  prepareWallets(session);
  live.start();
  showNamed();
}

function showSignIn(problem = "") {
  live.stop();
  keepSession(null);
  if (find("dialog").open) closeDialog();
  document.querySelectorAll("[data-signed-in]").forEach((part) => { part.hidden = true; });
  find("sign-in").hidden = false;
  say(find("sign-in-problem"), problem);
  find("token").focus();
}

function prepareForms() {
  find("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const session = await call("POST", "/session", { token: find("token").value.trim() });
      find("token").value = "";
      say(find("sign-in-problem"), "");
      showPage(session);
      find("page-title").focus();
    } catch (problem) { say(find("sign-in-problem"), problem.message); find("token").select(); }
  });
  find("sign-out").addEventListener("click", async () => {
    try { await call("DELETE", "/session"); showSignIn(); } catch (problem) { complain(problem); }
  });
  find("add-wallet").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    try {
      await addWallet(new FormData(form));
      form.reset();
      say(find("add-problem"), "");
      walletsSoon();
    } catch (problem) { say(find("add-problem"), problem.message); }
    find("address").focus();
  });
  find("more-balances").addEventListener("click", () => moreBalances().catch(complain));
  find("volume-hours").addEventListener("change", guarded(loadVolume));
  find("balance-wallet").addEventListener("change", guarded(loadBalanceChart));
}

function prepareTheme() {
  const button = find("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => { button.setAttribute("aria-pressed", String(isDark())); if (!find("page").hidden) guarded(redraw)(); };
  const redraw = () => Promise.all([loadVolume(), loadBalanceChart()]);
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    localStorage.setItem("theme", chosen);
    show();
  });
  system.addEventListener("change", show);
  show();
}

whenSignedOut(() => showSignIn("Your session is over."));
prepareDialog();
prepareForms();
preparePayments();
prepareCharts();
prepareTheme();
get("/session").then(showPage, (problem) => showSignIn(problem.code === "not_signed_in" ? "" : problem.message));
