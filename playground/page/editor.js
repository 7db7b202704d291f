// A scenario being written: the examples to begin with, the choices that it leaves open, its lines, and what is wrong.

import { find, make } from "./dom.js";

const OWN = "your own";
const PAUSE = 300; // milliseconds without a key, and the text is read

export class Editor {
  // `check(text)` promises { message, line }; `changed()` hears of every change.
  constructor(place, { examples, choices, check, label }) {
    place.append(find("#variant").content.cloneNode(true));
    this.examples = examples;
    this.check = check;
    this.menu = find(".example", place);
    this.shows = find(".shows", place);
    this.area = find(".text", place);
    this.numbers = find(".numbers", place);
    this.complaint = find(".complaint", place);
    if (label) this.area.ariaLabel = label;
    this.menu.append(...examples.map(({ name }) => make("option", { value: name, textContent: name })));
    this.menu.append(make("option", { value: "", textContent: OWN }));
    this.menu.onchange = () => this.open(this.menu.value);
    this.choices = Object.entries(choices).map(([key, values]) => this.choice(place, key, values));
    this.area.oninput = () => this.edited();
    this.area.onscroll = () => { this.numbers.scrollTop = this.area.scrollTop; };
  }

  choice(place, key, values) {
    const select = make("select", { name: key }, make("option", { value: "", textContent: "as usual" }));
    select.append(...values.map((value) => make("option", { value, textContent: value })));
    select.onchange = () => this.set(withKey(this.text, key, select.value), this.name);
    find(".choices", place).append(make("label", {}, `${key} `, select));
    return { key, select };
  }

  get text() { return this.area.value; }

  open(name) {
    const example = this.examples.find((one) => one.name === name);
    if (example) this.set(example.text, `${name.split("/").pop()}.toml`);
    return Boolean(example);
  }

  set(text, name) {
    this.area.value = text;
    this.area.scrollTop = 0;
    this.name = name;
    this.edited();
  }

  edited() {
    const example = this.examples.find(({ text }) => text === this.text);
    this.menu.value = example?.name ?? "";
    this.shows.textContent = example?.shows ?? "A scenario of your own.";
    for (const { key, select } of this.choices) {
      const value = keyOf(this.text, key);
      if (![...select.options].some((option) => option.value === value)) select.append(make("option", { value, textContent: value }));
      select.value = value;
    }
    this.number(0);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read(), PAUSE);
  }

  async read() {
    const text = this.text;
    const { message, line } = await this.check(text).catch(() => ({ message: "", line: 0 }));
    if (text !== this.text) return;
    this.complaint.textContent = message && `✖ ${message}`;
    this.area.setAttribute("aria-invalid", String(Boolean(message)));
    this.number(line);
  }

  // Number the lines; the one that is wrong has a mark, which is not only a colour.
  number(wrong) {
    const count = this.text.split("\n").length;
    const upTo = (first, last) => Array.from({ length: Math.max(last - first + 1, 0) }, (_, index) => `${first + index}\n`).join("");
    const marked = wrong ? [upTo(1, wrong - 1), make("b", { textContent: `✖ ${wrong}\n` })] : [];
    this.numbers.replaceChildren(...marked, upTo(wrong + 1, count));
    this.numbers.scrollTop = this.area.scrollTop;
  }
}

const GUEST = /^[ \t]*\[guest\][ \t]*(?:#.*)?$/m;

// Where the keys of [guest] stand: from behind its header to the next one.
function guestTable(text) {
  const header = GUEST.exec(text);
  if (!header) return null;
  const start = header.index + header[0].length;
  const next = text.slice(start).search(/^[ \t]*\[/m);
  return [start, next < 0 ? text.length : start + next];
}

const keyLine = (key) => new RegExp(`^[ \\t]*${key}[ \\t]*=[ \\t]*"([^"\\n]*)".*\\n?`, "m");

export function keyOf(text, key) {
  const table = guestTable(text);
  return table ? keyLine(key).exec(text.slice(...table))?.[1] ?? "" : "";
}

// The text with this key of [guest] as chosen: the line is replaced, put in, or taken out.
export function withKey(text, key, value) {
  const line = value ? `${key} = "${value}"\n` : "";
  const table = guestTable(text);
  if (!table) return line ? `[guest]\n${line}\n${text}` : text;
  const [start, stop] = table;
  const inside = text.slice(start, stop);
  const changed = keyLine(key).test(inside) ? inside.replace(keyLine(key), line) : inside.replace(/^\n?/, `\n${line}`);
  return text.slice(0, start) + changed + text.slice(stop);
}
