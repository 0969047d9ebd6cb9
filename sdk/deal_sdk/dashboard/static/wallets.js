// Watched wallets: cards that are changed in place, so that focus and reading position stay.

import { call, get } from "./api.js";
import { address, amount, count, el, facts, find, say, time } from "./dom.js";
import { ask, complain, openDialog, toast } from "./feedback.js";

const UNLIMITED = 99_999;
const TONES = { active: "green", "limit-reached": "red", stopped: "gray" };
const cards = new Map();
let isOperator = false;

export function prepareWallets(session) {
  isOperator = session.role === "operator";
  find("add-wallet").hidden = !isOperator;
}

export async function loadWallets() {
  const found = await get("/wallets");
  say(find("note"), found.note);
  say(find("slots"), `${found.active} of ${found.max_active} active`);
  const kept = new Set(found.items.map((wallet) => wallet.address));
  for (const [key, card] of cards) if (!kept.has(key)) { card.root.remove(); cards.delete(key); }
  found.items.forEach(show);
  find("no-wallets").hidden = found.items.length > 0;
  return found;
}

export async function addWallet(form) {
  const limit = form.get("limit").trim();
  const answer = await call("POST", "/wallets", {
    address: form.get("address").trim(),
    label: form.get("label").trim() || null,
    max_transactions: limit ? wholeNumber(limit) : null,
  });
  show(answer.wallet);
  toast("Wallet added", answer.message);
}

export function walletEvent(event) {
  if (event.type === "wallet:limit-reached") toast(event.data.message, event.data.address, "red");
  else if (event.type === "wallet:resumed") toast(event.data.message, event.data.toast);
  if (event.data.wallet) show(event.data.wallet);
}

function wholeNumber(text) {
  // The server says what a limit may be; a text that is no number goes there as it is.
  return /^-?\d+$/.test(text) ? Number(text) : text;
}

function show(wallet) {
  let card = cards.get(wallet.address);
  if (!card) {
    card = make(wallet.address);
    cards.set(wallet.address, card);
    find("wallet-list").append(card.root);
    find("no-wallets").hidden = true;
  }
  // An event does not tell everything of a wallet; what it leaves out stays as it was.
  card.wallet = { ...card.wallet, ...wallet };
  card.update(card.wallet);
}

function make(key) {
  const parts = {
    name: el("h3", {}),
    address: el("span", { class: "address mono" }, key),
    status: el("span", { class: "badge" }),
    fill: el("span"),
    count: el("span", { class: "badge", "data-part": "count" }),
    next: el("span", { class: "quiet" }),
    facts: el("div"),
    actions: el("div", { class: "actions" }),
  };
  const bar = el("div", { class: "bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": "Transactions of the limit" }, parts.fill);
  const root = el("li", { class: "wallet", "data-address": key },
    el("header", {}, el("div", {}, parts.name, parts.address), parts.status),
    el("div", { class: "meter" }, bar, parts.count), parts.next, parts.facts, parts.actions);
  const buttons = makeButtons(key);
  parts.actions.append(...Object.values(buttons));
  return { root, update: (wallet) => update(wallet, parts, bar, buttons) };
}

function makeButtons(key) {
  const path = `/wallets/${encodeURIComponent(key)}`;
  const act = (name, done) => async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    try { done(await call("POST", `${path}/${name}`)); } catch (problem) { complain(problem); } finally { button.disabled = false; }
  };
  return {
    stop: el("button", { type: "button", onclick: act("stop", (answer) => show(answer.wallet)) }, "Stop"),
    rewatch: el("button", { type: "button", class: "primary", onclick: act("rewatch", (answer) => {
      show(answer.wallet);
      toast("Wallet monitoring re-started successfully", answer.message);
    }) }, "Re-watch"),
    activity: el("button", { type: "button", onclick: () => showActivity(key) }, "Activity"),
    limit: el("button", { type: "button", onclick: () => askLimit(path) }, "Limit"),
    grant: el("button", { type: "button", onclick: () => askGrant(path) }, "Grant"),
    schedule: el("button", { type: "button", onclick: () => askSchedule(path) }, "Schedule"),
    reset: el("button", { type: "button", onclick: () => askReset(path) }, "Reset"),
  };
}

