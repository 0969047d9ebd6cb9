// Elements and texts. Everything that comes from outside becomes a text node, so no markup in it can act.

export const find = (id) => document.getElementById(id);

/** Make an element: `el("p", {class: "note", onclick: f}, "text", child)`. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set a text only where it changed, so that nothing is read out twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const shortened = (text) => (text.length > 14 ? `${text.slice(0, 6)}…${text.slice(-6)}` : text);

const integers = new Intl.NumberFormat("en");
export const count = (number) => integers.format(number);

/** Group the digits of a decimal text without making a number of it, which would round. */
export function amount(text) {
  if (text === null || text === undefined) return "–";
  const [whole, fraction] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction ? `${grouped}.${fraction}` : grouped;
}

const times = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const time = (text) => (text ? times.format(new Date(text)) : "–");

export const address = (text) => (text ? el("span", { class: "mono", title: text }, shortened(text)) : "–");

export function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value));
  }
  return list;
}

/** Run something at most once in a while, the last time for certain. */
export function seldom(action, milliseconds) {
  let timer = null;
  return () => {
    if (timer !== null) return;
    timer = setTimeout(() => { timer = null; action(); }, milliseconds);
  };
}
