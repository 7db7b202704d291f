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
