// The charts, drawn by uPlot (see VENDORED.md); what they show is also said in words beneath them.

import { get } from "./api.js";
import { amount, count, find, say, shortened } from "./dom.js";

const drawn = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export async function loadVolume() {
  const found = await get("/series/volume", { hours: find("volume-hours").value });
  const payments = found.points.reduce((sum, point) => sum + point.payments, 0);
  say(find("volume-text"), `${count(payments)} payments in this period.`);
  const data = [found.points.map((point) => point.at), found.points.map((point) => Number(point.amount))];
  draw("volume", data, { paths: uPlot.paths.bars({ size: [0.7, 40] }), fill: colour("--accent") });
}

export async function loadBalanceChart() {
  const wallet = find("balance-wallet").value;
  if (!wallet) { say(find("balance-text"), "No wallet to show."); return; }
  const found = await get("/series/balance", { wallet });
  const points = found.points;
  say(find("balance-text"), points.length ? `${amount(points.at(-1).amount)} after the last of ${count(points.length)} changes in 30 days.` : "No change was recorded in 30 days.");
  draw("balance", [points.map((point) => point.at), points.map((point) => Number(point.amount))], { paths: uPlot.paths.stepped({ align: 1 }), fill: null });
}

/** Offer wallets to choose from, keeping the choice. */
export function offerWallets(operators, watched) {
  const select = find("balance-wallet");
  const chosen = select.value;
  // The treasury is what most look for first.
  const ordered = [...operators].sort((one, other) => (other.name === "treasury") - (one.name === "treasury"));
  const all = [...ordered.map((one) => [one.address, one.name]), ...watched.map((one) => [one.address, one.label || shortened(one.address)])];
  select.replaceChildren(...all.map(([value, text]) => new Option(text, value, false, value === chosen)));
  return chosen !== select.value;
}

function draw(id, data, { paths, fill }) {
  const box = find(id);
  drawn.get(id)?.chart.destroy();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const options = {
    width: Math.max(box.clientWidth, 200), height: 220, cursor: { y: false }, legend: { show: false },
    scales: { y: { range: (chart, low, high) => [Math.min(low ?? 0, 0), (high || 1) * 1.08] } },
    axes: [axis, { ...axis, size: 64, values: (chart, ticks) => ticks.map((tick) => short.format(tick)) }],
    series: [{}, { stroke: colour("--accent"), width: 1.5, fill, paths, points: { show: false } }],
  };
  drawn.set(id, { chart: new uPlot(options, data, box), data });
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

/** Fit the charts to the page, and draw them in the colours of the theme. */
export function prepareCharts() {
  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) drawn.get(target.id)?.chart.setSize({ width: Math.max(target.clientWidth, 200), height: 220 });
  });
  for (const id of ["volume", "balance"]) watcher.observe(find(id));
}
