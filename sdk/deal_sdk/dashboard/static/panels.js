// The rest of the page: the summary, balances, limits near their edge, credits and renewals.

import { get } from "./api.js";
import { address, amount, count, el, find, say, time } from "./dom.js";

let nextBalances = null;
let operators = [];

export async function loadSummary(wallets) {
  const [overview, quota] = await Promise.all([get("/overview"), get("/quota")]);
  const outage = overview.chain_problem && `The chain does not answer (${overview.chain_problem}); balances are not shown.`;
  const paused = overview.payments_paused && `Payments are paused: ${overview.payments_paused}`;
  find("outage").hidden = !(outage || paused);
  say(find("outage"), [paused, outage].filter(Boolean).join(" "));
  operators = overview.balances;
  find("tiles").replaceChildren(
    tile("Supply", amount(overview.token.total_supply), overview.token.symbol),
    tile("Open payments", count(overview.open_payments), paused ? "paused" : "not final yet"),
    tile("Active wallets", `${wallets.active} / ${wallets.max_active}`, `${count(wallets.items.length)} known`),
    tile("RPC quota used", `${quota.used_percent} %`, `${count(quota.calls_used)} of ${count(quota.daily_quota)} calls; about ${quota.forecast_percent} % by the end of the day`),
  );
  return operators;
}

const tile = (title, value, more) => el("article", { class: "tile" }, el("h2", {}, title), el("p", { class: "value" }, value), el("p", { class: "more" }, more));

export async function loadBalances(next = null) {
  const page = await get("/balances", { cursor: next, limit: 25 });
  const rows = page.items.map((item) => balanceRow(item.user_id ? "User" : "Tracked", item.owner_address, item.amount, item.slot));
  if (next === null) find("balance-rows").replaceChildren(...operators.map((one) => balanceRow(one.name, one.address, one.amount, one.slot)));
  find("balance-rows").append(...rows.filter((row) => !operators.some((one) => one.address === row.dataset.address)));
  nextBalances = page.next_cursor;
  find("more-balances").hidden = nextBalances === null;
}

export const moreBalances = () => loadBalances(nextBalances);

const balanceRow = (name, owner, text, slot) => el("tr", { "data-address": owner }, el("th", { scope: "row" }, name), el("td", {}, address(owner)),
  el("td", { class: "number" }, amount(text)), el("td", { class: "number" }, slot === null ? "–" : count(slot)));

export async function loadLimits() {
  const found = await get("/limits");
  const uses = found.purchases.map((use) => edge(`Purchases of ${use.category ?? use.token_mint} by ${use.user_id}`, use.count, use.maximum, use.percent));
  const hits = found.hits.map((hit) => edge(`${hit.limit.replaceAll("_", " ")}${hit.operation ? ` (${hit.operation})` : ""} of ${hit.user}, ${time(hit.at)}`, hit.current, hit.maximum, hit.percent));
  find("limit-list").replaceChildren(...uses, ...hits);
  find("no-limits").hidden = uses.length + hits.length > 0;
}

function edge(text, current, maximum, percent) {
  const fill = el("span");
  fill.style.width = `${percent}%`;
  const level = percent >= 100 ? "limit" : "warning";
  return el("li", {}, el("span", {}, text), el("div", { class: "bar", "data-level": level, "aria-hidden": "true" }, fill),
    el("span", { class: "badge", "data-tone": level === "limit" ? "red" : "orange" }, `${count(current)}/${count(maximum)}`));
}

export async function loadCredits() {
  const found = await get("/credits");
  const due = Object.entries(found.due_by_tier).map(([tier, number]) => `${tier} ${count(number)}`).join(", ");
  find("credit-sums").replaceChildren(...[
    ["Users", count(found.users)], ["Credits held", count(found.balance_total)], ["Credits spent", count(found.spent_total)],
    ["Due", due || "none"], ["Periods granted", count(found.renewed)], ["Next run", time(found.next_run_at)],
  ].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  find("renewal-rows").replaceChildren(...found.due.map((user) => el("tr", {}, el("th", { scope: "row" }, user.external_id || user.user_id),
    el("td", {}, user.tier), el("td", {}, user.next_renewal_at ? time(user.next_renewal_at) : "first period"))));
  find("no-renewals").hidden = found.due.length > 0;
}
