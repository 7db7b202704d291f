// Making elements, and saying sizes and addresses. Nothing here or elsewhere parses markup: names are untrusted text.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children (elements or text); an attribute that is false or null is left out. */
function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** The highest of many numbers; Math.max(...numbers) takes only as many as the stack does. */
const highest = (numbers) => numbers.reduce((most, n) => (n > most ? n : most), 0);

const find = (id) => document.getElementById(id);
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

const UNITS = [["E", 2 ** 60], ["P", 2 ** 50], ["T", 2 ** 40], ["G", 2 ** 30], ["M", 2 ** 20], ["K", 2 ** 10]];

/** Bytes as the shortest exact binary size: 2G, 1536M, 4097. */
function exactSize(bytes) {
  const found = UNITS.find(([, factor]) => bytes && bytes % factor === 0);
  return found ? bytes / found[1] + found[0] : String(bytes);
}

/** Bytes for a glance: exact where that is short, else with one decimal, which tells that it is rounded. */
function size(bytes) {
  if (bytes < 0) return "−" + size(-bytes);
  const exact = exactSize(bytes), unit = UNITS.find(([, factor]) => bytes >= factor);
  return exact.length <= 5 || !unit ? exact : (bytes / unit[1]).toFixed(1) + unit[0];
}

const signedSize = (bytes) => (bytes > 0 ? "+" : "") + size(bytes);
const hex = (number) => number.toString(16).padStart(8, "0");

/** A coloured word. */
function chip(text, color) {
  const element = el("span", { class: "chip" }, text);
  if (color) element.style.background = color; else element.classList.add("plain");
  return element;
}

/** A table in a box that scrolls sideways; `head` is [text, class] for each column. */
function table(label, head, rows, caption = null) {
  const columns = head.map(([text, kind]) => el("th", { scope: "col", class: kind }, text));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", {}, caption && el("caption", { class: "muted" }, caption), el("thead", {}, el("tr", {}, columns)), el("tbody", {}, rows)));
}

const cell = (text, kind = null) => el("td", { class: kind }, text);
const rowHead = (text) => el("th", { scope: "row" }, text);
const noSuchStep = () => el("p", { class: "muted" }, "This recording has no such step.");

const PAGE = 500; // rows shown before asking for more

/** Fill `parent` with what `make(from, to)` gives, a page at a time; `moreRow(text, go)` makes the row that offers the next. */
function paged(parent, total, make, moreRow, from = 0) {
  const to = Math.min(total, from + PAGE);
  parent.append(...make(from, to));
  if (to === total) return;
  const more = moreRow(`Show ${Math.min(PAGE, total - to)} more of ${count(total - to)}`, () => {
    more.remove();
    paged(parent, total, make, moreRow, to);
    (parent.lastElementChild.querySelector("button") ?? parent).focus();
  });
  parent.append(more);
}
