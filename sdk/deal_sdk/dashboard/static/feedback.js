// What the page says by itself: toasts, and the one dialog.

import { el, find, say } from "./dom.js";

const SHOWN = 8_000;
const SAME_WITHIN = 5_000;
const MOST = 4;
const told = new Map();

/** Show a toast; the same one is not shown twice when both an answer and an event bring it. */
export function toast(title, text = "", tone = "green") {
  const key = `${title}\n${text}`;
  const now = Date.now();
  if (now - (told.get(key) ?? 0) < SAME_WITHIN) return;
  for (const [old, at] of told) if (now - at > SAME_WITHIN) told.delete(old);
  told.set(key, now);
  const shown = el("div", { class: "toast", "data-tone": tone }, el("strong", {}, title), text);
  const all = find("toasts");
  all.append(shown);
  while (all.children.length > MOST) all.firstElementChild.remove();
  setTimeout(() => shown.remove(), SHOWN);
}

export const complain = (problem) => toast("That did not work", problem.message, "red");

let onClose = () => {};

/** Open the dialog; focus moves into it, and back when it closes. */
export function openDialog(title, content, closed = () => {}) {
  const dialog = find("dialog");
  say(find("dialog-title"), title);
  find("dialog-body").replaceChildren(...content);
  onClose = closed;
  if (!dialog.open) dialog.showModal();
}

export const closeDialog = () => find("dialog").close();

export function prepareDialog() {
  const dialog = find("dialog");
  find("dialog-close").addEventListener("click", closeDialog);
  dialog.addEventListener("close", () => { const closed = onClose; onClose = () => {}; closed(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) closeDialog(); });
}

/** A form in the dialog; each field is {label, type, value, inputmode}, and none of them only asks to confirm. */
export function ask(title, text, { fields = [], button, action }) {
  const inputs = fields.map(({ label, ...attributes }, index) => el("input", { id: `asked-${index}`, autocomplete: "off", ...attributes }));
  const problem = el("p", { class: "problem", role: "alert" });
  const form = el("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      await action(...inputs.map((input) => input.value.trim()));
      closeDialog();
    } catch (error) { say(problem, error.message); }
  } }, el("p", {}, text), ...inputs.flatMap((input, index) => [el("label", { for: input.id }, fields[index].label), input]), problem,
  el("p", { class: "actions" }, el("button", { type: "submit", class: "primary" }, button), el("button", { type: "button", onclick: closeDialog }, "Cancel")));
  openDialog(title, [form]);
  inputs[0]?.select();
}
