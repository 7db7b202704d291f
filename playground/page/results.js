// What commands said, as a terminal shows it; the page and the picture that they made; and files to keep.

import { blobOf, make, sized } from "./dom.js";

const PAGE = "report.html", PICTURE = "map.svg";
const MEANINGS = { 0: "", 1: "failed, or something is wrong or differs", 2: "the input is wrong", 64: "partly done" };

export class Results {
  constructor(place) {
    this.place = place;
    this.made = [];
  }

  // Empty, but for a terminal that fills while the first command runs.
  begin(command) {
    this.forget();
    this.live = make("pre", { className: "output" });
    this.place.replaceChildren(make("div", { className: "call" }, prompt(command), this.live));
  }

  print(text) { this.live.append(text); }

  say(text) {
    this.place.append(make("p", { className: "complaint", textContent: `✖ ${text}` }));
  }

  show({ calls, files }) {
    this.forget();
    const shown = calls.filter(({ output, errors, exit }) => output || errors || exit);
    this.place.replaceChildren(this.saves(files), ...shown.map(panel));
    if (files[PAGE]) this.place.append(this.page(files[PAGE]));
    if (files[PICTURE]) this.place.append(this.picture(files[PICTURE]));
  }

  saves(files) {
    const links = Object.entries(files).map(([name, text]) =>
      make("a", { className: "button", download: name, href: this.keep(name, text), textContent: `Save ${name} (${sized(text.length)})` }));
    return make("p", { className: "controls saves" }, ...links);
  }

  picture(text) {
    const image = make("img", { src: this.keep(PICTURE, text), alt: "The memory map as a picture; the tables above say the same in words." });
    return make("details", { open: true, className: "call" }, make("summary", { textContent: "The map as a picture" }), image);
  }

  page(text) {
    // It runs its own script under its own policy and this page's; without an origin it can reach nothing of this page.
    const frame = make("iframe", { title: "The report page", src: this.keep(PAGE, text) });
    frame.setAttribute("sandbox", "allow-scripts");
    return make("details", { open: true, className: "call page" }, make("summary", { textContent: "The report page" }), frame);
  }

  keep(name, text) {
    const address = blobOf(name, text);
    this.made.push(address);
    return address;
  }

  forget() {
    this.made.forEach((address) => URL.revokeObjectURL(address));
    this.made = [];
  }
}

const prompt = (command) => make("p", { className: "command" }, make("code", { textContent: `$ ${command}` }));

function panel({ title, command, output, errors, exit }) {
  const meaning = MEANINGS[exit] ?? "";
  const parts = [make("summary", { textContent: title }), prompt(command)];
  if (output) parts.push(command.startsWith("diff ") ? difference(output) : text("output", output, `What it prints: ${title}`));
  if (errors) parts.push(text("errors", errors, `What it remarks: ${title}`));
  if (exit) parts.push(make("p", { className: "hint", textContent: `exit status ${exit}: ${meaning}` }));
  return make("details", { open: true, className: "call" }, ...parts);
}

// What is wider than its place is scrolled, also with the keyboard.
function text(className, content, label) {
  const box = make("pre", { className, tabIndex: 0, ariaLabel: label });
  box.setAttribute("role", "region");
  box.append(content);
  return box;
}

function difference(output) {
  const kinds = { "+": "plus", "-": "minus", "@": "muted" };
  const box = text("output difference", "", "What was put right");
  box.append(...output.split("\n").map((line) => make("span", { className: kinds[line[0]] ?? "", textContent: `${line}\n` })));
  return box;
}