function update(wallet, parts, bar, buttons) {
  say(parts.name, wallet.label || "Wallet");
  say(parts.status, wallet.status_text);
  parts.status.dataset.tone = TONES[wallet.status] ?? "gray";
  bar.dataset.level = wallet.level;
  bar.setAttribute("aria-valuenow", wallet.progress_percent);
  bar.setAttribute("aria-valuetext", `${wallet.transaction_count} transactions, ${wallet.progress_percent} percent of the limit`);
  parts.fill.style.width = `${wallet.progress_percent}%`;
  say(parts.count, wallet.badge);
  parts.count.dataset.tone = { warning: "orange", limit: "red" }[wallet.level] ?? "gray";
  say(parts.next, wallet.is_unlimited ? "No limit" : wallet.status === "active" && wallet.next_stop ? `Next stop at ${count(wallet.next_stop)}` : "");
  parts.facts.replaceChildren(facts([
    ["Last transaction", time(wallet.last_transaction_at)],
    ["Last look", time(wallet.last_polled_at)],
    ["RPC calls today", count(wallet.rpc_calls_today ?? 0)],
    ["Waiting", wallet.pending_transactions ? `${count(wallet.pending_transactions)} not counted yet` : null],
    ["Stops at", wallet.stop_at ? time(wallet.stop_at) : null],
    ["Problem", wallet.last_error],
  ]));
  const active = wallet.status === "active";
  buttons.stop.hidden = !isOperator || !active;
  buttons.rewatch.hidden = !isOperator || active;
  buttons.schedule.hidden = buttons.stop.hidden;
  buttons.limit.hidden = buttons.grant.hidden = buttons.reset.hidden = !isOperator;
  for (const [name, button] of Object.entries(buttons)) button.setAttribute("aria-label", `${{ rewatch: "Re-watch" }[name] ?? button.textContent} ${wallet.label || wallet.address}`);
}

function askLimit(path) {
  ask("Limit", `After how many transactions the wallet stops; ${UNLIMITED} is never, empty is the default.`, {
    fields: [{ label: "Transactions", inputmode: "numeric" }], button: "Set limit",
    action: async (text) => {
      const answer = await call("PUT", `${path}/limit`, { max_transactions: text ? wholeNumber(text) : null });
      show(answer.wallet);
      toast("Limit changed", answer.message);
    },
  });
}

function askGrant(path) {
  ask("Grant more", "Transactions beyond the limit, once; a wallet that stopped by itself goes on. Who granted them and why is kept.", {
    fields: [{ label: "Transactions", inputmode: "numeric" }, { label: "Reason" }], button: "Grant",
    action: async (extra, reason) => {
      const answer = await call("POST", `${path}/override`, { extra_transactions: wholeNumber(extra), reason });
      show(answer.wallet);
      toast("Limit overridden", answer.message);
    },
  });
}

function askSchedule(path) {
  ask("Schedule a stop", "When the wallet stops, by the clock of this device; empty takes a scheduled stop back.", {
    fields: [{ label: "Stops at", type: "datetime-local" }], button: "Schedule",
    action: async (text) => {
      const answer = await call("PUT", `${path}/scheduled-stop`, { stop_at: text ? new Date(text).toISOString() : null });
      show(answer.wallet);
      toast("Stop scheduled", answer.message);
    },
  });
}

function askReset(path) {
  ask("Reset the count", "The count begins at 0 again. What was counted is saved to a file first.", {
    button: "Reset", action: async () => {
      const answer = await call("POST", `${path}/reset`);
      show(answer.wallet);
      if (answer.export) save(answer.export, `wallet-${answer.wallet.address}.json`);
    },
  });
}

function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function showActivity(key) {
  try {
    const found = await get(`/wallets/${encodeURIComponent(key)}/transactions`);
    const entries = found.items.map((item) => el("div", { class: "attempt" },
      el("header", {}, el("strong", {}, `${item.direction === "incoming" ? "+" : item.direction === "outgoing" ? "−" : ""}${amount(item.amount)}`),
        el("span", { class: "badge", "data-tone": item.succeeded ? "green" : "red" }, item.succeeded ? "Succeeded" : "Failed")),
      facts([["Number", count(item.number)], ["At", time(item.block_time)], ["With", item.counterparty && address(item.counterparty)], ["Memo", item.memo], ["Signature", el("span", { class: "mono" }, item.signature)]])));
    openDialog("Activity", [el("p", { class: "address mono" }, key), ...(entries.length ? entries : [el("p", { class: "empty" }, "Nothing was counted yet.")])]);
  } catch (problem) { complain(problem); }
}
