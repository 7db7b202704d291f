// Requests, listing, zones and changes as text.

const PAGE = 500; // rows shown before asking for more

/** `make(from, to)` yields rows; a last row offers more. */
function paged(parent, total, make, moreRow, limit = PAGE) {
  parent.append(...make(0, Math.min(limit, total)));
  if (total > limit) {
    const more = moreRow(`Show ${Math.min(PAGE, total - limit)} more of ${count(total - limit)}`, () => {
      more.remove();
      paged(parent, total, (from, to) => make(from + limit, to + limit), moreRow, 0);
    });
    parent.append(more);
  }
}

const REQUEST_HEAD = [["Step", "n"], ["Device"], ["Type"], ["Answer"], ["Times", "n"], ["Address"], ["Blocks", "n"], ["Size of each", "n"]];

/** The requests that the filters let through. */
function requestTable(recording, current, filters) {
  const chosen = [];
  const steps = filters.steps === "all" ? recording.steps.map((_, i) => i) : [current];
  for (const i of steps) {
    for (const run of recording.step(i)?.requests ?? []) {
      const [device, type, answer] = run;
      if ((filters.type || type) === type && (filters.device || device) === device && (filters.answer || answer) === answer) chosen.push([i, run]);
    }
  }
  const many = chosen.reduce((sum, [, run]) => sum + run[6], 0);
  const caption = el("caption", { class: "muted" }, `${plural(many, "request")}${filters.each || many === chosen.length ? "" : ` in ${plural(chosen.length, "row")}`}`);
  const body = el("tbody");
  const flat = filters.each ? chosen.flatMap(([i, run]) => Array.from({ length: run[6] }, (_, n) => [i, run, n])) : chosen;
  paged(body, flat.length, (from, to) => flat.slice(from, to).map((row) => requestRow(recording, ...row)),
    (text, go) => el("tr", {}, el("td", { colspan: 8 }, el("button", { type: "button", click: go }, text))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Requests ${recording.label}` },
    el("table", {}, caption, el("thead", {}, el("tr", {}, REQUEST_HEAD.map(([text, cls]) => el("th", { scope: "col", class: cls }, text)))), body));
}

function requestRow(recording, step, [device, type, answer, addr, blocks, stride, times], nth = null) {
  const look = looks.responses[answer];
  const blockSize = recording.step(step).devices.find((d) => d.id === device)?.["block-size"];
  let address = "–";
  if (addr !== null) {
    const first = BigInt("0x" + addr) + BigInt(stride) * BigInt(nth ?? 0);
    address = "0x" + first.toString(16);
    if (nth === null && times > 1) {
      const last = first + BigInt(stride) * BigInt(times - 1);
      address += ` … 0x${last.toString(16)} (each ${signedSize(stride)})`;
    }
  }
  return el("tr", {}, el("td", { class: "n" }, String(step)), el("td", {}, device), el("td", {}, type),
    el("td", { class: "answer" }, chip(answer, look?.color), look ? ` ${look.word}` : ""), el("td", { class: "n" }, nth === null && times > 1 ? `${count(times)} ×` : ""),
    el("td", { class: "mono" }, address), el("td", { class: "n" }, blocks === null ? "–" : count(blocks)),
    el("td", { class: "n" }, blocks === null || !blockSize ? "–" : size(blocks * blockSize)));
}

const MANY = 30; // changes told one by one

/** A sentence for every change. */
function changeList(step) {
  if (!step) return el("p", { class: "muted" }, "This recording has no such step.");
  const items = step.changed.slice(0, MANY).map((change) => el("li", {}, chip(change.look.word, change.look.color), el("span", {}, changeText(change))));
  items.push(...blockChanges(step));
  const rest = Math.max(0, step.changed.length - MANY);
  if (rest) items.splice(MANY, 0, el("li", { class: "muted" }, `… and ${plural(rest, "more resource")} that changed`));
  if (step.log) items.push(el("li", {}, el("details", {}, el("summary", {}, `The driver's log (${plural(step.log.length, "line")})`), el("pre", { class: "mono" }, step.log.join("\n")))));
  return items.length ? el("ul", { class: "changes" }, items) : el("p", { class: "muted" }, "Neither the listing nor a memory block is different from before.");
}

/** What became of memory blocks; those with the same fate share a line. */
function blockChanges(step) {
  const fates = new Map();
  for (const change of step.blockChanges) {
    const fate = blockFate(change), same = fates.get(fate.text) ?? fates.set(fate.text, { ...fate, runs: [], times: 0 }).get(fate.text);
    same.runs.push(change);
    same.times += change.times;
  }
  return [...fates.values()].map(({ word, text, color, runs, times }) => {
    const numbers = runs.length > 8 ? `${runs.slice(0, 6).map(blockNumbers).join(", ")} … ${blockNumbers(runs.at(-1))} (${count(times)} blocks)` : runs.map(blockNumbers).join(", ");
    return el("li", {}, chip(word, color), el("span", {}, `Memory block${times === 1 ? "" : "s"} ${numbers}: ${text}`));
  });
}

function blockFate({ was, now }) {
  const said = (look) => `${look.state}, ${look.zones || "no zone"}${look.kind.endsWith("_PARTIAL") ? ", partly plugged" : ""}`;
  const word = (look) => (look ? looks.blocks[look.kind].word : "no device");
  if (now?.state && !was?.state) return { word: "added", text: said(now), color: looks.changes.APPEARED.color };
  if (was?.state && !now?.state) return { word: "removed", text: `was ${said(was)}`, color: looks.changes.WENT.color };
  const text = was?.state ? `${said(was)} → ${said(now)}` : `${word(was)} → ${word(now)}`;
  return { word: "changed", text, color: looks.blocks[(now ?? was).kind].color };
}

function chip(text, color) {
  const element = el("span", { class: "chip" }, text);
  if (color) element.style.background = color; else element.style.color = "inherit";
  return element;
}

const bytesOf = (rows) => rows.reduce((sum, row) => sum + row.size * row.times, 0);

/** How much appeared or went, or by how much it is more or less. */
function sizeOfChange({ change, before, after }) {
  if (change === "APPEARED" || change === "WENT") return size(bytesOf(after.length ? after : before));
  const delta = bytesOf(after) - bytesOf(before);
  return delta ? signedSize(delta) : "";
}

function changeText({ change, before, after, name }) {
  const many = (rows) => rows.reduce((sum, row) => sum + row.times, 0);
  const told = (rows) => (rows.length > 3 ? `${plural(many(rows), "resource")} from ${hex(rows[0].start)}` :
    rows.map((row) => (row.times > 1 ? `${row.times} × ${size(row.size)} in ${row.range}` : row.range)).join(" and "));
  const bytes = sizeOfChange({ change, before, after });
  if (change === "APPEARED" || change === "WENT") return `${name}: ${told(after.length ? after : before)}, ${bytes}`;
  return `${name}: ${told(before)} became ${told(after)}${bytes && ", " + bytes}` +
    (change === "GREW" ? " (what was added beside it was merged into it)" : "");
}

/** The listing with what changed marked: new lines, and above them struck what was there before. */
function listing(recording, step, { every, chosen, differs, choose }) {
  if (!step) return el("p", { class: "muted" }, "This recording has no such step.");
  const list = el("ol", { class: "listing mono", tabindex: 0, "aria-label": `/proc/iomem ${recording.label}` });
  const entries = [...marked(step)];
  const sizes = entries.map(({ row }) => (every || row.times <= COUNTED_FROM ? row.times : 3));
  const total = sizes.reduce((a, b) => a + b, 0);
  let at = 0, within = 0; // the next entry, and which of its lines
  paged(list, total, (from, to) => Array.from({ length: to - from }, () => {
    const item = listItem(entries[at], within, sizes[at], { chosen, differs });
    if (++within === sizes[at]) { at++; within = 0; }
    return item;
  }), (text, go) => el("li", { class: "more" }, el("button", { type: "button", click: go }, text)));
  list.addEventListener("click", (event) => {
    const key = event.target.closest("li[data-key]")?.dataset.key;
    if (key) choose(key, recording);
  });
  return list;
}

const COUNTED_FROM = 16; // more equal neighbours than this are told in three lines

/** The rows of a step in order, what was there before above what is there now: { row, change, was }. */
function* marked(step) {
  const gone = step.changed.flatMap((change) => change.before.map((row) => ({ row, change, was: true })))
    .sort((a, b) => a.row.start - b.row.start || a.row.depth - b.row.depth);
  const changed = byDepth(step.changed.filter((change) => change.after.length)), at = [];
  const changeOf = (row) => { // both ascend, so each level is gone through once
    const level = changed[row.depth] ?? [];
    let i = at[row.depth] ?? 0;
    while (i < level.length && level[i].stop <= row.exact[0]) i++;
    at[row.depth] = i;
    while (i < level.length && level[i].start < row.end) if (level[i++].name === row.name) return level[i - 1];
    return undefined;
  };
  let next = 0;
  for (const row of step.rows) {
    while (next < gone.length && (gone[next].row.start - row.start || gone[next].row.depth - row.depth) <= 0) yield gone[next++];
    yield { row, change: changeOf(row) };
  }
  yield* gone.slice(next);
}

/** One line: the `n`-th of the `of` that tell of a row. */
function listItem({ row, change, was }, n, of, { chosen, differs }) {
  const other = differs?.has(row.key);
  const cls = [was ? "was" : change ? "is" : other ? "differs" : "", !was && chosen && row.key === chosen ? "chosen" : ""].join(" ").trim();
  const note = n ? "" : change ? (was ? "was here" : change.look.word) : other ? "differs" : "";
  const counted = of < row.times && n === 2;
  const text = counted ? `${indent(row)}… ${count(row.times - 2)} more of ${size(row.size)} each, up to ${row.range.split("-")[1]}` : lines(row, n, 1).next().value;
  return el("li", { class: cls || null, "data-key": was ? null : row.key },
    el("span", { class: "mark", "aria-hidden": "true" }, was ? "−" : change ? "+" : ""), el("span", { class: "text" }, text), el("span", { class: "note" }, note));
}

const ZONES = ["DMA", "DMA32", "Normal", "Movable", "Device"];

/** Zones that have pages, with the change since the step before. */
function zoneTable(recording, current) {
  const step = recording.step(current), old = recording.step(current - 1);
  if (!step) return el("p", { class: "muted" }, "This recording has no such step.");
  const rows = [];
  for (const [node, zones] of Object.entries(step.zones)) {
    const names = Object.keys(zones).sort((a, b) => ZONES.indexOf(a) - ZONES.indexOf(b));
    for (const zone of names) {
      const now = zones[zone], was = old?.zones[node]?.[zone];
      if (!now.spanned && !now.present && !was?.present) continue;
      rows.push(el("tr", {}, el("th", { scope: "row" }, node), el("th", { scope: "row" }, zone),
        ["spanned", "present", "managed"].map((key) => pagesCell(now[key], was ? was[key] : now[key]))));
    }
  }
  if (!rows.length) return el("p", { class: "muted" }, "This recording says nothing of zones.");
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Zones ${recording.label}` }, el("table", {},
    el("thead", {}, el("tr", {}, ["Node", "Zone"].map((t) => el("th", { scope: "col" }, t)), ["Spanned", "Present", "Managed"].map((t) => el("th", { scope: "col", class: "n" }, t)))),
    el("tbody", {}, rows)));
}

function pagesCell(now, was) {
  const delta = now - was;
  return el("td", { class: "n" }, `${size(now * 4096)} `, el("span", { class: "muted" }, `(${count(now)})`),
    delta ? el("span", { class: "delta" }, ` ${signedSize(delta * 4096)}`) : null);
}

/** What a crash dump would hold. */
function crashTable(recording, step) {
  if (!step) return el("p", { class: "muted" }, "This recording has no such step.");
  const more = step.facts.unmerged - step.facts.ram;
  const rows = step.crash.map((crash) => el("tr", {}, el("th", { scope: "row" }, crash.loader === "kernel" ? "kernel (kexec -s)" : "kexec-tools (kexec -c)"),
    ["ranges", "size"].map((key) => el("td", { class: "n" }, key === "size" ? size(crash.size) : count(crash.ranges))),
    el("td", { class: "n" }, `${count(crash.entries)} of ${count(crash.limit)}`), el("td", { class: "n" }, more > 0 ? `${count(crash.ranges + more)}` : "the same"),
    el("td", {}, crash.refused ? "gives up" : crash.lost ? el("strong", { class: "bad" }, `${size(crash.lost)} would be missing`) : "nothing")));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Crash dump ${recording.label}` }, el("table", {},
    el("thead", {}, el("tr", {}, ["Made by", "RAM ranges", "Memory", "Table used", "Ranges without merging", "Missing"].map((t, i) => el("th", { scope: "col", class: i && i < 5 ? "n" : null }, t)))),
    el("tbody", {}, rows)));
}

/** Where the two recordings part: in this step, and a way to the other steps where they do. */
function differenceList(current, goTo) {
  const steps = Object.keys(data.differences).map(Number);
  if (!steps.length) return [el("p", {}, "Nowhere, as far as anybody can predict: requests, listing, sizes, memory blocks and zones are the same after every step.")];
  const links = steps.map((step) => el("button", { type: "button", "aria-pressed": String(step === current), click: () => goTo(step) }, String(step)));
  const here = data.differences[current];
  return [el("div", { class: "controls" }, `Steps with differences: `, links), here ? differenceTable(here) : el("p", { class: "muted" }, "Not in this step.")];
}

function differenceTable({ times, shown }) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Differences" }, el("table", {},
    el("caption", { class: "muted" }, times > shown.length ? `${plural(times, "difference")}; of each kind, the first` : plural(times, "difference")),
    el("thead", {}, el("tr", {}, ["What", "A", "B"].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, shown.map(([what, a, b]) => el("tr", {}, el("th", { scope: "row" }, what), el("td", { class: "mono" }, a), el("td", { class: "mono" }, b))))));
}
