// Payments: the newest first, live, searched and paged, each with the evidence of its end.

import { get } from "./api.js";
import { address, amount, el, facts, find, time } from "./dom.js";
import { complain, openDialog } from "./feedback.js";

const PAGE = 25;
const MOST_ROWS = 100;
const HASH = "#payment=";
const TONES = { finalized: "green", confirmed: "green", pending: "orange", failed: "red", expired: "red" };
const rows = new Map();
const waiting = new Map();
let cursor = null;
let filters = { q: "", status: "" };

export async function loadPayments(next = null) {
  const page = await get("/payments", { ...filters, limit: PAGE, cursor: next });
  if (next === null) { rows.clear(); find("payment-rows").replaceChildren(); }
  for (const payment of page.items) if (!rows.has(payment.id)) place(payment, "append");
  cursor = page.next_cursor;
  find("more-payments").hidden = cursor === null;
  find("no-payments").hidden = rows.size > 0;
}

/** Take a payment that was made or moved; many at once are drawn once. */
export function paymentEvent(event) {
  if (!event.data.payment) return;
  if (waiting.size === 0) requestAnimationFrame(draw);
  waiting.set(event.data.payment.id, event.data.payment);
}

function draw() {
  for (const payment of waiting.values()) {
    const known = rows.get(payment.id);
    if (known) known.replaceWith(remember(payment));
    else if (!filters.q && (!filters.status || filters.status === payment.status)) place(payment, "prepend");
  }
  waiting.clear();
  const list = find("payment-rows");
  while (list.children.length > MOST_ROWS) {
    rows.delete(list.lastElementChild.dataset.id);
    list.lastElementChild.remove();
    // What was cut off is shown again from a fresh first page.
    find("more-payments").hidden = true;
  }
  find("no-payments").hidden = rows.size > 0;
}

const place = (payment, how) => find("payment-rows")[how](remember(payment));

function remember(payment) {
  const row = el("tr", { "data-id": payment.id },
    el("td", {}, time(payment.created_at)),
    el("td", {}, payment.type.replace("_", " ")),
    el("td", { class: "number" }, amount(payment.amount)),
    el("td", {}, address(payment.from_address)),
    el("td", {}, address(payment.to_address)),
    el("td", {}, el("span", { class: "badge", "data-tone": TONES[payment.status] ?? "gray" }, payment.status)),
    el("td", {}, el("a", { href: HASH + payment.id, "aria-label": `Evidence of the payment of ${amount(payment.amount)}` }, "Evidence")));
  rows.set(payment.id, row);
  return row;
}

export function preparePayments() {
  const guarded = (action) => (event) => { event?.preventDefault(); action().catch(complain); };
  const search = guarded(async () => {
    filters = { q: find("q").value.trim(), status: find("status").value };
    await loadPayments();
  });
  find("search").addEventListener("submit", search);
  find("status").addEventListener("change", search);
  find("more-payments").addEventListener("click", guarded(() => loadPayments(cursor)));
  addEventListener("hashchange", showNamed);
}

/** Open the payment that the address names, so that evidence can be linked to. */
export async function showNamed() {
  if (!location.hash.startsWith(HASH)) return;
  try {
    const found = await get(`/payments/${encodeURIComponent(location.hash.slice(HASH.length))}`);
    openDialog("Payment", describe(found), () => history.replaceState(null, "", "#payments"));
  } catch (problem) { complain(problem); }
}

const evidence = (value) => (value ? el("pre", { tabindex: "0" }, JSON.stringify(value, null, 2)) : null);
const mono = (text) => text && el("span", { class: "mono" }, text);

function describe({ payment, idempotency_key: key, refund_of: refundOf, evidence: own, attempts }) {
  const summary = facts([
    ["State", payment.status], ["Amount", amount(payment.amount)], ["Type", payment.type], ["Id", mono(payment.id)],
    ["Key", key], ["Reason", payment.reason], ["From", mono(payment.from_address)], ["To", mono(payment.to_address)],
    ["Signature", mono(payment.signature)], ["Slot", payment.slot && String(payment.slot)], ["Refund of", mono(refundOf)],
    ["Recorded", time(payment.created_at)], ["Changed", time(payment.updated_at)],
  ]);
  const tries = attempts.map((attempt) => el("article", { class: "attempt" },
    el("header", {}, el("h3", {}, `Attempt ${attempt.number}`), el("span", { class: "badge", "data-tone": TONES[attempt.status] ?? "gray" }, attempt.status)),
    facts([["Signature", mono(attempt.signature)], ["Last valid block", String(attempt.last_valid_block_height)], ["Signed at slot", String(attempt.context_slot)]]),
    evidence(attempt.evidence)));
  const none = tries.length ? null : el("p", { class: "quiet" }, "Nothing was signed for it.");
  return [summary, own && el("h3", {}, "Evidence"), evidence(own), ...tries, none].filter(Boolean);
}

