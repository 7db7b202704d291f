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
  const chip = el("span", { class: "chip" }, answer);
  chip.style.background = look?.color ?? "transparent";
  if (!look) chip.style.color = "inherit";
  return el("tr", {}, el("td", { class: "n" }, String(step)), el("td", {}, device), el("td", {}, type),
    el("td", {}, chip, look ? ` ${look.word}` : ""), el("td", { class: "n" }, nth === null && times > 1 ? `${count(times)} ×` : ""),
    el("td", { class: "mono" }, address), el("td", { class: "n" }, blocks === null ? "–" : count(blocks)),
    el("td", { class: "n" }, blocks === null || !blockSize ? "–" : size(blocks * blockSize)));
}

const MANY = 30; // changes told one by one

/** A sentence for every change. */
function changeList(step) {
  if (!step) return el("p", { class: "muted" }, "This recording has no such step.");
  const items = step.changed.slice(0, MANY).map((change) => {
    const chip = el("span", { class: "chip" }, change.look.word);
    chip.style.background = change.look.color;
    return el("li", {}, chip, el("span", {}, changeText(change)));
  });
  items.push(...step.blockChanges.slice(0, MANY).map(blockChange));
  const rest = Math.max(0, step.changed.length - MANY) + Math.max(0, step.blockChanges.length - MANY);
  if (rest) items.push(el("li", { class: "muted" }, `… and ${plural(rest, "more change")}`));
  return items.length ? el("ul", { class: "changes" }, items) : el("p", { class: "muted" }, "Neither the listing nor a memory block is different from before.");
}

function blockChange({ first, times, was, now }) {
  const many = `Memory block${times === 1 ? "" : "s"} ${blockNumbers({ first, times })}`;
  const said = (look) => `${look.state}, ${look.zones || "no zone"}${look.kind.endsWith("_PARTIAL") ? ", partly plugged" : ""}`;
  const there = (look) => Boolean(look && look.state);
  const [word, text] = there(now) && !there(was) ? ["added", said(now)] : there(was) && !there(now) ? ["removed", `was ${said(was)}`] :
    there(was) ? ["changed", `${said(was)} → ${said(now)}`] : ["changed", `${was ? looks.blocks[was.kind].word : "no device"} → ${now ? looks.blocks[now.kind].word : "no device"}`];
  const chip = el("span", { class: "chip" }, word);
  chip.style.background = looks.blocks[(there(now) ? now : was ?? now).kind].color;
  return el("li", {}, chip, el("span", {}, `${many}: ${text}`));
}

function changeText({ change, before, after }) {
  const bytes = (rows) => rows.reduce((sum, row) => sum + row.size * row.times, 0);
  const many = (rows) => rows.reduce((sum, row) => sum + row.times, 0);
  const name = (after[0] ?? before[0]).name;
  const told = (rows) => (rows.length > 3 ? `${plural(many(rows), "resource")} from ${hex(rows[0].start)}` :
    rows.map((row) => (row.times > 1 ? `${row.times} × ${size(row.size)} in ${row.range}` : row.range)).join(" and "));
  if (change === "APPEARED") return `${name}: ${told(after)}, ${size(bytes(after))}`;
  if (change === "WENT") return `${name}: ${told(before)}, ${size(bytes(before))}`;
  const delta = bytes(after) - bytes(before);
  return `${name}: ${told(before)} became ${told(after)}${delta ? `, ${signedSize(delta)}` : ""}` +
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
